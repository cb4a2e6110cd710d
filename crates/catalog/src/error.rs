//! What the catalog could not do, and the next step.

use std::path::PathBuf;

use crate::values::belonging::{Belonging, DecisionKind};
use tailwater_domain::{ComputerId, GroupId, ServerNameError, UpdateId, UpdateIdentity};
use tailwater_kv::KvError;
use tailwater_runtime::Panicked;

/// Why an operation on the catalog failed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Another process has the store open.
    #[error(
        "the store in {} is in use by another process; stop that server, or let this command talk to it",
        dir.display()
    )]
    Locked {
        /// The store's folder.
        dir: PathBuf,
    },
    /// The store was written by a newer version.
    #[error("the store has format {found}, this program knows up to {known}; use a newer tailwater")]
    Newer {
        /// Format of the store.
        found: u8,
        /// Newest format known here.
        known: u8,
    },
    /// The index failed.
    #[error("the index could not be used")]
    Index(#[from] KvError),
    /// A file could not be read or written.
    #[error("{} could not be {action}; check the disk and its free space", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read`, `written`, `opened`, ….
        action: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The text of a new part ended early, was longer than announced, or could not be read.
    #[error("a text of {identity} could not be read while it was stored; fetch the update again")]
    PartInput {
        /// Whose text.
        identity: UpdateIdentity,
        /// The cause.
        source: std::io::Error,
    },
    /// A new part is larger than a part may be.
    #[error("a text of {identity} has {len} bytes; at most {limit} are kept")]
    PartTooLarge {
        /// Whose text.
        identity: UpdateIdentity,
        /// Its length.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// A stored record does not match its checksum.
    #[error(
        "segment {segment} is damaged at byte {offset}; what lay there is fetched again with the next sync"
    )]
    Damaged {
        /// Number of the segment file.
        segment: u32,
        /// Where in it.
        offset: u64,
    },
    /// A record of the index cannot be understood.
    #[error(
        "an index record of kind {kind:?} is damaged; stop the server, and run `tailwater store rebuild`"
    )]
    Record {
        /// The key's first letter.
        kind: char,
        /// The cause.
        source: postcard::Error,
    },
    /// A value could not be made a record; nothing was changed.
    #[error("a record could not be written; nothing was changed. Please report this with the log")]
    Unwritable(#[source] postcard::Error),
    /// A setting could not be written as JSON; nothing was changed.
    #[error("a setting could not be written; nothing was changed. Please report this with the log")]
    Json(#[source] serde_json::Error),
    /// More than a record of the segments holds; nothing was changed.
    #[error("a record of {len} bytes cannot be stored: at most {limit} fit one. Nothing was changed")]
    RecordTooLarge {
        /// Its length.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// What the catalog must know of one update at once is more than any real one has.
    #[error("{identity} says too much of itself: {len} bytes of {what}, at most {limit} are kept")]
    TooManyFacts {
        /// Which.
        identity: UpdateIdentity,
        /// Of what.
        what: &'static str,
        /// How many bytes.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// A text could not be compressed or decompressed.
    #[error("a text could not be compressed or decompressed")]
    Compression(#[source] std::io::Error),
    /// No such update.
    #[error("update {0} is not in the catalog; see `tailwater updates list`")]
    UnknownUpdate(UpdateId),
    /// Not something that can be approved, declined or held by itself.
    #[error("{}", belonging.refuses(*kind, update))]
    NotDeployable {
        /// Which.
        update: UpdateId,
        /// What was to be decided.
        kind: DecisionKind,
        /// Why not.
        belonging: Belonging,
    },
    /// An expired update cannot be approved for installation.
    #[error("update {0} was expired by its publisher and can only be declined")]
    Expired(UpdateId),
    /// The update has no uninstaller.
    #[error("update {0} cannot be uninstalled; approve it with action install, or remove it by hand")]
    NotUninstallable(UpdateId),
    /// Some of several updates cannot be decided so; nothing was changed.
    #[error("nothing was changed, because {} of {of} updates stood in the way: {}", refused.len(), first(refused))]
    Undecided {
        /// Which, and why.
        refused: Vec<(UpdateId, CatalogError)>,
        /// Of how many.
        of: usize,
    },
    /// More than one change may have.
    #[error("at most {limit} can be changed at once; do it in parts")]
    TooManyAtOnce {
        /// The limit.
        limit: usize,
    },
    /// Installing it means accepting license terms, and nobody did.
    #[error(
        "update {0} has license terms that were not accepted here; read them, and approve it with --accept-license"
    )]
    TermsNotAccepted(UpdateId),
    /// A group cannot lie below itself.
    #[error("group {group:?} cannot be moved below {parent:?}, which lies in it")]
    GroupCycle {
        /// What was to be moved.
        group: String,
        /// Where to.
        parent: String,
    },
    /// No such group.
    #[error("group {0} does not exist; see `tailwater groups list`")]
    UnknownGroup(GroupId),
    /// A group's name is taken, empty or too long.
    #[error("{0:?} cannot be a group's name: it is taken, empty or longer than 255 characters")]
    GroupName(String),
    /// The two well-known groups stay as they are; a group cannot move under itself.
    #[error("group {0} cannot be changed in this way")]
    FixedGroup(GroupId),
    /// Too many groups, or nested too deep.
    #[error("there are already {limit} groups, or the parent is nested too deep")]
    TooManyGroups {
        /// The limit.
        limit: usize,
    },
    /// No such computer.
    #[error("computer {0} is not known; see `tailwater computers list`")]
    UnknownComputer(ComputerId),
    /// A further computer would exceed the limit.
    #[error(
        "{limit} computers are known already; remove those that are gone, or raise max_computers or max_descendants"
    )]
    TooManyComputers {
        /// The limit.
        limit: usize,
    },
    /// A computer's identity is none.
    #[error("{}", tailwater_domain::ComputerIdError)]
    ComputerName,
    /// No such server.
    #[error("no downstream server {0:?} is known; see `tailwater downstreams list`")]
    UnknownServer(String),
    /// Several servers have this name.
    #[error("{count} downstream servers are called {name:?}; name one by its identity")]
    AmbiguousServer {
        /// As asked.
        name: String,
        /// How many.
        count: usize,
    },
    /// A text is no name of a server.
    #[error("{name:?} cannot be a server's name: {source}")]
    ServerName {
        /// As asked.
        name: String,
        /// Why not.
        source: ServerNameError,
    },
    /// A further server would exceed the limit.
    #[error(
        "{limit} downstream servers are known already; remove those that are gone, or raise downstream.max_servers"
    )]
    TooManyServers {
        /// The limit.
        limit: usize,
    },
    /// New servers come from one place too often.
    #[error(
        "too many new downstream servers come from one place; allow those that are meant with `tailwater downstreams allow`"
    )]
    ServersTooOften,
    /// Servers below say more than may be kept.
    #[error(
        "servers below say more than the {limit} bytes that may be kept; remove those that are gone, or raise downstream.max_state"
    )]
    TooMuchState {
        /// The limit.
        limit: u64,
    },
    /// Decisions are made upstream.
    #[error(
        "this server is a replica of {upstream}: approvals, declines and groups are changed there, not here; to keep \
         an update from this site, use `tailwater updates hold`"
    )]
    Replica {
        /// Its address, fit to be shown.
        upstream: String,
    },
    /// A hold would end before it begins.
    #[error("an update can only be held until a time that is still to come")]
    HoldIsOver,
    /// The upstream has decided more than any real one.
    #[error("the upstream names more than {limit} approvals or declines; it does not work properly")]
    TooManyDecisions {
        /// The limit.
        limit: usize,
    },
    /// Nothing is held for an administrator.
    #[error("no activation waits for an administrator")]
    NothingHeld,
    /// The machine gives no random numbers.
    #[error("the machine gives no random numbers for a token")]
    Chance(#[source] getrandom::Error),
    /// Nobody waits any more for what was being read.
    #[error("nobody waits for the answer any more")]
    Unwanted,
    /// Storing one revision hit a fault of the program; the others are stored.
    #[error("{identity} could not be stored")]
    Revision {
        /// Which.
        identity: UpdateIdentity,
        /// What happened.
        #[source]
        cause: Panicked,
    },
    /// A worker thread of the store panicked.
    #[error("a worker of the store failed; see the log")]
    Worker,
}

impl CatalogError {
    /// Whether it failed only because the disk takes nothing now.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Index(error) => error.is_read_only(),
            Self::File { source, .. } => tailwater_durable::Trouble::of(source).is_some(),
            _ => false,
        }
    }

    /// Whether the index is not what was written: it can be made again.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Index(error) => error.is_damage(),
            Self::Record { .. } => true,
            _ => false,
        }
    }
}

/// The first reasons of a refusal.
fn first(refused: &[(UpdateId, CatalogError)]) -> String {
    let shown: Vec<String> = refused.iter().take(3).map(|(_, error)| error.to_string()).collect();
    let more = if refused.len() > shown.len() { "; …" } else { "" };
    format!("{}{more}", shown.join("; "))
}
