//! What can be typed after `updates`. Invariant: an update is always named in the same three ways. It never
//! acts.

use clap::{Args, Subcommand, ValueEnum};

/// `updates …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UpdatesCommand {
    /// List updates
    #[command(
        after_help = "Examples:\n  tailwater updates list --state unapproved --classification \"Security Updates\"\n  tailwater updates list --kb 5031356 --json"
    )]
    List(ListArguments),
    /// Everything known of one update
    Show {
        /// GUID, KB number, or a phrase that only its title has
        update: String,
    },
    /// Approve for a group
    #[command(
        after_help = "Examples:\n  tailwater updates approve KB5031356 --group Pilot --dry-run     what it would move over the link\n  tailwater updates approve KB5031356 --group Pilot\n  tailwater updates approve \"Defender\" --group \"All Computers\" --deadline 2026-12-01T18:00"
    )]
    Approve(ApproveArguments),
    /// Decline: offered to nobody
    Decline {
        /// GUID, KB number, or a phrase that only its title has
        #[arg(required = true)]
        updates: Vec<String>,
        /// Where a KB number, a phrase of titles or the name of a product fits several updates, take all of them
        #[arg(long)]
        all_matches: bool,
    },
    /// Take a decline back
    Undecline {
        /// GUID, KB number, or a phrase that only its title has
        #[arg(required = true)]
        updates: Vec<String>,
        /// Where a KB number, a phrase of titles or the name of a product fits several updates, take all of them
        #[arg(long)]
        all_matches: bool,
    },
    /// Hold back on this server, whatever was approved: offered to nobody for installation
    #[command(
        after_help = "Examples:\n  tailwater updates hold KB5031356 --until 2026-12-01T18:00 --reason \"breaks the scanners\"\n  tailwater updates list --state held"
    )]
    Hold {
        /// GUID, KB number, or a phrase that only its title has
        #[arg(required = true)]
        updates: Vec<String>,
        /// Until when: 2026-12-01T18:00 (local time) or with an offset; for good when left out
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Where a KB number, a phrase of titles or the name of a product fits several updates, take all of them
        #[arg(long)]
        all_matches: bool,
    },
    /// Let a held update go: what was approved is in force again
    Release {
        /// GUID, KB number, or a phrase that only its title has
        #[arg(required = true)]
        updates: Vec<String>,
        /// Where a KB number, a phrase of titles or the name of a product fits several updates, take all of them
        #[arg(long)]
        all_matches: bool,
    },
    /// Take an approval back
    Unapprove {
        /// GUID, KB number, or a phrase that only its title has
        #[arg(required = true)]
        updates: Vec<String>,
        /// Only for this group (name or GUID); for all groups when left out
        #[arg(long)]
        group: Option<String>,
        /// Where a KB number, a phrase of titles or the name of a product fits several updates, take all of them
        #[arg(long)]
        all_matches: bool,
    },
}

/// `updates list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArguments {
    /// What `updates show` takes too: GUID, KB number, a phrase of the title, name of a product or classification
    #[arg(long, short)]
    pub(in crate::cli) text: Option<String>,
    /// Product, by name or GUID
    #[arg(long)]
    pub(in crate::cli) product: Option<String>,
    /// Classification, by name or GUID
    #[arg(long)]
    pub(in crate::cli) classification: Option<String>,
    /// KB number
    #[arg(long)]
    pub(in crate::cli) kb: Option<String>,
    /// Only those in this state
    #[arg(long)]
    pub(in crate::cli) state: Option<State>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(in crate::cli) limit: u32,
    /// How many to skip
    #[arg(long, default_value_t = 0)]
    pub(in crate::cli) offset: u32,
}

/// States to filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum State {
    /// Approved for at least one group.
    Approved,
    /// Neither approved nor declined.
    Unapproved,
    /// Declined.
    Declined,
    /// Held back on this server.
    Held,
    /// Not offered, or not as approved, because something in the bundle is lacking.
    Withheld,
}

impl State {
    /// As the API spells it.
    pub(in crate::cli) fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Unapproved => "unapproved",
            Self::Declined => "declined",
            Self::Held => "held",
            Self::Withheld => "withheld",
        }
    }
}

/// `updates approve`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ApproveArguments {
    /// GUID, KB number, or a phrase that only its title has
    #[arg(required = true)]
    pub(in crate::cli) updates: Vec<String>,
    /// Name or GUID of the group
    #[arg(long)]
    pub(in crate::cli) group: String,
    /// What computers are to do
    #[arg(long, default_value = "install")]
    pub(in crate::cli) action: ActionArgument,
    /// By when: 2026-12-01T18:00 (local time) or with an offset
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) deadline: Option<String>,
    /// Change nothing; say what it would move over the link, how long that takes, and what is held already
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Where a KB number, a phrase of titles or the name of a product fits several updates, take all of them
    #[arg(long)]
    pub(in crate::cli) all_matches: bool,
}

/// What an approval asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ActionArgument {
    /// Install it.
    Install,
    /// Remove it.
    Uninstall,
}

impl ActionArgument {
    /// As the API spells it.
    pub(in crate::cli) fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Uninstall => "uninstall",
        }
    }
}
