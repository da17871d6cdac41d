//! What a new text of the configuration says otherwise than the one before, in sentences.
//!
//! It compares what is written, key by key, so a key that is added to the configuration is compared
//! without a word about it here.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// What is read once, at start; a key, or a table where it ends with a dot.
const AT_START: &[&str] = &[
    "daemon.threads",
    "daemon.control",
    "daemon.log_format",
    "kernel.",
];
/// Values of keys with such a part are nobody's business.
const SECRET: &[&str] = &["password", "secret", "token"];

/// What is written otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Sentences about what a reload changes.
    pub changes: Vec<String>,
    /// Sentences about what only the next start changes.
    pub needs_restart: Vec<String>,
}

/// Compares with what the daemon runs on: `start` is the text it started with, `last` the last one it
/// took. Text that is no TOML says nothing.
pub fn diff(start: &str, last: &str, new: &str) -> Diff {
    let [start, last, new] = [start, last, new].map(flat);
    let is_fixed = |path: &String| AT_START.iter().any(|fixed| fixes(fixed, path));
    let fixed = |written: &Written| split(written, is_fixed);
    let movable = |written: &Written| split(written, |path| !is_fixed(path));
    Diff {
        changes: sentences(&movable(&last), &movable(&new)),
        needs_restart: sentences(&fixed(&start), &fixed(&new)),
    }
}

fn fixes(fixed: &str, path: &str) -> bool {
    path == fixed || fixed.ends_with('.') && path.starts_with(fixed)
}

/// Values by their paths; a table of a list has its name for an index.
type Written = BTreeMap<String, Value>;

fn split(written: &Written, keep: impl Fn(&String) -> bool) -> Written {
    let kept = written.iter().filter(|(path, _)| keep(path));
    kept.map(|(path, value)| (path.clone(), value.clone()))
        .collect()
}

fn flat(text: &str) -> Written {
    let mut written = Written::new();
    if let Ok(table) = text.parse::<Table>() {
        flatten("", &table, &mut written);
    }
    written
}

fn flatten(way: &str, table: &Table, written: &mut Written) {
    for (key, value) in table {
        let path = join(way, key);
        if let Value::Table(inner) = value {
            flatten(&path, inner, written);
        } else if let Value::Array(list) = value
            && list.iter().any(Value::is_table)
        {
            flatten_list(&path, list, written);
        } else {
            written.insert(path, value.clone());
        }
    }
}

fn flatten_list(way: &str, list: &[Value], written: &mut Written) {
    let tables = list.iter().filter_map(Value::as_table);
    for (position, one) in tables.enumerate() {
        let name = one.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| position.to_string(), ToOwned::to_owned);
        let path = join(way, &name);
        // Its being there is a fact of its own.
        written.insert(path.clone(), Value::Table(Table::new()));
        flatten(&path, one, written);
    }
}

fn join(way: &str, key: &str) -> String {
    if way.is_empty() {
        key.to_owned()
    } else {
        format!("{way}.{key}")
    }
}

fn sentences(before: &Written, after: &Written) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut told: Option<String> = None;
    let paths: BTreeMap<&String, ()> = before
        .keys()
        .chain(after.keys())
        .map(|path| (path, ()))
        .collect();
    for path in paths.into_keys() {
        // Of what is new or gone as a whole, nothing more is said.
        if told.as_ref().is_some_and(|whole| is_within(path, whole)) {
            continue;
        }
        let sentence = match (before.get(path), after.get(path)) {
            (Some(was), Some(is)) if was == is => continue,
            (None, Some(Value::Table(_))) => {
                told = Some(path.clone());
                format!("{path} is new")
            }
            (Some(Value::Table(_)), None) => {
                told = Some(path.clone());
                format!("{path} is gone")
            }
            (was, is) => {
                let show = |value| shown(path, value);
                format!("{path} is {}, was {}", show(is), show(was))
            }
        };
        sentences.push(sentence);
    }
    sentences
}

fn is_within(path: &str, whole: &str) -> bool {
    let rest = path.strip_prefix(whole);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

fn shown(path: &str, value: Option<&Value>) -> String {
    match value {
        None => "the default".to_owned(),
        Some(_) if SECRET.iter().any(|secret| path.contains(secret)) => "not shown".to_owned(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Diff, diff};

    const OLD: &str = r#"
        [kernel]
        mode = "off"
        [limits]
        connect_timeout = "10s"
        [[listeners]]
        name = "mqtt"
        bind = ["127.0.0.1:1883"]
        pool = "brokers"
        [[pools]]
        name = "brokers"
        backends = [{ name = "a", address = "h:1" }, { name = "ab", address = "h:2", weight = 2 }]
    "#;

    fn changes(new: &str) -> Vec<String> {
        diff(OLD, OLD, new).changes
    }

    #[test]
    fn the_same_text_changes_nothing() {
        assert_eq!(diff(OLD, OLD, &format!("# new\n{OLD}")), Diff::default());
    }

    #[test]
    fn values_are_told_with_what_they_were() {
        let new = OLD.replace("\"10s\"", "\"5s\"").replace("weight = 2", "");
        let new = new.replace("name = \"mqtt\"", "name = \"mqtt\"\ndatapath = \"copy\"");

        assert_eq!(
            changes(&new.replace(", }", "}")),
            [
                r#"limits.connect_timeout is "5s", was "10s""#,
                r#"listeners.mqtt.datapath is "copy", was the default"#,
                "pools.brokers.backends.ab.weight is the default, was 2",
            ]
        );
    }

    #[test]
    fn what_is_new_or_gone_is_told_once_whatever_its_place() {
        let new = OLD.replace(
            r#"{ name = "a", address = "h:1" }, { name = "ab", address = "h:2", weight = 2 }"#,
            r#"{ name = "ab", address = "h:2", weight = 2 }, { name = "c", address = "h:1" }"#,
        );

        assert_eq!(
            changes(&new),
            [
                "pools.brokers.backends.a is gone",
                "pools.brokers.backends.c is new"
            ]
        );
    }

    #[test]
    fn what_needs_a_restart_is_told_until_it_is_undone() {
        let new = OLD.replace("\"off\"", "\"auto\"");
        let sentence = [r#"kernel.mode is "auto", was "off""#.to_owned()];

        assert_eq!(diff(OLD, OLD, &new).needs_restart, sentence);
        assert_eq!(diff(OLD, &new, &new).needs_restart, sentence);
        assert_eq!(diff(OLD, &new, OLD), Diff::default());
    }

    #[test]
    fn a_secret_is_not_told() {
        let secret = |word: &str| format!("{OLD}\n[pools.health]\npassword = \"{word}\"\n");
        let changes = diff("", &secret("a"), &secret("b")).changes;

        assert_eq!(
            changes,
            ["pools.brokers.health.password is not shown, was not shown"]
        );
    }
}
