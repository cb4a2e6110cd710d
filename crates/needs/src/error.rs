//! Why needs could not be kept or told. Invariant: each says what to do next. It never carries an address.

use tailwater_catalog::CatalogError;
use tailwater_kv as kv;

/// Why needs could not be kept or told.
#[derive(Debug, thiserror::Error)]
pub enum NeedsError {
    /// The memory's store failed.
    #[error("what was learned of needs cannot be stored; it can be deleted: it is learned again")]
    Store(#[from] kv::KvError),
    /// The catalog failed.
    #[error("the catalog cannot be asked for releases")]
    Catalog(#[from] CatalogError),
    /// A row cannot be written.
    #[error("a row of what was learned cannot be written")]
    Row(#[from] postcard::Error),
}
