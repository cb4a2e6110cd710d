//! Answers, written element for element in the order of real servers; empty lists are left out.
//!
//! **Invariant:** what comes out is one body element of the service's namespace, in pieces: text, and places where a
//! stored fragment stands. Fragments are XML-escaped already and never touched.

use jiff::Timestamp;
use uuid::Uuid;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::request::RevisionIdentity;
use super::{ProtocolVersion, Service, date, date_time};
use crate::wire::xml::Encoder;

/// A part of an answer: text, or a place for a stored fragment that `F` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<F> {
    /// XML as it goes out.
    Text(String),
    /// The escaped text of a fragment goes here.
    Fragment(F),
}

/// An answer under construction.
struct Answer<F> {
    pieces: Vec<Piece<F>>,
    xml: Encoder,
}

impl<F> Answer<F> {
    fn new() -> Self {
        Self { pieces: Vec::new(), xml: Encoder::with_capacity(512) }
    }

    fn fragment(&mut self, fragment: F) {
        self.cut();
        self.pieces.push(Piece::Fragment(fragment));
    }

    fn cut(&mut self) {
        let text = std::mem::replace(&mut self.xml, Encoder::with_capacity(512)).finish();
        self.pieces.push(Piece::Text(text));
    }

    /// Its pieces in order.
    fn pieces(mut self) -> Vec<Piece<F>> {
        self.cut();
        self.pieces
    }

    /// An element that holds a stored fragment.
    fn xml_element(&mut self, fragment: F) {
        self.xml.open("Xml");
        self.fragment(fragment);
        self.xml.close("Xml");
    }
}

/// One answer in one text: `<operation>Response` with `content` inside.
fn whole(service: Service, operation: &str, content: impl FnOnce(&mut Encoder)) -> String {
    let mut xml = Encoder::with_capacity(1024);
    let response = format!("{operation}Response");
    xml.open_in(&response, service.namespace());
    content(&mut xml);
    xml.close(&response);
    xml.finish()
}

/// A cookie on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCookie {
    /// `Expiration`.
    pub expires: Timestamp,
    /// `EncryptedData`.
    pub sealed: Vec<u8>,
}

impl SealedCookie {
    /// The inside of a cookie element.
    fn write(&self, xml: &mut Encoder) {
        xml.value("Expiration", date_time(self.expires))
            .value("EncryptedData", STANDARD.encode(&self.sealed));
    }
}

/// `GetConfigResult` ([MS-WUSP] 2.2.2.2.1).
#[derive(Debug, Clone)]
pub struct ConfigAnswer<'a> {
    /// `LastChange`.
    pub last_change: Timestamp,
    /// `IsRegistrationRequired`.
    pub registration_required: bool,
    /// `Properties`, in their order.
    pub properties: &'a [(&'a str, &'a str)],
}

impl ConfigAnswer<'_> {
    /// The body.
    pub fn encode(&self) -> String {
        whole(Service::Client, "GetConfig", |xml| {
            xml.open("GetConfigResult")
                .value("LastChange", date_time(self.last_change))
                .value("IsRegistrationRequired", self.registration_required)
                .open("AuthInfo")
                .open("AuthPlugInInfo")
                .value("PlugInID", "SimpleTargeting")
                .value("ServiceUrl", &Service::SimpleAuth.path()[1..])
                .empty("Parameter")
                .close("AuthPlugInInfo")
                .close("AuthInfo")
                .open("Properties");
            for (name, value) in self.properties {
                xml.open("ConfigurationProperty").text("Name", name).text("Value", value);
                xml.close("ConfigurationProperty");
            }
            xml.close("Properties").close("GetConfigResult");
        })
    }
}

/// `GetAuthorizationCookieResult` ([MS-WUSP] 2.2.2.1.1).
#[derive(Debug, Clone)]
pub struct AuthorizationAnswer {
    /// `CookieData`.
    pub sealed: Vec<u8>,
}

impl AuthorizationAnswer {
    /// The body.
    pub fn encode(&self) -> String {
        whole(Service::SimpleAuth, "GetAuthorizationCookie", |xml| {
            xml.open("GetAuthorizationCookieResult")
                .value("PlugInId", "SimpleTargeting")
                .value("CookieData", STANDARD.encode(&self.sealed))
                .close("GetAuthorizationCookieResult");
        })
    }
}

/// The body of a `GetCookie` answer.
pub fn cookie_answer(cookie: &SealedCookie) -> String {
    whole(Service::Client, "GetCookie", |xml| {
        xml.open("GetCookieResult");
        cookie.write(xml);
        xml.close("GetCookieResult");
    })
}

/// The body of a `RegisterComputer` answer.
pub fn register_computer_answer() -> String {
    format!("<RegisterComputerResponse xmlns=\"{}\" />", Service::Client.namespace())
}

/// The body of a `ReportEventBatch` answer.
pub fn report_answer() -> String {
    whole(Service::Reporting, "ReportEventBatch", |xml| {
        xml.value("ReportEventBatchResult", true);
    })
}

