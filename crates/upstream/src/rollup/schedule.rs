//! When roll-ups start by themselves: within a minute after computers said something, after a synchronisation, and daily.
//!
//! Invariant: a roll-up that fails is tried again and fails nothing else; what there is to tell after a synchronisation
//! that nobody asked for waits until the last roll-up is ten minutes old. It never runs two at once.
//! Deviates: Windows rolls up after every synchronisation, even when there is nothing to tell.

use jiff::{SignedDuration, Timestamp};

use super::pace::Pace;
use super::request::RollupRequest;
use super::round::{Kept, Rollup, RollupReport};
use crate::blocking::blocking;
use crate::client::chance;
use crate::config::Mode;
use crate::error::SyncError;
use crate::handle::{Upstream, UpstreamState};
use crate::ingest::chain;
use crate::schedule::retry_at;
use crate::{root, session};
use tailwater_domain::ServerId;
use tailwater_runtime::{Waited, is_recent};

/// How old the last roll-up may become.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How far the daily one is put off by chance, so that a thousand sites do not tell at once.
const JITTER: SignedDuration = SignedDuration::from_mins(30);
/// How old the last one must be for another one that nobody asked for.
const PAUSE: SignedDuration = SignedDuration::from_mins(10);

// not a limit: DAY, PAUSE: when roll-ups are due

impl Upstream {
    /// Tells the upstream what there is to tell, now.
    ///
    /// # Errors
    /// When it cannot be reached or refuses; what it took before is not told again.
    pub async fn roll_up(&self) -> Result<RollupReport, SyncError> {
        let _one = self.0.activity.rolling.lock().await;
        self.0.rollup().await?.run().await
    }

    /// The last roll-up that succeeded.
    pub fn last_rollup(&self) -> Option<RollupReport> {
        // only shown: what cannot be read now is as if there were none
        Kept::load(&self.0.catalog, &self.0.config.url).ok()?.last
    }

    /// Starts the worker that rolls up. Microsoft's own service takes none.
    pub fn start_rollups(&self) {
        if root::is_needed(&self.0.config.url) {
            return;
        }
        let upstream = self.clone();
        self.0.tasks.spawn("roll-ups", async move { upstream.keep_rolling_up().await });
    }

    async fn keep_rolling_up(&self) {
        let inner = &self.0;
        let (stopping, mut requests) = (inner.tasks.stopping(), inner.activity.rollup_requests.subscribe());
        let mut news = inner.catalog.computer_news();
        let now = inner.clock.now();
        // one in the future is that of a clock which was ahead: it is taken to be due
        let told = |at: Timestamp| if at > now { now.saturating_sub(DAY).unwrap_or(now) } else { at };
        let mut pace = Pace::new(self.last_rollup().map(|report| told(report.at)));
        // drawn once, so that news which come meanwhile do not put it off
        let mut due = self.next_whole(&pace);
        loop {
            if pace.not_after(inner.clock.now()) {
                due = self.next_whole(&pace);
            }
            let told = tokio::select! {
                () = stopping.cancelled() => return,
                changed = news.changed() => match changed {
                    Ok(()) => {
                        // while one gathers, what comes is gathered with it, and ticks need not be heard
                        pace.heard(inner.clock.now());
                        continue;
                    }
                    Err(_gone) => return,
                },
                waited = self.wait_until(pace.due()) => {
                    if waited == Waited::SetBack {
                        due = self.next_whole(&pace);
                        continue;
                    }
                    tokio::select! {
                        () = self.roll_up_news(&mut pace) => {}
                        () = stopping.cancelled() => return,
                    }
                    if pace.failures > 0 {
                        due = self.next_whole(&pace);
                    }
                    continue;
                },
                changed = requests.changed() => match changed {
                    Ok(()) => Some(*requests.borrow_and_update()),
                    Err(_gone) => return,
                },
                waited = self.wait_until(due) => {
                    if waited == Waited::SetBack {
                        due = self.next_whole(&pace);
                        continue;
                    }
                    None
                }
            };
            let recent = pace.whole.is_some_and(|last| is_recent(last, PAUSE, inner.clock.now()));
            let start = match told {
                Some(RollupRequest::None) => false,
                Some(RollupRequest::Scheduled) => !recent && self.has_news(pace.whole).await,
                Some(RollupRequest::Demanded) => self.has_news(pace.whole).await,
                None => true,
            };
            if !start {
                continue;
            }
            tokio::select! {
                () = self.roll_up_whole(&mut pace) => {}
                () = stopping.cancelled() => return,
            }
            due = self.next_whole(&pace);
        }
    }

