//! Agents of this server: who called, who becomes a member of the fleet and is kept, and who goes.
//!
//! An identity is provisional, and in memory only, until its first scan makes it a member of the fleet; where there is no
//! room for another member, or too many come from one place, it stays provisional and is answered all the same.
//!
//! **Invariant:** what an administrator says of group membership is journaled and durable when a call returns; contact
//! times, reports, and groups that agents ask for are written without waiting, since agents send them again. It never
//! grows beyond its limits, and no member that came back ever goes because of newcomers.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::counting::Counting;
use super::identity::{Identities, changes};
use super::members::Members;
use super::newcomers::{FleetCounts, Newcomers};
use super::news::News;
use super::provisional::Provisional;
use super::texts::{MAX_ATTRIBUTES, MAX_TEXT, cut_info};
use crate::config::Config;
use crate::decisions::decided::Decisions;
use crate::error::CatalogError;
use crate::snapshot::current::Current;
use crate::storage::client_state::ClientState;
use crate::storage::entries::entries;
use crate::storage::lock::{Guard, Rank, Ranked};
use crate::storage::record::{self, key};
use crate::texts::wanted;
use crate::values::computer::{Caller, Computer, Status};
use crate::values::text::cut;
use tailwater_domain::{ComputerFacts, ComputerId, GroupId, Limit, Subnet, limits};
use tailwater_kv::Op;
use tailwater_runtime::is_recent;

/// How exact the time of last contact is kept.
pub(crate) const CONTACT_GRAIN: SignedDuration = SignedDuration::from_secs(60);
/// The most groups that a computer can ask for or be in.
pub(super) const MAX_GROUPS: usize = 64;
/// Where the fleet has so many members, of what it may have, newcomers are held to the slower rate.
const ROOMY: usize = 2;
/// Members that are looked for at once when there is no room: one in so many.
const GO_TOGETHER: usize = 100;

pub(crate) const LIMITS: &[Limit] = limits![
    key "agents.max_computers" in "computers": "Computers that are kept" => "the longest silent of those that never came back go; else it is answered and not kept",
    key "agents.max_state" in "bytes": "What is kept of what agents say" => "those that never came back go, then events; then it is not kept",
    MAX_GROUPS in "groups": "Groups that a computer asks for or is in" => "the rest is left out",
];

// not a limit: CONTACT_GRAIN: how exact contact is kept

/// The fleet: agents of this server.
pub(crate) struct Fleet {
    state: Arc<ClientState>,
    current: Arc<Current>,
    config: Arc<Config>,
    counts: Arc<Counting>,
    news: Arc<News>,
    members: Members,
    /// Those that did not scan yet.
    provisional: Provisional,
    newcomers: Newcomers,
    identities: Identities,
    /// Held while computers change.
    changing: Ranked<()>,
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

impl Fleet {
    /// The fleet with these members.
    pub(crate) fn new(
        state: Arc<ClientState>,
        current: Arc<Current>,
        config: Arc<Config>,
        counts: Arc<Counting>,
        news: Arc<News>,
        members: Members,
    ) -> Self {
        let newcomers = Newcomers::new(state.clock());
        Self {
            state,
            current,
            config,
            counts,
            news,
            members,
            provisional: Provisional::default(),
            newcomers,
            identities: Identities::default(),
            changing: Ranked::new(Rank::Computers, ()),
        }
    }

    pub(super) fn state(&self) -> &ClientState {
        &self.state
    }

    pub(super) fn current(&self) -> &Current {
        &self.current
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The counts of what all computers report.
    pub(crate) fn counts(&self) -> &Counting {
        &self.counts
    }

    pub(super) fn news(&self) -> &News {
        &self.news
    }

    pub(super) fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Those that are kept.
    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    /// Keeps others from changing computers.
    pub(super) fn changing(&self) -> Guard<'_, ()> {
        self.changing.lock()
    }

    /// A member, or one that is provisional.
    pub(crate) fn any(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        self.members.get(id).or_else(|| self.provisional.get(id))
    }

