//! `GetDeployments` ([MS-WSUSSS] 3.1.4.10): what replicas below this server take over from it.
//!
//! Approvals of what a child can act on are deployments; an update that nobody approved needs none. What is held back
//! here is told as to be detected only. A child whose anchor is older than what is remembered of retired approvals is
//! refused its anchor, and asks again for all.
//!
//! **Invariant:** what is told fits the list of revisions that the child's `syncAnchor` came with; later decisions are
//! told the next time. It never changes anything.

use http::StatusCode;
use http_body_util::BodyExt as _;

use super::listing::coded;
use super::service::{Asked, Service};
use crate::Response;
use crate::fault::Refusal;
use crate::soap::{Exchange, Joined};
use tailwater_catalog::{DecisionSet, SharedApproval};
use tailwater_domain::GroupId;
use tailwater_wire::server_sync::served;
use tailwater_wire::server_sync::{Deployment, Deployments, TargetGroup};

impl Service {
    /// [MS-WSUSSS] 3.1.4.10
    pub(super) async fn get_deployments(
        &self,
        exchange: &Exchange,
        asked: &mut Asked<'_>,
    ) -> Result<Response, Refusal> {
        let request = served::deployments_request(asked.decoder)?;
        let claims = self.admitted(request.cookie.as_deref(), &asked.proof)?;
        let snapshot = self.0.catalog.snapshot();
        let change = snapshot.change_number();
        let read = |text: &str, name| self.read_anchor(text, change, name).map(|anchor| anchor.change);
        let since = request.since.as_deref().map(|text| read(text, "deploymentAnchor")).transpose()?;
        let listed = read(request.sync_anchor.as_deref().unwrap_or_default(), "syncAnchor")?;
        let since = since.unwrap_or_default();
        let until = listed.max(since);
        let (catalog, xpress, closing) = (self.0.catalog.clone(), exchange.xpress, exchange.closing());
        let make = move || {
            let set =
                catalog.export_decisions(since, until)?.ok_or(Refusal::Parameter("deploymentAnchor"))?;
            Ok(coded(served::deployments_rest(&deployments(set)) + closing, xpress))
        };
        let holder = asked.asker(&claims.server);
        let told = self.0.lists.get(&key(snapshot.sequence(), since, until, xpress), holder, make).await?;
        let head = exchange.opening() + &served::deployments_head(&self.anchor(until));
        let body = Joined::new([coded(head, xpress), told]).boxed_unsync();
        let answer = exchange.with_body(StatusCode::OK, body, xpress);
        let service = self.clone();
        let count = move || {
            service.count(&claims.server, &answer, None);
            answer
        };
        Ok(tokio::task::spawn_blocking(count).await?)
    }
}

/// What tells one answer from another.
fn key(sequence: u64, since: u64, until: u64, xpress: bool) -> blake3::Hash {
    let mut key = blake3::Hasher::new();
    key.update(b"deployments").update(&sequence.to_le_bytes()).update(&since.to_le_bytes());
    key.update(&until.to_le_bytes()).update(&[u8::from(xpress)]);
    key.finalize()
}

/// Decisions as the wire has them.
fn deployments(set: DecisionSet) -> Deployments {
    let builtin = [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS];
    let groups = set.groups.into_iter().map(|group| TargetGroup {
        is_builtin: builtin.contains(&group.id),
        id: group.id,
        parent: group.parent,
        name: group.name,
    });
    Deployments {
        anchor: String::new(),
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
