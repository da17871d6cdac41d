//! One case as a reader sees it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::contender::Contender;
use super::super::measure::Figures;
use super::super::scenario::{Cell, Disturbance, OverTls, Scenario};
use super::super::statistics::Spread;

/// Rounds that lie further apart, as a part of their median, are too noisy to tell small
/// differences.
const NOISY: f64 = 0.25;
/// The part of the CPU time in use that other programs may take before it is said.
const CROWDED: f64 = 0.05;

/// One case.
pub(crate) struct Table {
    pub(super) cell: Cell,
    pub(crate) entries: Vec<Entry>,
    /// What a reader must know.
    pub(crate) notes: Vec<String>,
}

/// One contender in one case.
pub(crate) struct Entry {
    pub(crate) contender: Contender,
    pub(crate) rounds: Vec<Figures>,
}

impl Table {
    pub(crate) fn new(cell: Cell) -> Self {
        Self {
            cell,
            entries: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let entries: Vec<_> = self
            .entries
            .iter()
            .map(|entry| {
                json!({
                    "contender": entry.contender.name(),
                    "median_per_second": entry.rate().map(|rate| rate.median),
                    "median_cpu_us": entry.cpu().map(|cpu| cpu.median),
                    "median_p50_us": entry.of(|round| round.p50_us).map(|p50| p50.median),
                    "median_p99_us": entry.of(|round| round.p99_us).map(|p99| p99.median),
                    "median_p999_us": entry.of(|round| round.p999_us).map(|p999| p999.median),
                    "rounds": entry.rounds,
                })
            })
            .collect();
        json!({
            "case": self.cell.to_string(),
            "scenario": self.cell.scenario.name(),
            "connections": self.cell.connections,
            "bytes": self.cell.bytes,
            "depth": self.cell.depth,
            "held": self.cell.held,
            "contenders": entries,
            "notes": self.notes,
            "warnings": self.warnings(),
        })
    }

    /// `calm` is the same case without a disturbance.
    pub(super) fn markdown(&self, calm: Option<&Self>) -> String {
        let (columns, rows): (String, Vec<Option<String>>) = match self.cell.scenario {
            Scenario::Tls if self.cell.over_tls == Some(OverTls::Idle) => (
                "balancer".to_owned(),
                self.each(|entry| Some(format!("{:.0}", memory_of_each(entry)?[1]))),
            ),
            Scenario::Idle => (
                "kernel | balancer | together".to_owned(),
                self.each(|entry| self.memory(entry)),
            ),
            Scenario::Disturb => (
                "p50 µs | p99 µs | p99.9 µs | p99 × undisturbed | lost".to_owned(),
                self.each(|entry| Some(disturbed(entry, calm))),
            ),
            Scenario::Rtt
            | Scenario::Bulk
            | Scenario::Connect
            | Scenario::Local
            | Scenario::Fanout
            | Scenario::Tls
            | Scenario::Program => (
                format!(
                    "{} | × | p50 µs | p99 µs | p99.9 µs | CPU µs | cost µs",
                    self.unit().0
                ),
                self.each(|entry| self.rates(entry)),
            ),
        };
        let right = " --: |".repeat(columns.matches('|').count() + 1);
        let mut text = format!("\n### {}\n\n| | {columns} |\n| --- |{right}\n", self.cell);
        for (entry, row) in self.entries.iter().zip(rows) {
            if let Some(row) = row {
                text += &format!("| {} | {row} |\n", entry.contender);
            }
        }
        for line in self.notes.iter().chain(&self.warnings()) {
            text += &format!("\n- {line}");
        }
        text + "\n"
    }

    /// Rows of those with a whole round.
    fn each(&self, row: impl Fn(&Entry) -> Option<String>) -> Vec<Option<String>> {
        let made = |entry| (!Entry::is_empty(entry)).then(|| row(entry)).flatten();
        self.entries.iter().map(made).collect()
    }

    fn rates(&self, entry: &Entry) -> Option<String> {
        let (_, scale) = self.unit();
        let rate = entry.rate()?;
        let cpu = entry.cpu()?;
        let mut row = format!(
            "{:.2} ({:.2}–{:.2})",
            rate.median * scale,
            rate.least * scale,
            rate.most * scale
        );
        let floor = self.floor();
        let part = floor
            .and_then(Entry::rate)
            .map(|floor| rate.median / floor.median);
        write!(row, " | {} | {}", shown(part, 2), latencies(entry)).ok()?;
        let cost = floor
            .and_then(Entry::cpu)
            .map(|floor| cpu.median - floor.median);
        write!(row, " | {:.1} | {}", cpu.median, shown(cost, 1)).ok()?;
        Some(row)
    }

    /// Bytes of each connection, above what clients and brokers take by themselves.
    fn memory(&self, entry: &Entry) -> Option<String> {
        let [kernel, balancer] = memory_of_each(entry)?;
        let [floor, _] = memory_of_each(self.floor()?)?;
        let kernel = kernel - floor;
        Some(format!(
            "{kernel:.0} | {balancer:.0} | {:.0}",
            kernel + balancer
        ))
    }

    pub(super) fn floor(&self) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.contender == Contender::Forward)
    }

    /// What a rate is shown in, and what it is multiplied by for that.
    fn unit(&self) -> (&'static str, f64) {
        let scenario = self.cell.scenario;
        if scenario == Scenario::Bulk {
            ("GB/s each way", self.cell.bytes as f64 * 1e-9)
        } else if scenario == Scenario::Connect
            || matches!(self.cell.over_tls, Some(OverTls::Full | OverTls::Resumed))
        {
            ("k connections/s", 1e-3)
        } else {
            ("k messages/s", 1e-3)
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let wide = |entry: &&Entry| entry.rate().is_some_and(|rate| rate.width() > NOISY);
        let wide: Vec<_> = self
            .entries
            .iter()
            .filter(wide)
            .map(|e| e.contender.name())
            .collect();
        if self.cell.scenario.has_rate() && !wide.is_empty() {
            warnings.push(format!(
                "too noisy to tell small differences: the rounds of {} lie more than {:.0} % apart",
                wide.join(", "),
                NOISY * 100.0
            ));
        }
        let rounds = || self.entries.iter().flat_map(|entry| &entry.rounds);
        let crowd = rounds().map(|round| {
            (round.other_cpu_seconds + round.stolen_seconds) / round.cpu_seconds.max(0.01)
        });
        let crowd = crowd.fold(0.0, f64::max);
        if crowd > CROWDED {
            warnings.push(format!(
                "other programs took up to {:.0} % of the CPU time in use",
                crowd * 100.0
            ));
        }
        if self.cell.over_tls == Some(OverTls::Resumed) {
            for entry in &self.entries {
                let sum = |of: fn(&Figures) -> u64| entry.rounds.iter().map(of).sum::<u64>();
                let [resumed, all] = [sum(|round| round.resumed), sum(|round| round.count)];
                if resumed < all {
                    let name = entry.contender;
                    warnings.push(format!(
                        "{name}: {resumed} of {all} handshakes were resumed"
                    ));
                }
            }
        }
        let silent: usize = rounds().map(|round| round.silent_connections).sum();
        if silent > 0 {
            warnings.push(format!(
                "{silent} connections had no answer while it was measured"
            ));
        }
        warnings
    }
}

