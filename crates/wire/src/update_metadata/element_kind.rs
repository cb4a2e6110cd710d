//! Where in an update document an element stands, as far as it matters.
//!
//! **Invariant:** a place is decided by the parent's place and the element's own name, nothing else. Elements of
//! foreign payloads are never taken for elements of the document.

use super::tag::{Space, Tag};

/// The places that the server looks at; everything else is [`ElementKind::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementKind {
    Document,
    Update,
    Identity,
    Properties,
    Uninstallation,
    KbArticle,
    Bulletin,
    MadeFor,
    Secured,
    Localizations,
    Localized,
    Language,
    Title,
    Eula,
    Relationships,
    Prerequisites,
    Prerequisite,
    PrerequisiteAnyOf,
    PrerequisiteAlternative,
    BundledUpdates,
    Bundled,
    BundleAnyOf,
    BundleAlternative,
    SupersededUpdates,
    Superseded,
    Rules,
    RuleMetadata,
    Driver,
    FeatureScore,
    TargetComputer,
    DistributionComputer,
    Files,
    File,
    Sha256,
    Handler,
    Category,
    /// A section below the root that no rule routes.
    Unrouted,
    Other,
}

impl ElementKind {
    /// Where a child of an element that stands here stands.
    pub(super) fn child(self, tag: &Tag<'_>) -> Self {
        if tag.space == Space::Foreign {
            return if self == Self::Update { Self::Unrouted } else { Self::Other };
        }
        match (self, tag.local) {
            (Self::Document, "Update") => Self::Update,
            (Self::Update, name) => Self::section(name),
            (Self::Properties, "UninstallationBehavior") => Self::Uninstallation,
            (Self::Properties, "KBArticleID") => Self::KbArticle,
            (Self::Properties, "SecurityBulletinID") => Self::Bulletin,
            (Self::Properties, "Language") => Self::MadeFor,
            (Self::Properties, "SecuredFragment") => Self::Secured,
            (Self::Localizations, "LocalizedProperties") => Self::Localized,
            (Self::Localizations, "EulaFile") => Self::Eula,
            (Self::Localized, "Language") => Self::Language,
            (Self::Localized, "Title") => Self::Title,
            (Self::Relationships, "Prerequisites") => Self::Prerequisites,
            (Self::Relationships, "BundledUpdates") => Self::BundledUpdates,
            (Self::Relationships, "SupersededUpdates") => Self::SupersededUpdates,
            (Self::Prerequisites, "UpdateIdentity") => Self::Prerequisite,
            (Self::Prerequisites, "AtLeastOne") => Self::PrerequisiteAnyOf,
            (Self::PrerequisiteAnyOf, "UpdateIdentity") => Self::PrerequisiteAlternative,
            (Self::BundledUpdates, "UpdateIdentity") => Self::Bundled,
            (Self::BundledUpdates, "AtLeastOne") => Self::BundleAnyOf,
            (Self::BundleAnyOf, "UpdateIdentity") => Self::BundleAlternative,
            (Self::SupersededUpdates, "UpdateIdentity") => Self::Superseded,
            (Self::Rules, "Metadata") => Self::RuleMetadata,
            (Self::RuleMetadata, "WindowsDriverMetaData") => Self::Driver,
            (Self::Driver, "FeatureScore") => Self::FeatureScore,
            (Self::Driver, "TargetComputerHardwareId") => Self::TargetComputer,
            (Self::Driver, "DistributionComputerHardwareId") => Self::DistributionComputer,
            (Self::Files, "File") => Self::File,
            (Self::File, "AdditionalDigest") if tag.value("Algorithm").as_deref() == Some("SHA256") => {
                Self::Sha256
            }
            (Self::Handler, "CategoryInformation") => Self::Category,
            _ => Self::Other,
        }
    }

    fn section(name: &str) -> Self {
        match name {
            "UpdateIdentity" => Self::Identity,
            "Properties" => Self::Properties,
            "LocalizedPropertiesCollection" => Self::Localizations,
            "Relationships" => Self::Relationships,
            "ApplicabilityRules" => Self::Rules,
            "Files" => Self::Files,
            "HandlerSpecificData" => Self::Handler,
            _ => Self::Unrouted,
        }
    }

    /// Whether the text of an element that stands here is collected.
    pub(super) fn has_text(self) -> bool {
        matches!(
            self,
            Self::KbArticle
                | Self::Bulletin
                | Self::MadeFor
                | Self::Secured
                | Self::Language
                | Self::Title
                | Self::Sha256
                | Self::TargetComputer
                | Self::DistributionComputer
        )
    }
}
