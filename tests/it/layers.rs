//! The layers of the house as a test: which module of `src` may name which other one, and what
//! must be absent from where.
//!
//! Scans text, never compiles it: comments and literals are dropped, paths are read from the
//! tokens that are left. It never prints anything but the list of broken rules.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The top-level modules of the library, lowest layer first. A module names only modules of
/// lower layers, never one above it or beside it.
const LAYERS: &[&[&str]] = &[
    &["oci", "secret", "chain", "config"],
    &["ecr", "store", "environment", "flight"],
    &["credentials"],
    &["upstream"],
    &["cache"],
    &["helper", "server", "setup"],
    &["cli"],
];

/// The exceptions: a configuration is written in the words of its neighbours, and refused where it is loaded when what an
/// alias stands for is no name of ECR.
const SIBLINGS: &[(&str, &str)] = &[("config", "oci"), ("config", "secret"), ("environment", "ecr")];

/// Modules that do no I/O, are not async and read no clock.
const PURE: &[&str] = &["oci", "secret", "chain", "config"];

/// Lines a file may have without its tests. The budget is 300; above this nobody reads it whole.
const MOST_LINES: usize = 400;

#[test]
fn modules_name_only_what_lies_below_them() {
    keep(layering);
}

#[test]
fn only_ecr_names_the_aws_crates() {
    keep(aws_outside_ecr);
}

#[test]
fn only_store_names_cacache() {
    keep(cacache_outside_store);
}

#[test]
fn the_small_program_names_nothing_that_mints() {
    keep(runtime_on_the_warm_way);
}

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    keep(impurities);
}

#[test]
fn nothing_is_unsafe_but_one_block_of_one_file() {
    keep(unsafe_code);
}

#[test]
fn every_file_says_first_what_it_is() {
    keep(missing_header);
}

#[test]
fn no_file_outgrows_its_reader() {
    keep(too_long);
}

#[test]
fn every_module_of_the_table_exists() {
    let present: BTreeSet<String> = sources().iter().map(File::module).collect();
    let absent: Vec<&str> = LAYERS.concat().into_iter().filter(|module| !present.contains(*module)).collect();
    assert!(absent.is_empty(), "LAYERS names {absent:?}, absent in src");
}

/// Applies one rule to all of `src`.
#[track_caller]
fn keep(rule: fn(&File) -> Vec<String>) {
    let broken: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// One source file.
struct File {
    /// Below the package, with `/`: `src/oci/digest.rs`.
    path: String,
    text: String,
    /// Declared by `#[cfg(test)] mod …;` elsewhere: all of it is test code.
    is_test: bool,
}

impl File {
    /// The top-level module the file belongs to; `lib` for the root and `bin` for a program.
    fn module(&self) -> String {
        let inner = self.path.trim_start_matches("src/");
        let first = inner.split('/').next().unwrap_or(inner);
        first.trim_end_matches(".rs").to_owned()
    }

    /// How many modules deep the file's own module is; the crate's root is 0.
    fn depth(&self) -> usize {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inner.split('/').filter(|part| !matches!(*part, "lib" | "mod")).count()
    }

    /// The files a `mod name;` in this file may stand for.
    fn children(&self, name: &str) -> [String; 2] {
        let stem = self.path.trim_end_matches(".rs");
        let folder = stem.strip_suffix("/mod").or_else(|| stem.strip_suffix("/lib")).unwrap_or(stem);
        [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]
    }
}

/// All of `src`, in the order of its paths.
fn sources() -> Vec<File> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![package.join("src")];
    let mut files = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("src is a folder").flatten() {
            let path: PathBuf = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file is UTF-8");
                let below = path.strip_prefix(package).expect("walked from the package");
                files.insert(below.to_string_lossy().replace('\\', "/"), text);
            }
        }
    }
    assert!(files.contains_key("src/lib.rs"), "src/lib.rs was not found");
    mark_tests(files)
}

/// Finds out which files are test code as a whole.
fn mark_tests(texts: BTreeMap<String, String>) -> Vec<File> {
    let mut files: Vec<File> = texts.into_iter().map(|(path, text)| File { path, text, is_test: false }).collect();
    let declared: BTreeSet<String> = files
        .iter()
        .flat_map(|file| {
            let tokens = tokens(&file.text);
            test_items(&tokens)
                .into_iter()
                .filter_map(|item| declared_module(&tokens[item]).map(|name| file.children(name)))
                .collect::<Vec<_>>()
        })
        .flatten()
        .collect();
    for file in &mut files {
        file.is_test =
            declared.iter().any(|path| *path == file.path || file.path.starts_with(&format!("{}/", folder_of(path))));
    }
    files
}

