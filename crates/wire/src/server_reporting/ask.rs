//! Composing what this server reports upward ([MS-WSUSSS] 3.2.4.5).
//!
//! **Invariant:** elements and attributes in the schema's order, without white space, times to the second: what goes up
//! is paid for by slow links. The cookie is the empty one that the text asks for.

use jiff::Timestamp;
use uuid::Uuid;

use super::{NAMESPACE, Request, summary, time};
use crate::xml::Encoder;
use tailwater_domain::{
    ClientSummary, ComputerDetails, ComputerId, Limit, OsVersion, RolledComputer, ServerId, ServerReport,
    StatusReport, SyncResult, limits,
};

/// `cookie` is reserved; this is its only value.
const COOKIE: &str = "<cookie><Expiration>9999-12-31T23:59:59.9999999</Expiration><EncryptedData/></cookie>";
/// The longest version of a server, in characters.
const MAX_VERSION: usize = 32;
/// The longest make, model and BIOS texts, in characters.
const MAX_TEXT: usize = 64;
/// The longest architecture, in characters.
const MAX_ARCHITECTURE: usize = 50;
/// The longest version of a client, in characters.
const MAX_CLIENT_VERSION: usize = 20;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_VERSION in "characters": "A server's version in a roll-up" => "it is cut",
    MAX_TEXT in "characters": "Make, model and BIOS texts in a roll-up" => "they are cut",
    MAX_ARCHITECTURE in "characters": "An architecture in a roll-up" => "it is cut",
    MAX_CLIENT_VERSION in "characters": "A client's version in a roll-up" => "it is cut",
];

fn request(operation: &'static str, write: impl FnOnce(&mut Encoder)) -> Request {
    let mut xml = Encoder::with_capacity(4_096);
    xml.raw(COOKIE);
    write(&mut xml);
    Request::new(NAMESPACE, operation, xml.as_str())
}

/// Asks how the upstream wants to be told.
pub fn get_rollup_configuration() -> Request {
    request("GetRollupConfiguration", |_| {})
}

/// Tells of servers, parents before their children.
pub fn rollup_servers(now: Timestamp, servers: &[ServerReport]) -> Request {
    request("RollupDownstreamServers", |xml| {
        xml.value("clientTime", time::written(Some(now))).open("downstreamServers");
        for server in servers {
            write_server(xml, server);
        }
        xml.close("downstreamServers");
    })
}

fn write_server(xml: &mut Encoder, server: &ServerReport) {
    let parent = server.parent.map_or_else(Uuid::nil, |parent| parent.0);
    let version: String = server.version.chars().take(MAX_VERSION).collect();
    xml.open("DownstreamServerRollupInfo");
    xml.value("ServerId", server.id).text("FullDomainName", &server.name);
    xml.value("LastSyncTime", time::written(server.last_sync)).value("ParentServerId", parent);
    xml.text("Version", &version).value("IsReplica", server.is_replica);
    xml.value("LastRollupTime", time::written(server.last_rollup));
    summary::write(xml, &server.summary.unwrap_or_default());
    xml.open("ClientSummaries");
    for client in &server.clients {
        write_client(xml, client);
    }
    xml.close("ClientSummaries").close("DownstreamServerRollupInfo");
}

/// `SuiteMask` is a short on the wire. What does not fit goes out as 0, unknown; what is kept here stays as it is.
fn short(number: i32) -> i16 {
    i16::try_from(number).unwrap_or_default()
}

/// `OldProductType` is an unsigned byte on the wire. What does not fit goes out as 0, as above.
fn byte(number: i32) -> u8 {
    u8::try_from(number).unwrap_or_default()
}

fn write_client(xml: &mut Encoder, client: &ClientSummary) {
    let os = &client.os;
    xml.open("DownstreamServerRollupClientSummary");
    xml.value("OSMajorVersion", os.major.max(0)).value("OSMinorVersion", os.minor.max(0));
    xml.value("OSBuildNumber", os.build.max(0));
    xml.value("OSServicePackMajorNumber", os.service_pack_major.max(0));
    xml.value("OSServicePackMinorNumber", os.service_pack_minor.max(0));
    xml.text("OSLocale", &os.locale).value("SuiteMask", short(os.suite_mask));
    xml.value("OldProductType", byte(os.old_product_type)).value("NewProductType", os.new_product_type);
    xml.value("SystemMetrics", os.system_metrics).text("ProcessorArchitecture", &os.architecture);
    xml.value("Count", client.count).open("ActivitySummaries");
    for activity in &client.activity {
        xml.open("DownstreamServerRollupClientActivitySummary");
        xml.value("UpdateId", activity.update).value("RevisionNumber", activity.revision);
        xml.value("InstallSuccessCount", activity.succeeded).value("InstallFailureCount", activity.failed);
        xml.close("DownstreamServerRollupClientActivitySummary");
    }
    xml.close("ActivitySummaries").close("DownstreamServerRollupClientSummary");
}

/// Tells of computers.
pub fn rollup_computers(now: Timestamp, computers: &[RolledComputer]) -> Request {
    request("RollupComputers", |xml| {
        xml.value("clientTime", time::written(Some(now))).open("computers");
        for computer in computers {
            write_computer(xml, computer);
        }
        xml.close("computers");
    })
}

