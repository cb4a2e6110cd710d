//! One agent: handshake, scans, downloads, reports, in the order in which Windows does it.
//!
//! **Invariant:** what it knows it was told by the server. It never installs anything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::Full;
use tokio::time::Instant;

use super::answer::{self, Offer, ServerConfig};
use super::config::Config;
use super::download;
use super::fragment::{self, Core};
use super::machine::Machine;
use super::message::{self, Cookie, Event, Message};
use crate::load::{AgentError, Connection, Figures, Server, between, envelope_of};
use tailwater_domain::{Sha1Digest, UpdateId};
use tailwater_runtime::{Clock, Tasks};
use tailwater_wire::soap::{SoapError, Style, Version, envelope};

/// Requests of one scan after which a real agent gives up (0x80244010).
const MAX_TRIPS: u32 = 200;

/// How often an agent shakes hands again within a scan.
const MAX_HANDSHAKES: u32 = 3;

/// Core fragments that were read, by revision and length: machines of one fleet are told the same.
#[derive(Default)]
pub(super) struct Library(Mutex<HashMap<(u32, usize), Arc<Core>>>);

impl Library {
    fn read(&self, offer: &Offer) -> Result<Arc<Core>, AgentError> {
        let key = (offer.id, offer.core.len());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(core) = known {
            return Ok(core);
        }
        let read = answer::unescaped(&offer.core).and_then(|xml| Core::read(&xml));
        let core =
            read.map_err(|source| AgentError::Fragment { fragment: "Core", revision: offer.id, source })?;
        let core = Arc::new(core);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&core));
        Ok(core)
    }
}

/// A revision in an agent's cache.
struct Cached {
    core: Arc<Core>,
    action: String,
    is_leaf: bool,
}

/// What all agents of a run share.
pub(super) struct Fleet {
    pub(super) config: Config,
    pub(super) server: Arc<Server>,
    pub(super) figures: Arc<Figures>,
    pub(super) library: Library,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
}

/// An agent.
pub(super) struct Agent {
    fleet: Arc<Fleet>,
    number: u32,
    machine: Machine,
    connection: Connection,
    server_config: Option<ServerConfig>,
    cookie: Cookie,
    cache: BTreeMap<u32, Cached>,
    /// What it downloaded and calls installed.
    installed: HashSet<UpdateId>,
}

impl Agent {
    pub(super) fn new(number: u32, fleet: &Arc<Fleet>) -> Self {
        let machine = Machine::new(&fleet.config.server, fleet.config.seed, number, fleet.config.kinds);
        Self {
            number,
            cookie: fleet.config.cookies.as_ref().map(|kept| kept.of(machine.id)).unwrap_or_default(),
            machine,
            connection: Connection::new(Arc::clone(&fleet.server), &fleet.tasks),
            server_config: None,
            cache: BTreeMap::new(),
            installed: HashSet::new(),
            fleet: Arc::clone(fleet),
        }
    }

    /// Scans as often as it should, and does what follows from each scan.
    pub(super) async fn live(&mut self) -> Result<(), AgentError> {
        for round in 0..self.fleet.config.rounds {
            if round > 0 {
                let chance = u64::from(self.number) << 32 | u64::from(round);
                self.fleet.clock.sleep(between(self.fleet.config.think, chance)).await;
            }
            self.scan().await?;
            let applicable = self.applicable();
            self.report_scan(&applicable).await?;
            if self.fleet.config.download {
                self.install(&applicable).await?;
            }
            if let Some(kept) = &self.fleet.config.cookies {
                kept.keep(self.machine.id, &self.cookie);
            }
        }
        Ok(())
    }

    /// A whole scan; shakes hands again where a fault asks for it.
    async fn scan(&mut self) -> Result<(), AgentError> {
        let mut handshakes = 0;
        loop {
            if self.cookie.data.is_empty() {
                handshakes += 1;
                self.handshake().await?;
            }
            match self.scan_once().await {
                Ok(()) => break,
                Err(error) => match error.code() {
                    Some("InvalidCookie" | "CookieExpired" | "ServerChanged" | "ConfigChanged")
                        if handshakes < MAX_HANDSHAKES =>
                    {
                        self.cookie = Cookie::default();
                    }
                    Some("RegistrationRequired") if handshakes < MAX_HANDSHAKES => {
                        handshakes += 1;
                        self.register().await?;
                    }
                    _ => return Err(error),
                },
            }
        }
        self.fleet.figures.add(|report| report.scans += 1);
        Ok(())
    }

    async fn handshake(&mut self) -> Result<(), AgentError> {
        let config = self.call(message::get_config(), answer::config).await?;
        let group = self.fleet.config.group.clone();
        let request = message::get_authorization(&self.machine, group.as_deref());
        let (plug_in, data) = self.call(request, answer::authorization).await?;
        let now = self.fleet.clock.now();
        let request = message::get_cookie(&plug_in, &data, &config.last_change, now);
        self.cookie = self.call(request, answer::cookie).await?;
        let must_register = config.needs_registration;
        self.server_config = Some(config);
        if must_register { self.register().await } else { Ok(()) }
    }

