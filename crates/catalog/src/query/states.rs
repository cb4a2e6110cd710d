//! Which computers say what of an update, which updates a computer speaks of, and how many computers there are where:
//! pages of them, by name.
//!
//! **Invariant:** of what computers reported only that of the rows of one page is read, however many computers there are.
//! It never changes anything.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::lookup::Query;
use crate::error::CatalogError;
use crate::query::rows::{ComputerState, Page, page_limit};
use crate::values::computer::State;
use crate::values::computer::{Computer, Status};
use crate::values::counts::Origin;
use crate::values::descendant::status_in_words;
use tailwater_domain::{ComputerId, GroupId, ServerId, UpdateId};

/// The rows of a page, in this order; the rest needs no order.
pub(super) fn page_of<T>(
    mut all: Vec<T>,
    offset: usize,
    limit: usize,
    order: impl Fn(&T, &T) -> Ordering,
) -> Vec<T> {
    let end = offset.saturating_add(limit);
    if end == 0 || offset >= all.len() {
        return Vec::new();
    }
    if end < all.len() {
        all.select_nth_unstable_by(end, &order);
        all.truncate(end);
    }
    all.sort_unstable_by(order);
    all.split_off(offset)
}

/// A computer that says something of an update.
struct Speaker {
    whose: Origin,
    computer: Arc<Computer>,
}

impl Query {
    pub(crate) fn states_of(
        &self,
        update: &UpdateId,
        offset: usize,
        limit: usize,
    ) -> Result<Page<ComputerState>, CatalogError> {
        let mut speakers = Vec::new();
        {
            let said = self.fleet().counts().all();
            let speaks = said.reports_on(update);
            let ours = self.fleet().members().all().into_iter().filter(|one| speaks(Origin::Ours, &one.id));
            speakers.extend(ours.map(|computer| Speaker { whose: Origin::Ours, computer }));
            let below =
                self.descendants().known().all().into_iter().filter(|one| speaks(Origin::Below, &one.id));
            let below = below.filter(|one| self.fleet().members().get(&one.id).is_none());
            speakers
                .extend(below.map(|one| Speaker { whose: Origin::Below, computer: Arc::new(one.shown()) }));
        }
        let total = speakers.len();
        let order = |a: &Speaker, b: &Speaker| {
            let below = (a.whose == Origin::Below).cmp(&(b.whose == Origin::Below));
            let (a, b) = (&a.computer, &b.computer);
            below.then_with(|| (&a.dns_name, &a.id).cmp(&(&b.dns_name, &b.id)))
        };
        let mut rows = Vec::new();
        for Speaker { whose, computer } in page_of(speakers, offset, page_limit(limit), order) {
            let status = match whose {
                Origin::Ours => self.fleet().status(&computer.id)?,
                Origin::Below => {
                    status_in_words(computer.last_report, &self.descendants().states(&computer.id)?)
                }
            };
            rows.push(row(&computer, &status, update, whose));
        }
        Ok(Page { rows, total, offset })
    }

    pub(crate) fn members_by_group(&self) -> HashMap<GroupId, usize> {
        let snapshot = self.current().snapshot();
        let decisions = &snapshot.view().decisions;
        let mut count: HashMap<GroupId, usize> = HashMap::new();
        let mut around: HashMap<Vec<GroupId>, Vec<GroupId>> = HashMap::new();
        for computer in self.fleet().members().all() {
            let above = around
                .entry(computer.groups.clone())
                .or_insert_with_key(|groups| decisions.around(groups).into_keys().collect());
            for group in above.iter() {
                *count.entry(*group).or_default() += 1;
            }
        }
        count
    }

    pub(crate) fn computers_by_server(&self) -> HashMap<ServerId, usize> {
        let mut count: HashMap<ServerId, usize> = HashMap::new();
        let mut chains: HashMap<ServerId, Vec<ServerId>> = HashMap::new();
        for one in self.descendants().known().all() {
            if self.fleet().members().get(&one.id).is_some() {
                continue;
            }
            let chain =
                chains.entry(one.parent).or_insert_with_key(|parent| self.servers().known().chain(parent));
            for server in chain.iter() {
                *count.entry(*server).or_default() += 1;
            }
        }
        count
    }

    pub(crate) fn computers_named(&self, texts: &[String]) -> Vec<Result<ComputerId, Vec<ComputerId>>> {
        let one = |text: &String| {
            let id = ComputerId(text.trim().to_lowercase());
            if self.fleet().members().get(&id).is_some() || self.descendants().known().get(&id).is_some() {
                return Ok(id);
            }
            let mut named = self.everyone_named(text.trim());
            match (named.len(), named.pop()) {
                (1, Some(one)) => Ok(one),
                (0, _) => self.only_one_with_words(text).ok_or_else(Vec::new),
                (_, last) => {
                    named.extend(last);
                    Err(named)
                }
            }
        };
        texts.iter().map(one).collect()
    }
}

fn row(computer: &Computer, status: &Status, update: &UpdateId, whose: Origin) -> ComputerState {
    let failure = status.failed.iter().find(|failure| failure.update == *update);
    ComputerState {
        computer: computer.id.clone(),
        dns_name: computer.dns_name.clone(),
        state: status.state_of(update),
        // servers below do not tell why
        result: failure.filter(|_| whose == Origin::Ours).map(|failure| failure.result),
    }
}

/// What a computer says of one update, with when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateWord {
    /// The update.
    pub update: UpdateId,
    /// What it says.
    pub state: State,
    /// Since when, by the agent's clock for failures, else when it reported.
    pub since: Option<jiff::Timestamp>,
    /// The error, if it failed.
    pub result: Option<i32>,
}

impl Status {
    /// The updates it speaks of: those that failed first, then needed, then installed ones. `only` one state, or all.
    pub fn words(&self, only: Option<State>, offset: usize, limit: usize) -> Page<UpdateWord> {
        let failed: HashSet<&UpdateId> = self.failed.iter().map(|failure| &failure.update).collect();
        let of = |state| only.is_none_or(|only| only == state);
        let plain = |update: &UpdateId, state| UpdateWord {
            update: *update,
            state,
            since: self.reported_at,
            result: None,
        };
        let failures = self.failed.iter().filter(|_| of(State::Failed)).map(|failure| UpdateWord {
            update: failure.update,
            state: State::Failed,
            since: Some(failure.at),
            result: Some(failure.result),
        });
        let needed = self.needed.iter().filter(|id| of(State::Needed) && !failed.contains(id));
        let installed = self.installed.iter().filter(|_| of(State::Installed));
        let all = || {
            let needed = needed.clone().map(|id| plain(id, State::Needed));
            failures.clone().chain(needed).chain(installed.clone().map(|id| plain(id, State::Installed)))
        };
        Page { rows: all().skip(offset).take(page_limit(limit)).collect(), total: all().count(), offset }
    }
}
