//! The budget of a link at work: what may be granted is booked on disk first, and what was received is counted.
//!
//! **Invariant:** what was received, and what is granted and in flight, never exceeds what is durably booked for
//! the day, so that a kill counts at most one block and the grants in flight too much and never too little. A day of
//! the calendar counts once, however the clock is set. It never slows anything: that is the quota's part.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::allowance::{BudgetConfig, BudgetLine, BudgetPace, Spent, end_of_day, midnight};
use super::budget_file::BudgetFile;
use super::standing::{BudgetStatus, Standing};
use crate::LinkError;
use tailwater_domain::{Class, Limit, limits};
use tailwater_durable::Disk;
use tailwater_runtime::{Clock, Tasks};

/// What is booked ahead: so many parts of the smallest budget, within these bounds. The smallest costs 50 writes a
/// second at 100 Mbit/s, the largest 8 at 1 Gbit/s.
const PARTS: u64 = 1024;
const LEAST_BLOCK: u64 = 256 * 1024;
const MOST_BLOCK: u64 = 16 * 1024 * 1024;

/// Smaller grants are not worth a turn.
const LEAST_GRANT: u64 = 4 * 1024;

/// A budget whose rest is granted elsewhere is waited for so long; then those who wait are told that it is spent, so that
/// their unused grants go to others.
const STALL: Duration = Duration::from_secs(2);

/// After so long without a byte, what was booked and not used is given back on disk.
const IDLE: Duration = Duration::from_secs(10);

/// Between two checks of the clock: it may be set.
const CLOCK_CHECK: Duration = Duration::from_secs(1);

/// A clock that was set back is accepted after it ran so long: by then a day has passed in any case.
const DAY: Duration = Duration::from_hours(24);

pub(super) const LIMITS: &[Limit] = limits![
    MOST_BLOCK in "bytes": "What is booked of a budget at once" => "it is booked in further blocks",
    STALL: "The wait for the rest of a budget that was granted to others" => "the budget counts as spent",
];

// not a limit: LEAST_GRANT, IDLE, DAY: how a budget is booked

/// What a class may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Take up to so many bytes.
    Open(u64),
    /// Wait for a booking, or for what others do not use.
    Wait,
    /// Nothing until the budget begins anew.
    Spent,
}

/// The budget of a link. Cheap to clone; clones spend together.
#[derive(Clone)]
pub struct Budget(Arc<SharedBudget>);

struct SharedBudget {
    config: BudgetConfig,
    block: u64,
    state: Mutex<BudgetState>,
    file: Mutex<BudgetFile>,
    /// More must be booked.
    book: Notify,
    clock: Clock,
}

struct BudgetState {
    /// The day that counts, and its instants.
    date: Date,
    span: (Timestamp, Timestamp),
    /// Since when the clock shows an earlier day.
    behind: Option<Instant>,
    /// Received.
    spent: Spent,
    /// What the disk says.
    booked: Spent,
    /// Granted and not received yet.
    outstanding: u64,
    /// Counts grants, receipts and what is given back.
    activity: u64,
    /// When the last activity was noticed, and its count.
    last_activity: (u64, Instant),
    /// What the log says.
    logged: Standing,
    /// Why nothing is booked, once it is logged.
    trouble: Option<String>,
    /// To whom failed writes are reported.
    disk: Option<Disk>,
}

