//! What was measured, for programs and for people.

mod machine;
mod picture;
mod table;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use self::machine::Machine;
pub(crate) use self::table::{Entry, Table};
use super::Effort;
use crate::shell;

/// The whole run.
pub(crate) struct Report {
    effort: Effort,
    machine: Machine,
    pub(super) tables: Vec<Table>,
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

    /// Draws what was measured, where it can be shown.
    pub(super) fn draw(&self, directory: &Path) -> Result<()> {
        match picture::draw(&self.tables, &self.subtitle()) {
            Some(svg) => write_picture(directory, &svg),
            None => Ok(()),
        }
    }

    fn subtitle(&self) -> String {
        format!("{} · {}", self.command(), self.machine)
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
                 median as a part of `forward`'s, cost is CPU above `forward`'s. Memory is in bytes for \
                 each connection, above `forward`'s in the kernel.\n";
        for table in &self.tables {
            let mut others = self.tables.iter();
            let calm = others.find(|other| other.cell.is_calm_of(&table.cell));
            text += &table.markdown(calm);
        }
        text
    }
}

/// As SVG, and as PNG where rsvg-convert(1) is installed.
fn write_picture(directory: &Path, svg: &str) -> Result<()> {
    let [from, to] = ["results.svg", "results.png"].map(|name| directory.join(name));
    fs::write(&from, svg).with_context(|| format!("cannot write {}", from.display()))?;
    let Some(convert) = shell::find("rsvg-convert") else {
        shell::say("no PNG: rsvg-convert (package librsvg2-bin) is not installed");
        return Ok(());
    };
    let mut command = Command::new(convert);
    command.args(["--zoom=2", "--output"]).arg(to).arg(from);
    shell::run(&mut command)
}
