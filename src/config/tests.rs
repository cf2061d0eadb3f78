//! What a configuration text may say, and how mistakes are named.

use super::*;

#[track_caller]
fn rejected(text: &str, line: usize, key: &str, words: &str) {
    let error = Config::parse(text).expect_err(text);
    assert_eq!((error.line, error.key.as_deref()), (Some(line), Some(key)), "{error}");
    assert!(error.problem.contains(words), "{error}");
}

#[test]
fn nothing_is_required() {
    let config = Config::parse("").unwrap();
    assert_eq!(config.listen, "127.0.0.1:5577".parse().unwrap());
    assert_eq!(config.cache.revalidate, Duration::ZERO);
    assert!(config.cache.max_size.is_none() && config.registries.is_empty());
    assert_eq!(settings(&config), settings(&Config::default()));
}

#[test]
fn mistakes_are_named_with_their_line_and_key() {
    rejected("listen = \"127.0.0.1:1\"\n\n[cache]\nsiez = \"1GB\"\n", 4, "cache.siez", "unknown field `siez`");
    rejected("[cache]\nmax_size = \"50 gigs\"", 2, "cache.max_size", "\"50GB\"");
    rejected("[cache]\nmax_size = 50", 2, "cache.max_size", "\"50GB\"");
    rejected("[cache]\nmax_size = \"0GB\"", 2, "cache.max_size", "above zero");
    rejected("[cache]\nrevalidate = \"6 apples\"", 2, "cache.revalidate", "\"6h\"");
    rejected("grace = \"-6s\"", 1, "grace", "\"6h\"");
    rejected("[upstream]\nidle_timeout = \"0s\"", 2, "upstream.idle_timeout", "lets nothing through");
    rejected("[cache]\ndir = \"\"", 2, "cache.dir", "begins with /");
    rejected("[cache]\ndir = \"cache\"", 2, "cache.dir", "begins with /");
    rejected("[[registry]]\nmatch = \"a.b\"\ntoken_host = \"c.b:8443\"", 3, "registry.token_host", "without a port");
    rejected("[[registry]]\nmatch = \"a.b\"\nusername = \"u\"", 3, "registry.username", "password_file");
    rejected("listen = \"5577\"", 1, "listen", "\"127.0.0.1:5577\"");
    rejected("[[registry]]\nmatch = \"**.example\"", 2, "registry.match", "host pattern");
    rejected("[[registry]]\nmatch = \"a.b\"\nendpoint = \"ftp://x\"", 3, "registry.endpoint", "https://host");
    rejected("[[registry]]\nmatch = \"a.b\"\npassword_file = \"/p\"", 3, "registry.password_file", "username");
    rejected("[access]\nnetworks = [\"10.0.0.0/99\"]", 2, "access.networks", "\"10.0.0.0/8\"");
    rejected(
        "\n[upstream.connect_to]\n\"**.b:443\" = \"127.0.0.1:1\"",
        3,
        "upstream.connect_to.\"**.b:443\"",
        "host pattern",
    );
    rejected("log_format = \"xml\"", 1, "log_format", "`text`");
    rejected("\ntoken_store = \"encrypted-file\"", 2, "token_store", "token_key_file");
    rejected("token_store = \"file\"\ntoken_key_file = \"/k\"", 2, "token_key_file", "encrypted-file");
    rejected("token_store = \"vault\"", 1, "token_store", "`encrypted-file`");
    rejected("[fallback]\nhelper = \"docker-credential-pass\"", 2, "fallback.helper", "such as");
    rejected("[fallback]\nhelper = \"longshore\"", 2, "fallback.helper", "its own fallback");
    let rule = |lines: &str| format!("[[registry]]\nmatch = \"*.dkr.ecr.*.amazonaws.com\"\n{lines}");
    rejected(&rule("role_arn = \"EcrPull\""), 3, "registry.role_arn", "arn:aws:iam::{account}:role/EcrPull");
    rejected(&rule("role_arn = \"arn:aws:iam::{acount}:role/X\""), 3, "registry.role_arn", "not the ARN");
    rejected(&rule("endpoint_url = \"api.ecr\""), 3, "registry.endpoint_url", "https://host");
    rejected(&rule("profile = \"\""), 3, "registry.profile", "not empty");
    rejected(&rule("external_id = \"x\""), 2, "registry.match", "external_id of this table: it belongs to a role");
    rejected(&rule("mfa_command = \"x\""), 2, "registry.match", "mfa_serial");
    rejected(&rule("anonymous = true\nprofile = \"x\""), 2, "registry.match", "anonymously");
    let user = "username = \"u\"\npassword_file = \"/p\"\nprofile = \"x\"";
    rejected(&rule(user), 2, "registry.match", "keep one of the two");
    let short = "role_arn = \"arn:aws:iam::{account}:role/X\"\nduration = \"5m\"";
    rejected(&rule(short), 2, "registry.match", "15 minutes");
    rejected("default_registry = \"https://a.b\"", 1, "default_registry", "host[:port]");
}

