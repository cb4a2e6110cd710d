//! The catalog towards agents' computers, and towards administrators who look at them.
//!
//! **Invariant:** as the catalog's.

use std::collections::HashMap;
use std::sync::Arc;

use crate::computers::identity::IdentityKind;
use crate::computers::newcomers::FleetCounts;
use crate::error::CatalogError;
use crate::parts::Catalog;
use crate::query::rows::{ComputerDetail, ComputerQuery, ComputerRow, ComputerState, Page};
use crate::storage::client_state::StateBytes;
use crate::values::computer::{Caller, Computer, Event};
use tailwater_domain::{ComputerFacts, ComputerId, GroupId, ServerId, UpdateId};

impl Catalog {
    /// A computer that called, whether or not it is a member of the fleet.
    pub fn computer(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        self.0.fleet.any(id)
    }

    /// A computer said who it is (`GetAuthorizationCookie`). When unknown it is remembered in memory only, until it scans
    /// ([`Catalog::contacted`]).
    pub fn introduce(
        &self,
        caller: &Caller,
        id: &ComputerId,
        dns_name: &str,
        requested_group: Option<&str>,
    ) -> Result<Arc<Computer>, CatalogError> {
        self.0.fleet.introduce(caller, id, dns_name, requested_group)
    }

    /// `RegisterComputer`.
    pub fn register(
        &self,
        caller: &Caller,
        id: &ComputerId,
        info: ComputerFacts,
    ) -> Result<Arc<Computer>, CatalogError> {
        self.0.fleet.register(caller, id, info)
    }

    /// A computer scanned: it becomes a member of the fleet, kept and listed, where there is room and not too many come
    /// from one place; else it stays as it is. Cheap for a member: written down at most once a minute.
    pub fn contacted(
        &self,
        caller: &Caller,
        id: &ComputerId,
        device_attributes: Option<&str>,
    ) -> Result<(), CatalogError> {
        self.0.fleet.contacted(caller, id, device_attributes)
    }

    /// A computer that says who it is and scans, from this machine itself: a member from now on.
    #[cfg(test)]
    pub(crate) fn enrol(
        &self,
        id: &ComputerId,
        dns_name: &str,
        requested_group: Option<&str>,
    ) -> Result<Arc<Computer>, CatalogError> {
        let caller = Caller::default();
        self.0.fleet.introduce(&caller, id, dns_name, requested_group)?;
        self.0.fleet.contacted(&caller, id, None)?;
        self.0.fleet.any(id).ok_or_else(|| CatalogError::UnknownComputer(id.clone()))
    }

    /// Computers that are no members of the fleet, and what was not kept of them.
    pub fn fleet_counts(&self) -> FleetCounts {
        self.0.fleet.fleet_counts()
    }

    /// Bytes that clients make this server keep.
    pub fn state_bytes(&self) -> StateBytes {
        self.0.branches.state().state_bytes()
    }

    /// How many changes of computers' identities were noted since this process began.
    pub fn identity_counts(&self) -> std::collections::BTreeMap<IdentityKind, u64> {
        self.0.fleet.identity_counts()
    }

    /// `ReportEventBatch`: keeps the events and derives what they say of updates. The same batch again
    /// changes nothing. Of a computer that is no member nothing is kept.
    pub fn report(&self, caller: &Caller, id: &ComputerId, events: Vec<Event>) -> Result<(), CatalogError> {
        let installed = self.0.fleet.report(caller, id, events)?;
        self.0.branches.count_activity(id, installed)
    }

    /// Puts a computer into groups; none means Unassigned Computers. Others notice nothing: no snapshot is made.
    pub fn assign(&self, id: &ComputerId, groups: &[GroupId]) -> Result<Arc<Computer>, CatalogError> {
        let moved = self.0.fleet.assign(std::slice::from_ref(id), groups)?;
        moved.into_iter().next().ok_or_else(|| CatalogError::UnknownComputer(id.clone()))
    }

    /// Puts several computers, at most [`crate::MAX_MOVED`], into the same groups as one change: all of them, or none when
    /// one is unknown.
    pub fn assign_all(
        &self,
        ids: &[ComputerId],
        groups: &[GroupId],
    ) -> Result<Vec<Arc<Computer>>, CatalogError> {
        self.0.fleet.assign(ids, groups)
    }

    /// Forgets a computer. False when it was not known.
    pub fn forget(&self, id: &ComputerId) -> Result<bool, CatalogError> {
        self.0.branches.forget(id)
    }

    /// Computers, by name.
    pub fn computers(&self, query: &ComputerQuery) -> Result<Page<ComputerRow>, CatalogError> {
        Ok(self.0.query.computers(query))
    }

    /// Agents of this server in a group or one below it.
    pub fn members(&self, group: &GroupId) -> Vec<Arc<Computer>> {
        self.0.query.members(group)
    }

    /// One computer with what it reported.
    pub fn computer_detail(&self, id: &ComputerId) -> Result<Option<ComputerDetail>, CatalogError> {
        self.0.query.computer_detail(id)
    }

    /// What computers say of an update: agents of this server first, then those of servers below, each by name. At most
    /// [`crate::MAX_PAGE`] rows; 0 means 100.
    pub fn states_of(
        &self,
        update: &UpdateId,
        offset: usize,
        limit: usize,
    ) -> Result<Page<ComputerState>, CatalogError> {
        self.0.query.states_of(update, offset, limit)
    }

    /// How many agents of this server are in each group or one below it.
    pub fn members_by_group(&self) -> HashMap<GroupId, usize> {
        self.0.query.members_by_group()
    }

    /// How many computers came through each server, directly or not.
    pub fn computers_by_server(&self) -> HashMap<ServerId, usize> {
        self.0.query.computers_by_server()
    }

    /// The computers that these texts name, each by its identity, by a name that it alone has, or by words that only it
    /// has. Where several have the name these instead, and none where nothing fits.
    pub fn computers_named(&self, texts: &[String]) -> Vec<Result<ComputerId, Vec<ComputerId>>> {
        self.0.query.computers_named(texts)
    }
}
