//! The README stays true: its configuration is read, its table is held against the program, its commands exist.

use std::{collections::BTreeMap, fs};

use longshore::config::{Config, settings};

use crate::{
    fake_ecr::Image,
    rig::{APP, Rig, program, run, text},
};

const README: &str = include_str!("../../README.md");
/// Who runs the commands that are not run here: the command, a script, and the words there that run it.
const RUN_BY: [(&str, &str, &str); 4] = [
    ("./install.sh --demo", include_str!("../../.ci/run"), "./install.sh --demo --prefix"),
    ("tests/run.sh", include_str!("../../.ci/run"), "tests/run.sh"),
    ("docker pull localhost:5577/", include_str!("../clients/docker.sh"), "docker --config \"$STATE/empty\" pull"),
    ("longshore serve", include_str!("../clients/world.sh"), "\"$BIN_DIR/longshore\" serve"),
];

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let blocks = README.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// Key and default of each row of the configuration table.
fn table() -> BTreeMap<String, String> {
    let (_, table) = README.split_once("| key | default | meaning |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .flat_map(|cells| {
            cells[1].split(", ").map(|key| (key.trim_matches('`').to_owned(), cells[2].to_owned())).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_setting_is_in_the_table_with_its_default() {
    let table = table();
    let config = Config::default();
    for (key, value) in settings(&config) {
        let default = table.get(&key).unwrap_or_else(|| panic!("{key} is not in the table"));
        if let Some(value) = value {
            assert_eq!(*default, format!("`{value}`"), "{key}");
        }
    }
    // and the keys that only some configurations have
    let example = blocks("toml").into_iter().find(|block| block.contains("[access]")).unwrap();
    let config = Config::parse(example).unwrap();
    for (key, _) in settings(&config) {
        let key = if key.starts_with("upstream.connect_to") { "upstream.connect_to" } else { &key };
        assert!(
            table.contains_key(&key.replace(|c: char| c == '[' || c == ']' || c.is_ascii_digit(), "")),
            "{key} is not in the table"
        );
    }
}

#[tokio::test]
async fn every_command_exists_and_is_run_by_a_test() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::index(["linux/amd64", "linux/arm64"]));
    fs::write(rig.dir.path().join("compose.yaml"), format!("services: {{app: {{image: \"{APP}:v1\"}}}}\n")).unwrap();
    let lines = blocks("sh").into_iter().flat_map(str::lines);
    let commands: Vec<_> = lines.map(|line| line.split('#').next().unwrap().trim()).collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        if let Some((_, script, words)) = RUN_BY.iter().find(|(known, ..)| command.starts_with(known)) {
            assert!(script.contains(words), "{command} is not run");
            continue;
        }
        let arguments = command.strip_prefix("longshore ").unwrap_or_else(|| panic!("nobody runs {command}"));
        // in the rig's own home, so it may really be done
        let arguments: Vec<_> = arguments.split(' ').collect();
        let mut program = program(env!("CARGO_BIN_EXE_longshore"), &rig.ecr, rig.dir.path());
        let output = run(program.current_dir(rig.dir.path()).args(arguments), "");
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
    }
}

#[test]
fn what_a_person_sees_is_what_the_program_says() {
    let (_, table) = README.split_once("| you see | it means | do |").unwrap();
    let seen =
        table.lines().skip(2).take_while(|line| line.starts_with('|')).map(|row| row.split('|').nth(1).unwrap().trim());
    let ours: Vec<_> = seen.filter(|seen| seen.starts_with('`')).map(|seen| seen.trim_matches('`')).collect();
    let sources = [
        include_str!("../../src/ecr/failure.rs"),
        include_str!("../../src/helper/handover.rs"),
        include_str!("../../src/helper/mod.rs"),
        include_str!("../../src/oci/error.rs"),
        include_str!("../../src/server/resolve.rs"),
        include_str!("../../src/store/mod.rs"),
        include_str!("../../src/store/tokens/file.rs"),
        include_str!("../../src/store/tokens/mod.rs"),
        include_str!("../../src/upstream/error.rs"),
    ];
    // in ECR's own words, or put together from a code that AWS sends
    let of_aws = ["is not authorized to perform: ecr:BatchGetImage", "GetAuthorizationToken: AccessDeniedException"];
    for words in ours.iter().filter(|words| !of_aws.contains(words)) {
        assert!(sources.iter().any(|source| source.contains(words)), "{words}");
    }
    assert!(ours.len() > 4, "{ours:?}");
}
