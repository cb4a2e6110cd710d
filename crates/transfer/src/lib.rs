//! What to fetch next, once: demand of agents and downloads of the queue become ranged requests to the sources.
//!
//! **Invariant:** no byte of a file is asked for twice at the same time, and a piece that is held is never
//! asked for. What arrives goes to the store first and to those who wait from there. It never decides what
//! the link may carry: that is the limiter's part, below the connection.

mod answer;
mod claims;
mod error;
mod fault;
mod fetch;
mod flow;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod handle;
mod health;
mod intake;
mod lane;
mod origins;
mod partial_pieces;
mod passage;
mod passing;
mod pinned;
mod plan;
mod proving;
mod queue;
mod receive;
mod shared;
mod tally;
mod verdict;
mod waiting;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use tailwater_domain::{ByteRange, Choice, Class, FileDeclaration, Limit, Sha1Digest, joined_limits};

pub use error::TransferError;
pub use handle::{Handle, Want};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    claims::LIMITS,
    fetch::LIMITS,
    handle::LIMITS,
    health::LIMITS,
    lane::LIMITS,
    origins::LIMITS,
    passage::LIMITS,
    plan::LIMITS,
    proving::LIMITS,
    queue::LIMITS,
    receive::LIMITS,
    partial_pieces::LIMITS,
    shared::LIMITS,
    verdict::LIMITS,
    waiting::LIMITS,
];

/// What is fetched, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Pieces, when a client asks for them.
    #[default]
    Demand,
    /// As `Demand`, and every file that [`Handle::prefetch`] names ahead of demand: the approved ones.
    Approved,
    /// As `Approved`; the list then has what computers here are foreseen to ask for.
    Learned,
    /// As `Approved`; the list then has every file of the catalog.
    All,
    /// Nothing. What is held is still served; clients are sent to the origin for the rest.
    None,
}

impl Choice for Policy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("demand", Self::Demand),
        ("approved", Self::Approved),
        ("learned", Self::Learned),
        ("all", Self::All),
        ("none", Self::None),
    ];
}

/// Which files are fetched when a client asks for one that is not cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Files of updates that are approved or offered to somebody, here or at a downstream server.
    Approved,
    /// Every file that metadata declares.
    Anything,
}

impl Choice for Demand {
    const WORDS: &'static [(&'static str, Self)] =
        &[("approved", Self::Approved), ("anything", Self::Anything)];
}

/// How transfers behave.
#[derive(Debug, Clone)]
pub struct Config {
    /// Servers that the configuration names as sources, with what each costs: shown before they are used.
    pub servers: Vec<(String, u32)>,
    /// What is fetched, and when.
    pub policy: Policy,
    /// A client that waits for a byte is told that it cannot be had when nothing of its file has arrived
    /// for so long.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { servers: Vec::new(), policy: Policy::Demand, patience: Duration::from_secs(90) }
    }
}

/// An address from which a file can be fetched. Never logged whole: it may carry a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// `http://…` or `https://…`.
    pub url: String,
    /// Sent with each request to it: what lets this server in there.
    pub headers: HeaderMap,
    /// What its bytes cost beside those of others: asked only while no cheaper one does well.
    pub cost: u32,
    /// Used only while the others cannot be.
    pub last_resort: bool,
}

/// A boxed future, for the one seam that is a trait object.
pub type SourcesFuture<'a> = Pin<Box<dyn Future<Output = Vec<Source>> + Send + 'a>>;
/// The same with one address, or none.
pub type OriginFuture<'a> = Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>>;

/// A file to hold ahead of demand.
#[derive(Debug, Clone)]
pub struct Prefetch {
    /// The file.
    pub file: FileDeclaration,
    /// How urgent it is.
    pub class: Class,
}

/// What became of payload bytes that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOutcome {
    /// They are held, and were not before.
    Stored(ByteRange),
    /// They were of no use: already held, not asked for, cut off within a piece, or damaged.
    Wasted(u64),
}

/// Knows where files can be had, and is told what came from there; `app` joins it to the upstream and the ledger.
pub trait Sources: Send + Sync + 'static {
    /// Bytes of a file came from an origin (`scheme://host:port`). Must not wait.
    fn came(&self, _class: Class, _sha1: Sha1Digest, _origin: &Arc<str>, _came: ByteOutcome) {}

    /// The addresses of a file, the one to try first first; empty when it cannot be had now.
    fn sources<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a>;

    /// Asks for the addresses anew, because none of those known leads to the file any more: they may have expired.
    fn renewed<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a> {
        self.sources(file)
    }

    /// Where clients get the file themselves; none when that is not known now. Never an address that needs a header, which
    /// clients do not have.
    fn origin<'a>(&'a self, file: &'a FileDeclaration) -> OriginFuture<'a> {
        Box::pin(async move {
            let open = |source: &Source| source.headers.is_empty();
            self.sources(file).await.into_iter().find(open).map(|source| source.url)
        })
    }
}

/// One running or waiting transfer, as lists and the API show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TransferStatus {
    /// The file.
    pub sha1: Sha1Digest,
    /// Its declared name.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that are held.
    pub held: u64,
    /// How urgent it is.
    pub class: Class,
    /// What it does.
    pub state: TransferState,
    /// Clients that wait for bytes of it.
    pub waiting: usize,
    /// Requests that run for it.
    pub flights: usize,
    /// What went wrong last, while it is not overcome.
    pub trouble: Option<String>,
}

/// A server that payloads come from, as lists and the API show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// `http://host:port`.
    pub source: String,
    /// What the configuration says it costs; `None` for a server that only metadata names.
    pub cost: Option<u32>,
    /// Whether it can be reached.
    pub state: SourceState,
    /// While it is down: when it is asked again.
    pub retry_seconds: Option<u64>,
    /// How long it has been down.
    pub down_seconds: Option<u64>,
    /// Whether it sends parts of files; `None` until it was asked.
    pub ranges: Option<bool>,
    /// Requests sent to it since the start.
    pub requests: u64,
    /// Bytes of payloads received from it since the start.
    pub received: u64,
    /// Why it could not be reached, until it answers again.
    pub trouble: Option<String>,
}

/// Whether a server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Nothing was asked of it yet.
    Unused,
    /// It answered last.
    Up,
    /// It did not answer last; it is asked again after growing pauses.
    Down,
}

/// What a transfer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// In the background queue.
    Queued,
    /// Bytes are asked for or arrive.
    Running,
    /// Waits before it tries again, for a source or for room on the disk.
    Waiting,
    /// An administrator stopped it for a while.
    Paused,
    /// Every piece is there and the digests are compared.
    Verifying,
    /// Given up; asked for again, it begins anew.
    Failed,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.shown())
    }
}

impl From<String> for Source {
    fn from(url: String) -> Self {
        Self { url, headers: HeaderMap::new(), cost: 0, last_resort: false }
    }
}

impl Source {
    /// The address without its query, which may carry a token.
    pub fn shown(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }
}
