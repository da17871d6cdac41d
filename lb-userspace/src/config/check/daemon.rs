//! The tables that say how the process works: `[daemon]`, `[kernel]`.

use std::num::NonZeroUsize;

use tracing_subscriber::EnvFilter;

use super::report::Report;
use super::rules;
use crate::config::complaint::Fault;
use crate::config::file;
use crate::config::{Attach, Daemon, Kernel, KernelMode, LogFormat, default};

pub(super) fn daemon(written: file::Daemon, report: &mut Report<'_>) -> Daemon {
    let file::Daemon {
        threads,
        control,
        log,
        log_format,
        watch_config,
        drain_timeout,
    } = written;

    Daemon {
        threads: report.optional(threads, default::THREADS, |count| {
            rules::number(*count, &(0..=1024)).map(NonZeroUsize::new)
        }),
        control: report.optional(control, default::CONTROL.into(), |path| {
            rules::socket(path, default::CONTROL)
        }),
        log: report.optional(log, default::LOG.into(), |text| filter(text)),
        log_format: report.optional(log_format, default::LOG_FORMAT, |text| {
            rules::choice(
                text,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            )
        }),
        watch_config: report.optional(watch_config, default::WATCH_CONFIG, |watch| Ok(*watch)),
        drain_timeout: report.optional(drain_timeout, default::DRAIN_TIMEOUT, rules::duration),
    }
}

pub(super) fn kernel(written: file::Kernel, report: &mut Report<'_>) -> Kernel {
    let file::Kernel {
        mode,
        attach,
        pins,
        clients_capacity,
        sticky_capacity,
        interfaces,
    } = written;
    let interfaces = report.each(&interfaces, |name| rules::interface(name));

    Kernel {
        mode: report.optional(mode, default::MODE, |text| rules::choice(text, &MODES)),
        attach: report.optional(attach, default::ATTACH, |text| {
            rules::choice(text, &MANNERS)
        }),
        pins: report.optional(pins, default::PINS.into(), |path| {
            rules::absolute(path, default::PINS)
        }),
        clients_capacity: report.optional(clients_capacity, default::CLIENTS_CAPACITY, |count| {
            rules::number(*count, &(1..=1 << 24))
        }),
        sticky_capacity: report.optional(sticky_capacity, default::STICKY_CAPACITY, |count| {
            rules::number(*count, &(1..=1 << 24))
        }),
        interfaces: Some(interfaces).filter(|names| !names.is_empty()),
    }
}

fn filter(text: &str) -> Result<String, Fault> {
    if EnvFilter::builder().parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    let remedy = "write error, warn, info, debug or trace, or target=level as in \"lb_userspace::session=debug,info\"";
    Err(Fault::new("is not a log filter", remedy))
}

const MANNERS: [(&str, Attach); 3] = [
    ("auto", Attach::Auto),
    ("clsact", Attach::Clsact),
    ("tcx", Attach::Tcx),
];

const MODES: [(&str, KernelMode); 3] = [
    ("auto", KernelMode::Auto),
    ("off", KernelMode::Off),
    ("required", KernelMode::Required),
];
