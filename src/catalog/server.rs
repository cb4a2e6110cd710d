//! Downstream servers as values: who they are, whether they may synchronise, what they took and what they say of
//! themselves.
//!
//! **Invariant:** every text is cut to a limit before it is kept; of a token only its hash is here. It never holds an
//! address of the network.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{ServerId, ServerSummary};

/// Whether a server may synchronise from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nobody decided: the policy does.
    Open,
    /// An administrator let it in.
    Allowed,
    /// An administrator shut it out.
    Revoked,
}

/// A server that synchronises from here, or from a server that does ([MS-WSUSSS] 3.1.1, DSS Table).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its identity.
    pub id: ServerId,
    /// Its full name, as it gave it last; empty until it came.
    pub name: String,
    /// The server it synchronises from; none when that is this one.
    pub parent: Option<ServerId>,
    /// The version of its software, as it rolled it up.
    pub version: String,
    /// Whether its approvals come from its parent.
    pub is_replica: bool,
    /// Whether it may synchronise from here.
    pub standing: Standing,
    /// Whether its identity alone is not enough: it must show its token.
    pub needs_token: bool,
    /// BLAKE3 of its token, when one was made for it.
    pub(super) token: Option<[u8; 32]>,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it last asked this server something, exact to a minute; none when others told of it.
    pub last_seen: Option<Timestamp>,
    /// When it last synchronised, as it says.
    pub last_sync: Option<Timestamp>,
    /// `LastRollupTime` of its last roll-up.
    pub last_rollup: Option<Timestamp>,
    /// Its own numbers, when it rolled them up.
    pub summary: Option<ServerSummary>,
    /// What it took from here.
    pub took: Took,
}

/// What a server took from this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Took {
    /// Bytes of answers about updates.
    pub metadata: u64,
    /// Bytes of payloads sent to the address it comes from.
    pub content: u64,
    /// When it last took something.
    pub at: Option<Timestamp>,
    /// The change number up to which it was told what there is.
    pub change: Option<u64>,
}

/// What an administrator's permission came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The server, when it was heard of before or named by its identity; otherwise the first that comes by this name.
    pub server: Option<ServerId>,
    /// Its name.
    pub name: String,
    /// What it can show instead of being known; told this once.
    pub token: String,
}

/// A permission that nobody came for yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// By which name.
    pub name: String,
    /// Whether the name alone is not enough.
    pub needs_token: bool,
    /// BLAKE3 of the token.
    pub(super) token: [u8; 32],
    /// When it was made.
    pub at: Timestamp,
}

/// A server that was refused, since this process began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Who it said it is.
    pub id: ServerId,
    /// By which name.
    pub name: String,
    /// Why.
    pub reason: &'static str,
    /// When last.
    pub at: Timestamp,
    /// How often.
    pub times: u64,
    /// When the log was last told.
    #[serde(skip)]
    pub(super) told: Timestamp,
}
