//! Which API a registry's token is asked of: the class of the host decides, and nothing else is asked.
//!
//! The proxy of the fake notes every tunnel; no endpoint is overridden, so the rules of the AWS SDK are in force.

use std::fs;

use crate::{
    fake_ecr::{Knob, Listener, cache_sso_token},
    rig::text,
    shell::Shell,
};

const NOT_FOUND: &str = "credentials not found in native keychain\n";

/// Host as docker or a user writes it, and the API host that must be asked.
///
/// Issue: the incumbent asks `api.ecr.us-east-1` for a FIPS host and an IPv4-only name for a dual-stack one, and does not
/// know the dual-stack hosts of the European Sovereign Cloud, those of `PrivateLink`, nor `http://`.
const HOSTS: [(&str, &str); 23] = [
    ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com"),
    ("123456789012.dkr.ecr.il-central-1.amazonaws.com", "api.ecr.il-central-1.amazonaws.com"),
    ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com"),
    ("123456789012.dkr-ecr.us-west-2.on.aws", "ecr.us-west-2.api.aws"),
    ("123456789012.dkr-ecr-fips.us-west-2.on.aws", "ecr-fips.us-west-2.api.aws"),
    ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", "api.ecr.us-gov-west-1.amazonaws.com"),
    ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "api.ecr-fips.us-gov-west-1.amazonaws.com"),
    ("123456789012.dkr-ecr-fips.us-gov-east-1.on.aws", "ecr-fips.us-gov-east-1.api.aws"),
    ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn"),
    ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "ecr.cn-north-1.api.amazonwebservices.com.cn"),
    ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "api.ecr.eusc-de-east-1.amazonaws.eu"),
    ("123456789012.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu", "ecr.eusc-de-east-1.api.amazonwebservices.eu"),
    ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "api.ecr.us-iso-east-1.c2s.ic.gov"),
    ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "api.ecr.us-isob-east-1.sc2s.sgov.gov"),
    ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "api.ecr.eu-isoe-west-1.cloud.adc-e.uk"),
    ("123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "api.ecr.us-isof-south-1.csp.hci.ic.gov"),
    ("vpce-0123456789abcdef0-abcdefgh.dkr.ecr.us-east-2.vpce.amazonaws.com", "api.ecr.us-east-2.amazonaws.com"),
    ("public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com"),
    ("ecr-public.aws.com", "ecr-public.us-east-1.api.aws"),
    ("123456789012.DKR.ECR.eu-west-1.AmazonAWS.com", "api.ecr.eu-west-1.amazonaws.com"),
    ("123456789012.dkr.ecr.eu-west-2.amazonaws.com.", "api.ecr.eu-west-2.amazonaws.com"),
    ("http://123456789012.dkr.ecr.eu-west-3.amazonaws.com", "api.ecr.eu-west-3.amazonaws.com"),
    ("https://123456789012.dkr.ecr.eu-north-1.amazonaws.com:443/v2/app", "api.ecr.eu-north-1.amazonaws.com"),
];

/// Issue: nor must any of these be taken for a registry of ECR.
const FOREIGN: [&str; 10] = [
    "index.docker.io",
    "https://index.docker.io/v1/",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example",
    "123456789012.dkr.ecr.us-east-1.evil.example",
    "evil.example/123456789012.dkr.ecr.us-east-1.amazonaws.com",
    "user@evil.example",
    "000000000000.dkr.ecr.us-east-1.localhost.localstack.cloud:4566",
    "vpce-0123456789abcdef0-abcdefgh.dkr.ecr.us-east-1.vpce.amazonaws.com.evil.example",
    "vpce-0123456789abcdef0-abcdefgh.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com",
    "12345678901.dkr.ecr.us-east-1.amazonaws.com",
];

/// The hosts that were asked, in order.
fn asked(shell: &Shell) -> Vec<String> {
    let calls = shell.ecr.calls();
    assert!(calls.iter().all(|call| call.tls), "{calls:?}");
    let hosts: Vec<_> = calls.into_iter().map(|call| call.host).collect();
    let tunnels: Vec<_> = shell.ecr.connects().iter().map(|tunnel| tunnel.replace(":443", "")).collect();
    assert_eq!(hosts, tunnels);
    hosts
}

