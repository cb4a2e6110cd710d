//! What the API's handlers stand on: the rooms they speak to, and how they fail.
//!
//! **Invariant:** calls that may wait for a disk run on the blocking pool. Handlers never reach beyond
//! [`Services`].

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::error::{ApiError, causes};
use super::shown;
use super::token::WrongTokens;
use tailwater_api::{self as api, Failure};
use tailwater_bandwidth::{CongestionYield, EgressLimiter, Limiter, Meter, Timetable};
use tailwater_catalog::{Catalog, CatalogError};
use tailwater_content::{self as content, Store};
use tailwater_domain::{FileDeclaration, UpdateId};
use tailwater_durable::Disk;
use tailwater_ledger::{By, Ledger};
use tailwater_needs as needs;
use tailwater_runtime::{Clock, Tasks, while_wanted};
use tailwater_transfer::{self as transfer, SourceStatus};

pub(super) type Result<T, E = ApiError> = std::result::Result<T, E>;

/// What the server says of itself.
#[derive(Debug)]
pub struct About {
    /// When it was built.
    pub started_at: Timestamp,
    /// The upstream's address, fit to be shown.
    pub upstream: String,
    /// Whether decisions are made upstream (`upstream.mode`).
    pub replica: bool,
    /// Where agents are answered; empty when a command opened the store without a server.
    pub listen: Mutex<Vec<String>>,
    /// `content.fetch`, as configured.
    pub fetch: String,
    /// `downstream.policy`, as configured.
    pub downstream_policy: String,
    /// What a reload may change.
    pub in_force: Mutex<Arc<InForce>>,
}

/// What of the configuration is in force, as far as a reload may change it.
#[derive(Debug, Clone)]
pub struct InForce {
    /// `content.max_size`, as configured.
    pub max_size: String,
    /// Products asked for, by name or GUID; empty means all.
    pub products: Vec<String>,
    /// Classifications asked for, by name or GUID; empty means all.
    pub classifications: Vec<String>,
    /// What is in force and where each value came from, without secrets.
    pub configuration: api::Configuration,
}

/// Everything the API may touch.
pub struct Parts {
    /// Whether what changes can be written.
    pub disk: Disk,
    /// What is known.
    pub catalog: Catalog,
    /// What is held.
    pub content: Store,
    /// What is fetched.
    pub transfers: transfer::Handle,
    /// What computers here need.
    pub needs: needs::Handle,
    /// The link's rate.
    pub limiter: Limiter,
    /// Which rate holds when.
    pub timetable: Timetable,
    /// What lets transfers yield to other traffic, where they do.
    pub congestion: Option<CongestionYield>,
    /// The link's counts.
    pub meter: Meter,
    /// What the link carried and saved.
    pub ledger: Ledger,
    /// Synchronisation.
    pub sync: super::Control,
    /// The time.
    pub clock: Clock,
    /// The workers.
    pub tasks: Tasks,
    /// The server.
    pub about: About,
    /// Told after every decision, so that files to hold ahead are looked at again.
    pub decisions: Arc<Notify>,
    /// Bytes of payloads sent to agents.
    pub served: Arc<std::sync::atomic::AtomicU64>,
    /// Turns of downstream tailwaters.
    pub slots: crate::peer::Slots,
    /// Connections of agents and downstream servers, once they are listened for.
    pub connections: std::sync::OnceLock<crate::Connections>,
    /// Rates towards agents and downstream servers, where there are any.
    pub egress: Option<EgressLimiter>,
    /// Whether agents can be answered.
    pub ready: Arc<AtomicBool>,
    /// The last verification.
    pub verification: Mutex<Option<api::Verification>>,
    /// Reads the configuration again, where a server runs that can.
    pub reload: std::sync::OnceLock<super::Reload>,
}

/// Handle of [`Parts`]; what every handler is given.
#[derive(Clone)]
pub struct Services(Arc<Shared>);

struct Shared {
    parts: Parts,
    wrong_tokens: WrongTokens,
}

impl Services {
    /// Shares the parts.
    pub fn new(parts: Parts) -> Self {
        let wrong_tokens = WrongTokens::new(&parts.clock);
        Self(Arc::new(Shared { parts, wrong_tokens }))
    }

    pub(super) fn wrong_tokens(&self) -> &WrongTokens {
        &self.0.wrong_tokens
    }

    /// Whether agents can be answered.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Bytes of payloads sent to agents and downstream servers, as long as the ledger goes back.
    pub(super) fn served_bytes(&self) -> u64 {
        self.ledger.before().served.saturating_add(self.served.load(Ordering::Relaxed))
    }

