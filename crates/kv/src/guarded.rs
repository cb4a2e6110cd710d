//! sled on a disk that may be full, read-only or damaged, and what waits in memory until it can be written.
//!
//! sled does not outlive a failed write: from then on it refuses everything. So what was applied is kept here as well
//! until a flush made it durable. While the disk takes nothing, reads see what the files say and what waits; what need
//! not be durable at once is taken into memory, everything else is refused. When there is room again sled is opened
//! anew and what waited is written, in its order.
//!
//! **Invariant:** what waits is seen by every read, and written before anything newer. A flush says that all is well only
//! when sled is open and has everything. Files of an index that cannot be read are set aside, never deleted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use super::batch::{Batch, batches};
use super::engine::{Backend, Opened, Setup};
use super::error::KvError;
use super::opening::{Base, Failure, anew, copied, heal, no_room, open_sled, read_only};
use tailwater_domain::{Limit, limits};
use tailwater_durable::{Disk, Resume};

/// Bytes that wait for a flush before one is made: sled itself writes within a second.
const MOST_UNFLUSHED: usize = 1 << 20;
/// Bytes that are kept in memory while the disk takes nothing; what would be more is refused.
const MOST_WAITING: usize = 64 << 20;
/// What is limited here.
pub(super) const LIMITS: &[Limit] = limits![
    MOST_UNFLUSHED in "bytes": "Changes of an index that wait for a flush" => "one is made at once",
    MOST_WAITING in "bytes": "Changes of an index kept in memory while the disk takes nothing" => "an error; nothing is changed",
];

/// What an entry costs beside its bytes.
const ENTRY: usize = 96;

/// An entry that is not durable yet.
struct PendingEntry {
    /// Its place in the order in which entries came.
    at: u64,
    value: Option<Vec<u8>>,
    /// It was applied, and whoever did so asks whether it is durable.
    lasts: bool,
}

/// Entries that are not durable yet.
#[derive(Default)]
struct Pending {
    entries: BTreeMap<Vec<u8>, PendingEntry>,
    last: u64,
    bytes: usize,
    /// sled refuses everything, or is not open.
    broken: bool,
}

fn cost(key: &[u8], value: Option<&[u8]>) -> usize {
    key.len() + value.map_or(0, <[u8]>::len) + ENTRY
}

impl Pending {
    fn take(&mut self, batch: &Batch, lasts: bool) {
        for (key, value) in batch.ops() {
            self.last += 1;
            self.bytes += cost(key, value);
            let entry = PendingEntry { at: self.last, value: value.map(<[u8]>::to_vec), lasts };
            if let Some(before) = self.entries.insert(key.to_vec(), entry) {
                self.bytes = self.bytes.saturating_sub(cost(key, before.value.as_deref()));
            }
        }
    }

    fn retain(&mut self, stays: impl Fn(&PendingEntry) -> bool) {
        self.entries.retain(|_, entry| stays(entry));
        self.bytes = self.entries.iter().map(|(key, entry)| cost(key, entry.value.as_deref())).sum();
    }

    /// Whoever applied these is told that they are not durable, and must not find them later.
    fn forget_lasting(&mut self) {
        self.retain(|entry| !entry.lasts);
    }

    /// Everything up to this place is durable.
    fn drop_until(&mut self, place: u64) {
        self.retain(|entry| entry.at > place);
    }

    /// In the order in which they came, as many in one batch as may be.
    fn batches(&self) -> Vec<Batch> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|(_, entry)| entry.at);
        batches(entries.into_iter().map(|(key, entry)| (&key[..], entry.value.as_deref()))).collect()
    }
}

/// The engine.
pub(super) struct Guarded {
    setup: Setup,
    disk: Disk,
    /// Taken after `waiting` where both are.
    base: RwLock<Base>,
    waiting: Mutex<Pending>,
    /// The disk takes nothing: entries wait.
    waits: AtomicBool,
}

