//! Starts a crowd of simulated machines one after the other, and waits for the last of them.
//!
//! **Invariant:** never more than `parallel` are at work at once; one that fails is counted and left behind. It never
//! knows what they do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::error::AgentError;
use super::figures::Figures;
use tailwater_runtime::{Clock, Tasks};

/// How many there are, and how they come.
pub(crate) struct Crowd {
    /// What each is called among the tasks.
    pub(crate) name: &'static str,
    /// How many.
    pub(crate) count: u32,
    /// How many are at work at once; at least one.
    pub(crate) parallel: u32,
    /// Time between the starts of two.
    pub(crate) arrival: Duration,
}

impl Crowd {
    /// Runs `live` for every number to its end, or until shutdown. Who got through and who failed is counted.
    pub(crate) async fn run<L>(
        self,
        figures: &Arc<Figures>,
        clock: &Clock,
        tasks: &Tasks,
        mut live: impl FnMut(u32) -> L,
    ) where
        L: Future<Output = Result<(), AgentError>> + Send + 'static,
    {
        let stopping = tasks.stopping();
        let parallel = self.parallel.max(1);
        let turns = Arc::new(Semaphore::new(parallel as usize));
        for number in 0..self.count {
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { break };
            if stopping.is_cancelled() {
                break;
            }
            let (running, figures, stopping) = (live(number), Arc::clone(figures), stopping.clone());
            tasks.spawn(self.name, async move {
                let ended = tokio::select! {
                    ended = running => ended,
                    () = stopping.cancelled() => Ok(()),
                };
                match ended {
                    Ok(()) => figures.add(|report| report.agents_done += 1),
                    Err(error) => figures.failed(&error),
                }
                drop(turn);
            });
            if !self.arrival.is_zero() {
                clock.sleep(self.arrival).await;
            }
        }
        // every turn is free again when every one has ended
        let _all = turns.acquire_many(parallel).await;
    }
}

/// A time between two, by chance that follows from a number.
pub(crate) fn between((least, most): (Duration, Duration), number: u64) -> Duration {
    // splitmix64 (Steele, Lea, Flood 2014): neighbouring numbers give unrelated times
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let span = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
    least + Duration::from_millis((mixed ^ mixed >> 31) % span.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_between_and_differ() {
        let span = (Duration::from_secs(5), Duration::from_secs(30));
        let times: Vec<Duration> = (0..1_000).map(|number| between(span, number)).collect();
        assert!(times.iter().all(|time| (span.0..=span.1).contains(time)));
        let mean = times.iter().sum::<Duration>() / 1_000;
        assert!((Duration::from_secs(16)..Duration::from_secs(19)).contains(&mean), "{mean:?}");
        assert_eq!(between((span.0, span.0), 7), span.0);
        assert_eq!(between((span.1, span.0), 7), span.1, "whatever is asked for, it ends");
    }
}
