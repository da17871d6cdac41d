//! The command line: what may be asked, and the only code that writes to the terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

mod explain;
mod flows;
mod operate;
mod reload;
mod status;
mod table;

use crate::config::check::check;
use crate::config::complaint::Complaints;
use crate::config::{self, Config};
use crate::control::flows::Filter;
use crate::control::reload::Outcome;
use crate::control::{self, Reply, Request};
use crate::daemon::{self, AtExit, Beside, SetLog, Start};
use operate::Operate;

/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

/// An MQTT load balancer that gets out of the way.
#[derive(Debug, Parser)]
#[command(name = "sluice", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the balancer until SIGTERM or Ctrl-C
    Run {
        #[command(flatten)]
        file: File,
        /// Remove what is pinned in the kernel when the balancer ends
        #[arg(long)]
        detach_on_exit: bool,
        /// Take the place of a balancer that runs, without turning anybody away
        #[arg(long)]
        replace: bool,
    },
    /// Look for mistakes in a configuration, all of them at once
    Check {
        #[command(flatten)]
        file: File,
    },
    /// Show what a running balancer does
    Status {
        #[command(flatten)]
        asking: Asking,
    },
    /// Have a running balancer read its configuration again; nothing changes if it has mistakes
    Reload {
        #[command(flatten)]
        asking: Asking,
    },
    /// Tell where a client would go now, and why
    Explain {
        #[command(flatten)]
        client: explain::Explain,
        #[command(flatten)]
        asking: Asking,
    },
    /// Tell how many clients a change of a pool would move, without doing it
    Simulate {
        #[command(flatten)]
        change: explain::Simulate,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show the connections that the kernel carries
    Flows {
        /// Only those of one client id
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// Only those to one backend
        #[arg(long, value_name = "NAME")]
        backend: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    #[command(flatten)]
    Operate(Operate),
    /// Remove what an ended balancer left pinned in the kernel
    Detach {
        #[command(flatten)]
        file: File,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The configuration
    #[arg(
        short,
        long = "config",
        value_name = "FILE",
        default_value = "/etc/sluice/sluice.toml"
    )]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Asking {
    /// The control socket, if it is not where the default configuration puts it
    #[arg(long, value_name = "PATH", default_value = config::default::CONTROL)]
    control: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Does what the command line says; the exit code is 78 where a configuration is at fault.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            complain(&format_args!("sluice: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run {
            file,
            detach_on_exit,
            replace,
        } => with_config(&file.config, |config, text| {
            let set_log = log_to_stderr(&config.daemon)?;
            let at_exit = if detach_on_exit {
                AtExit::Detach
            } else {
                AtExit::Stay
            };
            Ok(daemon::run(&Start {
                file: std::path::absolute(&file.config)?,
                text,
                config,
                at_exit,
                beside: if replace {
                    Beside::Replaced
                } else {
                    Beside::Nobody
                },
                set_log,
            })?)
        }),
        Command::Reload { asking } => show(&asking, &Request::Reload),
        Command::Check { file } => check_all(&file.config),
        Command::Status { asking } => show(&asking, &Request::Status),
        Command::Explain { client, asking } => {
            let question = client.question();
            show(&asking, &Request::Explain { question })
        }
        Command::Simulate { change, asking } => match change.thought() {
            Some(thought) => show(&asking, &Request::Simulate { thought }),
            None => bail!("name a change"),
        },
        Command::Flows {
            client,
            backend,
            asking,
        } => {
            let filter = Filter {
                client_id: client,
                backend,
            };
            show(&asking, &Request::Flows(filter))
        }
        Command::Operate(operate) => {
            let (change, asking) = operate.request();
            show(&asking, &Request::Operate { change })
        }
        Command::Detach { file } => with_config(&file.config, |config, _| detach(&config)),
    }
}

fn with_config(
    path: &Path,
    use_it: impl FnOnce(Config, String) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: could not read the configuration", path.display()))?;
    match check(&text) {
        Ok(config) => {
            use_it(config, text)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(complaints) => {
            complain(&Complaints {
                file: path.to_owned(),
                list: complaints,
            });
            Ok(ExitCode::from(EXIT_CONFIG))
        }
    }
}

/// Looks at the text, and where that is right at the files that it names.
fn check_all(path: &Path) -> anyhow::Result<ExitCode> {
    let mut unusable = Vec::new();
    let code = with_config(path, |config, _| {
        unusable = daemon::unusable_files(&config);
        if unusable.is_empty() {
            say(&format_args!("{}: no problems", path.display()))?;
        }
        Ok(())
    })?;
    for failure in &unusable {
        complain(&format_args!("{}: {failure}", path.display()));
    }
    Ok(if unusable.is_empty() {
        code
    } else {
        ExitCode::from(EXIT_CONFIG)
    })
}

/// Gives back what sets another filter.
fn log_to_stderr(config: &config::Daemon) -> anyhow::Result<SetLog> {
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("daemon.log: `{}` is not a filter", config.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    Ok(match config.log_format {
        config::LogFormat::Json => {
            let log = log.json().with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            SetLog::new(move |filter| handle.reload(filter))
        }
        config::LogFormat::Text => {
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            SetLog::new(move |filter| handle.reload(filter))
        }
    })
}

fn show(asking: &Asking, request: &Request) -> anyhow::Result<ExitCode> {
    let Asking { control, json } = asking;
    let reply = control::ask(control, request).with_context(|| {
        format!(
            "no balancer answers on {}; is it running, and may you open it?",
            control.display()
        )
    })?;
    match reply {
        Reply::Done(said) if *json => say(&serde_json::to_string_pretty(&said)?)?,
        Reply::Done(said) => say(&said.join("\n"))?,
        Reply::Explained(told) if *json => say(&serde_json::to_string_pretty(&told)?)?,
        Reply::Explained(told) => say(&explain::Told(&told))?,
        Reply::Simulated(moved) if *json => say(&serde_json::to_string_pretty(&moved)?)?,
        Reply::Simulated(moved) => say(&explain::Moved(&moved))?,
        Reply::Flows(rows) if *json => say(&serde_json::to_string_pretty(&rows)?)?,
        Reply::Flows(rows) => say(&flows::Table(&rows))?,
        Reply::Reload(outcome) => return reloaded(&outcome, *json),
        Reply::Status(status) if *json => say(&serde_json::to_string_pretty(&status)?)?,
        Reply::Status(status) => say(&status::Table(&status))?,
        Reply::Error(error) => bail!("{error}"),
        Reply::HandOver(_) => bail!("the balancer answered something else"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A file at fault has the exit code that it would have at start.
fn reloaded(outcome: &Outcome, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        say(&serde_json::to_string_pretty(outcome)?)?;
    }
    match outcome {
        Outcome::Taken {
            changes,
            needs_restart,
        } => {
            if !json {
                say(&reload::Answer {
                    changes,
                    needs_restart,
                })?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Refused(complaints) => {
            complain(complaints);
            complain(&"not reloaded; nothing has changed");
            Ok(ExitCode::from(EXIT_CONFIG))
        }
        Outcome::Failed(because) => bail!("not reloaded; nothing has changed: {because}"),
    }
}

fn detach(config: &Config) -> anyhow::Result<()> {
    if control::ask(&config.daemon.control, &Request::Status).is_ok() {
        bail!("a balancer is running on these pins; end it first");
    }
    let cut = daemon::detach(config)?;
    say(&format_args!(
        "detached from the kernel; {cut} connections were carried there and are cut"
    ))
}

/// Writes what the command was asked for; a reader that has read enough is no error.
fn say(text: &dyn Display) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[expect(clippy::print_stderr, reason = "there may be no log yet")]
fn complain(text: &dyn Display) {
    eprintln!("{text}");
}