impl Guarded {
    /// Opens what is there, whatever state it and its disk are in.
    pub(super) fn open(setup: Setup, disk: &Disk) -> Result<(Arc<Self>, Opened), KvError> {
        heal(&setup.dir);
        let tried = if disk.has_room() { open_sled(&setup) } else { Err(Failure::Disk(no_room(disk))) };
        let (base, opened, failed) = match tried {
            Ok(sled) => (Base::Sled(sled), Opened::Whole, None),
            Err(Failure::Damaged(reason)) => anew(&setup, &reason)?,
            Err(Failure::Disk(error)) => {
                let (memory, opened) = read_only(&setup)?;
                (Base::Memory(memory), opened, Some(error))
            }
            Err(failure) => return Err(failure.into_error(&setup)),
        };
        let broken = !matches!(base, Base::Sled(_));
        let guarded = Arc::new(Self {
            setup,
            disk: disk.clone(),
            base: RwLock::new(base),
            waiting: Mutex::new(Pending { broken, ..Pending::default() }),
            waits: AtomicBool::new(broken),
        });
        let resumes: Weak<Self> = Arc::downgrade(&guarded);
        disk.wait_for_room(resumes);
        if let Some(error) = failed {
            disk.failed(guarded.setup.name, &error);
        }
        Ok((guarded, opened))
    }

    fn waiting(&self) -> MutexGuard<'_, Pending> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// From now on entries wait. Those that are to last are written with the others unless their owner is told that they
    /// are not durable, see [`Pending::forget_lasting`].
    fn hold_back(&self, waiting: &mut Pending, error: &KvError) {
        waiting.broken = true;
        self.waits.store(true, Ordering::Release);
        if let Some(error) = error.io() {
            self.disk.failed(self.setup.name, &error);
        } else {
            let cure = "restart the server: an index that is damaged is made again";
            self.disk.failed_for(self.setup.name, format!("the {} is damaged", self.setup.name), cure);
        }
    }

    fn refused(&self) -> KvError {
        let report = self.disk.report();
        let reason = report.map_or_else(|| "it is being opened again".to_owned(), |report| report.reason);
        KvError::ReadOnly { name: self.setup.name, reason }
    }

    fn with_base<T>(&self, work: impl FnOnce(&dyn Backend) -> Result<T, KvError>) -> Result<T, KvError> {
        let base = self.base.read().unwrap_or_else(PoisonError::into_inner);
        match &*base {
            Base::Sled(sled) => work(sled),
            Base::Memory(memory) => work(memory),
            Base::Closed => Err(self.refused()),
        }
    }

    /// Takes a batch: into sled, or to wait when `may_wait`.
    fn accept(&self, batch: &Batch, may_wait: bool) -> Result<(), KvError> {
        self.try_accept(batch, may_wait, true)
    }

    fn try_accept(&self, batch: &Batch, may_wait: bool, again: bool) -> Result<(), KvError> {
        let mut waiting = self.waiting();
        if !self.disk.has_room() && !self.waits() {
            // before the engine meets a full disk, which it would not outlive
            self.waits.store(true, Ordering::Release);
            self.disk.failed(self.setup.name, &no_room(&self.disk));
        }
        if self.waits() {
            if !may_wait || waiting.bytes >= MOST_WAITING {
                if !may_wait {
                    waiting.forget_lasting();
                }
                return Err(self.refused());
            }
            waiting.take(batch, false);
            return Ok(());
        }
        match self.with_base(|base| base.apply(batch)) {
            Ok(()) => waiting.take(batch, !may_wait),
            Err(error) => {
                self.hold_back(&mut waiting, &error);
                drop(waiting);
                // it may only remember a write that failed before there was room again
                if again && self.disk.has_room() && self.take_up().is_ok() {
                    self.disk.works(self.setup.name);
                    return self.try_accept(batch, may_wait, false);
                }
                let mut waiting = self.waiting();
                if !may_wait {
                    waiting.forget_lasting();
                    return Err(error);
                }
                waiting.take(batch, false);
                return Ok(());
            }
        }
        if waiting.bytes > MOST_UNFLUSHED {
            drop(waiting);
            // what it could not write waits
            let flushed = self.flush();
            return if may_wait { Ok(()) } else { flushed };
        }
        Ok(())
    }

