//! The one place that turns what went wrong into what the other side is told: SOAP faults and plain statuses.
//!
//! **Invariant:** a fault's `ErrorCode` is one of [MS-WUSP] 2.2.2.4 or [MS-WSUSSS] 2.2.9.3; nothing of an internal error reaches the wire
//! but its kind and an identity by which the log knows it.

use uuid::Uuid;

use super::http::Misdirected;
use tailwater_catalog::CatalogError;
use tailwater_domain::{RevisionId, UpdateIdentity};
use tailwater_wire::soap::{Blame, Fault, SoapError};
use tailwater_wire::xml::XmlError;

/// Why a request is not answered with a result.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A parameter is missing or not what it should be.
    #[error("the parameter {0} is missing or wrong")]
    Parameter(&'static str),
    /// The message could not be read.
    #[error("the message cannot be read as a request of this service")]
    Unreadable(#[from] SoapError),
    /// The body could not be taken in.
    #[error("{0}")]
    Misdirected(Misdirected),
    /// The body of the message is not what its operation asks for.
    #[error("the request cannot be read")]
    Malformed(#[from] XmlError),
    /// The service has no such operation.
    #[error("this service has no operation {0:?}")]
    UnknownOperation(String),
    /// `SOAPAction` names another operation than the body.
    #[error("SOAPAction names another operation than the body, which asks for {0:?}")]
    OtherAction(String),
    /// The cookie is missing, or this server never sealed it.
    #[error("the cookie is missing or was not made by this server")]
    InvalidCookie,
    /// The cookie's time is over.
    #[error("the cookie has expired")]
    CookieExpired,
    /// The authorization cookie is missing, expired, or this server never sealed it.
    #[error("the authorization cookie is missing, expired, or was not made by this server")]
    InvalidAuthorizationCookie,
    /// The cookie was made before this server became another one.
    #[error("the cookie was made by an earlier server")]
    ServerChanged,
    /// The configuration that agents know has changed.
    #[error("the configuration has changed since the agent asked for it")]
    ConfigChanged,
    /// The computer must register first.
    #[error("the computer has not registered")]
    RegistrationRequired,
    /// The computer was told not to register.
    #[error("registration was not asked for")]
    RegistrationNotRequired,
    /// A downstream server speaks another major version of the protocol.
    #[error("the protocol version {0} is none that this server speaks")]
    IncompatibleProtocolVersion(String),
    /// Digests that no metadata names, as they were sent, with `|` between them.
    #[error("files are asked for that this server does not know")]
    FileDigestsMissing(String),
    /// A revision that this server does not have.
    #[error("the revision {0} is not in the catalog")]
    UnknownRevision(UpdateIdentity),
    /// A server names a parent that nobody heard of.
    #[error("{0} names a server that is not known here")]
    UnknownParent(&'static str),
    /// A document could not be packed.
    #[error("the document of revision {revision} cannot be packed")]
    Document {
        /// Whose document.
        revision: RevisionId,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// There is no room on disk for an answer.
    #[error("the answer cannot be put aside for its reader")]
    Spool(#[source] std::io::Error),
    /// More than this server can do now.
    #[error("the server is busy")]
    Busy,
    /// The catalog could not answer.
    #[error("the catalog could not answer")]
    Catalog(#[from] CatalogError),
    /// A worker ended before its answer.
    #[error("a worker of the server ended before its answer")]
    Worker(#[from] tokio::task::JoinError),
}

impl Refusal {
    /// `ErrorCode` of [MS-WUSP] 2.2.2.4 and [MS-WSUSSS] 2.2.9.3.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy
            | Self::Misdirected(Misdirected::Busy)
            | Self::Spool(_)
            | Self::Catalog(
                CatalogError::TooManyComputers { .. }
                | CatalogError::TooManyServers { .. }
                | CatalogError::ServersTooOften
                | CatalogError::TooMuchState { .. },
            ) => "ServerBusy",
            Self::Parameter(_)
            | Self::Unreadable(_)
            | Self::Misdirected(_)
            | Self::Malformed(_)
            | Self::UnknownOperation(_)
            | Self::OtherAction(_)
            | Self::Catalog(CatalogError::ComputerName) => "InvalidParameters",
            Self::InvalidCookie => "InvalidCookie",
            Self::CookieExpired => "CookieExpired",
            Self::InvalidAuthorizationCookie => "InvalidAuthorizationCookie",
            Self::ServerChanged => "ServerChanged",
            Self::ConfigChanged => "ConfigChanged",
            Self::RegistrationRequired | Self::Catalog(CatalogError::UnknownComputer(_)) => {
                "RegistrationRequired"
            }
            Self::RegistrationNotRequired => "RegistrationNotRequired",
            Self::IncompatibleProtocolVersion(_) => "IncompatibleProtocolVersion",
            Self::FileDigestsMissing(_) => "FileDigestsMissing",
            // what must be durable and cannot be: it works again when there is room
            Self::Catalog(error) if error.is_read_only() => "ServerBusy",
            Self::UnknownParent(_)
            | Self::UnknownRevision(_)
            | Self::Document { .. }
            | Self::Catalog(_)
            | Self::Worker(_) => "InternalServerError",
        }
    }

    /// `Message`: the parameter at fault, where it is one.
    fn message(&self) -> String {
        match self {
            Self::Parameter(name) | Self::UnknownParent(name) => (*name).to_owned(),
            Self::Catalog(CatalogError::ComputerName) => "clientId".to_owned(),
            Self::Malformed(XmlError::Value { element, .. } | XmlError::NotText { element }) => {
                element.clone()
            }
            Self::Malformed(XmlError::Duplicate { element } | XmlError::Missing { element }) => {
                (*element).to_owned()
            }
            Self::Unreadable(error) => error.to_string(),
            Self::Malformed(error) => error.to_string(),
            Self::Misdirected(Misdirected::Busy) => String::new(),
            Self::Misdirected(error) => error.to_string().trim_end().to_owned(),
            Self::UnknownOperation(_) | Self::OtherAction(_) => self.to_string(),
            Self::IncompatibleProtocolVersion(text) | Self::FileDigestsMissing(text) => text.clone(),
            _ => String::new(),
        }
    }

    /// The fault as it goes out, written to the log once. `method` is the `SOAPAction` with its quotation marks.
    pub fn fault(&self, method: &str) -> Fault {
        let id = Uuid::new_v4().to_string();
        let code = self.code();
        let blame = match code {
            "InternalServerError" | "ServerBusy" => Blame::Server,
            _ => Blame::Client,
        };
        match blame {
            // told by the counts of what is in use; one line a request would fill the disk
            Blame::Server if matches!(self, Self::Misdirected(_) | Self::Busy) => {
                tracing::debug!(fault = %id, code, method, error = %self, "a request was refused");
            }
            Blame::Server if matches!(self, Self::UnknownRevision(_)) => {
                tracing::info!(fault = %id, code, method, error = %self, "a request was refused");
            }
            // whoever asks can name what is not here: no failure of ours
            Blame::Server if matches!(self, Self::UnknownParent(_)) => {
                tracing::debug!(fault = %id, code, method, error = %self, "a request was refused");
            }
            Blame::Server => {
                let cause = std::error::Error::source(self).map(ToString::to_string);
                tracing::error!(fault = %id, code, method, error = %self, cause, "a request failed");
            }
            Blame::Client => {
                tracing::debug!(fault = %id, code, method, error = %self, "a request was refused");
            }
        }
        Fault::new(blame, code, &self.message(), id, method.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_parameter_and_hide_what_is_inside() {
        let fault = Refusal::Parameter("revisionIDs").fault("\"x\"");
        assert_eq!(
            (fault.code.as_deref(), fault.message.as_str()),
            (Some("InvalidParameters"), "revisionIDs")
        );
        assert_eq!((fault.method.as_str(), fault.blame), ("\"x\"", Blame::Client));
        let other = Refusal::Parameter("revisionIDs").fault("\"x\"");
        assert_ne!(fault.id, other.id);
        let inside = Refusal::Catalog(CatalogError::Damaged { segment: 7, offset: 9 }).fault("");
        assert_eq!((inside.code.as_deref(), inside.message.as_str()), (Some("InternalServerError"), ""));
        assert_eq!(inside.blame, Blame::Server);
    }
}