#[tokio::test]
async fn the_host_of_a_registry_decides_which_api_is_asked() {
    let mut shell = Shell::with_keys().await;
    shell.behind_the_proxy();
    for (host, api) in HOSTS {
        shell.ecr.clear_requests();
        let output = shell.get(host);
        assert!(output.status.success(), "{host}: {output:?}");
        assert_eq!(asked(&shell), [api], "{host}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_of_ecr_makes_no_connection() {
    let mut shell = Shell::with_keys().await;
    shell.behind_the_proxy();
    for host in FOREIGN {
        let output = shell.get(host);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), NOT_FOUND), "{host}");
        assert_eq!(text(&output.stderr), "", "{host}");
    }
    assert!(shell.ecr.requests().is_empty(), "{:?}", shell.ecr.requests());
}

#[tokio::test]
async fn the_role_for_a_fips_registry_is_assumed_at_a_fips_endpoint() {
    let mut shell = Shell::with_keys().await;
    shell
        .behind_the_proxy()
        .rules("[[registry]]\nmatch = \"123456789012\"\nrole_arn = \"arn:aws:iam::123456789012:role/pull\"\n");
    for (host, hosts) in [
        (
            "123456789012.dkr.ecr-fips.us-east-2.amazonaws.com",
            ["sts-fips.us-east-2.amazonaws.com", "api.ecr-fips.us-east-2.amazonaws.com"],
        ),
        ("123456789012.dkr-ecr-fips.us-east-2.on.aws", ["sts-fips.us-east-2.api.aws", "ecr-fips.us-east-2.api.aws"]),
        // in GovCloud the plain name of STS is the FIPS endpoint
        (
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            ["sts.us-gov-west-1.amazonaws.com", "api.ecr-fips.us-gov-west-1.amazonaws.com"],
        ),
        (
            "123456789012.dkr.ecr.us-east-2.amazonaws.com",
            ["sts.us-east-2.amazonaws.com", "api.ecr.us-east-2.amazonaws.com"],
        ),
        ("123456789012.dkr-ecr.us-east-2.on.aws", ["sts.us-east-2.api.aws", "ecr.us-east-2.api.aws"]),
    ] {
        shell.ecr.clear_requests();
        shell.secret(host);
        assert_eq!(asked(&shell), hosts, "{host}");
    }
}

#[tokio::test]
async fn a_web_identity_for_a_fips_registry_is_shown_to_a_fips_endpoint() {
    const HOST: &str = "123456789012.dkr.ecr-fips.us-west-2.amazonaws.com";
    let hosts = ["sts-fips.us-west-2.amazonaws.com", "api.ecr-fips.us-west-2.amazonaws.com"];
    let mut shell = Shell::start().await;
    shell.behind_the_proxy().write("token", "a.web.identity");
    let file = shell.path("token");
    shell.set("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod").set("AWS_WEB_IDENTITY_TOKEN_FILE", &file);
    shell.secret(HOST);
    assert_eq!(asked(&shell), hosts);

    shell.unset("AWS_ROLE_ARN").unset("AWS_WEB_IDENTITY_TOKEN_FILE").ecr.clear_requests();
    let profile =
        format!("[default]\nrole_arn = arn:aws:iam::123456789012:role/pod\nweb_identity_token_file = {file}\n");
    shell.profiles(&profile).secret(HOST);
    assert_eq!(asked(&shell), hosts);
}

#[tokio::test]
async fn the_roles_of_a_profile_are_assumed_where_the_registry_is() {
    let mut shell = Shell::start().await;
    shell.behind_the_proxy().profiles(
        "[default]\nrole_arn = arn:aws-cn:iam::1:role/pull\nsource_profile = base\nregion = us-east-1\n\
         [profile base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = secret\n",
    );
    shell.secret("123456789012.dkr.ecr.cn-northwest-1.amazonaws.com.cn");
    assert_eq!(asked(&shell), ["sts.cn-northwest-1.amazonaws.com.cn", "api.ecr.cn-northwest-1.amazonaws.com.cn"]);
}

