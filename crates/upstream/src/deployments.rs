//! What a replica takes over from its upstream: groups, approvals, declines ([MS-WSUSSS] 3.2.4.3).
//!
//! Invariant: the anchor moves in the step that makes what it stands for true. It is forgotten with the mode:
//! once decisions were made here, the upstream is asked for all of its own again. It never asks for metadata.

use serde::{Deserialize, Serialize};

use super::blocking::blocking;
use super::config::Mode;
use super::error::SyncError;
use super::peer::PeerError;
use super::report::Phase;
use super::run::Run;
use super::session::SessionError;
use super::state::{STATE_KEY, SyncState};
use tailwater_catalog::{Catalog, DecisionSet, Group, SharedApproval, SharedDecline, to_json};
use tailwater_domain::{Approval, GroupId};
use tailwater_wire::peer::unsqueeze;
use tailwater_wire::server_sync::{Deployment, Deployments, TargetGroup, get_deployments, read_deployments};

/// The setting that holds the anchor.
const KEY: &str = "upstream.deployments";

/// How far the decisions of one upstream were read.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    url: String,
    anchor: String,
}

/// Forgets how far decisions were read, whichever way.
pub(super) fn forget(catalog: &Catalog, state: &mut SyncState) -> Result<(), SyncError> {
    if catalog.setting(KEY)?.is_some() {
        catalog.set_setting(KEY, None)?;
    }
    if state.forget_decisions() {
        catalog.set_setting(STATE_KEY, Some(&state.encode()?))?;
    }
    Ok(())
}

impl Run {
    /// On a replica: asks what was decided upstream since the last time, up to the list that came with
    /// `sync_anchor`, and makes it so here. New updates are not visible yet; they appear decided on.
    pub(super) async fn take_decisions(&mut self, sync_anchor: &str) -> Result<(), SessionError> {
        if self.config().mode != Mode::Replica {
            return Ok(());
        }
        self.phase(Phase::Decisions);
        let catalog = self.catalog();
        let kept = blocking(move || catalog.setting(KEY)).await?.map_err(SyncError::Catalog)?;
        let kept: Option<Kept> = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let since = kept.filter(|kept| kept.url == self.config().url && !self.reads_all_decisions());
        let mut since = since.map(|kept| kept.anchor);
        let told = loop {
            let (asked, until) = (since.clone(), sync_anchor.to_owned());
            let build = move |cookie: &_| get_deployments(cookie, asked.as_deref(), &until);
            match self.session().call(build, read_deployments).await {
                Err(SessionError::Refused { fault, .. })
                    if since.is_some() && fault.code.as_deref() == Some("InvalidParameters") =>
                {
                    tracing::info!(%fault, "the upstream refused the anchor; requesting all of its decisions");
                    since = None;
                }
                other => break other?,
            }
        };
        let kept = Kept { url: self.config().url.clone(), anchor: told.anchor.clone() };
        let settings = vec![(KEY.to_owned(), Some(to_json(&kept).map_err(SyncError::Catalog)?))];
        self.make_so(decisions(told, since.is_none()), settings).await?;
        Ok(())
    }

    /// The same where the upstream is a tailwater and told it with its list. Gives the number up to which it told.
    pub(super) async fn take_told_decisions(&mut self, told: &[u8]) -> Result<u64, PeerError> {
        self.phase(Phase::Decisions);
        let set: DecisionSet = unsqueeze(told, "the decisions")?;
        let change = set.change;
        self.make_so(set, Vec::new()).await?;
        Ok(change)
    }

    async fn make_so(
        &mut self,
        set: DecisionSet,
        settings: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), SyncError> {
        let catalog = self.catalog();
        let replaced = blocking(move || catalog.replace_decisions(set, settings)).await?;
        let replaced = replaced.map_err(SyncError::Catalog)?;
        self.note_decided(replaced.updates + replaced.groups);
        tracing::debug!(?replaced, "applied the upstream's decisions");
        Ok(())
    }
}

/// An answer as the catalog takes it.
fn decisions(told: Deployments, complete: bool) -> DecisionSet {
    DecisionSet {
        complete,
        groups: told.groups.into_iter().map(group).collect(),
        approvals: told.deployments.into_iter().map(approval).collect(),
        retired: told.dead,
        declined: told
            .hidden
            .into_iter()
            .map(|update| SharedDecline { update, at: None, by: None })
            .collect(),
        accepted_eulas: told.accepted_eulas,
        change: 0,
    }
}

fn group(told: TargetGroup) -> Group {
    let all = (told.id != GroupId::ALL_COMPUTERS).then_some(GroupId::ALL_COMPUTERS);
    Group { id: told.id, name: told.name, parent: told.parent.or(all), depth: 0 }
}

fn approval(told: Deployment) -> SharedApproval {
    let approval = Approval {
        id: told.id,
        action: told.action,
        deadline: told.deadline,
        made_at: told.go_live,
        made_by: told.admin_name,
        revision: Some(told.revision),
        is_assigned: told.is_assigned,
        priority: told.priority,
        deployment_id: 0,
        change: 0,
    };
    SharedApproval { update: told.update, group: told.group, approval }
}
