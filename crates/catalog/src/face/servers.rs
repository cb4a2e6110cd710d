//! The catalog's face towards servers: those below this one, and what is told to the one above.
//!
//! **Invariant:** as the catalog's. It never decides who may come: `serve` has the gate.

use std::sync::Arc;

use jiff::Timestamp;

use crate::error::CatalogError;
use crate::parts::Catalog;
use crate::values::descendant::Descendant;
use crate::values::server::{
    Credential, IdentifiedBy, Invitation, Permission, Refused, Revocation, Server, Took,
};
use tailwater_domain::{
    ClientSummary, ComputerChange, ComputerId, RolledComputer, ServerId, ServerReport, ServerSummary,
    StatusReport,
};

/// Which telling of the upstream: another upstream, or one that lost what it was told, begins another one.
pub type Epoch = u32;

impl Catalog {
    // --- who there is -----------------------------------------------------------------------------------

    /// A server said who it is (`GetAuthorizationCookie`): it is made when unknown. Cheap when it did so within the
    /// last minute with the same credential.
    ///
    /// # Errors
    /// [`CatalogError::TooManyServers`] and [`CatalogError::ServersTooOften`] for a new one.
    pub fn introduce_server(
        &self,
        id: &ServerId,
        name: &str,
        credential: &Credential,
    ) -> Result<Arc<Server>, CatalogError> {
        self.0.branches.introduce_server(id, name, credential)
    }

    /// The server that was shut out and that this one is, as far as its name and credential tell: whatever identity it
    /// says. `is_known` when that identity came before and was not shut out itself. Memory only.
    pub fn is_revoked(
        &self,
        name: &str,
        credential: &Credential,
        is_known: bool,
    ) -> Option<(ServerId, IdentifiedBy)> {
        self.0.branches.servers().known().is_revoked(name, credential, is_known)
    }

    /// A downstream server, direct or further down.
    pub fn server(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.0.branches.servers().server(id)
    }

    /// All downstream servers, by name.
    pub fn servers(&self) -> Vec<Arc<Server>> {
        self.0.branches.servers().servers()
    }

    /// The servers from the direct child down to `id`, `id` included. Empty when `id` is unknown.
    pub fn server_chain(&self, id: &ServerId) -> Vec<ServerId> {
        self.0.branches.servers().known().chain(id)
    }

    /// Counts what a server took; its `at` is set here. Cheap: [`Self::write_server_counts`] writes it down.
    pub fn server_took(&self, id: &ServerId, took: Took) {
        self.0.branches.servers().server_took(id, took);
    }

    /// Writes down what servers took since the last time. Blocking.
    ///
    /// # Errors
    /// When the store cannot be written; what was counted is kept for the next time.
    pub fn write_server_counts(&self) -> Result<(), CatalogError> {
        self.0.branches.servers().write_server_counts()
    }

    /// Revisions that became visible after this change number: what a server that was told up to it lacks.
    pub fn revisions_after(&self, change: u64) -> usize {
        self.0.current.snapshot().revisions_after(change)
    }

    /// Lets a server in, named by identity or name, and makes a token for it. A name that nobody came by is kept for
    /// the first who does; with `needs_token`, for the one who shows the token.
    pub fn allow_server(&self, name_or_id: &str, needs_token: bool) -> Result<Permission, CatalogError> {
        self.0.branches.servers().allow_server(name_or_id, needs_token)
    }

    /// Shuts a server out, named by identity or name, and whoever comes with its name, a token or certificate of it, or
    /// from an address that only it came from; what it rolled up stays. A permission that nobody came for is
    /// taken back; then there is no server to tell of.
    pub fn revoke_server(&self, name_or_id: &str) -> Result<Revocation, CatalogError> {
        self.0.branches.servers().revoke_server(name_or_id)
    }

    /// Whether a server that is not allowed yet may come by a permission: with this name, or with this token. If so it
    /// is allowed from now on. `token_only` for one that seems to be shut out: its name is then not enough.
    pub fn claim_invitation(
        &self,
        id: &ServerId,
        name: &str,
        token: Option<&str>,
        token_only: bool,
    ) -> Result<Option<Arc<Server>>, CatalogError> {
        self.0.branches.servers().claim_invitation(id, name, token, token_only)
    }

    /// Permissions that nobody came for yet, by name.
    pub fn invitations(&self) -> Vec<Invitation> {
        self.0.branches.servers().invitations()
    }

    /// Notes that a server was refused; true when that is worth a line of the log (once a minute each).
    pub fn note_refused(&self, id: &ServerId, name: &str, reason: &'static str) -> bool {
        self.0.branches.servers().note_refused(id, name, reason)
    }

    /// Servers that were refused since this process began, the last 100.
    pub fn refused_servers(&self) -> Vec<Refused> {
        self.0.branches.servers().refused_servers()
    }

