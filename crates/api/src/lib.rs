//! The admin API as types: what is asked, what is answered, which operations there are. Server, command line and whoever
//! reads the OpenAPI document share them.
//!
//! **Invariant:** the wire has the fields of these types and no others, and the document is made from them and from
//! [`OPERATIONS`]. Nothing here reads, decides or knows another room than `domain`.
//!
//! Sizes are bytes, times are RFC 3339 in UTC, unless a field says otherwise. An absent value is `null`.

mod categories;
mod computers;
mod content;
mod cost;
mod decisions;
mod document;
mod endpoint;
mod error;
mod groups;
mod keys;
mod ledger;
mod link;
mod operations;
mod page;
mod revisions;
mod servers;
mod settings;
mod status;
mod sync;
mod systems;
mod transfers;
mod updates;

pub use categories::{Categories, Category, CategoryKind, Choice, ChoiceList, ChosenName, EmptyPair};
pub use computers::{
    Computer, ComputerDetail, ComputerFacts, ComputerQuery, Computers, ComputersQuery, Event, IdentityChange,
    IdentityKind, Move, MoveAll, Moved, MovedComputers, NamedComputer, RemovedComputer, ReportedState,
    ReportedUpdate, Whose,
};
pub use content::{
    Collected, Content, ContentUsage, Damage, Fetch, FetchFailure, Fetched, File, FileProgress, HeldFile,
    HeldState, LearnedClass, LearnedContent, LearnedFile, LearnedRelease, Planned, PlannedFile, Started,
    Verification, VerificationReport,
};
pub use cost::{
    BudgetLeft, ClassCost, Cost, Ends, Knowledge, RateInForce, RateReason, Traffic, UpdateCost, Weighed,
};
pub use decisions::{
    Action, Approve, Decide, Decided, DecidedUpdate, Hold, OpenTerms, Select, Unapprove, Warning,
};
pub use document::document;
pub use endpoint::{Endpoint, Input, Method, Nothing, Operation};
pub use error::{Candidate, ErrorAnswer, ErrorCode, ErrorDetail, Failure};
pub use groups::{
    ChangeGroup, ChangedGroup, ComputersLeft, Group, Groups, NewGroup, RemoveGroup, RemovedGroup,
    RemovedGroups,
};
pub use keys::{DataDirectory, Disk, Key, RotatedKeys};
pub use ledger::{ByteCounts, Ledger, LedgerBy, LedgerFormat, LedgerQuery, LedgerRow, LedgerTotals};
pub use link::{
    Adaptive, AdaptiveReason, Budget, BudgetForecast, BudgetLine, BudgetStanding, Class, ClassBytes,
    ClassWaiting, ClientRates, Link, LinkReading, RateChanged, SetRate, WhenSpent, Window,
};
pub use operations::*;
pub use page::{Listed, MAX_REVISIONS, MAX_ROWS, MAX_WHOLE, PageInfo, Paging};
pub use revisions::{Revision, Revisions, RevisionsQuery};
pub use servers::{
    Allow, Allowed, AllowedState, Certificate, Identities, Invited, Lacks, Refused, Revoke, Revoked, Server,
    ServerDetail, ServerName, ServerState, Servers, ServersQuery, Took,
};
pub use settings::{
    Configuration, ConfigurationKey, ConfigurationValue, Difference, Doubt, Origin, Reloaded,
};
pub use status::{
    CatalogTotals, Connections, ContentTotals, Lost, Mode, Rollup, Served, Source, SourceState, Status,
    Worker,
};
pub use sync::{
    CancelledSync, Failing, FailureReason, StartSync, StartedSync, Sync, SyncHistory, SyncOutcome, SyncPhase,
    SyncProgress, SyncReport, SyncStanding, SyncTrigger,
};
pub use systems::{ClientSystems, Installations, OsFacts, ServerCounts};
pub use transfers::{CancelledTransfer, ChangeTransfer, ChangedTransfer, Transfer, TransferState, Transfers};
pub use updates::{
    Approval, Bundled, Decline, HoldNote, License, StateCounts, Terms, Update, UpdateDetail, UpdateState,
    UpdateStateFilter, UpdateStatus, UpdateType, Updates, UpdatesQuery, Withheld, WithheldReason,
};

use tailwater_domain::{Limit, joined_limits};

// not a limit: MAX_DECIDED, MAX_MOVED: the catalog's, which the server compares when it is compiled

/// Updates that one request decides on at most.
pub const MAX_DECIDED: usize = 20_000;
/// Computers that one request moves at most.
pub const MAX_MOVED: usize = 20_000;

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![page::LIMITS];
