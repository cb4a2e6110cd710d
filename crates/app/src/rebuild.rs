//! Makes the indexes of a data directory again from what they stand on: that of the catalog from the segments, that of
//! payloads from the maps beside them.
//!
//! **Invariant:** the former indexes are set aside under other names. It never runs beside a server, and never changes a
//! segment or a payload.

use serde::Serialize;

use super::error::AppError;
use super::lock::DataDir;
use super::settings::{catalog_config, content_config};
use tailwater_catalog as catalog;
use tailwater_config::Loaded;
use tailwater_content::Store;
use tailwater_durable::set_aside;
use tailwater_runtime::Clock;

/// What was made.
#[derive(Debug, Clone, Serialize)]
pub struct Rebuilt {
    /// Where the former indexes lie, below the data directory; they may be removed.
    pub set_aside: Vec<String>,
    /// Revisions in the catalog.
    pub revisions: usize,
    /// Updates in the catalog.
    pub updates: usize,
    /// Revisions whose texts are damaged: the next synchronisation fetches them again.
    pub damaged: usize,
    /// Payloads that are held, whole or in part.
    pub files: u64,
    /// Bytes of them.
    pub held: u64,
}

/// Makes them again; `progress` is told how many bytes of segments were read, of how many. Blocks.
///
/// # Errors
/// [`AppError::Locked`] while a server or another command has the data directory.
pub fn rebuild_store(
    loaded: &Loaded,
    clock: &Clock,
    mut progress: impl FnMut(u64, u64),
) -> Result<Rebuilt, AppError> {
    let settings = &loaded.settings;
    let dir = DataDir::lock(&settings.server.data_dir)?;
    let mut aside = Vec::new();
    let config = catalog_config(settings, &dir);
    let (former, catalog) =
        catalog::rebuild(config, clock.clone(), &mut progress).map_err(AppError::Catalog)?;
    aside.extend(former);
    let content_config = content_config(settings, &dir);
    let index = content_config.dir.join("index");
    match set_aside(&index) {
        Ok(former) => aside.push(former),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(AppError::DataDir { path: index, action: "set aside", source }),
    }
    let content = Store::open_on(content_config, clock.clone(), dir.disk()).map_err(AppError::Content)?;
    let (totals, usage) = (catalog.totals(), content.usage());
    content.close().map_err(AppError::Content)?;
    let below = |path: std::path::PathBuf| {
        path.strip_prefix(dir.path())
            .map_or_else(|_e| path.display().to_string(), |path| path.display().to_string())
    };
    Ok(Rebuilt {
        set_aside: aside.into_iter().map(below).collect(),
        revisions: totals.revisions,
        updates: totals.updates,
        damaged: totals.damaged,
        files: usage.files,
        held: usage.held,
    })
}
