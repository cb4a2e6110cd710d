//! The ledger: every byte, by time or by name.
//!
//! **Invariant:** avoided + fetched = served in every row and in the total.

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::inputs;

/// What is asked of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LedgerQuery {
    /// A month, a day, an hour or a moment: 2026-11, 2026-11-22, 2026-11-22T14 or RFC 3339. When nothing is said, two
    /// days before the end by hour, 13 months by month, else 31 days.
    pub from: Option<String>,
    /// The last month, day or hour, or a moment; now when nothing is said.
    pub to: Option<String>,
    /// What the rows are; days when nothing is said.
    pub by: Option<LedgerBy>,
    /// JSON when nothing is said.
    pub format: Option<LedgerFormat>,
}

inputs!(LedgerQuery);

/// What the rows of the ledger are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LedgerBy {
    /// Hours.
    Hour,
    /// Days.
    #[default]
    Day,
    /// Months.
    Month,
    /// Purposes of transfers.
    Class,
    /// Payloads, by their SHA-1.
    File,
    /// Servers that payloads came from.
    Source,
    /// Addresses that were served.
    Client,
}

impl LedgerBy {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Hour, Self::Day, Self::Month, Self::Class, Self::File, Self::Source, Self::Client];

    /// As on the wire.
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

/// How the ledger answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LedgerFormat {
    /// JSON.
    #[default]
    Json,
    /// CSV (RFC 4180), the total last.
    Csv,
}

/// A part of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// What the rows are.
    pub by: LedgerBy,
    /// Where it begins.
    pub from: Timestamp,
    /// Where it ends.
    pub to: Timestamp,
    /// Whose days and hours these are.
    pub time_zone: String,
    /// By time in its order; by name the heaviest first.
    pub rows: Vec<LedgerRow>,
    /// Of the whole time.
    pub total: ByteCounts,
    /// Bytes of payload that are cached now and that nobody was served yet.
    pub ahead: u64,
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerRow {
    /// An hour (`2026-11-22T14`), a day, a month, or a name.
    pub name: String,
    /// What a file is called; null for other rows.
    pub title: Option<String>,
    /// Its bytes.
    #[serde(flatten)]
    pub counts: ByteCounts,
}

/// Bytes by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByteCounts {
    /// Received from upstream at the sockets: payloads, metadata, heads and TLS.
    pub received: u64,
    /// Sent to upstream.
    pub sent: u64,
    /// Of what was received: payloads that were stored.
    pub payload: u64,
    /// Payloads that were of no use: already cached, broken off, damaged, or dropped before anybody asked.
    pub wasted: u64,
    /// Payloads sent to agents and downstream servers.
    pub served: u64,
    /// Of what was served: bytes that left for the first time since they were fetched.
    pub fetched: u64,
    /// Of what was served: bytes that did not cross the link again.
    pub avoided: u64,
}

impl ByteCounts {
    /// Each number with its name, in the order of tables.
    pub fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("received", self.received),
            ("sent", self.sent),
            ("payload", self.payload),
            ("wasted", self.wasted),
            ("served", self.served),
            ("fetched", self.fetched),
            ("avoided", self.avoided),
        ]
    }
}

/// Sums over the time that the ledger keeps, at most 400 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerTotals {
    /// Everything that is kept.
    #[serde(flatten)]
    pub counts: ByteCounts,
    /// The first day that anything is known of; null before the first byte.
    pub since: Option<Date>,
    /// Of that, the calendar month that runs.
    pub month: ByteCounts,
    /// Of that, the day that runs.
    pub today: ByteCounts,
    /// Bytes of payload that are cached now and that nobody was served yet.
    pub ahead: u64,
}
