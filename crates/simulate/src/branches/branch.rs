//! One branch: authorizes, lists and fetches what is new, fetches some files, rolls its computers up.
//!
//! **Invariant:** operations come in the order in which WSUS has them, each measured. A refused cookie is renewed once a
//! synchronisation.

use std::collections::HashSet;
use std::io::BufRead;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST};
use http_body_util::Full;
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::config::Config;
use crate::clients::fetch_file;
use crate::load::{AgentError, Connection, Figures, Server, between, envelope_of};
use tailwater_domain::{
    ComputerDetails, ComputerId, FileDeclaration, GroupId, RolledComputer, ServerId, ServerReport,
    StatusReport, Summarization, SyncResult, UpdateId, UpdateIdentity, UpdateStatus,
};
use tailwater_runtime::{Clock, Tasks};
use tailwater_wire::server_reporting as reporting;
use tailwater_wire::server_sync::{self as sync, AUTH_PATH, Cookie, Filter, SERVICE_PATH};
use tailwater_wire::soap::{SoapError, Version};
use tailwater_wire::update_metadata::{Languages, cut};

/// The name space of branches' identities.
const SPACE: Uuid = Uuid::from_u128(0x3f0c_6a53_0f0b_4c6f_8a4e_6272_616e_6368);
/// Revisions asked for at once when the server does not say how many it gives.
const BATCH: usize = 100;
/// Updates that a made-up computer speaks of.
const STATES: usize = 50;
/// Connections of one file.
const CONNECTIONS: u32 = 2;

/// What is counted beside the exchanges.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) synchronisations: u64,
    pub(super) revisions: u64,
    pub(super) documents: u64,
    pub(super) computers: u64,
}

/// What all branches of a run share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) server: Arc<Server>,
    pub(super) figures: Arc<Figures>,
    pub(super) counts: Mutex<Counts>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
}

impl Shared {
    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A branch.
pub(super) struct Branch {
    shared: Arc<Shared>,
    number: u32,
    id: Uuid,
    name: String,
    connection: Connection,
    cookie: Option<Cookie>,
    anchors: [Option<String>; 2],
    updates: Vec<UpdateId>,
    held: HashSet<UpdateIdentity>,
    files: Vec<FileDeclaration>,
    fetched: usize,
    /// The number of the last roll-up.
    rollup: i32,
    started: Timestamp,
}

impl Branch {
    pub(super) fn new(number: u32, shared: &Arc<Shared>) -> Self {
        let seed = format!("{} {}", shared.config.seed, shared.server.authority.to_lowercase());
        let fleet = Uuid::new_v5(&SPACE, seed.as_bytes());
        Self {
            number,
            id: Uuid::new_v5(&fleet, &number.to_be_bytes()),
            name: format!("branch-{number:05}.site-{:08x}.example", fleet.as_fields().0),
            connection: Connection::new(Arc::clone(&shared.server), &shared.tasks),
            cookie: None,
            anchors: [None, None],
            updates: Vec::new(),
            held: HashSet::new(),
            files: Vec::new(),
            fetched: 0,
            rollup: 0,
            started: shared.clock.now(),
            shared: Arc::clone(shared),
        }
    }

    /// Synchronises as often as it should.
    pub(super) async fn live(&mut self) -> Result<(), AgentError> {
        for round in 0..self.shared.config.rounds {
            if round > 0 {
                let pause =
                    between(self.shared.config.think, u64::from(self.number) << 32 | u64::from(round));
                self.shared.clock.sleep(pause).await;
            }
            match self.synchronise().await {
                Err(error) if matches!(error.code(), Some("InvalidCookie" | "ServerChanged")) => {
                    self.cookie = None;
                    self.anchors = [None, None];
                    self.synchronise().await?;
                }
                other => other?,
            }
            self.shared.counts().synchronisations += 1;
        }
        Ok(())
    }

