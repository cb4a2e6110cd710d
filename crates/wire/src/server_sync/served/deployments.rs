//! `GetDeployments` ([MS-WSUSSS] 3.1.4.10), the upstream's side: the fields of each type in the order of the schema.
//! Invariant: every list is written, even empty; a time is written as WSUS does, UTC without saying so. It never
//! decides what is told.

use std::io::BufRead;

use jiff::tz::Offset;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use uuid::Uuid;

use super::cookie;
use crate::server_sync::deployments::{NO_GROUP, number_of};
use crate::server_sync::{Deployment, Deployments, NAMESPACE};
use crate::xml::{Decoder, Encoder, XmlError, once};

/// No deadline.
const NEVER: &str = "9999-12-31T23:59:59.9999999";
/// About what one deployment takes.
const DEPLOYMENT_BYTES: usize = 640;

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentsRequest {
    /// The sealed cookie.
    pub cookie: Option<Vec<u8>>,
    /// `deploymentAnchor`; `None` when absent or empty.
    pub since: Option<String>,
    /// `syncAnchor`.
    pub sync_anchor: Option<String>,
}

/// Reads `GetDeployments`.
///
/// # Errors
/// When the body is no such request.
pub fn deployments_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<DeploymentsRequest, XmlError> {
    let (mut sealed, mut since, mut sync_anchor) = (None, None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => once(&mut sealed, "cookie", cookie(decoder)?)?,
            "deploymentAnchor" => once(&mut since, "deploymentAnchor", decoder.optional_text()?)?,
            "syncAnchor" => once(&mut sync_anchor, "syncAnchor", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(DeploymentsRequest {
        cookie: sealed.flatten(),
        since: since.flatten().filter(|since| !since.is_empty()),
        sync_anchor: sync_anchor.flatten(),
    })
}

/// The body of a `GetDeployments` answer up to its anchor.
pub fn deployments_head(anchor: &str) -> String {
    let mut xml = Encoder::with_capacity(256);
    xml.open_in("GetDeploymentsResponse", NAMESPACE).open("GetDeploymentsResult").text("Anchor", anchor);
    xml.finish()
}

/// The rest of it, which is the same for everybody who asks since the same time; `anchor` is not looked at.
pub fn deployments_rest(told: &Deployments) -> String {
    let mut xml = Encoder::with_capacity(4_096 + DEPLOYMENT_BYTES * told.deployments.len());
    xml.open("Groups");
    for group in &told.groups {
        xml.open("ServerSyncTargetGroup").value("TargetGroupID", group.id);
        xml.value("ParentGroupId", group.parent.unwrap_or(NO_GROUP)).text("Name", &group.name);
        xml.value("IsBuiltin", group.is_builtin).close("ServerSyncTargetGroup");
    }
    xml.close("Groups").open("Deployments");
    told.deployments.iter().for_each(|one| deployment(&mut xml, one));
    xml.close("Deployments");
    guids(&mut xml, "DeadDeployments", told.dead.iter().map(|id| &id.0));
    guids(&mut xml, "HiddenUpdates", told.hidden.iter().map(|id| &id.0));
    guids(&mut xml, "AcceptedEulas", told.accepted_eulas.iter());
    xml.close("GetDeploymentsResult").close("GetDeploymentsResponse");
    xml.finish()
}

fn deployment(xml: &mut Encoder, one: &Deployment) {
    let deadline = one.deadline.map_or_else(|| NEVER.to_owned(), time_text);
    xml.open("ServerSyncDeployment").value("UpdateId", one.update);
    xml.value("RevisionNumber", one.revision).value("Action", number_of(one.action));
    xml.text("AdminName", &one.admin_name).value("Deadline", deadline);
    xml.value("IsAssigned", one.is_assigned).value("GoLiveTime", time_text(one.go_live));
    xml.value("DeploymentGuid", one.id).value("TargetGroupId", one.group);
    xml.value("DownloadPriority", one.priority.clamp(1, 3)).close("ServerSyncDeployment");
}

fn guids<'a>(xml: &mut Encoder, name: &str, guids: impl Iterator<Item = &'a Uuid>) {
    xml.open(name);
    for guid in guids {
        xml.value("guid", guid);
    }
    xml.close(name);
}

/// UTC without saying so, and no finer than the 100 nanoseconds that Windows has.
fn time_text(time: Timestamp) -> String {
    let grain = TimestampRound::new().smallest(Unit::Nanosecond).increment(100).mode(RoundMode::Trunc);
    Offset::UTC.to_datetime(time.round(grain).unwrap_or(time)).to_string()
}
