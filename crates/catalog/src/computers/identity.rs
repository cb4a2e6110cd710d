//! What changes about the identity of a computer: its address range, its name, its hardware, the groups it asks for.
//!
//! MS-WUSP cannot keep one computer from speaking as another: an identity is a number that it says. What can be done is to
//! show it, because two computers with one identity differ, and each call of one looks like a change of the other.
//!
//! **Invariant:** of one computer at most [`MAX_CHANGES`] changes are kept, the oldest goes first, and repeated ones within
//! an hour are counted and not kept again; what is logged is bounded. Nothing here refuses anybody.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::fleet::Fleet;
use crate::error::CatalogError;
use crate::storage::lock::leaf;
use crate::storage::record;
use crate::storage::record::key;
use crate::values::computer::{Caller, Computer};
use tailwater_domain::{ComputerFacts, ComputerId, ComputerName, Limit, Subnet, limits};
use tailwater_runtime::LogThrottle;

/// The most changes that are kept of one computer.
pub const MAX_CHANGES: usize = 20;
/// How soon after a call from one range a call from another one is noted: a computer that moves takes longer to be
/// started, carried, or to get another address.
const MOVES_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// A change that was noted so lately is counted and not noted again.
const SAME_WITHIN: SignedDuration = SignedDuration::from_hours(1);

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_CHANGES in "changes": "Changes of a computer's identity that are kept of it" => "the oldest goes",
];

// not a limit: MOVES_WITHIN, SAME_WITHIN: what counts as one change

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityKind {
    /// It called from another range shortly after it had called from one.
    Address,
    /// Its name.
    Name,
    /// Its maker, model or firmware.
    Hardware,
    /// The groups that it asks for (client-side targeting).
    Groups,
    /// The name in its client certificate, or that it shows none any more.
    Certificate,
}

impl IdentityKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Address, Self::Name, Self::Hardware, Self::Groups, Self::Certificate];

    /// As the API and `/metrics` name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Name => "name",
            Self::Hardware => "hardware",
            Self::Groups => "groups",
            Self::Certificate => "certificate",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityChange {
    /// When.
    pub at: Timestamp,
    /// What changed.
    pub kind: IdentityKind,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
    /// The range of the address from which the other was said.
    pub from: Option<Subnet>,
    /// How often it was said within an hour of that.
    pub times: u32,
}

/// Counts of changes since this process began, and when the log was last told.
#[derive(Default)]
pub(crate) struct Identities {
    counts: Mutex<BTreeMap<IdentityKind, u64>>,
    log: LogThrottle,
}

impl Identities {
    /// Counts a change: how many there were since the last line of the log, when another is due.
    fn note(&self, kind: IdentityKind, now: Instant) -> Option<u64> {
        *leaf(&self.counts).entry(kind).or_default() += 1;
        self.log.note(now)
    }

    /// How many changes of each kind there were.
    fn counts(&self) -> BTreeMap<IdentityKind, u64> {
        leaf(&self.counts).clone()
    }
}

/// What hardware a computer says it is.
fn hardware(info: &ComputerFacts) -> String {
    [&info.manufacturer, &info.model, &info.bios_name, &info.oem].map(String::as_str).join(" / ")
}

/// What changed between two states of a computer that called. What was not known before did not change.
pub(crate) fn changes(
    before: &Computer,
    after: &Computer,
    caller: &Caller,
    now: Timestamp,
) -> Vec<IdentityChange> {
    let mut found = Vec::new();
    let range = caller.address.map(Subnet::of);
    let mut add = |kind, before: String, after: String| {
        found.push(IdentityChange { at: now, kind, before, after, from: range, times: 1 });
    };
    let is_other = |a: &str, b: &str| {
        !a.is_empty() && !b.is_empty() && ComputerName::folded(a) != ComputerName::folded(b)
    };
    if is_other(&before.dns_name, &after.dns_name) {
        add(IdentityKind::Name, before.dns_name.clone(), after.dns_name.clone());
    }
    if let (Some(old), Some(new)) = (&before.info, &after.info)
        && hardware(old) != hardware(new)
    {
        add(IdentityKind::Hardware, hardware(old), hardware(new));
    }
    if before.requested_groups != after.requested_groups {
        add(IdentityKind::Groups, before.requested_groups.join("; "), after.requested_groups.join("; "));
    }
    if before.certificate.is_some() && before.certificate != after.certificate {
        let shown = |name: &Option<String>| name.clone().unwrap_or_default();
        add(IdentityKind::Certificate, shown(&before.certificate), shown(&after.certificate));
    }
    if let (Some(old), Some(new)) = (before.range, range)
        && old != new
        // a computer with both kinds of addresses uses now one, now the other
        && old.address().is_ipv4() == new.address().is_ipv4()
    {
        // together with another change, however long ago
        let soon = now.duration_since(before.last_contact) < MOVES_WITHIN;
        let together =
            found.iter().any(|one| matches!(one.kind, IdentityKind::Name | IdentityKind::Hardware));
        if soon || together {
            found.push(IdentityChange {
                at: now,
                kind: IdentityKind::Address,
                before: old.to_string(),
                after: new.to_string(),
                from: range,
                times: 1,
            });
        }
    }
    found
}

