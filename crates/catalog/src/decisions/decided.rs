//! What administrators decided, in memory: approvals, declines, groups.
//!
//! **Invariant:** the two well-known groups always exist; every other group lies below All Computers. It
//! never changes in place: a decision makes a new value, and snapshots keep theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::acceptance::Acceptance;
use super::decision::Decision;
use crate::error::CatalogError;
use crate::storage::entries::entries;
use crate::storage::record;
use crate::storage::record::key;
use crate::values::computer::Group;
use crate::values::payload_key::{Keys, PayloadKey};
use tailwater_domain::{GroupId, Sha1Digest, UpdateId, UpdateIdentity};
use tailwater_kv::Kv;

/// Version of the record of damage: the second knows since when.
const DAMAGE_VERSION: u8 = 2;

// not a limit: DAMAGE_VERSION: a version of a record

/// A revision whose stored texts are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Damage {
    pub identity: UpdateIdentity,
    /// Change number at which it was noticed; 0 where that was not recorded.
    pub change: u64,
}

impl Damage {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CatalogError> {
        record::encode_as(DAMAGE_VERSION, self)
    }

    /// Reads a record of either version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CatalogError> {
        match bytes.split_first() {
            Some((&DAMAGE_VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|source| CatalogError::Record { kind: 'q', source })
            }
            Some((&found, _)) if found > DAMAGE_VERSION => {
                Err(CatalogError::Newer { found, known: DAMAGE_VERSION })
            }
            _ => Ok(Self { identity: record::decode('q', bytes)?, change: 0 }),
        }
    }
}

/// Everything decided, and which revisions are damaged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decisions {
    pub updates: HashMap<UpdateId, Arc<Decision>>,
    pub groups: HashMap<GroupId, Group>,
    pub damaged: HashMap<u32, Damage>,
    /// The newest change number of a decision.
    pub change: u64,
    /// License terms that were accepted upstream.
    pub eulas: BTreeSet<Uuid>,
    /// The keys of encrypted payloads: no decision, but like one they change what is offered.
    pub keys: Arc<Keys>,
    /// License terms that were accepted here.
    pub accepted: BTreeMap<Uuid, Acceptance>,
}

/// The two groups that every store has.
pub(crate) fn well_known() -> [Group; 2] {
    let all = GroupId::ALL_COMPUTERS;
    [
        Group { id: all, name: "All Computers".to_owned(), parent: None, depth: 0 },
        Group {
            id: GroupId::UNASSIGNED_COMPUTERS,
            name: "Unassigned Computers".to_owned(),
            parent: Some(all),
            depth: 1,
        },
    ]
}

impl Decisions {
    /// Whether terms were accepted here or upstream.
    pub(crate) fn has_accepted(&self, id: &Uuid) -> bool {
        self.accepted.contains_key(id) || self.eulas.contains(id)
    }
}

impl Decisions {
    /// These groups and all around them, with their depth. None means Unassigned Computers; groups that are
    /// gone count as none.
    pub(crate) fn around(&self, groups: &[GroupId]) -> HashMap<GroupId, u32> {
        let mut known: Vec<&Group> = groups.iter().filter_map(|id| self.groups.get(id)).collect();
        if known.is_empty() {
            known.extend(self.groups.get(&GroupId::UNASSIGNED_COMPUTERS));
        }
        let mut around = HashMap::from([(GroupId::ALL_COMPUTERS, 0)]);
        for group in known {
            let mut next = Some(group);
            while let Some(group) = next {
                around.insert(group.id, group.depth);
                next = group.parent.and_then(|parent| self.groups.get(&parent));
            }
        }
        around
    }

    /// A group and those below it.
    pub(crate) fn below(&self, group: &GroupId) -> Vec<GroupId> {
        let mut found = vec![*group];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            let children = self.groups.values().filter(|other| other.parent == Some(parent));
            found.extend(children.map(|child| child.id));
            next += 1;
        }
        found
    }

    /// All groups as the tree that they are: each one followed by what lies below it, by name.
    pub(crate) fn sorted(&self) -> Vec<Group> {
        let mut below: HashMap<Option<GroupId>, Vec<&Group>> = HashMap::new();
        for group in self.groups.values() {
            below.entry(group.parent).or_default().push(group);
        }
        for groups in below.values_mut() {
            // taken from the end
            groups.sort_by_cached_key(|group| std::cmp::Reverse((group.name.to_lowercase(), group.id)));
        }
        let mut open = below.remove(&None).unwrap_or_default();
        let mut sorted = Vec::with_capacity(self.groups.len());
        while let Some(group) = open.pop() {
            sorted.push(group.clone());
            open.extend(below.remove(&Some(group.id)).unwrap_or_default());
        }
        // whatever a damaged store put below nothing
        let mut lost: Vec<Group> = below.into_values().flatten().cloned().collect();
        lost.sort_by_key(|group| group.id);
        sorted.extend(lost);
        sorted
    }
}

impl Decisions {
    /// What the index holds, and the last number of a deployment.
    pub(crate) fn load(kv: &Kv) -> Result<(Self, u32), CatalogError> {
        let (mut found, mut last) = (Self::default(), 0);
        found.groups.extend(well_known().map(|group| (group.id, group)));
        for (key, value) in entries(kv, b"d")? {
            let Some(id) = key.get(1..).and_then(|bytes| Uuid::from_slice(bytes).ok()) else { continue };
            let decision = Decision::decode(&UpdateId(id), &value)?;
            found.change = found.change.max(decision.change);
            let deployments = decision.all().map(|(_, approval)| approval.deployment_id);
            last = deployments.fold(last, u32::max);
            found.updates.insert(UpdateId(id), Arc::new(decision));
        }
        for (_, value) in entries(kv, b"G")? {
            let group: Group = record::decode('G', &value)?;
            found.groups.insert(group.id, group);
        }
        for (key, value) in entries(kv, b"q")? {
            if let Some(id) = key.get(1..).and_then(|bytes| bytes.first_chunk()) {
                let damage = Damage::decode(&value)?;
                found.change = found.change.max(damage.change);
                found.damaged.insert(u32::from_be_bytes(*id), damage);
            }
        }
        found.keys = Arc::new(load_keys(kv)?);
        if let Some(value) = kv.get(key::DEPLOYMENT)? {
            last = last.max(record::decode('n', &value)?);
        }
        if let Some(value) = kv.get(key::CHANGE)? {
            found.change = found.change.max(record::decode('N', &value)?);
        }
        if let Some(value) = kv.get(key::EULAS)? {
            found.eulas = record::decode('E', &value)?;
        }
        found.accepted = load_accepted(kv)?;
        Ok((found, last))
    }
}

/// What the index holds.
fn load_keys(kv: &Kv) -> Result<Keys, CatalogError> {
    let mut found = Keys::new();
    for (name, value) in entries(kv, b"K")? {
        let Some(sha1) = name.get(1..).and_then(|bytes| bytes.try_into().ok()) else { continue };
        found.insert(Sha1Digest(sha1), PayloadKey::decode(&value)?);
    }
    Ok(found)
}

/// What the index holds of terms that were accepted here.
fn load_accepted(kv: &Kv) -> Result<BTreeMap<Uuid, Acceptance>, CatalogError> {
    let mut accepted = BTreeMap::new();
    for (key, value) in entries(kv, b"y")? {
        if let Some(id) = key.get(1..).and_then(|bytes| Uuid::from_slice(bytes).ok()) {
            accepted.insert(id, record::decode('y', &value)?);
        }
    }
    Ok(accepted)
}
