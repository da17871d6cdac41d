//! Durations, sizes and rates as people write them: "500ms", "64KiB", "100/s".

use std::time::Duration;

use super::complaint::Fault;

/// A whole number and one of `ms`, `s`, `m`, `h`.
///
/// # Errors
///
/// Whatever else the text is, with what to write instead.
pub fn duration(text: &str) -> Result<Duration, Fault> {
    let (number, unit) = split(text, &DURATION)?;
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = millis.ok_or_else(|| DURATION.unknown_unit(number, unit))?;

    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(|| DURATION.too_large())
}

/// A whole number and one of `B`, `KiB`, `MiB`; the result is in bytes.
///
/// # Errors
///
/// Whatever else the text is, with what to write instead.
pub fn size(text: &str) -> Result<usize, Fault> {
    let (number, unit) = split(text, &SIZE)?;
    let bytes = match unit {
        "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        _ => None,
    };
    let bytes: u64 = bytes.ok_or_else(|| SIZE.unknown_unit(number, unit))?;

    number
        .checked_mul(bytes)
        .and_then(|total| usize::try_from(total).ok())
        .ok_or_else(|| SIZE.too_large())
}

/// A whole number, `/`, and one of `s`, `m`, `h`; how many, and in how long.
///
/// # Errors
///
/// Whatever else the text is, with what to write instead.
pub fn rate(text: &str) -> Result<(u64, Duration), Fault> {
    let text = text.trim();
    let Some((number, unit)) = text.split_once('/') else {
        let (number, unit) = split(text, &RATE)?;
        return Err(RATE.unknown_unit(number, unit));
    };
    let (number, rest) = split(number, &RATE)?;
    let unit = unit.trim_start();
    if !rest.is_empty() || unit.is_empty() || !unit.chars().all(char::is_alphabetic) {
        return Err(RATE.not_one());
    }
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = seconds.ok_or_else(|| RATE.unknown_unit(number, unit))?;

    Ok((number, Duration::from_secs(seconds)))
}

/// How one kind of quantity is written, for complaints.
struct Kind {
    name: &'static str,
    example: &'static str,
    /// The unit meant by a number without one.
    usual: &'static str,
    /// Every unit, as a sentence lists them.
    units: &'static str,
    /// Our word for a unit that people write, in lower case.
    meant: fn(&str) -> Option<&'static str>,
}

const DURATION: Kind = Kind {
    name: "duration",
    example: "10s",
    usual: "s",
    units: "ms, s, m and h",
    meant: |unit| match unit {
        "ms" | "msec" | "millis" => Some("ms"),
        "s" | "sec" | "secs" | "second" | "seconds" => Some("s"),
        "m" | "min" | "mins" | "minute" | "minutes" => Some("m"),
        "h" | "hr" | "hour" | "hours" => Some("h"),
        _ => None,
    },
};

const SIZE: Kind = Kind {
    name: "size",
    example: "64KiB",
    usual: "B",
    units: "B, KiB and MiB",
    meant: |unit| match unit {
        "b" | "byte" | "bytes" => Some("B"),
        "k" | "kb" | "kib" => Some("KiB"),
        "m" | "mb" | "mib" => Some("MiB"),
        _ => None,
    },
};

const RATE: Kind = Kind {
    name: "rate",
    example: "100/s",
    usual: "/s",
    units: "/s, /m and /h",
    meant: |unit| match unit {
        "s" | "sec" | "second" | "ps" => Some("/s"),
        "m" | "min" | "minute" => Some("/m"),
        "h" | "hr" | "hour" => Some("/h"),
        _ => None,
    },
};

impl Kind {
    fn not_one(&self) -> Fault {
        Fault::new(
            format!("is not a {}", self.name),
            format!(
                "write a whole number and a unit, such as {:?}; units are {}",
                self.example, self.units
            ),
        )
    }