/// The folder of the modules below a module's file.
fn folder_of(path: &str) -> &str {
    let stem = path.trim_end_matches(".rs");
    stem.strip_suffix("/mod").unwrap_or(stem)
}

// The rules: each gives one line for each place where it is broken.

fn layering(file: &File) -> Vec<String> {
    let from = file.module();
    if from == "bin" || from == "lib" {
        return Vec::new();
    }
    if layer(&from).is_none() {
        return vec![format!("{}: module {from} has no layer", file.path)];
    }
    let tokens = tokens(&file.text);
    crate_paths(&tokens, file.depth())
        .into_iter()
        .filter(|(to, _)| !may_name(&from, to))
        .map(|(to, line)| format!("{}:{line}: {from} names crate::{to}", file.path))
        .collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn may_name(from: &str, to: &str) -> bool {
    from == to || SIBLINGS.contains(&(from, to)) || layer(to).is_some_and(|to| layer(from) > Some(to))
}

fn aws_outside_ecr(file: &File) -> Vec<String> {
    if file.module() == "ecr" {
        return Vec::new();
    }
    let tokens = tokens(&file.text);
    (0..tokens.len())
        .filter(|&at| tokens[at].text.starts_with("aws_") && is_crate_name(&tokens, at))
        .map(|at| broken(file, &tokens[at], "is for src/ecr only"))
        .collect()
}

/// Whether a word stands where the name of a crate does, rather than that of a field.
fn is_crate_name(tokens: &[Token], at: usize) -> bool {
    let after = tokens.get(at + 1).map(|token| token.text);
    let before = at.checked_sub(1).map(|before| tokens[before].text);
    after == Some("::") || before == Some("use") || before == Some("crate")
}

fn cacache_outside_store(file: &File) -> Vec<String> {
    if file.module() == "store" {
        return Vec::new();
    }
    words(file, "cacache", "is for src/store only")
}

/// What the small program does not name is not linked into it: the runtime, and with it the AWS client and TLS.
fn runtime_on_the_warm_way(file: &File) -> Vec<String> {
    let forbidden: &[&str] = match file.path.as_str() {
        // what only `longshore` calls: the one function that mints, and the kubelet's protocol
        "src/helper/tokens.rs" | "src/helper/kubelet/mod.rs" => &[],
        "src/bin/docker-credential-longshore.rs" => &["mint", "cli", "tokio"],
        _ if file.module() == "helper" => &["tokio"],
        _ => &[],
    };
    forbidden.iter().flat_map(|word| words(file, word, "is not for the program that answers warm calls")).collect()
}

fn unsafe_code(file: &File) -> Vec<String> {
    // the one mapping that marks what is sent by sendfile
    let allowed = usize::from(file.path == "src/server/sendfile.rs");
    words(file, "unsafe", "has no place in this crate").into_iter().skip(allowed).collect()
}

fn words(file: &File, word: &str, complaint: &str) -> Vec<String> {
    tokens(&file.text).iter().filter(|token| token.text == word).map(|token| broken(file, token, complaint)).collect()
}

fn broken(file: &File, token: &Token, complaint: &str) -> String {
    format!("{}:{}: {} {complaint}", file.path, token.line, token.text)
}

fn impurities(file: &File) -> Vec<String> {
    let module = file.module();
    if file.is_test || !PURE.contains(&module.as_str()) {
        return Vec::new();
    }
    let tokens = without_tests(&tokens(&file.text));
    let asynchronous = tokens
        .iter()
        .filter(|token| matches!(token.text, "async" | "await"))
        .map(|token| broken(file, token, "in a pure module"));
    let impure = paths(&tokens).into_iter().filter(|path| is_impure(&path.segments)).map(|path| {
        let name = path.segments.join("::");
        format!("{}:{}: {name} in a pure module", file.path, path.line)
    });
    asynchronous.chain(impure).collect()
}

/// Files, sockets, the async runtime and the clocks.
fn is_impure(path: &[&str]) -> bool {
    match path {
        ["std", "fs", ..] | ["tokio", ..] | ["std", "time", "SystemTime" | "*", ..] => true,
        ["std", "net", name, ..] => *name == "*" || name.starts_with("Tcp") || name.starts_with("Udp"),
        _ => path.windows(2).any(|pair| matches!(pair, ["Instant" | "SystemTime" | "Timestamp" | "Zoned", "now"])),
    }
}

fn missing_header(file: &File) -> Vec<String> {
    if file.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!("{}:1: does not begin with //!", file.path)]
}