/// How many bytes a computer is about, so that a request does not grow beyond what a link takes at a time.
pub fn computer_weight(computer: &RolledComputer) -> usize {
    let groups = |details: &ComputerDetails| details.groups.len() * 49 + details.requested_groups.len() * 32;
    330 + computer.details.as_ref().map_or(0, |details| 800 + groups(details))
}

fn write_computer(xml: &mut Encoder, computer: &RolledComputer) {
    let result = match computer.last_result {
        SyncResult::Unknown => "0",
        SyncResult::Succeeded => "1",
        SyncResult::Failed => "2",
    };
    xml.begin_tag("ComputerRollupInfo").attribute("ComputerId", &computer.id.0);
    xml.attribute("LastSyncTime", &time::written(computer.last_sync)).attribute("LastSyncResult", result);
    xml.attribute("LastReportedRebootTime", &time::written(computer.last_reboot));
    xml.attribute("LastReportedStatusTime", &time::written(computer.last_status));
    xml.attribute("LastInventoryTime", &time::written(computer.last_inventory));
    xml.attribute("ParentServerId", &computer.parent.to_string());
    match &computer.details {
        None => xml.end_empty(),
        Some(details) => {
            xml.end_tag();
            write_details(xml, details);
            xml.close("ComputerRollupInfo")
        }
    };
}

fn write_details(xml: &mut Encoder, details: &ComputerDetails) {
    let cut = |text: &str, limit| -> String { text.chars().take(limit).collect() };
    // addresses of computers are nowhere kept; the attribute must be there
    xml.begin_tag("Details").attribute("IPAddress", "0.0.0.0").attribute("FullDomainName", &details.name);
    write_os(xml, &details.os);
    xml.attribute("OSFamily", "Windows").attribute("OSDescription", &details.os_description);
    xml.attribute("ComputerMake", &cut(&details.make, MAX_TEXT));
    xml.attribute("ComputerModel", &cut(&details.model, MAX_TEXT));
    xml.attribute("BiosVersion", &cut(&details.bios_version, MAX_TEXT));
    xml.attribute("BiosName", &cut(&details.bios_name, MAX_TEXT));
    let released = time::read("BiosReleaseDate", &details.bios_date).ok().flatten();
    xml.attribute("BiosReleaseDate", &time::written(released));
    xml.attribute("ProcessorArchitecture", &cut(&details.os.architecture, MAX_ARCHITECTURE));
    xml.attribute("SuiteMask", &short(details.os.suite_mask).to_string());
    xml.attribute("OldProductType", &byte(details.os.old_product_type).to_string());
    xml.attribute("NewProductType", &details.os.new_product_type.to_string());
    xml.attribute("SystemMetrics", &details.os.system_metrics.to_string());
    xml.attribute("ClientVersion", &cut(&details.client_version, MAX_CLIENT_VERSION)).end_tag();
    xml.open("TargetGroupIdList");
    for group in &details.groups {
        xml.value("guid", group);
    }
    xml.close("TargetGroupIdList").open("RequestedTargetGroupNames");
    for name in &details.requested_groups {
        xml.text("string", name);
    }
    xml.close("RequestedTargetGroupNames").close("Details");
}

fn write_os(xml: &mut Encoder, os: &OsVersion) {
    let numbers = [
        ("OSMajorVersion", os.major),
        ("OSMinorVersion", os.minor),
        ("OSBuildNumber", os.build),
        ("OSServicePackMajorNumber", os.service_pack_major),
        ("OSServicePackMinorNumber", os.service_pack_minor),
    ];
    for (name, number) in numbers {
        xml.attribute(name, &number.max(0).to_string());
    }
    xml.attribute("OSLocale", &os.locale);
}

/// Asks of which computers the upstream wants everything.
pub fn get_out_of_sync(parent: ServerId, numbers: &[(ComputerId, i32)]) -> Request {
    request("GetOutOfSyncComputers", |xml| {
        xml.value("parentServerId", parent).open("lastRollupNumbers");
        for (computer, number) in numbers {
            xml.open("ComputerLastRollupNumber").text("ComputerId", &computer.0);
            xml.value("RollupNumber", number).close("ComputerLastRollupNumber");
        }
        xml.close("lastRollupNumbers");
    })
}

/// Tells what computers say of updates.
pub fn rollup_status(now: Timestamp, parent: ServerId, reports: &[StatusReport]) -> Request {
    request("RollupComputerStatus", |xml| {
        xml.value("clientTime", time::written(Some(now))).value("parentServerId", parent).open("computers");
        for report in reports {
            write_status(xml, report);
        }
        xml.close("computers");
    })
}

/// How many bytes a status is about.
pub fn status_weight(report: &StatusReport) -> usize {
    340 + 210 * report.updates.len()
}

fn write_status(xml: &mut Encoder, report: &StatusReport) {
    xml.open("ComputerStatusRollupInfo").value("InstanceId", Uuid::new_v4());
    xml.text("ComputerId", &report.computer.0);
    xml.value("EffectiveLastDetectionTime", time::written(report.effective_detection));
    xml.value("RollupNumber", report.number).value("IsFullRollup", report.full).open("UpdateStatus");
    for status in &report.updates {
        xml.open("ComputerStatusRollupUpdateStatus").value("UpdateId", status.update);
        xml.value("SummarizationState", status.state.number());
        xml.value("LastChangeTime", time::written(Some(status.changed)));
        xml.close("ComputerStatusRollupUpdateStatus");
    }
    xml.close("UpdateStatus").close("ComputerStatusRollupInfo");
}
