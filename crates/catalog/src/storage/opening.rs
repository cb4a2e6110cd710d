//! Opening what a store keeps, whatever state the last process left it in.
//!
//! **Invariant:** nothing is opened without the folder's lock; a change that had begun to reach the index is finished before
//! anybody sees it. Nothing damaged is deleted here.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::PathBuf;

use super::log::Log;
use super::rebuild::{self, index_setup, set_index_aside};
use super::record::{self, Journal, Location, key};
use super::segment::Segments;
use super::segment::frame::Kind;
use crate::config::Config;
use crate::error::CatalogError;
use tailwater_kv::Kv;
use tailwater_runtime::{Clock, retry};

/// A lock outlives its process or its last handle by a moment: a process that was killed still ends, and a child that was
/// just made holds its parent's descriptors until it runs its own program. 0.5 s.
const LOCK_ATTEMPTS: u32 = 25;

// not a limit: LOCK_ATTEMPTS: only the error comes later

/// Makes the folder and takes its lock.
pub(crate) fn take(config: &Config) -> Result<File, CatalogError> {
    let file = |action| move |source| CatalogError::File { path: config.dir.clone(), action, source };
    let documents = config.dir.join("documents");
    std::fs::create_dir_all(&documents).map_err(file("made"))?;
    let path = config.dir.join("lock");
    let made = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    // a disk that takes nothing has one already, or the folder itself is locked
    let lock = made
        .or_else(|error| File::open(&path).or_else(|_none| File::open(&config.dir)).map_err(|_none| error));
    let lock = lock.map_err(file("locked"))?;
    let attempt = || rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    let taken = retry(LOCK_ATTEMPTS, |errno| *errno == rustix::io::Errno::WOULDBLOCK, attempt);
    match taken {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CatalogError::Locked { dir: config.dir.clone() }),
        Err(errno) => Err(file("locked")(errno.into())),
    }
}

/// Opens log and index of a store whose lock is ours. `progress` is told of an index that is made again: how many bytes
/// of the segments were read, of how many.
pub(crate) fn open_log(
    config: &Config,
    clock: &Clock,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Log, CatalogError> {
    let segments = Segments::new(config.dir.join("documents"));
    let (kv, _opened) = Kv::open(index_setup(config), &config.disk)?;
    match kv.get(key::META)? {
        Some(meta) => {
            let meta: record::Meta = record::decode('v', &meta)?;
            if meta.format > record::FORMAT {
                return Err(CatalogError::Newer { found: meta.format, known: record::FORMAT });
            }
        }
        None => rebuild::begin(&kv, &segments, clock.now(), progress)?,
    }
    let log = Log::open(kv, segments, config.disk.clone(), config.dir.clone(), config.segment_size.0)?;
    finish_begun(&log)?;
    Ok(log)
}

/// Finishes a change that had begun to reach the index when the process ended: its journal is durable.
fn finish_begun(log: &Log) -> Result<(), CatalogError> {
    let kv = log.kv();
    let Some(value) = kv.get(key::BEGUN)? else { return Ok(()) };
    let places: Vec<Location> = record::decode('j', &value)?;
    for place in places {
        let content = match log.segments().record(Kind::Journal, place, log.codec()) {
            Ok(content) => content,
            Err(error @ CatalogError::Damaged { .. }) => {
                // it came from an upstream, whose place in the list moves with the last batch only
                tracing::error!(%error, "a change of many entries could not be finished; its source says it again");
                break;
            }
            Err(error) => return Err(error),
        };
        let (journal, _last) = Journal::decode(&content)?;
        kv.note_all(&journal.ops)?;
    }
    kv.note_all(&[(key::BEGUN.to_vec(), None)])?;
    rebuild::flush(kv)?;
    tracing::info!("finished a change of many entries that was interrupted");
    Ok(())
}

/// Sets the index of a store that nobody has open aside (as `damaged-index-…` beside it), so that the next opening makes
/// a new one from the segments. Returns where the old one went.
pub fn rebuild_index(config: &Config) -> Result<PathBuf, CatalogError> {
    let _lock = take(config)?;
    set_index_aside(config)
}

/// Makes the index of a store that nobody has open from a dump ([`crate::Catalog::dump_index`]), setting what
/// was there aside as [`rebuild_index`] does. The `documents` folder must be the one the dump was made
/// beside. Returns how many entries.
pub fn load_index(config: &Config, dump: &mut impl Read) -> Result<u64, CatalogError> {
    rebuild_index(config)?;
    let _lock = take(config)?;
    let (kv, _opened) = Kv::open(index_setup(config), &config.disk)?;
    Ok(kv.load(dump)?)
}
