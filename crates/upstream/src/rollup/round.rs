//! One roll-up: what is told, and what is remembered of it.
//!
//! Invariant: only what changed since the upstream took it travels, within the batches it asks for; what it took is
//! written down before the next request, so that a kill costs one request again. It never fails a synchronisation.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::blocking::blocking;
use crate::error::SyncError;
use crate::report::Outcome;
use crate::session::Session;
use crate::state;
use tailwater_catalog::{Catalog, CatalogError, Epoch};
use tailwater_domain::{ComputerId, ServerId};
use tailwater_runtime::Clock;
use tailwater_wire::server_reporting::{self as wire, RollupConfiguration};

const STATE_KEY: &str = "upstream.rollup";
/// Computers that are looked at, at a time.
pub(super) const CHUNK: usize = 1_000;
/// How often it is asked whether it still has everything it was told.
const CHECK_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24 * 7);

// not a limit: CHECK_EVERY: how often completeness is checked

/// What is remembered between roll-ups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    url: String,
    /// `ServerId` and `RollupResetGuid` of the upstream when it was last told.
    server: Uuid,
    reset: Uuid,
    epoch: Epoch,
    /// When everything was last compared.
    checked_at: Option<Timestamp>,
    /// The last that succeeded.
    pub(super) last: Option<RollupReport>,
}

/// What a roll-up told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollupReport {
    /// When it ended.
    pub at: Timestamp,
    /// Servers told of, this one included.
    pub servers: usize,
    /// Rows of computers told.
    pub computers: usize,
    /// Reports of what computers have.
    pub statuses: usize,
    /// Bytes of requests' bodies, as they went.
    pub sent: u64,
}

impl Kept {
    /// What was told before. What cannot be read now is an error: begun anew, it would replace what is kept.
    pub(super) fn load(catalog: &Catalog, url: &str) -> Result<Self, CatalogError> {
        let kept: Option<Self> = catalog.json(STATE_KEY)?;
        Ok(match kept {
            Some(kept) if kept.url == url => kept,
            // another upstream was told nothing
            Some(kept) => Self { url: url.to_owned(), epoch: kept.epoch.wrapping_add(1), ..Self::default() },
            None => Self { url: url.to_owned(), epoch: 1, ..Self::default() },
        })
    }

    fn store(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        catalog.set_json(STATE_KEY, self)
    }
}

/// One roll-up.
pub(super) struct Rollup {
    pub(super) session: Arc<Session>,
    pub(super) catalog: Catalog,
    pub(super) clock: Clock,
    pub(super) ours: ServerId,
    pub(super) is_replica: bool,
    pub(super) url: String,
    pub(super) stopping: CancellationToken,
}

impl Rollup {
    /// Runs what may block on the disk.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, SyncError> {
        let catalog = self.catalog.clone();
        Ok(blocking(move || work(&catalog)).await??)
    }

    /// Whether computers say something that the upstream was not told.
    pub(super) async fn has_news(&self) -> Result<bool, SyncError> {
        let (url, ours) = (self.url.clone(), self.ours);
        self.ask(move |catalog| {
            let epoch = Kept::load(catalog, &url)?.epoch;
            for some in catalog.told_computers().chunks(CHUNK) {
                if tells(catalog, epoch, ours, some)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    /// Tells what these computers say, and nothing of servers: those have been told of. Nothing is asked of the upstream
    /// when they say nothing new.
    pub(super) async fn run_for(&self, ids: Vec<ComputerId>) -> Result<Option<RollupReport>, SyncError> {
        let (url, ours, some) = (self.url.clone(), self.ours, ids.clone());
        let news = self.ask(move |catalog| {
            let epoch = Kept::load(catalog, &url)?.epoch;
            some.chunks(CHUNK)
                .map(|some| tells(catalog, epoch, ours, some))
                .collect::<Result<Vec<_>, CatalogError>>()
        });
        if !news.await?.contains(&true) {
            return Ok(None);
        }
        let sent_before = self.session.packing().sent();
        let request = wire::get_rollup_configuration();
        let configuration = self.session.report(&request, wire::read_configuration).await?;
        let before = self.begin(&configuration).await?;
        if before.checked_at.is_none() || !configuration.detailed {
            // it lost what it was told, or wants numbers only
            return self.run().await.map(Some);
        }
        let computers = self.tell_computers(&configuration, before.epoch, &ids).await?;
        let statuses = self.tell_statuses(&configuration, before.epoch, &ids, false).await?;
        let sent = self.session.packing().sent() - sent_before;
        let report = RollupReport { at: self.clock.now(), servers: 0, computers, statuses, sent };
        let kept = Kept { last: Some(report.clone()), ..before };
        self.ask(move |catalog| kept.store(catalog)).await?;
        Ok(Some(report))
    }

    /// Tells everything there is to tell.
    pub(super) async fn run(&self) -> Result<RollupReport, SyncError> {
        let sent_before = self.session.packing().sent();
        let request = wire::get_rollup_configuration();
        let configuration = self.session.report(&request, wire::read_configuration).await?;
        let mut kept = self.begin(&configuration).await?;
        let servers = self.tell_servers(&configuration).await?;
        let (mut computers, mut statuses) = (0, 0);
        if configuration.detailed {
            let ids = self.ask(|catalog| Ok(catalog.told_computers())).await?;
            computers = self.tell_computers(&configuration, kept.epoch, &ids).await?;
            let now = self.clock.now();
            let every = kept.checked_at.is_none_or(|at| now.duration_since(at) >= CHECK_EVERY);
            statuses = self.tell_statuses(&configuration, kept.epoch, &ids, every).await?;
            if every {
                kept.checked_at = Some(now);
            }
        }
        let sent = self.session.packing().sent() - sent_before;
        let report = RollupReport { at: self.clock.now(), servers, computers, statuses, sent };
        kept.last = Some(report.clone());
        self.ask(move |catalog| kept.store(catalog)).await?;
        Ok(report)
    }

    /// Takes up what was told before, unless the upstream says that it lost it.
    async fn begin(&self, configuration: &RollupConfiguration) -> Result<Kept, SyncError> {
        let (url, server, reset) = (self.url.clone(), configuration.server.0, configuration.reset);
        self.ask(move |catalog| {
            let mut kept = Kept::load(catalog, &url)?;
            if (kept.server, kept.reset) != (server, reset) {
                if !kept.server.is_nil() {
                    kept.epoch = kept.epoch.wrapping_add(1);
                }
                (kept.server, kept.reset, kept.checked_at) = (server, reset, None);
                kept.store(catalog)?;
            }
            Ok(kept)
        })
        .await
    }
}

/// Whether some of these computers say what was not told.
fn tells(catalog: &Catalog, epoch: Epoch, ours: ServerId, ids: &[ComputerId]) -> Result<bool, CatalogError> {
    Ok(!catalog.computers_to_tell(epoch, ours, ids)?.is_empty()
        || !catalog.statuses_to_tell(epoch, ids, false)?.is_empty())
}

/// When this server synchronised, as far as the history goes.
pub(super) fn synchronised(catalog: &Catalog) -> Vec<Timestamp> {
    let history = state::history(catalog);
    let good = |outcome: Outcome| matches!(outcome, Outcome::Complete | Outcome::Partial);
    history.iter().filter(|report| good(report.outcome)).map(|report| report.ended_at).collect()
}
