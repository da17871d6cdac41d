//! Whole files: those that pass, those that are broken, and those that nobody would write.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{check, reference};
use crate::config::complaint::Complaints;

#[test]
fn lets_every_file_in_conf_through() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = toml_files(&root.join("../conf"));
    assert!(files.len() >= 2, "{files:?}");

    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let list = check(&text).err().unwrap_or_default();
        assert!(list.is_empty(), "{}", Complaints { file, list });
    }
}

#[test]
fn has_the_defaults_that_the_reference_shows() {
    let required = ["name", "bind", "pool", "address"];
    let kept = reference::TEXT.lines().filter(|line| {
        let key = line.split(" =").next().unwrap_or_default();
        line.starts_with('[') || required.contains(&key)
    });
    let bare = kept.collect::<Vec<_>>().join("\n");

    assert!(!bare.contains("threads"));
    assert_eq!(check(&bare), check(reference::TEXT));
}

#[test]
fn asks_for_a_listener_and_a_pool_in_an_empty_file() {
    let list = check("").unwrap_err();
    let paths: Vec<_> = list
        .iter()
        .map(|complaint| complaint.path.as_str())
        .collect();

    assert_eq!(paths, ["listeners", "pools"]);
}

#[test]
fn refuses_a_list_where_a_table_belongs() {
    let text = format!("daemon = [4, \"/a\", \"info\", \"text\"]\n{}", MINIMAL);
    let list = check(&text).unwrap_err();

    assert_eq!(list.len(), 1);
    assert_eq!(list[0].path, "daemon");
}

#[test]
fn does_not_call_missing_what_was_written_wrongly() {
    let text = MINIMAL
        .replace("\"brokers\"", "5")
        .replace("\"10.0.0.11:1883\"", "11");
    let list = check(&text).unwrap_err();
    let problems: Vec<_> = list
        .iter()
        .map(|complaint| complaint.problem.as_str())
        .collect();

    let wrong = |value| format!("{value} is a whole number, not a string");
    assert_eq!(problems, [wrong(5), wrong(5), wrong(11)]);
}

#[test]
fn says_which_header_is_there_twice() {
    let list = check("[daemon]\n[daemon]\n").unwrap_err();

    assert_eq!((list[0].line, list[0].column), (2, 2));
    assert_eq!(list[0].problem, "`[daemon]` is there twice");
}

#[test]
fn survives_any_depth() {
    for text in [
        "[".repeat(10_000),
        "a.".repeat(10_000),
        format!("{}a = 1", "a.".repeat(10_000)),
    ] {
        assert!(check(&text).is_err());
    }
}

#[test]
fn complains_well_about_broken_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = toml_files(&root.join("src/config/broken"));
    assert!(files.len() >= 10, "{files:?}");

    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let file = PathBuf::from(path.file_name().unwrap());
        let list = check(&text).unwrap_err();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, Complaints { file, list });
        });
    }
}

const MINIMAL: &str = include_str!("../../../../conf/minimal.toml");

proptest! {
    #[test]
    fn never_panics_on_any_text(text in "\\PC*") {
        never_empty(&text)?;
    }

    #[test]
    fn never_panics_on_odd_values(lines in prop::collection::vec(line(), 0..30)) {
        never_empty(&lines.join("\n"))?;
    }

    #[test]
    fn never_panics_on_a_damaged_file(
        start in 0..reference::TEXT.len(),
        length in 0usize..60,
        insert in "[\\[\\]{}=\",.0-9a-z\n-]{0,6}",
    ) {
        let mut text = reference::TEXT.to_owned();
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &insert);

        never_empty(&text)?;
    }
}

/// Refusing without a complaint would leave the operator with nothing.
fn never_empty(text: &str) -> Result<(), TestCaseError> {
    if let Err(list) = check(text) {
        prop_assert!(!list.is_empty());
        prop_assert!(list.is_sorted_by_key(|complaint| complaint.line));
    }
    Ok(())
}

/// A header, or a key with a value that may be absurd.
fn line() -> impl Strategy<Value = String> {
    let select = |words: &str| {
        let words = words.lines().map(str::to_owned).collect::<Vec<_>>();
        prop::sample::select(words)
    };
    prop_oneof![
        1 => select(HEADERS),
        3 => (select(KEYS), select(VALUES)).prop_map(|(key, value)| format!("{key} = {value}")),
    ]
}

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

const HEADERS: &str = r#"[daemon]
[kernel]
[limits]
[[daemon]]
[daemon.log]
[[listeners]]
[[listener]]
[listeners]
[[listeners.bind]]
[[routes]]
[routes]
[[pools]]
[[pools.backends]]
[pools.sticky]
[pools.backends]
[[backends]]"#;

const KEYS: &str = r#"threads
thread
control
log
log_format
mode
pins
interfaces
clients_capacity
connect_packet
connect_timeout
name
bind
pool
datapath
balance
attempts
backends
address
weight
backup
load_bound
slow_start
proxy_protocol
client_id
client_id_regex
user_name_glob
versions
clean
source
listeners
sni
alpn
tls
certificate
more
persistent_only
expire
hold
sticky
a.b.c
""
pools
daemon
routes"#;

const VALUES: &str = r#"0
-1
3
99999999999999999999999999999999999999999
0xffffffffffffffff
1e999
nan
true
1979-05-27
""
"10s"
"-10s"
10
"99999999999999999h"
"64KiB"
"0.0.0.0:1883"
"[::1]:1883"
":0"
[]
[[]]
[1, "a"]
["0.0.0.0:1883", "0.0.0.0:1883"]
{}
{ name = "a" }
[{ name = "a", address = "127.0.0.1:1883" }, 5]
"ü \u0000""#;