#[test]
fn a_rule_that_could_never_count_is_refused() {
    let rule = |pattern: &str, lines: &str| format!("[[registry]]\nmatch = \"{pattern}\"\n{lines}");
    let arn = "role_arn = \"arn:aws:iam::{account}:role/X\"";
    rejected(&rule("12345678901", ""), 2, "registry.match", "has 11 digits, and an AWS account id has 12");
    rejected(&rule("1234567890123", "endpoint = \"http://a.b\""), 2, "registry.match", "has 13 digits");
    for pattern in ["*", "*.amazonaws.com", "*.*.amazonaws.com", "localhost:5000", "registry.corp", "evil.ecr.aws"] {
        rejected(&rule(pattern, "profile = \"x\""), 2, "registry.match", "\"*.dkr.ecr.*.amazonaws.com\"");
        rejected(&rule(pattern, arn), 2, "registry.match", "part of one label");
    }
    for pattern in ["123456789012", "*.dkr.ecr.*.amazonaws.com", "*.dkr-ecr.*.on.aws", "public.ecr.aws", "*.ecr.aws"] {
        assert!(Config::parse(&rule(pattern, "profile = \"x\"")).is_ok(), "{pattern}");
    }
    let alias = "alias = \"123456789012.dkr.ecr.us-east-1.amazonaws.com\"\nprofile = \"x\"";
    assert!(Config::parse(&rule("registry.corp", alias)).is_ok() && Config::parse(&rule("*", "")).is_ok());
    for region in ["EU-West-1", "eu west", "eu-west-1.evil.example", "", "-"] {
        let line = format!("region = \"{region}\"");
        rejected(&rule("123456789012", &line), 3, "registry.region", "is not the name of a region; write for example");
    }
    for pattern in ["public.ecr.aws", "vpce-*.dkr.ecr.*.vpce.amazonaws.com"] {
        rejected(&rule(pattern, arn), 3, "registry.role_arn", "has none; write its digits");
        let fixed = arn.replace("{account}", "123456789012");
        assert!(Config::parse(&rule(pattern, &fixed)).is_ok());
        let named = alias.replace("profile = \"x\"", arn);
        assert!(Config::parse(&rule(pattern, &named)).is_ok());
    }
}

#[test]
fn an_address_others_reach_needs_access_rules() {
    rejected("\nlisten = \"0.0.0.0:5577\"", 2, "listen", "reachable from other machines");
    rejected("listen = \"[::]:5577\"", 1, "listen", "[access]");
    let text = "listen = \"0.0.0.0:5577\"\n[access]\nnetworks = [\"10.0.0.0/8\"]";
    assert_eq!(Config::parse(text).unwrap().access.networks.len(), 1);
    assert!(Config::parse("listen = \"127.9.9.9:5577\"").is_ok());
    assert!(Config::parse("listen = \"[::1]:5577\"").is_ok());
}

#[test]
fn text_that_is_not_toml_says_where() {
    let error = Config::parse("listen = \"127.0.0.1:1\"\ngrace = ").unwrap_err();
    assert_eq!(error.line, Some(2));
}

#[test]
fn every_setting_is_shown_with_its_line() {
    let text = "grace = \"90s\"\n[cache]\nmax_size = \"50GB\"\n[[registry]]\nmatch = \"a.b\"\nendpoint = \"http://127.0.0.1:5000\"\n\
                [upstream.connect_to]\n\"*.a.b:443\" = \"127.0.0.1:1\"";
    let config = Config::parse(text).unwrap();
    let origins = Origins::of(text);
    let shown: Vec<_> = settings(&config)
        .into_iter()
        .filter_map(|(key, value)| Some((origins.line(&key)?, key, value?)))
        .map(|(line, key, value)| format!("{line} {key} = {value}"))
        .collect();
    let want = [
        "1 grace = \"1m 30s\"",
        "3 cache.max_size = \"50GB\"",
        "8 upstream.connect_to.*.a.b:443 = \"127.0.0.1:1\"",
        "5 registry[0].match = \"a.b\"",
        "6 registry[0].endpoint = \"http://127.0.0.1:5000\"",
    ];
    assert_eq!(shown, want);
}

#[test]
fn the_first_rule_that_matches_counts() {
    let text =
        "[[registry]]\nmatch = \"*.b\"\ntoken_host = \"one\"\n[[registry]]\nmatch = \"a.b\"\ntoken_host = \"two\"";
    let config = Config::parse(text).unwrap();
    let rule = config.rule(&"a.b".parse().unwrap(), None).unwrap();
    assert_eq!(rule.token_host.as_deref(), Some("one"));
    assert!(config.rule(&"a.c".parse().unwrap(), None).is_none());
}
