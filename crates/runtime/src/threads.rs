//! The threads of the process: how many run short steps, and how many wait for disks.
//!
//! A thread of the blocking pool keeps memory of its own for a while (one to two megabytes after it made an answer), and
//! without a limit every request that arrives at once gets one: 200 clients that asked for details took 800 MB so.
//!
//! **Invariant:** never more threads than the limits, however much is asked for at once; what is beyond waits in line and
//! is done. It never knows what the threads do; nothing that runs on the blocking pool may wait for other work there.

use std::io;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use tailwater_domain::{Limit, limits};

/// Threads for short steps: protocols and transfers; one a processor up to this.
const MAX_WORKERS: usize = 16;
/// Threads that hash, compress and wait for disks: enough to keep a disk's queue filled.
const MAX_BLOCKING: usize = 48;
/// How long such a thread waits for more work; its memory is given back with it.
const IDLE: Duration = Duration::from_secs(3);

// not a limit: IDLE: a thread is made anew when there is work

pub(super) const LIMITS: &[Limit] = limits![
    MAX_WORKERS in "threads": "Threads for short steps" => "the steps take turns",
    MAX_BLOCKING in "threads": "Threads that hash, compress and wait for disks" => "the work waits in line",
];

/// The executor of a command or of the server, on threads within the limits.
///
/// # Errors
/// When the system gives no threads, timers or descriptors for it.
pub fn executor() -> io::Result<Runtime> {
    let workers = available_parallelism().map_or(2, |cores| cores.get().clamp(2, MAX_WORKERS));
    Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(MAX_BLOCKING)
        .thread_keep_alive(IDLE)
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Condvar, Mutex};

    use super::*;

    #[derive(Default)]
    struct Seen {
        now: usize,
        done: usize,
        threads: HashSet<std::thread::ThreadId>,
    }

    static SEEN: Mutex<Option<Seen>> = Mutex::new(None);
    static CHANGED: Condvar = Condvar::new();

    /// Occupies its thread until as many as can be are occupied, or all is done.
    fn work() {
        let mut seen = SEEN.lock().unwrap();
        let now = seen.get_or_insert_default();
        now.now += 1;
        now.threads.insert(std::thread::current().id());
        CHANGED.notify_all();
        let full = |seen: &mut Option<Seen>| seen.as_ref().unwrap().threads.len() < MAX_BLOCKING;
        let mut seen = CHANGED.wait_while(seen, full).unwrap();
        let now = seen.as_mut().unwrap();
        assert!(now.now <= MAX_BLOCKING, "{} at once", now.now);
        now.now -= 1;
        now.done += 1;
    }

    #[test]
    fn any_amount_of_work_at_once_is_done_on_as_many_threads_as_there_may_be() {
        let executor = executor().unwrap();
        let works = 8 * MAX_BLOCKING;
        executor.block_on(async {
            let all: Vec<_> = (0..works).map(|_| tokio::task::spawn_blocking(work)).collect();
            for one in all {
                one.await.unwrap();
            }
        });
        let seen = SEEN.lock().unwrap();
        let seen = seen.as_ref().unwrap();
        assert_eq!((seen.done, seen.threads.len()), (works, MAX_BLOCKING));
    }
}
