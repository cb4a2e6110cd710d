//! A computer of a server below, as a value.
//!
//! **Invariant:** every text and list is cut to a limit before it is kept. It is no agent of ours: nothing is offered to
//! it from here.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::values::computer::{Computer, Failure, Status};
use crate::values::counts::Counts;
use crate::values::text::cut;
use tailwater_domain::{
    ComputerDetails, ComputerFacts, ComputerId, ComputerName, Limit, RolledComputer, ServerId, Summarization,
    SyncResult, UpdateId, UpdateStatus, limits,
};

/// The longest text that is kept, in characters.
const MAX_TEXT: usize = 256;
/// The most groups that are kept of one.
const MAX_GROUPS: usize = 64;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_TEXT in "characters": "A text of a computer below" => "it is cut",
    MAX_GROUPS in "groups": "Groups kept of a computer below" => "they are passed over",
];

/// A computer that gets its updates from a server below this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descendant {
    /// What it calls itself.
    pub id: ComputerId,
    /// The server it gets its updates from.
    pub parent: ServerId,
    /// What it is; none until its server told.
    pub details: Option<ComputerDetails>,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it last asked its server for updates.
    pub last_sync: Option<Timestamp>,
    /// How that went.
    pub last_result: SyncResult,
    /// When it last told that it had started.
    pub last_reboot: Option<Timestamp>,
    /// When it last told what it has.
    pub last_status: Option<Timestamp>,
    /// When it last told its inventory.
    pub last_inventory: Option<Timestamp>,
    /// When the newest update it told of became available at its server.
    pub effective_detection: Option<Timestamp>,
    /// The number of the last report of what it has.
    pub number: i32,
}

impl Descendant {
    /// What a roll-up says of it; what it does not say stays.
    pub(crate) fn updated(before: Option<&Self>, row: RolledComputer, now: Timestamp) -> Self {
        Self {
            details: row.details.map(trimmed).or_else(|| before.and_then(|before| before.details.clone())),
            first_seen: before.map_or(now, |before| before.first_seen),
            effective_detection: before.and_then(|before| before.effective_detection),
            number: before.map_or(0, |before| before.number),
            id: row.id,
            parent: row.parent,
            last_sync: row.last_sync,
            last_result: row.last_result,
            last_reboot: row.last_reboot,
            last_status: row.last_status,
            last_inventory: row.last_inventory,
        }
    }

    /// Its name; empty until its server told.
    pub(crate) fn name(&self) -> &str {
        self.details.as_ref().map_or("", |details| &details.name)
    }

    /// When it was last heard of, as far as its server told.
    pub(crate) fn heard(&self) -> Timestamp {
        self.last_sync.unwrap_or(self.first_seen)
    }

    /// As it is told upward, details included.
    pub(crate) fn told(&self) -> RolledComputer {
        RolledComputer {
            id: self.id.clone(),
            last_sync: self.last_sync,
            last_result: self.last_result,
            last_reboot: self.last_reboot,
            last_status: self.last_status,
            last_inventory: self.last_inventory,
            parent: self.parent,
            details: self
                .details
                .clone()
                .map(|details| ComputerDetails { name: told_name(&details.name), ..details }),
        }
    }

    /// As lists show it.
    pub(crate) fn shown(&self) -> Computer {
        let details = self.details.clone().unwrap_or_default();
        Computer {
            id: self.id.clone(),
            dns_name: details.name.clone(),
            groups: details.groups.clone(),
            requested_groups: details.requested_groups.clone(),
            info: self.details.clone().map(ComputerFacts::from),
            device_attributes: None,
            first_seen: self.first_seen,
            last_contact: self.last_sync.unwrap_or(self.first_seen),
            last_report: self.last_status,
            moved_at: 0,
            scanned: true,
            range: None,
            certificate: None,
        }
    }
}

fn trimmed(mut details: ComputerDetails) -> ComputerDetails {
    details.groups.truncate(MAX_GROUPS);
    details.requested_groups.truncate(MAX_GROUPS);
    let texts = [
        &mut details.name,
        &mut details.os.locale,
        &mut details.os.architecture,
        &mut details.os_description,
        &mut details.make,
        &mut details.model,
        &mut details.bios_version,
        &mut details.bios_name,
        &mut details.bios_date,
        &mut details.client_version,
    ];
    for text in texts.into_iter().chain(&mut details.requested_groups) {
        *text = cut(text, MAX_TEXT);
    }
    details
}

/// A name as it is told upward: one that an earlier program kept and that is none now is not told, because the
/// upstream would refuse all that came with it.
fn told_name(name: &str) -> String {
    ComputerName::parse(name).map(ComputerName::into_string).unwrap_or_default()
}

/// What an agent of ours is, as it is told upward.
pub(crate) fn details_of(computer: &Computer) -> ComputerDetails {
    let groups = match &computer.groups[..] {
        [] => vec![tailwater_domain::GroupId::UNASSIGNED_COMPUTERS],
        groups => groups.to_vec(),
    };
    ComputerDetails {
        groups,
        requested_groups: computer.requested_groups.clone(),
        name: told_name(&computer.dns_name),
        ..computer.info.as_ref().map(ComputerFacts::details).unwrap_or_default()
    }
}

/// One row of what a computer below says: update, state on the wire, second of its change.
pub(crate) type Row = (Uuid, u8, i64);

/// As it is kept. States on the wire are one digit; what is none counts as unknown, which is 0.
pub(crate) fn row_of(status: &UpdateStatus) -> Row {
    (status.update.0, u8::try_from(status.state.number()).unwrap_or_default(), status.changed.as_second())
}

/// As it was told.
pub(crate) fn status_of(row: &Row) -> UpdateStatus {
    UpdateStatus {
        update: UpdateId(row.0),
        state: Summarization::of(i32::from(row.1)).unwrap_or(Summarization::NotApplicable),
        changed: Timestamp::from_second(row.2).unwrap_or_default(),
    }
}

/// How a state counts: installed, needed, failed. What failed is needed as well.
pub(crate) fn counted(state: u8) -> Counts {
    let one = |counts: bool| u32::from(counts);
    Counts {
        installed: one(matches!(state, 4 | 6)),
        needed: one(matches!(state, 2 | 3 | 5)),
        failed: one(state == 5),
    }
}

/// In the words of what agents of ours report.
pub(crate) fn status_in_words(reported_at: Option<Timestamp>, rows: &[Row]) -> Status {
    let of = |wanted: fn(&Counts) -> u32| {
        rows.iter().filter(move |row| wanted(&counted(row.1)) > 0).map(|row| UpdateId(row.0))
    };
    let failed = rows.iter().filter(|row| row.1 == 5).map(status_of);
    Status {
        reported_at,
        installed: of(|counts| counts.installed).collect(),
        needed: of(|counts| counts.needed).collect(),
        failed: failed.map(|row| Failure { update: row.update, result: 0, at: row.changed }).collect(),
    }
}