    /// Changes a computer, making it when unknown and `make` allows, without waiting for the disk. One that is no member
    /// is changed in memory only.
    fn alter(
        &self,
        id: &ComputerId,
        caller: &Caller,
        make: bool,
        work: impl FnOnce(&mut Computer),
    ) -> Result<Arc<Computer>, CatalogError> {
        if ComputerId::parse(&id.0).as_ref() != Ok(id) {
            return Err(CatalogError::ComputerName);
        }
        let _one = self.changing.lock();
        let now = self.state.clock().now();
        let Some(before) = self.members.get(id) else {
            let known = self.provisional.get(id);
            let mut computer = match known {
                Some(known) => (*known).clone(),
                None if !make => return Err(CatalogError::UnknownComputer(id.clone())),
                None => Computer::new(id, now),
            };
            work(&mut computer);
            calls_from(&mut computer, caller);
            return Ok(self.provisional.put(computer, caller));
        };
        let mut computer = (*before).clone();
        work(&mut computer);
        let changes = changes(&before, &computer, caller, now);
        calls_from(&mut computer, caller);
        self.note_changes(id, changes)?;
        if *before != computer {
            self.state.put_state((key::computer(id), Some(computer.record()?)))?;
            self.news.note(id);
        }
        self.succeed(self.members.keep(computer))
    }

    /// Makes a computer that scanned a member of the fleet, where there is room.
    fn establish(
        &self,
        id: &ComputerId,
        caller: &Caller,
        attributes: Option<&str>,
    ) -> Result<(), CatalogError> {
        let _one = self.changing.lock();
        let Some(known) = self.provisional.get(id) else { return Ok(()) };
        let mut computer = (*known).clone();
        touch(&mut computer, self.state.clock().now());
        if let Some(attributes) = attributes {
            computer.device_attributes = Some(cut(attributes, MAX_ATTRIBUTES));
        }
        calls_from(&mut computer, caller);
        computer.scanned = true;
        let mut why = self.refuses_member(caller)?;
        if why.is_none() {
            self.came_back(&mut computer)?;
            let kept = self.state.put_state((key::computer(id), Some(computer.record()?)))?;
            why = (!kept).then_some("max_state");
        }
        if let Some(why) = why {
            if let Some(count) = self.newcomers.note_refused(self.state.clock().instant()) {
                tracing::warn!(computer = %id, name = known.dns_name, why, since_the_last_line = count,
                    "a new computer is answered and not kept");
            }
            computer.scanned = false;
            self.provisional.put(computer, caller);
            return Ok(());
        }
        self.provisional.remove(id);
        self.news.note(id);
        self.succeed(self.members.keep(computer)).map(|_| ())
    }

    /// Why there is no place for another member now; nothing when there is.
    fn refuses_member(&self, caller: &Caller) -> Result<Option<&'static str>, CatalogError> {
        let limit = self.config.max_computers;
        let members = self.members.len();
        if members >= limit && !self.make_room_for_computer(limit)? {
            return Ok(Some("max_computers"));
        }
        let fuller = members >= limit / ROOMY;
        let too_often = caller.address.is_some_and(|address| !self.newcomers.admits(address, fuller));
        Ok(too_often.then_some("too many new computers from one place"))
    }

    /// Members that never came back, silent for longer than a living agent is; the longest silent first.
    pub(crate) fn never_came_back(&self) -> Vec<Arc<Computer>> {
        let silence =
            SignedDuration::try_from(self.config.replace_silent_after).unwrap_or(SignedDuration::MAX);
        let now = self.state.clock().now();
        let mut gone = self.members.all();
        gone.retain(|one| {
            // where an administrator put it somewhere, somebody knows it
            let assigned = !self.config.client_side_targeting && !one.groups.is_empty();
            !one.came_back() && !assigned && now.duration_since(one.last_contact) >= silence
        });
        gone.sort_unstable_by(|a, b| (a.last_contact, &a.id).cmp(&(b.last_contact, &b.id)));
        gone
    }

    /// Lets members go that never came back. Whether there is room afterwards. The caller holds `changing`.
    fn make_room_for_computer(&self, limit: usize) -> Result<bool, CatalogError> {
        let gone = self.never_came_back();
        let count = gone.len().min((limit / GO_TOGETHER).max(1));
        for one in gone.into_iter().take(count) {
            self.drop_computer(&one.id)?;
        }
        if count > 0 {
            tracing::info!(
                count,
                limit,
                "there are as many computers as may be: those that never came back made room"
            );
        }
        Ok(self.members.len() < limit)
    }

    /// Forgets a member and all that it said, without waiting for the disk. The caller holds `changing`.
    pub(crate) fn drop_computer(&self, id: &ComputerId) -> Result<(), CatalogError> {
        if self.members.drop_one(id).is_none() {
            return Ok(());
        }
        self.counts.ours(id, &self.status(id)?, &Status::default());
        self.drop_rows(id)?;
        self.state.put_state((key::computer(id), None)).map(|_| ())
    }

    /// Removes what a computer said, but not itself.
    pub(crate) fn drop_rows(&self, id: &ComputerId) -> Result<(), CatalogError> {
        let mut ops: Vec<Op> =
            entries(self.state.kv(), &key::events(id))?.into_iter().map(|(key, _)| (key, None)).collect();
        ops.extend([key::status(id), key::identity(id), key::told(id)].map(|key| (key, None)));
        self.state.put_states(&ops).map(|_| ())
    }

