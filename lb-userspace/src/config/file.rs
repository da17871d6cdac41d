//! What the user wrote: every key may be missing, every value knows where it stands.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;
use toml::de::{DeValue, Error, ValueDeserializer};

/// A value, if it was written, with its place in the text.
pub type Value<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    pub daemon: Table<Daemon>,
    pub kernel: Table<Kernel>,
    pub limits: Table<Limits>,
    pub listeners: Vec<Spanned<Table<Listener>>>,
    pub routes: Vec<Spanned<Table<Route>>>,
    pub pools: Vec<Spanned<Table<Pool>>>,
}

impl File {
    /// Reads a tree up to its first unknown key or wrong type.
    ///
    /// # Errors
    ///
    /// What it stumbled over; the span leads to it.
    pub fn read(tree: Spanned<DeValue<'_>>) -> Result<Self, Error> {
        Self::deserialize(ValueDeserializer::from(tree))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Daemon {
    pub threads: Value<i64>,
    pub control: Value<String>,
    pub log: Value<String>,
    pub log_format: Value<String>,
    pub watch_config: Value<bool>,
    pub drain_timeout: Value<Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kernel {
    pub mode: Value<String>,
    pub attach: Value<String>,
    pub pins: Value<String>,
    pub clients_capacity: Value<i64>,
    pub sticky_capacity: Value<i64>,
    pub interfaces: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub connect_packet: Value<Quantity>,
    pub connect_timeout: Value<Quantity>,
    pub sockmap_queue: Value<Quantity>,
    pub max_connections: Value<i64>,
    pub max_connections_per_source: Value<i64>,
    pub pending_connects: Value<i64>,
    pub pending_connects_per_source: Value<i64>,
    pub queue_timeout: Value<Quantity>,
    pub connects_per_client: Value<Quantity>,
    pub idle_margin: Value<Quantity>,
    pub idle_without_keep_alive: Value<Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    pub name: Value<String>,
    pub bind: Vec<Spanned<String>>,
    pub pool: Value<String>,
    pub datapath: Value<String>,
    pub max_connections: Value<i64>,
    pub connect_rate: Value<Quantity>,
    pub versions: Value<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    pub name: Value<String>,
    pub pool: Value<String>,
    pub listeners: Vec<Spanned<String>>,
    pub client_id: Vec<Spanned<String>>,
    pub client_id_prefix: Vec<Spanned<String>>,
    pub client_id_glob: Vec<Spanned<String>>,
    pub client_id_regex: Vec<Spanned<String>>,
    pub user_name: Vec<Spanned<String>>,
    pub user_name_prefix: Vec<Spanned<String>>,
    pub user_name_glob: Vec<Spanned<String>>,
    pub versions: Vec<Spanned<String>>,
    pub clean: Value<String>,
    pub source: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    pub name: Value<String>,
    pub balance: Value<String>,
    pub dial_timeout: Value<Quantity>,
    pub connack_timeout: Value<Quantity>,
    pub attempts: Value<i64>,
    pub retry_on: Value<Vec<Spanned<String>>>,
    pub dns_interval: Value<Quantity>,
    pub load_bound: Value<i64>,
    pub slow_start: Value<Quantity>,
    pub health: Table<Health>,
    pub sticky: Option<Spanned<Table<Sticky>>>,
    pub backends: Vec<Spanned<Table<Backend>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    pub check: Value<String>,
    pub interval: Value<Quantity>,
    pub fast_interval: Value<Quantity>,
    pub timeout: Value<Quantity>,
    pub jitter_percent: Value<i64>,
    pub fall: Value<i64>,
    pub rise: Value<i64>,
    pub client_id: Value<String>,
    pub version: Value<String>,
    pub user_name: Value<String>,
    pub password_file: Value<String>,
    pub port: Value<i64>,
    pub path: Value<String>,
    pub status: Value<Vec<Spanned<i64>>>,
    pub body: Value<String>,
    pub max_fails: Value<i64>,
    pub fail_timeout: Value<Quantity>,
    pub fail_on: Value<Vec<Spanned<String>>>,
    pub on_dead: Value<String>,
    pub resets_per_second: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sticky {
    pub persistent_only: Value<bool>,
    pub expire: Value<Quantity>,
    pub hold: Value<Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backend {
    pub name: Value<String>,
    pub address: Value<String>,
    pub weight: Value<i64>,
    pub backup: Value<bool>,
    pub source_addresses: Vec<Spanned<String>>,
    pub max_connections: Value<i64>,
    pub connect_rate: Value<Quantity>,
}

/// A duration, a size or a rate. A bare number is taken too, so that the complaint can name the unit.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string with a unit")]
pub enum Quantity {
    Text(String),
    Number(i64),
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// A table and nothing else: a derived struct would also take a list of its values.
#[derive(Debug, Default)]
pub struct Table<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor(PhantomData))
    }
}

struct TableVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
    type Value = Table<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without `..`, so that a new key does not compile until it is asserted here.
    #[test]
    fn every_key_is_shown_in_the_reference() {
        let text = include_str!("../../../conf/sluice.toml");
        let File {
            daemon:
                Table(Daemon {
                    threads,
                    control,
                    log,
                    log_format,
                    watch_config,
                    drain_timeout,
                }),
            kernel:
                Table(Kernel {
                    mode,
                    attach,
                    pins,
                    clients_capacity,
                    sticky_capacity,
                    interfaces: _,
                }),
            limits:
                Table(Limits {
                    connect_packet,
                    connect_timeout,
                    sockmap_queue,
                    max_connections,
                    max_connections_per_source,
                    pending_connects,
                    pending_connects_per_source,
                    queue_timeout,
                    connects_per_client,
                    idle_margin,
                    idle_without_keep_alive,
                }),
            mut listeners,
            routes: _,
            mut pools,
        } = toml::from_str(text).unwrap();
        let Table(Listener {
            name,
            bind,
            pool,
            datapath,
            max_connections: listener_max_connections,
            connect_rate: listener_connect_rate,
            versions,
        }) = listeners.remove(0).into_inner();
        assert!(name.is_some() && !bind.is_empty() && pool.is_some() && datapath.is_some());
        assert!(listener_max_connections.is_some() && listener_connect_rate.is_some());
        assert!(versions.is_some() && max_connections.is_some());
        assert!(max_connections_per_source.is_some() && connects_per_client.is_some());
        assert!(pending_connects.is_some() && pending_connects_per_source.is_some());
        assert!(queue_timeout.is_some() && idle_margin.is_some());
        assert!(idle_without_keep_alive.is_some());
        shows_every_key_of_a_pool(pools.remove(0).into_inner().0);

        assert!(threads.is_some() && control.is_some() && log.is_some() && log_format.is_some());
        assert!(watch_config.is_some() && attach.is_some() && drain_timeout.is_some());
        assert!(mode.is_some() && pins.is_some() && clients_capacity.is_some());
        assert!(connect_packet.is_some() && connect_timeout.is_some() && sockmap_queue.is_some());
        // Empty there, so only the text tells that they are shown.
        for list in ["interfaces", "source_addresses"] {
            assert!(text.contains(&format!("\n{list} = []\n")), "{list}");
        }
        assert!(sticky_capacity.is_some());
    }

    fn shows_every_key_of_a_pool(pool: Pool) {
        let Pool {
            name,
            balance,
            dial_timeout,
            connack_timeout,
            attempts,
            retry_on,
            dns_interval,
            load_bound,
            slow_start,
            health,
            sticky,
            mut backends,
        } = pool;
        assert!(name.is_some() && balance.is_some() && attempts.is_some());
        assert!(dial_timeout.is_some() && connack_timeout.is_some());
        assert!(dns_interval.is_some());
        assert!(retry_on.is_some() && load_bound.is_some() && slow_start.is_some());
        shows_every_key_of(health.0);
        let Table(Sticky {
            persistent_only,
            expire,
            hold,
        }) = sticky.unwrap().into_inner();
        assert!(persistent_only.is_some() && expire.is_some() && hold.is_some());
        let Table(Backend {
            name,
            address,
            weight,
            backup,
            source_addresses,
            max_connections: backend_max_connections,
            connect_rate: backend_connect_rate,
        }) = backends.remove(0).into_inner();
        assert!(name.is_some() && address.is_some() && weight.is_some() && backup.is_some());
        assert!(source_addresses.is_empty());
        assert!(backend_max_connections.is_some() && backend_connect_rate.is_some());
    }

    /// The same for routes, whose lists are all empty there.
    #[test]
    fn every_key_of_a_route_is_shown_in_the_reference() {
        let text = include_str!("../../../conf/sluice.toml");
        let File { mut routes, .. } = toml::from_str(text).unwrap();
        let Table(Route {
            name,
            pool,
            listeners: _,
            client_id: _,
            client_id_prefix: _,
            client_id_glob: _,
            client_id_regex: _,
            user_name: _,
            user_name_prefix: _,
            user_name_glob: _,
            versions: _,
            clean,
            source: _,
        }) = routes.remove(0).into_inner();
        assert!(name.is_some() && pool.is_some() && clean.is_some());
        let lists = [
            "listeners",
            "client_id",
            "client_id_prefix",
            "client_id_glob",
            "client_id_regex",
            "user_name",
            "user_name_prefix",
            "user_name_glob",
            "versions",
            "source",
        ];
        for list in lists {
            assert!(text.contains(&format!("\n{list} = []\n")), "{list}");
        }
    }

    fn shows_every_key_of(health: Health) {
        let Health {
            check,
            interval,
            fast_interval,
            timeout,
            jitter_percent,
            fall,
            rise,
            client_id,
            version,
            user_name,
            password_file,
            port,
            path,
            status,
            body,
            max_fails,
            fail_timeout,
            fail_on,
            on_dead,
            resets_per_second,
        } = health;
        assert!(check.is_some() && interval.is_some() && fast_interval.is_some());
        assert!(timeout.is_some() && jitter_percent.is_some() && fall.is_some() && rise.is_some());
        assert!(client_id.is_some() && version.is_some() && user_name.is_some());
        assert!(password_file.is_some() && port.is_some() && path.is_some() && status.is_some());
        assert!(body.is_some() && max_fails.is_some() && fail_timeout.is_some());
        assert!(fail_on.is_some() && on_dead.is_some() && resets_per_second.is_some());
    }
}
