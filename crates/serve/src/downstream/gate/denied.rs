//! Why a server is not let in, and the fault that each operation says it by.
//!
//! **Invariant:** what a refused server is told never says what it was recognised by; the log says it.

use crate::fault::Refusal;
use tailwater_catalog::{CatalogError, IdentifiedBy};
use tailwater_domain::ServerId;

/// Why a server is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// An administrator shut it out.
    #[error("an administrator revoked it")]
    Revoked,
    /// It comes with what one has that an administrator shut out.
    #[error("it is server {of}, which an administrator revoked, by its {}; `tailwater downstreams allow` lets it in", by_what(*.by))]
    RevokedAs {
        /// Which one.
        of: ServerId,
        /// What both have.
        by: IdentifiedBy,
    },
    /// It came with a certificate before and shows none of that key or name.
    #[error("it showed another certificate before, or one at all")]
    Certificate,
    /// Nobody let it in, and the policy asks for that.
    #[error("nobody allowed it, and downstream.policy is \"enrolled\"")]
    NotEnrolled,
    /// It must show its token, and did not, or showed another one.
    #[error("it did not show the token that was made for it")]
    Token,
    /// It never authorized here.
    #[error("it never authorized here")]
    Unknown,
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Denied {
    /// Why, for the log and the list of refused servers.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Revoked => "revoked by an administrator",
            Self::RevokedAs { by, .. } => match by {
                IdentifiedBy::Name => "has the name of a revoked server",
                IdentifiedBy::Token => "has a token of a revoked server",
                IdentifiedBy::Certificate => "has the certificate of a revoked server",
                IdentifiedBy::Address => "comes from the address of a revoked server",
            },
            Self::Certificate => {
                "without the certificate that it had before; to accept it: downstreams allow"
            }
            Self::NotEnrolled => "not enrolled, and downstream.policy asks for it",
            Self::Token => "without the token that was made for it",
            Self::Unknown => "never authorized here",
            Self::Catalog(_) => "the catalog failed",
        }
    }

    /// As `GetAuthorizationCookie` says it: its faults are `InvalidParameters` and `InternalServerError` only, and the
    /// first makes a server stop instead of trying for ever ([MS-WSUSSS] 3.1.4.2).
    pub fn at_authorization(self) -> Refusal {
        self.or(Refusal::Parameter("accountGuid"))
    }

    /// As `GetCookie` says it ([MS-WSUSSS] 3.1.4.3).
    pub fn at_cookie(self) -> Refusal {
        self.or(Refusal::InvalidAuthorizationCookie)
    }

    /// As every operation with a cookie says it, and roll-ups, which have no fault of their own.
    pub fn at_operation(self) -> Refusal {
        self.or(Refusal::InvalidCookie)
    }

    fn or(self, refusal: Refusal) -> Refusal {
        match self {
            Self::Catalog(error) => error.into(),
            _ => refusal,
        }
    }
}

fn by_what(by: IdentifiedBy) -> &'static str {
    match by {
        IdentifiedBy::Name => "name",
        IdentifiedBy::Token => "token",
        IdentifiedBy::Certificate => "certificate",
        IdentifiedBy::Address => "address",
    }
}
