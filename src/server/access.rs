//! Who may come: this machine, and the networks the configuration lists.

use std::net::IpAddr;

use crate::config::Access;

pub(super) fn allows(access: &Access, peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || access.networks.iter().any(|network| network.contains(&peer))
}

#[test]
fn loopback_and_listed_networks_may_come() {
    let access = Access { networks: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()] };
    for (peer, want) in [
        ("127.0.0.9", true),
        ("::1", true),
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("fd12::1", true),
        ("10.2.0.1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(allows(&access, peer.parse().unwrap()), want, "{peer}");
    }
    assert!(!allows(&Access::default(), "192.0.2.1".parse().unwrap()));
}