/// Bytes of the kernel and of the balancer for each connection.
fn memory_of_each(entry: &Entry) -> Option<[f64; 2]> {
    let round = entry.rounds.first()?;
    let memory = round.memory.as_ref()?;
    let of_each = |bytes: i64| bytes as f64 / (round.count as f64).max(1.0);
    Some([memory.kernel_bytes, memory.balancer_bytes].map(of_each))
}

/// Latencies under a disturbance, and connections that did not survive it, of all rounds.
fn disturbed(entry: &Entry, calm: Option<&Table>) -> String {
    let p99 = |entry: &Entry| entry.of(|round| round.p99_us).map(|spread| spread.median);
    let same = |other: &&Entry| other.contender == entry.contender;
    let calm = calm.and_then(|table| table.entries.iter().find(same));
    let times = calm
        .and_then(p99)
        .zip(p99(entry))
        .map(|(calm, now)| now / calm);
    let lost: usize = entry
        .rounds
        .iter()
        .map(|round| round.lost_connections)
        .sum();
    format!("{} | {} | {lost}", latencies(entry), shown(times, 2))
}

fn latencies(entry: &Entry) -> String {
    let picks: [fn(&Figures) -> f64; 3] = [
        |round| round.p50_us,
        |round| round.p99_us,
        |round| round.p999_us,
    ];
    picks
        .map(|pick| shown(entry.of(pick).map(|spread| spread.median), 0))
        .join(" | ")
}

impl Cell {
    /// Whether this is the other one without a disturbance.
    pub(super) fn is_calm_of(&self, other: &Self) -> bool {
        self.scenario == other.scenario
            && self.disturbance == Disturbance::Calm
            && other.disturbance != Disturbance::Calm
    }
}

impl Entry {
    pub(crate) fn new(contender: Contender) -> Self {
        Self {
            contender,
            rounds: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    pub(super) fn of(&self, pick: impl Fn(&Figures) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(pick))
    }

    pub(super) fn rate(&self) -> Option<Spread> {
        self.of(Figures::per_second)
    }

    pub(super) fn cpu(&self) -> Option<Spread> {
        self.of(Figures::cpu_us)
    }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}
