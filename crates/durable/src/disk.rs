//! Whether the data directory can be written, as one answer for everybody: who writes there says what failed, one worker
//! looks again, and whoever waits for room is called when there is some.
//!
//! **Invariant:** a trouble is logged when it begins, when its reason changes and when it is over, and not in between.
//! What needs a writer that is in trouble is never called durable. It never deletes what it did not make.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;

use super::Trouble;
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Clock, Tasks};

/// Below this much room nothing more is written to indexes: their engine does not outlive a full disk.
const LEAST_ROOM: u64 = 4 << 20;
/// With this much room writing is taken up again.
const ENOUGH_ROOM: u64 = 8 << 20;
/// Bytes written to see whether that works: a quota shows in nothing else.
const PROBE: usize = 256 << 10;
/// What is limited here.
pub(super) const LIMITS: &[Limit] = limits![
    LEAST_ROOM in "bytes": "Free space below which nothing is written to indexes" => "what must last is refused: 507; the rest waits in memory",
    ENOUGH_ROOM in "bytes": "Free space with which writing is taken up again" => "it is looked for every second",
];

/// The file that is written for it.
const PROBE_FILE: &str = ".room";
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Who holds back what it could not write.
pub trait Resume: Send + Sync {
    /// There is room again. Blocks; says in the disk's report whether it worked.
    fn resume(&self);
}

/// What cannot be written, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Why.
    pub reason: String,
    /// What to do.
    pub cure: &'static str,
    /// What is not written meanwhile.
    pub affected: Vec<&'static str>,
}

impl Report {
    /// In one line.
    pub fn line(&self) -> String {
        format!("read only: {}", self.reason)
    }
}

/// The disk of a data directory. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    /// None: nobody looks at it, and it counts as writable.
    dir: Option<PathBuf>,
    /// Whether writing is worth a try, as it was when somebody looked.
    has_room: AtomicBool,
    state: Mutex<State>,
    waiting: Mutex<Vec<Weak<dyn Resume>>>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("dir", &self.0.dir).field("has_room", &self.has_room()).finish()
    }
}

#[derive(Default)]
struct State {
    disk: Option<Trouble>,
    writers: BTreeMap<&'static str, (String, &'static str)>,
    /// Those of them that hold nothing back: they are tried again when the disk takes something.
    passing: BTreeSet<&'static str>,
    told: Option<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// The disk under a folder, looked at once.
    pub fn of(dir: &Path) -> Self {
        let disk = Self::with(Some(dir.to_owned()));
        disk.look();
        disk
    }

    /// A disk that nobody looks at: for stores that are opened by themselves.
    pub fn unwatched() -> Self {
        Self::with(None)
    }

    fn with(dir: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            dir,
            has_room: AtomicBool::new(true),
            state: Mutex::default(),
            waiting: Mutex::default(),
        }))
    }

    /// Whether there is room for more, as it was when somebody looked last.
    pub fn has_room(&self) -> bool {
        self.0.has_room.load(Ordering::Acquire)
    }

    /// Says whether there is room, for tests of who asks.
    #[doc(hidden)]
    pub fn set_room(&self, has_room: bool) {
        self.0.has_room.store(has_room, Ordering::Release);
        locked(&self.0.state).disk = (!has_room).then_some(Trouble::NoSpace);
    }

    /// Calls whoever waits, for tests.
    #[doc(hidden)]
    pub fn resume_all(&self) {
        let waiting: Vec<_> = locked(&self.0.waiting).iter().filter_map(Weak::upgrade).collect();
        for who in waiting {
            who.resume();
        }
    }

    /// What cannot be written now; none when everything can.
    pub fn report(&self) -> Option<Report> {
        let state = locked(&self.0.state);
        let first = state.writers.values().next();
        let (reason, cure) = match (state.disk, first) {
            (Some(trouble), _) => (trouble.reason().to_owned(), trouble.cure()),
            (None, Some((reason, cure))) => (reason.clone(), *cure),
            (None, None) => return None,
        };
        Some(Report { reason, cure, affected: state.writers.keys().copied().collect() })
    }

    /// Something of this name could not be written, and is kept back.
    pub fn failed(&self, writer: &'static str, error: &io::Error) {
        let trouble = Trouble::of(error);
        let (reason, cure) = trouble.map_or_else(
            || (error.to_string(), "see the log; a restart may mend it"),
            |trouble| (trouble.reason().to_owned(), trouble.cure()),
        );
        self.failed_for(writer, reason, cure);
    }

    /// Something of this name could not be written and whoever wanted it was told: it counts as failing until the disk
    /// takes something.
    pub fn refused(&self, writer: &'static str, error: &io::Error) {
        locked(&self.0.state).passing.insert(writer);
        self.failed(writer, error);
    }

    /// The same for another reason.
    pub fn failed_for(&self, writer: &'static str, reason: String, cure: &'static str) {
        locked(&self.0.state).writers.insert(writer, (reason, cure));
        self.tell();
    }

    /// It can be written again.
    pub fn works(&self, writer: &'static str) {
        let gone = {
            let mut state = locked(&self.0.state);
            state.passing.remove(writer);
            state.writers.remove(writer)
        };
        if gone.is_some() {
            self.tell();
        }
    }

    /// Calls `who` when there is room again, as long as it exists.
    pub fn wait_for_room(&self, who: Weak<dyn Resume>) {
        locked(&self.0.waiting).push(who);
    }

    /// Looks, and lets whoever waits go on when there is room. Blocks.
    pub fn look(&self) {
        let Some(dir) = &self.0.dir else { return };
        let in_trouble = !self.has_room() || !locked(&self.0.state).writers.is_empty();
        let found = examine(dir, in_trouble).err();
        locked(&self.0.state).disk = found;
        self.0.has_room.store(found.is_none(), Ordering::Release);
        self.tell();
        if found.is_some() || !in_trouble {
            return;
        }
        let waiting: Vec<Arc<dyn Resume>> = {
            let mut waiting = locked(&self.0.waiting);
            waiting.retain(|who| who.strong_count() > 0);
            waiting.iter().filter_map(Weak::upgrade).collect()
        };
        for who in waiting {
            who.resume();
        }
        let mut state = locked(&self.0.state);
        let passing = std::mem::take(&mut state.passing);
        state.writers.retain(|writer, _| !passing.contains(writer));
        drop(state);
        self.tell();
    }

    /// Looks every second until shutdown.
    pub fn start(&self, tasks: &Tasks, clock: &Clock) {
        let (disk, clock, stopping) = (self.clone(), clock.clone(), tasks.stopping());
        tasks.spawn("disk", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = clock.sleep(LOOK) => {}
                }
                let disk = disk.clone();
                if let Err(error) = tokio::task::spawn_blocking(move || disk.look()).await {
                    tracing::error!(%error, "the disk could not be looked at");
                }
            }
        });
    }

    /// Says what changed since it was last said.
    fn tell(&self) {
        let now = self.report();
        let said = now.as_ref().map(|report| report.reason.clone());
        let mut state = locked(&self.0.state);
        if state.told == said {
            return;
        }
        state.told = said;
        drop(state);
        if let Some(report) = now {
            tracing::error!(
                reason = %report.reason, cure = report.cure,
                "the data directory cannot be written: agents are served, what changes is kept in memory and lost at a \
                 restart, decisions are refused"
            );
        } else {
            tracing::info!("the data directory can be written again");
        }
    }
}

