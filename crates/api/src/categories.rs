//! Products and classifications, with what is selected.
//!
//! **Invariant:** names are as the configuration takes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::PageInfo;
use super::page::listed;
use tailwater_domain::UpdateId;

/// One page of categories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Categories {
    /// Which rows these are.
    #[serde(flatten)]
    pub page: PageInfo,
    /// The rows.
    pub categories: Vec<Category>,
    /// What the names in the configuration stand for; null before the first synchronisation with them.
    pub chosen: Option<Choice>,
}

listed!(Categories, categories: Category);

/// A category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Category {
    /// Its identity.
    #[schemars(with = "Uuid")]
    pub id: UpdateId,
    /// Its name.
    pub name: String,
    /// What kind.
    pub kind: CategoryKind,
    /// Whether it is synchronised.
    pub selected: bool,
    /// Updates in it directly that are neither declined nor expired.
    pub updates: usize,
    /// The categories it lies in.
    #[schemars(with = "Vec<Uuid>")]
    pub parents: Vec<UpdateId>,
}

/// What kind of category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CategoryKind {
    /// A vendor.
    Company,
    /// A family of products.
    Family,
    /// A product.
    Product,
    /// A classification.
    Classification,
    /// Any other category.
    Other,
}

impl CategoryKind {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Company => "company",
            Self::Family => "family",
            Self::Product => "product",
            Self::Classification => "classification",
            Self::Other => "other",
        }
    }
}

/// What the names in the configuration stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// Every configured name, products first; none where everything is chosen.
    pub names: Vec<ChosenName>,
    /// Pairs of a product and a classification that match no update here, at most 20.
    pub empty_pairs: Vec<EmptyPair>,
    /// How many such pairs there are.
    pub empty_pairs_total: usize,
    /// What is only worth a note.
    pub notes: Vec<String>,
    /// What an administrator should look at.
    pub warnings: Vec<String>,
}

/// A configured name and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChosenName {
    /// Where it is configured.
    pub key: ChoiceList,
    /// As configured.
    pub name: String,
    /// What it stands for; empty when that is nothing.
    #[schemars(with = "Vec<Uuid>")]
    pub ids: Vec<UpdateId>,
    /// What that is called by now, where it is called otherwise.
    pub now_called: Vec<String>,
    /// When it stands for nothing: names that may have been meant, nearest first.
    pub near: Vec<String>,
    /// When it stands for nothing: whether it did before.
    pub is_gone: bool,
    /// Updates here that it selects, together with the other list; null when that was not counted.
    pub updates: Option<usize>,
}

/// Which list of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceList {
    /// `upstream.products`.
    Products,
    /// `upstream.classifications`.
    Classifications,
}

/// A product and a classification that match no update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmptyPair {
    /// The product.
    pub product: String,
    /// The classification.
    pub classification: String,
}
