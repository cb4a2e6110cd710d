//! Answers of `RefreshCache`, `GetExtendedUpdateInfo`, `GetExtendedUpdateInfo2` and `GetFileLocations`.
//!
//! **Invariant:** rows come out in the order they are given.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Answer, DeploymentView, Piece, SealedCookie, int_list, whole};
use crate::client_update::request::RevisionIdentity;
use crate::client_update::{ProtocolVersion, Service};
use crate::xml::Encoder;
use tailwater_domain::DecryptionKey;

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

fn file_locations(xml: &mut Encoder, locations: &[FileLocation], names_algorithm: bool) {
    if locations.is_empty() {
        return;
    }
    xml.open("FileLocations");
    for location in locations {
        xml.open("FileLocation").value("FileDigest", &location.digest).text("Url", &location.url);
        if names_algorithm {
            xml.value("FileDigestAlgorithm", "SHA1");
        }
        xml.close("FileLocation");
    }
    xml.close("FileLocations");
}

/// `FileDecryption`: the key of one payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileKey {
    /// `FileDigest` in Base64.
    pub digest: String,
    /// `DecryptionKey`, and the one element of `SecurityData`, as WSUS has it.
    pub key: DecryptionKey,
}

fn file_keys(xml: &mut Encoder, keys: &[FileKey]) {
    if keys.is_empty() {
        return;
    }
    xml.open("FileDecryptionData");
    for FileKey { digest, key } in keys {
        let key = STANDARD.encode(key.bytes());
        xml.open("FileDecryption").value("FileDigest", digest).value("DecryptionKey", &key);
        xml.open("SecurityData").value("base64Binary", &key).close("SecurityData").close("FileDecryption");
    }
    xml.close("FileDecryptionData");
}

/// The body of a `GetFileLocations` answer.
pub fn file_locations_answer(locations: &[FileLocation], cookie: &SealedCookie) -> String {
    whole(Service::Client, "GetFileLocations", |xml| {
        xml.open("GetFileLocationsResult");
        file_locations(xml, locations, false);
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

/// `ExtendedUpdateInfo2` ([MS-WUSP] 2.2.2.2.10).
#[derive(Debug)]
pub struct Extended2Answer<F> {
    /// `Updates`: revision and fragment, in their order.
    pub updates: Vec<(u32, F)>,
    /// `FileLocations`.
    pub locations: Vec<FileLocation>,
    /// `FileDecryptionData`.
    pub keys: Vec<FileKey>,
    /// What Windows 11 24H2 and Windows Server 2025 added (notes 33 and 36): how files are digested, and these updates
    /// whose files are encrypted. `None` leaves both out.
    pub encrypted: Option<Vec<RevisionIdentity>>,
}

/// The body of a `GetExtendedUpdateInfo` answer.
pub fn extended_answer<F>(extended: ExtendedAnswer<F>) -> Vec<Piece<F>> {
    let mut answer = begin(extended.updates, "GetExtendedUpdateInfo");
    file_locations(&mut answer.xml, &extended.locations, false);
    int_list(&mut answer.xml, "OutOfScopeRevisionIDs", &extended.out_of_scope);
    answer.xml.close("GetExtendedUpdateInfoResult").close("GetExtendedUpdateInfoResponse");
    answer.pieces()
}

/// The body of a `GetExtendedUpdateInfo2` answer, which has no list of what is out of scope.
pub fn extended2_answer<F>(extended: Extended2Answer<F>) -> Vec<Piece<F>> {
    let mut answer = begin(extended.updates, "GetExtendedUpdateInfo2");
    file_locations(&mut answer.xml, &extended.locations, extended.encrypted.is_some());
    file_keys(&mut answer.xml, &extended.keys);
    if let Some(encrypted) = extended.encrypted.filter(|encrypted| !encrypted.is_empty()) {
        let xml = &mut answer.xml;
        xml.open("UpdateEncryptionDetails");
        for identity in encrypted {
            xml.open("UpdateEncryptionDetail").open("UpdateIdentity").value("UpdateID", identity.update);
            xml.value("RevisionNumber", identity.revision).close("UpdateIdentity");
            xml.value("HasEncryptedFiles", true).close("UpdateEncryptionDetail");
        }
        xml.close("UpdateEncryptionDetails");
    }
    answer.xml.close("GetExtendedUpdateInfo2Result").close("GetExtendedUpdateInfo2Response");
    answer.pieces()
}

fn begin<F>(updates: Vec<(u32, F)>, operation: &str) -> Answer<F> {
    let mut answer = Answer::new();
    answer.xml.open_in(&format!("{operation}Response"), Service::Client.namespace());
    answer.xml.open(&format!("{operation}Result"));
    if !updates.is_empty() {
        answer.xml.open("Updates");
        for (id, fragment) in updates {
            answer.xml.open("Update").value("ID", id);
            answer.xml_element(fragment);
            answer.xml.close("Update");
        }
        answer.xml.close("Updates");
    }
    answer
}