    async fn register(&mut self) -> Result<(), AgentError> {
        let request = message::register(&self.cookie, &self.machine);
        self.call(request, |text| answer::nothing(text, "RegisterComputer")).await
    }

    async fn scan_once(&mut self) -> Result<(), AgentError> {
        for _trip in 0..MAX_TRIPS {
            let (installed, other) = self.held();
            let request = message::sync_updates(&self.cookie, &installed, &other, false);
            let round = self.call(request, answer::round).await?;
            let grew = round.new.iter().any(|offer| !offer.is_leaf);
            let done = !round.truncated && !grew;
            self.learn(round)?;
            if done {
                return if self.fleet.config.drivers { self.driver_pass().await } else { Ok(()) };
            }
        }
        Err(AgentError::TooManyTrips { limit: MAX_TRIPS })
    }

    async fn driver_pass(&mut self) -> Result<(), AgentError> {
        let (installed, _) = self.held();
        let request = message::sync_updates(&self.cookie, &installed, &[], true);
        let round = self.call(request, answer::round).await?;
        // drivers are offered, not cached: the simulated machine has them all
        if let Some(cookie) = round.cookie {
            self.cookie = cookie;
        }
        Ok(())
    }

    /// Non-leaf revisions that are installed, and everything else in the cache.
    fn held(&self) -> (Vec<u32>, Vec<u32>) {
        let traits = &self.machine.traits;
        let (installed, other): (Vec<_>, Vec<_>) =
            self.cache.iter().partition(|(_, cached)| !cached.is_leaf && cached.core.is_installed(traits));
        let ids = |list: Vec<(&u32, &Cached)>| list.into_iter().map(|(&id, _)| id).collect();
        (ids(installed), ids(other))
    }

    fn learn(&mut self, round: answer::Round) -> Result<(), AgentError> {
        self.fleet.figures.add(|report| report.updates += round.new.len() as u64);
        for id in round.out_of_scope {
            self.cache.remove(&id);
        }
        for offer in round.changed {
            if let Some(cached) = self.cache.get_mut(&offer.id) {
                cached.action = offer.action;
                cached.is_leaf = offer.is_leaf;
            }
        }
        for offer in round.new {
            let core = self.fleet.library.read(&offer)?;
            self.cache.insert(offer.id, Cached { core, action: offer.action, is_leaf: offer.is_leaf });
        }
        if let Some(cookie) = round.cookie {
            self.cookie = cookie;
        }
        Ok(())
    }

    /// Updates that this machine lacks, approved or not, each with the revisions whose files it would
    /// install. Parts of bundles count with their bundles only.
    fn applicable(&self) -> Vec<(u32, Vec<u32>)> {
        let traits = &self.machine.traits;
        let by_update: HashMap<UpdateId, u32> =
            self.cache.iter().filter_map(|(&id, cached)| Some((cached.core.update?, id))).collect();
        let wanted = |id: &u32| {
            let core = &self.cache.get(id)?.core;
            let update = core.update?;
            let lacks = !self.installed.contains(&update) && !core.is_installed(traits);
            (lacks && core.is_installable(traits)).then_some(*id)
        };
        let mut applicable = Vec::new();
        let offered = |action: &str| matches!(action, "Install" | "PreDeploymentCheck");
        for (&id, cached) in self.cache.iter().filter(|(_, cached)| offered(&cached.action)) {
            let parts: Vec<u32> = if cached.core.bundled.is_empty() {
                wanted(&id).into_iter().collect()
            } else {
                let inside = cached.core.bundled.iter().flatten();
                inside.filter_map(|update| by_update.get(update)).filter_map(wanted).collect()
            };
            let is_installed = cached.core.update.is_some_and(|update| self.installed.contains(&update));
            if !parts.is_empty() && !is_installed {
                applicable.push((id, parts));
            }
        }
        applicable
    }

    async fn report_scan(&mut self, applicable: &[(u32, Vec<u32>)]) -> Result<(), AgentError> {
        let upper = |update: UpdateId| update.to_string().to_uppercase();
        let updates: Vec<String> = applicable
            .iter()
            .filter_map(|(id, _)| self.cache.get(id).and_then(|cached| cached.core.update))
            .map(upper)
            .collect();
        let mut details = vec![format!("C={}", updates.len())];
        if !updates.is_empty() {
            details.push(format!("U={}", updates.join(";")));
        }
        if !self.installed.is_empty() {
            let list: Vec<String> = self.installed.iter().copied().map(upper).collect();
            details.push(format!("V={}", list.join(";")));
        }
        let detected = Event { number: 147, update: None, details: vec![format!("C={}", updates.len())] };
        self.report(&[detected, Event { number: 156, update: None, details }]).await
    }

    async fn report(&mut self, events: &[Event]) -> Result<(), AgentError> {
        let now = self.fleet.clock.now();
        let request = message::report(&self.cookie, &self.machine, events, now);
        self.call(request, |text| answer::nothing(text, "ReportEventBatch")).await
    }

