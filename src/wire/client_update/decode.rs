//! Reading the body of a request. The decoder stands inside the operation's element.
//!
//! **Invariant:** an element that is not known is passed over with everything in it. Lists are bounded by the named
//! limits, far above what clients send.

use std::io::BufRead;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::request::{
    AuthorizationCookie, CategoryRelationship, ComputerInfo, Cookie, Device, Event, FragmentType,
    GetAuthorization, GetCookie, GetExtended, GetExtended2, InstalledDriver, RefreshCache, RegisterComputer,
    ReportEventBatch, Request, RevisionIdentity, StartCategoryScan, SyncPrinterCatalog, SyncUpdates,
};
use super::{Service, parse_date_time};
use crate::wire::xml::{Decoder, XmlError, once};

/// Revision ids in one list; the largest real catalogs have 25,000 revisions.
const MAX_IDS: usize = 200_000;
/// Identities, digests, devices, events in one list.
const MAX_ROWS: usize = 20_000;
/// Texts inside one row: identities of a device, misc data of an event.
const MAX_TEXTS: usize = 1_000;
/// Authorization cookies; one is right.
const MAX_COOKIES: usize = 8;

type Outcome<T> = Result<T, XmlError>;

impl Request {
    /// Reads the request `operation` of a service; `None` when the service has no such operation.
    ///
    /// # Errors
    /// When the body is no such request.
    pub fn decode<R: BufRead>(
        service: Service,
        operation: &str,
        decoder: &mut Decoder<R>,
    ) -> Outcome<Option<Self>> {
        Ok(Some(match (service, operation) {
            (Service::Client, "GetConfig") => Self::GetConfig(get_config(decoder)?),
            (Service::Client, "GetCookie") => Self::GetCookie(get_cookie(decoder)?),
            (Service::Client, "RegisterComputer") => Self::RegisterComputer(register_computer(decoder)?),
            (Service::Client, "StartCategoryScan") => Self::StartCategoryScan(start_category_scan(decoder)?),
            (Service::Client, "SyncUpdates") => Self::SyncUpdates(sync_updates(decoder)?),
            (Service::Client, "SyncPrinterCatalog") => Self::SyncPrinterCatalog(sync_printers(decoder)?),
            (Service::Client, "RefreshCache") => Self::RefreshCache(refresh_cache(decoder)?),
            (Service::Client, "GetExtendedUpdateInfo") => Self::GetExtendedUpdateInfo(get_extended(decoder)?),
            (Service::Client, "GetExtendedUpdateInfo2") => {
                Self::GetExtendedUpdateInfo2(get_extended2(decoder)?)
            }
            (Service::Client, "GetFileLocations") => {
                let (cookie, digests) = get_file_locations(decoder)?;
                Self::GetFileLocations(cookie, digests)
            }
            (Service::SimpleAuth, "GetAuthorizationCookie") => {
                Self::GetAuthorizationCookie(get_authorization(decoder)?)
            }
            (Service::Reporting, "ReportEventBatch") => Self::ReportEventBatch(report(decoder)?),
            _ => return Ok(None),
        }))
    }
}

