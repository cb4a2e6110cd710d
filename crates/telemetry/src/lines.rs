//! Where log lines go: to standard error, as far as somebody takes them.
//!
//! A reader that went away, a full disk or a stopped terminal under standard error is no reason to stop serving. A
//! server hands its lines to a thread of their own through a bounded queue; commands write theirs at once.
//!
//! **Invariant:** writing a line never fails, never panics, and in a server never waits for its reader. It never holds
//! more than [`QUEUE`] lines: further ones are counted and left out, and the next line that gets through says so.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for their reader: a burst of some seconds at a chatty level, about 2 MB.
const QUEUE: usize = 8_192;

/// How long the end of the process waits for lines that are still queued.
const LAST_LINES: Duration = Duration::from_secs(1);

enum Job {
    Line(Vec<u8>),
    /// Everything before it was written, or could not be.
    Flush(SyncSender<()>),
}

/// The way to the thread that writes; none in a command.
static QUEUED: OnceLock<Queue> = OnceLock::new();

#[derive(Clone)]
struct Queue {
    jobs: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    fn new(capacity: usize) -> (Self, Receiver<Job>) {
        let (jobs, waiting) = sync_channel(capacity);
        (Self { jobs, lost: Arc::default() }, waiting)
    }

    fn push(&self, line: &[u8]) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.jobs.try_send(Job::Line(line.to_vec()))
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what is queued was written, at most so long.
    fn flush(&self, patience: Duration) {
        let (done, waiting) = sync_channel(1);
        let marker = Job::Flush(done);
        // a full queue has a reader that takes nothing: there is nothing to wait for
        if self.jobs.try_send(marker).is_ok() {
            let _: Result<(), RecvTimeoutError> = waiting.recv_timeout(patience);
        }
    }
}

/// Writes what is queued until nobody can queue anything more.
fn write_all(waiting: &Receiver<Job>, lost: &AtomicU64, mut out: impl Write) {
    while let Ok(job) = waiting.recv() {
        match job {
            Job::Line(line) => {
                let missing = lost.swap(0, Ordering::Relaxed);
                if missing > 0 {
                    let note =
                        format!("{missing} lines of the log were left out: nobody took them in time\n");
                    let _ = out.write_all(note.as_bytes());
                }
                // whoever reads the log has gone or has no room; the work goes on
                let _ = out.write_all(&line);
            }
            Job::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
    }
}

/// From now on lines are written by a thread of their own. When there can be none, they are written at once.
pub(super) fn queue() {
    let (queue, waiting) = Queue::new(QUEUE);
    let lost = Arc::clone(&queue.lost);
    let write = move || write_all(&waiting, &lost, StandardError);
    if QUEUED.get().is_none() && std::thread::Builder::new().name("log".to_owned()).spawn(write).is_ok() {
        let _ = QUEUED.set(queue);
    }
}

/// Waits a moment for what is queued; call it before the process ends.
pub(super) fn flush() {
    if let Some(queue) = QUEUED.get() {
        queue.flush(LAST_LINES);
    }
}

/// Standard error without the process's lock on it, so that a reader that takes nothing stops nobody else.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes writers for `tracing_subscriber`.
pub(super) struct Lines;

/// Takes one line, and says that it went well.
pub(super) struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match QUEUED.get() {
            Some(queue) => queue.push(line),
            None => {
                let _ = StandardError.write_all(line);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes `room` writes, then fails like a full disk or a closed pipe.
    struct Failing(Arc<Mutex<Vec<u8>>>, usize);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1 -= 1;
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_stops_nobody_and_is_told_later() {
        let (queue, waiting) = Queue::new(2);
        for line in [&b"one\n"[..], b"two\n", b"three\n", b"four\n"] {
            queue.push(line);
        }
        queue.flush(Duration::from_hours(1));
        let lost = Arc::clone(&queue.lost);
        assert_eq!(lost.load(Ordering::Relaxed), 2, "nothing waited, and what was left out was counted");
        drop(queue);
        let written = Arc::<Mutex<Vec<u8>>>::default();
        write_all(&waiting, &lost, Failing(Arc::clone(&written), 100));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("2 lines of the log were left out"), "{text}");
        assert!(text.ends_with("one\ntwo\n"), "{text}");
    }

    #[test]
    fn a_full_disk_under_the_log_ends_nothing() {
        let (queue, waiting) = Queue::new(8);
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (lost, out) = (Arc::clone(&queue.lost), Failing(Arc::clone(&written), 1));
        let writer = std::thread::spawn(move || write_all(&waiting, &lost, out));
        for line in [&b"one\n"[..], b"two\n", b"three\n"] {
            queue.push(line);
        }
        queue.flush(Duration::from_secs(10));
        drop(queue);
        writer.join().unwrap();
        assert_eq!(*written.lock().unwrap(), b"one\n");
    }
}