/// `StartCategoryScanResponse` ([MS-WUSP] 2.2.2.2.8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CategoryScanAnswer {
    /// `preferredCategoryIds`.
    pub preferred: Vec<Uuid>,
    /// `requestedCategoryIdsInError`.
    pub in_error: Vec<Uuid>,
}

impl CategoryScanAnswer {
    /// The body.
    pub fn encode(&self) -> String {
        whole(Service::Client, "StartCategoryScan", |xml| {
            for (list, ids) in
                [("preferredCategoryIds", &self.preferred), ("requestedCategoryIdsInError", &self.in_error)]
            {
                if !ids.is_empty() {
                    xml.open(list);
                    for id in ids {
                        xml.value("guid", id);
                    }
                    xml.close(list);
                }
            }
        })
    }
}

/// `Deployment` as it is shown to one client ([MS-WUSP] 2.2.2.2.4).
#[derive(Debug, Clone)]
pub struct DeploymentView<'a> {
    /// `ID`.
    pub id: u32,
    /// `Action`.
    pub action: &'static str,
    /// `Deadline`.
    pub deadline: Option<Timestamp>,
    /// `LastChangeTime`.
    pub last_change: Timestamp,
    /// `HardwareIds`.
    pub hardware_ids: &'a [String],
}

impl DeploymentView<'_> {
    fn write(&self, xml: &mut Encoder, version: ProtocolVersion) {
        xml.open("Deployment").value("ID", self.id).value("Action", self.action);
        if let Some(deadline) = self.deadline {
            xml.value("Deadline", date_time(deadline));
        }
        xml.value("IsAssigned", true).value("LastChangeTime", date(self.last_change));
        if version.knows_hardware_ids() && !self.hardware_ids.is_empty() {
            xml.open("HardwareIds");
            for id in self.hardware_ids {
                xml.text("string", id);
            }
            xml.close("HardwareIds");
        }
        if version.knows_auto_select() {
            xml.value("AutoSelect", 0).value("AutoDownload", 0).value("SupersedenceBehavior", 0);
        }
        xml.close("Deployment");
    }
}

/// `UpdateInfo`.
#[derive(Debug, Clone)]
pub struct UpdateView<'a, F> {
    /// `ID`.
    pub id: u32,
    /// `Deployment`.
    pub deployment: DeploymentView<'a>,
    /// `IsLeaf`.
    pub is_leaf: bool,
    /// `Xml`, where it is sent.
    pub core: Option<F>,
}

/// `SyncInfo` up to the new cookie; [`SyncEnd`] is the rest.
#[derive(Debug)]
pub struct SyncAnswer<'a, F> {
    /// `NewUpdates`.
    pub new: Vec<UpdateView<'a, F>>,
    /// `OutOfScopeRevisionIDs`.
    pub out_of_scope: &'a [u32],
    /// `ChangedUpdates`.
    pub changed: Vec<UpdateView<'a, F>>,
    /// `Truncated`.
    pub truncated: bool,
    /// Whom it is for.
    pub version: ProtocolVersion,
}

/// `SyncInfo` from the new cookie on.
#[derive(Debug)]
pub struct SyncEnd<'a> {
    /// `NewCookie`.
    pub cookie: &'a SealedCookie,
    /// `DeployedOutOfScopeRevisionIds`.
    pub deployed_out_of_scope: &'a [u32],
    /// `DriverSyncNotNeeded`.
    pub driver_sync_not_needed: bool,
    /// Whom it is for.
    pub version: ProtocolVersion,
}

fn int_list(xml: &mut Encoder, list: &str, ids: &[u32]) {
    if ids.is_empty() {
        return;
    }
    xml.open(list);
    for id in ids {
        xml.value("int", id);
    }
    xml.close(list);
}

fn update_list<F>(
    answer: &mut Answer<F>,
    list: &str,
    updates: Vec<UpdateView<'_, F>>,
    version: ProtocolVersion,
) {
    if updates.is_empty() {
        return;
    }
    answer.xml.open(list);
    for update in updates {
        answer.xml.open("UpdateInfo").value("ID", update.id);
        update.deployment.write(&mut answer.xml, version);
        answer.xml.value("IsLeaf", update.is_leaf);
        if let Some(core) = update.core {
            answer.xml_element(core);
        }
        answer.xml.close("UpdateInfo");
    }
    answer.xml.close(list);
}

impl<F> SyncAnswer<'_, F> {
    /// The body of `operation` (`SyncUpdates`, `SyncPrinterCatalog`) before the cookie: the same for every agent that
    /// asks the same question, and so worth keeping.
    pub fn before_cookie(self, operation: &str) -> Vec<Piece<F>> {
        let mut answer = Answer::new();
        answer.xml.open_in(&format!("{operation}Response"), Service::Client.namespace());
        answer.xml.open(&format!("{operation}Result"));
        update_list(&mut answer, "NewUpdates", self.new, self.version);
        int_list(&mut answer.xml, "OutOfScopeRevisionIDs", self.out_of_scope);
        update_list(&mut answer, "ChangedUpdates", self.changed, self.version);
        answer.xml.value("Truncated", self.truncated);
        answer.pieces()
    }
}

