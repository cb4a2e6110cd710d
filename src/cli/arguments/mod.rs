//! What can be typed: commands, options, help texts.
//!
//! **Invariant:** every command that reads takes `--json`, every command takes `--config`. It never acts.

mod examples;
mod policy;
mod simulate;
mod updates;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(super) use policy::{AutomaticUpdates, PolicyArguments, PolicyFormat, ProxyBehavior};
pub(super) use simulate::{
    SimulateBranchesArguments, SimulateClientsArguments, SimulateCommand, SimulateUpstreamArguments,
};
pub(super) use updates::{ActionArgument, ApproveArguments, ListArguments, UpdatesCommand, Which};

use crate::bandwidth::Class;
use crate::domain::Rate;

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
    /// Show tables whole, wider than the terminal
    #[arg(long, global = true)]
    pub(super) wide: bool,
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What was typed.
///
/// # Errors
/// What cannot be read, and what asks for help or the version.
pub(super) fn parse() -> Result<Arguments, clap::Error> {
    let matches = examples::added(Arguments::command()).try_get_matches()?;
    Arguments::from_arg_matches(&matches)
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
    #[command(after_help = "Examples:\n  tailwater check-config\n  tailwater check-config --connect\n  \
        tailwater --config /etc/tailwater/tailwater.toml check-config --json")]
    CheckConfig(CheckArguments),
    /// Read the configuration again in the running server, without dropping a connection
    #[command(
        after_help = "Example:\n  tailwater reload\n\nThe same as SIGHUP to the server. What needs a restart is named."
    )]
    Reload,
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
    /// Servers that synchronise from this one
    #[command(subcommand)]
    Downstreams(DownstreamsCommand),
    /// Payloads: held, partial, wanted
    #[command(subcommand)]
    Content(ContentCommand),
    /// The data directory: make its indexes again, replace keys
    #[command(subcommand)]
    Store(StoreCommand),
    /// The link: rate and what is crossing it now
    #[command(subcommand)]
    Bandwidth(BandwidthCommand),
    /// Print what clients need to find this server
    ClientPolicy(PolicyArguments),
    /// Stand-ins for the two ends: an upstream server, or any number of agents
    #[command(subcommand)]
    Simulate(SimulateCommand),
}

/// `store`.
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Make the indexes again from what they stand on, when they are damaged; the former ones are set aside
    #[command(after_help = "Examples:\n  systemctl stop tailwater && tailwater store rebuild\n  \
        tailwater store rebuild --json\n\nNot while a server runs. Updates, decisions, groups and keys come back; what \
        computers reported comes with their next reports. A server does the same by itself when it finds damage at its \
        start.")]
    Rebuild,
    /// Replace the keys that cookies are sealed with; what the old ones sealed stays good until it ends
    RotateKeys,
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

/// `check-config`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Ask the upstream as well: whether it answers, and whether it knows the languages, products and classifications
    #[arg(long)]
    pub(super) connect: bool,
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
    /// Put a group, with those below it, under another one
    #[command(
        after_help = "Examples:\n  tailwater groups move Desk Office\n  tailwater groups move Desk \"All Computers\""
    )]
    Move {
        /// Name or GUID
        group: String,
        /// The group to lie in from now on (name or GUID)
        parent: String,
    },
    /// Remove a group, those below it and their approvals; computers that are in no other group become unassigned
    ///
    /// What goes with it is shown and confirmed, at a terminal or with --yes.
    #[command(
        after_help = "Examples:\n  tailwater groups remove Pilot\n  tailwater groups remove Pilot --yes"
    )]
    Remove {
        /// Name or GUID
        group: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Which rows of a long list.
#[derive(Debug, Args)]
pub(super) struct PageArguments {
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// How many to skip
    #[arg(long, default_value_t = 0)]
    offset: u32,
}

impl PageArguments {
    /// As the API takes it.
    pub(super) fn query(&self) -> String {
        format!("limit={}&offset={}", self.limit, self.offset)
    }
}

/// Which rows of a list that is shown whole unless something else is said.
#[derive(Debug, Args)]
pub(super) struct WholeArguments {
    /// How many at most [default: all]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
    /// How many to skip
    #[arg(long, default_value_t = 0)]
    pub(super) offset: u64,
}

/// Whether a server may synchronise from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ServerState {
    /// Nobody decided: the policy does.
    Open,
    /// Let in.
    Allowed,
    /// Shut out.
    Revoked,
}

