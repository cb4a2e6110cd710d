//! The configuration: what is in force, where each value came from, and what a reload changed.
//!
//! **Invariant:** no secret is shown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Configuration {
    /// The file; null when there is none and defaults hold.
    pub file: Option<String>,
    /// Every key.
    pub keys: Vec<ConfigurationKey>,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationKey {
    /// With dots between the tables.
    pub key: String,
    /// Null when it is not set.
    pub value: Option<ConfigurationValue>,
    /// Where it came from.
    pub origin: Origin,
}

/// A value as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConfigurationValue {
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Switch(bool),
    /// Tables, each of lists of texts by name.
    Tables(Vec<BTreeMap<String, Vec<String>>>),
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// Built in.
    Default,
    /// The file.
    File {
        /// Which.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// The environment.
    Environment {
        /// The variable.
        variable: String,
    },
}

/// What reading the configuration again did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Keys whose new values are in force.
    pub changed: Vec<Difference>,
    /// Keys whose new values a restart brings into force.
    pub restart: Vec<Difference>,
    /// What can be used and is probably not meant.
    pub doubts: Vec<Doubt>,
}

/// A key that has another value than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// With dots between the tables.
    pub key: String,
    /// Before; null when it was not set.
    pub before: Option<ConfigurationValue>,
    /// Now.
    pub after: Option<ConfigurationValue>,
}

/// A key, and what is doubtful about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Doubt {
    /// The key.
    pub key: String,
    /// What is doubtful, and what to do.
    pub text: String,
}