    /// Bytes that transfers still have to fetch.
    pub(super) fn wanted_bytes(&self) -> u64 {
        self.transfers.list().iter().map(|transfer| transfer.size.saturating_sub(transfer.held)).sum()
    }

    /// The servers that payloads come from, with what the ledger keeps of each.
    pub(super) fn sources(&self) -> Vec<SourceStatus> {
        let mut sources = self.transfers.servers();
        for source in &mut sources {
            let kept = self.ledger.kept_of(By::Source, &source.source).payload;
            // the ledger is written every two seconds
            source.received = source.received.max(kept);
        }
        sources
    }

    /// A file with how much of it is cached.
    pub(super) fn file_row(&self, file: &FileDeclaration) -> api::File {
        let status = self.content.status(&file.sha1);
        let progress = |status: &content::FileStatus| shown::progress(status.state);
        api::File {
            sha1: file.sha1.hex(),
            sha256: file.sha256.map(|digest| digest.hex()),
            name: file.name.clone(),
            size: file.size,
            patching: file.patching.clone(),
            held: status.as_ref().map_or(0, |status| status.held),
            state: status.as_ref().map_or(api::FileProgress::Missing, progress),
        }
    }

    pub(super) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.about.in_force.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows another configuration from now on.
    pub fn set_in_force(&self, in_force: InForce) {
        *self.about.in_force.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
    }

    pub(super) fn listen(&self) -> Vec<String> {
        self.about.listen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers where agents are answered.
    pub fn set_listen(&self, addresses: Vec<String>) {
        *self.about.listen.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    pub(super) fn verification(&self) -> Option<api::Verification> {
        self.verification.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_verification(&self, verification: api::Verification) {
        *self.verification.lock().unwrap_or_else(PoisonError::into_inner) = Some(verification);
    }
}

impl Deref for Services {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

/// Runs work that may wait for a disk. It ends with what it reads next when the client goes.
pub(super) async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    let ended = while_wanted(work).await.map_err(|error| ApiError::internal(&error))?;
    ended.unwrap_or(Err(ApiError::Unwanted))
}

/// Who a decision is ascribed to.
pub(super) fn decisions_by(name: Option<&str>) -> String {
    let name: String = name.unwrap_or("console").chars().filter(|c| !c.is_control()).take(255).collect();
    if name.trim().is_empty() { "console".to_owned() } else { name }
}

impl From<needs::NeedsError> for ApiError {
    fn from(error: needs::NeedsError) -> Self {
        match error {
            needs::NeedsError::Catalog(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        let next = "see the list";
        match &error {
            CatalogError::Undecided { refused, of } => {
                let row = |(id, error): &(UpdateId, CatalogError)| Failure {
                    update: id.to_string(),
                    error: causes(error),
                    ..Failure::default()
                };
                Self::Undecided { refused: refused.iter().map(row).collect(), of: *of }
            }
            CatalogError::TooManyAtOnce { .. } => {
                Self::Invalid { field: "request", reason: error.to_string() }
            }
            CatalogError::Unwanted => Self::Unwanted,
            error if error.is_read_only() => Self::ReadOnly { reason: causes(error) },
            CatalogError::UnknownUpdate(id) => Self::NotFound { kind: "update", name: id.to_string(), next },
            CatalogError::UnknownGroup(id) => Self::NotFound { kind: "group", name: id.to_string(), next },
            CatalogError::UnknownComputer(id) => {
                Self::NotFound { kind: "computer", name: id.to_string(), next }
            }
            CatalogError::UnknownServer(name) => Self::NotFound {
                kind: "downstream server",
                name: name.clone(),
                next: "`tailwater downstreams list` shows them",
            },
            CatalogError::ServerName { .. } => Self::Invalid { field: "server", reason: error.to_string() },
            CatalogError::AmbiguousServer { .. } | CatalogError::TooManyServers { .. } => {
                Self::Conflict { reason: error.to_string() }
            }
            CatalogError::GroupName(_) => Self::Invalid { field: "name", reason: error.to_string() },
            CatalogError::HoldIsOver => Self::Invalid { field: "until", reason: error.to_string() },
            CatalogError::FixedGroup(_)
            | CatalogError::Replica { .. }
            | CatalogError::TooManyGroups { .. }
            | CatalogError::NotDeployable { .. }
            | CatalogError::Expired(_)
            | CatalogError::NotUninstallable(_)
            | CatalogError::TermsNotAccepted(_)
            | CatalogError::GroupCycle { .. }
            | CatalogError::NothingHeld => Self::Conflict { reason: error.to_string() },
            _ => Self::internal(&error),
        }
    }
}
