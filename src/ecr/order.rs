//! [`Way`]: which of the ways to credentials that a profile names is the one that is gone.
//!
//! Pure, and the only place that knows the order: `sources` goes the way, `survey` tells of it.

use super::profiles::Profile;

/// A way to credentials, as one profile names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A role, assumed with what `source_profile` or `credential_source` gives.
    Role,
    /// A role, assumed with the token in a file.
    WebIdentity,
    /// A sign-in to IAM Identity Center, which may be named in part only.
    SignIn,
    /// A sign-in to the console.
    Console,
    /// An access key.
    Key,
    /// A command that prints credentials.
    Process,
    /// One half of an access key.
    HalfOfAKey,
}

/// The way that `profile` names; `None` when it says nothing about credentials.
///
/// As the AWS CLI and the Go SDK have it. Where the two differ a sign-in goes before keys as in the CLI, and keys go
/// before `credential_process` whichever file they are in as in the Go SDK.
pub(super) fn way(profile: &Profile) -> Option<Way> {
    let has = |key: &str| profile.get(key).is_some_and(|value| !value.is_empty());
    let halves = ["aws_access_key_id", "aws_secret_access_key"].map(has);
    Some(if has("role_arn") {
        if has("web_identity_token_file") { Way::WebIdentity } else { Way::Role }
    } else if has("sso_account_id") || has("sso_role_name") {
        Way::SignIn
    } else if has("login_session") {
        Way::Console
    } else if halves == [true, true] {
        Way::Key
    } else if has("credential_process") {
        Way::Process
    } else if halves != [false, false] {
        Way::HalfOfAKey
    } else if has("sso_session") || has("sso_start_url") {
        Way::SignIn
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_ways_the_first_is_gone() {
        let in_order = [
            (Way::WebIdentity, &["role_arn", "web_identity_token_file"][..]),
            (Way::Role, &["role_arn"]),
            (Way::SignIn, &["sso_account_id"]),
            (Way::SignIn, &["sso_role_name"]),
            (Way::Console, &["login_session"]),
            (Way::Key, &["aws_access_key_id", "aws_secret_access_key"]),
            (Way::Process, &["credential_process"]),
            (Way::HalfOfAKey, &["aws_access_key_id"]),
            (Way::HalfOfAKey, &["aws_secret_access_key"]),
            (Way::SignIn, &["sso_session"]),
        ];
        for (at, (want, _)) in in_order.iter().enumerate() {
            // a half beside another half is a whole
            let later = in_order[at + 1..].iter().filter(|(way, _)| *way != Way::HalfOfAKey);
            let all = later.flat_map(|(_, keys)| keys.iter()).chain(in_order[at].1);
            let profile: Profile = all.map(|key| ((*key).to_owned(), "x".to_owned())).collect();
            assert_eq!(way(&profile), Some(*want), "{profile:?}");
        }
        assert_eq!(way(&Profile::from([("region".to_owned(), "x".to_owned())])), None);
        assert_eq!(way(&Profile::from([("role_arn".to_owned(), String::new())])), None);
    }
}