fn too_long(file: &File) -> Vec<String> {
    let lines = if file.is_test { 0 } else { own_lines(&file.text) };
    if lines <= MOST_LINES {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines, {MOST_LINES} at most", file.path)]
}

/// The lines of a file without those of its test items.
fn own_lines(text: &str) -> usize {
    let tokens = tokens(text);
    let tests: usize =
        test_items(&tokens).into_iter().map(|item| tokens[item.end - 1].line - tokens[item.start].line + 1).sum();
    text.lines().count() - tests
}

// Reading Rust as text.

/// A word, `::`, one other mark, or `""` in place of a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        self.text.starts_with(is_word_character)
    }
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Splits a source text; comments and the contents of literals are gone.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = token_length(rest);
        let (token, after) = rest.split_at(length);
        if is_literal(token) {
            tokens.push(Token { text: "\"\"", line });
        } else if !first.is_whitespace() && !is_comment(token) && !is_lifetime(token) {
            let text = token.strip_prefix("r#").unwrap_or(token);
            tokens.push(Token { text, line });
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

fn is_comment(token: &str) -> bool {
    token.starts_with("//") || token.starts_with("/*")
}

fn is_literal(token: &str) -> bool {
    token.ends_with('"') || (token.len() > 2 && token.ends_with('\''))
}

fn is_lifetime(token: &str) -> bool {
    token.len() > 1 && token.starts_with('\'')
}

/// The length of the token, comment or space at the start of a text that is not empty.
fn token_length(rest: &str) -> usize {
    let word = word_length(rest);
    let marked = &rest[word..];
    let is_prefix = matches!(&rest[..word], "" | "b" | "c" | "r" | "br" | "cr");
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment_length(rest)
    } else if is_prefix && rest[..word].ends_with('r') && marked.starts_with(['"', '#']) {
        raw_length(rest, word)
    } else if is_prefix && marked.starts_with('"') {
        word + quoted_length(marked, '"')
    } else if is_prefix && marked.starts_with('\'') {
        word + character_length(marked)
    } else if word > 0 {
        word
    } else if rest.starts_with("::") {
        2
    } else {
        rest.chars().next().map_or(0, char::len_utf8)
    }
}

fn word_length(rest: &str) -> usize {
    rest.find(|character| !is_word_character(character)).unwrap_or(rest.len())
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        let step = match here {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// A raw string, or a raw identifier such as `r#type`.
fn raw_length(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..].bytes().take_while(|&byte| byte == b'#').count();
    let open = prefix + hashes;
    if !rest[open..].starts_with('"') {
        return open + word_length(&rest[open..]);
    }
    let close = format!("\"{}", "#".repeat(hashes));
    rest[open + 1..].find(&close).map_or(rest.len(), |at| open + 1 + at + close.len())
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        if !escaped && character == quote {
            return at + 1;
        }
        escaped = !escaped && character == '\\';
    }
    rest.len()
}

/// A character literal, or a lifetime: `'a'` or `'a`.
fn character_length(rest: &str) -> usize {
    let mut characters = rest[1..].chars();
    let first = characters.next();
    if first == Some('\\') || characters.next() == Some('\'') {
        return quoted_length(rest, '\'');
    }
    1 + word_length(&rest[1..])
}

/// A path as written, `use` trees taken apart.
#[derive(Debug)]
struct Named<'a> {
    segments: Vec<&'a str>,
    line: usize,
    /// Where its first segment stands among the tokens.
    at: usize,
}

/// Every path of a file, those of one segment too.
fn paths<'a>(tokens: &[Token<'a>]) -> Vec<Named<'a>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = tokens[at].is_word();
        at = if starts { tree(tokens, at, &[], at, &mut found) } else { at + 1 };
    }
    found
}

/// Reads one path or `use` tree from `at`; gives the first token behind it.
fn tree<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    start: usize,
    found: &mut Vec<Named<'a>>,
) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        if token.text == "{" && !segments.is_empty() {
            return group(tokens, at + 1, &segments, start, found);
        }
        if !token.is_word() && token.text != "*" {
            break;
        }
        segments.push(token.text);
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    found.push(Named { segments, line, at: start });
    at.max(start + 1)
}