impl ServerState {
    /// As the API spells it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allowed => "allowed",
            Self::Revoked => "revoked",
        }
    }
}

/// What a computer can say of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportedState {
    /// It tried and failed.
    Failed,
    /// It needs it.
    Needed,
    /// It has it.
    Installed,
}

impl ReportedState {
    /// As the API spells it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Needed => "needed",
            Self::Installed => "installed",
        }
    }
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
        /// Only those that came through this downstream server (name or identity)
        #[arg(long, value_name = "SERVER")]
        through: Option<String>,
        /// Only agents of this server, none of servers below
        #[arg(long, conflicts_with = "through")]
        ours: bool,
        #[command(flatten)]
        page: WholeArguments,
    },
    /// What a computer is and what it reported
    #[command(after_help = "Example:\n  tailwater computers show desk-7 --state needed --limit 500")]
    Show {
        /// Name or id
        computer: String,
        /// Only updates in this state
        #[arg(long)]
        state: Option<ReportedState>,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Put computers into a group, all of them or none
    #[command(
        after_help = "Examples:\n  tailwater computers move desk-7 Pilot\n  tailwater computers move desk-7 desk-8 desk-9 \"Front Office\""
    )]
    Move {
        /// Names or ids
        #[arg(required = true)]
        computers: Vec<String>,
        /// Name or GUID
        #[arg(required = true)]
        group: String,
    },
    /// Forget a computer; it comes back when it asks again
    Remove {
        /// Name or id
        computer: String,
    },
}

const DOWNSTREAMS_EXAMPLES: &str = "Examples:
  tailwater downstreams list
  tailwater downstreams allow branch1.example                  by name, and a token for a Tailwater
  tailwater downstreams allow branch1.example --require-token  only with the token
  tailwater downstreams revoke branch1.example

With downstream.policy \"open\" whoever is not revoked may synchronise; with \"enrolled\" only who was allowed,
and who shows a client certificate.";

/// `downstreams …`.
#[derive(Debug, Subcommand)]
#[command(after_help = DOWNSTREAMS_EXAMPLES)]
pub(super) enum DownstreamsCommand {
    /// All servers below: what each took and what it lacks; who waits to be let in, who was refused
    #[command(
        after_help = "Examples:\n  tailwater downstreams list --state revoked\n  tailwater downstreams list --text branch --limit 20"
    )]
    List {
        /// Part of the name or identity
        #[arg(long, short)]
        text: Option<String>,
        /// Only those in this state
        #[arg(long)]
        state: Option<ServerState>,
        #[command(flatten)]
        page: WholeArguments,
    },
    /// One server, with its own numbers
    Show {
        /// Name or identity
        server: String,
    },
    /// Let a server in, and print a token for it
    Allow {
        /// Name or identity (the GUID it authorizes with)
        server: String,
        /// Its name and identity are not enough: it must show the token
        #[arg(long)]
        require_token: bool,
    },
    /// Shut a server out, and whoever comes with its name, token, certificate or address; what it told stays
    Revoke {
        /// Name or identity
        server: String,
        /// Forget it instead, with the servers below it and all their computers
        #[arg(long)]
        forget: bool,
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
    /// Stop fetching files until `content resume` or a new start; what has come is kept
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
    /// Give transfers up; what has come is kept, and an agent that asks begins them anew
    Cancel(TransferNames),
}

/// Which transfers.
#[derive(Debug, Args)]
pub(super) struct TransferNames {
    /// SHA-1, its beginning, or a file's name, as `content status` shows them
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<String>,
}

fn class(text: &str) -> Result<Class, String> {
    let named = Class::ALL.into_iter().find(|class| class.as_str() == text);
    named.ok_or_else(|| format!("expected one of {}", Class::ALL.map(Class::as_str).join(", ")))
}

/// `bandwidth …`.
#[derive(Debug, Subcommand)]
pub(super) enum BandwidthCommand {
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
        #[arg(long, default_value = "day", value_parser = ["hour", "day", "month", "class", "file", "source", "client"])]
        by: String,
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

#[cfg(test)]
mod tests {
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
