//! Which rule and which identity a registry's name leads to.

use super::*;

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

#[track_caller]
fn check(rules: &str, host: &str, profile: Option<&str>, role: Option<&str>) {
    let config = Config::parse(rules).unwrap();
    let Way::Token(wanted) = way(&config, &host.parse().unwrap(), &Selection::default()) else {
        panic!("{host} needs a token")
    };
    assert_eq!(wanted.identity.profile.as_deref(), profile, "{rules}");
    assert_eq!(wanted.identity.role.map(|role| role.arn).as_deref(), role, "{rules}");
}

#[test]
fn the_first_rule_that_matches_by_name_or_account_names_the_identity() {
    let rules = "[[registry]]\nmatch = \"123456789012\"\nprofile = \"one\"\n\
                 [[registry]]\nmatch = \"*.dkr.ecr.*.amazonaws.com\"\nprofile = \"two\"\n";
    check(rules, HOST, Some("one"), None);
    check(rules, "210987654321.dkr.ecr.us-east-1.amazonaws.com", Some("two"), None);
    check(rules, "public.ecr.aws", None, None);
    check("", HOST, None, None);
}

#[test]
fn placeholders_are_those_of_the_registry() {
    let rules = "[[registry]]\nmatch = \"*.dkr.ecr.*.amazonaws.com\"\n\
                 role_arn = \"arn:aws:iam::{account}:role/Pull-{region}\"\n";
    check(rules, HOST, None, Some("arn:aws:iam::123456789012:role/Pull-eu-west-1"));
}

#[test]
fn an_alias_has_the_identity_of_what_it_stands_for_unless_it_names_one() {
    let alias = format!("[[registry]]\nmatch = \"cname.corp\"\nalias = \"{HOST}\"\n");
    let target = "[[registry]]\nmatch = \"123456789012\"\nprofile = \"target\"\n";
    check(&format!("{alias}{target}"), "cname.corp", Some("target"), None);
    check(&format!("{alias}profile = \"own\"\n{target}"), "cname.corp", Some("own"), None);
}

#[test]
fn a_host_that_is_not_of_ecr_is_foreign_even_if_it_begins_with_the_account() {
    let config = Config::parse("[[registry]]\nmatch = \"123456789012\"\nprofile = \"one\"\n").unwrap();
    for host in ["ghcr.io", "123456789012.evil.example", "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example"] {
        assert_eq!(way(&config, &host.parse().unwrap(), &Selection::default()), Way::Foreign, "{host}");
    }
    let config = Config::parse("[[registry]]\nmatch = \"public.ecr.aws\"\nanonymous = true\n").unwrap();
    assert_eq!(way(&config, &"public.ecr.aws".parse().unwrap(), &Selection::default()), Way::Anonymous);
}

#[test]
fn the_profile_in_the_programs_name_beats_the_rules() {
    let config = Config::parse("[[registry]]\nmatch = \"123456789012\"\nprofile = \"rule\"\n").unwrap();
    let selection = Selection { profile: Some("name".to_owned()) };
    let Way::Token(wanted) = way(&config, &HOST.parse().unwrap(), &selection) else { panic!() };
    assert_eq!(wanted.identity.profile.as_deref(), Some("name"));
}

#[test]
fn whatever_names_the_identity_is_in_the_key() {
    let scope = EcrRegistry::parse(HOST).unwrap().scope;
    let wanted = |identity: Identity| Wanted { scope: scope.clone(), identity };
    let role = |arn: &str| Some(Role { arn: arn.to_owned(), ..Role::default() });
    let keys = [
        wanted(Identity::default()),
        wanted(Identity { profile: Some("a".into()), ..Identity::default() }),
        wanted(Identity { profile: Some("b".into()), ..Identity::default() }),
        wanted(Identity { role: role("x"), ..Identity::default() }),
        wanted(Identity { role: role("y"), ..Identity::default() }),
    ]
    .map(|wanted| wanted.key().as_str().to_owned());
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
}
