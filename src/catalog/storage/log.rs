//! The store under a catalog: log, index, dictionaries and the snapshot in force, and how they are made
//! durable together.
//!
//! Whoever changes something appends records to the log under one lock, then waits until they are settled:
//! segment synced, index batches applied (at most 100 operations each), index flushed and synced. Whoever
//! waits meanwhile is settled by the same syncs (group commit).
//!
//! **Invariant:** the index never points beyond the committed end of the log, and the committed end is
//! written in the first batch that points behind the former one. What could not be settled is tried again
//! with the next change; nobody is told that it is durable before.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::catalog::computers::identity::Identities;
use crate::catalog::computers::members::{Computers, Newcomers};
use crate::catalog::computers::news::News;
use crate::catalog::config::Config;
use crate::catalog::decisions::decided::Decisions;
use crate::catalog::decisions::payload_keys::Secured;
use crate::catalog::decisions::terms::Remembered;
use crate::catalog::error::CatalogError;
use crate::catalog::ingest::load::{copy_of, load, load_dictionaries};
use crate::catalog::ingest::lost::Note;
use crate::catalog::keyring::Rings;
use crate::catalog::servers::descendants::Descendants;
use crate::catalog::servers::registry::{Servers, new_servers};
use crate::catalog::snapshot::root::Snapshot;
use crate::catalog::snapshot::view::View;
use crate::catalog::snapshot::world::World;
use crate::catalog::storage::client_state::Quota;
use crate::catalog::storage::journal::finish_begun;
use crate::catalog::storage::lineage::Lineage;
use crate::catalog::storage::record;
use crate::catalog::storage::record::{Committed, key};
use crate::catalog::storage::segment::Segments;
use crate::catalog::storage::segment::codec::{Codec, plain_record};
use crate::catalog::storage::segment::frame::Kind;
use crate::catalog::storage::tail::Tail;
use crate::catalog::values::facts::StoredFacts;
use crate::catalog::values::part::PartRef;
use crate::domain::UpdateIdentity;
use crate::durable::Trouble;
use crate::kv::{Batch, Kv, MAX_BATCH};
use crate::runtime::{Clock, RateLimiter};

/// How many decoded facts are remembered.
const FACTS_CACHED: usize = 2_000;

/// An index operation: a key and its value, or none to remove it.
pub(in crate::catalog) type Op = (Vec<u8>, Option<Vec<u8>>);

/// A revision that is stored and not yet active.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Staged {
    pub id: u32,
    pub block: u64,
    pub facts: PartRef,
    /// Bytes of all its texts in the segment.
    pub len: u64,
    /// Durable when [`Store::durable`] has reached this.
    pub ticket: u64,
    /// The keys that it needs.
    pub secured: Option<Arc<Secured>>,
    /// Its texts are damaged: it is asked for again.
    pub damaged: bool,
}

/// The end of the log and what waits to be settled.
pub(in crate::catalog) struct Log {
    pub writer: Tail,
    pub next_id: u32,
    pub next_block: u64,
    ticket: u64,
    /// Groups of operations by their tickets; each group goes into one batch.
    pending: Vec<(u64, Vec<Op>)>,
}

impl Log {
    /// The number that everything appended so far is settled by.
    pub(in crate::catalog) fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Adds index operations that belong to what was just appended; at most 99 stay together.
    pub(in crate::catalog) fn push(&mut self, ops: Vec<Op>) -> u64 {
        self.ticket += 1;
        self.pending.push((self.ticket, ops));
        self.ticket
    }

    /// Gives up operations that could not be settled.
    pub(in crate::catalog) fn forget(&mut self, first: u64, last: u64) {
        self.pending.retain(|(ticket, _)| !(first..=last).contains(ticket));
    }
}

pub(in crate::catalog) struct Store {
    pub config: Config,
    pub clock: Clock,
    pub kv: Kv,
    pub segments: Segments,
    pub codec: Codec,
    log: Mutex<Log>,
    settling: Mutex<()>,
    durable: AtomicU64,
    pub staged: RwLock<HashMap<UpdateIdentity, Staged>>,
    /// Held while decisions or the generation change.
    pub changing: Mutex<()>,
    snapshot: ArcSwap<Snapshot>,
    tell: watch::Sender<u64>,
    pub fragments: Cache<(u32, u32), Bytes, ByLength>,
    pub facts: Cache<(u32, u32), Arc<StoredFacts>>,
    pub terms: Remembered,
    pub computers: Computers,
    pub newcomers: Newcomers,
    pub identities: Identities,
    pub quota: Quota,
    pub servers: Servers,
    pub new_servers: RateLimiter,
    pub descendants: Descendants,
    pub lineage: Lineage,
    pub news: News,
    pub rings: Rings,
    /// What is missing because of damage.
    pub lost: Mutex<Note>,
    /// When all texts were last checked.
    pub checked: Mutex<Option<jiff::Timestamp>>,
    _lock: File,
}

