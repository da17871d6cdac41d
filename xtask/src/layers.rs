//! Dependencies point one way: the order of the daemon's modules, and who may name what.

mod code;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::code::Code;
use crate::shell;

/// A module may use those before it, never those after it.
const ORDER: &[&str] = &[
    "mqtt",
    "config",
    "proxy",
    "route",
    "balance", //
    "counters",
    "drain",
    "admission",
    "upstream",
    "evict", //
    "sys",
    "kernel",
    "registry",
    "sticky", //
    "dial",
    "listen",
    "stream",
    "relay", //
    "session",
    "health",  //
    "control", //
    "daemon",
    "cli",
    "main",
];

/// Words that only these modules may name.
const RESERVED: &[(&str, &[&str])] = &[
    ("aya", &["kernel"]),
    ("aya_log", &["kernel"]),
    ("clap", &["cli"]),
    ("eprint", &["cli"]),
    ("eprintln", &["cli"]),
    ("print", &["cli"]),
    ("println", &["cli"]),
    ("rustls", &["listen"]),
    ("tokio_rustls", &["listen", "stream"]),
    ("unsafe", &["sys"]),
];

/// Words that these modules do not name, because they are pure.
const REFUSED: &[(&str, &[&str])] = &[
    ("aya", &["mqtt", "config", "route", "balance"]),
    ("nix", &["mqtt", "config", "route", "balance"]),
    ("socket2", &["mqtt", "config", "route", "balance"]),
    ("tokio", &["mqtt", "config", "route", "balance"]),
];

/// A file with more lines wants to be two.
const LINES: usize = 350;

/// Directories whose files have a budget of lines.
const BUDGETED: &[&str] = &[
    "lb-common/src",
    "lb-ebpf/src",
    "lb-userspace/build",
    "lb-userspace/src",
    "tests",
    "xtask/src",
];

pub(crate) fn run() -> Result<()> {
    for directory in BUDGETED {
        warn_of_long_files(&shell::root().join(directory))?;
    }

    let sources = shell::root().join("lb-userspace/src");
    let mut complaints = Vec::new();
    for file in rust_files(&sources)? {
        let text = read(&file)?;
        let within = file.strip_prefix(&sources)?;
        let module = module_of(within);
        if let Some(module) = module.filter(|_| !is_test(within)) {
            let found = complaints_about(&module, within.iter().count(), &Code::of(&text));
            let name = shell::typed(&file);
            complaints.extend(found.into_iter().map(|found| format!("{name}:{found}")));
        }
    }
    if !complaints.is_empty() {
        bail!("layers:\n  {}", complaints.join("\n  "));
    }
    shell::say("layers: every dependency points the right way");
    Ok(())
}

/// The top-level module that a file belongs to; `lib.rs` belongs to none.
fn module_of(file: &Path) -> Option<String> {
    let first = file.components().next()?.as_os_str().to_str()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (module != "lib").then(|| module.to_owned())
}

/// Whether a file holds nothing but tests, as `foo/tests.rs` and `foo/tests/…` do.
fn is_test(file: &Path) -> bool {
    file.iter()
        .any(|part| part == "tests" || part == "tests.rs")
}

/// What is wrong in a file of a module, `depth` below the root; each begins with its line.
fn complaints_about(module: &str, depth: usize, code: &Code) -> Vec<String> {
    let Some(place) = ORDER.iter().position(|&name| name == module) else {
        return vec![format!(
            "1: module `{module}` is not in the list of xtask/src/layers.rs"
        )];
    };
    let later = &ORDER[place + 1..];
    let mut complaints = Vec::new();

    for (line, used) in code.modules_used(depth) {
        if later.contains(&used.as_str()) {
            complaints.push(format!(
                "{line}: `{module}` stands before `{used}` and uses it"
            ));
        }
    }
    for (line, word) in code.words() {
        let named = |table: &[(&'static str, &'static [&'static str])]| {
            table.iter().find(|row| row.0 == word).map(|row| row.1)
        };
        if let Some(owners) = named(RESERVED).filter(|owners| !owners.contains(&module)) {
            let owners = owners.join("`, `");
            complaints.push(format!("{line}: only `{owners}` names `{word}`"));
        }
        if named(REFUSED).is_some_and(|pure| pure.contains(&module)) {
            complaints.push(format!("{line}: `{module}` is pure and names `{word}`"));
        }
    }
    complaints
}

fn warn_of_long_files(directory: &Path) -> Result<()> {
    for file in rust_files(directory)? {
        let lines = read(&file)?.lines().count();
        if lines > LINES {
            let name = shell::typed(&file);
            shell::say(&format!("{name} has {lines} lines, more than {LINES}"));
        }
    }
    Ok(())
}

/// Every Rust file below a directory, in order; none where there is no such directory.
fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_module_that_comes_later() {
        let found = complaints_about("mqtt", 1, &Code::of("use crate::config::Config;\n"));

        assert_eq!(found, ["1: `mqtt` stands before `config` and uses it"]);
    }

    #[test]
    fn refuses_an_inline_path_and_a_group() {
        let text = "fn f() {\n    crate::daemon::run();\n}\nuse crate::{mqtt::{A, B}, session};\n";

        let found = complaints_about("relay", 1, &Code::of(text));

        assert_eq!(
            found,
            [
                "2: `relay` stands before `daemon` and uses it",
                "4: `relay` stands before `session` and uses it",
            ]
        );
    }

    #[test]
    fn takes_what_comes_earlier_and_what_is_its_own() {
        let text = "use crate::mqtt::Connect;\nuse crate::session::open;\n";

        assert!(complaints_about("session", 1, &Code::of(text)).is_empty());
    }

    #[test]
    fn keeps_words_to_their_owners() {
        let text = "use aya::Ebpf;\nfn f() { unsafe {} }\nprintln!(\"{}\", 1);\n";

        let found = complaints_about("session", 1, &Code::of(text));

        assert_eq!(
            found,
            [
                "1: only `kernel` names `aya`",
                "2: only `sys` names `unsafe`",
                "3: only `cli` names `println`",
            ]
        );
        assert!(complaints_about("kernel", 1, &Code::of("use aya::Ebpf;")).is_empty());
    }

    #[test]
    fn keeps_the_pure_modules_pure() {
        let found = complaints_about("mqtt", 1, &Code::of("use tokio::net::TcpStream;"));

        assert_eq!(found, ["1: `mqtt` is pure and names `tokio`"]);
    }

    #[test]
    fn wants_every_module_in_the_list() {
        let found = complaints_about("sundries", 1, &Code::of(""));

        assert_eq!(
            found,
            ["1: module `sundries` is not in the list of xtask/src/layers.rs"]
        );
    }

    #[test]
    fn knows_which_module_a_file_belongs_to() {
        let module = |file: &str| module_of(Path::new(file));

        assert_eq!(module("session.rs").as_deref(), Some("session"));
        assert_eq!(module("session/open.rs").as_deref(), Some("session"));
        assert_eq!(module("lib.rs"), None);
        assert!(is_test(Path::new("mqtt/connect/tests/random.rs")));
        assert!(!is_test(Path::new("mqtt/connect.rs")));
    }
}
