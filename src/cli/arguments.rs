//! What can be typed: commands, options, help texts.
//!
//! **Invariant:** every command that reads takes `--json`, every command takes `--config`. It never acts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::domain::{ByteCount, Rate};

/// A bandwidth-aware downstream replica and caching server for Windows updates.
#[derive(Debug, Parser)]
#[command(name = "tailwater", version, max_term_width = 110, after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Configuration file [default: ./tailwater.toml, then /etc/tailwater/tailwater.toml, then built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Answer with JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXAMPLES: &str = "Examples:
  tailwater demo --exit                          see the whole story on this machine
  tailwater serve                                run the server
  tailwater sync                                 synchronise now and wait
  tailwater updates approve KB5031356 --group \"All Computers\"
  tailwater client-policy --format reg           what clients need

Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 done in part.";

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server: protocols, content, console, schedules
    Serve,
    /// Show the whole story on one machine: a sample head office, a slow link, a replica, simulated clients
    Demo(DemoArguments),
    /// Read and check the configuration; print what is in force and where each value came from
    CheckConfig,
    /// Synchronise now and wait; or look at synchronisations
    #[command(args_conflicts_with_subcommands = true)]
    Sync(SyncArguments),
    /// One screen: upstream, last synchronisation, held and wanted bytes, link use, computers
    Status,
    /// Updates: list, show, approve, decline
    #[command(subcommand)]
    Updates(UpdatesCommand),
    /// Products and classifications
    #[command(subcommand)]
    Categories(CategoriesCommand),
    /// Groups of computers
    #[command(subcommand)]
    Groups(GroupsCommand),
    /// Computers and what they reported
    #[command(subcommand)]
    Computers(ComputersCommand),
    /// Payloads: held, partial, wanted
    #[command(subcommand)]
    Content(ContentCommand),
    /// The link: rate and what is crossing it now
    #[command(subcommand)]
    Bandwidth(BandwidthCommand),
    /// Print what clients need to find this server
    ClientPolicy(PolicyArguments),
    /// Stand-ins for the two ends: an upstream server, or any number of agents
    #[command(subcommand)]
    Simulate(SimulateCommand),
}

/// `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// End when the story is told, instead of leaving the console open until Ctrl-C
    #[arg(long)]
    pub(super) exit: bool,
    /// Speed of the simulated link
    #[arg(long, default_value = "16 Mbit/s", value_name = "RATE")]
    pub(super) rate: Rate,
    /// How many clients
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(super) clients: u32,
    /// Where the console listens
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(super) admin_listen: SocketAddr,
}

/// `sync`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tailwater sync\n  tailwater sync --metadata-only\n  tailwater sync history --json"
)]
pub(super) struct SyncArguments {
    /// Fetch no payloads afterwards, whatever content.fetch says
    #[arg(long)]
    pub(super) metadata_only: bool,
    /// Accept a synchronisation that was held because it removes much
    #[arg(long)]
    pub(super) accept_removals: bool,
    /// Look instead of starting one.
    #[command(subcommand)]
    pub(super) command: Option<SyncCommand>,
}

/// `sync …`.
#[derive(Debug, Subcommand)]
pub(super) enum SyncCommand {
    /// What runs now
    Status,
    /// What ran before
    History,
    /// Stop what runs now; what was stored is kept
    Cancel,
}

/// `updates …`.
#[derive(Debug, Subcommand)]
pub(super) enum UpdatesCommand {
    /// List updates
    #[command(
        after_help = "Examples:\n  tailwater updates list --state unapproved --classification \"Security Updates\"\n  tailwater updates list --kb 5031356 --json"
    )]
    List(ListArguments),
    /// Everything known of one update
    Show {
        /// GUID, KB number, or a part of the title that only one has
        update: String,
    },
    /// Approve for a group
    #[command(
        after_help = "Examples:\n  tailwater updates approve KB5031356 --group Pilot\n  tailwater updates approve \"Defender\" --group \"All Computers\" --deadline 2026-12-01T18:00"
    )]
    Approve(ApproveArguments),
    /// Decline: offered to nobody
    Decline {
        /// GUID, KB number, or a part of the title that only one has
        #[arg(required = true)]
        updates: Vec<String>,
        /// Where a KB number or a part of a title fits several updates, take all of them
        #[arg(long)]
        all_matches: bool,
    },
    /// Take a decline back
    Undecline {
        /// GUID, KB number, or a part of the title that only one has
        #[arg(required = true)]
        updates: Vec<String>,
        /// Where a KB number or a part of a title fits several updates, take all of them
        #[arg(long)]
        all_matches: bool,
    },
    /// Take an approval back
    Unapprove {
        /// GUID, KB number, or a part of the title that only one has
        #[arg(required = true)]
        updates: Vec<String>,
        /// Only for this group (name or GUID); for all groups when left out
        #[arg(long)]
        group: Option<String>,
        /// Where a KB number or a part of a title fits several updates, take all of them
        #[arg(long)]
        all_matches: bool,
    },
}

/// `updates list`.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Words of the title
    #[arg(long, short)]
    pub(super) text: Option<String>,
    /// Product, by name or GUID
    #[arg(long)]
    pub(super) product: Option<String>,
    /// Classification, by name or GUID
    #[arg(long)]
    pub(super) classification: Option<String>,
    /// KB number
    #[arg(long)]
    pub(super) kb: Option<String>,
    /// Only those in this state
    #[arg(long)]
    pub(super) state: Option<State>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) limit: u32,
    /// How many to skip
    #[arg(long, default_value_t = 0)]
    pub(super) offset: u32,
}

/// States to filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum State {
    /// Approved for at least one group.
    Approved,
    /// Neither approved nor declined.
    Unapproved,
    /// Declined.
    Declined,
}