#[tokio::test]
async fn a_sign_in_is_shown_to_the_portal_of_its_own_region() {
    let mut shell = Shell::start().await;
    shell.behind_the_proxy().profiles(
        "[default]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = dev\n\
         [sso-session corp]\nsso_region = eu-central-1\nsso_start_url = https://corp.example\n",
    );
    let token = serde_json::json!({"accessToken": "signed-in", "expiresAt": "2099-01-01T00:00:00Z"});
    cache_sso_token(&shell.dir.path().join("home"), "corp", &token);
    shell.ecr.set(Knob::SsoToken("signed-in".to_owned()));
    shell.secret("123456789012.dkr.ecr.us-east-1.amazonaws.com");
    assert_eq!(asked(&shell), ["portal.sso.eu-central-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com"]);
}

#[tokio::test]
async fn a_rule_may_ask_another_region_and_another_endpoint() {
    let mut shell = Shell::with_keys().await;
    let url = shell.ecr.api_url();
    shell.behind_the_proxy().rules("[[registry]]\nmatch = \"123456789012\"\nregion = \"eu-west-1\"\n");
    shell.secret("123456789012.dkr.ecr.us-east-1.amazonaws.com");
    assert_eq!(asked(&shell), ["api.ecr.eu-west-1.amazonaws.com"]);
    // a plain endpoint needs no tunnel
    shell.ecr.clear_requests();
    shell.rules(&format!("[[registry]]\nmatch = \"123456789012\"\nendpoint_url = \"{url}\"\n"));
    shell.secret("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com");
    assert_eq!((shell.mints(), shell.ecr.connects().len()), (1, 0));
}

#[tokio::test]
async fn the_endpoint_of_a_rule_is_that_of_ecr_and_of_nobody_else() {
    let mut shell = Shell::with_keys().await;
    let url = shell.ecr.api_url();
    shell.behind_the_proxy().rules(&format!(
        "[[registry]]\nmatch = \"123456789012\"\nendpoint_url = \"{url}\"\nrole_arn = \"arn:aws:iam::{{account}}:role/pull\"\n"
    ));
    shell.secret("123456789012.dkr.ecr.us-east-1.amazonaws.com");
    assert_eq!(shell.ecr.connects(), ["sts.us-east-1.amazonaws.com:443"]);
    assert_eq!(shell.calls(), ["AssumeRole", "GetAuthorizationToken"]);
}

/// Issue: the incumbent refuses names of one's own and `localhost`.
#[tokio::test]
async fn another_name_for_a_registry_is_asked_for_as_that_registry() {
    let mut shell = Shell::with_keys().await;
    shell.behind_the_proxy();
    let fips = "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com";
    let alias = |name: &str| format!("[[registry]]\nmatch = \"{name}\"\nalias = \"{fips}\"\n");
    for (name, rules) in [
        ("registry.corp.example", alias("registry.corp.example")),
        ("localhost:5000", alias("localhost:5000")),
        // the daemon's own address
        ("localhost:5577", format!("default_registry = \"{fips}\"\n")),
    ] {
        shell.ecr.clear_requests();
        shell.rules(&rules);
        fs::remove_dir_all(shell.path("home/.cache")).unwrap_or_default();
        shell.secret(name);
        assert_eq!(asked(&shell), ["api.ecr-fips.us-east-1.amazonaws.com"], "{name}");
    }
}

#[tokio::test]
async fn the_environment_may_ask_for_more_than_the_host_does() {
    let mut shell = Shell::with_keys().await;
    shell.behind_the_proxy().set("AWS_USE_FIPS_ENDPOINT", "true");
    shell.secret("123456789012.dkr.ecr.us-east-1.amazonaws.com");
    shell.unset("AWS_USE_FIPS_ENDPOINT").set("AWS_USE_DUALSTACK_ENDPOINT", "true");
    shell.secret("123456789012.dkr.ecr.us-east-1.amazonaws.com");
    shell.set("AWS_USE_FIPS_ENDPOINT", "false").set("AWS_USE_DUALSTACK_ENDPOINT", "false");
    shell.secret("123456789012.dkr-ecr-fips.us-east-1.on.aws");
    let hosts = ["api.ecr-fips.us-east-1.amazonaws.com", "ecr.us-east-1.api.aws", "ecr-fips.us-east-1.api.aws"];
    assert_eq!(asked(&shell), hosts);
}

