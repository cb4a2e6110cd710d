//! Collects what the server must know of an update while its document passes by ([MS-WUSP] 3.1.1.1,
//! [MS-WSUSSS] 3.1.1.1).
//!
//! **Invariant:** values come only from the places the specification names. It never keeps a reference to the
//! document.

use super::element_kind::ElementKind;
use super::error::MetadataError;
use super::language::Languages;
use super::tag::Tag;
use tailwater_domain::{
    BundleClause, CategoryKind, Counted, Counts, DriverFacts, Encryption, Facts, FileDeclaration,
    MAX_LANGUAGE_NAME, PrerequisiteClause, PublicationState, Sha1Digest, Sha256Digest, Title, UpdateId,
    UpdateIdentity, UpdateType,
};

/// What has been seen so far.
#[derive(Debug, Default)]
pub(super) struct Collector {
    identity: Option<UpdateIdentity>,
    update_type: Option<UpdateType>,
    explicitly_deployable: bool,
    publication_state: PublicationState,
    eula_id: Option<String>,
    creation_date: Option<String>,
    pub(super) default_language: Option<String>,
    severity: Option<String>,
    category: Option<CategoryKind>,
    prerequisites: Vec<PrerequisiteClause>,
    bundled: Vec<BundleClause>,
    supersedes: Vec<UpdateId>,
    files: Vec<FileDeclaration>,
    titles: Vec<Title>,
    kb_articles: Vec<String>,
    bulletins: Vec<String>,
    drivers: Vec<DriverFacts>,
    uninstallable: bool,
    languages: Vec<String>,
    /// `SecuredFragment` is `FileDecryption`.
    secured: bool,
    encrypted: Vec<Sha1Digest>,
    counts: Counts,
}

impl Collector {
    /// An element of interest begins.
    pub(super) fn start(&mut self, place: ElementKind, tag: &Tag<'_>) -> Result<(), MetadataError> {
        self.count(place)?;
        match place {
            ElementKind::Identity => self.identity = Some(identity(tag)?),
            ElementKind::Properties => self.properties(tag)?,
            ElementKind::Uninstallation => self.uninstallable = true,
            ElementKind::PrerequisiteAnyOf => self
                .prerequisites
                .push(PrerequisiteClause { any_of: Vec::new(), is_category: flag(tag, "IsCategory") }),
            ElementKind::PrerequisiteAlternative => {
                if let Some(clause) = self.prerequisites.last_mut() {
                    clause.any_of.push(update_id(tag)?);
                }
            }
            ElementKind::Prerequisite => self
                .prerequisites
                .push(PrerequisiteClause { any_of: vec![update_id(tag)?], is_category: false }),
            ElementKind::BundleAnyOf => self.bundled.push(BundleClause { any_of: Vec::new() }),
            ElementKind::BundleAlternative => {
                if let Some(clause) = self.bundled.last_mut() {
                    clause.any_of.push(identity(tag)?);
                }
            }
            ElementKind::Bundled => self.bundled.push(BundleClause { any_of: vec![identity(tag)?] }),
            ElementKind::Superseded => self.supersedes.push(update_id(tag)?),
            ElementKind::File => self.file(tag)?,
            ElementKind::Category => {
                self.category = tag.value("CategoryType").map(|kind| category_kind(&kind));
            }
            ElementKind::Driver => self.driver(tag)?,
            ElementKind::FeatureScore => self.feature_score(tag)?,
            _ => {}
        }
        Ok(())
    }

    /// Refuses too many of a kind before they are kept.
    fn count(&mut self, place: ElementKind) -> Result<(), MetadataError> {
        let kind = match place {
            ElementKind::PrerequisiteAnyOf
            | ElementKind::PrerequisiteAlternative
            | ElementKind::Prerequisite => Counted::Prerequisites,
            ElementKind::BundleAnyOf | ElementKind::BundleAlternative | ElementKind::Bundled => {
                Counted::BundleMembers
            }
            ElementKind::Superseded => Counted::Superseded,
            ElementKind::File => Counted::Files,
            ElementKind::Driver => Counted::Devices,
            ElementKind::FeatureScore => Counted::FeatureScores,
            ElementKind::KbArticle => Counted::Articles,
            ElementKind::Bulletin => Counted::Bulletins,
            ElementKind::MadeFor => Counted::Languages,
            ElementKind::TargetComputer | ElementKind::DistributionComputer => Counted::ComputerIds,
            _ => return Ok(()),
        };
        Ok(self.counts.one(kind)?)
    }

