//! `[pools.health]`.

use std::num::{NonZeroU16, NonZeroU32};

use toml::Spanned;

use super::report::Report;
use super::rules;
use crate::config::complaint::Fault;
use crate::config::file;
use crate::config::health::{Check, Clients, Credentials, HttpCheck, MqttCheck, OnDead, Rhythm};
use crate::config::why::Why;
use crate::config::{Health, default};
use crate::mqtt::Version;

/// A word of `check`, before the keys that belong to it are looked at.
#[derive(Clone, Copy)]
enum Kind {
    None,
    Tcp,
    Mqtt,
    Http(Option<Preset>),
}

/// Where a kind of broker tells how it is.
#[derive(Clone, Copy)]
struct Preset {
    port: NonZeroU16,
    path: &'static str,
}

pub(super) fn check(written: file::Health, report: &mut Report<'_>) -> Health {
    let rhythm = Rhythm {
        interval: report.optional(written.interval, default::INTERVAL, rules::duration),
        fast_interval: report.optional(
            written.fast_interval,
            default::FAST_INTERVAL,
            rules::duration,
        ),
        timeout: report.optional(written.timeout, default::CHECK_TIMEOUT, rules::duration),
        jitter_percent: report.optional(written.jitter_percent, default::JITTER_PERCENT, |n| {
            rules::number(*n, &(0..=50))
        }),
    };
    let clients = Clients {
        max_fails: report.optional(written.max_fails, default::MAX_FAILS, |n| {
            rules::number(*n, &(0..=1000)).map(NonZeroU32::new)
        }),
        fail_timeout: report.optional(written.fail_timeout, default::FAIL_TIMEOUT, rules::duration),
        fail_on: report.list(written.fail_on, default::FAIL_ON, |text: &String| {
            rules::choice(text, &failures())
        }),
    };
    let credentials = credentials(written.user_name, written.password_file, report);
    let kind = written.check;
    let at = kind.as_ref().map(Spanned::span);
    let kind = report.optional(kind, Kind::Tcp, |text| rules::choice(text, &kinds()));
    let mqtt = mqtt(written.client_id, written.version, report);
    let http = Page {
        port: written.port,
        path: written.path,
        status: written.status,
        body: written.body,
    };
    let http = http.check(kind, at, report);

    Health {
        check: match kind {
            Kind::None => Check::None,
            Kind::Tcp => Check::Tcp,
            Kind::Mqtt => Check::Mqtt(MqttCheck {
                credentials,
                ..mqtt
            }),
            Kind::Http(_) => Check::Http(HttpCheck {
                credentials,
                ..http
            }),
        },
        rhythm,
        fall: report.optional(written.fall, default::FALL, |n| count(*n, 100)),
        rise: report.optional(written.rise, default::RISE, |n| count(*n, 100)),
        resets_per_second: report.optional(
            written.resets_per_second,
            default::RESETS_PER_SECOND,
            |n| count(*n, 1_000_000),
        ),
        clients,
        on_dead: report.optional(written.on_dead, default::ON_DEAD, |text| {
            rules::choice(text, &[("reset", OnDead::Reset), ("keep", OnDead::Keep)])
        }),
    }
}

fn count(written: i64, most: i64) -> Result<NonZeroU32, Fault> {
    let count = rules::number(written, &(1..=most))?;
    NonZeroU32::new(count).ok_or_else(|| rules::outside(1, most))
}

fn mqtt(
    client_id: file::Value<String>,
    version: file::Value<String>,
    report: &mut Report<'_>,
) -> MqttCheck {
    MqttCheck {
        client_id: report.optional(client_id, None, |text| word(text)),
        version: report.optional(version, default::CHECK_VERSION, |text| {
            rules::choice(text, &VERSIONS)
        }),
        credentials: None,
        proxy_protocol: default::PROXY_PROTOCOL,
    }
}

fn credentials(
    user_name: file::Value<String>,
    password_file: file::Value<String>,
    report: &mut Report<'_>,
) -> Option<Credentials> {
    let password_at = password_file.as_ref().map(Spanned::span);
    let is_named = user_name.is_some();
    let user_name = report.optional(user_name, None, |text| word(text));
    let password_file = report.optional(password_file, None, |text| match text.as_str() {
        "" => Ok(None),
        path => rules::absolute(path, "/etc/sluice/health.password").map(Some),
    });
    match (user_name, password_file, password_at) {
        (Some(user_name), password_file, _) => Some(Credentials {
            user_name,
            password_file,
        }),
        // [MQTT-3.1.2-22]
        (None, Some(_), Some(at)) => {
            let remedy = if is_named {
                "write the name that belongs to it in user_name"
            } else {
                "add a line such as user_name = \"sluice\""
            };
            report.complain(at, Fault::new("has no user name beside it", remedy));
            None
        }
        (None, _, _) => None,
    }
}

