//! What was measured, for programs and for people.

mod machine;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use self::machine::Machine;
use super::Effort;
use super::contender::Contender;
use super::measure::Figures;
use super::scenario::{Cell, Scenario};
use super::statistics::Spread;

/// Rounds that lie further apart, as a part of their median, are too noisy to tell small
/// differences.
const NOISY: f64 = 0.25;
/// The part of the CPU time in use that other programs may take before it is said.
const CROWDED: f64 = 0.05;

/// The whole run.
pub(crate) struct Report {
    effort: Effort,
    machine: Machine,
    pub(super) tables: Vec<Table>,
}

/// One case.
pub(crate) struct Table {
    cell: Cell,
    pub(super) entries: Vec<Entry>,
    /// What a reader must know.
    pub(super) notes: Vec<String>,
}

/// One contender in one case.
pub(crate) struct Entry {
    pub(super) contender: Contender,
    pub(super) rounds: Vec<Figures>,
}

impl Report {
    pub(super) fn new(effort: Effort) -> Self {
        Self {
            effort,
            machine: Machine::here(),
            tables: Vec::new(),
        }
    }

    /// Writes `results.json` and `results.md`.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(&self.json())? + "\n";
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(directory.join("results.json"), json))
            .and_then(|()| fs::write(directory.join("results.md"), self.markdown()))
            .with_context(|| format!("cannot write to {}", directory.display()))
    }

    fn command(&self) -> &'static str {
        match self.effort {
            Effort::Quick => "cargo xtask bench --quick",
            Effort::Full => "cargo xtask bench",
        }
    }

    fn json(&self) -> Value {
        let tables: Vec<_> = self.tables.iter().map(Table::json).collect();
        json!({
            "command": self.command(),
            "machine": self.machine.json(),
            "cases": tables,
        })
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!("`{}`, {}\n", self.command(), self.machine);
        text += "\nMedian (least–most) of interleaved rounds. CPU is that of the whole system for \
                 each message or connection, without programs outside the benchmark. × is the \
                 median as a part of `forward`'s, cost is CPU above `forward`'s.\n";
        for table in &self.tables {
            text += &table.markdown();
        }
        text
    }
}

impl Table {
    pub(super) fn new(cell: Cell) -> Self {
        Self {
            cell,
            entries: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn json(&self) -> Value {
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
            "scenario": self.cell.scenario.name(),
            "connections": self.cell.connections,
            "bytes": self.cell.bytes,
            "depth": self.cell.depth,
            "contenders": entries,
            "notes": self.notes,
            "warnings": self.warnings(),
        })
    }

    fn markdown(&self) -> String {
        let (unit, _) = self.unit();
        let mut text = format!("\n### {}\n\n", self.cell);
        text += &format!(
            "| | {unit} | × | p50 µs | p99 µs | p99.9 µs | CPU µs | cost µs |\n\
             | --- | --: | --: | --: | --: | --: | --: | --: |\n"
        );
        for entry in &self.entries {
            text += &self.row(entry).unwrap_or_default();
        }
        for line in self.notes.iter().chain(&self.warnings()) {
            text += &format!("\n- {line}");
        }
        text + "\n"
    }

    /// None without a whole round.
    fn row(&self, entry: &Entry) -> Option<String> {
        let (_, scale) = self.unit();
        let rate = entry.rate()?;
        let cpu = entry.cpu()?;
        let mut row = format!(
            "| {} | {:.2} ({:.2}–{:.2})",
            entry.contender,
            rate.median * scale,
            rate.least * scale,
            rate.most * scale
        );
        let floor = self.floor();
        let part = floor
            .and_then(Entry::rate)
            .map(|floor| rate.median / floor.median);
        write!(row, " | {}", shown(part, 2)).ok()?;
        for pick in [p50 as fn(&Figures) -> f64, p99, p999] {
            write!(
                row,
                " | {}",
                shown(entry.of(pick).map(|spread| spread.median), 0)
            )
            .ok()?;
        }
        let cost = floor
            .and_then(Entry::cpu)
            .map(|floor| cpu.median - floor.median);
        writeln!(row, " | {:.1} | {} |", cpu.median, shown(cost, 1)).ok()?;
        Some(row)
    }

    fn floor(&self) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.contender == Contender::Forward)
    }

    /// What a rate is shown in, and what it is multiplied by for that.
    fn unit(&self) -> (&'static str, f64) {
        match self.cell.scenario {
            Scenario::Rtt | Scenario::Program => ("k messages/s", 1e-3),
            Scenario::Bulk => ("GB/s each way", self.cell.bytes as f64 * 1e-9),
            Scenario::Connect => ("k connections/s", 1e-3),
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
        if !wide.is_empty() {
            warnings.push(format!(
                "too noisy to tell small differences: the rounds of {} lie more than {:.0} % apart",
                wide.join(", "),
                NOISY * 100.0
            ));
        }
        let rounds = || self.entries.iter().flat_map(|entry| &entry.rounds);
        let crowd = rounds()
            .map(|round| (round.other_cpu_seconds + round.stolen_seconds) / round.cpu_seconds);
        let crowd = crowd.fold(0.0, f64::max);
        if crowd > CROWDED {
            warnings.push(format!(
                "other programs took up to {:.0} % of the CPU time in use",
                crowd * 100.0
            ));
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

impl Entry {
    pub(super) fn new(contender: Contender) -> Self {
        Self {
            contender,
            rounds: Vec::new(),
        }
    }

    fn of(&self, pick: impl Fn(&Figures) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(pick))
    }

    fn rate(&self) -> Option<Spread> {
        self.of(Figures::per_second)
    }

    fn cpu(&self) -> Option<Spread> {
        self.of(Figures::cpu_us)
    }
}

fn p50(round: &Figures) -> f64 {
    round.p50_us
}

fn p99(round: &Figures) -> f64 {
    round.p99_us
}

fn p999(round: &Figures) -> f64 {
    round.p999_us
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}