    // --- what servers below tell -----------------------------------------------------------------------

    /// What servers tell of themselves and those below them; `ours` is who this server is. Their senders must have
    /// passed the gate.
    ///
    /// # Errors
    /// [`CatalogError::UnknownServer`] when a parent is not known.
    pub fn roll_up_servers(&self, ours: &ServerId, reports: Vec<ServerReport>) -> Result<(), CatalogError> {
        self.0.branches.roll_up_servers(ours, reports)
    }

    /// What servers tell of their computers; gives what they must do about which.
    ///
    /// # Errors
    /// [`CatalogError::UnknownServer`] when a parent is not known; then nothing is changed.
    pub fn roll_up_computers(
        &self,
        rows: Vec<RolledComputer>,
    ) -> Result<Vec<(ComputerId, ComputerChange)>, CatalogError> {
        self.0.branches.descendants().roll_up_computers(rows)
    }

    /// Computers below `parent` whose last report has another number than it says.
    pub fn out_of_sync(&self, parent: &ServerId, numbers: &[(ComputerId, i32)]) -> Vec<ComputerId> {
        self.0.branches.descendants().out_of_sync(parent, numbers)
    }

    /// What computers below `parent` say of updates. Computers that are not known there are ignored.
    pub fn roll_up_status(&self, parent: &ServerId, reports: Vec<StatusReport>) -> Result<(), CatalogError> {
        self.0.branches.descendants().roll_up_status(parent, reports)
    }

    /// A computer of a server below.
    pub fn descendant(&self, id: &ComputerId) -> Option<Arc<Descendant>> {
        self.0.branches.descendants().known().get(id)
    }

    /// Forgets a server, those below it and the computers of them all; gives how many of each.
    pub fn forget_server(&self, id: &ServerId) -> Result<(usize, usize), CatalogError> {
        self.0.branches.forget_server(id)
    }

    /// This server's own numbers. Reads what every agent reported.
    pub fn server_summary(&self) -> Result<ServerSummary, CatalogError> {
        self.0.query.summary()
    }

    // --- what the upstream is told ----------------------------------------------------------------------

    /// All computers to tell of, ours and those below, in a lasting order.
    pub fn told_computers(&self) -> Vec<ComputerId> {
        self.0.branches.told_computers()
    }

    /// Ticks when computers, ours or below, said something that the upstream may not have been told.
    pub fn computer_news(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.news.subscribe()
    }

    /// Which computers did since this was last asked, at most 10,000; `None` for more: look at all.
    pub fn take_computer_news(&self) -> Option<Vec<ComputerId>> {
        self.0.news.take()
    }

    /// The rows of those of `ids` that changed since they were told, details only where these did.
    pub fn computers_to_tell(
        &self,
        epoch: Epoch,
        ours: ServerId,
        ids: &[ComputerId],
    ) -> Result<Vec<RolledComputer>, CatalogError> {
        self.0.branches.computers_to_tell(epoch, ours, ids)
    }

    /// The upstream took these rows; of those in `again` it wants the details, of those in `unwanted` it wants to hear
    /// nothing.
    pub fn computers_told(
        &self,
        epoch: Epoch,
        rows: Vec<RolledComputer>,
        again: &[ComputerId],
        unwanted: &[ComputerId],
    ) -> Result<(), CatalogError> {
        self.0.branches.computers_told(epoch, rows, again, unwanted)
    }

    /// Of those of `ids` that have something to tell (or of `every` one that ever reported): the number of the last
    /// report.
    pub fn statuses_to_tell(
        &self,
        epoch: Epoch,
        ids: &[ComputerId],
        every: bool,
    ) -> Result<Vec<(ComputerId, i32)>, CatalogError> {
        self.0.branches.statuses_to_tell(epoch, ids, every)
    }

    /// The next report of a computer, `None` when there is nothing to tell. `syncs` are the times at which this server
    /// synchronised.
    pub fn status_to_tell(
        &self,
        epoch: Epoch,
        syncs: &[Timestamp],
        id: &ComputerId,
        full: bool,
    ) -> Result<Option<StatusReport>, CatalogError> {
        self.0.branches.status_to_tell(epoch, syncs, id, full)
    }

    /// The upstream took these reports.
    pub fn statuses_told(&self, epoch: Epoch, reports: &[StatusReport]) -> Result<(), CatalogError> {
        self.0.branches.statuses_told(epoch, reports)
    }

    /// What computers of a server below (of ours, without one) installed since the upstream was told.
    pub fn client_summaries(&self, of: Option<&ServerId>) -> Result<Vec<ClientSummary>, CatalogError> {
        self.0.branches.client_summaries(of)
    }

    /// The upstream was told this.
    pub fn clear_activity(&self, of: Option<&ServerId>, told: &[ClientSummary]) -> Result<(), CatalogError> {
        self.0.branches.activities().clear(of, told)
    }
}