impl Budget {
    /// A budget whose account is kept in this file.
    ///
    /// # Errors
    /// [`LinkError::BudgetFile`] when the file cannot be read or made.
    pub fn open(config: BudgetConfig, path: &Path, clock: &Clock) -> Result<Self, LinkError> {
        let (file, found) = BudgetFile::open(path)?;
        let smallest = config.daily.iter().chain(&config.monthly).map(|limit| limit.0).min();
        let block = (smallest.unwrap_or(u64::MAX) / PARTS).clamp(LEAST_BLOCK, MOST_BLOCK);
        let now = clock.now();
        let today = config.zone.to_datetime(now).date();
        let spent = found.unwrap_or_else(|| {
            let everything = config.daily.max(config.monthly).map_or(0, |limit| limit.0);
            tracing::error!(
                path = %path.display(),
                "the account of the link's budget is damaged; the budget counts as spent. To begin anew, stop the \
                 server, remove the file and start it"
            );
            let mut spent = Spent::default();
            spent.add(today, everything, now);
            spent
        });
        // a clock that lost its time does not give a day twice
        let date = spent.last().map_or(today, |last| last.max(today));
        let instant = clock.instant();
        let state = BudgetState {
            date,
            span: (midnight(date, &config.zone), end_of_day(date, &config.zone)),
            behind: None,
            booked: spent.clone(),
            spent,
            outstanding: 0,
            activity: 0,
            last_activity: (0, instant),
            logged: Standing::Open,
            trouble: None,
            disk: None,
        };
        let inner = SharedBudget {
            config,
            block,
            state: Mutex::new(state),
            file: Mutex::new(file),
            book: Notify::new(),
            clock: clock.clone(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Books ahead until shutdown; `changed` is notified when something may go on.
    pub(crate) fn start(&self, changed: &Arc<Notify>, tasks: &Tasks) {
        let (budget, changed, stopping) = (self.clone(), Arc::clone(changed), tasks.stopping());
        tasks.spawn("link-budget", async move {
            loop {
                budget.book(false).await;
                changed.notify_one();
                tokio::select! {
                    () = budget.0.book.notified() => {}
                    () = budget.0.clock.sleep(CLOCK_CHECK) => {}
                    () = stopping.cancelled() => break,
                }
            }
            budget.book(true).await;
        });
    }

    /// Somebody waits who may spend: that is what lets more be booked after a pause.
    pub(crate) fn note_demand(&self) {
        let mut state = self.0.state();
        if state.booked.on(state.date) < state.spent.on(state.date) + state.outstanding + LEAST_GRANT {
            state.activity += 1;
            drop(state);
            self.0.book.notify_one();
        }
    }

    /// What each class may do now.
    pub(crate) fn gates(&self) -> [Gate; Class::ALL.len()] {
        let mut state = self.0.today();
        let ahead =
            state.booked.on(state.date).saturating_sub(state.spent.on(state.date) + state.outstanding);
        let mut short = false;
        let (now, outstanding, date) = (self.0.clock.instant(), state.outstanding, state.date);
        if state.last_activity.0 != state.activity {
            state.last_activity = (state.activity, now);
        }
        let stalled = now.duration_since(state.last_activity.1) >= STALL;
        let gates = Class::ALL.map(|class| {
            let left = self.0.config.left(&state.spent, date, class);
            let free = left.saturating_sub(outstanding);
            if left == 0 {
                Gate::Spent
            } else if free < LEAST_GRANT {
                if stalled && outstanding > 0 { Gate::Spent } else { Gate::Wait }
            } else if ahead < LEAST_GRANT {
                short = true;
                Gate::Wait
            } else {
                Gate::Open(free.min(ahead))
            }
        });
        drop(state);
        if short || ahead < self.0.block / 2 {
            self.0.book.notify_one();
        }
        gates
    }

    /// Grants what a [`Gate`] allowed.
    pub(crate) fn take(&self, bytes: u64) {
        let mut state = self.0.state();
        state.outstanding += bytes;
        state.activity += 1;
    }

    /// What was granted will not arrive.
    pub(crate) fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            let mut state = self.0.state();
            state.outstanding = state.outstanding.saturating_sub(bytes);
            state.activity += 1;
        }
    }

    /// What was granted arrived.
    pub(crate) fn received(&self, bytes: u64) {
        self.count(bytes, bytes);
    }

    /// What nobody asked for arrived; what was granted for it is given back elsewhere.
    pub(crate) fn received_beside(&self, bytes: u64) {
        self.count(bytes, 0);
    }

    fn count(&self, bytes: u64, granted: u64) {
        let mut state = self.0.today();
        state.outstanding = state.outstanding.saturating_sub(granted);
        state.activity += 1;
        let (date, now) = (state.date, self.0.clock.now());
        state.spent.add(date, bytes, now);
    }

    /// Until when a class may take nothing; `None` while it may.
    pub fn spent_until(&self, class: Class) -> Option<Timestamp> {
        let state = self.0.today();
        let config = &self.0.config;
        (config.left(&state.spent, state.date, class) == 0)
            .then(|| config.renews(&state.spent, state.date, class))
    }

    /// What is left for whoever may still spend, the least of them first.
    pub(crate) fn left(&self) -> u64 {
        let state = self.0.today();
        let left = Class::ALL.map(|class| self.0.config.left(&state.spent, state.date, class));
        left.into_iter().filter(|left| *left > 0).min().unwrap_or_default()
    }

    /// As it stands.
    pub fn status(&self) -> BudgetStatus {
        self.status_at(None)
    }

    /// The same, with its forecast at a known pace instead of the one that was seen since the budget began.
    pub fn status_at(&self, pace: Option<BudgetPace>) -> BudgetStatus {
        let (now, state, config) = (self.0.clock.now(), self.0.today(), &self.0.config);
        let [daily, monthly] = config.lines(&state.spent, state.date, now, pace);
        let waiting = Class::ALL.into_iter().rev();
        let waiting = waiting.filter(|class| config.left(&state.spent, state.date, *class) == 0);
        let until = waiting.map(|class| config.renews(&state.spent, state.date, class)).min();
        BudgetStatus {
            standing: self.0.standing(&state),
            daily,
            monthly,
            urgent: config.urgent.clone(),
            when_spent: config.when_spent,
            time_zone: config.zone.iana_name().unwrap_or("this machine's").to_owned(),
            date: state.date,
            until,
            block: self.0.block,
            trouble: state.trouble.clone(),
        }
    }

    /// Reports to the state of the disk when the file cannot be written.
    pub fn report_to(&self, disk: &Disk) {
        self.0.state().disk = Some(disk.clone());
    }

    /// Writes what is to be booked, if anything.
    async fn book(&self, last: bool) {
        let Some((due_booking, date)) = self.0.due_booking(last) else { return };
        let (inner, written) = (Arc::clone(&self.0), due_booking.clone());
        let write = move || inner.file.lock().unwrap_or_else(PoisonError::into_inner).write(&written);
        let written_down = tokio::task::spawn_blocking(write).await;
        if let (Some(disk), Ok(written)) = (self.0.state().disk.clone(), &written_down) {
            match written {
                Err(LinkError::BudgetFile { source, .. }) => disk.failed("budget", source),
                _ => disk.works("budget"),
            }
        }
        let result = match written_down {
            Ok(result) => result.map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error))),
            Err(error) => Err(error.to_string()),
        };
        let mut state = self.0.state();
        match result {
            Ok(()) => {
                if state.trouble.take().is_some() {
                    tracing::info!("the link's budget can be booked again");
                }
                state.booked = due_booking;
                tracing::trace!(%date, booked = state.booked.on(date), "booked");
            }
            Err(error) => {
                if state.trouble.is_none() {
                    tracing::error!(%error, "the link's budget cannot be booked, so nothing is taken from upstream");
                }
                state.trouble = Some(error);
            }
        }
    }
}

