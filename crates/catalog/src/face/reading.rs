//! The catalog towards administrators who look at updates.
//!
//! **Invariant:** nothing is changed here.

use std::collections::HashMap;

use crate::error::CatalogError;
use crate::parts::Catalog;
use crate::query::releases::{ApprovedInstall, Release, ReleaseFile};
use crate::query::rows::{
    CategoryRow, KnownFile, Page, Selected, Totals, UpdateDetail, UpdateQuery, UpdateRow,
};
use tailwater_domain::{FileDeclaration, Sha1Digest, UpdateId};

impl Catalog {
    /// The catalog in numbers.
    pub fn totals(&self) -> Totals {
        self.0.query.totals()
    }

    /// Updates, newest first.
    pub fn updates(&self, query: &UpdateQuery) -> Result<Page<UpdateRow>, CatalogError> {
        self.0.query.updates(query)
    }

    /// Every update that a text means, as lists and decisions understand it; none for a text with nothing in it.
    pub fn select(&self, text: &str) -> Result<Selected, CatalogError> {
        self.0.query.select(text)
    }

    /// Rows of these updates, in this order, without those that are not known.
    pub fn rows(&self, ids: &[UpdateId]) -> Result<Vec<UpdateRow>, CatalogError> {
        self.0.query.rows(ids)
    }

    /// The title of an update's newest revision. Reads one text.
    pub fn title(&self, update: &UpdateId, language: Option<&str>) -> Result<Option<String>, CatalogError> {
        self.0.query.title_of(update, language)
    }

    /// One update.
    pub fn update(
        &self,
        update: &UpdateId,
        language: Option<&str>,
    ) -> Result<Option<UpdateDetail>, CatalogError> {
        self.0.query.update(update, language)
    }

    /// All categories, by kind and title.
    pub fn categories(&self, language: Option<&str>) -> Result<Vec<CategoryRow>, CatalogError> {
        self.0.query.categories(language)
    }

    /// How many updates belong to which categories together, hidden ones left out.
    pub fn categories_together(&self) -> HashMap<Vec<UpdateId>, usize> {
        self.0.query.categories_together()
    }

    /// A payload by its name on the wire.
    pub fn file(&self, sha1: &Sha1Digest) -> Result<Option<KnownFile>, CatalogError> {
        self.0.query.file(sha1)
    }

    /// The payloads of an update's newest revision and of all it bundles, each once.
    pub fn files_of(&self, update: &UpdateId) -> Result<Vec<FileDeclaration>, CatalogError> {
        self.0.query.files_of(update)
    }

    /// The payloads of everything approved for installation and not withheld, each once.
    pub fn approved_files(&self) -> Result<Vec<FileDeclaration>, CatalogError> {
        self.0.query.approved_files()
    }

    /// An update as a release: what it is and what it replaces.
    pub fn release_of(&self, update: &UpdateId) -> Result<Option<Release>, CatalogError> {
        self.0.query.release_of(update)
    }

    /// The payloads of an update with the parts of the bundle that declare them, in the bundle's order, each once.
    pub fn release_files(&self, update: &UpdateId) -> Result<Vec<ReleaseFile>, CatalogError> {
        self.0.query.release_files(update)
    }

    /// The updates that can be approved and have this payload, themselves or in what they bundle. Sorted.
    pub fn releases_with(&self, sha1: &Sha1Digest) -> Vec<UpdateId> {
        self.0.query.releases_with(sha1)
    }

    /// What computers of some group are to install, and is neither held back nor withheld. Sorted.
    pub fn approved_installs(&self) -> Vec<ApprovedInstall> {
        self.0.query.approved_installs()
    }

    /// Whether an approval asks some computer to act on an update that has this payload, itself or in what it bundles, in any
    /// revision that is here. What is held back or declined does not count.
    pub fn is_deployed(&self, sha1: &Sha1Digest) -> bool {
        self.0.current.snapshot().is_deployed(sha1)
    }

    /// The payloads that agents can still ask for: of everything offered. Sorted.
    pub fn live_digests(&self) -> Vec<Sha1Digest> {
        self.0.current.snapshot().live_digests()
    }

    /// The payloads to keep: those, and those of what is withheld until a bundle is whole again. Sorted.
    pub fn kept_digests(&self) -> Vec<Sha1Digest> {
        self.0.current.snapshot().kept_digests()
    }
}
