//! Downstream servers as values: who they are, whether they may synchronise, what they took and what they say of
//! themselves.
//!
//! **Invariant:** every text is cut to a limit before it is kept; of a token only its hash is here, and never more
//! identities of one server than the limits.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::CatalogError;
use crate::storage::record;
use crate::storage::record::VERSION;
use tailwater_domain::{Limit, ServerId, ServerName, ServerSummary, limits};

/// Names, addresses, certificates and tokens that are remembered of one server, of each; the longest unused goes first.
const MAX_IDENTITIES: usize = 8;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_IDENTITIES in "of each": "Names, addresses, certificates and tokens that are remembered of a downstream server" => "the longest unused is forgotten",
];

/// Whether a server may synchronise from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    pub(crate) token: Option<[u8; 32]>,
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
    /// By what it is known besides its identity.
    pub seen: Seen,
}

/// A client certificate that holds, as far as it tells servers apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 of the public key.
    pub key: [u8; 32],
    /// The first name that it is made out for; empty where it has none.
    pub name: String,
}

impl Certificate {
    /// Whether this is the same bearer: the same key, or a renewed certificate for the same name.
    pub fn is_of(&self, other: &Self) -> bool {
        self.key == other.key || (!self.name.is_empty() && self.name.eq_ignore_ascii_case(&other.name))
    }
}

/// What a server shows beside its identity and its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credential {
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// Its bearer token.
    pub token: Option<String>,
    /// Its client certificate, where the connection had one that holds.
    pub certificate: Option<Certificate>,
}

/// By what a server is known again whatever identity it says. The last one of each is the one it used last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Names it called itself, in lower case.
    pub names: Vec<String>,
    /// Addresses it authorized from.
    pub addresses: Vec<IpAddr>,
    /// Certificates it showed.
    pub certificates: Vec<Certificate>,
    /// BLAKE3 of tokens that were made for it.
    pub(crate) tokens: Vec<[u8; 32]>,
}

/// Puts something last, once.
fn last<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if list.last() == Some(&one) {
        return;
    }
    list.retain(|other| *other != one);
    list.push(one);
    let over = list.len().saturating_sub(MAX_IDENTITIES);
    list.drain(..over);
}

impl Seen {
    /// It came by this name, with these.
    pub(crate) fn note(&mut self, name: &str, credential: &Credential) {
        if !name.is_empty() {
            last(&mut self.names, name.to_lowercase());
        }
        if let Some(address) = credential.address {
            last(&mut self.addresses, address.to_canonical());
        }
        if let Some(certificate) = &credential.certificate {
            last(&mut self.certificates, certificate.clone());
        }
    }

    /// A token was made for it.
    pub(crate) fn note_token(&mut self, hash: [u8; 32]) {
        last(&mut self.tokens, hash);
    }

    /// How many tokens were made for it, as far as that is remembered.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it may come with this certificate: any, as long as it never showed one.
    pub fn allows(&self, certificate: Option<&Certificate>) -> bool {
        self.certificates.is_empty()
            || certificate.is_some_and(|shown| self.certificates.iter().any(|known| known.is_of(shown)))
    }
}

/// By what a server was found to be one that was shut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentifiedBy {
    /// Its name.
    Name,
    /// A token that was made for the other.
    Token,
    /// Its client certificate.
    Certificate,
    /// The address that only the other came from.
    Address,
}

/// Version of a server's record that says by what it is known.
const SEEN: u8 = VERSION + 1;

/// A server as records of version 1 hold it.
#[derive(Serialize, Deserialize)]
struct Version1 {
    id: ServerId,
    name: String,
    parent: Option<ServerId>,
    version: String,
    is_replica: bool,
    standing: Standing,
    needs_token: bool,
    token: Option<[u8; 32]>,
    first_seen: Timestamp,
    last_seen: Option<Timestamp>,
    last_sync: Option<Timestamp>,
    last_rollup: Option<Timestamp>,
    summary: Option<ServerSummary>,
    took: Took,
}

impl Server {
    /// As it is kept in the index.
    pub(crate) fn record(&self) -> Result<Vec<u8>, CatalogError> {
        record::encode_as(SEEN, self)
    }

    /// Reads what is kept in the index.
    pub(crate) fn of_record(bytes: &[u8]) -> Result<Self, CatalogError> {
        let fail = |source| CatalogError::Record { kind: 'S', source };
        if let Some((&SEEN, rest)) = bytes.split_first() {
            return postcard::from_bytes(rest).map_err(fail);
        }
        let old: Version1 = record::decode('S', bytes)?;
        let mut seen = Seen::default();
        seen.note(&old.name, &Credential::default());
        old.token.into_iter().for_each(|hash| seen.note_token(hash));
        Ok(Self {
            id: old.id,
            name: ServerName::parse(&old.name).map(ServerName::into_string).unwrap_or_default(),
            parent: old.parent,
            version: old.version,
            is_replica: old.is_replica,
            standing: old.standing,
            needs_token: old.needs_token,
            token: old.token,
            first_seen: old.first_seen,
            last_seen: old.last_seen,
            last_sync: old.last_sync,
            last_rollup: old.last_rollup,
            summary: old.summary,
            took: old.took,
            seen,
        })
    }
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

/// What shutting a server out came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The server, unless only a permission that nobody came for was taken back.
    pub server: Option<std::sync::Arc<Server>>,
    /// Other servers that are shut out with it, because they have its name, a token, a certificate of it.
    pub also: Vec<ServerId>,
    /// Its addresses that others come from too: who is new there is not shut out by them.
    pub shared: Vec<IpAddr>,
}

/// A permission that nobody came for yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// By which name.
    pub name: String,
    /// Whether the name alone is not enough.
    pub needs_token: bool,
    /// BLAKE3 of the token.
    pub(crate) token: [u8; 32],
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
    pub(crate) told: Timestamp,
}
