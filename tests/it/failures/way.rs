//! How each thing goes wrong on the way to AWS: proxies, certificates, names, connections, answers.
//!
//! The shell has a key, so nothing else can be wrong.

use super::setup::{api, keys};
use crate::{
    fake_ecr::{Knob, Listener, Rule, TokenReply},
    shell::Shell,
};

pub fn proxy_wants_a_password(shell: &mut Shell) {
    keys(shell).behind_the_proxy().ecr.set(Knob::ProxyCredentials(Some("user:a-secret".to_owned())));
}

pub fn proxy_refuses(shell: &mut Shell) {
    keys(shell).behind_the_proxy().ecr.fault(Rule::on(Listener::Proxy).method("CONNECT").status(403));
}

pub fn proxy_not_there(shell: &mut Shell) {
    keys(shell).behind_the_proxy().set("HTTPS_PROXY", "http://me:a-secret@127.0.0.1:1");
}

pub fn authority_unknown(shell: &mut Shell) {
    keys(shell).behind_the_proxy().unset("AWS_CA_BUNDLE");
}

pub fn bundle_not_there(shell: &mut Shell) {
    keys(shell).behind_the_proxy().set("AWS_CA_BUNDLE", "/nowhere/ca.pem");
}

pub fn bundle_not_pem(shell: &mut Shell) {
    shell.write("ca.der", "0\u{82}");
    let path = shell.path("ca.der");
    keys(shell).behind_the_proxy().set("AWS_CA_BUNDLE", &path);
}

pub fn no_network(shell: &mut Shell) {
    // a name that never resolves
    keys(shell).set("AWS_ENDPOINT_URL", "https://api.invalid").set("RES_OPTIONS", "timeout:1 attempts:1");
}

pub fn nobody_listens(shell: &mut Shell) {
    keys(shell).set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
}

pub fn endpoint_empty(shell: &mut Shell) {
    keys(shell).set("AWS_ENDPOINT_URL", "");
}

pub fn endpoint_not_a_url(shell: &mut Shell) {
    keys(shell).set("AWS_ENDPOINT_URL", "localhost:4566");
}

pub fn endpoint_without_scheme_in_a_profile(shell: &mut Shell) {
    keys(shell).unset("AWS_ENDPOINT_URL").profiles("[default]\nendpoint_url = localhost:4566\n");
}

pub fn endpoint_empty_in_a_profile(shell: &mut Shell) {
    keys(shell).unset("AWS_ENDPOINT_URL").profiles("[default]\nendpoint_url =\n");
}

pub fn endpoint_of_a_service_not_a_url(shell: &mut Shell) {
    keys(shell)
        .unset("AWS_ENDPOINT_URL")
        .profiles("[default]\nservices = local\n[services local]\nsts =\n  endpoint_url = http://a b\n");
}

pub fn endpoint_with_a_space(shell: &mut Shell) {
    keys(shell).set("AWS_ENDPOINT_URL_STS", "http://a b");
}

/// No permission would not keep root out.
pub fn configuration_not_readable(shell: &mut Shell) {
    std::fs::create_dir(shell.path("home/.aws/config")).unwrap();
}

pub fn endpoint_of_ones_own_and_fips(shell: &mut Shell) {
    keys(shell).set("AWS_USE_FIPS_ENDPOINT", "true");
}

pub fn captive_portal(shell: &mut Shell) {
    api(shell, Rule::captive_portal);
}

pub fn aws_out_of_order(shell: &mut Shell) {
    api(shell, |rule| rule.aws_failure("ServerException"));
}

pub fn gateway_out_of_order(shell: &mut Shell) {
    api(shell, |rule| rule.status(503).set_header("Content-Type", "text/html").body("<html>503</html>"));
}

pub fn answer_empty(shell: &mut Shell) {
    api(shell, Rule::empty_answer);
}

pub fn token_over_on_arrival(shell: &mut Shell) {
    keys(shell).ecr.set(Knob::TokenReply(TokenReply::PastExpiry));
}

pub fn connection_cut(shell: &mut Shell) {
    api(shell, |rule| rule.reset_after(0));
}
