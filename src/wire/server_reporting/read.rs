//! Reading what a downstream server reports.
//!
//! **Invariant:** a list that is longer than a request may have is an error before it is in memory; a list that is
//! absent or nil is `None`, an empty one is empty. Rows without an identity are errors.

use std::io::BufRead;
use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

use super::{RollupConfiguration, summary, time};
use crate::domain::{
    Activity, ClientSummary, ComputerDetails, ComputerId, ComputerName, GroupId, Limit, OsVersion,
    RolledComputer, ServerId, ServerName, ServerReport, StatusReport, Summarization, SyncResult, UpdateId,
    UpdateStatus, limits,
};
use crate::wire::xml::{Decoder, XmlError};

/// The operations of this half of the service.
pub const OPERATIONS: [&str; 5] = [
    "GetRollupConfiguration",
    "RollupDownstreamServers",
    "RollupComputers",
    "GetOutOfSyncComputers",
    "RollupComputerStatus",
];

/// Servers in one request. The text limits only what is inside them; trees of servers are small.
const MAX_SERVERS: usize = 10_000;
/// Activities of one summary, and statuses of one computer: more updates than a catalog offers to one.
const MAX_UPDATES: usize = 100_000;
/// Groups of a computer.
const MAX_GROUPS: usize = 1_000;
/// Names of groups that are kept of a computer.
const KEPT_GROUP_NAMES: usize = 64;

pub(super) const LIMITS: &[Limit] = limits![
    KEPT_GROUP_NAMES in "names": "Names of groups that are kept of a computer in a roll-up" => "the rest is left out",
    MAX_SERVERS in "servers": "Servers in a roll-up" => "the request is refused: InvalidParameters",
    MAX_UPDATES in "updates": "Updates of one summary or computer in a roll-up" => "the request is refused: InvalidParameters",
    MAX_GROUPS in "groups": "Groups of a computer in a roll-up" => "the request is refused: InvalidParameters",
];

type Outcome<T> = Result<T, XmlError>;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// `GetRollupConfiguration`
    Configuration,
    /// `RollupDownstreamServers`
    Servers {
        /// The sender's clock.
        client_time: Option<Timestamp>,
        /// `None` when absent.
        servers: Option<Vec<ServerReport>>,
    },
    /// `RollupComputers`
    Computers {
        /// The sender's clock.
        client_time: Option<Timestamp>,
        /// `None` when absent.
        computers: Option<Vec<RolledComputer>>,
    },
    /// `GetOutOfSyncComputers`
    OutOfSync {
        /// The sender.
        parent: Option<ServerId>,
        /// The last number sent of each computer; `None` when absent.
        numbers: Option<Vec<(ComputerId, i32)>>,
    },
    /// `RollupComputerStatus`
    Status {
        /// The sender's clock.
        client_time: Option<Timestamp>,
        /// The sender.
        parent: Option<ServerId>,
        /// `None` when absent.
        computers: Option<Vec<StatusReport>>,
    },
}

impl Report {
    /// Reads the request `operation`; `None` when the service has no such operation. Lists may be as long as `limits`
    /// say.
    ///
    /// # Errors
    /// When the body is no such request; [`XmlError::TooManyElements`] when a list is too long.
    pub fn decode<R: BufRead>(
        operation: &str,
        decoder: &mut Decoder<R>,
        limits: &RollupConfiguration,
    ) -> Outcome<Option<Self>> {
        decoder.keep_attributes();
        let (mut client_time, mut parent) = (None, None);
        let (mut servers, mut computers, mut numbers, mut statuses) = (None, None, None, None);
        let mut summaries = limits.max_summaries;
        while let Some(name) = decoder.child()? {
            match (operation, name) {
                (_, "clientTime") => client_time = time::read("clientTime", &decoder.text()?)?,
                (_, "parentServerId") => parent = Some(ServerId(guid(decoder)?)),
                ("RollupDownstreamServers", "downstreamServers") => {
                    servers = rows(decoder, "DownstreamServerRollupInfo", MAX_SERVERS, |decoder| {
                        server(decoder, &mut summaries)
                    })?;
                }
                ("RollupComputers", "computers") => {
                    computers = rows(decoder, "ComputerRollupInfo", limits.max_computers, computer)?;
                }
                ("GetOutOfSyncComputers", "lastRollupNumbers") => {
                    numbers = rows(decoder, "ComputerLastRollupNumber", limits.max_numbers, number)?;
                }
                ("RollupComputerStatus", "computers") => {
                    statuses = rows(decoder, "ComputerStatusRollupInfo", limits.max_statuses, status)?;
                }
                _ => decoder.skip()?,
            }
        }
        Ok(Some(match operation {
            "GetRollupConfiguration" => Self::Configuration,
            "RollupDownstreamServers" => Self::Servers { client_time, servers },
            "RollupComputers" => Self::Computers { client_time, computers },
            "GetOutOfSyncComputers" => Self::OutOfSync { parent, numbers },
            "RollupComputerStatus" => Self::Status { client_time, parent, computers: statuses },
            _ => return Ok(None),
        }))
    }
}