    /// Opens sled again where it must be, writes what waits.
    fn take_up(&self) -> Result<(), KvError> {
        let mut waiting = self.waiting();
        let mut base = self.base.write().unwrap_or_else(PoisonError::into_inner);
        if waiting.broken {
            if matches!(&*base, Base::Sled(_)) {
                // what it said stays readable, and it must be gone before its files are opened again
                let memory = copied(&self.setup);
                *base = memory.map_or(Base::Closed, Base::Memory);
            }
            heal(&self.setup.dir);
            let (sled, _) = match open_sled(&self.setup) {
                Ok(sled) => (Base::Sled(sled), Opened::Whole),
                // everything that was made in its place waits here
                Err(Failure::Damaged(reason)) if matches!(&*base, Base::Memory(memory) if memory.is_empty()) =>
                {
                    let (sled, opened, _) = anew(&self.setup, &reason)?;
                    (sled, opened)
                }
                Err(failure) => return Err(failure.into_error(&self.setup)),
            };
            if !matches!(sled, Base::Sled(_)) {
                return Err(self.refused());
            }
            *base = sled;
            waiting.broken = false;
        }
        let Base::Sled(sled) = &*base else { return Err(self.refused()) };
        for batch in waiting.batches() {
            sled.apply(&batch)?;
        }
        sled.flush()?;
        let last = waiting.last;
        waiting.drop_until(last);
        self.waits.store(false, Ordering::Release);
        Ok(())
    }
}

impl Resume for Guarded {
    fn resume(&self) {
        if !self.waits() {
            return;
        }
        match self.take_up() {
            Ok(()) => self.disk.works(self.setup.name),
            Err(error) => self.hold_back(&mut self.waiting(), &error),
        }
    }
}

impl Backend for Guarded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        if self.waits()
            && let Some(entry) = self.waiting().entries.get(key)
        {
            return Ok(entry.value.clone());
        }
        self.with_base(|base| base.get(key))
    }

    fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        self.accept(batch, false)
    }

    fn note(&self, batch: &Batch) -> Result<(), KvError> {
        self.accept(batch, true)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        if !self.waits() {
            return self.with_base(|base| base.scan(prefix, visit));
        }
        let beside: Vec<(Vec<u8>, Option<Vec<u8>>)> = {
            let waiting = self.waiting();
            let from =
                waiting.entries.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
            from.map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
        };
        let (mut beside, mut goes_on) = (beside.into_iter().peekable(), true);
        self.with_base(|base| {
            base.scan(prefix, &mut |key, value| {
                while goes_on
                    && let Some((before, value)) = beside.next_if(|(other, _)| other.as_slice() < key)
                {
                    goes_on = value.is_none_or(|value| visit(&before, &value));
                }
                if !goes_on {
                    return false;
                }
                goes_on = match beside.next_if(|(other, _)| other == key) {
                    Some((_, Some(newer))) => visit(key, &newer),
                    Some((_, None)) => true,
                    None => visit(key, value),
                };
                goes_on
            })
        })?;
        for (key, value) in beside {
            if !goes_on {
                break;
            }
            goes_on = value.is_none_or(|value| visit(&key, &value));
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        let (place, may_last) = {
            let waiting = self.waiting();
            // what went into an engine that still works, just before room ran out, can be made durable
            (waiting.last, !waiting.broken && waiting.entries.values().any(|entry| entry.lasts))
        };
        if self.waits() && !may_last {
            self.waiting().forget_lasting();
            return Err(self.refused());
        }
        match self.with_base(|base| base.flush()) {
            Ok(()) if self.waits() => {
                self.waiting().retain(|entry| !entry.lasts || entry.at > place);
                Ok(())
            }
            Ok(()) => {
                self.waiting().drop_until(place);
                Ok(())
            }
            Err(error) => {
                let mut waiting = self.waiting();
                self.hold_back(&mut waiting, &error);
                waiting.forget_lasting();
                Err(error)
            }
        }
    }
}
