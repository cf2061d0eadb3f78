//! [`Whose`]: who answers for a server: ECR, nobody, or another helper.
//!
//! Decides by the name and the configuration alone; asks nobody, resolves nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Selection, Wanted, Way, rule, way};
use crate::{
    config::Config,
    ecr::EcrRegistry,
    oci::{Registry, server_address, server_host},
};

/// Who answers for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// We do, with a token for this registry.
    Ecr(Registry, Box<Wanted>),
    /// It is used without credentials.
    Nobody,
    /// It is none of ours.
    Foreign,
}

/// Whether the name alone says that the server is an ECR registry.
#[must_use]
pub fn is_ecr_by_name(server: &str) -> bool {
    EcrRegistry::parse(&server_host(server)).is_some()
}

/// Who answers for `server`, with the rights of `selection`.
#[must_use]
pub fn whose(config: &Config, server: &str, selection: &Selection) -> Whose {
    let (host, port) = server_address(server);
    let of_registry = |registry: Registry| match way(config, &registry, selection) {
        Way::Token(wanted) => Whose::Ecr(registry, wanted),
        Way::Anonymous => Whose::Nobody,
        Way::Foreign => Whose::Foreign,
    };
    if is_daemon(config.listen, &host, port) {
        return match config.default_registry.clone().map(of_registry) {
            Some(Whose::Ecr(registry, wanted)) => Whose::Ecr(registry, wanted),
            _ => Whose::Nobody,
        };
    }
    let with_port: Option<Registry> = port.and_then(|port| format!("{host}:{port}").parse().ok());
    // rules may name a port; most do not, and a client may add it
    let registry = with_port.filter(|registry| rule(config, registry).is_some()).or_else(|| host.parse().ok());
    registry.map_or(Whose::Foreign, of_registry)
}

/// What stands behind the address of the daemon of this machine, when that stands in front of an image's name.
#[must_use]
pub fn behind_daemon(listen: SocketAddr, name: &str) -> &str {
    let rest = name.split_once('/').filter(|(front, _)| {
        let (host, port) = server_address(front);
        is_daemon(listen, &host, port)
    });
    rest.map_or(name, |(_, rest)| rest)
}

/// Whether the daemon of this machine is meant. What it does not listen on may be somebody else's.
fn is_daemon(listen: SocketAddr, host: &str, port: Option<u16>) -> bool {
    if port != Some(listen.port()) {
        return false;
    }
    let Ok(address) = host.parse::<IpAddr>() else { return host == "localhost" };
    match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.is_ipv4() && address.is_loopback(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.is_loopback(),
        own => address == own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

    #[track_caller]
    fn check(config: &str, server: &str, want: &str) {
        let got = match whose(&Config::parse(config).unwrap(), server, &Selection::default()) {
            Whose::Ecr(_, wanted) => wanted.to_string(),
            Whose::Nobody => "nobody".to_owned(),
            Whose::Foreign => "foreign".to_owned(),
        };
        assert_eq!(got, want, "{server} with {config}");
    }

    #[test]
    fn ecr_is_known_by_name_in_every_spelling() {
        for server in [
            ECR.to_owned(),
            format!("https://{ECR}"),
            format!("http://{ECR}/v2/"),
            format!("{ECR}:443"),
            format!("{}.", ECR.to_uppercase()),
        ] {
            check("", &server, "ECR in eu-west-1");
        }
        check("", "vpce-0a1b-c2d3.dkr.ecr.eu-west-1.vpce.amazonaws.com", "ECR in eu-west-1");
        check("", "public.ecr.aws", "ECR Public");
        for server in ["ghcr.io", "https://index.docker.io/v1/", "localhost:5000", "", "a b", "[::1", "::1"] {
            check("", server, "foreign");
        }
    }

    #[test]
    fn an_alias_answers_as_what_it_stands_for() {
        let config = format!("[[registry]]\nmatch = \"registry.corp.example\"\nalias = \"{ECR}\"\n");
        check(&config, "registry.corp.example", "ECR in eu-west-1");
        check(&config, "https://Registry.Corp.Example:443/v2/", "ECR in eu-west-1");
        check(&config, "registry.corp.example.evil.example", "foreign");
        let with_port = format!("[[registry]]\nmatch = \"proxy.corp:5000\"\nalias = \"{ECR}\"\n");
        check(&with_port, "proxy.corp:5000", "ECR in eu-west-1");
        check(&with_port, "proxy.corp:5001", "foreign");
        check(&with_port, "proxy.corp", "foreign");
        check("[[registry]]\nmatch = \"a.b\"\nalias = \"c.d\"", "a.b", "foreign");
    }

    #[test]
    fn a_rule_can_take_a_registry_away() {
        let rule = |lines: &str| format!("[[registry]]\nmatch = \"*.dkr.ecr.*.amazonaws.com\"\n{lines}");
        check(&rule("username = \"u\"\npassword_file = \"/p\""), ECR, "foreign");
        check(&rule("anonymous = true"), ECR, "nobody");
        let alias = format!("\n[[registry]]\nmatch = \"a.b\"\nalias = \"{ECR}\"");
        check(&(rule("anonymous = true") + &alias), "a.b", "nobody");
    }

    #[test]
    fn the_daemon_answers_as_its_default_registry() {
        let with = |listen: &str, registry: &str| format!("listen = \"{listen}\"\ndefault_registry = \"{registry}\"\n");
        let usual = with("127.0.0.1:5577", ECR);
        for server in ["localhost:5577", "127.0.0.1:5577", "http://LOCALHOST:5577/v2/"] {
            check(&usual, server, "ECR in eu-west-1");
            check("", server, "nobody");
            check(&with("127.0.0.1:5577", "ghcr.io"), server, "nobody");
            check(&with("127.0.0.1:5578", ECR), server, "foreign");
        }
        check(&usual, "[::1]:5577", "foreign");
        check(&usual, "127.0.0.2:5577", "foreign");
        check(&usual, "localhost", "foreign");
        check(&with("[::1]:5577", ECR), "[::1]:5577", "ECR in eu-west-1");
        check(&with("[::1]:5577", ECR), "127.0.0.1:5577", "foreign");
        let open = |listen| with(listen, ECR) + "[access]\nnetworks = [\"10.0.0.0/8\"]\n";
        check(&open("0.0.0.0:5577"), "127.0.0.1:5577", "ECR in eu-west-1");
        check(&open("0.0.0.0:5577"), "[::1]:5577", "foreign");
        check(&open("[::]:5577"), "[::1]:5577", "ECR in eu-west-1");
        let alias = format!("[[registry]]\nmatch = \"r.corp\"\nalias = \"{ECR}\"\n");
        check(&(with("127.0.0.1:5577", "r.corp") + &alias), "localhost:5577", "ECR in eu-west-1");
    }
}
