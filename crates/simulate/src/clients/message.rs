//! What an agent sends ([MS-WUSP] 2.2.2), written as Windows writes it.

use jiff::Timestamp;
use uuid::Uuid;

use super::machine::Machine;
use tailwater_domain::UpdateId;
use tailwater_wire::client_update::Service;
use tailwater_wire::xml::Encoder;

/// The protocol version of a present agent.
const PROTOCOL: &str = "2.90";

/// A request: the service, the operation, and what stands inside its element.
pub(super) struct Message {
    pub(super) service: Service,
    pub(super) operation: &'static str,
    pub(super) content: String,
}

/// A cookie as the server wrote it.
#[derive(Debug, Clone, Default)]
pub(super) struct Cookie {
    pub(super) expiration: String,
    pub(super) data: String,
}

fn message(service: Service, operation: &'static str, write: impl FnOnce(&mut Encoder)) -> Message {
    let mut out = Encoder::new();
    write(&mut out);
    Message { service, operation, content: out.finish() }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn cookie(out: &mut Encoder, cookie: &Cookie) {
    out.open("cookie")
        .text("Expiration", &cookie.expiration)
        .text("EncryptedData", &cookie.data)
        .close("cookie");
}

fn ints(out: &mut Encoder, name: &str, numbers: &[u32]) {
    if !numbers.is_empty() {
        out.open(name);
        for number in numbers {
            out.value("int", number);
        }
        out.close(name);
    }
}

pub(super) fn get_config() -> Message {
    message(Service::Client, "GetConfig", |out| {
        out.text("protocolVersion", PROTOCOL);
    })
}

pub(super) fn get_authorization(machine: &Machine, group: Option<&str>) -> Message {
    message(Service::SimpleAuth, "GetAuthorizationCookie", |out| {
        out.value("clientId", machine.id);
        if let Some(group) = group {
            out.text("targetGroupName", group);
        }
        out.text("dnsName", &machine.dns_name);
    })
}

pub(super) fn get_cookie(plug_in: &str, authorization: &str, last_change: &str, now: Timestamp) -> Message {
    message(Service::Client, "GetCookie", |out| {
        out.open("authCookies").open("AuthorizationCookie").text("PlugInId", plug_in);
        out.text("CookieData", authorization).close("AuthorizationCookie").close("authCookies");
        out.open("oldCookie").text("Expiration", &time(now)).close("oldCookie");
        out.text("lastChange", last_change).text("currentTime", &time(now)).text("protocolVersion", PROTOCOL);
    })
}

pub(super) fn register(session: &Cookie, machine: &Machine) -> Message {
    message(Service::Client, "RegisterComputer", |out| {
        cookie(out, session);
        out.open("computerInfo").text("DnsName", &machine.dns_name).value("OSMajorVersion", 10);
        out.value("OSMinorVersion", 0).value("OSBuildNumber", machine.traits.build);
        out.value("OSServicePackMajorNumber", 0).value("OSServicePackMinorNumber", 0);
        out.text("OSLocale", machine.traits.language).text("ComputerManufacturer", "Tailwater");
        out.text("ComputerModel", "Simulated machine").text("BiosVersion", "1").text("BiosName", "simulated");
        out.text("BiosReleaseDate", "2024-01-01T00:00:00Z");
        out.text("ProcessorArchitecture", machine.architecture_name()).value("SuiteMask", 256);
        out.value("OldProductType", 1).value("NewProductType", 48).value("SystemMetrics", 0);
        out.value("ClientVersionMajorNumber", 1507).value("ClientVersionMinorNumber", 2601);
        out.value("ClientVersionBuildNumber", 30012).value("ClientVersionQfeNumber", 0);
        out.text("OSDescription", "Windows 11 Pro").text("OEM", "Tailwater").text("DeviceType", "Desktop");
        out.text("FirmwareVersion", "1").text("MobileOperator", "Not Present").close("computerInfo");
    })
}

/// A round of a scan; with `driver_pass` the one for drivers.
pub(super) fn sync_updates(session: &Cookie, installed: &[u32], other: &[u32], driver_pass: bool) -> Message {
    message(Service::Client, "SyncUpdates", |out| {
        cookie(out, session);
        out.open("parameters").value("ExpressQuery", false);
        ints(out, "InstalledNonLeafUpdateIDs", installed);
        ints(out, "OtherCachedUpdateIDs", other);
        if driver_pass {
            out.open("SystemSpec");
            for device in 0..DEVICES {
                out.open("Device").open("HardwareIDs");
                out.value("string", format_args!("PCI\\VEN_1AF4&amp;DEV_{device:04X}&amp;REV_01"));
                out.value("string", format_args!("PCI\\VEN_1AF4&amp;DEV_{device:04X}"));
                out.close("HardwareIDs").value("DeviceFlags", 1).close("Device");
            }
            out.close("SystemSpec");
        }
        out.value("SkipSoftwareSync", driver_pass).value("NeedTwoGroupOutOfScopeUpdates", true);
        out.value("AlsoPerformRegularSync", true).empty("ComputerSpec");
        if driver_pass {
            out.text("FeatureScoreMatchingKey", "AMD64.10.0");
        }
        out.close("parameters");
    })
}

/// Devices of a simulated machine.
const DEVICES: u32 = 24;

pub(super) fn extended(session: &Cookie, revisions: &[u32], language: &str) -> Message {
    message(Service::Client, "GetExtendedUpdateInfo", |out| {
        cookie(out, session);
        ints(out, "revisionIDs", revisions);
        out.open("infoTypes").text("XmlUpdateFragmentType", "Extended");
        out.text("XmlUpdateFragmentType", "LocalizedProperties").close("infoTypes");
        out.open("locales").text("string", language).text("string", "en").close("locales");
    })
}

/// Something that happened on a machine ([MS-WUSP] 2.2.2.3.1; numbers as in WSUS's event table).
pub(super) struct Event {
    pub(super) number: u32,
    /// Update and revision; none for what concerns the whole machine.
    pub(super) update: Option<(UpdateId, u32)>,
    /// `K=V` pairs.
    pub(super) details: Vec<String>,
}

pub(super) fn report(session: &Cookie, machine: &Machine, events: &[Event], now: Timestamp) -> Message {
    message(Service::Reporting, "ReportEventBatch", |out| {
        cookie(out, session);
        out.text("clientTime", &time(now)).open("eventBatch");
        for event in events {
            let (update, revision) = event.update.unwrap_or((UpdateId(Uuid::nil()), 0));
            out.open("ReportingEvent").open("BasicData");
            out.open("TargetID").value("Sid", machine.id).close("TargetID").value("SequenceNumber", 0);
            out.text("TimeAtTarget", &time(now)).value("EventInstanceID", Uuid::new_v4());
            out.value("NamespaceID", 1).value("EventID", event.number).value("SourceID", 101);
            out.open("UpdateID")
                .value("UpdateID", update)
                .value("RevisionNumber", revision)
                .close("UpdateID");
            out.value("Win32HResult", 0).text("AppName", "Simulated").close("BasicData");
            out.open("ExtendedData").open("MiscData");
            for detail in &event.details {
                out.text("string", detail);
            }
            out.close("MiscData").text("ComputerBrand", "Tailwater");
            out.text("ComputerModel", "Simulated machine").text("BiosRevision", "1");
            out.text("ProcessorArchitecture", machine.reported_architecture());
            out.open("OSVersion").value("Major", 10).value("Minor", 0).value("Build", machine.traits.build);
            out.value("Revision", 65792).value("ServicePackMajor", 0).value("ServicePackMinor", 0);
            out.close("OSVersion").value("OSLocaleID", 1033).close("ExtendedData");
            out.empty("PrivateData").close("ReportingEvent");
        }
        out.close("eventBatch");
    })
}