/// Reads `a, b::c as d, {e}}` from behind its opening brace.
fn group<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    start: usize,
    found: &mut Vec<Named<'a>>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        at = match token.text {
            "}" => return at + 1,
            "," | "::" => at + 1,
            "as" => at + 2,
            "self" => {
                found.push(Named { segments: prefix.to_vec(), line: token.line, at: start });
                at + 1
            }
            _ => tree(tokens, at, prefix, start, found).max(at + 1),
        };
    }
    at
}

/// The top-level modules a file names, with their lines; `*` where the whole crate is named.
fn crate_paths<'a>(tokens: &[Token<'a>], file_depth: usize) -> Vec<(&'a str, usize)> {
    let inline = inline_depths(tokens);
    paths(tokens)
        .into_iter()
        .filter_map(|path| {
            let rest = below_root(&path.segments, file_depth + inline[path.at])?;
            if rest.is_empty() && is_visibility_or_declaration(tokens, path.at) {
                return None;
            }
            Some((rest.first().copied().unwrap_or("*"), path.line))
        })
        .collect()
}

/// `pub(crate)` and `extern crate name` name no module.
fn is_visibility_or_declaration(tokens: &[Token], at: usize) -> bool {
    at > 0 && matches!(tokens[at - 1].text, "(" | "extern")
}

/// What follows the crate's root in a path that goes there, by `crate` or by enough `super`.
fn below_root<'a, 'b>(path: &'b [&'a str], depth: usize) -> Option<&'b [&'a str]> {
    if path.first() == Some(&"crate") {
        return Some(&path[1..]);
    }
    let path = path.strip_prefix(&["self"]).unwrap_or(path);
    let climbed = path.iter().take_while(|segment| **segment == "super").count();
    (climbed > 0 && climbed == depth).then(|| &path[climbed..])
}

/// For each token, how many inline modules enclose it.
fn inline_depths(tokens: &[Token]) -> Vec<usize> {
    let mut braces = 0_usize;
    let mut modules = Vec::new();
    let mut depths = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => {
                if at >= 2 && tokens[at - 2].text == "mod" {
                    modules.push(braces);
                }
                braces += 1;
            }
            "}" => {
                braces = braces.saturating_sub(1);
                if modules.last() == Some(&braces) {
                    modules.pop();
                }
            }
            _ => {}
        }
        depths.push(modules.len());
    }
    depths
}

fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let tests = test_items(tokens);
    (0..tokens.len()).filter(|at| !tests.iter().any(|item| item.contains(at))).map(|at| tokens[at]).collect()
}

/// The items under `#[cfg(test)]`, from the attribute to the closing brace or semicolon.
fn test_items(tokens: &[Token]) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = attribute(tokens, at) else {
            at += 1;
            continue;
        };
        let words: Vec<&str> = tokens[at..end].iter().map(|token| token.text).collect();
        if words.get(2) == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not") {
            let last = item_end(tokens, end);
            items.push(at..last);
            at = last;
        } else {
            at = end;
        }
    }
    items
}

/// Where the outer attribute that begins at `at` ends.
fn attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let is_one = tokens[at].text == "#" && tokens.get(at + 1)?.text == "[";
    is_one.then(|| closing(tokens, at + 1))
}

/// Where the item that begins at `at`, its attributes included, ends.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        at = match tokens[at].text {
            ";" => return at + 1,
            "{" => return closing(tokens, at),
            "(" | "[" => closing(tokens, at),
            _ => at + 1,
        };
    }
    at
}

/// The first token behind the bracket that closes the one at `at`.
fn closing(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// `name` when an item is `mod name;`.
fn declared_module<'a>(item: &[Token<'a>]) -> Option<&'a str> {
    let [.., keyword, name, end] = item else {
        return None;
    };
    (keyword.text == "mod" && end.text == ";").then_some(name.text)
}

