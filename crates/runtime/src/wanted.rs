//! Work on the blocking pool that ends when nobody waits for it any more.
//!
//! A request's future is dropped when its client goes, but a thread of the blocking pool is not: it would go on reading
//! for an answer that nobody takes. What is run here can ask, from however deep inside, whether it is still wanted.
//!
//! **Invariant:** work is wanted for as long as its future lives, and work that was not begun through here always is. It
//! never interrupts anything: whoever reads much asks, and whoever writes does not.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static UNWANTED: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Marks the work as unwanted when it is dropped.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// On the thread that works: the mark of this work, and behind it that of no work.
struct Working;

impl Working {
    fn on(mark: Arc<AtomicBool>) -> Self {
        UNWANTED.with_borrow_mut(|now| *now = Some(mark));
        Self
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        UNWANTED.with_borrow_mut(|now| *now = None);
    }
}

/// Whether nobody waits any more for what this thread works on.
pub fn is_unwanted() -> bool {
    UNWANTED.with_borrow(|now| now.as_ref().is_some_and(|mark| mark.load(Ordering::Acquire)))
}

/// Runs work that may wait for a disk on the blocking pool. When the future is dropped, [`is_unwanted`] says so inside,
/// and work that was not begun yet is not begun.
///
/// # Errors
/// When the work panicked; `None` when it was unwanted before it began.
pub async fn while_wanted<T, F>(work: F) -> Result<Option<T>, tokio::task::JoinError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let waiting = Waiting(Arc::default());
    let mark = Arc::clone(&waiting.0);
    let run = move || {
        let _here = Working::on(mark);
        (!is_unwanted()).then(work)
    };
    tokio::task::spawn_blocking(run).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_learns_that_nobody_waits_and_the_thread_forgets_it() {
        let (begun, is_begun) = tokio::sync::oneshot::channel();
        let (ended, is_ended) = mpsc::channel();
        #[expect(clippy::disallowed_methods, reason = "the task has to be given up, as a client does")]
        let task = tokio::spawn(while_wanted(move || {
            let _ = begun.send(is_unwanted());
            while !is_unwanted() {
                std::thread::yield_now();
            }
            ended.send(true).unwrap();
        }));
        assert!(!is_begun.await.unwrap(), "somebody waits");
        task.abort();
        assert!(tokio::task::spawn_blocking(move || is_ended.recv().unwrap()).await.unwrap());
        assert_eq!(while_wanted(is_unwanted).await.unwrap(), Some(false));
        assert!(!tokio::task::spawn_blocking(is_unwanted).await.unwrap());
        assert!(!is_unwanted());
    }
}
