//! The chores of Sluice; `cargo xtask --help` lists them.

mod bench;
mod demo;
mod fmt;
mod layers;
mod lint;
mod process;
mod run;
mod setup;
mod shell;
mod test;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of Sluice")]
enum Chore {
    /// Find or install what the kernel half is built with.
    Setup(setup::Options),
    /// Build the daemon and run it; without arguments, a demo with three brokers.
    Run(run::Options),
    /// Run every test and count.
    Test(test::Options),
    /// Measure what Sluice costs, beside its peers.
    Bench(bench::Options),
    /// Format every crate.
    Fmt(fmt::Options),
    /// Check formatting, clippy and layers.
    Lint,
    /// Check that the daemon's modules depend one way.
    Layers,
}

fn main() -> ExitCode {
    let outcome = match Chore::parse() {
        Chore::Setup(options) => setup::run(&options).map(|()| true),
        Chore::Run(options) => run::run(&options).map(|()| true),
        Chore::Test(options) => test::run(&options),
        Chore::Bench(options) => bench::run(&options).map(|()| true),
        Chore::Fmt(options) => fmt::run(&options).map(|()| true),
        Chore::Lint => lint::run().map(|()| true),
        Chore::Layers => layers::run().map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            shell::complain(&reason);
            ExitCode::FAILURE
        }
    }
}
