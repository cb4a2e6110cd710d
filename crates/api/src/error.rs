//! What every refusal of the API looks like.
//!
//! **Invariant:** one shape for all statuses: a code for programs, a message for people that says what to do next. It
//! never carries a path of the server's file system or a token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use tailwater_domain::UpdateId;

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorAnswer {
    /// What is wrong.
    pub error: ErrorDetail,
}

/// What is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people: the cause and the next step.
    pub message: String,
    /// Some of the updates that an ambiguous name fits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// Of several updates that were named, each that stands in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failure>,
}

/// Why something is refused, for programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 401: no token, or a wrong one.
    Unauthorized,
    /// 429: wrong tokens came from this address too often.
    TooManyWrongTokens,
    /// 421: a host name that is not this server's.
    ForeignHost,
    /// 403: a page of another site asked.
    ForeignOrigin,
    /// 400, 405, 408, 411, 413, 415 or 422: the request cannot be understood, or is too long.
    #[default]
    Invalid,
    /// 404: there is no such thing.
    NotFound,
    /// 404: an update that should be here is missing.
    Missing,
    /// 409: several fit the name.
    Ambiguous,
    /// 409: some of several updates stand in the way; nothing was changed.
    Undecided,
    /// 409: not in the present state.
    Conflict,
    /// 503: more is asked at once than is answered at once; Retry-After says when to ask again.
    Busy,
    /// 503: whoever asked is gone.
    Unwanted,
    /// 507: the data directory cannot be written.
    ReadOnly,
    /// 503: the server cannot do it in its present form.
    Unavailable,
    /// 500: the server failed.
    Internal,
    /// A code of a newer version.
    #[serde(other)]
    #[schemars(skip)]
    Other,
}

/// An update that a name may mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Its identity.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
    /// Its title.
    pub title: String,
}

/// An update that stands in the way of a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// As it was named, or its identity.
    pub update: String,
    /// Its title, where one update is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Why it cannot be decided.
    pub error: String,
    /// What fits an ambiguous name; empty for everything else.
    #[serde(default)]
    pub candidates: Vec<Candidate>,
}
