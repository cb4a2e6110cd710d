//! `GetDeployments` ([MS-WSUSSS] 3.1.4.10), the downstream server's side, and its values. Invariant: an answer without its groups is refused, for
//! it would look like a server that has none; every other list may be absent and is then empty. It never
//! looks into an anchor.

use std::io::BufRead;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use uuid::Uuid;

use super::authorization::{Cookie, result};
use super::message::{NAMESPACE, Request};
use crate::soap::SoapError;
use crate::xml::{Decoder, Encoder, XmlError, once};
use tailwater_domain::{Action, ApprovalId, Deadline, GroupId, UpdateId};

/// The parent of the group at the top.
pub(super) const NO_GROUP: GroupId = GroupId(Uuid::nil());

/// What an upstream decided (`ServerSyncDeploymentResult`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployments {
    /// What to send next time.
    pub anchor: String,
    /// All groups.
    pub groups: Vec<TargetGroup>,
    /// Deployments that are new or changed since the anchor.
    pub deployments: Vec<Deployment>,
    /// Deployments that went since the anchor.
    pub dead: Vec<ApprovalId>,
    /// All updates that were declined.
    pub hidden: Vec<UpdateId>,
    /// All license terms that were accepted.
    pub accepted_eulas: Vec<Uuid>,
}

/// A group (`ServerSyncTargetGroup`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    /// Its identity.
    pub id: GroupId,
    /// The group above; none for the one at the top, and where a server leaves it out.
    pub parent: Option<GroupId>,
    /// Its name.
    pub name: String,
    /// Whether every server has it.
    pub is_builtin: bool,
}

/// An approval (`ServerSyncDeployment`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Of which update.
    pub update: UpdateId,
    /// Of which revision of it.
    pub revision: u32,
    /// What to do: 0 to 3 on the wire.
    pub action: Action,
    /// Who approved it.
    pub admin_name: String,
    /// By when it is to be done.
    pub deadline: Deadline,
    /// Whether agents do it by themselves.
    pub is_assigned: bool,
    /// From when on.
    pub go_live: Timestamp,
    /// Its name on every server.
    pub id: ApprovalId,
    /// For whom.
    pub group: GroupId,
    /// From 1 to 3.
    pub priority: u8,
}

/// Asks what was decided since `since`, up to the list that came with `sync_anchor`.
pub fn get_deployments(cookie: &Cookie, since: Option<&str>, sync_anchor: &str) -> Request {
    let mut xml = Encoder::with_capacity(1024);
    cookie.encode(&mut xml);
    if let Some(since) = since {
        xml.text("deploymentAnchor", since);
    }
    xml.text("syncAnchor", sync_anchor);
    Request::new(NAMESPACE, "GetDeployments", xml.as_str())
}

