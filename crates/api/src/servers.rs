//! Servers that synchronise from this one, directly or through others.
//!
//! **Invariant:** a token is in the answer that made it and nowhere else. What servers say of themselves is text, never
//! interpreted.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::endpoint::inputs;
use super::page::listed;
use super::{ClientSystems, PageInfo, Paging, ServerCounts};
use tailwater_domain::ServerId;

/// Which servers to list. What is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServersQuery {
    /// Part of a name or identity.
    pub text: Option<String>,
    /// Only those in this state.
    pub state: Option<ServerState>,
    /// Rows to pass over: `next` of the page before.
    #[serde(default)]
    pub offset: usize,
    /// Rows in one answer, 1,000 when it is not said, and at most.
    pub limit: Option<usize>,
}

impl ServersQuery {
    /// Which rows are asked for.
    pub fn paging(&self) -> Paging {
        Paging::new(self.offset, self.limit)
    }
}

/// Whether a server may synchronise from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// Nobody decided: the policy does.
    Open,
    /// An administrator let it in.
    Allowed,
    /// An administrator shut it out.
    Revoked,
}

impl ServerState {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allowed => "allowed",
            Self::Revoked => "revoked",
        }
    }
}

/// One page of servers, by name; with who is invited and who was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Servers {
    /// Which rows these are.
    #[serde(flatten)]
    pub page: PageInfo,
    /// The rows.
    pub servers: Vec<Server>,
    /// `downstream.policy`, as configured.
    pub policy: String,
    /// Permissions that nobody came for yet.
    pub invited: Vec<Invited>,
    /// Servers that were refused since the start.
    pub refused: Vec<Refused>,
}

listed!(Servers, servers: Server);

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// Its identity.
    #[schemars(with = "Uuid")]
    pub server_id: ServerId,
    /// Its full name.
    pub name: String,
    /// Whether it may synchronise from here.
    pub state: ServerState,
    /// Whether it synchronises from this server itself.
    pub direct: bool,
    /// The servers between this one and it.
    pub via: Vec<ServerName>,
    /// Whether it must show its token.
    pub needs_token: bool,
    /// The version of its software, as it said.
    pub version: String,
    /// Whether its approvals come from above.
    pub replica: bool,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it last asked this server something.
    pub last_seen: Option<Timestamp>,
    /// When it last synchronised, as it said.
    pub last_sync: Option<Timestamp>,
    /// When it last rolled up.
    pub last_rollup: Option<Timestamp>,
    /// Computers that are its own.
    pub computers: usize,
    /// What it took from here.
    pub took: Took,
    /// What it lacks.
    pub lacks: Lacks,
}

/// A server by identity and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerName {
    /// Its identity.
    #[schemars(with = "Uuid")]
    pub server_id: ServerId,
    /// Its full name.
    pub name: String,
}

/// What a server took from this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Took {
    /// Bytes of answers about updates.
    pub metadata_bytes: u64,
    /// Bytes of payloads.
    pub content_bytes: u64,
    /// When last.
    pub at: Option<Timestamp>,
}

/// What a server lacks, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lacks {
    /// Revisions that appeared since it last listed; null when that is not known here.
    pub revisions: Option<usize>,
    /// Whether it lags behind.
    pub behind: bool,
}

/// A permission that nobody came for yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invited {
    /// By which name.
    pub name: String,
    /// Whether the name alone is not enough.
    pub needs_token: bool,
    /// When it was made.
    pub at: Timestamp,
}

/// A server that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Who it said it is.
    #[schemars(with = "Uuid")]
    pub server_id: ServerId,
    /// By which name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// When last.
    pub at: Timestamp,
    /// How often.
    pub times: u64,
}

/// One server in detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerDetail {
    /// As in the list.
    #[serde(flatten)]
    pub row: Server,
    /// Its own numbers, when it rolled them up.
    pub summary: Option<ServerCounts>,
    /// Servers that synchronise from it.
    pub children: Vec<ServerName>,
    /// By what it is known again.
    pub known_by: Identities,
    /// Its computers by operating system, with what they installed.
    pub installations: Vec<ClientSystems>,
}

/// By what a server is known again, whatever identity it says. The last one of each is the one it used last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identities {
    /// Names it called itself, in lower case.
    pub names: Vec<String>,
    /// Addresses it authorized from.
    pub addresses: Vec<IpAddr>,
    /// How many tokens were made for it.
    pub tokens: usize,
    /// Certificates it showed.
    pub certificates: Vec<Certificate>,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// The first name that it is made out for; empty where it has none.
    pub name: String,
    /// SHA-256 of the public key, as hexadecimal digits.
    pub public_key_sha256: String,
}

/// A server to let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Name or identity.
    #[schemars(length(min = 1))]
    pub server: String,
    /// Its name and identity are not enough: it must show the token.
    #[serde(default)]
    pub needs_token: bool,
}

/// A server to shut out, or to forget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Name or identity.
    #[schemars(length(min = 1))]
    pub server: String,
    /// Forget it instead, with the servers below it and all their computers.
    #[serde(default)]
    pub forget: bool,
}

inputs!(ServersQuery, Allow, Revoke);

/// A server that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allowed {
    /// Its identity, when it is known.
    #[schemars(with = "Option<Uuid>")]
    pub server_id: Option<ServerId>,
    /// Its name.
    pub name: String,
    /// Whether it is known already.
    pub state: AllowedState,
    /// What it can show; not shown again.
    pub token: String,
    /// Whether it must show it.
    pub needs_token: bool,
}

/// Whether a server that was let in is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllowedState {
    /// It is.
    Allowed,
    /// The first that comes by this name is let in.
    Invited,
}

/// What shutting a server out, or forgetting it, came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Revoked {
    /// It is shut out.
    Revoked {
        /// Its identity; null when only a permission that nobody came for was taken back.
        #[schemars(with = "Option<Uuid>")]
        server_id: Option<ServerId>,
        /// Its name.
        name: String,
        /// By what it is known again; null with the identity.
        shut_out: Option<Identities>,
        /// Other servers that are shut out with it.
        also_shut_out: Vec<ServerName>,
        /// Its addresses that others come from too: who is new there is not shut out by them.
        shared_addresses: Vec<IpAddr>,
    },
    /// It is forgotten.
    Forgotten {
        /// Its identity.
        #[schemars(with = "Uuid")]
        server_id: ServerId,
        /// Servers that were forgotten, those below included.
        servers: usize,
        /// Computers that were forgotten.
        computers: usize,
    },
}