/// The children called `item`; `None` when the list itself is nil.
fn rows<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    limit: usize,
    mut read: impl FnMut(&mut Decoder<R>) -> Outcome<T>,
) -> Outcome<Option<Vec<T>>> {
    let nil = decoder.is_nil();
    let mut rows = Vec::new();
    while let Some(name) = decoder.child()? {
        if name != item || decoder.is_nil() {
            decoder.skip()?;
            continue;
        }
        if rows.len() == limit {
            return Err(XmlError::TooManyElements { limit });
        }
        rows.push(read(decoder)?);
    }
    Ok((!nil).then_some(rows))
}

fn guid<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Uuid> {
    let element = decoder.name().to_owned();
    parsed(&element, &decoder.text()?)
}

fn parsed<T: FromStr>(element: &str, text: &str) -> Outcome<T> {
    let value = |_e| XmlError::Value { element: element.to_owned(), text: text.chars().take(80).collect() };
    text.trim().parse().map_err(value)
}

/// A number that is only shown: 0 when it is none.
fn lenient<N: FromStr + Default>(text: &str) -> N {
    text.trim().parse().unwrap_or_default()
}

fn computer_id(text: &str) -> Outcome<ComputerId> {
    ComputerId::parse(text).map_err(|_why| XmlError::Value {
        element: "ComputerId".to_owned(),
        text: text.chars().take(80).collect(),
    })
}

/// The name of a server; empty where none is given.
fn server_name(text: &str) -> Outcome<String> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let name = ServerName::parse(text).map_err(|_why| XmlError::Value {
        element: "FullDomainName".to_owned(),
        text: text.chars().take(80).collect(),
    })?;
    Ok(name.into_string())
}

/// The name of a computer; empty where none is given.
fn full_name(text: &str) -> Outcome<String> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let name = ComputerName::parse(text).map_err(|_why| XmlError::Value {
        element: "FullDomainName".to_owned(),
        text: text.chars().take(80).collect(),
    })?;
    Ok(name.into_string())
}

fn server<R: BufRead>(decoder: &mut Decoder<R>, summaries: &mut usize) -> Outcome<ServerReport> {
    let (mut id, mut parent) = (None, None);
    let mut report = ServerReport {
        id: ServerId(Uuid::nil()),
        name: String::new(),
        last_sync: None,
        parent: None,
        version: String::new(),
        is_replica: false,
        last_rollup: None,
        summary: None,
        clients: Vec::new(),
    };
    while let Some(name) = decoder.child()? {
        match name {
            "ServerId" => id = Some(guid(decoder)?),
            "ParentServerId" => parent = Some(guid(decoder)?),
            "FullDomainName" => report.name = server_name(&decoder.text()?)?,
            "LastSyncTime" => report.last_sync = time::read("LastSyncTime", &decoder.text()?)?,
            "Version" => report.version = decoder.text()?,
            "IsReplica" => report.is_replica = decoder.boolean()?,
            "LastRollupTime" => report.last_rollup = time::read("LastRollupTime", &decoder.text()?)?,
            "ServerSummary" => {
                let nil = decoder.is_nil();
                report.summary = Some(summary::read(decoder)?).filter(|_| !nil);
            }
            "ClientSummaries" => {
                let clients = rows(decoder, "DownstreamServerRollupClientSummary", *summaries, client)?;
                report.clients = clients.unwrap_or_default();
                *summaries -= report.clients.len();
            }
            _ => decoder.skip()?,
        }
    }
    let named = |id: Option<Uuid>, element| id.ok_or(XmlError::Missing { element });
    report.id = ServerId(named(id, "ServerId")?);
    report.parent = Some(named(parent, "ParentServerId")?).filter(|id| !id.is_nil()).map(ServerId);
    Ok(report)
}