/// Reads the answer to [`get_deployments`]. A deployment with an action that this protocol does not know is
/// passed over.
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_deployments<R: BufRead>(input: R) -> Result<Deployments, SoapError> {
    let mut decoder = result(input, "GetDeployments", "GetDeploymentsResult")?;
    let (mut anchor, mut groups, mut deployments) = (None, None, None);
    let (mut dead, mut hidden, mut eulas) = (None, None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "Anchor" => once(&mut anchor, "Anchor", decoder.text()?)?,
            "Groups" => {
                let read =
                    list(&mut decoder, "ServerSyncTargetGroup", |decoder| read_group(decoder).map(Some))?;
                once(&mut groups, "Groups", read)?;
            }
            "Deployments" => {
                let read = list(&mut decoder, "ServerSyncDeployment", read_deployment)?;
                once(&mut deployments, "Deployments", read)?;
            }
            "DeadDeployments" => once(&mut dead, "DeadDeployments", guids(&mut decoder)?)?,
            "HiddenUpdates" => once(&mut hidden, "HiddenUpdates", guids(&mut decoder)?)?,
            "AcceptedEulas" => once(&mut eulas, "AcceptedEulas", guids(&mut decoder)?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(Deployments {
        anchor: anchor.ok_or(XmlError::Missing { element: "Anchor" })?,
        groups: groups
            .filter(|groups| !groups.is_empty())
            .ok_or(XmlError::Missing { element: "ServerSyncTargetGroup" })?,
        deployments: deployments.unwrap_or_default(),
        dead: dead.unwrap_or_default().into_iter().map(ApprovalId).collect(),
        hidden: hidden.unwrap_or_default().into_iter().map(UpdateId).collect(),
        accepted_eulas: eulas.unwrap_or_default(),
    })
}

fn list<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    read: impl Fn(&mut Decoder<R>) -> Result<Option<T>, XmlError>,
) -> Result<Vec<T>, XmlError> {
    let mut items = Vec::new();
    while let Some(name) = decoder.child()? {
        if name == item && !decoder.is_nil() {
            items.extend(read(decoder)?);
        } else {
            decoder.skip()?;
        }
    }
    Ok(items)
}

fn guids<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Vec<Uuid>, XmlError> {
    list(decoder, "guid", Decoder::optional_value)
}

fn read_group<R: BufRead>(decoder: &mut Decoder<R>) -> Result<TargetGroup, XmlError> {
    let (mut id, mut parent, mut name, mut is_builtin) = (None, None, None, None);
    while let Some(child) = decoder.child()? {
        match child {
            "TargetGroupID" => once(&mut id, "TargetGroupID", decoder.value()?)?,
            "ParentGroupId" => once(&mut parent, "ParentGroupId", decoder.optional_value()?)?,
            "Name" => once(&mut name, "Name", decoder.text()?)?,
            "IsBuiltin" => once(&mut is_builtin, "IsBuiltin", decoder.boolean()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(TargetGroup {
        id: id.ok_or(XmlError::Missing { element: "TargetGroupID" })?,
        parent: parent.flatten().filter(|parent| *parent != NO_GROUP),
        name: name.unwrap_or_default(),
        is_builtin: is_builtin.unwrap_or_default(),
    })
}

/// The fields of a deployment as they come.
#[derive(Default)]
struct Fields {
    update: Option<UpdateId>,
    revision: Option<u32>,
    action: Option<i64>,
    admin_name: Option<String>,
    deadline: Option<Deadline>,
    is_assigned: Option<bool>,
    go_live: Option<Timestamp>,
    id: Option<ApprovalId>,
    group: Option<GroupId>,
    priority: Option<u8>,
}

fn read_deployment<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Option<Deployment>, XmlError> {
    let mut of = Fields::default();
    while let Some(child) = decoder.child()? {
        match child {
            "UpdateId" => once(&mut of.update, "UpdateId", decoder.value()?)?,
            "RevisionNumber" => once(&mut of.revision, "RevisionNumber", decoder.value()?)?,
            "Action" => once(&mut of.action, "Action", decoder.value()?)?,
            "AdminName" => once(&mut of.admin_name, "AdminName", decoder.text()?)?,
            "Deadline" => once(&mut of.deadline, "Deadline", read_deadline(decoder)?)?,
            "IsAssigned" => once(&mut of.is_assigned, "IsAssigned", decoder.boolean()?)?,
            "GoLiveTime" => once(&mut of.go_live, "GoLiveTime", read_go_live(decoder)?)?,
            "DeploymentGuid" => once(&mut of.id, "DeploymentGuid", decoder.value()?)?,
            "TargetGroupId" => once(&mut of.group, "TargetGroupId", decoder.value()?)?,
            "DownloadPriority" => once(&mut of.priority, "DownloadPriority", decoder.value()?)?,
            _ => decoder.skip()?,
        }
    }
    let missing = |element| XmlError::Missing { element };
    let number = of.action.ok_or(missing("Action"))?;
    let Some(action) = action_of(number) else { return Ok(None) };
    Ok(Some(Deployment {
        update: of.update.ok_or(missing("UpdateId"))?,
        revision: of.revision.ok_or(missing("RevisionNumber"))?,
        action,
        admin_name: of.admin_name.unwrap_or_default(),
        deadline: of.deadline.flatten(),
        is_assigned: of.is_assigned.unwrap_or(true),
        go_live: of.go_live.unwrap_or_default(),
        id: of.id.ok_or(missing("DeploymentGuid"))?,
        group: of.group.ok_or(missing("TargetGroupId"))?,
        priority: of.priority.unwrap_or(tailwater_domain::USUAL_PRIORITY),
    }))
}

fn action_of(number: i64) -> Option<Action> {
    [Action::Install, Action::Uninstall, Action::Detect, Action::Block]
        .into_iter()
        .find(|action| i64::from(number_of(*action)) == number)
}

pub(super) fn number_of(action: Action) -> u8 {
    match action {
        Action::Install => 0,
        Action::Uninstall => 1,
        Action::Detect => 2,
        Action::Block => 3,
    }
}

/// A time, UTC where it names no zone.
fn read_time<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Result<Timestamp, String>, XmlError> {
    let text = decoder.text()?;
    let zoned = text.trim().parse::<Timestamp>().ok();
    let plain = || Offset::UTC.to_timestamp(text.trim().parse::<DateTime>().ok()?).ok();
    Ok(zoned.or_else(plain).ok_or(text))
}

fn read_deadline<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Deadline, XmlError> {
    match read_time(decoder)? {
        Ok(time) => Ok(Some(time)),
        // the end of time is none, in whatever zone
        Err(text) if text.trim().is_empty() || text.trim().starts_with("9999-") => Ok(None),
        Err(text) => Err(refuse("Deadline", &text)),
    }
}

fn read_go_live<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Timestamp, XmlError> {
    read_time(decoder)?.map_err(|text| refuse("GoLiveTime", &text))
}

fn refuse(element: &str, text: &str) -> XmlError {
    XmlError::Value { element: element.to_owned(), text: text.chars().take(80).collect() }
}
