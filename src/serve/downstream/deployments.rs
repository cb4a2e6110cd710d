//! `GetDeployments` ([MS-WSUSSS] 3.1.4.10): what replicas below this server take over from it.
//!
//! Approvals of what a child can act on are deployments; an update that nobody approved needs none. What is held back
//! here is told as to be detected only. A child whose anchor is older than what is remembered of retired approvals is
//! refused its anchor, and asks again for all.
//!
//! **Invariant:** what is told fits the list of revisions that the child's `syncAnchor` came with; later decisions are
//! told the next time. It never changes anything.

use super::{Asked, Service};
use crate::catalog::{DecisionSet, SharedApproval};
use crate::domain::GroupId;
use crate::serve::fault::Refusal;
use crate::wire::server_sync::served;
use crate::wire::server_sync::{Deployment, Deployments, TargetGroup};

impl Service {
    /// [MS-WSUSSS] 3.1.4.10
    pub(super) async fn get_deployments(&self, asked: &mut Asked<'_>) -> Result<String, Refusal> {
        let request = served::deployments_request(asked.decoder)?;
        self.admitted(request.cookie.as_deref(), &asked.proof)?;
        let change = self.0.catalog.snapshot().change_number();
        let read = |text: &str, name| self.read_anchor(text, change, name).map(|anchor| anchor.change);
        let since = request.since.as_deref().map(|text| read(text, "deploymentAnchor")).transpose()?;
        let listed = read(request.sync_anchor.as_deref().unwrap_or_default(), "syncAnchor")?;
        let since = since.unwrap_or_default();
        let until = listed.max(since);
        let anchor = self.anchor(until);
        let catalog = self.0.catalog.clone();
        let told = move || {
            let set = catalog.export_decisions(since, until)?;
            Ok::<_, Refusal>(set.map(|set| served::deployments_answer(&deployments(set, anchor))))
        };
        tokio::task::spawn_blocking(told).await??.ok_or(Refusal::Parameter("deploymentAnchor"))
    }
}

/// Decisions as the wire has them.
fn deployments(set: DecisionSet, anchor: String) -> Deployments {
    let builtin = [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS];
    let groups = set.groups.into_iter().map(|group| TargetGroup {
        is_builtin: builtin.contains(&group.id),
        id: group.id,
        parent: group.parent,
        name: group.name,
    });
    Deployments {
        anchor,
        groups: groups.collect(),
        deployments: set.approvals.into_iter().map(deployment).collect(),
        dead: set.retired,
        hidden: set.declined.into_iter().map(|one| one.update).collect(),
        accepted_eulas: set.accepted_eulas,
    }
}

fn deployment(told: SharedApproval) -> Deployment {
    let approval = told.approval;
    Deployment {
        update: told.update,
        revision: approval.revision.unwrap_or_default(),
        action: approval.action,
        admin_name: approval.made_by,
        deadline: approval.deadline,
        is_assigned: approval.is_assigned,
        go_live: approval.made_at,
        id: approval.id,
        group: told.group,
        priority: approval.priority,
    }
}