impl Fleet {
    /// Notes changes of a member's identity: kept, counted, and told to the log once a minute. The caller holds
    /// `changing` of computers.
    pub(crate) fn note_changes(
        &self,
        id: &ComputerId,
        changes: Vec<IdentityChange>,
    ) -> Result<(), CatalogError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut kept = self.identity_changes(id)?;
        for change in changes {
            if let Some(count) = self.identities().note(change.kind, self.state().clock().instant()) {
                tracing::warn!(computer = %id, what = change.kind.as_str(), before = change.before, after = change.after,
                    from = change.from.map(tracing::field::display), since_the_last_line = count,
                    "a computer is not what it was; `tailwater computers show` tells more");
            }
            let same = kept.iter_mut().find(|known| {
                (known.kind, &known.before, &known.after) == (change.kind, &change.before, &change.after)
                    && change.at.duration_since(known.at).abs() < SAME_WITHIN
            });
            match same {
                Some(known) => known.times = known.times.saturating_add(1),
                None => kept.push(change),
            }
        }
        let over = kept.len().saturating_sub(MAX_CHANGES);
        kept.drain(..over);
        self.state().put_state((key::identity(id), Some(record::encode(&kept)?))).map(|_| ())
    }

    /// The changes of a computer's identity, the oldest first.
    pub(crate) fn identity_changes(&self, id: &ComputerId) -> Result<Vec<IdentityChange>, CatalogError> {
        match self.state().kv().get(&key::identity(id))? {
            Some(value) => record::decode('i', &value),
            None => Ok(Vec::new()),
        }
    }

    /// How many changes of each kind were noted since this process began.
    pub(crate) fn identity_counts(&self) -> BTreeMap<IdentityKind, u64> {
        self.identities().counts()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn computer() -> Computer {
        let mut computer =
            Computer::new(&ComputerId("pc-1".to_owned()), Timestamp::from_second(1_000_000).unwrap());
        computer.dns_name = "pc-1.example".to_owned();
        computer.info = Some(ComputerFacts { model: "Latitude".to_owned(), ..ComputerFacts::default() });
        computer.requested_groups = vec!["Office".to_owned()];
        computer.range = Some(Subnet::of(IpAddr::from([192, 0, 2, 1])));
        computer.certificate = Some("pc-1.example".to_owned());
        computer
    }

    #[test]
    fn what_two_computers_with_one_identity_differ_in_is_a_change() {
        type Edit = fn(&mut Computer);
        type Row = (&'static str, Edit, [u8; 4], i64, &'static [IdentityKind]);
        let table: [Row; 11] = [
            ("nothing", |_| {}, [192, 0, 2, 9], 5, &[]),
            (
                "a name",
                |it| "pc-2.example".clone_into(&mut it.dns_name),
                [192, 0, 2, 1],
                5,
                &[IdentityKind::Name],
            ),
            ("letter case", |it| "PC-1.example".clone_into(&mut it.dns_name), [192, 0, 2, 1], 5, &[]),
            ("no name", |it| it.dns_name.clear(), [192, 0, 2, 1], 5, &[]),
            (
                "a model",
                |it| it.info.as_mut().unwrap().model = "OptiPlex".to_owned(),
                [192, 0, 2, 1],
                5,
                &[IdentityKind::Hardware],
            ),
            ("a build", |it| it.info.as_mut().unwrap().os_build = 26_100, [192, 0, 2, 1], 5, &[]),
            (
                "a group",
                |it| it.requested_groups = vec!["Servers".to_owned()],
                [192, 0, 2, 1],
                5,
                &[IdentityKind::Groups],
            ),
            ("a certificate", |it| it.certificate = None, [192, 0, 2, 1], 5, &[IdentityKind::Certificate]),
            ("a range at once", |_| {}, [198, 51, 100, 1], 5, &[IdentityKind::Address]),
            ("a range a day later", |_| {}, [198, 51, 100, 1], 86_400, &[]),
            (
                "a range and a name a day later",
                |it| "pc-2.example".clone_into(&mut it.dns_name),
                [198, 51, 100, 1],
                86_400,
                &[IdentityKind::Name, IdentityKind::Address],
            ),
        ];
        for (what, edit, from, later, expected) in table {
            let (before, mut after) = (computer(), computer());
            edit(&mut after);
            let now = before.last_contact + SignedDuration::from_secs(later);
            let found = changes(&before, &after, &Caller::at(IpAddr::from(from)), now);
            assert_eq!(found.iter().map(|one| one.kind).collect::<Vec<_>>(), expected, "{what}");
        }
    }
}
