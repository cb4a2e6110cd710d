//! What servers below say of themselves ([MS-WSUSSS] 3.1.4.14), and what computers installed since the upstream was
//! told.
//!
//! **Invariant:** a server's parent is a known server, and servers never make a ring. What a call took is durable when
//! it returns. It never lets a server in: that is the gate's.

use std::collections::BTreeMap;

use crate::catalog::computers::members::cut;
use crate::catalog::decisions::decided::entries;
use crate::catalog::error::CatalogError;
use crate::catalog::servers::registry::MAX_NAME;
use crate::catalog::storage::log::{Op, Store, lock};
use crate::catalog::storage::record;
use crate::catalog::storage::record::key;
use crate::catalog::values::computer::Event;
use crate::catalog::values::descendant::os_of;
use crate::catalog::values::server::Standing;
use crate::domain::{Activity, ClientSummary, ComputerId, Limit, OsVersion, ServerId, ServerReport, limits};

/// The longest version of a server, in characters.
const MAX_VERSION: usize = 32;
/// The most operating systems that are told apart of one server.
const MAX_SYSTEMS: usize = 500;
/// The most updates that are counted of one operating system.
const MAX_ACTIVITIES: usize = 5_000;
/// The longest text of an operating system, in characters.
const MAX_OS_TEXT: usize = 64;
/// The agents' own events.
const NAMESPACE: i32 = 1;

pub(in crate::catalog) const LIMITS: &[Limit] = limits![
    MAX_VERSION in "characters": "The version of a downstream server" => "it is cut",
    MAX_SYSTEMS in "systems": "Operating systems told apart of one server" => "the rest is left out",
    MAX_ACTIVITIES in "updates": "Updates counted of one operating system" => "the rest is left out",
    MAX_OS_TEXT in "characters": "A text of an operating system" => "it is cut",
];

/// Whose activity is our own agents'.
const OURS: ServerId = ServerId(uuid::Uuid::nil());

/// A short name of an operating system, for keys.
fn digest(os: &OsVersion) -> Result<[u8; 16], CatalogError> {
    let hash = blake3::hash(&postcard::to_allocvec(os).map_err(CatalogError::Unwritable)?);
    let mut name = [0; 16];
    name.copy_from_slice(&hash.as_bytes()[..16]);
    Ok(name)
}

