//! What an update document says, as far as the server must know it: the facts that ingest takes from the
//! full document once ([MS-WUSP] 3.1.1.1, [MS-WSUSSS] 3.1.1.1).

use serde::{Deserialize, Serialize};

use super::{ContentPath, Sha1Digest, Sha256Digest, UpdateId, UpdateIdentity};

/// `Properties/@UpdateType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UpdateType {
    /// Something to install, or a bundle of such.
    Software,
    /// A device driver.
    Driver,
    /// A company, product family, product or classification.
    Category,
    /// A rule that tells what kind of machine an agent runs on.
    Detectoid,
}

impl UpdateType {
    /// As in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Software => "Software",
            Self::Driver => "Driver",
            Self::Category => "Category",
            Self::Detectoid => "Detectoid",
        }
    }
}

/// `Properties/@PublicationState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum PublicationState {
    /// In force.
    #[default]
    Published,
    /// Withdrawn by its publisher: never offered.
    Expired,
}

/// `CategoryInformation/@CategoryType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CategoryKind {
    /// A vendor.
    Company,
    /// A family of products.
    ProductFamily,
    /// A product: one of the two lists a synchronisation is filtered by.
    Product,
    /// A classification (`UpdateClassification`): the other.
    Classification,
    /// Any other category.
    Other,
}

/// One prerequisite clause: any of these updates satisfies it; all clauses must be satisfied.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PrerequisiteClause {
    /// The alternatives; at least one.
    pub any_of: Vec<UpdateId>,
    /// `AtLeastOne/@IsCategory`: the clause also says which categories the update belongs to.
    pub is_category: bool,
}

/// One bundle clause: at least one of these revisions is part of the bundle on a given machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BundleClause {
    /// The alternatives; at least one.
    pub any_of: Vec<UpdateIdentity>,
}

/// A payload as a document declares it (`Files/File`, `EulaFile`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileDeclaration {
    /// The name on the wire.
    pub sha1: Sha1Digest,
    /// `AdditionalDigest` with `Algorithm="SHA256"`, where the document has it.
    pub sha256: Option<Sha256Digest>,
    /// Length in bytes.
    pub size: u64,
    /// `FileName`; only its extension reaches an address, and no path is ever made of it.
    pub name: String,
    /// `PatchingType` (`SelfContained`, `Express`, …), where present.
    pub patching: Option<String>,
}

impl FileDeclaration {
    /// The extension with its dot (`.cab`), as in the `/Content/` address; empty when the name has none.
    pub fn extension(&self) -> &str {
        ContentPath::of(self.sha1, &self.name).extension
    }

    /// Whether agents take ranges of it and hardly ever the whole: express payloads (`.psf`) hold the differences from
    /// every earlier version.
    pub fn is_taken_in_parts(&self) -> bool {
        self.patching.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("Express"))
            || self.extension().eq_ignore_ascii_case(".psf")
    }

    /// The path below the server's root, percent-encoded; see [`ContentPath`].
    pub fn content_path(&self) -> String {
        ContentPath::of(self.sha1, &self.name).encoded()
    }
}

/// A title in one language.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Title {
    /// `en`, `pt-br`, ….
    pub language: String,
    /// What people read.
    pub text: String,
}

/// What a driver's document says of one device match (`WindowsDriverMetaData`, [MS-WUSP] 3.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DriverFacts {
    /// `HardwareID`, compared without case.
    pub hardware_id: String,
    /// `Class`.
    pub class: String,
    /// `DriverVerDate`, as in the document (`yyyy-mm-dd`).
    pub date: String,
    /// `DriverVerVersion` as a number that compares: four parts of 16 bits.
    pub version: u64,
    /// `Provider`.
    pub provider: String,
    /// `Manufacturer`.
    pub manufacturer: String,
    /// `Model`.
    pub model: String,
    /// `WindowsDriverMetaData/TargetComputerHardwareId` values, lower case.
    pub computer_hardware_ids: Vec<String>,
    /// `WindowsDriverMetaData/DistributionComputerHardwareId` values, lower case.
    #[serde(skip)]
    pub distribution_ids: Vec<String>,
    /// `FeatureScore` rows: operating system (`AMD64.10.0`) and score, lower is better.
    pub feature_scores: Vec<(String, u8)>,
}

/// Which payloads of a revision are encrypted, so that agents need their keys ([MS-WSUSSS] 3.1.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Encryption {
    /// None.
    #[default]
    None,
    /// These (`Files/File/@IsEncrypted`).
    Files(Vec<Sha1Digest>),
    /// `Properties/SecuredFragment` is `FileDecryption`, and no payload is marked: which have a key only the upstream
    /// knows.
    Unmarked,
}

/// Everything ingest keeps in the index of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Which revision this is.
    pub identity: UpdateIdentity,
    /// What it is.
    pub update_type: UpdateType,
    /// `ExplicitlyDeployable`: whether it can be approved by itself.
    pub explicitly_deployable: bool,
    /// Whether its publisher withdrew it.
    pub publication_state: PublicationState,
    /// `EulaID`, where it has one.
    pub eula_id: Option<String>,
    /// `CreationDate`, as in the document.
    pub creation_date: Option<String>,
    /// `DefaultPropertiesLanguage`.
    pub default_language: String,
    /// Kind of category, for categories.
    pub category: Option<CategoryKind>,
    /// All must hold before an agent is told of it.
    pub prerequisites: Vec<PrerequisiteClause>,
    /// What it bundles.
    pub bundled: Vec<BundleClause>,
    /// What it replaces.
    pub supersedes: Vec<UpdateId>,
    /// Its payloads.
    pub files: Vec<FileDeclaration>,
    /// Titles in the languages kept.
    pub titles: Vec<Title>,
    /// `KBArticleID` values, digits only.
    pub kb_articles: Vec<String>,
    /// `SecurityBulletinID` values.
    pub bulletins: Vec<String>,
    /// `MsrcSeverity`, where present.
    pub severity: Option<String>,
    /// Device matches, for drivers.
    pub drivers: Vec<DriverFacts>,
    /// Whether it can be uninstalled (`UninstallationBehavior` present).
    pub uninstallable: bool,
    /// The languages it is made for (`Properties/Language`), lower case; none when it is for all. Only the index
    /// keeps them.
    #[serde(skip)]
    pub languages: Vec<String>,
    /// What of it is encrypted. Only the index keeps it.
    #[serde(skip)]
    pub encryption: Encryption,
    /// The languages that were kept where the document has them; none means all. Only the index keeps them.
    #[serde(skip)]
    pub kept: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> FileDeclaration {
        FileDeclaration {
            sha1: "a379d5526fb3a7a0423da1cd7fc3182a8d448449".parse().unwrap(),
            sha256: None,
            size: 1,
            name: name.to_owned(),
            patching: None,
        }
    }

    #[test]
    fn addresses_are_those_of_wsus() {
        assert_eq!(
            file("AM_Delta.exe").content_path(),
            "/Content/49/A379D5526FB3A7A0423DA1CD7FC3182A8D448449.exe"
        );
    }
}