    async fn synchronise(&mut self) -> Result<(), AgentError> {
        let cookie = self.cookie().await?;
        let config = self
            .call(SERVICE_PATH, sync::get_config_data(&cookie, None), |text| sync::read_config_data(text))
            .await?;
        let batch = match config.max_updates_per_request {
            0 => BATCH,
            most => most as usize,
        };
        for (at, categories) in [(0, true), (1, false)] {
            let filter = Filter {
                anchor: self.anchors[at].clone(),
                get_config: categories,
                products: Vec::new(),
                classifications: Vec::new(),
                languages: Vec::new(),
            };
            let request = sync::get_revision_id_list(&cookie, &filter);
            let list = self.call(SERVICE_PATH, request, |text| sync::read_revision_ids(text)).await?;
            self.shared.counts().revisions += list.revisions.len() as u64;
            let mut wanted = list.revisions;
            wanted.retain(|revision| !self.held.contains(revision));
            for some in wanted.chunks(batch) {
                self.fetch(&cookie, some).await?;
            }
            self.anchors[at] = Some(list.anchor);
        }
        self.content().await?;
        self.roll_up().await
    }

    async fn cookie(&mut self) -> Result<Cookie, AgentError> {
        if let Some(cookie) = &self.cookie {
            return Ok(cookie.clone());
        }
        self.call(SERVICE_PATH, sync::get_auth_config(), |text| sync::read_auth_config(text)).await?;
        let request = sync::get_authorization_cookie(&self.name, &self.id);
        let authorization =
            self.call(AUTH_PATH, request, |text| sync::read_authorization_cookie(text)).await?;
        let cookie =
            self.call(SERVICE_PATH, sync::get_cookie(&authorization), |text| sync::read_cookie(text)).await?;
        self.cookie = Some(cookie.clone());
        Ok(cookie)
    }

    async fn fetch(&mut self, cookie: &Cookie, some: &[UpdateIdentity]) -> Result<(), AgentError> {
        let lacks = self.files.len() < self.shared.config.files as usize;
        // documents are read whole only as long as files are looked for in them
        let read = move |input: &[u8]| {
            sync::read_update_data(input, |document: &mut dyn BufRead| {
                let mut bytes = Vec::new();
                let read = document.read_to_end(&mut bytes);
                let whole =
                    if lacks && read.is_ok() { cut(&bytes[..], &Languages::of(["en"])).ok() } else { None };
                whole.map(|cut| cut.facts.files).unwrap_or_default()
            })
        };
        let data = self.call(SERVICE_PATH, sync::get_update_data(cookie, some), read).await?;
        self.shared.counts().documents += data.updates.len() as u64;
        for received in data.updates {
            self.held.insert(received.id);
            if self.updates.len() < STATES {
                self.updates.push(received.id.update);
            }
            let files = received.document.unwrap_or_default().into_iter();
            let room = (self.shared.config.files as usize).saturating_sub(self.files.len());
            self.files.extend(files.filter(|file| !file.is_taken_in_parts()).take(room));
        }
        Ok(())
    }

    /// Fetches and checks the files that were not fetched yet.
    async fn content(&mut self) -> Result<(), AgentError> {
        for file in self.files.iter().skip(self.fetched) {
            let url = format!("http://{}{}", self.shared.server.authority, file.content_path());
            let (figures, tasks) = (&self.shared.figures, &self.shared.tasks);
            let good =
                fetch_file(&url, file, CONNECTIONS, u64::from(self.number) + 1, figures, tasks).await?;
            figures.add(|report| if good { report.files += 1 } else { report.files_wrong += 1 });
        }
        self.fetched = self.files.len();
        Ok(())
    }