fn get_config<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<String>> {
    let mut version = None;
    while let Some(name) = decoder.child()? {
        match name {
            "protocolVersion" => once(&mut version, "protocolVersion", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(version.flatten())
}

fn get_authorization<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<GetAuthorization> {
    let (mut client, mut group, mut dns) = (None, None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "clientId" => once(&mut client, "clientId", decoder.optional_text()?)?,
            "targetGroupName" => once(&mut group, "targetGroupName", decoder.optional_text()?)?,
            "dnsName" => once(&mut dns, "dnsName", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(GetAuthorization {
        client_id: client.flatten(),
        target_group: group.flatten(),
        dns_name: dns.flatten(),
    })
}

fn get_cookie<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<GetCookie> {
    let mut request = GetCookie::default();
    let (mut old, mut version) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "authCookies" => {
                request.authorizations = rows(decoder, "AuthorizationCookie", MAX_COOKIES, authorization)?;
            }
            "oldCookie" => once(&mut old, "oldCookie", cookie(decoder)?)?,
            "lastChange" => request.last_change = parse_date_time(&decoder.text()?),
            "protocolVersion" => once(&mut version, "protocolVersion", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    request.old = old.flatten();
    request.protocol_version = version.flatten();
    Ok(request)
}

fn authorization<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<AuthorizationCookie> {
    let mut row = AuthorizationCookie::default();
    while let Some(name) = decoder.child()? {
        match name {
            "PlugInId" => row.plug_in = decoder.text()?,
            "CookieData" => row.sealed = sealed(decoder)?,
            _ => decoder.skip()?,
        }
    }
    Ok(row)
}

/// A cookie element; `None` when nil.
fn cookie<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Cookie>> {
    let nil = decoder.is_nil();
    let mut cookie = Cookie::default();
    while let Some(name) = decoder.child()? {
        match name {
            "EncryptedData" => cookie.sealed = sealed(decoder)?,
            // what the seal says counts, not what is written beside it
            _ => decoder.skip()?,
        }
    }
    Ok((!nil).then_some(cookie))
}

fn sealed<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Vec<u8>>> {
    let mut text = decoder.text()?;
    text.retain(|c| !c.is_ascii_whitespace());
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(STANDARD.decode(&text).unwrap_or_else(|_no_base64| text.into_bytes())))
}

fn register_computer<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<RegisterComputer> {
    let mut request = RegisterComputer::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "computerInfo" => request.info = present(decoder, computer_info)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn computer_info<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<ComputerInfo> {
    let mut info = ComputerInfo::default();
    while let Some(name) = decoder.child()? {
        // numbers are only shown to people: one that is no number is left at 0
        let (text, number) = match name {
            "DnsName" => (Some(&mut info.dns_name), None),
            "OSLocale" => (Some(&mut info.locale), None),
            "ComputerManufacturer" => (Some(&mut info.manufacturer), None),
            "ComputerModel" => (Some(&mut info.model), None),
            "BiosVersion" => (Some(&mut info.bios_version), None),
            "BiosName" => (Some(&mut info.bios_name), None),
            "BiosReleaseDate" => (Some(&mut info.bios_date), None),
            "ProcessorArchitecture" => (Some(&mut info.architecture), None),
            "OSDescription" => (Some(&mut info.os_description), None),
            "OEM" => (Some(&mut info.oem), None),
            "DeviceType" => (Some(&mut info.device_type), None),
            "FirmwareVersion" => (Some(&mut info.firmware_version), None),
            "MobileOperator" => (Some(&mut info.mobile_operator), None),
            "OSMajorVersion" => (None, Some(&mut info.os_major)),
            "OSMinorVersion" => (None, Some(&mut info.os_minor)),
            "OSBuildNumber" => (None, Some(&mut info.os_build)),
            "OSServicePackMajorNumber" => (None, Some(&mut info.service_pack_major)),
            "OSServicePackMinorNumber" => (None, Some(&mut info.service_pack_minor)),
            "SuiteMask" => (None, Some(&mut info.suite_mask)),
            "OldProductType" => (None, Some(&mut info.old_product_type)),
            "NewProductType" => (None, Some(&mut info.new_product_type)),
            "SystemMetrics" => (None, Some(&mut info.system_metrics)),
            "ClientVersionMajorNumber" => (None, Some(&mut info.client_version[0])),
            "ClientVersionMinorNumber" => (None, Some(&mut info.client_version[1])),
            "ClientVersionBuildNumber" => (None, Some(&mut info.client_version[2])),
            "ClientVersionQfeNumber" => (None, Some(&mut info.client_version[3])),
            _ => (None, None),
        };
        match (text, number) {
            (Some(place), _) => *place = decoder.text()?,
            (_, Some(place)) => *place = decoder.text()?.trim().parse().unwrap_or_default(),
            _ => decoder.skip()?,
        }
    }
    Ok(info)
}

fn start_category_scan<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<StartCategoryScan> {
    let mut request = StartCategoryScan::default();
    while let Some(name) = decoder.child()? {
        match name {
            "requestedCategories" => {
                request.requested = optional_rows(decoder, "CategoryRelationship", MAX_ROWS, category)?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn category<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<CategoryRelationship> {
    let (mut group, mut category) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "IndexOfAndGroup" => group = decoder.optional_value()?,
            "CategoryId" => category = Some(guid(decoder)?),
            _ => decoder.skip()?,
        }
    }
    Ok(CategoryRelationship {
        group: group.unwrap_or_default(),
        category: category.ok_or(XmlError::Missing { element: "CategoryId" })?,
    })
}

fn sync_updates<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<SyncUpdates> {
    let mut request = SyncUpdates::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "parameters" => {
                let read = |decoder: &mut Decoder<R>| sync_parameters(decoder, &mut request);
                request.has_parameters = present(decoder, read)?.is_some();
            }
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn sync_parameters<R: BufRead>(decoder: &mut Decoder<R>, request: &mut SyncUpdates) -> Outcome<()> {
    while let Some(name) = decoder.child()? {
        match name {
            "InstalledNonLeafUpdateIDs" => request.installed = decoder.ints(MAX_IDS)?,
            "OtherCachedUpdateIDs" => request.other = decoder.ints(MAX_IDS)?,
            "CachedDriverIDs" => request.cached_drivers = decoder.ints(MAX_IDS)?,
            "SystemSpec" => request.devices = optional_rows(decoder, "Device", MAX_ROWS, device)?,
            "SkipSoftwareSync" => request.skip_software = decoder.boolean()?,
            "FilterCategoryIds" => {
                request.categories = rows(decoder, "CategoryIdentifier", MAX_ROWS, category_id)?;
            }
            "NeedTwoGroupOutOfScopeUpdates" => request.two_groups = decoder.boolean()?,
            "ComputerSpec" => request.computer_hardware_ids = computer_spec(decoder)?,
            "FeatureScoreMatchingKey" => request.feature_key = decoder.optional_text()?,
            "ProductsParameters" => request.device_attributes = device_attributes(decoder)?,
            _ => decoder.skip()?,
        }
    }
    Ok(())
}

fn category_id<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Uuid> {
    let mut id = None;
    while let Some(name) = decoder.child()? {
        match name {
            "Id" => id = Some(guid(decoder)?),
            _ => decoder.skip()?,
        }
    }
    id.ok_or(XmlError::Missing { element: "Id" })
}

fn computer_spec<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Vec<String>> {
    let mut ids = Vec::new();
    while let Some(name) = decoder.child()? {
        match name {
            "HardwareIDs" => ids = decoder.texts("guid", MAX_TEXTS)?,
            _ => decoder.skip()?,
        }
    }
    Ok(ids)
}

fn device_attributes<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<String>> {
    let mut attributes = None;
    while let Some(name) = decoder.child()? {
        match name {
            "DeviceAttributes" => attributes = decoder.optional_text()?,
            _ => decoder.skip()?,
        }
    }
    Ok(attributes)
}

fn device<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Device> {
    let mut device = Device::default();
    while let Some(name) = decoder.child()? {
        match name {
            "HardwareIDs" => device.hardware_ids = decoder.texts("string", MAX_TEXTS)?,
            "CompatibleIDs" => device.compatible_ids = decoder.texts("string", MAX_TEXTS)?,
            "installedDriver" => device.installed = present(decoder, installed_driver)?,
            _ => decoder.skip()?,
        }
    }
    Ok(device)
}

fn installed_driver<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<InstalledDriver> {
    let mut driver = InstalledDriver::default();
    while let Some(name) = decoder.child()? {
        match name {
            "MatchingID" => driver.matching_id = decoder.optional_text()?,
            "DriverVerDate" => driver.date = decoder.text()?,
            "DriverVerVersion" => driver.version = decoder.optional_value()?.unwrap_or_default(),
            "Class" => driver.class = decoder.optional_text()?,
            "Manufacturer" => driver.manufacturer = decoder.optional_text()?,
            "Provider" => driver.provider = decoder.optional_text()?,
            "MatchingComputerHWID" => driver.computer_hardware_id = decoder.optional_text()?,
            "DriverRank" => driver.rank = decoder.optional_value()?.unwrap_or_default(),
            _ => decoder.skip()?,
        }
    }
    Ok(driver)
}

fn sync_printers<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<SyncPrinterCatalog> {
    let mut request = SyncPrinterCatalog::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "installedNonLeafUpdateIDs" => request.installed = decoder.ints(MAX_IDS)?,
            "printerUpdateIDs" => request.cached = decoder.ints(MAX_IDS)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn refresh_cache<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<RefreshCache> {
    let mut request = RefreshCache::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "globalIDs" => request.identities = optional_rows(decoder, "UpdateIdentity", MAX_ROWS, identity)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn identity<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<RevisionIdentity> {
    let (mut update, mut revision) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "UpdateID" => update = Some(guid(decoder)?),
            "RevisionNumber" => revision = Some(decoder.value()?),
            _ => decoder.skip()?,
        }
    }
    Ok(RevisionIdentity {
        update: update.ok_or(XmlError::Missing { element: "UpdateID" })?,
        revision: revision.ok_or(XmlError::Missing { element: "RevisionNumber" })?,
    })
}

fn fragment_types<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Vec<FragmentType>>> {
    let nil = decoder.is_nil();
    let names = decoder.texts("XmlUpdateFragmentType", MAX_TEXTS)?;
    let types = names.iter().map(|name| match name.trim() {
        "Core" => FragmentType::Core,
        "Extended" => FragmentType::Extended,
        "LocalizedProperties" => FragmentType::LocalizedProperties,
        "Eula" => FragmentType::Eula,
        "FileUrl" => FragmentType::FileUrl,
        _ => FragmentType::Other,
    });
    Ok((!nil).then(|| types.collect()))
}

fn locales<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Vec<String>> {
    decoder.texts("string", MAX_TEXTS)
}

fn get_extended<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<GetExtended> {
    let mut request = GetExtended::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "revisionIDs" => request.revisions = present(decoder, |decoder| decoder.ints(MAX_IDS))?,
            "infoTypes" => request.types = fragment_types(decoder)?,
            "locales" => request.locales = present(decoder, locales)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn get_extended2<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<GetExtended2> {
    let mut request = GetExtended2::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "updateIDs" => request.identities = optional_rows(decoder, "UpdateIdentity", MAX_ROWS, identity)?,
            "infoTypes" => request.types = fragment_types(decoder)?,
            "locales" => request.locales = present(decoder, locales)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

type FileLocations = (Option<Cookie>, Option<Vec<Vec<u8>>>);

fn get_file_locations<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<FileLocations> {
    let (mut sealed_by, mut digests) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => sealed_by = cookie(decoder)?,
            "fileDigests" => {
                digests = optional_rows(decoder, "base64Binary", MAX_ROWS, |decoder| {
                    Ok(sealed(decoder)?.unwrap_or_default())
                })?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok((sealed_by, digests))
}

fn report<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<ReportEventBatch> {
    let mut request = ReportEventBatch::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "clientTime" => request.has_client_time = parse_date_time(&decoder.text()?).is_some(),
            "eventBatch" => {
                let events = optional_rows(decoder, "ReportingEvent", MAX_ROWS, event)?;
                request.events = events.map(|events| events.into_iter().flatten().collect());
            }
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

/// An event; `None` when it has no identity, so that it could not be told from others.
fn event<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Event>> {
    let mut event = Event {
        instance: Uuid::nil(),
        id: 0,
        namespace: 0,
        source: 0,
        at: None,
        update: None,
        result: 0,
        app: String::new(),
        replacements: Vec::new(),
        misc: Vec::new(),
    };
    while let Some(name) = decoder.child()? {
        match name {
            "BasicData" => basic_data(decoder, &mut event)?,
            "ExtendedData" => extended_data(decoder, &mut event)?,
            _ => decoder.skip()?,
        }
    }
    Ok((!event.instance.is_nil()).then_some(event))
}

fn basic_data<R: BufRead>(decoder: &mut Decoder<R>, event: &mut Event) -> Outcome<()> {
    while let Some(name) = decoder.child()? {
        match name {
            "TimeAtTarget" => event.at = parse_date_time(&decoder.text()?),
            "EventInstanceID" => event.instance = guid(decoder)?,
            "NamespaceID" => event.namespace = lenient(decoder)?,
            "EventID" => event.id = lenient(decoder)?,
            "SourceID" => event.source = lenient(decoder)?,
            "UpdateID" => event.update = present(decoder, identity)?.filter(|row| !row.update.is_nil()),
            // the specification writes Win32Hresult in its text
            "Win32HResult" | "Win32Hresult" => event.result = lenient(decoder)?,
            "AppName" => event.app = decoder.text()?,
            _ => decoder.skip()?,
        }
    }
    Ok(())
}

fn extended_data<R: BufRead>(decoder: &mut Decoder<R>, event: &mut Event) -> Outcome<()> {
    while let Some(name) = decoder.child()? {
        match name {
            "ReplacementStrings" => event.replacements = decoder.texts("string", MAX_TEXTS)?,
            "MiscData" => event.misc = decoder.texts("string", MAX_TEXTS)?,
            _ => decoder.skip()?,
        }
    }
    Ok(())
}

/// A number that is only shown or compared: 0 when it is none.
fn lenient<R: BufRead, N: FromStr + Default>(decoder: &mut Decoder<R>) -> Outcome<N> {
    Ok(decoder.text()?.trim().parse().unwrap_or_default())
}

fn guid<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Uuid> {
    let element = decoder.name().to_owned();
    let text = decoder.text()?;
    Uuid::try_parse(text.trim())
        .map_err(|_error| XmlError::Value { element, text: text.chars().take(80).collect() })
}

/// The children called `item`, each read by `read`; nil ones are left out.
fn rows<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    limit: usize,
    read: impl Fn(&mut Decoder<R>) -> Outcome<T>,
) -> Outcome<Vec<T>> {
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
    Ok(rows)
}

/// What `read` reads, `None` when the element is nil.
fn present<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    read: impl FnOnce(&mut Decoder<R>) -> Outcome<T>,
) -> Outcome<Option<T>> {
    if decoder.is_nil() {
        decoder.skip()?;
        return Ok(None);
    }
    read(decoder).map(Some)
}

/// As [`rows`], `None` when the list itself is nil.
fn optional_rows<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    limit: usize,
    read: impl Fn(&mut Decoder<R>) -> Outcome<T>,
) -> Outcome<Option<Vec<T>>> {
    let nil = decoder.is_nil();
    let rows = rows(decoder, item, limit, read)?;
    Ok((!nil).then_some(rows))
}
