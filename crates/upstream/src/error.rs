//! Why a synchronisation could not be done, and the next step.

use std::io;
use std::path::PathBuf;

use tailwater_bandwidth::LinkError;
use tailwater_catalog::CatalogError;
use tailwater_wire::soap::{Fault, SoapError};

/// A synchronisation that failed. Addresses in it carry no path and no query.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// One runs already.
    #[error("a synchronisation runs already; watch it with `tailwater sync status`")]
    AlreadyRunning,
    /// Somebody stopped it.
    #[error("the synchronisation was cancelled; what was stored is kept, start it again to go on")]
    Cancelled,
    /// The upstream could not be reached, or broke off more often than is tried.
    #[error("{operation} did not succeed")]
    Link {
        /// What was asked.
        operation: &'static str,
        /// What happened.
        source: LinkError,
    },
    /// The upstream answers with a status that is no answer.
    #[error("the upstream answered {operation} with status {status}; {advice}")]
    Status {
        /// What was asked.
        operation: &'static str,
        /// The status.
        status: u16,
        /// The next step.
        advice: &'static str,
    },
    /// What answers is no update server, or damages its answers.
    #[error(
        "the answer to {operation} is no answer of an update server; check upstream.url, and whether a proxy stands between"
    )]
    Answer {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        source: SoapError,
    },
    /// The upstream reports that it could not answer.
    #[error("{operation} was refused: {fault}; {advice}")]
    Fault {
        /// What was asked.
        operation: &'static str,
        /// What the upstream said.
        fault: Box<Fault>,
        /// The next step.
        advice: &'static str,
    },
    /// An answer is larger than any real one.
    #[error("the answer to {operation} is longer than {limit} bytes; the upstream does not work properly")]
    AnswerTooLong {
        /// What was asked.
        operation: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The upstream sends its visitors elsewhere to authorize.
    #[error(
        "the upstream wants authorization from another server ({service}); this would hand out credentials, so it is refused"
    )]
    ForeignAuthorization {
        /// Scheme and host of the other server.
        service: String,
    },
    /// The configured address is none.
    #[error("{url:?} is no address of an update server; write it like http://server:8530")]
    Url {
        /// What is configured.
        url: String,
    },
    /// It said that it was busy, again and again.
    #[error(
        "the upstream was too busy to hear of computers; what was not told is told with the next roll-up"
    )]
    Busy,
    /// A file of the synchronisation could not be written.
    #[error("{} could not be written; check the disk and its free space", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The published certificate is not the known one.
    #[error(
        "the certificate at {url} has the fingerprint {found}, not the known one; set upstream.ca_file to the root you trust"
    )]
    RootFingerprint {
        /// Where it was fetched.
        url: &'static str,
        /// Its SHA-256.
        found: String,
    },
    /// The published certificate could not be fetched.
    #[error(
        "the trust root of Microsoft's service could not be fetched from {url} (status {status}); set upstream.ca_file"
    )]
    RootStatus {
        /// Where it was asked for.
        url: &'static str,
        /// What was answered.
        status: u16,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A worker died; its cause is in the log.
    #[error("a worker of the synchronisation failed; see the log, and report this")]
    Worker,
}
