//! What can be typed after `updates`. Invariant: an update is always named in the same three ways. It never
//! acts.

use clap::{Args, Subcommand, ValueEnum};

use super::fleet::PageArguments;
use tailwater_api as api;

/// `updates …`.
#[derive(Debug, Subcommand)]
pub(crate) enum UpdatesCommand {
    /// List updates
    #[command(
        after_help = "Examples:\n  tailwater updates list --state unapproved --classification \"Security Updates\"\n  tailwater updates list --kb 5031356 --json"
    )]
    List(ListArguments),
    /// Everything known of one update
    Show {
        /// GUID, KB number, or a phrase that only its title has
        update: String,
        /// Of its computers
        #[command(flatten)]
        page: PageArguments,
    },
    /// Approve for a group
    #[command(
        after_help = "Examples:\n  tailwater updates approve KB5031356 --group Pilot --dry-run     what it would move over the link\n  tailwater updates approve KB5031356 --group Pilot\n  tailwater updates approve \"Defender\" --group \"All Computers\" --deadline 2026-12-01T18:00\n  tailwater updates approve KB5031356 --group Desk --action not-approved     whatever is approved for groups above"
    )]
    Approve(ApproveArguments),
    /// Decline: offered to nobody
    #[command(
        after_help = "Examples:\n  tailwater updates decline KB5031356\n  tailwater updates decline \"Windows 10\" --all-matches          shows them and asks\n  tailwater updates decline \"Windows 10\" --all-matches --yes    for scripts"
    )]
    Decline(Which),
    /// Take a decline back
    #[command(after_help = "Example:\n  tailwater updates undecline KB5031356")]
    Undecline(Which),
    /// Hold back on this server, whatever was approved: offered to nobody for installation
    #[command(
        after_help = "Examples:\n  tailwater updates hold KB5031356 --until 2026-12-01T18:00 --reason \"breaks the scanners\"\n  tailwater updates list --state held"
    )]
    Hold {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Until when: 2026-12-01T18:00 (local time) or with an offset; for good when left out
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let a held update go: what was approved is in force again
    #[command(after_help = "Example:\n  tailwater updates release KB5031356")]
    Release(Which),
    /// Take an approval back
    ///
    /// What is approved for a group above stays in force for a group: not to approve it there is a decision of its own,
    /// `updates approve UPDATE --group GROUP --action not-approved`.
    #[command(
        after_help = "Examples:\n  tailwater updates unapprove KB5031356 --group Pilot\n  tailwater updates unapprove KB5031356                    for all groups"
    )]
    Unapprove {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Only for this group (name or GUID); for all groups when left out
        #[arg(long)]
        group: Option<String>,
    },
}

/// Which updates a decision is about, and whether it is meant.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// GUID (also GUID.REVISION), KB number, a phrase that only its title has, or a product that has only one
    #[arg(required = true)]
    pub(crate) updates: Vec<String>,
    /// Where a KB number, a phrase of titles or the name of a product fits several updates, take all of them
    #[arg(long)]
    pub(crate) all_matches: bool,
    /// Do not ask: what --all-matches changes is confirmed, and so are warnings
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// `updates list`.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// What `updates show` takes too: GUID, KB number, a phrase of the title, name of a product or classification
    #[arg(long, short)]
    pub(crate) text: Option<String>,
    /// Product, by name or GUID
    #[arg(long)]
    pub(crate) product: Option<String>,
    /// Classification, by name or GUID
    #[arg(long)]
    pub(crate) classification: Option<String>,
    /// KB number
    #[arg(long)]
    pub(crate) kb: Option<String>,
    /// Only those in this state
    #[arg(long)]
    pub(crate) state: Option<State>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: u32,
    /// How many to skip
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u32,
}

/// States to filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
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
    /// Expired by its publisher.
    Expired,
    /// Replaced by another update, and not declined.
    Superseded,
    /// Some computer needs it.
    Needed,
    /// Some computer failed to install it.
    Failed,
}

impl From<State> for api::UpdateStateFilter {
    fn from(state: State) -> Self {
        match state {
            State::Approved => Self::Approved,
            State::Unapproved => Self::Unapproved,
            State::Declined => Self::Declined,
            State::Held => Self::Held,
            State::Withheld => Self::Withheld,
            State::Expired => Self::Expired,
            State::Superseded => Self::Superseded,
            State::Needed => Self::Needed,
            State::Failed => Self::Failed,
        }
    }
}

/// `updates approve`.
#[derive(Debug, Args)]
pub(crate) struct ApproveArguments {
    /// Which.
    #[command(flatten)]
    pub(crate) which: Which,
    /// Name or GUID of the group
    #[arg(long)]
    pub(crate) group: String,
    /// What computers are to do
    #[arg(long, default_value = "install")]
    pub(crate) action: ActionArgument,
    /// By when: 2026-12-01T18:00 (local time) or with an offset
    #[arg(long, value_name = "TIME")]
    pub(crate) deadline: Option<String>,
    /// Change nothing; say what it would move over the link, how long that takes, and what is held already
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Accept the license terms of what is approved, for all computers; kept, and not asked again
    #[arg(long)]
    pub(crate) accept_license: bool,
}

/// What an approval asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ActionArgument {
    /// Install it.
    Install,
    /// Remove it.
    Uninstall,
    /// Not to be offered to this group, whatever is approved for groups above.
    #[value(alias = "not_approved", alias = "block")]
    NotApproved,
}

impl From<ActionArgument> for api::Action {
    fn from(action: ActionArgument) -> Self {
        match action {
            ActionArgument::Install => Self::Install,
            ActionArgument::Uninstall => Self::Uninstall,
            ActionArgument::NotApproved => Self::NotApproved,
        }
    }
}
