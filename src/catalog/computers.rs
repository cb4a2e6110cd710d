//! Computers in memory and in the index: who called, in which groups they are, what they reported.
//!
//! **Invariant:** what an administrator says of group membership is journaled and durable when a call returns; contact
//! times, reports, and groups that agents ask for are written without waiting, since agents send them again. A move is
//! of no concern to other computers: it makes no snapshot and no change number. It never grows beyond its limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use jiff::{SignedDuration, Timestamp};

use super::decisions::{Decisions, entries};
use super::kv::{Batch, Kv};
use super::query::Counts;
use super::reading::wanted;
use super::record::{self, key};
use super::said::{Of, Said, words_of};
use super::store::{Op, Store, lock};
use super::succession::Names;
use super::{CatalogError, Computer, ComputerInfo, Status};
use crate::domain::{ComputerId, GroupId, Limit, UpdateId, limits};
use crate::runtime::is_recent;

/// How exact the time of last contact is kept.
pub(super) const CONTACT_GRAIN: SignedDuration = SignedDuration::from_secs(60);
/// The longest text of a registration that is kept, in characters.
const MAX_TEXT: usize = 256;
/// The most of `DeviceAttributes` that is kept, in characters.
const MAX_ATTRIBUTES: usize = 4_096;
/// The longest identity, in bytes.
const MAX_ID: usize = 255;
/// The most groups that a computer can ask for or be in.
const MAX_GROUPS: usize = 64;
/// The most computers that are moved together.
pub const MAX_MOVED: usize = 20_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_TEXT in "characters": "A text of a registration" => "it is cut",
    MAX_ATTRIBUTES in "characters": "The attributes of a device" => "they are cut",
    MAX_ID in "bytes": "The identity of a computer" => "the request is refused",
    MAX_GROUPS in "groups": "Groups of one computer" => "they are passed over",
    MAX_MOVED in "computers": "Computers moved together" => "the request is refused: 400",
];

// not a limit: CONTACT_GRAIN: how exact the time of last contact is

/// All computers.
#[derive(Default)]
pub(super) struct Computers {
    pub known: RwLock<HashMap<ComputerId, Arc<Computer>>>,
    /// What all computers say, those of servers below too.
    pub said: RwLock<Said>,
    /// Who has which name.
    pub names: Names,
    /// Held while computers change.
    pub changing: Mutex<()>,
}

pub(super) fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}