impl SyncEnd<'_> {
    /// The rest of the body of `operation`.
    pub fn encode(&self, operation: &str) -> String {
        let mut xml = Encoder::with_capacity(768);
        xml.open("NewCookie");
        self.cookie.write(&mut xml);
        xml.close("NewCookie");
        if self.version.knows_driver_sync_not_needed() {
            int_list(&mut xml, "DeployedOutOfScopeRevisionIds", self.deployed_out_of_scope);
            xml.value("DriverSyncNotNeeded", self.driver_sync_not_needed);
        }
        xml.close(&format!("{operation}Result")).close(&format!("{operation}Response"));
        xml.finish()
    }
}

/// `RefreshCacheResult`.
#[derive(Debug, Clone)]
pub struct RefreshRow<'a> {
    /// `RevisionID`.
    pub id: u32,
    /// `GlobalID`.
    pub identity: RevisionIdentity,
    /// `IsLeaf`.
    pub is_leaf: bool,
    /// `Deployment`.
    pub deployment: DeploymentView<'a>,
}

/// The body of a `RefreshCache` answer.
pub fn refresh_cache_answer(rows: &[RefreshRow<'_>], version: ProtocolVersion) -> String {
    whole(Service::Client, "RefreshCache", |xml| {
        xml.open("RefreshCacheResult");
        for row in rows {
            xml.open("RefreshCacheResult")
                .value("RevisionID", row.id)
                .open("GlobalID")
                .value("UpdateID", row.identity.update)
                .value("RevisionNumber", row.identity.revision)
                .close("GlobalID")
                .value("IsLeaf", row.is_leaf);
            row.deployment.write(xml, version);
            xml.close("RefreshCacheResult");
        }
        xml.close("RefreshCacheResult");
    })
}

/// `FileLocation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLocation {
    /// `FileDigest` in Base64.
    pub digest: String,
    /// `Url`.
    pub url: String,
}

fn file_locations(xml: &mut Encoder, locations: &[FileLocation]) {
    if locations.is_empty() {
        return;
    }
    xml.open("FileLocations");
    for location in locations {
        xml.open("FileLocation").value("FileDigest", &location.digest).text("Url", &location.url);
        xml.close("FileLocation");
    }
    xml.close("FileLocations");
}

/// The body of a `GetFileLocations` answer.
pub fn file_locations_answer(locations: &[FileLocation], cookie: &SealedCookie) -> String {
    whole(Service::Client, "GetFileLocations", |xml| {
        xml.open("GetFileLocationsResult");
        file_locations(xml, locations);
        xml.open("NewCookie");
        cookie.write(xml);
        xml.close("NewCookie").close("GetFileLocationsResult");
    })
}

/// `ExtendedUpdateInfo` ([MS-WUSP] 2.2.2.2.6).
#[derive(Debug)]
pub struct ExtendedAnswer<F> {
    /// `Updates`: revision and fragment, in their order.
    pub updates: Vec<(u32, F)>,
    /// `FileLocations`.
    pub locations: Vec<FileLocation>,
    /// `OutOfScopeRevisionIDs`.
    pub out_of_scope: Vec<u32>,
}

/// The body of a `GetExtendedUpdateInfo` answer.
pub fn extended_answer<F>(extended: ExtendedAnswer<F>) -> Vec<Piece<F>> {
    extended_named(extended, "GetExtendedUpdateInfo")
}

/// The body of a `GetExtendedUpdateInfo2` answer, which has no list of what is out of scope.
pub fn extended2_answer<F>(extended: ExtendedAnswer<F>) -> Vec<Piece<F>> {
    extended_named(ExtendedAnswer { out_of_scope: Vec::new(), ..extended }, "GetExtendedUpdateInfo2")
}

fn extended_named<F>(extended: ExtendedAnswer<F>, operation: &str) -> Vec<Piece<F>> {
    let mut answer = Answer::new();
    answer.xml.open_in(&format!("{operation}Response"), Service::Client.namespace());
    answer.xml.open(&format!("{operation}Result"));
    if !extended.updates.is_empty() {
        answer.xml.open("Updates");
        for (id, fragment) in extended.updates {
            answer.xml.open("Update").value("ID", id);
            answer.xml_element(fragment);
            answer.xml.close("Update");
        }
        answer.xml.close("Updates");
    }
    file_locations(&mut answer.xml, &extended.locations);
    int_list(&mut answer.xml, "OutOfScopeRevisionIDs", &extended.out_of_scope);
    answer.xml.close(&format!("{operation}Result")).close(&format!("{operation}Response"));
    answer.pieces()
}