    /// A computer said who it is.
    pub(crate) fn introduce(
        &self,
        caller: &Caller,
        id: &ComputerId,
        dns_name: &str,
        groups: Option<&str>,
    ) -> Result<Arc<Computer>, CatalogError> {
        let names = groups.unwrap_or_default().split(';').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> = names.take(MAX_GROUPS).map(|name| cut(name, MAX_TEXT)).collect();
        let snapshot = self.current.snapshot();
        let now = self.state.clock().now();
        self.alter(id, caller, true, |computer| {
            if self.config.client_side_targeting {
                computer.groups = requested(&snapshot.view().decisions, &names);
            }
            computer.requested_groups = names;
            computer.dns_name = cut(dns_name, MAX_TEXT);
            touch(computer, now);
        })
    }

    /// A computer said what it is.
    pub(crate) fn register(
        &self,
        caller: &Caller,
        id: &ComputerId,
        info: ComputerFacts,
    ) -> Result<Arc<Computer>, CatalogError> {
        let now = self.state.clock().now();
        self.alter(id, caller, true, |computer| {
            let info = cut_info(info);
            if !info.dns_name.is_empty() {
                computer.dns_name.clone_from(&info.dns_name);
            }
            computer.info = Some(info);
            touch(computer, now);
        })
    }

    /// A computer scanned: one that is no member becomes one, where there is room.
    pub(crate) fn contacted(
        &self,
        caller: &Caller,
        id: &ComputerId,
        attributes: Option<&str>,
    ) -> Result<(), CatalogError> {
        let Some(known) = self.members.get(id) else { return self.establish(id, caller, attributes) };
        let now = self.state.clock().now();
        let range = caller.address.map(Subnet::of).or(known.range);
        if known.scanned
            && is_recent(known.last_contact, CONTACT_GRAIN, now)
            && (attributes.is_none() || known.device_attributes.is_some())
            && range == known.range
        {
            return Ok(());
        }
        self.alter(id, caller, false, |computer| {
            computer.scanned = true;
            touch(computer, now);
            if let Some(attributes) = attributes {
                computer.device_attributes = Some(cut(attributes, MAX_ATTRIBUTES));
            }
        })
        .map(|_| ())
    }

    /// A computer reports. Whether it is a member, whose reports are kept.
    pub(crate) fn reported(
        &self,
        caller: &Caller,
        id: &ComputerId,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        self.alter(id, caller, false, |computer| {
            touch(computer, now);
            computer.last_report = Some(now);
        })?;
        if self.members.get(id).is_some() {
            return Ok(true);
        }
        if let Some(count) = self.newcomers.note_unkept(self.state.clock().instant()) {
            tracing::info!(computer = %id, since_the_last_line = count,
                "a computer that did not scan yet reports: what it says is not kept");
        }
        Ok(false)
    }

    /// Computers that are no members, and what was not kept of them.
    pub(crate) fn fleet_counts(&self) -> FleetCounts {
        self.newcomers.counts(self.provisional.len())
    }

    /// Forgets a computer and all that it reported, durably. False when it was not known.
    pub(crate) fn forget(&self, id: &ComputerId) -> Result<bool, CatalogError> {
        let _one = self.changing.lock();
        if self.members.drop_one(id).is_none() {
            return Ok(self.provisional.remove(id).is_some());
        }
        self.counts.ours(id, &self.status(id)?, &Status::default());
        self.drop_rows(id)?;
        self.state.journal(vec![(key::computer(id), None)])?;
        Ok(true)
    }

    /// What a computer reported.
    pub(crate) fn status(&self, id: &ComputerId) -> Result<Status, CatalogError> {
        wanted()?;
        match self.state.kv().get(&key::status(id))? {
            Some(value) => record::decode('t', &value),
            None => Ok(Status::default()),
        }
    }
}

/// Notes a contact, no more exactly than is written down. A last contact in the future, which a clock that was wrong left
/// behind, is now.
fn touch(computer: &mut Computer, now: Timestamp) {
    if !is_recent(computer.last_contact, CONTACT_GRAIN, now) {
        computer.last_contact = now;
    }
}

/// Notes from where a computer called, and with which certificate.
fn calls_from(computer: &mut Computer, caller: &Caller) {
    let Some(address) = caller.address else { return };
    computer.range = Some(Subnet::of(address));
    computer.certificate = caller.certificate.as_deref().map(|name| cut(name, MAX_TEXT));
}
