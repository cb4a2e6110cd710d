//! The revisions held, for audits and comparisons.
//!
//! **Invariant:** a row names what its document declares, whether it is cached or not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::endpoint::inputs;
use super::page::listed;
use super::{PageInfo, Paging};
use tailwater_domain::UpdateId;

/// Which revisions to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevisionsQuery {
    /// Hash documents too.
    #[serde(default)]
    pub documents: bool,
    /// Rows to pass over: `next` of the page before.
    #[serde(default)]
    pub offset: usize,
    /// Rows in one answer, 100,000 when it is not said, and at most.
    pub limit: Option<usize>,
}

inputs!(RevisionsQuery);

impl RevisionsQuery {
    /// Which rows are asked for.
    pub fn paging(&self) -> Paging {
        Paging::new(self.offset, self.limit)
    }
}

/// One page of the revisions held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revisions {
    /// Which rows these are.
    #[serde(flatten)]
    pub page: PageInfo,
    /// The rows.
    pub revisions: Vec<Revision>,
}

listed!(Revisions, revisions: Revision);

/// A revision that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// Its update.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
    /// Its revision number.
    pub revision: u32,
    /// SHA-1 of the payloads that it declares, as hexadecimal digits.
    pub files: Vec<String>,
    /// SHA-256 of its document; only when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_sha256: Option<String>,
}
