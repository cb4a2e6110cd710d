//! This server in eighteen numbers, as it tells of itself ([MS-WSUSSS] 3.2.4.5).
//!
//! **Invariant:** updates are what can be installed: categories and detectoids do not count. Only agents of this server
//! count as its computers. It never changes anything.
//! Deviates: whether files are missing is not known here, and which updates agents need to go on working is not looked
//! up; both numbers are 0.

use std::collections::HashMap;

use uuid::{Uuid, uuid};

use super::lookup::Query;
use super::updates::categories_of;
use crate::error::CatalogError;
use crate::snapshot::world::flag;
use crate::values::counts::Counts;
use tailwater_domain::{Action, CategoryKind, ServerSummary, UpdateId, UpdateType};

/// Critical Updates and Security Updates, by which Windows tells what is critical (note 71).
const CRITICAL: [UpdateId; 2] = [
    UpdateId(uuid!("e6cf1350-c01b-414d-a61f-263d14d133b4")),
    UpdateId(uuid!("0fa1201d-4330-4fa8-8ae9-b877473b6441")),
];

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Query {
    /// This server's own numbers. Reads what every agent reported.
    pub(crate) fn summary(&self) -> Result<ServerSummary, CatalogError> {
        let mut summary = ServerSummary::default();
        let mut said: HashMap<Uuid, Counts> = HashMap::new();
        let snapshot = self.current().snapshot();
        for computer in self.fleet().members().all() {
            let mut status = self.fleet().status(&computer.id)?;
            status.needed.retain(|update| !snapshot.view().is_unneeded(update));
            status.failed.retain(|failure| !snapshot.view().is_unneeded(&failure.update));
            summary.computers += 1;
            summary.computers_needing_updates += u32::from(!status.needed.is_empty());
            summary.computers_with_errors += u32::from(!status.failed.is_empty());
            summary.computers_up_to_date +=
                u32::from(status.reported_at.is_some() && status.needed.is_empty());
            status.installed.iter().for_each(|id| said.entry(id.0).or_default().installed += 1);
            status.needed.iter().for_each(|id| said.entry(id.0).or_default().needed += 1);
            status.failed.iter().for_each(|one| said.entry(one.update.0).or_default().failed += 1);
        }
        summary.with_client_errors = count(said.values().filter(|counts| counts.failed > 0).count());
        summary.needed_by_computers = count(said.values().filter(|counts| counts.needed > 0).count());
        summary.up_to_date =
            count(said.values().filter(|counts| counts.installed > 0 && counts.needed == 0).count());
        self.count_updates(&mut summary);
        Ok(summary)
    }

    fn count_updates(&self, summary: &mut ServerSummary) {
        let snapshot = self.current().snapshot();
        let world = snapshot.world();
        for update in &world.updates {
            let Some(rev) = world.rev(update.newest) else { continue };
            if !matches!(rev.update_type, UpdateType::Software | UpdateType::Driver) {
                continue;
            }
            let decision = snapshot.view().decision(rev.update);
            let approvals = decision.map_or(&[][..], |decision| &decision.approvals);
            let acts = approvals.iter().any(|(_, approval)| approval.action.acts());
            let installs = approvals.iter().any(|(_, approval)| approval.action == Action::Install);
            summary.updates += 1;
            if decision.is_some_and(|decision| decision.declined.is_some()) {
                summary.declined += 1;
                continue;
            }
            summary.approved += u32::from(acts);
            summary.not_approved += u32::from(!acts);
            summary.expired += u32::from(rev.has(flag::EXPIRED) && approvals.is_empty());
            let is_critical = || {
                let of = categories_of(&snapshot, rev, CategoryKind::Classification);
                of.iter().any(|id| CRITICAL.contains(id))
            };
            summary.critical_not_approved += u32::from(!installs && is_critical());
        }
        summary.custom_groups = count(snapshot.view().decisions.groups.len().saturating_sub(2));
    }
}
