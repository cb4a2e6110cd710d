//! Moving computers between groups.
//!
//! **Invariant:** a move is journaled and durable when a call returns, all of it or nothing. It is of no concern to other
//! computers: it makes no snapshot and no change number.

use std::sync::Arc;

use super::fleet::{Fleet, MAX_GROUPS};
use crate::error::CatalogError;
use crate::storage::record::key;
use crate::values::computer::Computer;
use tailwater_domain::{ComputerId, GroupId, Limit, limits};
use tailwater_kv::Op;

/// The most computers that are moved together.
pub const MAX_MOVED: usize = 20_000;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_MOVED in "computers": "Computers moved together" => "none is moved: 400",
];

impl Fleet {
    /// Runs a change of groups that may take computers out of groups: they leave with it, or not at all.
    pub(crate) fn leaving<T>(
        &self,
        change: impl FnOnce(
            &mut dyn FnMut(&[GroupId]) -> Result<Vec<Op>, CatalogError>,
        ) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let _one = self.changing();
        let mut left = Vec::new();
        let done = change(&mut |gone| {
            left = self.members().leaving(gone);
            left.iter().map(|one| Ok((key::computer(&one.id), Some(one.record()?)))).collect()
        })?;
        for computer in left {
            self.members().keep(computer);
        }
        Ok(done)
    }

    /// Puts computers into these groups, as one change that makes no snapshot.
    pub(crate) fn assign(
        &self,
        ids: &[ComputerId],
        groups: &[GroupId],
    ) -> Result<Vec<Arc<Computer>>, CatalogError> {
        if ids.len() > MAX_MOVED {
            return Err(CatalogError::TooManyAtOnce { limit: MAX_MOVED });
        }
        let _one = self.changing();
        let groups = self.placed(groups)?;
        let known =
            |id: &ComputerId| self.members().get(id).ok_or_else(|| CatalogError::UnknownComputer(id.clone()));
        let mut found = ids.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        if found.iter().all(|computer| computer.groups == groups) {
            return Ok(found);
        }
        let mut ops: Vec<Op> = Vec::new();
        for computer in found.iter_mut().filter(|computer| computer.groups != groups) {
            let moved = Arc::make_mut(computer);
            moved.groups.clone_from(&groups);
            ops.push((key::computer(&moved.id), Some(moved.record()?)));
        }
        self.state().journal(ops)?;
        for computer in &found {
            self.news().note(&computer.id);
        }
        Ok(found.into_iter().map(|computer| self.members().keep(Arc::unwrap_or_clone(computer))).collect())
    }

    /// Groups that exist as they are kept of a computer: sorted, and none for the two that everybody is in.
    fn placed(&self, groups: &[GroupId]) -> Result<Vec<GroupId>, CatalogError> {
        let snapshot = self.current().snapshot();
        let known = &snapshot.view().decisions.groups;
        if let Some(unknown) = groups.iter().find(|group| !known.contains_key(group)) {
            return Err(CatalogError::UnknownGroup(*unknown));
        }
        let plain = [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS];
        let mut groups: Vec<GroupId> =
            groups.iter().filter(|group| !plain.contains(group)).copied().collect();
        groups.sort_unstable();
        groups.dedup();
        groups.truncate(MAX_GROUPS);
        Ok(groups)
    }
}
