//! The fake AWS beside the registry: what the real SDK gets from it, and what a test can read afterwards.
//!
//! The SDK is the one in the credential helper, a process of its own with an environment of its own; what it never
//! asks for is asked by hand.

use std::{fs, process::Output, sync::Arc};

use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    fake_ecr::{ApiCall, DeviceSignIn, FakeEcr, Knob, Listener, Rule, cache_login, cache_sso_token},
    rig::{REGISTRY, Rig, program, run, text},
};

const ROLE: &str = "arn:aws:iam::123456789012:role/puller";
const SIGNED: (&str, &str) = (
    "authorization",
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=00",
);
const DATED: (&str, &str) = ("x-amz-date", "20261122T041500Z");

async fn ask(url: &str, method: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, String) {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let answer = Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, text(&body))
}

async fn sts(ecr: &FakeEcr, form: &str) -> (StatusCode, String) {
    ask(&ecr.api_url(), "POST", &[SIGNED, DATED], form).await
}

async fn oidc(ecr: &FakeEcr, path: &str, body: Value) -> (StatusCode, Value) {
    let (status, body) = ask(&format!("{}{path}", ecr.api_url()), "POST", &[], &body.to_string()).await;
    (status, serde_json::from_str(&body).unwrap())
}

/// Runs the helper with the default chain of the SDK, without the keys of the rig's environment.
fn helper(rig: &Rig, config: &str, environment: &[(&str, &str)]) -> Output {
    let aws = rig.dir.path().join("home/.aws");
    fs::create_dir_all(&aws).unwrap();
    fs::write(aws.join("config"), config).unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_docker-credential-longshore"), &rig.ecr, rig.dir.path());
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_ENDPOINT_URL", rig.ecr.api_url())
        .env("AWS_REGION", "us-east-1")
        .envs(environment.iter().copied())
        .arg("get");
    run(&mut command, REGISTRY)
}

