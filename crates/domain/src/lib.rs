//! Pure values that every room speaks in: identities, digests, sizes and rates, what a document says of
//! an update, what an administrator decided, and what a transfer is for.
//!
//! **Invariant:** nothing here does input or output, asks the time, or allocates without a bound that its
//! caller set. It never depends on another room.

mod approval;
mod bytes;
mod choice;
mod class;
mod client_text;
mod computer_facts;
mod computer_name;
mod content_path;
mod digest;
mod heap;
mod ids;
mod language;
mod limit;
mod maxima;
mod phrase;
mod requester;
mod rollup;
mod secret;
mod server_name;
mod subnet;
mod update;

pub use approval::{Action, Approval, Deadline, USUAL_PRIORITY};
pub use bytes::{ByteCount, ByteRange, ParseByteCountError, ParseRateError, Rate};
pub use choice::Choice;
pub use class::Class;
pub use client_text::ClientText;
pub use computer_facts::ComputerFacts;
pub use computer_name::{ComputerName, ComputerNameError};
pub use content_path::ContentPath;
pub use digest::{ParseDigestError, Sha1Digest, Sha256Digest};
pub use heap::HeapBytes;
pub use ids::{
    ApprovalId, ComputerId, ComputerIdError, GroupId, ParseIdError, RevisionId, ServerId, UpdateId,
    UpdateIdentity,
};
pub use language::language_serves;
pub use limit::{Limit, LimitValue};
pub use maxima::{Counted, Counts, Exceeded, MAX_FACT_TEXT, MAX_LANGUAGE_NAME};
pub use phrase::{Phrase, folded};
pub use requester::{Purpose, Requester};
pub use rollup::{
    Activity, ClientSummary, ComputerChange, ComputerDetails, OsVersion, RolledComputer, ServerReport,
    ServerSummary, StatusReport, Summarization, SyncResult, UpdateStatus,
};
pub use secret::DecryptionKey;
pub use server_name::{ServerName, ServerNameError};
pub use subnet::Subnet;
pub use update::{
    BundleClause, CategoryKind, DriverFacts, Encryption, Facts, FileDeclaration, PrerequisiteClause,
    PublicationState, Title, UpdateType,
};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    computer_name::LIMITS,
    content_path::LIMITS,
    ids::LIMITS,
    maxima::LIMITS,
    secret::LIMITS,
    server_name::LIMITS,
];