/// The places of an operating system's numbers, by name.
fn os_number<'a>(os: &'a mut OsVersion, name: &str) -> Option<&'a mut i32> {
    Some(match name {
        "OSMajorVersion" => &mut os.major,
        "OSMinorVersion" => &mut os.minor,
        "OSBuildNumber" => &mut os.build,
        "OSServicePackMajorNumber" => &mut os.service_pack_major,
        "OSServicePackMinorNumber" => &mut os.service_pack_minor,
        "SuiteMask" => &mut os.suite_mask,
        "OldProductType" => &mut os.old_product_type,
        "NewProductType" => &mut os.new_product_type,
        "SystemMetrics" => &mut os.system_metrics,
        _ => return None,
    })
}

fn client<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<ClientSummary> {
    let mut client = ClientSummary::default();
    while let Some(name) = decoder.child()? {
        match name {
            "OSLocale" => client.os.locale = decoder.text()?,
            "ProcessorArchitecture" => client.os.architecture = decoder.text()?,
            "Count" => client.count = lenient(&decoder.text()?),
            "ActivitySummaries" => {
                let item = "DownstreamServerRollupClientActivitySummary";
                client.activity = rows(decoder, item, MAX_UPDATES, activity)?.unwrap_or_default();
            }
            other => match os_number(&mut client.os, other) {
                Some(place) => *place = lenient(&decoder.text()?),
                None => decoder.skip()?,
            },
        }
    }
    Ok(client)
}

fn activity<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Activity> {
    let mut activity = Activity { update: UpdateId(Uuid::nil()), revision: 0, succeeded: 0, failed: 0 };
    while let Some(name) = decoder.child()? {
        match name {
            "UpdateId" => activity.update = UpdateId(guid(decoder)?),
            "RevisionNumber" => activity.revision = lenient(&decoder.text()?),
            "InstallSuccessCount" => activity.succeeded = lenient(&decoder.text()?),
            "InstallFailureCount" => activity.failed = lenient(&decoder.text()?),
            _ => decoder.skip()?,
        }
    }
    Ok(activity)
}

fn computer<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<RolledComputer> {
    let (mut id, mut parent) = (None, None);
    let mut row = RolledComputer {
        id: ComputerId(String::new()),
        last_sync: None,
        last_result: SyncResult::Unknown,
        last_reboot: None,
        last_status: None,
        last_inventory: None,
        parent: ServerId(Uuid::nil()),
        details: None,
    };
    for (name, text) in decoder.take_attributes() {
        match name.as_str() {
            "ComputerId" => id = Some(computer_id(&text)?),
            "ParentServerId" => parent = Some(ServerId(parsed("ParentServerId", &text)?)),
            "LastSyncTime" => row.last_sync = time::read(&name, &text)?,
            "LastReportedRebootTime" => row.last_reboot = time::read(&name, &text)?,
            "LastReportedStatusTime" => row.last_status = time::read(&name, &text)?,
            "LastInventoryTime" => row.last_inventory = time::read(&name, &text)?,
            "LastSyncResult" => {
                row.last_result = match text.trim() {
                    "1" => SyncResult::Succeeded,
                    "2" => SyncResult::Failed,
                    _ => SyncResult::Unknown,
                }
            }
            _ => {}
        }
    }
    while let Some(name) = decoder.child()? {
        match name {
            "Details" => {
                let nil = decoder.is_nil();
                row.details = Some(details(decoder)?).filter(|_| !nil);
            }
            _ => decoder.skip()?,
        }
    }
    row.id = id.ok_or(XmlError::Missing { element: "ComputerId" })?;
    row.parent = parent.ok_or(XmlError::Missing { element: "ParentServerId" })?;
    Ok(row)
}

