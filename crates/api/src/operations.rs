//! Every operation of the API, once: what the server registers, what commands ask, what the document describes.
//!
//! **Invariant:** an operation that is not in this table does not exist. Its refusals that only some operations give are
//! named; those that any may give are in [`document`](super::document).

use super::endpoint::operations;
use super::{
    Allow, Allowed, Approve, CancelledSync, CancelledTransfer, Categories, ChangeGroup, ChangeTransfer,
    ChangedGroup, ChangedTransfer, Collected, ComputerDetail, ComputerQuery, Computers, ComputersQuery,
    Configuration, Content, DataDirectory, Decide, Decided, Fetch, Fetched, Group, Groups, Hold,
    LearnedContent, Ledger, LedgerQuery, Link, Move, MoveAll, Moved, MovedComputers, NewGroup, Nothing,
    Paging, RateChanged, Reloaded, RemoveGroup, RemovedComputer, RemovedGroups, Revisions, RevisionsQuery,
    Revoke, Revoked, RotatedKeys, ServerDetail, Servers, ServersQuery, SetRate, StartSync, Started,
    StartedSync, Status, Sync, SyncHistory, Transfers, Unapprove, UpdateDetail, Updates, UpdatesQuery,
};

operations! {
    /// One screen of everything
    ReadStatus: Get "/status" (Nothing, Nothing) -> Status, &[];
    /// What is in force and where each value came from
    ReadConfiguration: Get "/configuration" (Nothing, Nothing) -> Configuration, &[];
    /// Read the configuration again; names what needs a restart
    Reload: Post "/reload" (Nothing, Nothing) -> Reloaded, &[400, 409];
    /// Whether the data directory can be written, and the keys of cookies, without the secrets
    ReadStore: Get "/store" (Nothing, Nothing) -> DataDirectory, &[];
    /// Replace the keys that cookies are sealed with; what the old ones sealed stays good until it ends
    RotateKeys: Post "/store/rotate-keys" (Nothing, Nothing) -> RotatedKeys, &[];
    /// The synchronisation that runs, and the last one
    ReadSync: Get "/sync" (Nothing, Nothing) -> Sync, &[];
    /// Start a synchronisation, or join the one that runs
    Synchronise: Post "/sync" (Nothing, StartSync) -> StartedSync, &[];
    /// Cancel the synchronisation that runs
    CancelSync: Delete "/sync" (Nothing, Nothing) -> CancelledSync, &[409];
    /// Synchronisations, newest first
    ListSyncs: Get "/sync/history" (Paging, Nothing) -> SyncHistory, &[];
    /// List updates, newest first
    ListUpdates: Get "/updates" (UpdatesQuery, Nothing) -> Updates, &[404];
    /// One update: by GUID, KB number, or a phrase that only its title has
    ReadUpdate: Get "/updates/{update}" (Paging, Nothing) -> UpdateDetail, &[404, 409];
    /// Approve updates for a group, or say with `dry_run` what that would change and move over the link
    ApproveUpdates: Post "/updates/approve" (Nothing, Approve) -> Decided, &[404, 409];
    /// Remove approvals
    UnapproveUpdates: Post "/updates/unapprove" (Nothing, Unapprove) -> Decided, &[404, 409];
    /// Decline updates
    DeclineUpdates: Post "/updates/decline" (Nothing, Decide) -> Decided, &[404, 409];
    /// Remove declines
    UndeclineUpdates: Post "/updates/undecline" (Nothing, Decide) -> Decided, &[404, 409];
    /// Hold updates back on this server, whatever was approved
    HoldUpdates: Post "/updates/hold" (Nothing, Hold) -> Decided, &[404, 409];
    /// Release updates that are held back
    ReleaseUpdates: Post "/updates/release" (Nothing, Decide) -> Decided, &[404, 409];
    /// Every revision held, with the payloads it declares
    ListRevisions: Get "/revisions" (RevisionsQuery, Nothing) -> Revisions, &[];
    /// Products and classifications, with what is selected
    ListCategories: Get "/categories" (Paging, Nothing) -> Categories, &[];
    /// All groups, each followed by those below it
    ListGroups: Get "/groups" (Paging, Nothing) -> Groups, &[];
    /// Create a group
    CreateGroup: Post "/groups" (Nothing, NewGroup) -> Group, &[404, 409];
    /// Rename a group, or put it below another
    UpdateGroup: Patch "/groups/{group}" (Nothing, ChangeGroup) -> ChangedGroup, &[404, 409];
    /// Remove a group and those below it, or say with `dry_run` what would go
    DeleteGroup: Delete "/groups/{group}" (RemoveGroup, Nothing) -> RemovedGroups, &[404, 409];
    /// All computers, by name
    ListComputers: Get "/computers" (ComputersQuery, Nothing) -> Computers, &[404];
    /// One computer and a page of what it reported
    ReadComputer: Get "/computers/{computer}" (ComputerQuery, Nothing) -> ComputerDetail, &[404, 409];
    /// Put a computer into a group
    MoveComputer: Put "/computers/{computer}/group" (Nothing, Move) -> Moved, &[404, 409];
    /// Put computers into a group, all or none
    MoveComputers: Post "/computers/move" (Nothing, MoveAll) -> MovedComputers, &[404, 409];
    /// Remove a computer; it comes back when it asks again
    DeleteComputer: Delete "/computers/{computer}" (Nothing, Nothing) -> RemovedComputer, &[404, 409];
    /// Servers that synchronise from here, directly or not, by name, and those refused
    ListServers: Get "/downstreams" (ServersQuery, Nothing) -> Servers, &[];
    /// One server: what it took, what it lacks, what it says of itself
    ReadServer: Get "/downstreams/{server}" (Nothing, Nothing) -> ServerDetail, &[404];
    /// Let a server in and make a token for it
    AllowServer: Post "/downstreams/allow" (Nothing, Allow) -> Allowed, &[404, 409];
    /// Shut a server out under every identity it was seen with, or forget what it told
    RevokeServer: Post "/downstreams/revoke" (Nothing, Revoke) -> Revoked, &[404, 409];
    /// Every byte: received, served, avoided, wasted, by time or by name; as CSV with format=csv
    ReadLedger: Get "/bandwidth/ledger" (LedgerQuery, Nothing) -> Ledger, &[], also &["text/csv"];
    /// What is cached
    ReadContent: Get "/content" (Paging, Nothing) -> Content, &[];
    /// What classes of computers used, and what is fetched ahead of demand
    ReadLearned: Get "/content/learned" (Nothing, Nothing) -> LearnedContent, &[];
    /// Hash what is cached again
    VerifyContent: Post "/content/verify" (Nothing, Nothing) -> Started, &[409];
    /// Fetch files now
    FetchContent: Post "/content/fetch" (Nothing, Fetch) -> Fetched, &[404, 409];
    /// Drop files that nothing offered names
    CollectContent: Post "/content/collect" (Nothing, Nothing) -> Collected, &[];
    /// Transfers that run or wait
    ListTransfers: Get "/transfers" (Paging, Nothing) -> Transfers, &[];
    /// Pause a transfer, go on with it, or make it more urgent
    UpdateTransfer: Put "/transfers/{sha1}" (Nothing, ChangeTransfer) -> ChangedTransfer, &[404];
    /// Cancel a transfer; what has arrived is kept
    CancelTransfer: Delete "/transfers/{sha1}" (Nothing, Nothing) -> CancelledTransfer, &[404];
    /// The rate, and what crosses the link
    ReadLink: Get "/bandwidth" (Nothing, Nothing) -> Link, &[];
    /// Let a rate hold over the calendar
    SetLinkRate: Put "/bandwidth" (Nothing, SetRate) -> RateChanged, &[];
    /// Let the calendar hold again
    ResetLinkRate: Delete "/bandwidth" (Nothing, Nothing) -> RateChanged, &[];
}
