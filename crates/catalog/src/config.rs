//! What an administrator may set about the catalog.
//!
//! **Invariant:** every field has a documented default that serves a branch office of 15,000 revisions in
//! less than 150 MB. It never reads a file: `config` fills it.

use std::path::PathBuf;
use std::time::Duration;

use tailwater_domain::{ByteCount, Choice, DriverFacts};
use tailwater_durable::Disk;

/// Which updates agents are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfferPolicy {
    /// Every update that is neither declined nor expired, as a real WSUS does; `Install` only where
    /// approved.
    #[default]
    AllNotDeclined,
    /// What is approved for the computer's groups and what that needs. Smaller scans over slow links.
    ///
    /// Deviates: WSUS always tells agents of everything that is not declined.
    ApprovedOnly,
}

impl Choice for OfferPolicy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("all", Self::AllNotDeclined), ("approved", Self::ApprovedOnly)];
}

/// Reads what a document says of its drivers; none when it cannot be read.
pub type DriverReader = fn(&[u8]) -> Option<Vec<DriverFacts>>;

/// Settings of the catalog.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that holds index and segments. Made when absent.
    pub dir: PathBuf,
    /// The disk that it lies on. Default one that nobody looks at.
    pub disk: Disk,
    /// The folder of the keys that cookies are sealed with. Default `keys` in `dir`.
    pub keys: Option<PathBuf>,
    /// What agents are told of.
    pub offer: OfferPolicy,
    /// Memory that sled may use for pages. Default 16 MiB; its real use is several times that.
    pub index_cache: ByteCount,
    /// Memory for decompressed fragments, Core ones before all. Default 32 MiB.
    pub fragment_cache: ByteCount,
    /// At which size a new segment file is begun. Default 256 MiB.
    pub segment_size: ByteCount,
    /// An activation that would take away more than this share of what is offered waits for an
    /// administrator. Default 0.25; 1.0 holds nothing.
    pub hold_above_share: f64,
    /// Whether a computer's group is the one it names itself (`targetGroupName`), instead of the one an
    /// administrator put it into. Default false.
    pub client_side_targeting: bool,
    /// After how long without a call a computer's record may go to a newer identity of the same name. Default 25
    /// hours: agents call at least every 22 hours, and a few are late.
    pub replace_silent_after: Duration,
    /// How many computers are kept. Default 100,000; a further one is answered and not kept.
    pub max_computers: usize,
    /// What the index may hold of what agents say. Default 8 GB: 100,000 computers with 80 KB each.
    pub max_state: ByteCount,
    /// How many servers below are remembered. Default 10,000: far more than any tree of offices has.
    pub max_servers: usize,
    /// What the index may hold of what servers below say. Default 8 GB: 500,000 computers with 16 KB each.
    pub max_downstream_state: ByteCount,
    /// How many computers of servers below are remembered. Default 500,000, about 1 KB of memory each.
    pub max_descendants: usize,
    /// How many events are kept of one computer; the oldest goes first. Default 100.
    pub max_events_per_computer: usize,
    /// The server that decides instead of this one, fit to be shown; none where decisions are made here.
    pub replica_of: Option<String>,
    /// How many scan answers are remembered while a snapshot lives. Default 256.
    pub remembered_answers: usize,
    /// Reads what a document says of its drivers, for those stored before all of it was kept; none on documents that
    /// cannot be read. Without it such drivers count as made for every computer. Default none.
    pub read_drivers: Option<DriverReader>,
}

impl Config {
    /// Defaults, with the store in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            disk: Disk::unwatched(),
            keys: None,
            offer: OfferPolicy::default(),
            index_cache: ByteCount(16 << 20),
            fragment_cache: ByteCount(32 << 20),
            segment_size: ByteCount(256 << 20),
            hold_above_share: 0.25,
            client_side_targeting: false,
            replace_silent_after: Duration::from_hours(25),
            max_computers: 100_000,
            max_state: ByteCount(8_000_000_000),
            max_servers: 10_000,
            max_downstream_state: ByteCount(8_000_000_000),
            max_descendants: 500_000,
            max_events_per_computer: 100,
            replica_of: None,
            remembered_answers: 256,
            read_drivers: None,
        }
    }
}
