//! Why the server cannot run, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::holder::Holder;
use tailwater_bandwidth::LinkError;
use tailwater_catalog::CatalogError;
use tailwater_content::ContentError;
use tailwater_ledger::LedgerError;
use tailwater_needs::NeedsError;
use tailwater_serve::ListenerError;
use tailwater_serve::admin::TokenError;
use tailwater_upstream::SyncError;

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Another process holds the data directory.
    #[error("the data directory {path} is in use by process {pid}{what}; stop it, or set another server.data_dir",
        path = path.display(), pid = holder.pid,
        what = if holder.admin.is_some() { " (a server)" } else { " (a command)" })]
    Locked {
        /// Which directory.
        path: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// The data directory cannot be used.
    #[error("the data directory {path} cannot be {action}; check the path, its owner and the disk", path = path.display())]
    DataDir {
        /// Which directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A listener is not available.
    #[error("{key}: the listener is not available")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Why.
        #[source]
        source: ListenerError,
    },
    /// The catalog cannot be opened.
    #[error("the catalog cannot be opened")]
    Catalog(#[source] CatalogError),
    /// What was learned of needs cannot be opened.
    #[error("what was learned of needs cannot be opened; its folder `needs` may be deleted")]
    Needs(#[source] NeedsError),
    /// The payloads cannot be opened.
    #[error("the store of payloads cannot be opened")]
    Content(#[source] ContentError),
    /// The link cannot be set up.
    #[error("the link to upstream cannot be set up; check upstream.proxy, ca_file and client_certificate")]
    Link(#[source] LinkError),
    /// The ledger cannot be opened.
    #[error("the ledger of bytes cannot be opened")]
    Ledger(#[source] LedgerError),
    /// What is remembered of the upstream cannot be read.
    #[error("what is remembered of the upstream cannot be taken up")]
    Upstream(#[source] SyncError),
    /// The admin token is not available.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A worker died while the server was put together.
    #[error("a worker failed while the server was put together; see the log, and report this")]
    Worker(#[source] tokio::task::JoinError),
    /// Signals cannot be listened to.
    #[error("the system does not deliver signals to this process")]
    Signals(#[source] io::Error),
}