/// Text that goes into a packet or a request as it is; empty is none.
fn word(text: &str) -> Result<Option<String>, Fault> {
    if text.len() > LONGEST_WORD || text.chars().any(char::is_control) {
        let remedy = "write at most 256 bytes without control characters";
        return Err(Fault::new("cannot be sent", remedy));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// The keys of the `http` check, as they were written.
struct Page {
    port: file::Value<i64>,
    path: file::Value<String>,
    status: file::Value<Vec<Spanned<i64>>>,
    body: file::Value<String>,
}

impl Page {
    fn check(
        self,
        kind: Kind,
        at: Option<std::ops::Range<usize>>,
        report: &mut Report<'_>,
    ) -> HttpCheck {
        let preset = match kind {
            Kind::Http(preset) => preset,
            Kind::None | Kind::Tcp | Kind::Mqtt => None,
        };
        let written = report.optional(self.port, None, |port| {
            rules::number(*port, &(0..=65535)).map(NonZeroU16::new)
        });
        let port = written.or_else(|| preset.map(|preset| preset.port));
        if let (None, Kind::Http(_), Some(at)) = (port, kind, at) {
            let remedy = "add a line such as port = 8080, as HTTP has a port of its own";
            report.complain(at, Fault::new("has no port", remedy));
        }
        let usual = preset.map_or(default::PATH, |preset| preset.path);
        let status = report.list(self.status, default::STATUS, |code| {
            rules::number(*code, &(100..=599))
        });
        HttpCheck {
            port: port.unwrap_or(NonZeroU16::MIN),
            path: report
                .optional(self.path, None, |text| path(text))
                .unwrap_or_else(|| usual.to_owned()),
            status: if status.is_empty() {
                default::STATUS.to_vec()
            } else {
                status
            },
            body: report.optional(self.body, None, |text| word(text)),
            credentials: None,
        }
    }
}

fn path(text: &str) -> Result<Option<String>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let fits = text.len() <= LONGEST_WORD && text.chars().all(|c| c.is_ascii_graphic());
    if fits && text.starts_with('/') {
        return Ok(Some(text.to_owned()));
    }
    let remedy = "write it from the first slash, such as \"/health\", in printable ASCII";
    Err(Fault::new("is not a path", remedy))
}

/// Bytes; brokers take longer ones, but nobody needs them.
const LONGEST_WORD: usize = 256;

const VERSIONS: [(&str, Version); 3] = [
    ("3.1", Version::V3_1),
    ("3.1.1", Version::V3_1_1),
    ("5.0", Version::V5),
];

fn failures() -> Vec<(&'static str, Why)> {
    let is_the_backends = |why: &Why| *why != Why::Local;
    let all = Why::ALL.into_iter().filter(is_the_backends);
    all.map(|why| (why.label(), why)).collect()
}

/// The pages of the presets, each with status 200 where clients are served and 503 where not:
///
/// - EMQX, the listener of its dashboard: `emqx_mgmt_api_status` in its source (5.x), which wants no user.
///   EMQX 4 has the same page at port 8081.
/// - HiveMQ, "Health API" in its documentation: off until it is enabled, at 127.0.0.1 until it is told
///   otherwise. Readiness is of the cluster and the listeners, and is 200 where they are degraded.
/// - VerneMQ, its HTTP listener: `vmq_health_http` in its source; the node is in the cluster, and every
///   listener runs.
/// - RabbitMQ, its management plug-in: `rabbit_mgmt_wm_health_check_protocol_listener` in its source, whose
///   answers the tests see. It is 401 without a user who may see that page.
fn kinds() -> [(&'static str, Kind); 8] {
    let preset = |port, path| Kind::Http(NonZeroU16::new(port).map(|port| Preset { port, path }));
    [
        ("none", Kind::None),
        ("tcp", Kind::Tcp),
        ("mqtt", Kind::Mqtt),
        ("http", Kind::Http(None)),
        ("emqx", preset(18083, "/status")),
        ("hivemq", preset(8889, "/api/v1/health/readiness")),
        ("vernemq", preset(8888, "/health")),
        (
            "rabbitmq",
            preset(15672, "/api/health/checks/protocol-listener/mqtt"),
        ),
    ]
}
