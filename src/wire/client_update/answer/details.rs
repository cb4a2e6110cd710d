//! Answers of `RefreshCache`, `GetExtendedUpdateInfo`, `GetExtendedUpdateInfo2` and `GetFileLocations`.
//!
//! **Invariant:** rows come out in the order they are given.

use super::{Answer, DeploymentView, Piece, SealedCookie, int_list, whole};
use crate::wire::client_update::request::RevisionIdentity;
use crate::wire::client_update::{ProtocolVersion, Service};
use crate::wire::xml::Encoder;

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