    /// Downloads what is approved, checks it, and says so.
    async fn install(&mut self, applicable: &[(u32, Vec<u32>)]) -> Result<(), AgentError> {
        let mut fetched: HashMap<Sha1Digest, bool> = HashMap::new();
        let offered = applicable.iter().filter_map(|(id, _)| self.cache.get(id));
        let installs = offered.filter(|cached| cached.action == "Install");
        // of two approved ones that it could install, the newer
        let replaced: HashSet<UpdateId> =
            installs.flat_map(|cached| &cached.core.supersedes).copied().collect();
        for (id, parts) in applicable {
            let approved = self.cache.get(id).filter(|cached| {
                cached.action == "Install"
                    && cached.core.update.is_none_or(|update| !replaced.contains(&update))
            });
            let Some((update, revision)) =
                approved.and_then(|cached| Some((cached.core.update?, cached.core.revision)))
            else {
                continue;
            };
            let mut asked = parts.clone();
            asked.push(*id);
            asked.dedup();
            let mut whole = true;
            for (file, url) in self.files(&asked).await? {
                if let std::collections::hash_map::Entry::Vacant(place) = fetched.entry(file.sha1) {
                    place.insert(self.download(&file, &url).await?);
                }
                whole &= fetched.get(&file.sha1) == Some(&true);
            }
            let event = |number| Event { number, update: Some((update, revision)), details: Vec::new() };
            let events = if whole {
                self.installed.insert(update);
                let parts = parts.iter().filter_map(|id| self.cache.get(id)?.core.update);
                self.installed.extend(parts);
                vec![event(167), event(162), event(181), event(183)]
            } else {
                vec![event(167), event(161)]
            };
            self.report(&events).await?;
        }
        Ok(())
    }

    /// The files of revisions with their addresses; express files are left out, as without delta downloads.
    async fn files(&mut self, revisions: &[u32]) -> Result<Vec<(fragment::File, String)>, AgentError> {
        let batch = self.server_config.as_ref().map_or(50, |config| config.batch);
        let mut list = Vec::new();
        for ids in revisions.chunks(batch) {
            let request = message::extended(&self.cookie, ids, self.machine.traits.language);
            let extended = self.call(request, answer::extended).await?;
            let urls: HashMap<_, _> = extended.locations.into_iter().collect();
            for (revision, text) in extended.fragments {
                let read = answer::unescaped(&text).and_then(|xml| fragment::files(&xml));
                let files =
                    read.map_err(|source| AgentError::Fragment { fragment: "Extended", revision, source })?;
                for file in files.into_iter().filter(|file| !file.is_express) {
                    if let Some(url) = urls.get(&file.sha1) {
                        list.push((file, url.clone()));
                    }
                }
            }
        }
        Ok(list)
    }

    async fn download(&mut self, file: &fragment::File, url: &str) -> Result<bool, AgentError> {
        let shuffle = (u64::from(self.number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (connections, figures) = (self.fleet.config.connections, Arc::clone(&self.fleet.figures));
        let good = download::fetch(url, file, connections, shuffle, &figures, &self.fleet.tasks).await?;
        figures.add(|report| if good { report.files += 1 } else { report.files_wrong += 1 });
        Ok(good)
    }

    /// One SOAP exchange, measured.
    async fn call<T>(
        &mut self,
        message: Message,
        read: impl FnOnce(&[u8]) -> Result<T, SoapError>,
    ) -> Result<T, AgentError> {
        let (operation, start) = (message.operation, Instant::now());
        let answer = self.exchange(message).await;
        let took = start.elapsed();
        let result =
            answer.and_then(|text| read(&text).map_err(|source| AgentError::Soap { operation, source }));
        self.fleet.figures.record(operation, took, result.is_ok());
        result
    }

    async fn exchange(&mut self, message: Message) -> Result<Bytes, AgentError> {
        let Message { service, operation, content } = message;
        let namespace = service.namespace();
        let body = format!("<{operation} xmlns=\"{namespace}\">{content}</{operation}>");
        let mut request = Request::post(service.path())
            .header(HOST, &self.connection.server().authority)
            .header(CONTENT_TYPE, "text/xml; charset=utf-8")
            .header(USER_AGENT, "Windows-Update-Agent/1507.2601.30012.0 Client-Protocol/2.90")
            .header("SOAPAction", format!("\"{}/{operation}\"", namespace.trim_end_matches('/')));
        if self.fleet.config.compressed {
            request = request.header(ACCEPT_ENCODING, "xpress");
        }
        let text = envelope(Version::V11, Style::Client, &body);
        let refuse = |_bad| AgentError::Address { address: self.fleet.config.server.clone() };
        let request = request.body(Full::new(Bytes::from(text))).map_err(refuse)?;
        let answer = self.connection.send(operation, request).await?;
        envelope_of(answer, operation, &self.fleet.figures).await
    }
}
