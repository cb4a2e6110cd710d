//! The highest rate that the link reached, looked at from outside.
//!
//! **Invariant:** it reads the same counter as the metrics do, which counts at the sockets. It never slows
//! anything down.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::connection::Connection;
use tailwater_api as api;

/// How often the counter is read.
const STEP: Duration = Duration::from_millis(100);

/// Steps in one second.
const WINDOW: usize = 10;

/// The highest number of bytes received within any second so far.
#[derive(Clone, Default)]
pub(super) struct Peak(Arc<AtomicU64>);

impl Peak {
    /// In bits a second.
    pub(super) fn bits_per_second(&self) -> u64 {
        self.0.load(Ordering::Relaxed) * 8
    }

    /// Watches until it is dropped with its task.
    pub(super) async fn watch(self, connection: Arc<Connection>) {
        let mut seen: VecDeque<(tokio::time::Instant, u64)> = VecDeque::with_capacity(WINDOW + 1);
        let mut ticks = tokio::time::interval(STEP);
        loop {
            let now = ticks.tick().await;
            let Ok(reading) = connection.ask(api::ReadLink).await else { return };
            let received = reading.reading.received;
            seen.push_back((now, received));
            if seen.len() > WINDOW + 1 {
                seen.pop_front();
            }
            if let Some((then, before)) = seen.front().filter(|_| seen.len() > WINDOW) {
                let span = now.duration_since(*then).as_secs_f64().max(0.001);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "a few megabytes in about a second"
                )]
                let in_a_second = ((received - before) as f64 / span) as u64;
                self.0.fetch_max(in_a_second, Ordering::Relaxed);
            }
        }
    }
}