impl SharedBudget {
    fn state(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, on the day that counts now.
    fn today(&self) -> MutexGuard<'_, BudgetState> {
        let mut state = self.state();
        let now = self.clock.now();
        if state.span.0 <= now && now < state.span.1 {
            state.behind = None;
            return state;
        }
        let date = self.config.zone.to_datetime(now).date();
        let last = state.date;
        if date < last {
            let instant = self.clock.instant();
            if instant.duration_since(*state.behind.get_or_insert(instant)) < DAY {
                return state;
            }
            tracing::warn!(%date, counted_on = %last, "the clock was set back; a day later it is accepted");
            state.spent.move_day(last, date);
        }
        state.behind = None;
        state.date = date;
        state.span = (midnight(date, &self.config.zone), end_of_day(date, &self.config.zone));
        state
    }

    fn standing(&self, state: &BudgetState) -> Standing {
        let open = |class: &Class| self.config.left(&state.spent, state.date, *class) > 0;
        match Class::ALL.iter().filter(|class| open(class)).count() {
            0 => Standing::Spent,
            count if count == Class::ALL.len() => Standing::Open,
            _ => Standing::Urgent,
        }
    }

    /// What the disk should say, when that is not what it says; with the day.
    fn due_booking(&self, last: bool) -> Option<(Spent, Date)> {
        let mut state = self.today();
        let standing = self.standing(&state);
        if standing != state.logged {
            let [daily, monthly] = self.config.lines(&state.spent, state.date, self.clock.now(), None);
            let spent = |line: Option<BudgetLine>| line.map(|line| line.spent);
            tracing::info!(before = ?state.logged, now = ?standing, date = %state.date, spent_today = spent(daily),
                spent_this_month = spent(monthly), "the link's budget");
            state.logged = standing;
        }
        let date = state.date;
        let now = self.clock.instant();
        if state.last_activity.0 != state.activity {
            state.last_activity = (state.activity, now);
        }
        let needed = state.spent.on(date) + state.outstanding;
        let booked = state.booked.on(date);
        let idle = last || now.duration_since(state.last_activity.1) >= IDLE;
        let ahead = booked.saturating_sub(needed);
        let aim = match idle {
            true if booked == needed => return None,
            true => needed,
            false if ahead >= self.block / 2 => return None,
            false => needed + self.block,
        };
        let mut due_booking = state.spent.clone();
        due_booking.raise(date, aim);
        if aim < booked {
            // nothing is granted on what is about to be given back
            state.booked = due_booking.clone();
        }
        Some((due_booking, date))
    }
}

#[cfg(test)]
mod tests;