impl Computers {
    pub(super) fn load(kv: &Kv) -> Result<Self, CatalogError> {
        let mut known = HashMap::new();
        for (_, value) in entries(kv, b"c")? {
            let computer: Computer = record::decode('c', &value)?;
            known.insert(computer.id.clone(), Arc::new(computer));
        }
        let all = known.values().map(|computer| (&computer.id, &computer.dns_name[..]));
        let names = Names::load(kv, all)?;
        let mut said = Said::default();
        // one after the other: all of them can be a gigabyte
        let mut failed = None;
        kv.scan(b"t", |key, value| {
            let id = key.get(1..).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default();
            match record::decode('t', value) {
                Ok(status) => said.change(Of::Us, &ComputerId(id.to_owned()), &[], &words_of(&status)),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let (known, said) = (RwLock::new(known), RwLock::new(said));
        Ok(Self { known, said, names, changing: Mutex::default() })
    }

    pub(super) fn get(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Computer>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Computers that are in one of these groups, as they are without.
    pub(super) fn leaving(&self, gone: &[GroupId]) -> Vec<Computer> {
        let mut left: Vec<Computer> = self
            .all()
            .iter()
            .filter(|computer| computer.groups.iter().any(|group| gone.contains(group)))
            .map(|computer| (**computer).clone())
            .collect();
        for computer in &mut left {
            computer.groups.retain(|group| !gone.contains(group));
        }
        left
    }

    pub(super) fn keep(&self, computer: Computer) -> Arc<Computer> {
        let computer = Arc::new(computer);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(computer.id.clone(), Arc::clone(&computer));
        drop(known);
        let before = before.as_ref().map_or("", |before| &before.dns_name);
        self.names.renamed(&computer.id, before, &computer.dns_name);
        computer
    }

    /// Forgets one; what it was, if it was known.
    pub(super) fn drop_one(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        let gone = self.known.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(gone) = &gone {
            self.names.renamed(id, &gone.dns_name, "");
        }
        gone
    }

    /// Counts what a computer says now instead of what it said before.
    pub(super) fn count(&self, id: &ComputerId, before: &Status, after: &Status) {
        let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
        said.change(Of::Us, id, &words_of(before), &words_of(after));
    }

    /// What all computers say.
    pub(super) fn said(&self) -> RwLockReadGuard<'_, Said> {
        self.said.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts_of(&self, update: &UpdateId) -> Counts {
        self.said().of_update(update)
    }
}

/// The groups a computer asked for that exist.
fn requested(decisions: &Decisions, names: &[String]) -> Vec<GroupId> {
    let wanted = |name: &str| names.iter().any(|other| other.to_lowercase() == name.to_lowercase());
    let mut found: Vec<GroupId> = decisions
        .groups
        .values()
        .filter(|group| group.id != GroupId::ALL_COMPUTERS && wanted(&group.name))
        .map(|group| group.id)
        .collect();
    found.sort_unstable();
    if found.len() > 1 {
        found.retain(|id| *id != GroupId::UNASSIGNED_COMPUTERS);
    }
    found
}

impl Store {
    /// Changes a computer, making it when unknown and `make` allows, without waiting for the disk.
    fn alter(
        &self,
        id: &ComputerId,
        make: bool,
        work: impl FnOnce(&mut Computer),
    ) -> Result<Arc<Computer>, CatalogError> {
        if id.0.is_empty() || id.0.len() > MAX_ID {
            return Err(CatalogError::ComputerName);
        }
        let _one = lock(&self.computers.changing);
        let before = self.computers.get(id);
        let now = self.clock.now();
        let mut computer = match &before {
            Some(known) => (**known).clone(),
            None if !make => return Err(CatalogError::UnknownComputer(id.clone())),
            None => self.new_computer(id, now)?,
        };
        if before.is_none() {
            self.came_back(&mut computer)?;
        }
        work(&mut computer);
        if before.as_deref() != Some(&computer) {
            self.put((key::computer(id), Some(record::encode(&computer)?)))?;
            self.news.note(id);
        }
        self.succeed(self.computers.keep(computer))
    }

    /// Writes without waiting for the disk; into memory while it takes nothing.
    pub(super) fn put(&self, (key, value): Op) -> Result<(), CatalogError> {
        let mut batch = Batch::default();
        match value {
            Some(value) => batch.put(key, value),
            None => batch.remove(key),
        }
        Ok(self.kv.note(&batch)?)
    }

    fn new_computer(&self, id: &ComputerId, now: Timestamp) -> Result<Computer, CatalogError> {
        let limit = self.config.max_computers;
        if self.computers.known.read().unwrap_or_else(PoisonError::into_inner).len() >= limit {
            return Err(CatalogError::TooManyComputers { limit });
        }
        Ok(Computer {
            id: id.clone(),
            dns_name: String::new(),
            info: None,
            device_attributes: None,
            groups: Vec::new(),
            requested_groups: Vec::new(),
            first_seen: now,
            last_contact: now,
            last_report: None,
            moved_at: 0,
        })
    }

    pub(super) fn introduce(
        &self,
        id: &ComputerId,
        dns_name: &str,
        groups: Option<&str>,
    ) -> Result<Arc<Computer>, CatalogError> {
        let names = groups.unwrap_or_default().split(';').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> = names.take(MAX_GROUPS).map(|name| cut(name, MAX_TEXT)).collect();
        let snapshot = self.snapshot();
        let now = self.clock.now();
        self.alter(id, true, |computer| {
            if self.config.client_side_targeting {
                computer.groups = requested(&snapshot.view().decisions, &names);
            }
            computer.requested_groups = names;
            computer.dns_name = cut(dns_name, MAX_TEXT);
            touch(computer, now);
        })
    }

    pub(super) fn register(
        &self,
        id: &ComputerId,
        info: ComputerInfo,
    ) -> Result<Arc<Computer>, CatalogError> {
        let now = self.clock.now();
        self.alter(id, true, |computer| {
            let info = cut_info(info);
            if !info.dns_name.is_empty() {
                computer.dns_name.clone_from(&info.dns_name);
            }
            computer.info = Some(info);
            touch(computer, now);
        })
    }

    pub(super) fn contacted(&self, id: &ComputerId, attributes: Option<&str>) -> Result<(), CatalogError> {
        let Some(known) = self.computers.get(id) else { return Ok(()) };
        let now = self.clock.now();
        if is_recent(known.last_contact, CONTACT_GRAIN, now)
            && (attributes.is_none() || known.device_attributes.is_some())
        {
            return Ok(());
        }
        self.alter(id, false, |computer| {
            touch(computer, now);
            if let Some(attributes) = attributes {
                computer.device_attributes = Some(cut(attributes, MAX_ATTRIBUTES));
            }
        })
        .map(|_| ())
    }

    pub(super) fn reported(&self, id: &ComputerId, now: Timestamp) -> Result<(), CatalogError> {
        self.alter(id, false, |computer| {
            touch(computer, now);
            computer.last_report = Some(now);
        })
        .map(|_| ())
    }

    /// Puts computers into these groups, as one change that makes no snapshot.
    pub(super) fn assign(
        &self,
        ids: &[ComputerId],
        groups: &[GroupId],
    ) -> Result<Vec<Arc<Computer>>, CatalogError> {
        if ids.len() > MAX_MOVED {
            return Err(CatalogError::TooManyAtOnce { limit: MAX_MOVED });
        }
        let _one = lock(&self.computers.changing);
        let groups = self.placed(groups)?;
        let known =
            |id: &ComputerId| self.computers.get(id).ok_or_else(|| CatalogError::UnknownComputer(id.clone()));
        let mut found = ids.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        if found.iter().all(|computer| computer.groups == groups) {
            return Ok(found);
        }
        let mut ops: Vec<Op> = Vec::new();
        for computer in found.iter_mut().filter(|computer| computer.groups != groups) {
            let moved = Arc::make_mut(computer);
            moved.groups.clone_from(&groups);
            ops.push((key::computer(&moved.id), Some(record::encode(moved)?)));
        }
        self.journal(ops)?;
        for computer in &found {
            self.news.note(&computer.id);
        }
        Ok(found.into_iter().map(|computer| self.computers.keep(Arc::unwrap_or_clone(computer))).collect())
    }

    /// Groups that exist as they are kept of a computer: sorted, and none for the two that everybody is in.
    fn placed(&self, groups: &[GroupId]) -> Result<Vec<GroupId>, CatalogError> {
        let snapshot = self.snapshot();
        let known = &snapshot.view().decisions.groups;
        if let Some(unknown) = groups.iter().find(|group| !known.contains_key(group)) {
            return Err(CatalogError::UnknownGroup(*unknown));
        }
        let plain = [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS];
        let mut groups: Vec<GroupId> =
            groups.iter().filter(|group| !plain.contains(group)).copied().collect();
        groups.sort_unstable();
        groups.dedup();
        groups.truncate(MAX_GROUPS);
        Ok(groups)
    }

    pub(super) fn forget(&self, id: &ComputerId) -> Result<bool, CatalogError> {
        let _one = lock(&self.computers.changing);
        if self.computers.drop_one(id).is_none() {
            return self.forget_descendant(id);
        }
        self.computers.count(id, &self.status(id)?, &Status::default());
        for (key, _) in entries(&self.kv, &key::events(id))? {
            self.put((key, None))?;
        }
        self.put((key::status(id), None))?;
        self.journal(vec![(key::computer(id), None)])?;
        Ok(true)
    }

    /// What a computer reported.
    pub(super) fn status(&self, id: &ComputerId) -> Result<Status, CatalogError> {
        wanted()?;
        match self.kv.get(&key::status(id))? {
            Some(value) => record::decode('t', &value),
            None => Ok(Status::default()),
        }
    }
}

/// Notes a contact, no more exactly than is written down.
fn touch(computer: &mut Computer, now: Timestamp) {
    if !is_recent(computer.last_contact, CONTACT_GRAIN, now) {
        computer.last_contact = now;
    }
}

fn cut_info(mut info: ComputerInfo) -> ComputerInfo {
    let texts = [
        &mut info.dns_name,
        &mut info.locale,
        &mut info.manufacturer,
        &mut info.model,
        &mut info.bios_version,
        &mut info.bios_name,
        &mut info.bios_date,
        &mut info.architecture,
        &mut info.client_version,
        &mut info.os_description,
        &mut info.oem,
        &mut info.device_type,
        &mut info.firmware_version,
        &mut info.mobile_operator,
    ];
    for text in texts {
        *text = cut(text, MAX_TEXT);
    }
    info
}
