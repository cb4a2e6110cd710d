//! Why a simulated agent could not go on.

use std::io;
use std::time::Duration;

use tailwater_wire::soap::SoapError;
use tailwater_wire::xpress::XpressError;

/// What stopped an agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The server's address is no `http://host:port`.
    #[error("{address:?} is no address of a server; write it like http://127.0.0.1:8530")]
    Address {
        /// What was given.
        address: String,
    },
    /// No connection.
    #[error("cannot connect to {server}; check that it runs")]
    Connect {
        /// `host:port`.
        server: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("{operation}: the connection broke")]
    Broken {
        /// What was asked.
        operation: &'static str,
        /// What HTTP said.
        #[source]
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{operation}: no answer within {} s", limit.as_secs())]
    Timeout {
        /// What was asked.
        operation: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// Another status than expected.
    #[error("{operation}: status {status}")]
    Status {
        /// What was asked.
        operation: &'static str,
        /// What came.
        status: u16,
    },
    /// The answer is a fault, or no answer to this.
    #[error("{operation}: {source}")]
    Soap {
        /// What was asked.
        operation: &'static str,
        /// What is wrong.
        source: SoapError,
    },
    /// The answer cannot be decompressed.
    #[error("{operation}: the compressed answer is damaged")]
    Compression {
        /// What was asked.
        operation: &'static str,
        /// What is wrong.
        #[source]
        source: XpressError,
    },
    /// A fragment of an update is no XML.
    #[error("the {fragment} fragment of revision {revision} cannot be read")]
    Fragment {
        /// `Core` or `Extended`.
        fragment: &'static str,
        /// The server's number.
        revision: u32,
        /// What is wrong.
        #[source]
        source: quick_xml::Error,
    },
    /// A scan did not end.
    #[error("a scan took more than {limit} requests")]
    TooManyTrips {
        /// What real agents bear.
        limit: u32,
    },
    /// A range of a file is not what was asked for.
    #[error("{url}: {problem}")]
    File {
        /// Where, without a query.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// No room for a download.
    #[error("cannot keep a download in the temporary folder")]
    Disk(#[source] io::Error),
}

impl AgentError {
    /// The error code of a fault.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Soap { source: SoapError::Fault(fault), .. } => fault.code.as_deref(),
            _ => None,
        }
    }
}
