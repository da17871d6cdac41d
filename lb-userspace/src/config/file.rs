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
    pub pending_bytes: Value<Quantity>,
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
    pub tls: Option<Spanned<Table<Tls>>>,
    pub max_connections: Value<i64>,
    pub connect_rate: Value<Quantity>,
    pub versions: Value<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    pub certificate: Value<String>,
    pub key: Value<String>,
    pub alpn: Vec<Spanned<String>>,
    pub client_ca: Value<String>,
    pub more: Vec<Spanned<Table<Certificate>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certificate {
    pub certificate: Value<String>,
    pub key: Value<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    pub name: Value<String>,
    pub pool: Value<String>,
    pub listeners: Vec<Spanned<String>>,
    pub sni: Vec<Spanned<String>>,
    pub sni_glob: Vec<Spanned<String>>,
    pub alpn: Vec<Spanned<String>>,
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
    pub proxy_protocol: Value<String>,
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
mod tests;
