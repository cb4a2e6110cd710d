//! Requests as values. Absent parameters are `None`; which of them must be there is for the service to say, because
//! the specification names an error code for each.
//!
//! **Invariant:** a value here was well-formed. It never stands for a decision.

use jiff::Timestamp;
use uuid::Uuid;

use tailwater_domain::ComputerFacts;

/// A request of one of the three services.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// [MS-WUSP] 2.2.2.2.1, with its `protocolVersion`.
    GetConfig(Option<String>),
    /// [MS-WUSP] 2.2.2.1.1
    GetAuthorizationCookie(GetAuthorization),
    /// [MS-WUSP] 2.2.2.2.2
    GetCookie(GetCookie),
    /// [MS-WUSP] 2.2.2.2.3
    RegisterComputer(RegisterComputer),
    /// [MS-WUSP] 2.2.2.2.8
    StartCategoryScan(StartCategoryScan),
    /// [MS-WUSP] 2.2.2.2.4
    SyncUpdates(SyncUpdates),
    /// [MS-WUSP] 2.2.2.2.10
    SyncPrinterCatalog(SyncPrinterCatalog),
    /// [MS-WUSP] 2.2.2.2.5
    RefreshCache(RefreshCache),
    /// [MS-WUSP] 2.2.2.2.6
    GetExtendedUpdateInfo(GetExtended),
    /// [MS-WUSP] 2.2.2.2.9
    GetExtendedUpdateInfo2(GetExtended2),
    /// [MS-WUSP] 2.2.2.2.7: cookie and digests, of any length.
    GetFileLocations(Option<Cookie>, Option<Vec<Vec<u8>>>),
    /// [MS-WUSP] 2.2.2.3.1
    ReportEventBatch(ReportEventBatch),
    /// The same from who has no cookie, by the identity of the computer; only the WSDL ([MS-WUSP] 6.3) has it.
    ReportEventBatch2(ReportEventBatch),
}

/// `Cookie`: what a server sealed for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cookie {
    /// `EncryptedData`; `None` when absent, empty or nil. What is no Base64 comes as its text, which no key opens.
    pub sealed: Option<Vec<u8>>,
}

/// `AuthorizationCookie`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthorizationCookie {
    /// `PlugInId`.
    pub plug_in: String,
    /// `CookieData`, as in [`Cookie::sealed`].
    pub sealed: Option<Vec<u8>>,
}

/// `GetAuthorizationCookie`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetAuthorization {
    /// `clientId`.
    pub client_id: Option<String>,
    /// `targetGroupName`: names separated by `;`.
    pub target_group: Option<String>,
    /// `dnsName`.
    pub dns_name: Option<String>,
}

/// `GetCookie`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetCookie {
    /// `authCookies`.
    pub authorizations: Vec<AuthorizationCookie>,
    /// `oldCookie`.
    pub old: Option<Cookie>,
    /// `lastChange`; `None` when absent or no time.
    pub last_change: Option<Timestamp>,
    /// `protocolVersion`.
    pub protocol_version: Option<String>,
}

/// `RegisterComputer`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegisterComputer {
    /// `cookie`.
    pub cookie: Option<Cookie>,
    /// `computerInfo`.
    pub info: Option<ComputerFacts>,
}

/// `CategoryRelationship`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CategoryRelationship {
    /// `IndexOfAndGroup`.
    pub group: i32,
    /// `CategoryId`.
    pub category: Uuid,
}

/// `StartCategoryScan`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartCategoryScan {
    /// `requestedCategories`.
    pub requested: Option<Vec<CategoryRelationship>>,
}

/// `InstalledDriver`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstalledDriver {
    /// `MatchingID`.
    pub matching_id: Option<String>,
    /// `DriverVerDate`, as written.
    pub date: String,
    /// `DriverVerVersion`.
    pub version: i64,
    /// `Class`.
    pub class: Option<String>,
    /// `Manufacturer`.
    pub manufacturer: Option<String>,
    /// `Provider`.
    pub provider: Option<String>,
    /// `MatchingComputerHWID`.
    pub computer_hardware_id: Option<String>,
    /// `DriverRank`; none when it was not said.
    pub rank: Option<i32>,
}

/// `Device`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// `HardwareIDs`, best first.
    pub hardware_ids: Vec<String>,
    /// `CompatibleIDs`, best first.
    pub compatible_ids: Vec<String>,
    /// `installedDriver`.
    pub installed: Option<Box<InstalledDriver>>,
}

