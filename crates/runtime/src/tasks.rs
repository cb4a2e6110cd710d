//! Every task the process runs: named, counted, and waited for at shutdown.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns work and ends it. Cheap to clone; clones share the same work.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

/// How many tasks of a name run now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskStatus {
    /// The worker's name.
    pub name: &'static str,
    /// How many run.
    pub running: usize,
}

struct Counted {
    name: &'static str,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(self.name) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Tasks {
    /// No work yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `work` until it ends by itself. Long-lived work watches [`Tasks::stopping`].
    pub fn spawn<F>(&self, name: &'static str, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        let counted = Counted { name, running: Arc::clone(&self.running) };
        self.tracker.spawn(async move {
            let _counted = counted;
            work.await
        })
    }

    /// Fires when shutdown begins.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// What runs now, by name.
    pub fn status(&self) -> Vec<TaskStatus> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().map(|(&name, &running)| TaskStatus { name, running }).collect()
    }

    /// Tells all work to stop and waits for it, at most `limit`. True when everything ended in time.
    pub async fn shut_down(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_work_and_counts_it() {
        let tasks = Tasks::new();
        let stopping = tasks.stopping();
        let handle = tasks.spawn("worker", async move {
            stopping.cancelled().await;
            7
        });
        assert_eq!(tasks.status(), vec![TaskStatus { name: "worker", running: 1 }]);
        assert!(tasks.shut_down(Duration::from_secs(5)).await);
        assert_eq!(handle.await.unwrap(), 7);
        assert_eq!(tasks.status(), vec![TaskStatus { name: "worker", running: 0 }]);
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_does_not_wait_for_ever() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", std::future::pending::<()>());
        assert!(!tasks.shut_down(Duration::from_secs(1)).await);
    }
}
