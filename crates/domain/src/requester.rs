//! Whom a transfer is for.

use std::fmt;
use std::net::IpAddr;

use super::{Class, ServerId, Sha1Digest};

/// Whom bytes are fetched for. Turns on the link are shared between requesters first, so that nobody gains by asking
/// more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requester {
    /// This server itself.
    Own,
    /// An agent, or a server that does not say who it is: whoever has this address.
    Agent(IpAddr),
    /// A downstream server that proved who it is.
    Server(ServerId),
}

impl Requester {
    /// Whoever has this address; an IPv4 address is the same on a listener of both kinds.
    pub fn at(address: IpAddr) -> Self {
        Self::Agent(address.to_canonical())
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("this server"),
            Self::Agent(address) => write!(f, "{address}"),
            Self::Server(id) => write!(f, "{id}"),
        }
    }
}

/// What an exchange on the link is for: how urgent, for whom, and for which file. Turns are shared in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    /// How urgent it is.
    pub class: Class,
    /// Whom it is for.
    pub requester: Requester,
    /// The payload; `None` for messages.
    pub file: Option<Sha1Digest>,
}

impl From<Class> for Purpose {
    /// This server's own, and no payload.
    fn from(class: Class) -> Self {
        Self { class, requester: Requester::Own, file: None }
    }
}
