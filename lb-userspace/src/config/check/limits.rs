//! `[limits]`: what clients may take, and how fast.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::report::Report;
use super::rules;
use crate::config::complaint::Fault;
use crate::config::file::{self, Quantity};
use crate::config::{Limits, PENDING_FREE_BYTES, TLS_BYTES, default, units};

pub(super) fn limits(written: file::Limits, report: &mut Report<'_>) -> Limits {
    let file::Limits {
        connect_packet,
        connect_timeout,
        sockmap_queue,
        max_connections,
        max_connections_per_source,
        pending_connects,
        pending_connects_per_source,
        pending_bytes,
        queue_timeout,
        connects_per_client,
        idle_margin,
        idle_without_keep_alive,
    } = written;
    let mut most = |written| report.optional(written, None, rules::most);
    let max_connections = most(max_connections);
    let max_connections_per_source = most(max_connections_per_source);
    let pending_connects = most(pending_connects);
    let pending_connects_per_source = most(pending_connects_per_source);
    let connect_packet_bytes = report.optional(
        connect_packet,
        default::CONNECT_PACKET_BYTES,
        connect_packet_bytes,
    );

    Limits {
        connect_packet_bytes,
        connect_timeout: report.optional(
            connect_timeout,
            default::CONNECT_TIMEOUT,
            rules::duration,
        ),
        sockmap_queue_bytes: report.optional(
            sockmap_queue,
            default::SOCKMAP_QUEUE_BYTES,
            sockmap_queue_bytes,
        ),
        max_connections,
        max_connections_per_source,
        pending_connects,
        pending_connects_per_source,
        pending_bytes: report.optional(pending_bytes, default::PENDING_BYTES, |value| {
            self::pending_bytes(value, connect_packet_bytes)
        }),
        queue_timeout: report.optional(queue_timeout, default::QUEUE_TIMEOUT, rules::duration),
        connects_per_client: report.optional(connects_per_client, None, rules::rate),
        idle_margin: report.optional(idle_margin, default::IDLE_MARGIN, |value| {
            seconds(value, &MARGINS)
        }),
        idle_without_keep_alive: report.optional(
            idle_without_keep_alive,
            default::IDLE_WITHOUT_KEEP_ALIVE,
            |value| {
                let silence = seconds(value, &SILENCES)?;
                Ok(Some(silence).filter(|silence| !silence.is_zero()))
            },
        ),
    }
}

fn connect_packet_bytes(value: &Quantity) -> Result<usize, Fault> {
    let bytes = units::size(&value.to_string())?;
    if (64..=1 << 20).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(rules::outside("\"64B\"", "\"1MiB\""))
    }
}

fn pending_bytes(value: &Quantity, connect_packet_bytes: usize) -> Result<usize, Fault> {
    let bytes = units::size(&value.to_string())?;
    let least = TLS_BYTES + connect_packet_bytes.saturating_sub(PENDING_FREE_BYTES);
    if bytes < least {
        let problem = "has no room for one TLS client with as long a CONNECT as limits.connect_packet lets it be";
        return Err(Fault::new(problem, format!("write at least \"{least}B\"")));
    }
    Ok(bytes)
}

fn sockmap_queue_bytes(value: &Quantity) -> Result<u32, Fault> {
    let bytes = units::size(&value.to_string())?;
    u32::try_from(bytes)
        .ok()
        .filter(|bytes| (64 << 10..=64 << 20).contains(bytes))
        .ok_or_else(|| rules::outside("\"64KiB\"", "\"64MiB\""))
}

/// Whole seconds up to an hour, or 8760 of them; what a connection in the kernel keeps has no finer unit.
fn seconds(value: &Quantity, range: &RangeInclusive<Duration>) -> Result<Duration, Fault> {
    let duration = units::duration(&value.to_string())?;
    if duration.subsec_nanos() > 0 {
        let remedy = "write whole seconds, such as \"5s\"";
        return Err(Fault::new("has a fraction of a second", remedy));
    }
    if !range.contains(&duration) {
        let hours = range.end().as_secs() / 3600;
        return Err(rules::outside("\"0s\"", format!("\"{hours}h\"")));
    }
    Ok(duration)
}

const MARGINS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const SILENCES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(8760 * 3600);