/// Whether there is room; `closely` also writes something, where a full disk or a quota had been met.
fn examine(dir: &Path, closely: bool) -> Result<(), Trouble> {
    let least = if closely { ENOUGH_ROOM } else { LEAST_ROOM };
    if let Ok(stat) = rustix::fs::statvfs(dir) {
        if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return Err(Trouble::ReadOnly);
        }
        // a file system that does not know its size says 0 of everything
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if stat.f_blocks > 0 && free < least {
            return Err(Trouble::NoSpace);
        }
    }
    if closely { probe(dir) } else { Ok(()) }
}

fn probe(dir: &Path) -> Result<(), Trouble> {
    let path = dir.join(PROBE_FILE);
    let written = std::fs::File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE])?;
        file.sync_data()
    });
    let _ = std::fs::remove_file(&path);
    written.map_err(|error| Trouble::of(&error).unwrap_or(Trouble::Broken))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Resume for Counted {
        fn resume(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_waits_is_called_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::of(dir.path());
        let waiting = Arc::new(Counted::default());
        let weak: Weak<dyn Resume> = Arc::downgrade(&(Arc::clone(&waiting) as Arc<dyn Resume>));
        disk.wait_for_room(weak);
        assert_eq!((disk.report(), disk.has_room()), (None, true));
        disk.look();
        assert_eq!(waiting.0.load(Ordering::Relaxed), 0, "nobody waited for anything");
        disk.failed("index", &rustix::io::Errno::NOSPC.into());
        let report = disk.report().unwrap();
        assert_eq!(report.line(), "read only: no space left on the disk");
        assert_eq!(report.affected, ["index"]);
        disk.look();
        assert_eq!(waiting.0.load(Ordering::Relaxed), 1);
        disk.works("index");
        assert_eq!(disk.report(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the probe leaves nothing");
    }

    #[test]
    fn what_was_refused_is_tried_again_once_the_disk_takes_something() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::of(dir.path());
        disk.refused("log", &rustix::io::Errno::ROFS.into());
        disk.failed("index", &rustix::io::Errno::ROFS.into());
        assert_eq!(disk.report().unwrap().affected, ["index", "log"]);
        disk.look();
        assert_eq!(disk.report().unwrap().affected, ["index"], "that one says itself when it works");
        disk.refused("log", &rustix::io::Errno::ROFS.into());
        disk.works("log");
        assert_eq!(disk.report().unwrap().affected, ["index"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        assert!(probe(Path::new("/proc/self")).is_err());
    }
}
