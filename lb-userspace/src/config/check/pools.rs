//! `[[pools]]` and `[[pools.backends]]`: each one by itself.

use std::num::{NonZeroU16, NonZeroUsize};
use std::time::Duration;

use toml::Spanned;

use super::report::{self, Report};
use super::{address, health, rules};
use crate::config::complaint::Fault;
use crate::config::file::{self, Table};
use crate::config::health::Check;
use crate::config::{
    Backend, Balance, Health, Pool, ProxyProtocol, Sticky, StickyClients, Tier, default,
};
use crate::mqtt::not_me::NotMe;

/// The pools that are right; at least one, or a complaint.
pub(super) fn check(
    written: Vec<Spanned<Table<file::Pool>>>,
    report: &mut Report<'_>,
) -> Vec<Pool> {
    if written.is_empty() {
        report.missing(&report::ROOT, "pools");
    }
    written
        .into_iter()
        .filter_map(|one| pool(one, report))
        .collect()
}

fn pool(written: Spanned<Table<file::Pool>>, report: &mut Report<'_>) -> Option<Pool> {
    let owner = written.span();
    let Table(file::Pool {
        name,
        balance,
        proxy_protocol,
        dial_timeout,
        connack_timeout,
        attempts,
        retry_on,
        dns_interval,
        load_bound,
        slow_start,
        health,
        sticky,
        backends,
    }) = written.into_inner();
    let name = report.required(&owner, "name", name, |text| rules::name(text));
    let balance = report.optional(balance, default::BALANCE, |text| {
        rules::choice(text, &BALANCES)
    });
    let proxy_protocol = report.optional(proxy_protocol, default::PROXY_PROTOCOL, |text| {
        rules::choice(text, &PROXY_PROTOCOLS)
    });
    let dial_timeout = report.optional(dial_timeout, default::DIAL_TIMEOUT, rules::duration);
    let connack_timeout =
        report.optional(connack_timeout, default::CONNACK_TIMEOUT, rules::duration);
    let attempts = report.optional(attempts, default::ATTEMPTS, self::attempts);
    let not_me = NotMe::ALL.map(|not_me| (not_me.label(), not_me));
    let retry_on = report.list(retry_on, default::RETRY_ON, |text: &String| {
        rules::choice(text, &not_me)
    });
    let load_bound = report.optional(load_bound, default::LOAD_BOUND, |percent| {
        bound(*percent, balance)
    });
    let slow_start = report.optional(slow_start, default::SLOW_START, rules::period);
    let dns_interval = report.optional(dns_interval, default::DNS_INTERVAL, rules::duration);
    let health = told(health::check(health.0, report), proxy_protocol);
    let sticky = sticky.map(|table| self::sticky(table.into_inner().0, report));
    if backends.is_empty() {
        report.missing(&owner, "backends");
    }
    let backends = backends.into_iter().filter_map(|one| backend(one, report));
    let backends = backends.collect();

    Some(Pool {
        name: name?,
        balance,
        proxy_protocol,
        dial_timeout,
        connack_timeout,
        attempts,
        retry_on,
        load_bound,
        slow_start,
        health,
        dns_interval,
        sticky,
        backends,
    })
}

fn attempts(count: &i64) -> Result<NonZeroUsize, Fault> {
    let count = rules::number(*count, &(1..=100))?;
    NonZeroUsize::new(count).ok_or_else(|| rules::outside(1, 100))
}

/// A check that speaks MQTT is introduced as clients are.
fn told(mut health: Health, proxy_protocol: ProxyProtocol) -> Health {
    if let Check::Mqtt(check) = &mut health.check {
        check.proxy_protocol = proxy_protocol;
    }
    health
}

fn sticky(written: file::Sticky, report: &mut Report<'_>) -> Sticky {
    let file::Sticky {
        persistent_only,
        expire,
        hold,
    } = written;
    Sticky {
        clients: report.optional(persistent_only, default::STICKY_CLIENTS, |only| {
            Ok(if *only {
                StickyClients::Persistent
            } else {
                StickyClients::All
            })
        }),
        expire: report.optional(expire, default::EXPIRE, |time| {
            let expire = rules::period(time)?;
            if expire < Duration::from_secs(1) {
                return Err(rules::outside("\"1s\"", "\"8760h\""));
            }
            Ok(expire)
        }),
        hold: report.optional(hold, default::HOLD, rules::period),
    }
}

/// A bound in percent; none is 0.
fn bound(percent: i64, balance: Balance) -> Result<Option<NonZeroU16>, Fault> {
    if percent == 0 {
        return Ok(None);
    }
    if !matches!(balance, Balance::ClientId | Balance::Source) {
        let remedy = "remove it, or write balance = \"client_id\" or \"source\"";
        return Err(Fault::new("bounds only a hash", remedy));
    }
    let whole = u16::try_from(percent).ok().and_then(NonZeroU16::new);
    let whole = whole.filter(|percent| (101..=1000).contains(&percent.get()));
    whole.map(Some).ok_or_else(|| {
        Fault::new(
            "is out of range",
            "write from 101 to 1000, or 0 for no bound",
        )
    })
}

fn backend(written: Spanned<Table<file::Backend>>, report: &mut Report<'_>) -> Option<Backend> {
    let owner = written.span();
    let Table(file::Backend {
        name,
        address,
        weight,
        backup,
        source_addresses,
        max_connections,
        connect_rate,
    }) = written.into_inner();
    let name = report.required(&owner, "name", name, |text| rules::name(text));
    let address = report.required(&owner, "address", address, |text| address::backend(text));
    let weight = report.optional(weight, default::WEIGHT, |weight| {
        rules::number(*weight, &(0..=256))
    });
    let tier = report.optional(backup, default::TIER, |backup| {
        Ok(if *backup { Tier::Backup } else { Tier::Primary })
    });
    let host = address.as_ref().map(|address| &address.host);
    let source_addresses = report.each(&source_addresses, |text| address::source(text, host));
    let max_connections = report.optional(max_connections, None, rules::most);
    let connect_rate = report.optional(connect_rate, None, rules::rate);

    Some(Backend {
        name: name?,
        address: address?,
        weight,
        tier,
        source_addresses,
        max_connections,
        connect_rate,
    })
}

const BALANCES: [(&str, Balance); 6] = [
    ("client_id", Balance::ClientId),
    ("first", Balance::First),
    ("least_connections", Balance::LeastConnections),
    ("random", Balance::Random),
    ("round_robin", Balance::RoundRobin),
    ("source", Balance::Source),
];

const PROXY_PROTOCOLS: [(&str, ProxyProtocol); 3] = [
    ("none", ProxyProtocol::None),
    ("v1", ProxyProtocol::V1),
    ("v2", ProxyProtocol::V2),
];
