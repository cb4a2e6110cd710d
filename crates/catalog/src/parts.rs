//! The parts of the catalog, and how they are made of what a store holds.
//!
//! Each part owns its state and stands on parts below it: storage; the snapshot in force; changes of decisions; texts;
//! then ingest, decisions, the fleet and its branches; the query over all of them.
//!
//! **Invariant:** a part is made of what the index says before anybody can ask for it. Nothing is decided here.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::computers::counting::Counting;
use super::computers::fleet::Fleet;
use super::computers::members::Members;
use super::computers::news::News;
use super::config::Config;
use super::decisions::change::Changes;
use super::decisions::decided::Decisions;
use super::decisions::decider::Decider;
use super::error::CatalogError;
use super::ingest::load::load;
use super::ingest::part::Ingest;
use super::keyring::Rings;
use super::query::lookup::Query;
use super::servers::descendants::Descendants;
use super::servers::part::Servers;
use super::servers::rollup::Branches;
use super::snapshot::current::Current;
use super::storage::client_state::ClientState;
use super::storage::damage::Note;
use super::storage::handle::Storage;
use super::storage::lineage::Lineage;
use super::storage::opening::{open_log, take};
use super::storage::rebuild::{index_setup, set_index_aside};
use super::texts::Texts;
use tailwater_runtime::Clock;

/// What a catalog consists of.
pub(crate) struct Parts {
    pub storage: Arc<Storage>,
    pub current: Arc<Current>,
    pub texts: Arc<Texts>,
    pub decider: Decider,
    pub ingest: Arc<Ingest>,
    pub fleet: Arc<Fleet>,
    pub branches: Arc<Branches>,
    pub query: Query,
    pub rings: Rings,
    pub news: Arc<News>,
}

/// The catalog. Cheap to clone; clones share one store.
#[derive(Clone)]
pub struct Catalog(pub(crate) Arc<Parts>);

impl Catalog {
    /// Opens the store in `config.dir`, making it when absent, and builds the snapshot. Blocks.
    ///
    /// # Errors
    /// When another process holds the store, or it cannot be read.
    pub fn open(config: Config, clock: Clock) -> Result<Self, CatalogError> {
        let lock = take(&config)?;
        let config = Arc::new(config);
        let opened = Parts::open(&config, clock.clone(), &lock, &mut |_, _| {});
        let parts = match opened {
            Err(error) if error.is_damage() => {
                // what the engine takes for whole may be damaged all the same: it is made from the segments once
                let aside = set_index_aside(&config)?;
                tracing::error!(%error, aside = %aside.display(),
                    "the index of the catalog is damaged: it was set aside, and is made again from the segments");
                Parts::open(&config, clock, &lock, &mut |_, _| {})?
            }
            other => other?,
        };
        Ok(Self(Arc::new(parts)))
    }
}

/// Sets the index of a store that nobody has open aside and makes it again from the segments at once. `progress` is told
/// how many bytes were read, of how many. Says where the former index is, where there was one. Blocks.
///
/// # Errors
/// When another process has the store, or the segments cannot be read.
pub fn rebuild(
    config: Config,
    clock: Clock,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Option<PathBuf>, Catalog), CatalogError> {
    let lock = take(&config)?;
    let former = index_setup(&config).dir.exists().then(|| set_index_aside(&config)).transpose()?;
    let parts = Parts::open(&Arc::new(config), clock, &lock, progress)?;
    Ok((former, Catalog(Arc::new(parts))))
}

impl Parts {
    /// Opens a store whose lock is ours; `progress` is told of an index that is made again.
    fn open(
        config: &Arc<Config>,
        clock: Clock,
        lock: &File,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, CatalogError> {
        let log = open_log(config, &clock, progress)?;
        let loaded = load(&log)?;
        let members = Members::load(log.kv())?;
        let (mut decisions, deployment) = Decisions::load(log.kv())?;
        // earlier versions numbered moves as well
        decisions.change = members.all().iter().map(|one| one.moved_at).fold(decisions.change, u64::max);
        let (config, ids) = (Arc::clone(config), log.ids());
        let (graph, decisions) = (Arc::new(loaded.world), Arc::new(decisions));
        let current = Current::new(graph, decisions, config.offer, config.remembered_answers);
        let change = current.snapshot().change_number();
        ids.raise_revision(loaded.next_id);
        ids.raise_block(loaded.next_block.max(loaded.active.watermark));
        ids.raise_decisions(change, deployment);
        let (lineage, begin) = Lineage::load(log.kv(), change, &loaded.content)?;
        let damage = Note::load(log.kv())?;
        let lock = lock.try_clone().map_err(|source| {
            let path = config.dir.clone();
            CatalogError::File { path, action: "locked", source }
        })?;
        let storage = Arc::new(Storage::new(log, lineage, clock, lock));
        if !begin.is_empty() {
            match storage.journal(begin) {
                // marks begin when there is room; until then they last as long as the process
                Err(error) if error.is_read_only() => {
                    tracing::debug!(%error, "the first mark of the store is kept in memory");
                }
                other => other?,
            }
        }
        let parts = Self::over(
            storage,
            Arc::new(current),
            config,
            members,
            |storage, current, changes, texts, config| {
                Ingest::new(storage, current, changes, texts, config, loaded.staged, damage)
            },
        )?;
        parts.ingest.note_damaged(&loaded.damaged);
        parts.fleet.count_members()?;
        parts.branches.descendants().count_descendants()?;
        Ok(parts)
    }

    /// The parts over one storage.
    fn over(
        storage: Arc<Storage>,
        current: Arc<Current>,
        config: Arc<Config>,
        members: Members,
        ingest: impl FnOnce(Arc<Storage>, Arc<Current>, Arc<Changes>, Arc<Texts>, Arc<Config>) -> Ingest,
    ) -> Result<Self, CatalogError> {
        let (counts, news) = (Arc::<Counting>::default(), Arc::<News>::default());
        let changes = Arc::new(Changes::new(storage.clone(), current.clone()));
        let texts = Arc::new(Texts::new(storage.clone(), changes.clone(), config.clone()));
        let ingest = Arc::new(ingest(
            storage.clone(),
            current.clone(),
            changes.clone(),
            texts.clone(),
            config.clone(),
        ));
        let decider = Decider::new(storage.clone(), current.clone(), changes, texts.clone(), config.clone());
        let state = Arc::new(ClientState::load(storage.clone(), config.clone())?);
        let fleet =
            Fleet::new(state.clone(), current.clone(), config.clone(), counts.clone(), news.clone(), members);
        let fleet = Arc::new(fleet);
        let servers = Arc::new(Servers::load(state.clone(), config.clone())?);
        let descendants = Descendants::load(
            state.clone(),
            config.clone(),
            fleet.clone(),
            servers.clone(),
            current.clone(),
            counts,
            news.clone(),
        )?;
        let branches = Branches::new(state, current.clone(), fleet.clone(), servers, Arc::new(descendants));
        let branches = Arc::new(branches);
        let query = Query::new(
            storage.clone(),
            current.clone(),
            texts.clone(),
            ingest.clone(),
            fleet.clone(),
            branches.clone(),
        );
        let rings = Rings::new(storage.clone(), config);
        Ok(Self { storage, current, texts, decider, ingest, fleet, branches, query, rings, news })
    }
}
