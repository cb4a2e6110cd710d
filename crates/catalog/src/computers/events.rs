//! What agents report, and what it says of updates (`ReportEventBatch`, [MS-WUSP] 2.2.2.3).
//!
//! As a real WSUS does: event 156 carries the whole picture, `V` what is installed and `U` what is needed;
//! 182 says that an installation failed; no other event changes what is known of an update.
//! Deviates: WSUS forgets a failure with the next 156; here it stays as long as the update is still needed,
//! because that is what an administrator looks for.
//!
//! **Invariant:** the same event again changes nothing; of one computer never more than the configured number
//! of events is kept, nothing of a computer that is no member, and no state of an update that the catalog does not know.

use std::collections::HashMap;

use uuid::Uuid;

use super::fleet::Fleet;
use crate::error::CatalogError;
use crate::storage::entries::entries;
use crate::storage::record;
use crate::storage::record::key;
use crate::values::computer::{Caller, Event, Failure, Status};
use crate::values::text::cut;
use tailwater_domain::{Activity, ComputerId, Limit, UpdateId, limits};

/// The agent's own events; others are kept, but say nothing of updates.
const NAMESPACE: i32 = 1;
/// Client status report.
const STATUS_REPORT: i32 = 156;
/// Installation failure.
const INSTALL_FAILED: i32 = 182;
/// The most updates kept of one list of a status report.
const MAX_UPDATES: usize = 10_000;
/// The longest text kept of an event, in characters.
const MAX_TEXT: usize = 512;
/// The most replacement strings kept of an event.
const MAX_TEXTS: usize = 8;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_UPDATES in "updates": "Updates in one list of what a computer reports" => "the rest is left out",
    MAX_TEXT in "characters": "A text of an event" => "it is cut",
    MAX_TEXTS in "texts": "Texts of an event" => "the rest is left out",
];
// not a limit: NAMESPACE, STATUS_REPORT, INSTALL_FAILED: numbers of events

/// The list `K=GUID;GUID…` of a status report, as far as it `is_known`; empty when it is absent.
fn list(event: &Event, name: char, is_known: impl Fn(&UpdateId) -> bool) -> Vec<UpdateId> {
    let found = event.misc.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
    let ids = found.unwrap_or_default().split(';').filter_map(|id| id.parse().ok());
    let mut ids: Vec<UpdateId> = ids.filter(is_known).take(MAX_UPDATES).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// What a status becomes by an event.
fn follow(status: &mut Status, event: &Event, now: jiff::Timestamp, is_known: impl Fn(&UpdateId) -> bool) {
    match (event.namespace, event.id, event.update) {
        (NAMESPACE, STATUS_REPORT, _) => {
            status.reported_at = Some(now);
            status.installed = list(event, 'V', &is_known);
            status.needed = list(event, 'U', &is_known);
            status.failed.retain(|failure| status.needed.binary_search(&failure.update).is_ok());
        }
        (NAMESPACE, INSTALL_FAILED, Some(identity)) if is_known(&identity.update) => {
            status.failed.retain(|failure| failure.update != identity.update);
            let failure = Failure { update: identity.update, result: event.result, at: event.at };
            status.failed.push(failure);
            if status.failed.len() > MAX_UPDATES {
                status.failed.remove(0);
            }
        }
        _ => {}
    }
}

/// The row an event is kept in: one for each instance where it is about an update, else one for each kind.
fn row(event: &Event) -> Uuid {
    match event.update {
        Some(_) => event.instance,
        None => Uuid::from_u64_pair(
            u64::from(event.namespace.cast_unsigned()),
            u64::from(event.id.cast_unsigned()),
        ),
    }
}

fn trimmed(mut event: Event) -> Event {
    event.misc = Vec::new();
    event.app = cut(&event.app, MAX_TEXT);
    event.replacements.truncate(MAX_TEXTS);
    for text in &mut event.replacements {
        *text = cut(text, MAX_TEXT);
    }
    event
}

/// What an event says of an installation.
fn activity(event: &Event) -> Option<Activity> {
    let update = event.update.filter(|_| event.namespace == NAMESPACE)?;
    let (succeeded, failed) = match event.id {
        183 | 190 | 191 | 197 | 199 => (1, 0),
        182 | 195 | 198 => (0, 1),
        _ => return None,
    };
    Some(Activity { update: update.update, revision: update.revision, succeeded, failed })
}

impl Fleet {
    /// Keeps what a member reports. What of it are installations that were not known before, to be added up.
    pub(crate) fn report(
        &self,
        caller: &Caller,
        id: &ComputerId,
        events: Vec<Event>,
    ) -> Result<Vec<Activity>, CatalogError> {
        let now = self.state().clock().now();
        if !self.reported(caller, id, now)? {
            return Ok(Vec::new());
        }
        let _one = self.changing();
        self.make_room_for_agents()?;
        let (before, snapshot) = (self.status(id)?, self.current().snapshot());
        let mut kept: HashMap<Uuid, Event> = HashMap::new();
        for (_, value) in entries(self.state().kv(), &key::events(id))? {
            let event: Event = record::decode('e', &value)?;
            kept.insert(row(&event), event);
        }
        let (mut status, mut fresh) = (before.clone(), Vec::new());
        let events: Vec<Event> = events
            .into_iter()
            .filter(|event| kept.get(&row(event)).is_none_or(|known| known.instance != event.instance))
            .collect();
        let installed: Vec<Activity> = events.iter().filter_map(activity).collect();
        for event in events {
            let row = row(&event);
            if kept.get(&row).is_some_and(|known| known.instance == event.instance) {
                continue;
            }
            // anybody can make identities of updates up
            let is_known = |update: &UpdateId| snapshot.view().world.update(update).is_some();
            follow(&mut status, &event, now, is_known);
            // an agent that did not scan since may still tell of what no bundle in force needs
            if event.id == STATUS_REPORT {
                status.needed.retain(|update| !snapshot.view().is_unneeded(update));
            }
            if event.id != STATUS_REPORT {
                kept.insert(row, trimmed(event));
                fresh.push(row);
            }
        }
        let mut order: Vec<(jiff::Timestamp, Uuid)> =
            kept.iter().map(|(row, event)| (event.at, *row)).collect();
        order.sort_unstable_by_key(|entry| std::cmp::Reverse(*entry));
        let mut ops: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        for (_, row) in order.iter().skip(self.config().max_events_per_computer) {
            kept.remove(row);
            ops.push((key::event(id, row), None));
        }
        for row in &fresh {
            if let Some(event) = kept.get(row) {
                ops.push((key::event(id, row), Some(record::encode(event)?)));
            }
        }
        // what it has and needs is worth more than what happened: where there is no room for both, that alone is kept
        if status != before {
            let op = (key::status(id), Some(record::encode(&status)?));
            if self.state().put_state(op)? {
                self.counts().ours(id, &before, &status);
            }
        }
        self.state().put_states(&ops)?;
        self.news().note(id);
        Ok(installed)
    }

    /// A computer's events, newest first.
    pub(crate) fn events(&self, id: &ComputerId) -> Result<Vec<Event>, CatalogError> {
        let found = entries(self.state().kv(), &key::events(id))?;
        let mut events: Vec<Event> =
            found.iter().map(|(_, value)| record::decode('e', value)).collect::<Result<_, _>>()?;
        events.sort_unstable_by_key(|event| std::cmp::Reverse((event.at, event.instance)));
        Ok(events)
    }
}
