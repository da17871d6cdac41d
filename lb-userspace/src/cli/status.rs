//! `sluice status`, for people.

use std::fmt;

use crate::control::status::Status;

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
            backends: _,
            refused: _,
            bytes,
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
        writeln!(f, "refused   {}", self.refused())?;
        write!(
            f,
            "copied    {} bytes from clients, {} from brokers",
            bytes.from_clients, bytes.from_brokers
        )
    }
}

impl Table<'_> {
    fn listeners(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row(&["LISTENER", "ADDRESS", "POOL", "ACCEPTED", "SYNS"])];
        for listener in &self.0.listeners {
            let addresses: Vec<String> =
                listener.addresses.iter().map(ToString::to_string).collect();
            rows.push(vec![
                listener.name.clone(),
                addresses.join(" "),
                listener.pool.clone(),
                listener.accepted.to_string(),
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
            "CONNECTIONS",
            "OPENED",
            "FAILED",
        ])];
        for backend in &self.0.backends {
            rows.push(vec![
                backend.name.clone(),
                backend.address.to_string(),
                backend.pool.clone(),
                backend.weight.to_string(),
                backend.connections.to_string(),
                backend.opened.to_string(),
                backend.failed.to_string(),
            ]);
        }
        rows
    }

    fn refused(&self) -> String {
        let each: Vec<String> = self
            .0
            .refused
            .iter()
            .map(|refused| format!("{} {}", refused.count, refused.reason))
            .collect();
        each.join(", ")
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// Pads every cell to the width of its column.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            let padding = if last {
                0
            } else {
                width(column) + 2 - cell.chars().count()
            };
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', padding));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{columns, row};

    #[test]
    fn aligns_columns_and_leaves_no_blanks_behind() {
        let rows = [row(&["A", "BB", "C"]), row(&["longer", "é", "end"])];

        assert_eq!(columns(&rows), "A       BB  C\nlonger  é   end\n");
    }
}
