//! Where a client would go, and who would move.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use clap::{Args, ValueEnum};

use crate::control::explain::{Explanation, Question, Simulation, Thought};

#[derive(Debug, Args)]
#[group(id = "subject")]
pub(super) struct Explain {
    /// The client id
    #[arg(long, value_name = "ID")]
    client_id: String,
    #[arg(long, value_name = "NAME")]
    user_name: Option<String>,
    /// Where the client comes from
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::LOCALHOST.into())]
    source: IpAddr,
    /// Where it connects; the first listener of the configuration by default
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The name it asks for by TLS
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// The application protocol that is agreed on by TLS
    #[arg(long, value_name = "PROTOCOL")]
    alpn: Option<String>,
    #[arg(long, value_enum, default_value = "3.1.1")]
    version: Dialect,
    /// It asks for a clean session, or a clean start
    #[arg(long)]
    clean: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dialect {
    #[value(name = "3.1")]
    V3_1 = 3,
    #[value(name = "3.1.1")]
    V3_1_1 = 4,
    #[value(name = "5.0")]
    V5 = 5,
}

impl Explain {
    pub(super) fn question(self) -> Question {
        let Self {
            client_id,
            user_name,
            source,
            listener,
            sni,
            alpn,
            version,
            clean,
        } = self;
        Question {
            listener,
            sni: sni.map(|name| name.to_ascii_lowercase()),
            alpn,
            client_id,
            user_name,
            source,
            level: version as u8,
            clean_start: clean,
        }
    }
}

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Simulate {
    #[command(flatten)]
    change: Change,
    /// The pool to add to, where there are several
    #[arg(long, value_name = "POOL", conflicts_with_all = ["remove", "weight"])]
    pool: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "thought", required = true, multiple = false)]
struct Change {
    /// As if there were another backend, of weight 1 if nothing else is said
    #[arg(long, value_name = "BACKEND[=WEIGHT]", value_parser = added)]
    add: Option<Weighted>,
    /// As if this backend were removed
    #[arg(long, value_name = "BACKEND")]
    remove: Option<String>,
    /// As if this backend had another weight, 0 to 256
    #[arg(long, value_name = "BACKEND=WEIGHT", value_parser = weighted)]
    weight: Option<Weighted>,
}

#[derive(Debug, Clone)]
struct Weighted {
    backend: String,
    weight: u16,
}

fn weighted(text: &str) -> Result<Weighted, String> {
    let (backend, weight) = text.rsplit_once('=').ok_or("write it like broker-1=2")?;
    let weight = weight.parse().ok().filter(|weight| *weight <= 256);
    Ok(Weighted {
        backend: backend.to_owned(),
        weight: weight.ok_or("a weight is from 0 to 256")?,
    })
}

fn added(text: &str) -> Result<Weighted, String> {
    if !text.contains('=') {
        let backend = text.to_owned();
        return Ok(Weighted { backend, weight: 1 });
    }
    let added = weighted(text)?;
    if added.weight == 0 {
        return Err("one that is added has a weight from 1 to 256".to_owned());
    }
    Ok(added)
}

impl Simulate {
    /// None where nothing is to change, which the command line does not let through.
    pub(super) fn thought(self) -> Option<Thought> {
        let Self { change, pool } = self;
        let Change {
            add,
            remove,
            weight,
        } = change;
        if let Some(Weighted { backend, weight }) = add {
            return Some(Thought::Add {
                pool,
                backend,
                weight,
            });
        }
        let removed = |backend| Weighted { backend, weight: 0 };
        let Weighted { backend, weight } = weight.or_else(|| remove.map(removed))?;
        Some(Thought::Weigh { backend, weight })
    }
}

/// An explanation, for people.
#[derive(Debug)]
pub(super) struct Told<'a>(pub &'a Explanation);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation {
            listener,
            route,
            pool,
            remembered,
            because,
            candidates,
            skipped,
        } = self.0;
        writeln!(f, "listener    {listener}")?;
        writeln!(
            f,
            "route       {}",
            route.as_deref().unwrap_or("none matches")
        )?;
        writeln!(f, "pool        {pool}")?;
        writeln!(f, "remembered  {}", remembered.as_deref().unwrap_or("no"))?;
        writeln!(f, "because     {because}")?;
        for skipped in skipped {
            writeln!(f, "not tried   {}: {}", skipped.backend, skipped.because)?;
        }
        match candidates.as_slice() {
            [] => write!(f, "tried       none, and the client is refused"),
            some => write!(f, "tried       {}", some.join(", then ")),
        }
    }
}

/// A simulation, for people.
#[derive(Debug)]
pub(super) struct Moved<'a>(pub &'a Simulation);

impl fmt::Display for Moved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Simulation {
            pool,
            ids,
            of_clients,
            moved,
        } = self.0;
        let whose = if *of_clients {
            "clients"
        } else {
            "ids made up"
        };
        let tenths = (1000 * moved).checked_div(*ids).unwrap_or(0);
        write!(
            f,
            "{moved} of {ids} {whose} of pool {pool} would move, {}.{} %",
            tenths / 10,
            tenths % 10
        )
    }
}
