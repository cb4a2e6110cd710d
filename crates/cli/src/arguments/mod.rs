//! What can be typed: commands, options, help texts.
//!
//! **Invariant:** every command that reads takes `--json`, every command takes `--config`. It never acts.

mod examples;
mod fleet;
mod link;
mod policy;
mod simulate;
mod updates;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(super) use fleet::{ComputersCommand, DownstreamsCommand, GroupsCommand};
pub(super) use link::{BandwidthCommand, ContentCommand, TransferNames};
pub(super) use policy::{AutomaticUpdates, PolicyArguments, PolicyFormat, ProxyBehavior};
pub(super) use simulate::{
    SimulateBranchesArguments, SimulateClientsArguments, SimulateCommand, SimulateUpstreamArguments,
};
pub(super) use updates::{ActionArgument, ApproveArguments, ListArguments, UpdatesCommand, Which};

use tailwater_domain::Rate;

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
    /// One screen: upstream, last synchronisation, cached and wanted bytes, link use, computers
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
    /// Payloads: cached, partial, wanted
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
