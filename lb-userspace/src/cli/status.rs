//! `sluice status`, for people.

use std::fmt;

use super::reload;
use super::table::{columns, row};
use crate::control::status::{Admission, Backend, Counted, Ports, Sockmap, Splice, Status, Sticky};

/// Shows a status as aligned columns.
#[derive(Debug)]
pub(super) struct Table<'a>(pub &'a Status);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status {
            version,
            pid,
            since: _,
            threads,
            kernel,
            datapath,
            downgrades,
            listeners: _,
            backends,
            admission,
            refused,
            choices: _,
            evicted,
            sticky,
            splice: _,
            sockmap: _,
            bytes,
            reload,
        } = self.0;
        writeln!(f, "sluice {version}, pid {pid}, {threads} threads")?;
        match &kernel.pins {
            Some(pins) => writeln!(
                f,
                "kernel    attached to {}; pinned below {pins}",
                kernel.interfaces.join(", ")
            )?,
            None => writeln!(f, "kernel    not in use")?,
        }
        writeln!(f, "datapath  {}: {}", datapath.path, datapath.because)?;
        for downgrade in downgrades {
            writeln!(f, "downgrade {downgrade}")?;
        }
        writeln!(f, "\n{}", columns(&self.listeners()))?;
        writeln!(f, "{}", columns(&self.backends()))?;
        for backend in backends {
            troubles(f, backend)?;
        }
        writeln!(f, "clients   {}", clients(admission))?;
        writeln!(f, "refused   {}", refusals(refused))?;
        writeln!(f, "paths     {}", self.choices())?;
        writeln!(f, "evicted   {}", counted(evicted))?;
        writeln!(f, "sticky    {}", remembered(sticky))?;
        self.splice(f)?;
        self.sockmap(f)?;
        if let Some(reload) = reload {
            writeln!(f, "reload    {}", reload::Last(reload))?;
        }
        write!(
            f,
            "copied    {} bytes from clients, {} from brokers; {} clients were idle too long",
            bytes.from_clients, bytes.from_brokers, bytes.idle
        )
    }
}

impl Table<'_> {
    fn listeners(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row(&[
            "LISTENER",
            "ADDRESS",
            "POOL",
            "TLS",
            "ACCEPTED",
            "CONNECTIONS",
            "WAITING",
            "SYNS",
        ])];
        for listener in &self.0.listeners {
            let addresses: Vec<String> =
                listener.addresses.iter().map(ToString::to_string).collect();
            rows.push(vec![
                listener.name.clone(),
                addresses.join(" "),
                listener.pool.clone(),
                if listener.tls { "yes" } else { "no" }.to_owned(),
                listener.accepted.to_string(),
                listener.connections.to_string(),
                listener.waiting.to_string(),
                listener
                    .syns
                    .map_or_else(|| "-".to_owned(), |syns| syns.to_string()),
            ]);
        }
        rows
    }

    fn backends(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row(&[
            "BACKEND",
            "ADDRESS",
            "POOL",
            "WEIGHT",
            "STATE",
            "CONNECTIONS",
            "FREE PORTS",
            "WAITING",
            "OPENED",
            "FAILED",
        ])];
        for backend in &self.0.backends {
            rows.push(vec![
                backend.name.clone(),
                backend.address.to_string(),
                backend.pool.clone().unwrap_or_else(|| "(gone)".to_owned()),
                backend.weight.to_string(),
                backend.state.clone(),
                of(backend.connections, backend.connections_limit),
                ports(backend.ports.as_ref()),
                backend.waiting.to_string(),
                backend.opened.to_string(),
                backend.failed.to_string(),
            ]);
        }
        rows
    }

    fn splice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(splice) = &self.0.splice else {
            return Ok(());
        };
        let Splice {
            left,
            aborted,
            ended,
            packets,
        } = splice;
        writeln!(
            f,
            "splice    {left} left to the kernel, {aborted} aborted; ended: {}",
            counted(ended)
        )?;
        writeln!(f, "packets   {}", counted(packets))
    }

    fn sockmap(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Sockmap {
            connections,
            moved,
            held_back,
            aborted,
        }) = &self.0.sockmap
        else {
            return Ok(());
        };
        writeln!(
            f,
            "sockmap   {connections} connections; {} bytes moved from clients, {} from brokers; \
             {held_back} times held back, {aborted} aborted, {} idle too long",
            moved.from_clients, moved.from_brokers, moved.idle
        )
    }

    /// The reasons there were, and the paths they led to.
    fn choices(&self) -> String {
        let chosen = self.0.choices.iter().filter(|chosen| chosen.count > 0);
        let each: Vec<String> = chosen
            .map(|chosen| format!("{} {} ({})", chosen.count, chosen.path, chosen.because))
            .collect();
        if each.is_empty() {
            "none yet".to_owned()
        } else {
            each.join(", ")
        }
    }
}

/// What is wrong with a backend, and why it was passed over.
fn troubles(f: &mut fmt::Formatter<'_>, backend: &Backend) -> fmt::Result {
    if let Some(trouble) = &backend.trouble {
        writeln!(f, "trouble   {}: {trouble}", backend.name)?;
    }
    if backend.failed > 0 {
        let reasons = counted(nonzero(&backend.passed_over));
        writeln!(f, "passed    {}: {reasons}", backend.name)?;
    }
    Ok(())
}

fn ports(ports: Option<&Ports>) -> String {
    let of = |Ports { free, all }: &Ports| format!("{free} of {all}");
    ports.map_or_else(|| "-".to_owned(), of)
}

/// How many there are of how many.
fn clients(admission: &Admission) -> String {
    let Admission {
        descriptors: _,
        clients,
        clients_limit,
        in_daemon,
        in_daemon_limit,
        pending,
        pending_limit,
        pending_limit_per_source: _,
        pending_bytes,
        pending_bytes_limit,
        hurried: _,
    } = admission;
    format!(
        "{}, {in_daemon} of {in_daemon_limit} in the daemon; {pending} of {pending_limit} without \
         CONNECT, with {pending_bytes} of {pending_bytes_limit} bytes",
        of(*clients, *clients_limit)
    )
}

fn of(count: u64, limit: Option<u32>) -> String {
    limit.map_or_else(|| count.to_string(), |limit| format!("{count} of {limit}"))
}

/// The reasons there were.
fn refusals(each: &[Counted]) -> String {
    let reasons = counted(nonzero(each));
    if reasons.is_empty() {
        "nobody yet".to_owned()
    } else {
        reasons
    }
}

fn nonzero(each: &[Counted]) -> impl Iterator<Item = &Counted> {
    each.iter().filter(|counted| counted.count > 0)
}

fn counted<'c>(each: impl IntoIterator<Item = &'c Counted>) -> String {
    let each: Vec<String> = each
        .into_iter()
        .map(|counted| format!("{} {}", counted.count, counted.reason))
        .collect();
    each.join(", ")
}

fn remembered(sticky: &Sticky) -> String {
    let Sticky {
        entries,
        followed,
        learned,
        held,
        full,
    } = sticky;
    format!(
        "{entries} remembered; {followed} followed, {learned} learned, {held} held, \
         {full} without room"
    )
}
