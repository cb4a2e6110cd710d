//! What the computers of this site need of a release, learned from what they asked for: which files of it to fetch ahead
//! and what its approval will move over the link.
//!
//! Agents ask for a few of the files of a bundle, and which ones follows from what they run on. Of a request for a
//! payload only its address is known; the classes of computers that called from there are told by their scans. What a
//! class used is remembered by lineage: see [`layout`] for what makes two releases, and two files of them, the same.
//!
//! **Invariant:** what no class of computers ever used is foreseen for nobody. What was learned survives a kill, has
//! named limits and ages out. This room never fetches anything, and no answer to an agent waits for it.

mod callers;
mod cost;
mod error;
mod fold;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod kept;
mod layout;
mod learn;
mod memory;
mod plan;
mod quiet;
mod shown;
mod store;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

pub use cost::{ClassCost, Cost, Ends, Knowledge, MAX_UPDATES, Scales, UpdateCost};
pub use error::NeedsError;
pub use kept::{Foreseen, Kept};
pub use plan::{Ahead, Plan, Scope};
pub use quiet::Quiet;
pub use shown::{ClassNeeds, LearnedFile, LearnedLineage};

use callers::Callers;
use kept::AllKept;
use layout::{Head, Layout};
use learn::Asked;
use memory::Memory;
use quiet::QuietHours;
use tailwater_bandwidth::Timetable;
use tailwater_catalog::{Catalog, Computer};
use tailwater_content as content;
use tailwater_domain::{ByteRange, Limit, Requester, Sha1Digest, UpdateId, joined_limits, limits};
use tailwater_durable::Disk;
use tailwater_runtime::{ByteCache, Clock, Tasks};

/// Characters of a title or file name that count.
const MAX_NAME: usize = 400;

/// Requests that wait to be learned from; more than that are not learned from, and counted.
const MAX_WAITING: usize = 16_384;

/// Memory for layouts, so that a release is not read anew for each request: one with 155 files has about 40 KB.
const LAYOUTS_BYTES: u64 = 24 << 20;

/// Days after which a class that used nothing is no longer fetched for: its computers were replaced.
const ALIVE_DAYS: i32 = 45;

const OWN_LIMITS: &[Limit] = limits![
    MAX_NAME in "characters": "Characters of a title or file name that count" => "the rest is passed over",
    MAX_WAITING in "requests": "Requests that wait to be learned from" => "they are not learned from, and counted",
    LAYOUTS_BYTES in "bytes": "Layouts of releases that are remembered" => "they are read again",
    ALIVE_DAYS in "days": "Days that a class without a request is fetched for" => "nothing is fetched ahead for it",
];

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    OWN_LIMITS,
    callers::LIMITS,
    cost::LIMITS,
    kept::LIMITS,
    learn::LIMITS,
    memory::LIMITS,
    shown::LIMITS,
];

/// What the policy fetches, whatever computers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetching {
    /// What they ask for, or are foreseen to.
    Asked,
    /// All files of approved updates, but for those taken in parts.
    Approved,
    /// Nothing: agents go to the origin.
    None,
}

/// What the room stands on.
pub struct Parts {
    /// Its own folder.
    pub dir: PathBuf,
    /// The disk that it lies on.
    pub disk: Disk,
    /// What the policy fetches.
    pub fetching: Fetching,
    /// When it is quiet; by default the calendar tells.
    pub quiet: Option<Quiet>,
    /// What is known.
    pub catalog: Catalog,
    /// What is held.
    pub store: content::Store,
    /// What the link may carry when.
    pub timetable: Timetable,
    /// The time.
    pub clock: Clock,
    /// The workers.
    pub tasks: Tasks,
}

/// The room. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    catalog: Catalog,
    store: content::Store,
    timetable: Timetable,
    clock: Clock,
    quiet: QuietHours,
    fetching: Fetching,
    kept: Mutex<AllKept>,
    memory: Mutex<Memory>,
    callers: Mutex<Callers>,
    layouts: ByteCache<UpdateId, Arc<Layout>>,
    disk: store::Store,
    asked: mpsc::Sender<Asked>,
    /// Requests that were not learned from because too many waited.
    missed: AtomicU64,
    /// Raised with everything that is learned.
    lessons: AtomicU64,
}

/// No layout yet.
fn layouts() -> ByteCache<UpdateId, Arc<Layout>> {
    ByteCache::new(LAYOUTS_BYTES, 512, |_, layout: &Arc<Layout>| layout.bytes())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    /// Opens the memory and begins to learn. Blocks.
    ///
    /// # Errors
    /// When the memory's folder cannot be used.
    pub fn open(parts: Parts) -> Result<Self, NeedsError> {
        let (disk, memory, callers, kept) = store::Store::open(&parts.dir, &parts.disk)?;
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let handle = Self(Arc::new(Inner {
            quiet: QuietHours::new(parts.quiet.as_ref(), parts.timetable.clone()),
            fetching: parts.fetching,
            kept: Mutex::new(kept),
            catalog: parts.catalog,
            store: parts.store,
            timetable: parts.timetable,
            clock: parts.clock,
            memory: Mutex::new(memory),
            callers: Mutex::new(callers),
            layouts: layouts(),
            disk,
            asked: sender,
            missed: AtomicU64::new(0),
            lessons: AtomicU64::new(0),
        }));
        learn::start(&handle, receiver, &parts.tasks);
        Ok(handle)
    }

    /// A computer called from this address.
    pub fn called(&self, from: IpAddr, computer: &Computer) {
        if let Some(class) = callers::class_of(computer) {
            self.caller(from, &class);
        }
    }

    /// Somebody asked for a range of a payload. Never waits.
    pub fn asked(&self, by: Requester, sha1: Sha1Digest, range: ByteRange) {
        self.note(Asked { by, sha1, range });
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        locked(&self.0.memory)
    }

    /// Days since 1970.
    fn day(&self) -> i32 {
        i32::try_from(self.0.clock.now().as_second().div_euclid(86_400)).unwrap_or_default()
    }

    /// A release without its files.
    fn head(&self, update: &UpdateId) -> Result<Option<Head>, NeedsError> {
        Ok(self.0.catalog.release_of(update)?.as_ref().map(Head::of))
    }

    /// A release with its files; remembered until its revision changes.
    fn layout(&self, update: &UpdateId) -> Result<Option<Arc<Layout>>, NeedsError> {
        let Some(release) = self.0.catalog.release_of(update)? else { return Ok(None) };
        if let Some(known) =
            self.0.layouts.get(update).filter(|known| known.revision == release.identity.revision)
        {
            return Ok(Some(known));
        }
        let files = self.0.catalog.release_files(update)?;
        let layout = Arc::new(Layout::of(Head::of(&release), release.identity.revision, files));
        self.0.layouts.insert(*update, Arc::clone(&layout));
        Ok(Some(layout))
    }

    /// Classes that used something lately.
    fn living_classes(&self) -> Vec<String> {
        let day = self.day();
        let memory = self.memory();
        let living = memory.uses.iter().filter(|(_, uses)| day.saturating_sub(uses.day) <= ALIVE_DAYS);
        let names: std::collections::BTreeSet<&String> = living.map(|((class, _), _)| class).collect();
        names.into_iter().cloned().collect()
    }
}