fn details<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<ComputerDetails> {
    let mut details = ComputerDetails::default();
    for (name, text) in decoder.take_attributes() {
        match name.as_str() {
            "FullDomainName" => details.name = full_name(&text)?,
            "OSLocale" => details.os.locale = text,
            "ProcessorArchitecture" => details.os.architecture = text,
            "OSDescription" => details.os_description = text,
            "ComputerMake" => details.make = text,
            "ComputerModel" => details.model = text,
            "BiosVersion" => details.bios_version = text,
            "BiosName" => details.bios_name = text,
            "BiosReleaseDate" => details.bios_date = text,
            "ClientVersion" => details.client_version = text,
            other => {
                if let Some(place) = os_number(&mut details.os, other) {
                    *place = lenient(&text);
                }
            }
        }
    }
    while let Some(name) = decoder.child()? {
        match name {
            "TargetGroupIdList" => {
                let groups = decoder.texts("guid", MAX_GROUPS)?;
                details.groups = groups.iter().filter_map(|id| id.parse::<GroupId>().ok()).collect();
            }
            "RequestedTargetGroupNames" => {
                let mut names = decoder.texts("string", MAX_GROUPS)?;
                // what says nothing takes no memory, and no computer asks for more
                names.retain(|name| !name.is_empty());
                names.truncate(KEPT_GROUP_NAMES);
                names.shrink_to_fit();
                details.requested_groups = names;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(details)
}

fn number<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<(ComputerId, i32)> {
    let (mut id, mut number) = (None, 0);
    while let Some(name) = decoder.child()? {
        match name {
            "ComputerId" => id = Some(computer_id(&decoder.text()?)?),
            "RollupNumber" => number = decoder.value()?,
            _ => decoder.skip()?,
        }
    }
    Ok((id.ok_or(XmlError::Missing { element: "ComputerId" })?, number))
}

fn status<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<StatusReport> {
    let mut id = None;
    let mut row = StatusReport {
        computer: ComputerId(String::new()),
        effective_detection: None,
        number: 0,
        full: false,
        updates: Vec::new(),
    };
    while let Some(name) = decoder.child()? {
        match name {
            "ComputerId" => id = Some(computer_id(&decoder.text()?)?),
            "EffectiveLastDetectionTime" => {
                row.effective_detection = time::read("EffectiveLastDetectionTime", &decoder.text()?)?;
            }
            "RollupNumber" => row.number = decoder.value()?,
            "IsFullRollup" => row.full = decoder.boolean()?,
            "UpdateStatus" => {
                let item = "ComputerStatusRollupUpdateStatus";
                row.updates = rows(decoder, item, MAX_UPDATES, update)?.unwrap_or_default();
            }
            _ => decoder.skip()?,
        }
    }
    row.computer = id.ok_or(XmlError::Missing { element: "ComputerId" })?;
    Ok(row)
}

fn update<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<UpdateStatus> {
    let (mut id, mut state, mut changed) = (None, None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "UpdateId" => id = Some(UpdateId(guid(decoder)?)),
            "SummarizationState" => {
                let text = decoder.text()?;
                let known = Summarization::of(parsed("SummarizationState", &text)?);
                state = Some(
                    known
                        .ok_or_else(|| XmlError::Value { element: "SummarizationState".to_owned(), text })?,
                );
            }
            "LastChangeTime" => changed = time::read("LastChangeTime", &decoder.text()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(UpdateStatus {
        update: id.ok_or(XmlError::Missing { element: "UpdateId" })?,
        state: state.ok_or(XmlError::Missing { element: "SummarizationState" })?,
        changed: changed.unwrap_or(Timestamp::UNIX_EPOCH),
    })
}