/// The checker itself: a rule that cannot be broken is no rule.
mod checker {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned(), is_test: false }
    }

    #[track_caller]
    fn names(path: &str, text: &str, want: &[&str]) {
        let file = file(path, text);
        let tokens = tokens(text);
        let found = crate_paths(&tokens, file.depth());
        let found: Vec<&str> = found.into_iter().map(|(to, _)| to).collect();
        assert_eq!(found, want, "{text}");
    }

    #[track_caller]
    fn check(rule: fn(&File) -> Vec<String>, path: &str, text: &str, want: usize) {
        let broken = rule(&file(path, text));
        assert_eq!(broken.len(), want, "{path}: {text}: {broken:?}");
    }

    #[test]
    fn a_use_tree_is_taken_apart() {
        names("src/cache/mod.rs", "use crate::oci::Digest;", &["oci"]);
        names(
            "src/cache/mod.rs",
            "use crate::{self as root, store, oci::{self, Digest as D, name::*}, ecr::Host};",
            &["*", "store", "oci", "oci", "oci", "ecr"],
        );
        names("src/cache/mod.rs", "use {crate::store::Blob, std::fs};", &["store"]);
        names("src/cache/mod.rs", "pub use crate::*;", &["*"]);
        names("src/cache/mod.rs", "use crate as root;", &["*"]);
        names("src/cache/mod.rs", "use ::std::io; extern crate std;", &[]);
    }

    #[test]
    fn a_path_in_code_counts_too() {
        names(
            "src/cache/mod.rs",
            "fn f(x: &crate::store::Blob<crate::oci::Digest>) -> Vec<u8> { crate::ecr::mint::<u8>(x) }",
            &["store", "oci", "ecr"],
        );
        names("src/cache/mod.rs", "pub(crate) fn f() {} pub(in crate::cache) fn g() {}", &["cache"]);
    }

    #[test]
    fn comments_and_literals_do_not_count() {
        names(
            "src/oci/mod.rs",
            r##"//! [`crate::cli`]
                /* crate::cli /* crate::server */ crate::cli */
                const A: &str = "crate::cli \" crate::cli"; // crate::cli
                const B: &str = r#"crate::cli " crate::cli"#;
                const C: &[u8] = b"crate::cli"; const D: char = '"'; const E: char = '\'';
                fn f<'a>(x: &'a str) -> crate::oci::r#type::T<'a> { crate::oci::g(x, b'"') }"##,
            &["oci", "oci"],
        );
    }

    #[test]
    fn super_reaches_the_root_from_the_right_depth_only() {
        names("src/oci/mod.rs", "use super::cli::Run;", &["cli"]);
        names("src/secret.rs", "use self::super::cli::Run;", &["cli"]);
        names("src/oci/digest.rs", "use super::name::Tag;", &[]);
        names("src/oci/digest.rs", "use super::super::{cli, store};", &["cli", "store"]);
        names("src/secret.rs", "mod tests { use super::*; }", &[]);
        names("src/secret.rs", "mod tests { fn f() { super::super::cli::run() } }", &["cli"]);
        names("src/secret.rs", "mod tests { fn f() {} } use super::cli;", &["cli"]);
    }

    #[test]
    fn an_upward_or_sideways_use_is_refused() {
        check(layering, "src/oci/digest.rs", "use crate::cache::Fill;", 1);
        check(layering, "src/ecr/mod.rs", "use crate::store::Blob;", 1);
        check(layering, "src/server/mod.rs", "use crate::{helper, setup};", 2);
        check(layering, "src/secret.rs", "use crate::oci::Digest;", 1);
        check(layering, "src/oci/mod.rs", "use crate::config::Config;", 1);
        check(layering, "src/cache/mod.rs", "use crate::Reexported;", 1);
        check(layering, "src/novelty.rs", "", 1);
    }

    #[test]
    fn a_downward_use_is_allowed() {
        check(layering, "src/config/mod.rs", "use crate::{oci::Tag, secret::Secret};", 0);
        check(layering, "src/cli/serve.rs", "use crate::{server, setup, cache, oci};", 0);
        check(layering, "src/cache/fill.rs", "use crate::cache::Error;", 0);
        check(layering, "src/bin/longshore.rs", "use longshore::cli;", 0);
    }

    #[test]
    fn an_aws_crate_outside_ecr_is_refused() {
        check(aws_outside_ecr, "src/cli/mod.rs", "use aws_config;", 1);
        check(aws_outside_ecr, "src/cli/mod.rs", "fn f(c: aws_sdk_ecr::Client) {}", 1);
        check(aws_outside_ecr, "src/bin/longshore.rs", "use {aws_types::region::Region};", 1);
        check(aws_outside_ecr, "src/ecr/client.rs", "use aws_config::Region;", 0);
        check(aws_outside_ecr, "src/config/mod.rs", "struct Raw { aws_profile: String }", 0);
        check(aws_outside_ecr, "src/cli/mod.rs", "// aws_config::load()", 0);
    }

    #[test]
    fn cacache_outside_store_is_refused() {
        check(cacache_outside_store, "src/cache/mod.rs", "use cacache::WriteOpts;", 1);
        check(cacache_outside_store, "src/store/index.rs", "use cacache::WriteOpts;", 0);
    }

    #[test]
    fn a_runtime_on_the_warm_way_is_refused() {
        let small = "src/bin/docker-credential-longshore.rs";
        check(runtime_on_the_warm_way, small, "use longshore::helper::{mint, run};", 1);
        check(runtime_on_the_warm_way, small, "longshore::cli::run()", 1);
        check(runtime_on_the_warm_way, small, "use longshore::helper::{hand_over, run};", 0);
        check(runtime_on_the_warm_way, "src/helper/mod.rs", "use tokio::runtime::Builder;", 1);
        check(runtime_on_the_warm_way, "src/helper/mod.rs", "pub use tokens::mint;", 0);
        check(runtime_on_the_warm_way, "src/helper/tokens.rs", "use tokio::runtime::Builder;", 0);
        check(runtime_on_the_warm_way, "src/bin/longshore.rs", "longshore::cli::run()", 0);
    }

    #[test]
    fn input_output_in_a_pure_module_is_refused() {
        for text in [
            "use std::fs;",
            "use std::{fmt, fs::File};",
            "use std::net::TcpStream;",
            "fn f() { std::net::UdpSocket::bind(a); }",
            "use std::time::{Duration, SystemTime};",
            "fn f() { Instant::now(); }",
            "fn f() { jiff::Timestamp::now(); }",
            "async fn f() {}",
            "fn f() { tokio::spawn(g) }",
            "use tokio::sync::Mutex;",
        ] {
            check(impurities, "src/oci/mod.rs", text, 1);
            check(impurities, "src/config/raw.rs", text, 1);
            check(impurities, "src/store/mod.rs", text, 0);
        }
    }

    #[test]
    fn pure_code_and_tests_of_pure_code_are_allowed() {
        for text in [
            "use std::{net::{IpAddr, SocketAddr}, time::{Duration, Instant}};",
            "/// Never calls tokio::spawn.\nfn f(now: Instant) {}",
            "#[cfg(test)]\nmod tests { use std::fs; }",
            "#[cfg(test)] #[path = \"x.rs\"] fn f(a: [u8; 3]) { std::fs::read(a); }",
        ] {
            check(impurities, "src/oci/mod.rs", text, 0);
        }
        check(impurities, "src/oci/mod.rs", "#[cfg(not(test))] use std::fs;", 1);
        check(impurities, "src/oci/mod.rs", "#[cfg(test)] mod tests; use std::fs;", 1);
    }

    #[test]
    fn unsafe_code_and_a_missing_header_are_refused() {
        check(unsafe_code, "src/oci/mod.rs", "fn f() { unsafe { g() } }", 1);
        check(unsafe_code, "src/oci/mod.rs", "#![deny(unsafe_code)] // unsafe", 0);
        check(unsafe_code, "src/server/sendfile.rs", "fn f() { unsafe { g() } unsafe { h() } }", 1);
        check(missing_header, "src/oci/mod.rs", "use std::fmt;\n//! late", 1);
        check(missing_header, "src/oci/mod.rs", "//! Words.\n", 0);
    }

    #[test]
    fn a_long_file_is_refused_but_its_tests_are_not_counted() {
        let code = "fn f() {}\n".repeat(MOST_LINES);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        check(too_long, "src/oci/mod.rs", &code, 0);
        check(too_long, "src/oci/mod.rs", &format!("{code}\n"), 1);
        check(too_long, "src/oci/mod.rs", &format!("{code}{tests}"), 0);
        check(too_long, "src/oci/mod.rs", &format!("{code}{tests}// end\n"), 1);
    }

    #[test]
    fn a_file_declared_for_tests_only_is_test_code() {
        let tree = [
            ("src/cache/mod.rs", "#[cfg(test)]\nmod tests;\nmod fill;"),
            ("src/cache/tests.rs", "mod more;"),
            ("src/cache/tests/more.rs", ""),
            ("src/cache/fill.rs", "#[cfg(test)] pub(crate) mod rig;"),
            ("src/cache/fill/rig.rs", ""),
        ];
        let tree = tree.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let tests: Vec<String> =
            mark_tests(BTreeMap::from(tree)).into_iter().filter(|file| file.is_test).map(|file| file.path).collect();
        assert_eq!(tests, ["src/cache/fill/rig.rs", "src/cache/tests.rs", "src/cache/tests/more.rs"]);
    }
}