/// `SyncUpdates`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncUpdates {
    /// `cookie`.
    pub cookie: Option<Cookie>,
    /// Whether `parameters` was there.
    pub has_parameters: bool,
    /// `InstalledNonLeafUpdateIDs`.
    pub installed: Vec<u32>,
    /// `OtherCachedUpdateIDs`.
    pub other: Vec<u32>,
    /// `SystemSpec`; `None` when absent or nil.
    pub devices: Option<Vec<Device>>,
    /// `CachedDriverIDs`.
    pub cached_drivers: Vec<u32>,
    /// `SkipSoftwareSync`: this is the driver pass.
    pub skip_software: bool,
    /// `FilterCategoryIds`.
    pub categories: Vec<Uuid>,
    /// `NeedTwoGroupOutOfScopeUpdates`.
    pub two_groups: bool,
    /// `ComputerSpec/HardwareIDs`.
    pub computer_hardware_ids: Vec<String>,
    /// `FeatureScoreMatchingKey`.
    pub feature_key: Option<String>,
    /// `ProductsParameters/DeviceAttributes`, which newer clients send and no WSDL has.
    pub device_attributes: Option<String>,
}

/// `SyncPrinterCatalog`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncPrinterCatalog {
    /// `cookie`.
    pub cookie: Option<Cookie>,
    /// `installedNonLeafUpdateIDs`.
    pub installed: Vec<u32>,
    /// `printerUpdateIDs`: the drivers that the client has.
    pub cached: Vec<u32>,
}

/// `UpdateIdentity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RevisionIdentity {
    /// `UpdateID`.
    pub update: Uuid,
    /// `RevisionNumber`.
    pub revision: i32,
}

/// `RefreshCache`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefreshCache {
    /// `cookie`.
    pub cookie: Option<Cookie>,
    /// `globalIDs`.
    pub identities: Option<Vec<RevisionIdentity>>,
}

/// `XmlUpdateFragmentType`; those that only Microsoft's own service sends are [`FragmentType::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FragmentType {
    /// What a scan sends.
    Core,
    /// Files and handler.
    Extended,
    /// Titles and descriptions.
    LocalizedProperties,
    /// Licences.
    Eula,
    /// Locations of files alone.
    FileUrl,
    /// Keys of encrypted files.
    FileDecryption,
    /// `Published`, `VerificationRule`, anything else.
    Other,
}

/// `GetExtendedUpdateInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetExtended {
    /// `cookie`.
    pub cookie: Option<Cookie>,
    /// `revisionIDs`.
    pub revisions: Option<Vec<u32>>,
    /// `infoTypes`.
    pub types: Option<Vec<FragmentType>>,
    /// `locales`.
    pub locales: Option<Vec<String>>,
}

/// `GetExtendedUpdateInfo2`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetExtended2 {
    /// `cookie`.
    pub cookie: Option<Cookie>,
    /// `updateIDs`.
    pub identities: Option<Vec<RevisionIdentity>>,
    /// `infoTypes`.
    pub types: Option<Vec<FragmentType>>,
    /// `locales`.
    pub locales: Option<Vec<String>>,
}

/// `ReportingEvent`, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `EventInstanceID`.
    pub instance: Uuid,
    /// `EventID`.
    pub id: i32,
    /// `NamespaceID`.
    pub namespace: i32,
    /// `SourceID`.
    pub source: i32,
    /// `TimeAtTarget`; `None` when it is no time.
    pub at: Option<Timestamp>,
    /// `UpdateID`.
    pub update: Option<RevisionIdentity>,
    /// `Win32HResult`.
    pub result: i32,
    /// `AppName`.
    pub app: String,
    /// `ReplacementStrings`.
    pub replacements: Vec<String>,
    /// `MiscData`.
    pub misc: Vec<String>,
}

/// `ReportEventBatch`, or `ReportEventBatch2`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportEventBatch {
    /// `cookie`; of the first.
    pub cookie: Option<Cookie>,
    /// `computerId`; of the second.
    pub computer_id: Option<String>,
    /// Whether `clientTime` was there and a time.
    pub has_client_time: bool,
    /// `eventBatch`.
    pub events: Option<Vec<Event>>,
}
