//! Servers below with their computers together: what they say of themselves ([MS-WSUSSS] 3.1.4.14), and what goes with one.
//!
//! **Invariant:** a server's parent is a known server, and servers never make a ring. What a call took is durable when
//! it returns. It never lets a server in: that is the gate's.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use super::activity::{Activities, OURS};
use super::descendants::Descendants;
use super::part::{MAX_NAME, Servers};
use crate::computers::fleet::Fleet;
use crate::error::CatalogError;
use crate::snapshot::current::Current;
use crate::storage::client_state::{ClientState, StateOf};
use crate::storage::record::key;
use crate::values::server::{Credential, Server, Standing};
use crate::values::text::cut;
use tailwater_domain::{
    Activity, ClientSummary, ComputerFacts, ComputerId, Limit, OsVersion, ServerId, ServerReport, limits,
};
use tailwater_kv::Op;

/// The longest version of a server, in characters.
const MAX_VERSION: usize = 32;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_VERSION in "characters": "The version of a downstream server" => "it is cut",
];

/// Servers below and all computers, ours and theirs, as servers tell each other of them.
pub(crate) struct Branches {
    state: Arc<ClientState>,
    current: Arc<Current>,
    fleet: Arc<Fleet>,
    servers: Arc<Servers>,
    descendants: Arc<Descendants>,
    activities: Activities,
}

impl Branches {
    /// All of them together.
    pub(crate) fn new(
        state: Arc<ClientState>,
        current: Arc<Current>,
        fleet: Arc<Fleet>,
        servers: Arc<Servers>,
        descendants: Arc<Descendants>,
    ) -> Self {
        let activities = Activities::new(Arc::clone(&state));
        Self { state, current, fleet, servers, descendants, activities }
    }

    /// What clients made this server keep.
    pub(crate) fn state(&self) -> &ClientState {
        &self.state
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The servers.
    pub(crate) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Their computers.
    pub(crate) fn descendants(&self) -> &Descendants {
        &self.descendants
    }

    /// What computers installed.
    pub(crate) fn activities(&self) -> &Activities {
        &self.activities
    }

    /// A server said who it is: it is made when unknown.
    pub(crate) fn introduce_server(
        &self,
        id: &ServerId,
        name: &str,
        credential: &Credential,
    ) -> Result<Arc<Server>, CatalogError> {
        self.servers.introduce_server(id, name, credential, || self.make_room_for_downstream())
    }

    /// Forgets a computer of this server or of one below. False when it was not known.
    pub(crate) fn forget(&self, id: &ComputerId) -> Result<bool, CatalogError> {
        if self.fleet.members().get(id).is_some() {
            return self.fleet.forget(id);
        }
        let provisional = self.fleet.forget(id)?;
        Ok(self.descendants.forget_descendant(id)? || provisional)
    }

    /// [MS-WSUSSS] 3.1.4.14, for reports whose senders the gate let in. `ours` is who this server is.
    pub(crate) fn roll_up_servers(
        &self,
        ours: &ServerId,
        reports: Vec<ServerReport>,
    ) -> Result<(), CatalogError> {
        let (mut ops, now) = (Vec::new(), self.state.clock().now());
        self.make_room_for_downstream()?;
        for mut report in reports {
            // a clock down there that is ahead, or one here that was, would hide what is said from then on
            report.last_rollup = report.last_rollup.map(|at| at.min(now));
            let parent = report.parent.filter(|parent| parent != ours);
            let unknown = parent.filter(|parent| self.servers.known().get(parent).is_none());
            let rings = parent.is_some_and(|parent| self.servers.known().below(&report.id).contains(&parent));
            if unknown.is_some() || rings || report.id == *ours {
                let named = report.parent.unwrap_or(report.id);
                return Err(CatalogError::UnknownServer(named.to_string()));
            }
            if self
                .servers
                .known()
                .get(&report.id)
                .is_some_and(|known| known.last_rollup.map(|at| at.min(now)) > report.last_rollup)
            {
                continue;
            }
            ops.extend(self.activities.added(&report.id, &report.clients)?);
            self.servers.alter_server(&report.id, true, false, |server| {
                server.name = cut(&report.name, MAX_NAME);
                server.parent = parent;
                server.version = cut(&report.version, MAX_VERSION);
                server.is_replica = report.is_replica;
                server.last_sync = report.last_sync;
                server.last_rollup = report.last_rollup;
                server.summary = report.summary;
            })?;
        }
        self.state.put_states_durably(&ops)?;
        self.state.flush()
    }

    /// Adds up what an agent of this server installed, as far as the catalog knows it.
    pub(crate) fn count_activity(
        &self,
        id: &ComputerId,
        mut installed: Vec<Activity>,
    ) -> Result<(), CatalogError> {
        let snapshot = self.current.snapshot();
        installed.retain(|one| snapshot.view().world.update(&one.update).is_some());
        let info = self.fleet.members().get(id).and_then(|computer| computer.info.clone());
        let Some(info) = info.filter(|_| !installed.is_empty()) else { return Ok(()) };
        self.activities.add(&OURS, &[ClientSummary { os: info.os_version(), count: 0, activity: installed }])
    }

    /// What the computers of a server installed since this was last cleared, by operating system; ours without one.
    pub(crate) fn client_summaries(&self, of: Option<&ServerId>) -> Result<Vec<ClientSummary>, CatalogError> {
        let mut kept = self.activities.of(of.unwrap_or(&OURS))?;
        if of.is_none() {
            let mut systems: BTreeMap<OsVersion, u32> = BTreeMap::new();
            for computer in self.fleet.members().all() {
                *systems
                    .entry(computer.info.as_ref().map(ComputerFacts::os_version).unwrap_or_default())
                    .or_default() += 1;
            }
            for one in &mut kept {
                one.count = systems.get(&one.os).copied().unwrap_or_default();
            }
        }
        Ok(kept)
    }

    /// Forgets a server, those below it, and the computers of them all. Gives how many servers and computers.
    pub(crate) fn forget_server(&self, id: &ServerId) -> Result<(usize, usize), CatalogError> {
        let below = self.servers.known().below(id);
        let mut computers = 0;
        for computer in self.descendants.known().all() {
            if below.contains(&computer.parent) {
                computers += usize::from(self.descendants.forget_descendant(&computer.id)?);
            }
        }
        let mut servers = 0;
        for id in &below {
            let Some(server) = self.servers.known().get(id) else { continue };
            servers += 1;
            let mut ops: Vec<Op> = self.activities.keys(id)?.into_iter().map(|key| (key, None)).collect();
            // who was shut out stays so: of it is forgotten what it told, not by what it is known
            if server.standing == Standing::Revoked {
                self.state.put_states(&ops)?;
                self.servers.alter_server(id, false, true, |server| {
                    server.summary = None;
                    server.last_rollup = None;
                    server.version = String::new();
                })?;
                continue;
            }
            self.servers.known().drop_one(id);
            ops.push((key::server(id), None));
            self.state.journal(ops)?;
        }
        Ok((servers, computers))
    }

    /// Lets servers go that nobody decided about and that never came back, with all they told, while nearly all that is
    /// allowed is used.
    pub(crate) fn make_room_for_downstream(&self) -> Result<(), CatalogError> {
        if !self.state.must_look(StateOf::Downstream) {
            return Ok(());
        }
        let now = self.state.clock().now();
        for id in self.servers.known().never_came_back(now, SignedDuration::from_hours(24)) {
            if !self.state.is_full(StateOf::Downstream) {
                return Ok(());
            }
            self.forget_server(&id)?;
        }
        Ok(())
    }
}
