//! What can be typed after `simulate`. Invariant: every number has bounds that one machine can stand. It
//! never acts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use tailwater_domain::{ByteCount, Rate};

/// `simulate …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SimulateCommand {
    /// A stand-in upstream with generated updates
    Upstream(SimulateUpstreamArguments),
    /// Any number of agents that scan, download by ranges and report
    Clients(SimulateClientsArguments),
    /// Any number of downstream servers that synchronise, fetch files and roll up
    Branches(SimulateBranchesArguments),
}

/// A time such as `30s`, `5m`; at most a day.
fn time(text: &str) -> Result<Duration, String> {
    let wanted = || format!("{text:?} is no time from 0s to 24h; write it like 30s, 5m or 1h30m");
    // a plain 0 has no unit
    let text = if text.trim() == "0" { "0s" } else { text.trim() };
    let span: jiff::SignedDuration = text.parse().map_err(|_no_time| wanted())?;
    let span = Duration::try_from(span).map_err(|_negative| wanted())?;
    if span <= LONGEST { Ok(span) } else { Err(wanted()) }
}

/// A time, or a span of two with `..` between them.
fn span(text: &str) -> Result<Span, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let span = Span { least: time(least)?, most: time(most)? };
    if span.least <= span.most { Ok(span) } else { Err(format!("{text:?} ends before it begins")) }
}

/// The longest time that is waited.
const LONGEST: Duration = Duration::from_hours(24);

/// Between the shortest and the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

/// `simulate upstream`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tailwater simulate upstream --updates 500\n  then, in another terminal, with upstream.url = \"http://127.0.0.1:8540\":\n  tailwater serve\n\nMore is published while it runs with\n  curl -X POST 'http://127.0.0.1:8540/_publish?definitions=1&updates=5'"
)]
pub(crate) struct SimulateUpstreamArguments {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8540")]
    pub(crate) listen: SocketAddr,
    /// How many updates
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) updates: u32,
    /// Releases of definitions: bundles of many packages, of which a computer needs a few
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) definitions: u32,
    /// Packages of a release of definitions; real ones have 155
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) definition_files: u32,
    /// Bytes of a release of definitions, all packages together
    #[arg(long, value_name = "SIZE")]
    pub(crate) definition_size: Option<ByteCount>,
    /// Updates with an encrypted payload
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) encrypted: u32,
    /// Mean size of a payload
    #[arg(long, default_value = "2 MB")]
    pub(crate) mean_size: ByteCount,
    /// How fast payloads are sent
    #[arg(long, default_value = "unlimited")]
    pub(crate) rate: Rate,
    /// The same seed gives the same updates
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where metadata says that payloads are available as well, before `/Content/…`
    #[arg(long, value_name = "URL")]
    pub(crate) payload_url: Option<String>,
    /// Where requests for payloads are redirected to, before `/Content/…`
    #[arg(long, value_name = "URL")]
    pub(crate) payload_redirect: Option<String>,
}

/// `simulate clients`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tailwater simulate clients --count 100 --rounds 5\n  tailwater simulate clients --server http://branch:8530 --count 20 --download\n  tailwater simulate clients --count 500 --parallel 500 --rounds 3 --arrive 10m --think 5s..30s --keep-cookies fleet.json"
)]
pub(crate) struct SimulateClientsArguments {
    /// The server that they use
    #[arg(long, default_value = "http://127.0.0.1:8530")]
    pub(crate) server: String,
    /// How many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: u32,
    /// How many at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) parallel: u32,
    /// How often each scans
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rounds: u32,
    /// Kinds of machines among them; 1 is one image
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) kinds: u32,
    /// Download and "install" what is approved
    #[arg(long)]
    pub(crate) download: bool,
    /// The same seed gives a server the same computers; each server has its own
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Client-side targeting: the group that they ask for
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Arrive one after the other over this time instead of at once
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub(crate) arrive: Duration,
    /// Between two scans of one: a time, or a span such as 5s..30s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span)]
    pub(crate) think: Span,
    /// Take cookies from this file and write them back: with those of an earlier run they begin with a scan
    #[arg(long, value_name = "FILE")]
    pub(crate) keep_cookies: Option<PathBuf>,
}

/// `simulate branches`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tailwater simulate branches --count 50 --computers 200\n  tailwater simulate branches --server http://head:8530 --count 500 --parallel 50 --arrive 5m --files 2 --json\n\nWith downstream.policy \"enrolled\" the server must let them in: `tailwater downstreams allow` makes a --token."
)]
pub(crate) struct SimulateBranchesArguments {
    /// The server that they synchronise from
    #[arg(long, default_value = "http://127.0.0.1:8530")]
    pub(crate) server: String,
    /// How many
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) count: u32,
    /// How many at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) parallel: u32,
    /// How often each synchronises
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rounds: u32,
    /// Computers that each rolls up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) computers: u32,
    /// Files that each fetches and checks
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) files: u32,
    /// Arrive one after the other over this time instead of at once
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub(crate) arrive: Duration,
    /// Between two synchronisations of one: a time, or a span such as 5s..30s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span)]
    pub(crate) think: Span,
    /// What `tailwater downstreams allow` printed at the server
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// The same seed gives a server the same branches
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        let seconds =
            |least, most| Ok(Span { least: Duration::from_secs(least), most: Duration::from_secs(most) });
        let table = [
            ("5s..30s", seconds(5, 30)),
            ("0", seconds(0, 0)),
            ("2m", seconds(120, 120)),
            ("1h", seconds(3_600, 3_600)),
        ];
        for (text, expected) in table {
            assert_eq!(span(text), expected, "{text}");
        }
        for wrong in ["", "x", "30s..5s", "-5s", "25h", "5s..", "5"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