    async fn roll_up(&mut self) -> Result<(), AgentError> {
        let now = self.shared.clock.now();
        let path = reporting::SERVICE_PATH;
        let limits = self
            .call(path, reporting::get_rollup_configuration(), |text| reporting::read_configuration(text))
            .await?;
        let server = reporting::rollup_servers(now, &[self.report(now)]);
        self.call(path, server, |text| reporting::read_servers_answer(text)).await?;
        let all: Vec<u32> = (0..self.shared.config.computers).collect();
        for some in all.chunks(limits.max_computers.max(1)) {
            let rows: Vec<RolledComputer> = some.iter().map(|number| self.computer(*number, now)).collect();
            self.call(path, reporting::rollup_computers(now, &rows), |text| {
                reporting::read_computers_answer(text)
            })
            .await?;
            self.shared.counts().computers += rows.len() as u64;
        }
        self.rollup += 1;
        let updates = self.updates.iter().enumerate().map(|(at, update)| UpdateStatus {
            update: *update,
            state: if at % 4 == 0 { Summarization::NotInstalled } else { Summarization::Installed },
            changed: self.started,
        });
        let updates: Vec<UpdateStatus> = updates.collect();
        for some in all.chunks(limits.max_statuses.max(1)) {
            let reports: Vec<StatusReport> = some
                .iter()
                .map(|number| StatusReport {
                    computer: self.computer_id(*number),
                    effective_detection: None,
                    number: self.rollup,
                    full: self.rollup == 1,
                    updates: updates.clone(),
                })
                .collect();
            let request = reporting::rollup_status(now, ServerId(self.id), &reports);
            self.call(path, request, |text| reporting::read_status_answer(text)).await?;
        }
        Ok(())
    }

    fn report(&self, now: Timestamp) -> ServerReport {
        ServerReport {
            id: ServerId(self.id),
            name: self.name.clone(),
            last_sync: Some(now),
            parent: None,
            version: "10.0.20348.1".to_owned(),
            is_replica: false,
            last_rollup: Some(now),
            summary: None,
            clients: Vec::new(),
        }
    }

    fn computer_id(&self, number: u32) -> ComputerId {
        ComputerId(Uuid::new_v5(&self.id, &number.to_be_bytes()).to_string())
    }

    fn computer(&self, number: u32, now: Timestamp) -> RolledComputer {
        RolledComputer {
            id: self.computer_id(number),
            last_sync: Some(now),
            last_result: SyncResult::Succeeded,
            last_reboot: None,
            last_status: Some(now),
            last_inventory: None,
            parent: ServerId(self.id),
            details: (self.rollup == 0).then(|| ComputerDetails {
                groups: vec![GroupId::UNASSIGNED_COMPUTERS],
                name: format!("pc-{number:05}.{}", self.name),
                make: "Tailwater".to_owned(),
                model: "Simulated machine".to_owned(),
                os_description: "Windows 11 Pro".to_owned(),
                ..ComputerDetails::default()
            }),
        }
    }

    /// One SOAP exchange, measured.
    async fn call<T>(
        &mut self,
        path: &'static str,
        request: sync::Request,
        read: impl FnOnce(&[u8]) -> Result<T, SoapError>,
    ) -> Result<T, AgentError> {
        let (operation, start) = (request.operation, Instant::now());
        let answer = self.exchange(path, request).await;
        let took = start.elapsed();
        let result =
            answer.and_then(|text| read(&text).map_err(|source| AgentError::Soap { operation, source }));
        self.shared.figures.record(operation, took, result.is_ok());
        result
    }

    async fn exchange(&mut self, path: &'static str, asked: sync::Request) -> Result<Bytes, AgentError> {
        let operation = asked.operation;
        let mut request = Request::post(path)
            .header(HOST, &self.connection.server().authority)
            .header(CONTENT_TYPE, Version::V11.content_type())
            .header(ACCEPT_ENCODING, "xpress")
            .header("SOAPAction", &asked.action);
        if let Some(token) = &self.shared.config.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let refuse = |_bad| AgentError::Address { address: self.shared.config.server.clone() };
        let request = request.body(Full::new(Bytes::from(asked.body))).map_err(refuse)?;
        let answer = self.connection.send(operation, request).await?;
        envelope_of(answer, operation, &self.shared.figures).await
    }
}
