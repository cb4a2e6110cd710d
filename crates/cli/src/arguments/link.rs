//! `content`, `bandwidth`: what can be typed about payloads and the link that they cross.
//!
//! **Invariant:** every value is checked when it is typed. It never acts.

use clap::{Args, Subcommand};

use tailwater_api::{Class, LedgerBy};
use tailwater_domain::Rate;

/// `content …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContentCommand {
    /// What is cached, in whole or in part, and what is wanted
    Status,
    /// Hash what is cached again; what is damaged is dropped and fetched again when asked for
    Verify,
    /// Fetch the files of updates now
    Fetch {
        /// GUID, KB number, or a phrase that only its title has
        #[arg(required_unless_present = "approved")]
        updates: Vec<String>,
        /// All approved files
        #[arg(long)]
        approved: bool,
        /// Do not wait until they are here
        #[arg(long)]
        no_wait: bool,
    },
    /// Drop files that no update names any more
    Collect,
    /// Pause transfers until `content resume` or a new start; what has arrived is kept
    Pause(TransferNames),
    /// Go on with paused files
    Resume(TransferNames),
    /// Make transfers more urgent
    Raise {
        #[command(flatten)]
        files: TransferNames,
        /// interactive, metadata, deadline, security, normal or background
        #[arg(long, default_value = "interactive", value_parser = class)]
        class: Class,
    },
    /// Cancel transfers; what has arrived is kept, and an agent that asks begins them anew
    Cancel(TransferNames),
}

/// Which transfers.
#[derive(Debug, Args)]
pub(crate) struct TransferNames {
    /// SHA-1, its beginning, or a file's name, as `content status` shows them
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,
}

fn class(text: &str) -> Result<Class, String> {
    let named = Class::ALL.into_iter().find(|class| class.as_str() == text);
    named.ok_or_else(|| format!("expected one of {}", Class::ALL.map(Class::as_str).join(", ")))
}

fn ledger_by(text: &str) -> Result<LedgerBy, String> {
    let named = LedgerBy::ALL.into_iter().find(|by| by.as_str() == text);
    named.ok_or_else(|| format!("expected one of {}", LedgerBy::ALL.map(LedgerBy::as_str).join(", ")))
}

/// `bandwidth …`.
#[derive(Debug, Subcommand)]
pub(crate) enum BandwidthCommand {
    /// The rate, and what crosses the link now
    Show,
    /// Every byte: received, served, avoided, wasted
    ///
    /// Of what was served, fetched left for the first time since it crossed the link, avoided is the rest; wasted came
    /// for nothing. Without --from: two days by hour, 13 months by month, else 31 days.
    ///
    /// Examples:
    ///   tailwater bandwidth ledger
    ///   tailwater bandwidth ledger --by file --from 2026-11
    ///   tailwater bandwidth ledger --by hour --from 2026-11-22 --to 2026-11-22 --csv > day.csv
    #[command(verbatim_doc_comment)]
    Ledger {
        /// A month, a day, an hour or a moment: 2026-11, 2026-11-22, 2026-11-22T14 or RFC 3339
        #[arg(long)]
        from: Option<String>,
        /// The last month, day or hour, or a moment
        #[arg(long)]
        to: Option<String>,
        /// hour, day, month, class, file, source or client
        #[arg(long, default_value = "day", value_parser = ledger_by)]
        by: LedgerBy,
        /// As CSV, RFC 4180
        #[arg(long)]
        csv: bool,
    },
    /// Another rate, at once, over the calendar
    ///
    /// Examples:
    ///   tailwater bandwidth set --rate unlimited --until 06:00
    ///   tailwater bandwidth set --rate "2 Mbit/s"
    ///   tailwater bandwidth set --calendar
    #[command(verbatim_doc_comment)]
    Set {
        /// "8 Mbit/s", "500 kbit/s", "2 MB/s", "unlimited" or "closed"
        #[arg(long, required_unless_present = "calendar")]
        rate: Option<Rate>,
        /// "06:00", "2026-12-24T18:00" or RFC 3339; without it, until it is taken back
        #[arg(long, requires = "rate")]
        until: Option<String>,
        /// What the configuration says holds again
        #[arg(long, conflicts_with = "rate")]
        calendar: bool,
    },
}
