//! What is counted: rows of an hour or a day, in four tables beside their total. Pure.
//!
//! **Invariant:** folding rows together loses no byte: whatever exceeds a table's limit is in the row [`OTHER`], and the
//! total is kept apart. It never divides or rounds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tailwater_domain::{Limit, limits};

/// Where rows go that a table has no room for.
pub const OTHER: &str = "other";

/// Rows of a table while its hour runs.
pub(super) const OPEN_ROWS: usize = 4_096;

pub(super) const LIMITS: &[Limit] = limits![
    OPEN_ROWS in "rows": "Rows of a table while its hour runs" => "they are counted together",
];

/// Rows of a table that a finished hour keeps.
pub(super) const HOUR_ROWS: usize = 200;

/// Rows of a table that a day keeps.
pub(super) const DAY_ROWS: usize = 400;

/// Bytes of one row. What a table does not know is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Received from upstream at the sockets: payloads, metadata, heads and TLS.
    pub received: u64,
    /// Sent to upstream.
    pub sent: u64,
    /// Of what was received: bytes of payloads that were stored.
    pub payload: u64,
    /// Bytes of payloads that were of no use: already held, broken off, damaged, or dropped before anybody had them.
    pub wasted: u64,
    /// Bytes of payloads sent to agents and downstream servers.
    pub served: u64,
    /// Of what was served: bytes that left for the first time since they were fetched.
    pub fetched: u64,
}

impl Counts {
    /// Of what was served: bytes that did not cross the link again for it.
    pub fn avoided(&self) -> u64 {
        self.served - self.fetched.min(self.served)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.payload += other.payload;
        self.wasted += other.wasted;
        self.served += other.served;
        self.fetched += other.fetched;
    }

    fn weight(&self) -> u64 {
        self.received + self.payload + self.wasted + self.served
    }
}

/// A table's rows by name.
pub(super) type Table = BTreeMap<String, Counts>;

/// What a table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// Months.
    Month,
    /// Purposes of transfers.
    Class,
    /// Payloads, by their SHA-1.
    File,
    /// Servers that payloads came from.
    Source,
    /// Who was served.
    Client,
}

impl By {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Hour, Self::Day, Self::Month, Self::Class, Self::File, Self::Source, Self::Client];

    /// As in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Class => "class",
            Self::File => "file",
            Self::Source => "source",
            Self::Client => "client",
        }
    }
}

/// Everything of an hour or a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rows {
    pub(super) total: Counts,
    pub(super) classes: Table,
    pub(super) files: Table,
    pub(super) sources: Table,
    pub(super) clients: Table,
}

impl Rows {
    /// Adds to a row; one of [`OPEN_ROWS`] or the row of the others.
    pub(super) fn count(table: &mut Table, name: &str, counts: &Counts) {
        if let Some(row) = table.get_mut(name) {
            row.add(counts);
            return;
        }
        let name = if table.len() < OPEN_ROWS { name } else { OTHER };
        table.entry(name.to_owned()).or_default().add(counts);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == Counts::default()
    }

    /// Adds all of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.total.add(&other.total);
        let tables = [
            (&mut self.classes, &other.classes),
            (&mut self.files, &other.files),
            (&mut self.sources, &other.sources),
            (&mut self.clients, &other.clients),
        ];
        for (ours, theirs) in tables {
            for (name, counts) in theirs {
                Self::count(ours, name, counts);
            }
        }
    }

    /// Keeps the heaviest rows of each table; the rest is one row.
    pub(super) fn shorten(&mut self, most: usize) {
        for table in [&mut self.classes, &mut self.files, &mut self.sources, &mut self.clients] {
            if table.len() <= most {
                continue;
            }
            let named = table.iter().filter(|(name, _)| *name != OTHER);
            let mut weights: Vec<(u64, String)> =
                named.map(|(name, counts)| (counts.weight(), name.clone())).collect();
            weights.sort_unstable_by(|a, b| b.cmp(a));
            for (_, name) in weights.into_iter().skip(most.saturating_sub(1)) {
                if let Some(counts) = table.remove(&name) {
                    table.entry(OTHER.to_owned()).or_default().add(&counts);
                }
            }
        }
    }

    /// The table that answers a question; `None` when that is about time.
    pub(super) fn table(&self, by: By) -> Option<&Table> {
        match by {
            By::Hour | By::Day | By::Month => None,
            By::Class => Some(&self.classes),
            By::File => Some(&self.files),
            By::Source => Some(&self.sources),
            By::Client => Some(&self.clients),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortening_loses_no_byte_and_keeps_the_heaviest() {
        let mut rows = Rows::default();
        for n in 0..1_000_u64 {
            let counts = Counts { served: n, fetched: n / 2, ..Counts::default() };
            rows.total.add(&counts);
            Rows::count(&mut rows.files, &format!("file {n:04}"), &counts);
        }
        let sum = |rows: &Rows| rows.files.values().map(|counts| counts.served).sum::<u64>();
        rows.shorten(HOUR_ROWS);
        assert!(rows.files.len() <= HOUR_ROWS);
        assert_eq!(sum(&rows), rows.total.served);
        assert!(rows.files.contains_key("file 0999") && !rows.files.contains_key("file 0001"));
        let mut day = rows.clone();
        day.merge(&rows);
        day.shorten(50);
        assert_eq!((sum(&day), day.files.len()), (2 * rows.total.served, 50));
        assert_eq!(day.total.avoided() + day.total.fetched, day.total.served);
    }
}
