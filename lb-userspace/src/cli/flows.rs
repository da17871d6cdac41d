//! `sluice flows`, for people.

use std::fmt;

use super::table::{columns, row};
use crate::control::flows::{Direction, Row, State};

/// Shows connections as aligned columns.
#[derive(Debug)]
pub(super) struct Table<'a>(pub &'a [Row]);

const TITLES: [&str; 8] = [
    "CLIENT",
    "ADDRESS",
    "BACKEND",
    "BROKER",
    "STATE",
    "FROM CLIENT",
    "FROM BROKER",
    "SILENT",
];

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![row(&TITLES)];
        rows.extend(self.0.iter().map(cells));
        f.write_str(columns(&rows).trim_end())
    }
}

fn cells(row: &Row) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let limit = match row.idle_limit {
        0 => "never".to_owned(),
        seconds => format!("{seconds}s"),
    };
    vec![
        or_none(&row.client_id),
        row.client.to_string(),
        or_none(&row.backend),
        row.broker.to_string(),
        state(row.state).to_owned(),
        sent(&row.from_client),
        sent(&row.from_broker),
        format!("{}s of {limit}", row.from_client.silent_for),
    ]
}

fn state(state: State) -> &'static str {
    match state {
        State::Leaving => "leaving",
        State::Open => "open",
        State::HalfClosed => "half-closed",
        State::Closed => "closed",
    }
}

fn sent(
    Direction {
        packets,
        bytes,
        silent_for: _,
    }: &Direction,
) -> String {
    format!("{packets} packets, {bytes} B")
}
