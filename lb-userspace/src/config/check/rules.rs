//! What single values may be: numbers in a range, words from a list, names, paths.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::nearest::nearest;
use crate::config::complaint::Fault;
use crate::config::file::Quantity;
use crate::config::{Rate, units};
use crate::mqtt::Version;

/// A number in a range that fits `T`.
pub(super) fn number<T>(value: i64, range: &RangeInclusive<i64>) -> Result<T, Fault>
where
    T: TryFrom<i64>,
{
    let inside = Some(value).filter(|value| range.contains(value));
    inside
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| outside(range.start(), range.end()))
}

/// The most of something; 0 is no limit, or one that is derived.
pub(super) fn most(value: &i64) -> Result<Option<NonZeroU32>, Fault> {
    number(*value, &(0..=MOST)).map(NonZeroU32::new)
}

/// So many in a time; `"0/s"` is no limit.
pub(super) fn rate(value: &Quantity) -> Result<Option<Rate>, Fault> {
    let (count, per) = units::rate(&value.to_string())?;
    let range = 0..=FASTEST;
    let count = i64::try_from(count)
        .ok()
        .filter(|count| range.contains(count));
    let count = count.and_then(|count| u32::try_from(count).ok());
    let count = count.ok_or_else(|| outside("\"0/s\"", format!("\"{FASTEST}/s\"")))?;
    Ok(NonZeroU32::new(count).map(|count| Rate { count, per }))
}

pub(super) fn duration(value: &Quantity) -> Result<Duration, Fault> {
    let duration = units::duration(&value.to_string())?;
    if duration.is_zero() {
        let remedy = "write from \"10ms\" to \"1h\"; this limit cannot be switched off";
        return Err(Fault::new("is not allowed", remedy));
    }
    if !TIMEOUTS.contains(&duration) {
        return Err(outside("\"10ms\"", "\"1h\""));
    }
    Ok(duration)
}

/// A time that may be nothing, up to a year.
pub(super) fn period(value: &Quantity) -> Result<Duration, Fault> {
    let duration = units::duration(&value.to_string())?;
    if duration > YEAR {
        return Err(outside("\"0s\"", "\"8760h\""));
    }
    Ok(duration)
}

pub(super) fn outside(from: impl fmt::Display, to: impl fmt::Display) -> Fault {
    Fault::new("is out of range", format!("write from {from} to {to}"))
}

/// One of the words that a key takes.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Fault> {
    let exact = choices.iter().find(|(word, _)| *word == text);
    let (_, value) = exact.ok_or_else(|| {
        let words = choices.iter().map(|(word, _)| *word);
        let remedy = match nearest(text, words.clone()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("write {}", either(words)),
        };
        Fault::new("is not a known value", remedy)
    })?;
    Ok(*value)
}

/// `"a", "b" or "c"`.
pub(super) fn either<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let quoted: Vec<_> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// RFC 7301 section 3.1.
pub(super) fn alpn(text: &str) -> Result<String, Fault> {
    if (1..=ALPN_BYTES).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    let remedy = "write 1 to 255 bytes, such as \"mqtt\"";
    Err(Fault::new(
        "cannot be the name of an application protocol",
        remedy,
    ))
}

/// A name of a listener, a pool or a backend.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    let problem = if text.is_empty() {
        Some("is empty".to_owned())
    } else if !text.chars().all(|c| c.is_ascii_graphic()) {
        Some("has a space or another character that is not printable ASCII".to_owned())
    } else if text.len() > NAME_BYTES {
        Some(format!("is {} bytes long", text.len()))
    } else {
        None
    };

    problem.map_or_else(
        || Ok(text.to_owned()),
        |problem| {
            let remedy = "write a word of 1 to 31 printable ASCII characters, without spaces";
            Err(Fault::new(problem, remedy))
        },
    )
}

/// The name of a network interface, as Linux limits it.
pub(super) fn interface(text: &str) -> Result<String, Fault> {
    let wrong = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let fits = (1..=INTERFACE_BYTES).contains(&text.len());
    if fits && text != "." && text != ".." && !text.contains(wrong) {
        return Ok(text.to_owned());
    }
    let remedy = "write it as `ip link` shows it: 1 to 15 bytes, without space, / and :";
    Err(Fault::new("cannot be the name of an interface", remedy))
}

/// A path that does not depend on where the daemon was started.
pub(super) fn absolute(text: &str, example: &str) -> Result<PathBuf, Fault> {
    if text.contains('\0') {
        return Err(Fault::new("has a NUL character", "remove it"));
    }
    if !Path::new(text).is_absolute() {
        let remedy = format!("write it from the root, such as {example:?}");
        return Err(Fault::new("is not an absolute path", remedy));
    }
    Ok(PathBuf::from(text))
}

/// A path that fits the address of a Unix socket.
pub(super) fn socket(text: &str, example: &str) -> Result<PathBuf, Fault> {
    if text.len() > SOCKET_PATH_BYTES {
        let problem = format!("is {} bytes long", text.len());
        let remedy = "write at most 107 bytes, as more do not fit the address of a Unix socket";
        return Err(Fault::new(problem, remedy));
    }
    absolute(text, example)
}

/// How the versions of MQTT are written.
pub(super) const VERSIONS: [(&str, Version); 3] = [
    ("3.1", Version::V3_1),
    ("3.1.1", Version::V3_1_1),
    ("5.0", Version::V5),
];
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(8760 * 3600);
/// Connections; more than any table or descriptor limit holds.
const MOST: i64 = 1 << 24;
const FASTEST: i64 = 1_000_000;
const ALPN_BYTES: usize = 255;
const NAME_BYTES: usize = 31;
const INTERFACE_BYTES: usize = 15;
/// `sun_path` of unix(7) without its final NUL.
const SOCKET_PATH_BYTES: usize = 107;