    async fn roll_up_whole(&self, pace: &mut Pace) {
        match self.roll_up().await {
            Ok(report) => {
                pace.told_all(report.at);
                tell(&report);
            }
            Err(SyncError::Status { status: 404, .. }) => {
                // not every upstream listens; the next day it may be another one
                pace.nobody_listens(self.0.clock.now());
                tracing::info!("the upstream has no reporting service: computers are not rolled up");
            }
            Err(error) => {
                pace.failed();
                tracing::warn!(error = %chain(&error), "the roll-up failed; retrying later");
            }
        }
    }

    /// When everything is told next: the next attempt after a failure, else a day after the last time.
    fn next_whole(&self, pace: &Pace) -> Option<Timestamp> {
        if pace.failures > 0 {
            return Some(retry_at(self.0.clock.now(), pace.failures));
        }
        // nobody knows this server upstream before it synchronised once
        let whole = pace.whole.map(|last| self.0.clock.not_after_now(last));
        whole.map(|last| after(last, DAY + JITTER.mul_f64(chance())))
    }

    /// Tells what computers said since the last time.
    async fn roll_up_news(&self, pace: &mut Pace) {
        let told = {
            let _one = self.0.activity.rolling.lock().await;
            async {
                let rollup = self.0.rollup().await?;
                match self.0.catalog.take_computer_news() {
                    Some(ids) => rollup.run_for(ids).await,
                    None => rollup.run().await.map(Some),
                }
            }
            .await
        };
        pace.told_news(self.0.clock.now());
        match told {
            Ok(Some(report)) => tell(&report),
            Ok(None) => {}
            Err(error) => {
                // all of it is looked at then, so that nothing is forgotten
                pace.failed();
                tracing::warn!(error = %chain(&error), "the roll-up of computers failed; retrying later");
            }
        }
    }

    /// Whether there is something to tell; always when the upstream was told nothing yet, or nothing for a day.
    async fn has_news(&self, last: Option<Timestamp>) -> bool {
        let old = last.is_none_or(|last| !is_recent(last, DAY, self.0.clock.now()));
        if old {
            return true;
        }
        let asked = async { self.0.rollup().await?.has_news().await };
        asked.await.unwrap_or(true)
    }

    async fn wait_until(&self, due: Option<Timestamp>) -> Waited {
        match due {
            Some(due) => self.0.clock.wait_until(due).await,
            None => std::future::pending().await,
        }
    }
}

fn after(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

fn tell(report: &RollupReport) {
    let RollupReport { servers, computers, statuses, sent, .. } = *report;
    tracing::info!(servers, computers, statuses, sent, "rolled up to the upstream");
}

impl UpstreamState {
    async fn rollup(&self) -> Result<Rollup, SyncError> {
        let catalog = self.catalog.clone();
        let ours = blocking(move || session::account_id(&catalog)).await??;
        Ok(Rollup {
            session: self.session().await?,
            catalog: self.catalog.clone(),
            clock: self.clock.clone(),
            ours: ServerId(ours),
            is_replica: self.config.mode == Mode::Replica,
            url: self.config.url.clone(),
            stopping: self.tasks.stopping(),
        })
    }
}