#[derive(Clone)]
pub(in crate::catalog) struct ByLength;

impl Weighter<(u32, u32), Bytes> for ByLength {
    fn weight(&self, _key: &(u32, u32), text: &Bytes) -> u64 {
        text.len() as u64 + 96
    }
}

pub(in crate::catalog) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the folder and takes its lock.
pub(in crate::catalog) fn take(config: &Config) -> Result<File, CatalogError> {
    let file = |action| move |source| CatalogError::File { path: config.dir.clone(), action, source };
    let documents = config.dir.join("documents");
    std::fs::create_dir_all(&documents).map_err(file("made"))?;
    let path = config.dir.join("lock");
    let made = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    // a disk that takes nothing has one already, or the folder itself is locked
    let lock = made
        .or_else(|error| File::open(&path).or_else(|_none| File::open(&config.dir)).map_err(|_none| error));
    let lock = lock.map_err(file("locked"))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CatalogError::Locked { dir: config.dir.clone() }),
        Err(errno) => Err(file("locked")(errno.into())),
    }
}

impl Store {
    pub(in crate::catalog) fn open(config: Config, clock: Clock) -> Result<Self, CatalogError> {
        let lock = take(&config)?;
        let opened = Self::open_locked(config.clone(), clock.clone(), &lock, &mut |_, _| {});
        let Err(error) = opened else { return opened };
        if !error.is_damage() {
            return Err(error);
        }
        // what the engine takes for whole may be damaged all the same: it is made from the segments once
        let aside = crate::catalog::storage::rebuild::set_index_aside(&config)?;
        tracing::error!(%error, aside = %aside.display(),
            "the index of the catalog is damaged: it was set aside, and is made again from the segments");
        Self::open_locked(config, clock, &lock, &mut |_, _| {})
    }

