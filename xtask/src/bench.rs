//! Measures what Sluice costs, beside plain forwarding and its peers, on the same work.
//!
//! Three hosts, each a network namespace: clients – balancer – brokers. Every contender has three
//! of its own, and takes its turn in every round, so that what else the machine does falls on all
//! of them alike.

mod bed;
mod contender;
mod host;
mod measure;
mod program;
mod report;
mod scenario;
mod statistics;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::bed::Bed;
use self::contender::Contender;
use self::measure::Tools;
use self::report::{Entry, Table};
use self::scenario::{Cell, Scenario};
use crate::{process, setup, shell};

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure; without any, all but program.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,

    /// Fewer cases and shorter rounds: three minutes.
    #[arg(long)]
    quick: bool,

    /// Where `results.json`, `results.md` and the picture are written.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    Quick,
    Full,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !shell::is_root() {
        bail!("the benchmark makes network namespaces and loads BPF programs: run it as root");
    }
    if options.scenarios.contains(&Scenario::Program) {
        program::run()?;
    }
    if options.scenarios == [Scenario::Program] {
        return Ok(());
    }
    let effort = if options.quick {
        Effort::Quick
    } else {
        Effort::Full
    };
    setup::peers();
    let tools = Tools::build(allow_many_files()?)?;
    process::watch_signals()?;

    let mut report = report::Report::new(effort);
    for cell in scenario::cells(&options.scenarios, effort) {
        shell::say(&format!("measuring {cell}"));
        report.tables.push(compare(&tools, cell)?);
        // Written after each, so that what ends early leaves what it has.
        report.write(&shell::root().join(&options.out))?;
    }
    report.draw(&shell::root().join(&options.out))?;
    shell::show(&report.markdown());
    shell::say(&format!("written to {}", shell::typed(&options.out)));
    Ok(())
}

/// Measures one case with every contender that can be had.
fn compare(tools: &Tools, cell: Cell) -> Result<Table> {
    let mut table = Table::new(cell);
    let mut beds = Vec::new();
    for contender in Contender::of(&cell) {
        match Bed::new(tools, contender, cell) {
            Ok(bed) => beds.push((bed, Entry::new(contender))),
            Err(reason) if !process::is_signalled() => {
                table.notes.push(format!("{contender}: {reason:#}"));
            }
            Err(reason) => return Err(reason),
        }
    }

    for _ in 0..cell.rounds {
        for (bed, entry) in &mut beds {
            match bed.measure(tools) {
                Ok(figures) => entry.rounds.push(figures),
                Err(reason) if !process::is_signalled() => {
                    table.notes.push(format!("{}: {reason:#}", entry.contender));
                }
                Err(reason) => return Err(reason),
            }
        }
    }
    for (bed, entry) in beds {
        table.notes.extend(bed.oddities(tools));
        table.entries.push(entry);
    }
    Ok(table)
}

/// For 15,000 connections through a proxy.
const MANY_FILES: u64 = 65_536;

/// Thousands of connections are as many files in the balancer and in both ends; tells how many it got.
fn allow_many_files() -> Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read limits")?;
    // Not everywhere may root raise the second one.
    for files in [most.max(MANY_FILES), most] {
        if setrlimit(Resource::RLIMIT_NOFILE, files, files).is_ok() {
            return Ok(files);
        }
    }
    bail!("cannot raise the limit of open files");
}