/// Adds what was installed.
fn add(sums: &mut Vec<Activity>, more: &[Activity]) {
    for one in more {
        let has_room = sums.len() < MAX_ACTIVITIES;
        match sums.iter_mut().find(|sum| sum.update == one.update && sum.revision == one.revision) {
            Some(sum) => {
                sum.succeeded = sum.succeeded.saturating_add(one.succeeded);
                sum.failed = sum.failed.saturating_add(one.failed);
            }
            None if has_room => sums.push(*one),
            None => {}
        }
    }
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

impl Store {
    /// [MS-WSUSSS] 3.1.4.14, for reports whose senders the gate let in. `ours` is who this server is.
    pub(in crate::catalog) fn roll_up_servers(
        &self,
        ours: &ServerId,
        reports: Vec<ServerReport>,
    ) -> Result<(), CatalogError> {
        let (mut ops, now) = (Vec::new(), self.clock.now());
        self.make_room_for_downstream()?;
        for mut report in reports {
            // a clock down there that is ahead, or one here that was, would hide what is said from then on
            report.last_rollup = report.last_rollup.map(|at| at.min(now));
            let parent = report.parent.filter(|parent| parent != ours);
            let unknown = parent.filter(|parent| self.servers.get(parent).is_none());
            let rings = parent.is_some_and(|parent| self.servers_below(&report.id).contains(&parent));
            if unknown.is_some() || rings || report.id == *ours {
                let named = report.parent.unwrap_or(report.id);
                return Err(CatalogError::UnknownServer(named.to_string()));
            }
            if self
                .servers
                .get(&report.id)
                .is_some_and(|known| known.last_rollup.map(|at| at.min(now)) > report.last_rollup)
            {
                continue;
            }
            ops.extend(self.add_activity(&report.id, &report.clients)?);
            self.alter_server(&report.id, true, false, |server| {
                server.name = cut(&report.name, MAX_NAME);
                server.parent = parent;
                server.version = cut(&report.version, MAX_VERSION);
                server.is_replica = report.is_replica;
                server.last_sync = report.last_sync;
                server.last_rollup = report.last_rollup;
                server.summary = report.summary;
            })?;
        }
        self.put_states_durably(&ops)?;
        Ok(self.kv.flush()?)
    }

    fn add_activity(&self, server: &ServerId, clients: &[ClientSummary]) -> Result<Vec<Op>, CatalogError> {
        let mut ops = Vec::new();
        if clients.is_empty() {
            return Ok(ops);
        }
        let mut kept = entries(&self.kv, &key::activities(server))?.len();
        for client in clients.iter().take(MAX_SYSTEMS) {
            let key = key::activity(server, &digest(&client.os)?);
            let known = self.kv.get(&key)?;
            kept += usize::from(known.is_none());
            if kept > MAX_SYSTEMS {
                break;
            }
            let mut sum = if let Some(value) = known {
                record::decode('A', &value)?
            } else {
                let mut os = client.os.clone();
                os.locale = cut(&os.locale, MAX_OS_TEXT);
                os.architecture = cut(&os.architecture, MAX_OS_TEXT);
                ClientSummary { os, ..ClientSummary::default() }
            };
            sum.count = client.count;
            add(&mut sum.activity, &client.activity);
            ops.push((key, Some(record::encode(&sum)?)));
        }
        Ok(ops)
    }

    /// Counts what an agent of ours installed.
    pub(in crate::catalog) fn count_activity(
        &self,
        id: &ComputerId,
        events: &[Event],
    ) -> Result<(), CatalogError> {
        let snapshot = self.snapshot();
        let installed = events.iter().filter_map(activity);
        let installed: Vec<Activity> =
            installed.filter(|one| snapshot.view().world.update(&one.update).is_some()).collect();
        let info = self.computers.get(id).and_then(|computer| computer.info.clone());
        let Some(info) = info.filter(|_| !installed.is_empty()) else { return Ok(()) };
        let client = ClientSummary { os: os_of(&info), count: 0, activity: installed };
        let _one = lock(&self.servers.changing);
        let ops = self.add_activity(&OURS, &[client])?;
        self.put_states(&ops).map(|_| ())
    }

    /// What the computers of a server installed since this was last cleared, by operating system; ours without one.
    pub(in crate::catalog) fn client_summaries(
        &self,
        of: Option<&ServerId>,
    ) -> Result<Vec<ClientSummary>, CatalogError> {
        let found = entries(&self.kv, &key::activities(of.unwrap_or(&OURS)))?;
        let mut kept: Vec<ClientSummary> =
            found.iter().map(|(_, value)| record::decode('A', value)).collect::<Result<_, _>>()?;
        if of.is_none() {
            let mut systems: BTreeMap<OsVersion, u32> = BTreeMap::new();
            for computer in self.computers.all() {
                *systems.entry(computer.info.as_ref().map(os_of).unwrap_or_default()).or_default() += 1;
            }
            for one in &mut kept {
                one.count = systems.get(&one.os).copied().unwrap_or_default();
            }
        }
        Ok(kept)
    }

    /// The upstream was told this of a server's computers: only what came since then is left.
    pub(in crate::catalog) fn clear_activity(
        &self,
        of: Option<&ServerId>,
        told: &[ClientSummary],
    ) -> Result<(), CatalogError> {
        let _one = lock(&self.servers.changing);
        let of = of.unwrap_or(&OURS);
        let mut ops = Vec::new();
        for client in told {
            let key = key::activity(of, &digest(&client.os)?);
            let Some(value) = self.kv.get(&key)? else { continue };
            let mut left: ClientSummary = record::decode('A', &value)?;
            for sum in &mut left.activity {
                let same = |one: &&Activity| one.update == sum.update && one.revision == sum.revision;
                if let Some(told) = client.activity.iter().find(same) {
                    sum.succeeded = sum.succeeded.saturating_sub(told.succeeded);
                    sum.failed = sum.failed.saturating_sub(told.failed);
                }
            }
            left.activity.retain(|sum| sum.succeeded + sum.failed > 0);
            let rest = if left.activity.is_empty() { None } else { Some(record::encode(&left)?) };
            ops.push((key, rest));
        }
        self.apply_durably(&ops)
    }

    /// Forgets a server, those below it, and the computers of them all. Gives how many servers and computers.
    pub(in crate::catalog) fn forget_server(&self, id: &ServerId) -> Result<(usize, usize), CatalogError> {
        let below = self.servers_below(id);
        let mut computers = 0;
        for computer in self.descendants.all() {
            if below.contains(&computer.parent) {
                computers += usize::from(self.forget_descendant(&computer.id)?);
            }
        }
        let mut servers = 0;
        for id in &below {
            let Some(server) = self.servers.get(id) else { continue };
            servers += 1;
            let mut ops: Vec<Op> =
                entries(&self.kv, &key::activities(id))?.into_iter().map(|(key, _)| (key, None)).collect();
            // who was shut out stays so: of it is forgotten what it told, not by what it is known
            if server.standing == Standing::Revoked {
                self.put_states(&ops)?;
                self.alter_server(id, false, true, |server| {
                    server.summary = None;
                    server.last_rollup = None;
                    server.version = String::new();
                })?;
                continue;
            }
            self.servers.drop_one(id);
            ops.push((key::server(id), None));
            self.account(&ops)?;
            self.journal(ops)?;
        }
        Ok((servers, computers))
    }
}