    /// Opens a store whose lock is ours; `progress` is told of an index that is made again.
    pub(in crate::catalog) fn open_locked(
        config: Config,
        clock: Clock,
        lock: &File,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, CatalogError> {
        let segments = Segments::new(config.dir.join("documents"));
        let (kv, _opened) = Kv::open(crate::catalog::storage::rebuild::index_setup(&config), &config.disk)?;
        match kv.get(key::META)? {
            Some(meta) => {
                let meta: record::Meta = record::decode('v', &meta)?;
                if meta.format > record::FORMAT {
                    return Err(CatalogError::Newer { found: meta.format, known: record::FORMAT });
                }
            }
            None => crate::catalog::storage::rebuild::begin(&kv, &segments, clock.now(), progress)?,
        }
        let lock = lock.try_clone().map_err(|source| {
            let path = config.dir.clone();
            CatalogError::File { path, action: "locked", source }
        })?;
        Self::with(config, clock, kv, segments, lock)
    }

    fn with(
        config: Config,
        clock: Clock,
        kv: Kv,
        segments: Segments,
        lock: File,
    ) -> Result<Self, CatalogError> {
        let committed: Committed = match kv.get(key::COMMITTED)? {
            Some(bytes) => record::decode('l', &bytes)?,
            None => Committed { segment: 0, len: 0, next_id: 1 },
        };
        let codec = Codec::default();
        load_dictionaries(&kv, &segments, &codec)?;
        finish_begun(&kv, &segments, &codec)?;
        let loaded = load(&kv, &segments, &codec)?;
        let (damaged, lost) = (loaded.damaged, Note::load(&kv)?);
        let (computers, quota) = (Computers::load(&kv)?, Quota::load(&kv)?);
        let (servers, descendants) = (Servers::load(&kv)?, Descendants::load(&kv)?);
        let mut decisions = Decisions::load(&kv)?;
        decisions.change = computers.all().iter().map(|one| one.moved_at).fold(decisions.change, u64::max);
        let decisions = Arc::new(decisions);
        let writer = Tail::open(&segments, committed, config.segment_size.0)?;
        let log = Log {
            writer,
            next_id: loaded.next_id.max(committed.next_id),
            next_block: loaded.next_block.max(loaded.active.watermark),
            ticket: 0,
            pending: Vec::new(),
        };
        let view = View::new(Arc::new(loaded.world), decisions, config.offer);
        let snapshot = Snapshot::new(view, 1, config.remembered_answers);
        let (lineage, begin) = Lineage::load(&kv, snapshot.change_number(), &loaded.content)?;
        let store = Self {
            fragments: Cache::with_weighter(20_000, config.fragment_cache.0, ByLength),
            facts: Cache::new(FACTS_CACHED),
            terms: Remembered::default(),
            config,
            kv,
            segments,
            codec,
            log: Mutex::new(log),
            settling: Mutex::new(()),
            durable: AtomicU64::new(0),
            staged: RwLock::new(loaded.staged),
            changing: Mutex::new(()),
            snapshot: ArcSwap::from_pointee(snapshot),
            tell: watch::Sender::new(1),
            computers,
            newcomers: Newcomers::new(&clock),
            identities: Identities::default(),
            quota,
            servers,
            new_servers: new_servers(&clock),
            descendants,
            lineage,
            news: News::default(),
            rings: Rings::default(),
            lost: Mutex::new(lost),
            checked: Mutex::default(),
            clock,
            _lock: lock,
        };
        store.note_damaged(&damaged);
        if !begin.is_empty() {
            match store.journal(begin) {
                // marks begin when there is room; until then they last as long as the process
                Err(error) if error.is_read_only() => {
                    tracing::debug!(%error, "the first mark of the store is kept in memory");
                }
                other => other?,
            }
        }
        store.count_members()?;
        store.count_descendants()?;
        Ok(store)
    }

    pub(in crate::catalog) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(in crate::catalog) fn subscribe(&self) -> watch::Receiver<u64> {
        self.tell.subscribe()
    }

    /// Puts a new snapshot in force. The caller holds `changing`.
    pub(in crate::catalog) fn publish(&self, world: Arc<World>, decisions: Arc<Decisions>) {
        let sequence = self.snapshot.load().sequence() + 1;
        let view = View::new(world, decisions, self.config.offer);
        self.snapshot.store(Arc::new(Snapshot::new(view, sequence, self.config.remembered_answers)));
        self.tell.send_replace(sequence);
    }

    pub(in crate::catalog) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// Whether what had this ticket is durable.
    pub(in crate::catalog) fn is_durable(&self, ticket: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= ticket
    }

    /// Waits until everything up to `ticket` is durable, making it so if nobody else did.
    pub(in crate::catalog) fn settle(&self, ticket: u64) -> Result<(), CatalogError> {
        let _one = lock(&self.settling);
        if self.is_durable(ticket) {
            return Ok(());
        }
        let mut log = self.log();
        let (reached, files, end) = (log.ticket, log.writer.unsynced(), log.writer.end());
        let committed = Committed { segment: end.0, len: end.1, next_id: log.next_id };
        let groups = std::mem::take(&mut log.pending);
        drop(log);
        let outcome = sync(&files, &self.config).and_then(|()| self.index(&groups, committed));
        let mut log = self.log();
        match outcome {
            Ok(()) => {
                log.writer.synced(end.0);
                self.durable.store(reached, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                self.tell_disk(&error);
                // tried again with whatever comes next: the operations only set and remove keys
                let later = std::mem::replace(&mut log.pending, groups);
                log.pending.extend(later);
                Err(error)
            }
        }
    }

    /// Says to whoever asks about the disk that the log could not be written.
    pub(in crate::catalog) fn tell_disk(&self, error: &CatalogError) {
        if let CatalogError::File { source, .. } = error
            && Trouble::of(source).is_some()
        {
            self.config.disk.refused("log of the catalog", source);
        }
    }

    /// Applies groups of operations, as many in one batch as fit, each batch with the committed end.
    fn index(&self, groups: &[(u64, Vec<Op>)], committed: Committed) -> Result<(), CatalogError> {
        let mut batch = Batch::default();
        for (_, group) in groups {
            if batch.len() + group.len() >= MAX_BATCH {
                self.apply_with(std::mem::take(&mut batch), committed)?;
            }
            for (key, value) in group {
                match value {
                    Some(value) => batch.put(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
        }
        self.apply_with(batch, committed)?;
        Ok(self.kv.flush()?)
    }

    fn apply_with(&self, mut batch: Batch, committed: Committed) -> Result<(), CatalogError> {
        batch.put(key::COMMITTED, record::encode(&committed)?);
        Ok(self.kv.apply(&batch)?)
    }

    /// Makes a new dictionary durable, then uses it.
    pub(in crate::catalog) fn add_dictionary(
        &self,
        number: u8,
        dictionary: &[u8],
    ) -> Result<(), CatalogError> {
        let mut content = vec![number];
        content.extend_from_slice(dictionary);
        let mut bytes = Vec::new();
        plain_record(&mut bytes, Kind::Dictionary, &content)?;
        let mut log = self.log();
        log.writer.make_room(&self.segments, bytes.len() as u64)?;
        let place = log.writer.append(&self.segments, &bytes)?;
        let copy = (key::dictionary_copy(number), Some(copy_of(&content)));
        let ticket = log.push(vec![(key::dictionary(number), Some(record::encode(&place)?)), copy]);
        drop(log);
        self.settle(ticket)?;
        self.codec.add(number, dictionary);
        tracing::debug!(number, bytes = dictionary.len(), "trained a dictionary");
        Ok(())
    }
}

fn sync(files: &[Arc<File>], config: &Config) -> Result<(), CatalogError> {
    files.iter().try_for_each(|file| file.sync_data()).map_err(|source| CatalogError::File {
        path: config.dir.join("documents"),
        action: "synced",
        source,
    })
}
