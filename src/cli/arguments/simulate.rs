//! What can be typed after `simulate`. Invariant: every number has bounds that one machine can stand. It
//! never acts.

use std::net::SocketAddr;

use clap::{Args, Subcommand};

use crate::domain::{ByteCount, Rate};

/// `simulate …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SimulateCommand {
    /// A stand-in upstream with generated updates
    Upstream(SimulateUpstreamArguments),
    /// Any number of agents that scan, download by ranges and report
    Clients(SimulateClientsArguments),
}

/// `simulate upstream`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tailwater simulate upstream --updates 500\n  then, in another terminal, with upstream.url = \"http://127.0.0.1:8540\":\n  tailwater serve\n\nMore is published while it runs with\n  curl -X POST 'http://127.0.0.1:8540/_publish?definitions=1&updates=5'"
)]
pub(in crate::cli) struct SimulateUpstreamArguments {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8540")]
    pub(in crate::cli) listen: SocketAddr,
    /// How many updates
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(in crate::cli) updates: u32,
    /// Releases of definitions: bundles of many packages, of which a computer needs a few
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(in crate::cli) definitions: u32,
    /// Packages of a release of definitions; real ones have 155
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(in crate::cli) definition_files: u32,
    /// Bytes of a release of definitions, all packages together
    #[arg(long, value_name = "SIZE")]
    pub(in crate::cli) definition_size: Option<ByteCount>,
    /// Updates with an encrypted payload
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(in crate::cli) encrypted: u32,
    /// Mean size of a payload
    #[arg(long, default_value = "2 MB")]
    pub(in crate::cli) mean_size: ByteCount,
    /// How fast payloads are sent
    #[arg(long, default_value = "unlimited")]
    pub(in crate::cli) rate: Rate,
    /// The same seed gives the same updates
    #[arg(long, default_value_t = 1)]
    pub(in crate::cli) seed: u64,
    /// Where metadata says that payloads can be had as well, before `/Content/…`
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) payload_url: Option<String>,
    /// Where requests for payloads are redirected to, before `/Content/…`
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) payload_redirect: Option<String>,
}

/// `simulate clients`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tailwater simulate clients --count 100 --rounds 5\n  tailwater simulate clients --server http://branch:8530 --count 20 --download"
)]
pub(in crate::cli) struct SimulateClientsArguments {
    /// The server that they use
    #[arg(long, default_value = "http://127.0.0.1:8530")]
    pub(in crate::cli) server: String,
    /// How many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(in crate::cli) count: u32,
    /// How many at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(in crate::cli) parallel: u32,
    /// How often each scans
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(in crate::cli) rounds: u32,
    /// Kinds of machines among them; 1 is one image
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(in crate::cli) kinds: u32,
    /// Download and "install" what is approved
    #[arg(long)]
    pub(in crate::cli) download: bool,
    /// The same seed gives a server the same computers; each server has its own
    #[arg(long, default_value_t = 1)]
    pub(in crate::cli) seed: u64,
    /// Client-side targeting: the group that they ask for
    #[arg(long)]
    pub(in crate::cli) group: Option<String>,
}