    /// The text of an element of interest; `algorithm` belongs to digests.
    pub(super) fn text(&mut self, place: ElementKind, text: &str) -> Result<(), MetadataError> {
        self.counts.text(text)?;
        match place {
            ElementKind::KbArticle => self.kb_articles.extend(digits(text)),
            ElementKind::Bulletin => self.bulletins.push(text.trim().to_owned()),
            ElementKind::MadeFor => self.made_for(text.trim())?,
            ElementKind::Secured => self.secured |= text.trim().eq_ignore_ascii_case("FileDecryption"),
            ElementKind::Sha256 => {
                let digest = Sha256Digest::from_base64(text)
                    .map_err(|_parse| MetadataError::bad("AdditionalDigest", text))?;
                if let Some(file) = self.files.last_mut() {
                    file.sha256 = Some(digest);
                }
            }
            ElementKind::TargetComputer => {
                if let Some(driver) = self.drivers.last_mut() {
                    driver.computer_hardware_ids.push(text.trim().to_lowercase());
                }
            }
            ElementKind::DistributionComputer => {
                if let Some(driver) = self.drivers.last_mut() {
                    driver.distribution_ids.push(text.trim().to_lowercase());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn file(&mut self, tag: &Tag<'_>) -> Result<(), MetadataError> {
        let declared = file(tag)?;
        self.counts.text(&declared.name)?;
        self.counts.text(declared.patching.as_deref().unwrap_or_default())?;
        if flag(tag, "IsEncrypted") {
            self.encrypted.push(declared.sha1);
        }
        self.files.push(declared);
        Ok(())
    }

    /// A language that the update is made for; what is for all languages names none ([MS-WSUSSS] 2.2.5.2).
    fn made_for(&mut self, language: &str) -> Result<(), MetadataError> {
        let neutral =
            language.eq_ignore_ascii_case("all") || language.eq_ignore_ascii_case("NeutralLanguage");
        if !language.is_empty() && !neutral {
            self.languages.push(language_name(language)?.to_lowercase());
        }
        Ok(())
    }

    /// A title in a language that is kept.
    pub(super) fn title(&mut self, language: &str, text: &str) -> Result<(), MetadataError> {
        self.counts.text(text)?;
        self.titles.push(Title { language: language.to_owned(), text: text.to_owned() });
        Ok(())
    }

    /// The payload that an `EulaFile` in a kept language names.
    pub(super) fn eula_file(&mut self, file: FileDeclaration) -> Result<(), MetadataError> {
        if !self.files.iter().any(|known| known.sha1 == file.sha1) {
            self.counts.one(Counted::Files)?;
            self.counts.text(&file.name)?;
            self.files.push(file);
        }
        Ok(())
    }

    fn driver(&mut self, tag: &Tag<'_>) -> Result<(), MetadataError> {
        let driver = driver(tag)?;
        let texts = [&driver.hardware_id, &driver.class, &driver.date];
        for text in texts.into_iter().chain([&driver.provider, &driver.manufacturer, &driver.model]) {
            self.counts.text(text)?;
        }
        self.drivers.push(driver);
        Ok(())
    }

    fn properties(&mut self, tag: &Tag<'_>) -> Result<(), MetadataError> {
        let text = |name| tag.value(name).map(std::borrow::Cow::into_owned);
        let kind =
            tag.value("UpdateType").ok_or(MetadataError::Missing { what: "Properties/@UpdateType" })?;
        self.update_type = Some(match kind.as_ref() {
            "Software" => UpdateType::Software,
            "Driver" => UpdateType::Driver,
            "Category" => UpdateType::Category,
            "Detectoid" => UpdateType::Detectoid,
            _ => return Err(MetadataError::bad("UpdateType", &kind)),
        });
        self.explicitly_deployable = flag(tag, "ExplicitlyDeployable");
        if tag.value("PublicationState").as_deref() == Some("Expired") {
            self.publication_state = PublicationState::Expired;
        }
        self.eula_id = text("EulaID");
        self.creation_date = text("CreationDate");
        self.default_language = text("DefaultPropertiesLanguage");
        self.severity = text("MsrcSeverity");
        let texts = [&self.eula_id, &self.creation_date, &self.default_language, &self.severity];
        for text in texts.into_iter().flatten() {
            self.counts.text(text)?;
        }
        language_name(self.default_language.as_deref().unwrap_or_default())?;
        Ok(())
    }

    fn feature_score(&mut self, tag: &Tag<'_>) -> Result<(), MetadataError> {
        let (Some(system), Some(score)) = (tag.value("OperatingSystem"), tag.value("FeatureScore")) else {
            return Err(MetadataError::Missing { what: "FeatureScore/@OperatingSystem or @FeatureScore" });
        };
        let score = number_of(&score).ok_or_else(|| MetadataError::bad("FeatureScore", &score))?;
        self.counts.text(&system)?;
        if let Some(driver) = self.drivers.last_mut() {
            driver.feature_scores.push((system.into_owned(), score));
        }
        Ok(())
    }

    /// Everything together, once the document has ended.
    pub(super) fn finish(mut self, keep: &Languages) -> Result<Facts, MetadataError> {
        self.prerequisites.retain(|clause| !clause.any_of.is_empty());
        self.bundled.retain(|clause| !clause.any_of.is_empty());
        // the languages a site asked for come before a mere fallback
        self.titles.sort_by_key(|title| !keep.keeps(&title.language));
        let encryption = match (self.encrypted.is_empty(), self.secured && !self.files.is_empty()) {
            (false, _) => Encryption::Files(self.encrypted),
            (true, true) => Encryption::Unmarked,
            (true, false) => Encryption::None,
        };
        Ok(Facts {
            identity: self.identity.ok_or(MetadataError::Missing { what: "UpdateIdentity" })?,
            update_type: self.update_type.ok_or(MetadataError::Missing { what: "Properties" })?,
            explicitly_deployable: self.explicitly_deployable,
            publication_state: self.publication_state,
            eula_id: self.eula_id,
            creation_date: self.creation_date,
            default_language: self.default_language.unwrap_or_else(|| "en".to_owned()),
            category: self.category,
            prerequisites: self.prerequisites,
            bundled: self.bundled,
            supersedes: self.supersedes,
            files: self.files,
            titles: self.titles,
            kb_articles: self.kb_articles,
            bulletins: self.bulletins,
            severity: self.severity,
            drivers: self.drivers,
            uninstallable: self.uninstallable,
            languages: self.languages,
            encryption,
            kept: keep.tags(),
        })
    }
}

/// A language's name, unless it is longer than any.
pub(super) fn language_name(name: &str) -> Result<&str, MetadataError> {
    if name.len() > MAX_LANGUAGE_NAME {
        let what = "bytes in the name of a language";
        return Err(MetadataError::TooMuch { what, limit: MAX_LANGUAGE_NAME as u64 });
    }
    Ok(name)
}

/// Reads a declaration of a payload: `File` and `EulaFile` have the same attributes.
pub(super) fn file(tag: &Tag<'_>) -> Result<FileDeclaration, MetadataError> {
    let digest = tag.value("Digest").ok_or(MetadataError::Missing { what: "File/@Digest" })?;
    let size = tag.value("Size").ok_or(MetadataError::Missing { what: "File/@Size" })?;
    Ok(FileDeclaration {
        sha1: Sha1Digest::from_base64(&digest).map_err(|_parse| MetadataError::bad("Digest", &digest))?,
        sha256: None,
        size: number_of(&size).ok_or_else(|| MetadataError::bad("Size", &size))?,
        name: tag.value("FileName").unwrap_or_default().into_owned(),
        patching: tag.value("PatchingType").map(std::borrow::Cow::into_owned),
    })
}

fn driver(tag: &Tag<'_>) -> Result<DriverFacts, MetadataError> {
    let text = |name| tag.value(name).unwrap_or_default().into_owned();
    let version = text("DriverVerVersion");
    Ok(DriverFacts {
        hardware_id: text("HardwareID"),
        class: text("Class"),
        date: text("DriverVerDate"),
        version: four_parts(&version).ok_or_else(|| MetadataError::bad("DriverVerVersion", &version))?,
        provider: text("Provider"),
        manufacturer: text("Manufacturer"),
        model: text("Model"),
        computer_hardware_ids: Vec::new(),
        distribution_ids: Vec::new(),
        feature_scores: Vec::new(),
    })
}

fn identity(tag: &Tag<'_>) -> Result<UpdateIdentity, MetadataError> {
    let revision = tag
        .value("RevisionNumber")
        .ok_or(MetadataError::Missing { what: "UpdateIdentity/@RevisionNumber" })?;
    Ok(UpdateIdentity {
        update: update_id(tag)?,
        revision: number_of(&revision).ok_or_else(|| MetadataError::bad("RevisionNumber", &revision))?,
    })
}

fn update_id(tag: &Tag<'_>) -> Result<UpdateId, MetadataError> {
    let id = tag.value("UpdateID").ok_or(MetadataError::Missing { what: "UpdateIdentity/@UpdateID" })?;
    id.parse().map_err(|_parse| MetadataError::bad("UpdateID", &id))
}

fn category_kind(kind: &str) -> CategoryKind {
    match kind {
        "Company" => CategoryKind::Company,
        "ProductFamily" => CategoryKind::ProductFamily,
        "Product" => CategoryKind::Product,
        "UpdateClassification" => CategoryKind::Classification,
        _ => CategoryKind::Other,
    }
}

fn flag(tag: &Tag<'_>, name: &str) -> bool {
    tag.value(name).is_some_and(|value| is_true(&value))
}

/// `xs:boolean`, and the `True` that some publishers write.
fn is_true(value: &str) -> bool {
    let value = value.trim();
    value == "1" || value.eq_ignore_ascii_case("true")
}

fn number_of<N: std::str::FromStr>(text: &str) -> Option<N> {
    let text = text.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `1.2.3.4` as a number that compares; missing parts are zero, no version at all is zero.
fn four_parts(version: &str) -> Option<u64> {
    if version.trim().is_empty() {
        return Some(0);
    }
    let mut parts = version.trim().split('.');
    let mut value = 0;
    for _ in 0..4 {
        let part: u16 = parts.next().map_or(Some(0), number_of)?;
        value = value << 16 | u64::from(part);
    }
    parts.next().is_none().then_some(value)
}

fn digits(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}
