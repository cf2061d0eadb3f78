//! The words of AWS's errors: what each code comes with when nothing better is known.
//!
//! Only texts and statuses; the form is the business of each service.

/// What real services say with this code.
pub(super) fn message_of(code: &str) -> &'static str {
    match code {
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" => "Rate exceeded",
        "AccessDeniedException" => {
            "User: arn:aws:sts::123456789012:assumed-role/developer/session is not authorized to perform: \
             ecr:GetAuthorizationToken on resource: * because no identity-based policy allows the \
             ecr:GetAuthorizationToken action"
        }
        "AccessDenied" => "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        "UnrecognizedClientException" | "InvalidClientTokenId" => {
            "The security token included in the request is invalid."
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details."
        }
        "ExpiredTokenException" | "ExpiredToken" => "The security token included in the request is expired",
        "RequestExpired" => "Request has expired.",
        "InvalidIdentityToken" => "No OpenIDConnect provider found in your account for https://issuer.example",
        "UnauthorizedException" => "Session token not found or invalid",
        "ForbiddenException" => "No access",
        "InvalidGrantException" => "Invalid grant provided",
        "InvalidClientException" => "Invalid client provided",
        "AuthorizationPendingException" => "Authorization is pending",
        "SlowDownException" => "Slow down the polling",
        "TOKEN_EXPIRED" => "The refresh token has expired",
        "USER_CREDENTIALS_CHANGED" => "The credentials of the user have changed",
        "INSUFFICIENT_PERMISSIONS" => "Missing permission for signin:CreateOAuth2Token",
        "ServerException" | "InternalServerException" => "The server encountered an internal error.",
        _ => "refused",
    }
}

/// The status of this code.
pub(super) fn status_of(code: &str) -> u16 {
    match code {
        "UnauthorizedException" | "InvalidClientException" => 401,
        "AccessDenied"
        | "ExpiredToken"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "ForbiddenException"
        | "RegionDisabledException" => 403,
        "ResourceNotFoundException" => 404,
        "TooManyRequestsException" | "TooManyRequestsError" => 429,
        "ServerException" | "InternalServerException" | "InternalFailure" => 500,
        "ServiceUnavailable" => 503,
        _ => 400,
    }
}