impl State {
    /// As the API spells it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Unapproved => "unapproved",
            Self::Declined => "declined",
        }
    }
}

/// `updates approve`.
#[derive(Debug, Args)]
pub(super) struct ApproveArguments {
    /// GUID, KB number, or a part of the title that only one has
    #[arg(required = true)]
    pub(super) updates: Vec<String>,
    /// Name or GUID of the group
    #[arg(long)]
    pub(super) group: String,
    /// What computers are to do
    #[arg(long, default_value = "install")]
    pub(super) action: ActionArgument,
    /// By when: 2026-12-01T18:00 (local time) or with an offset
    #[arg(long, value_name = "TIME")]
    pub(super) deadline: Option<String>,
    /// Where a KB number or a part of a title fits several updates, take all of them
    #[arg(long)]
    pub(super) all_matches: bool,
}

/// What an approval asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ActionArgument {
    /// Install it.
    Install,
    /// Remove it.
    Uninstall,
}

impl ActionArgument {
    /// As the API spells it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Uninstall => "uninstall",
        }
    }
}

/// `categories …`.
#[derive(Debug, Subcommand)]
pub(super) enum CategoriesCommand {
    /// Products and classifications, with what is selected
    List,
}

/// `groups …`.
#[derive(Debug, Subcommand)]
pub(super) enum GroupsCommand {
    /// All groups, with how many computers each has
    List,
    /// A new group
    Create {
        /// Its name, as clients with client-side targeting send it
        name: String,
        /// The group above it (name or GUID) [default: All Computers]
        #[arg(long)]
        parent: Option<String>,
    },
    /// Another name for a group
    Rename {
        /// Name or GUID
        group: String,
        /// The new name
        name: String,
    },
    /// Remove a group and its approvals; its computers become unassigned
    Remove {
        /// Name or GUID
        group: String,
    },
}

/// `computers …`.
#[derive(Debug, Subcommand)]
pub(super) enum ComputersCommand {
    /// All computers
    List {
        /// Part of the name
        #[arg(long, short)]
        text: Option<String>,
        /// Only of this group (name or GUID)
        #[arg(long)]
        group: Option<String>,
    },
    /// What a computer is and what it reported
    Show {
        /// Name or id
        computer: String,
    },
    /// Put a computer into a group
    Move {
        /// Name or id
        computer: String,
        /// Name or GUID
        group: String,
    },
    /// Forget a computer; it comes back when it asks again
    Remove {
        /// Name or id
        computer: String,
    },
}

/// `content …`.
#[derive(Debug, Subcommand)]
pub(super) enum ContentCommand {
    /// What is held, partly held and wanted
    Status,
    /// Hash what is held again; what is damaged is dropped and fetched again when asked for
    Verify,
    /// Fetch the files of updates now
    Fetch {
        /// GUID, KB number, or a part of the title that only one has
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
}

/// `bandwidth …`.
#[derive(Debug, Subcommand)]
pub(super) enum BandwidthCommand {
    /// The rate, and what crosses the link now
    Show,
    /// Another rate, at once, until the server restarts
    Set {
        /// "8 Mbit/s", "500 kbit/s", "2 MB/s" or "unlimited"
        #[arg(long)]
        rate: Rate,
    },
}

/// `client-policy`.
#[derive(Debug, Args)]
pub(super) struct PolicyArguments {
    /// In which form
    #[arg(long, default_value = "reg")]
    pub(super) format: PolicyFormat,
    /// The address that clients are to use [default: `server.public_url`, else this machine's name]
    #[arg(long)]
    pub(super) url: Option<String>,
    /// Client-side targeting: the group that clients ask for
    #[arg(long)]
    pub(super) group: Option<String>,
}

/// Forms of a client policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PolicyFormat {
    /// A registry file.
    Reg,
    /// Group Policy settings, by their names.
    Gpo,
    /// OMA-URI settings.
    Intune,
    /// A script.
    Powershell,
}

/// `simulate …`.
#[derive(Debug, Subcommand)]
pub(super) enum SimulateCommand {
    /// A stand-in upstream with generated updates
    Upstream(SimulateUpstreamArguments),
    /// Any number of agents that scan, download by ranges and report
    Clients(SimulateClientsArguments),
}

/// `simulate upstream`.
#[derive(Debug, Args)]
pub(super) struct SimulateUpstreamArguments {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8540")]
    pub(super) listen: SocketAddr,
    /// How many updates
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) updates: u32,
    /// Mean size of a payload
    #[arg(long, default_value = "2 MB")]
    pub(super) mean_size: ByteCount,
    /// The same seed gives the same updates
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

/// `simulate clients`.
#[derive(Debug, Args)]
pub(super) struct SimulateClientsArguments {
    /// The server that they use
    #[arg(long, default_value = "http://127.0.0.1:8530")]
    pub(super) server: String,
    /// How many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) count: u32,
    /// How many at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) parallel: u32,
    /// How often each scans
    #[arg(long, default_value_t = 1)]
    pub(super) rounds: u32,
    /// Download and "install" what is approved
    #[arg(long)]
    pub(super) download: bool,
    /// Client-side targeting: the group that they ask for
    #[arg(long)]
    pub(super) group: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_of_every_command_may_stand_behind_it() {
        let parsed =
            Arguments::try_parse_from(["tailwater", "sync", "history", "--json", "--config", "x.toml"]);
        let parsed = parsed.unwrap();
        assert!(parsed.json && parsed.config.is_some());
        let refused = ["tailwater", "bandwidth", "set", "--rate", "fast"];
        assert!(Arguments::try_parse_from(refused).unwrap_err().to_string().contains("8 Mbit/s"));
    }
}