#[tokio::test]
async fn no_proxy_is_asked_for_the_hosts_that_need_none() {
    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let mut shell = Shell::with_keys().await;
    shell.behind_the_proxy().set("NO_PROXY", "localhost,127.0.0.1");
    let url = format!("https://{}", shell.ecr.api_tls_address());
    shell.set("AWS_ENDPOINT_URL_ECR", &url).secret(HOST);
    assert_eq!((shell.mints(), shell.ecr.connects().len()), (1, 0));
    // no such region: the name does not resolve, and the proxy, who would know, is not asked
    shell.unset("AWS_ENDPOINT_URL_ECR").set("NO_PROXY", ".amazonaws.com").set("RES_OPTIONS", "timeout:1 attempts:1");
    let output = shell.get("123456789012.dkr.ecr.xx-nowhere-1.amazonaws.com");
    assert!(!output.status.success() && shell.ecr.connects().is_empty(), "{output:?}");
    shell.set("NO_PROXY", ".amazonaws.com.cn").secret("123456789012.dkr.ecr.xx-nowhere-1.amazonaws.com");
    assert_eq!(shell.ecr.connects(), ["api.ecr.xx-nowhere-1.amazonaws.com:443"]);
}

#[tokio::test]
async fn a_proxy_is_taken_as_people_write_it() {
    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let mut shell = Shell::with_keys().await;
    shell.ecr.set(Knob::ProxyCredentials(Some("me:pass word".to_owned())));
    let proxy = shell.ecr.proxy_url().replace("http://", "");
    for (name, value) in [
        ("HTTPS_PROXY", format!("http://me:pass%20word@{proxy}")),
        ("https_proxy", format!("http://me:pass%20word@{proxy}")),
        ("ALL_PROXY", format!("http://me:pass%20word@{proxy}")),
        ("HTTPS_PROXY", format!("me:pass%20word@{proxy}")),
    ] {
        shell.behind_the_proxy().unset("HTTPS_PROXY").set(name, &value).ecr.clear_requests();
        fs::remove_dir_all(shell.path("home/.cache")).unwrap_or_default();
        shell.secret(HOST);
        assert_eq!(asked(&shell), ["api.ecr.us-east-1.amazonaws.com"], "{name}={value}");
        shell.unset(name);
    }
}

#[tokio::test]
async fn a_bundle_of_certificates_may_be_named_by_the_profile() {
    let mut shell = Shell::with_keys().await;
    let bundle = format!("[default]\nca_bundle = {}\n", shell.path("ca.pem"));
    shell.behind_the_proxy().unset("AWS_CA_BUNDLE").profiles(&bundle);
    shell.secret("123456789012.dkr.ecr.us-east-1.amazonaws.com");
}

#[tokio::test]
async fn neither_instance_nor_container_is_asked_through_the_proxy() {
    for (name, path) in
        [("AWS_EC2_METADATA_SERVICE_ENDPOINT", ""), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/v1/credentials")]
    {
        let mut shell = Shell::start().await;
        let (proxy, url) = (shell.ecr.proxy_url(), format!("{}{path}", shell.ecr.metadata_url()));
        shell.behind_the_proxy().set("HTTP_PROXY", &proxy).set("AWS_EC2_METADATA_DISABLED", "false").set(name, &url);
        shell.secret("123456789012.dkr.ecr.us-east-1.amazonaws.com");
        assert_eq!(shell.ecr.requests_to(Listener::Proxy).len(), 1, "{name}");
        assert_eq!(asked(&shell), ["api.ecr.us-east-1.amazonaws.com"]);
    }
}