/// The call that minted the token, which must be the only one.
#[track_caller]
fn minted(rig: &Rig, output: &Output) -> ApiCall {
    assert!(output.status.success(), "{output:?}");
    let mut calls = rig.ecr.calls();
    calls.retain(|call| call.action == "GetAuthorizationToken");
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

/// A tunnel to a host, with TLS in it, by the fake's CA; the first line of what the proxy said comes first.
async fn tunnel(ecr: &FakeEcr, host: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(ecr.proxy_url().trim_start_matches("http://")).await.unwrap();
    stream.write_all(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let line = text(&head).lines().next().unwrap().to_owned();
    if !line.contains(" 200 ") {
        return (line, String::new());
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ecr.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut tls = connector.connect(name, stream).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.unwrap();
    (line, text(&answer))
}

#[tokio::test]
async fn the_proxy_leads_every_name_to_the_api_and_remembers_it() {
    let ecr = FakeEcr::start().await;
    let hosts =
        ["api.ecr.eu-central-1.amazonaws.com", "ecr-fips.us-gov-west-1.api.aws", "us-east-1.signin.aws.amazon.com"];
    for host in hosts {
        let (line, answer) = tunnel(&ecr, host, "/federation/credentials?role_name=r").await;
        assert_eq!(line, "HTTP/1.1 200 Connection established");
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    assert_eq!(ecr.connects(), hosts.map(|host| format!("{host}:443")));
    let calls = ecr.calls();
    assert_eq!(calls.iter().map(|call| call.host.as_str()).collect::<Vec<_>>(), hosts);
    assert!(calls.iter().all(|call| call.tls && call.service == "sso" && call.parameter("role_name") == "r"));
    assert_eq!(calls[1].region.as_deref(), Some("us-gov-west-1"));
}

#[tokio::test]
async fn the_proxy_refuses_as_told() {
    let ecr = FakeEcr::start().await;
    let host = "api.ecr.us-east-1.amazonaws.com";
    ecr.set(Knob::ProxyCredentials(Some("user:password".to_owned())));
    assert!(tunnel(&ecr, host, "/").await.0.starts_with("HTTP/1.1 407 "));
    ecr.set(Knob::ProxyCredentials(None));
    let fault = ecr.fault(Rule::on(Listener::Proxy).method("CONNECT").status(403).once());
    assert!(tunnel(&ecr, host, "/").await.0.starts_with("HTTP/1.1 403 "));
    let (status, _) = ask(&format!("{}/plain", ecr.proxy_url()), "GET", &[], "").await;
    assert_eq!((fault.hits(), status), (1, StatusCode::BAD_GATEWAY));
    ecr.fault(Rule::on(Listener::Api).captive_portal());
    let (_, portal) = tunnel(&ecr, host, "/").await;
    assert!(portal.starts_with("HTTP/1.1 200 ") && portal.contains("text/html") && portal.ends_with("</html>"));
    assert_eq!(ecr.connects().len(), 3);
}

/// The SDK takes no proxy from the environment by itself, so this one is given to it.
#[tokio::test]
async fn the_sdk_goes_through_the_proxy() {
    let ecr = FakeEcr::start().await;
    ecr.set(Knob::ProxyCredentials(Some("user:password".to_owned())));
    let url = ecr.proxy_url().replace("http://", "http://user:password@");
    let trust = TrustStore::empty().with_pem_certificate(ecr.ca_pem());
    let tls = TlsContext::builder().with_trust_store(trust).build().unwrap();
    let connector = move || {
        Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .proxy_config(ProxyConfig::all(url.as_str()).unwrap())
            .build()
    };
    let config = aws_sdk_ecr::Config::builder()
        .behavior_version(aws_sdk_ecr::config::BehaviorVersion::latest())
        .region(aws_sdk_ecr::config::Region::new("cn-north-1"))
        .credentials_provider(aws_credential_types::Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .http_client(Builder::new().build_with_connector_fn(move |_, _| connector()))
        .build();
    let token = aws_sdk_ecr::Client::from_conf(config).get_authorization_token().send().await.unwrap();
    assert_eq!(token.authorization_data().len(), 1);
    let host = "api.ecr.cn-north-1.amazonaws.com.cn";
    assert_eq!((ecr.calls()[0].host.as_str(), ecr.calls()[0].tls), (host, true));
    assert_eq!(ecr.connects(), [format!("{host}:443")]);
}

#[tokio::test]
async fn a_role_may_demand_a_device_and_an_external_id() {
    let ecr = FakeEcr::start().await;
    let serial = "arn:aws:iam::123456789012:mfa/me";
    ecr.set(Knob::RequireMfa(ROLE.to_owned(), serial.to_owned(), "123456".to_owned()));
    ecr.set(Knob::ExternalId(ROLE.to_owned(), "shared".to_owned()));
    let base = format!("Action=AssumeRole&RoleArn={ROLE}&RoleSessionName=s&DurationSeconds=3600");
    for (more, wanted) in [
        (
            String::new(),
            "not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/puller with",
        ),
        (format!("&SerialNumber={serial}&TokenCode=000000"), "invalid MFA one time pass code. <"),
        (format!("&SerialNumber={serial}x&TokenCode=123456"), "verify your MFA serial number"),
        (format!("&SerialNumber={serial}&TokenCode=123456"), "not authorized to perform: sts:AssumeRole"),
    ] {
        let (status, answer) = sts(&ecr, &format!("{base}{more}")).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(answer.contains("<Code>AccessDenied</Code>") && answer.contains(wanted), "{answer}");
    }
    let right = format!("{base}&SerialNumber={serial}&TokenCode=123456&ExternalId=shared");
    let (status, first) = sts(&ecr, &right).await;
    let (_, second) = sts(&ecr, &right).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let key = |answer: &str| answer.split("AccessKeyId>").nth(1).unwrap().to_owned();
    assert_ne!(key(&first), key(&second));
    assert_eq!(ecr.count_calls("AssumeRole"), 6);
    assert_eq!(ecr.calls()[4].parameter("TokenCode"), "123456");
    let (status, _) = sts(&ecr, &format!("Action=GetSessionToken&SerialNumber={serial}&TokenCode=000000")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_sdk_mints_as_the_role_of_a_web_identity_until_it_is_refused() {
    let rig = Rig::start().await;
    let file = rig.dir.path().join("web-identity");
    fs::write(&file, "a.web.identity").unwrap();
    let environment = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap())];
    let output = helper(&rig, "", &environment);
    let call = minted(&rig, &output);
    assert!(call.principal.unwrap().starts_with("arn:aws:sts::123456789012:assumed-role/puller/"));
    assert_eq!(rig.ecr.calls()[0].parameter("WebIdentityToken"), "a.web.identity");
    assert_eq!(rig.mints(), 1);
    fs::remove_dir_all(rig.cache().join("tokens")).unwrap();
    rig.ecr.set(Knob::Refuse("AssumeRoleWithWebIdentity".to_owned(), "InvalidIdentityToken".to_owned()));
    assert!(!helper(&rig, "", &environment).status.success());
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn the_sdk_mints_with_a_sign_in_of_identity_center_that_it_refreshes() {
    let rig = Rig::start().await;
    let token = json!({
        "accessToken": "stale", "expiresAt": "2024-01-01T00:00:00Z", "refreshToken": "refresh", "clientId": "client",
        "clientSecret": "secret", "registrationExpiresAt": "2099-01-01T00:00:00Z", "region": "eu-west-1",
        "startUrl": "https://work.awsapps.com/start",
    });
    cache_sso_token(&rig.dir.path().join("home"), "work", &token);
    let config = "[default]\nsso_session = work\nsso_account_id = 210987654321\nsso_role_name = Developer\n\
                  [sso-session work]\nsso_region = eu-west-1\nsso_start_url = https://work.awsapps.com/start\n";
    let output = helper(&rig, config, &[]);
    let call = minted(&rig, &output);
    assert_eq!(call.principal.as_deref(), Some("arn:aws:sts::210987654321:assumed-role/AWSReservedSSO_Developer/user"));
    let calls = rig.ecr.calls();
    let calls: Vec<_> = calls.iter().map(|call| (call.service.as_str(), call.action.as_str())).collect();
    assert_eq!(calls, [("oidc", "CreateToken"), ("sso", "GetRoleCredentials"), ("ecr", "GetAuthorizationToken")]);
}

#[tokio::test]
async fn a_device_code_is_pending_until_it_is_approved() {
    let ecr = FakeEcr::start().await;
    let (_, client) = oidc(&ecr, "/client/register", json!({"clientName": "test", "clientType": "public"})).await;
    let start =
        json!({"clientId": client["clientId"], "clientSecret": client["clientSecret"], "startUrl": "https://x"});
    let (_, device) = oidc(&ecr, "/device_authorization", start).await;
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let poll = json!({"clientId": client["clientId"], "grantType": grant, "deviceCode": device["deviceCode"]});
    let (status, pending) = oidc(&ecr, "/token", poll.clone()).await;
    assert_eq!((status, pending["error"].as_str()), (StatusCode::BAD_REQUEST, Some("authorization_pending")));
    ecr.set(Knob::DeviceSignIn(DeviceSignIn::Approved));
    let (_, token) = oidc(&ecr, "/token", poll.clone()).await;
    let url = format!("{}/federation/credentials?role_name=r&account_id=111122223333", ecr.api_url());
    let bearer = ("x-amz-sso_bearer_token", token["accessToken"].as_str().unwrap());
    assert_eq!(ask(&url, "GET", &[bearer], "").await.0, StatusCode::OK);
    let (_, spent) = oidc(&ecr, "/token", poll).await;
    assert_eq!(spent["error"], "invalid_grant");
}

#[tokio::test]
async fn the_sdk_refreshes_a_session_of_aws_login() {
    let rig = Rig::start().await;
    let arn = "arn:aws:iam::123456789012:user/me";
    let cached = cache_login(&rig.dir.path().join("home"), arn, "2024-01-01T00:00:00Z");
    let config = format!("[default]\nlogin_session = {arn}\nregion = us-east-1\n");
    let output = helper(&rig, &config, &[]);
    let call = minted(&rig, &output);
    assert_eq!((call.service.as_str(), rig.ecr.calls()[0].action.as_str()), ("ecr", "CreateOAuth2Token"));
    let cached = fs::read_to_string(cached).unwrap();
    assert!(cached.contains(&call.access_key.unwrap()), "{cached}");
}

#[tokio::test]
async fn the_sdk_finds_the_roles_of_instances_and_containers() {
    let metadata = |rig: &Rig, path: &str| format!("{}{path}", rig.ecr.metadata_url());
    let rig = Rig::start().await;
    let endpoint = metadata(&rig, "");
    let environment = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)];
    let output = helper(&rig, "", &environment);
    let call = minted(&rig, &output);
    assert!(call.principal.unwrap().contains(":assumed-role/instance/"));
    assert!(rig.ecr.count(Listener::Metadata, "PUT") > 0);

    let rig = Rig::start().await;
    let file = rig.dir.path().join("pod-token");
    fs::write(&file, "pod-token").unwrap();
    rig.ecr.set(Knob::ContainerAuthorization(Some("pod-token".to_owned())));
    let (ecs, eks) = (metadata(&rig, "/ecs/credentials"), metadata(&rig, "/v1/credentials"));
    let wrong = helper(&rig, "", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &ecs)]);
    assert!(!wrong.status.success());
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", eks.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap()),
    ];
    let output = helper(&rig, "", &environment);
    let call = minted(&rig, &output);
    assert!(call.principal.unwrap().contains(":assumed-role/pod/"));
}

#[tokio::test]
async fn a_session_that_is_over_is_told_so() {
    let rig = Rig::start().await;
    let (_, assumed) = sts(&rig.ecr, &format!("Action=AssumeRole&RoleArn={ROLE}&RoleSessionName=s")).await;
    let field = |name: &str| assumed.split(&format!("<{name}>")).nth(1).unwrap().split('<').next().unwrap().to_owned();
    let (key, secret, token) = (field("AccessKeyId"), field("SecretAccessKey"), field("SessionToken"));
    let keys = [("AWS_ACCESS_KEY_ID", &*key), ("AWS_SECRET_ACCESS_KEY", &*secret), ("AWS_SESSION_TOKEN", &*token)];
    rig.ecr.set(Knob::ExpireSession(key.clone()));
    let output = helper(&rig, "", &keys);
    assert!(text(&output.stderr).contains("expired"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

/// The forms of failure that a test may want the API to take.
#[tokio::test]
async fn failures_come_in_the_words_of_aws() {
    let ecr = FakeEcr::start().await;
    let api = || Rule::on(Listener::Api).once();
    for (rule, status, wanted) in [
        (api().aws_failure("ThrottlingException"), 400, "Rate exceeded"),
        (api().aws_failure("RequestExpired"), 400, "Request has expired."),
        (api().aws_failure("ServerException"), 500, "ServerException"),
        (api().clock_skew(), 400, "is now earlier than"),
        (api().captive_portal(), 200, "<html>"),
        (api().empty_answer(), 200, ""),
        (api().sts_error("AccessDenied", "no <way>"), 403, "no &lt;way&gt;"),
    ] {
        ecr.clear_faults();
        ecr.fault(rule);
        let (got, body) = sts(&ecr, "Action=GetCallerIdentity").await;
        assert_eq!(got.as_u16(), status, "{body}");
        assert!(body.contains(wanted), "{body}");
    }
}
