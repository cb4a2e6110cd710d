//! What the admin API answers when it cannot do what was asked.
//!
//! **Invariant:** an answer says what to do next and nothing that the asker may not know. It never carries a
//! path of this machine's file system or a token.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use tailwater_api::{Candidate, ErrorAnswer, ErrorCode, ErrorDetail, Failure};

/// A refusal.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No token, or another one.
    #[error("the token is missing or wrong; it is in the file admin-token of the data directory")]
    Unauthorized,
    /// A name that is not this server's.
    #[error("this listener does not answer to that host name; use its address or localhost")]
    ForeignHost,
    /// Another site's page.
    #[error("requests from other sites' pages are refused")]
    ForeignOrigin,
    /// A request that cannot be understood.
    #[error("{field}: {reason}")]
    Invalid {
        /// What is wrong.
        field: &'static str,
        /// Why, and what is expected.
        reason: String,
    },
    /// No such thing.
    #[error("there is no {kind} {name:?}; {next}")]
    NotFound {
        /// `update`, `group`, ….
        kind: &'static str,
        /// As asked.
        name: String,
        /// Where to look.
        next: &'static str,
    },
    /// An update that should be here.
    #[error(
        "update {name} is not here: {reason}. The next synchronisation asks for it again (`tailwater sync`)"
    )]
    Missing {
        /// Its identity.
        name: String,
        /// Why not.
        reason: String,
    },
    /// No such name.
    #[error("there is no {kind} {name:?}; {}{next}", did_you_mean(near.as_deref()))]
    Unknown {
        /// `group`, `product`, ….
        kind: &'static str,
        /// As asked.
        name: String,
        /// The name that is most like it.
        near: Option<String>,
        /// Where to look.
        next: &'static str,
    },
    /// Several fit.
    #[error("{name:?} fits {count} updates; name one by its GUID, or take all of them with --all-matches")]
    Ambiguous {
        /// As asked.
        name: String,
        /// How many fit.
        count: usize,
        /// Some of them: GUID and title.
        candidates: Vec<Candidate>,
    },
    /// Several computers have the name.
    #[error("{count} computers are called {name:?}; name one by its id: {}", ids.join(", "))]
    SameName {
        /// As they are called.
        name: String,
        /// How many.
        count: usize,
        /// Some of them: id and last contact.
        ids: Vec<String>,
    },
    /// Some of several updates stand in the way; nothing was changed.
    #[error("nothing was changed, because {} of {of} updates stand in the way: {}", refused.len(), summary(refused))]
    Undecided {
        /// Each with its name, the reason, and what fits an ambiguous name.
        refused: Vec<Failure>,
        /// Of how many.
        of: usize,
    },
    /// Wrong tokens came from this address too often.
    #[error(
        "too many wrong tokens came from this address; the right one is in the file admin-token of the data directory"
    )]
    TooManyWrongTokens,
    /// More is asked at once than is answered at once.
    #[error("Server busy; retry later.")]
    Busy,
    /// Not now.
    #[error("{reason}")]
    Conflict {
        /// Why not, and when.
        reason: String,
    },
    /// The server cannot do it at all in its present form.
    #[error("{reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// Nothing can be written.
    #[error("nothing was changed, because the data directory cannot be written: {reason}")]
    ReadOnly {
        /// What failed, and why.
        reason: String,
    },
    /// Whoever asked is gone: nobody reads this.
    #[error("nobody waits for the answer any more")]
    Unwanted,
    /// The server failed.
    #[error("the server could not do it: {cause}")]
    Internal {
        /// The error and its causes.
        cause: String,
    },
}

/// The first reasons of a refusal.
fn summary(refused: &[Failure]) -> String {
    let reasons: Vec<&str> = refused.iter().take(3).map(|one| one.error.as_str()).collect();
    format!("{}{}", reasons.join("; "), if refused.len() > reasons.len() { "; …" } else { "" })
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("did you mean {near:?}? ")).unwrap_or_default()
}

/// An error and its causes in one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

impl ApiError {
    /// A failure of a room, with its causes.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        let cause = causes(error);
        tracing::warn!(error = %cause, "an admin request failed");
        Self::Internal { cause }
    }

    /// What fits an ambiguous name.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        match self {
            Self::Ambiguous { candidates, .. } => candidates.clone(),
            _ => Vec::new(),
        }
    }

    fn status_and_code(&self) -> (StatusCode, ErrorCode) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized),
            Self::TooManyWrongTokens => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyWrongTokens),
            Self::ForeignHost => (StatusCode::MISDIRECTED_REQUEST, ErrorCode::ForeignHost),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, ErrorCode::ForeignOrigin),
            Self::Invalid { .. } => (StatusCode::BAD_REQUEST, ErrorCode::Invalid),
            Self::NotFound { .. } | Self::Unknown { .. } => (StatusCode::NOT_FOUND, ErrorCode::NotFound),
            Self::Missing { .. } => (StatusCode::NOT_FOUND, ErrorCode::Missing),
            Self::Ambiguous { .. } | Self::SameName { .. } => (StatusCode::CONFLICT, ErrorCode::Ambiguous),
            Self::Undecided { .. } => (StatusCode::CONFLICT, ErrorCode::Undecided),
            Self::Conflict { .. } => (StatusCode::CONFLICT, ErrorCode::Conflict),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Busy),
            Self::Unwanted => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unwanted),
            Self::ReadOnly { .. } => (StatusCode::INSUFFICIENT_STORAGE, ErrorCode::ReadOnly),
            Self::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
            Self::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let (message, candidates) = (self.to_string(), self.candidates());
        let failed = match self {
            Self::Undecided { refused, .. } => refused,
            _ => Vec::new(),
        };
        let error = ErrorDetail { code, message, candidates, failed };
        let mut answer = (status, Json(ErrorAnswer { error })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = http::HeaderValue::from_static("Bearer realm=\"tailwater\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        let again_after = match code {
            ErrorCode::TooManyWrongTokens => Some("6"),
            ErrorCode::Busy => Some("5"),
            _ => None,
        };
        if let Some(seconds) = again_after {
            answer.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static(seconds));
        }
        answer
    }
}