    fn unknown_unit(&self, number: u64, unit: &str) -> Fault {
        let Self { example, units, .. } = self;
        let meant = (self.meant)(&unit.to_ascii_lowercase());
        let (problem, remedy) = match (unit, meant) {
            ("", _) => (
                "has no unit".to_owned(),
                format!("write \"{number}{}\"", self.usual),
            ),
            (_, Some(ours)) => (unknown(unit), format!("write \"{number}{ours}\"")),
            (_, None) => (unknown(unit), format!("write it like {example:?}")),
        };

        Fault::new(problem, format!("{remedy}; units are {units}"))
    }

    fn too_large(&self) -> Fault {
        Fault::new(
            format!("is too large for a {}", self.name),
            format!("write a smaller one, such as {:?}", self.example),
        )
    }
}

fn unknown(unit: &str) -> String {
    format!("has the unknown unit {unit:?}")
}

/// Splits into digits and unit.
fn split<'t>(text: &'t str, kind: &Kind) -> Result<(u64, &'t str), Fault> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start();
    if digits.is_empty() || !unit.chars().all(char::is_alphabetic) {
        return Err(kind.not_one());
    }
    let number = digits.parse().ok().ok_or_else(|| kind.too_large())?;

    Ok((number, unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_unit_of_time() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn reads_every_unit_of_size() {
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1MiB"), Ok(1_048_576));
    }

    #[test]
    fn reads_every_unit_of_a_rate() {
        assert_eq!(rate("100/s"), Ok((100, Duration::from_secs(1))));
        assert_eq!(rate(" 10 / m"), Ok((10, Duration::from_secs(60))));
        assert_eq!(rate("0/h"), Ok((0, Duration::from_secs(3600))));
    }

    #[test]
    fn says_how_a_rate_is_written() {
        let remedy = |text| rate(text).unwrap_err().remedy;

        assert!(remedy("100").starts_with("write \"100/s\""));
        assert!(remedy("10/min").starts_with("write \"10/m\""));
        assert!(remedy("10s").starts_with("write \"10/s\""));
        for text in ["", "/s", "-1/s", "1/", "1/s/s", "a/s", "1x/s"] {
            assert_eq!(rate(text).unwrap_err().problem, "is not a rate", "{text}");
        }
    }

    #[test]
    fn asks_for_a_unit_where_there_is_none() {
        let fault = duration("10").unwrap_err();

        assert_eq!(fault.problem, "has no unit");
        assert_eq!(fault.remedy, "write \"10s\"; units are ms, s, m and h");
    }

    #[test]
    fn translates_units_that_people_write() {
        assert!(
            size("64KB")
                .unwrap_err()
                .remedy
                .starts_with("write \"64KiB\"")
        );
        assert!(
            size("1 mb")
                .unwrap_err()
                .remedy
                .starts_with("write \"1MiB\"")
        );
        assert!(
            duration("5 min")
                .unwrap_err()
                .remedy
                .starts_with("write \"5m\"")
        );
        assert!(
            duration("10S")
                .unwrap_err()
                .remedy
                .starts_with("write \"10s\"")
        );
    }

    #[test]
    fn refuses_what_is_no_whole_number() {
        for text in ["", "s", "-5s", "1.5s", "1m30s", "١s", "soon"] {
            assert_eq!(duration(text).unwrap_err().problem, "is not a duration");
        }
    }

    #[test]
    fn refuses_what_overflows() {
        for text in ["99999999999999999999s", "18446744073709551615h"] {
            let fault = duration(text).unwrap_err();
            assert_eq!(fault.problem, "is too large for a duration");
        }
    }

    proptest! {
        #[test]
        fn reads_back_any_duration(millis in 0u64..=u64::MAX) {
            prop_assert_eq!(
                duration(&format!("{millis}ms")),
                Ok(Duration::from_millis(millis))
            );
        }

        #[test]
        fn never_panics(text in "\\PC*") {
            prop_assert!(duration(&text).is_err() || size(&text).is_err());
            prop_assert!(duration(&text).is_err() || rate(&text).is_err());
        }
    }
}
