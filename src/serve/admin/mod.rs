//! The administrator's side: JSON API, console, metrics, health.
//!
//! **Invariant:** everything below `/api/v1` but its own description needs the token; nothing that changes
//! anything answers without it. It never speaks to agents, and agents' listeners never lead here.

mod api;
mod bandwidth;
mod content;
mod cost;
mod decide;
mod downstreams;
mod error;
mod groups;
mod guard;
mod ledger;
mod metrics;
mod names;
mod openapi;
mod overview;
mod page;
mod reload;
mod store;
mod sync;
mod token;
mod tree;
mod updates;
mod warnings;

use axum::body::Body as AxumBody;
use axum::extract::{DefaultBodyLimit, Request as AxumRequest, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response as AxumResponse};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::{Answer, Hosts, Intake, Peer, Request, Response, operations};

use crate::domain::{Limit, joined_limits};
pub use api::{About, InForce, Parts, Services};
pub use bandwidth::EXCEPTION_KEY;
pub use error::ApiError;
pub use reload::{Reload, Reloaded};
pub use sync::Control;
pub use token::{TOKEN_FILE, Token, TokenError};

pub(super) const LIMITS: &[Limit] = joined_limits![
    content::LIMITS,
    groups::LIMITS,
    names::LIMITS,
    page::LIMITS,
    sync::LIMITS,
    token::LIMITS,
    tree::LIMITS,
];

const PAGE: &str = include_str!("console/index.html");
const SCRIPT: &str = include_str!("console/console.js");
const STYLE: &str = include_str!("console/console.css");

/// The admin listener's answers. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    router: Router,
}

/// The handler of an operation of [`openapi::OPERATIONS`].
fn handler(method: &str, path: &str) -> Option<MethodRouter<Services>> {
    Some(match (method, path) {
        ("get", "/status") => get(overview::status),
        ("get", "/configuration") => get(overview::configuration),
        ("post", "/reload") => post(reload::reload),
        ("get", "/store") => get(store::show),
        ("post", "/store/rotate-keys") => post(store::rotate_keys),
        ("get", "/sync") => get(sync::show),
        ("post", "/sync") => post(sync::start),
        ("delete", "/sync") => delete(sync::cancel),
        ("get", "/sync/history") => get(sync::history),
        ("get", "/updates") => get(updates::list),
        ("get", "/updates/{update}") => get(updates::show),
        ("post", "/updates/approve") => post(decide::approve),
        ("post", "/updates/unapprove") => post(decide::unapprove),
        ("post", "/updates/decline") => post(decide::decline),
        ("post", "/updates/undecline") => post(decide::undecline),
        ("post", "/updates/hold") => post(decide::hold),
        ("post", "/updates/release") => post(decide::release),
        ("get", "/revisions") => get(updates::revisions),
        ("get", "/categories") => get(overview::categories),
        ("get", "/groups") => get(tree::list),
        ("post", "/groups") => post(tree::create),
        ("patch", "/groups/{group}") => patch(tree::change),
        ("delete", "/groups/{group}") => delete(tree::remove),
        ("get", "/computers") => get(groups::computers),
        ("get", "/computers/{computer}") => get(groups::computer),
        ("put", "/computers/{computer}/group") => put(groups::assign),
        ("post", "/computers/move") => post(groups::assign_all),
        ("delete", "/computers/{computer}") => delete(groups::forget),
        ("get", "/downstreams") => get(downstreams::list),
        ("get", "/downstreams/{server}") => get(downstreams::show),
        ("post", "/downstreams/allow") => post(downstreams::allow),
        ("post", "/downstreams/revoke") => post(downstreams::revoke),
        ("get", "/bandwidth/ledger") => get(ledger::report),
        ("get", "/content") => get(content::status),
        ("get", "/content/learned") => get(content::learned),
        ("post", "/content/verify") => post(content::verify),
        ("post", "/content/fetch") => post(content::fetch),
        ("post", "/content/collect") => post(content::collect),
        ("get", "/transfers") => get(content::transfers),
        ("put", "/transfers/{sha1}") => put(content::order),
        ("delete", "/transfers/{sha1}") => delete(content::cancel),
        ("get", "/bandwidth") => get(bandwidth::show),
        ("put", "/bandwidth") => put(bandwidth::set),
        ("delete", "/bandwidth") => delete(bandwidth::clear),
        _ => return None,
    })
}

impl Site {
    /// The whole site. Without a token (a command that opened the store itself) nothing is asked for.
    ///
    /// Bodies are charged to the intake's memory; what comes from the process itself needs none.
    pub fn new(services: Services, token: Option<Token>, names: Hosts, intake: Option<Intake>) -> Self {
        let mut api = Router::new();
        for operation in openapi::OPERATIONS {
            if let Some(handler) = handler(operation.method, operation.path) {
                api = api.route(operation.path, handler);
            }
        }
        let api = api
            .fallback(|| async { nothing_here() })
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(intake, take_body))
            .layer(middleware::map_response(readable_refusal))
            .layer(middleware::from_fn_with_state((token, services.clone()), ask_for_token));
        let router = Router::new()
            .nest("/api/v1", api)
            .route("/api/v1/openapi.json", get(|| async { Json(openapi::document()) }))
            .route("/", get(|| async { asset(PAGE, "text/html; charset=utf-8") }))
            .route("/console.js", get(|| async { asset(SCRIPT, "text/javascript; charset=utf-8") }))
            .route("/console.css", get(|| async { asset(STYLE, "text/css; charset=utf-8") }))
            .route("/metrics", get(metrics::scrape))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .layer(middleware::from_fn_with_state(names, guard::layer))
            .with_state(services);
        Self { router }
    }

    /// Answers one request, whatever it came over.
    pub async fn call(&self, request: http::Request<AxumBody>) -> AxumResponse {
        match self.router.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}

impl Answer for Site {
    async fn answer(&self, mut request: Request, from: Peer) -> Response {
        request.extensions_mut().insert(from);
        let answer = self.call(request.map(AxumBody::new)).await;
        answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync())
    }
}

async fn ask_for_token(
    State((token, services)): State<(Option<Token>, Services)>,
    request: AxumRequest,
    next: Next,
) -> AxumResponse {
    let shown = request.headers().get(header::AUTHORIZATION);
    if token.is_none_or(|token| token.allows(shown)) {
        return next.run(request).await;
    }
    if shown.is_none() {
        return ApiError::Unauthorized.into_response();
    }
    let from = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
    match services.wrong_tokens().shown(from).await {
        token::Told::Wrong => ApiError::Unauthorized.into_response(),
        token::Told::TooOften => ApiError::TooManyWrongTokens.into_response(),
    }
}

/// Takes a request's body in, by the limit of its operation; who has no token was refused before.
async fn take_body(State(intake): State<Option<Intake>>, request: AxumRequest, next: Next) -> AxumResponse {
    let (Some(intake), Some(from)) = (intake, request.extensions().get::<Peer>().copied()) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let limit = operations::of_api(path.strip_prefix("/api/v1").unwrap_or(path));
    match intake.take(from.address.ip(), body, limit).await {
        Ok(taken) => {
            // held until the answer is made
            let (bytes, _held) = taken.into_parts();
            next.run(AxumRequest::from_parts(parts, AxumBody::from(bytes))).await
        }
        Err(misdirected) => {
            let answer = misdirected.answer();
            let (parts, _text) = answer.into_parts();
            let mut refused =
                ApiError::Invalid { field: "request", reason: misdirected.to_string() }.into_response();
            *refused.status_mut() = parts.status;
            refused.headers_mut().extend(parts.headers.into_iter().filter(|(name, _)| {
                name.as_ref().is_some_and(|name| name == header::CONNECTION || name == header::RETRY_AFTER)
            }));
            refused
        }
    }
}

/// Refusals of the framework (a body that is no JSON, a method that is not there) in the API's own form.
async fn readable_refusal(answer: AxumResponse) -> AxumResponse {
    let status = answer.status();
    let is_json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_json || !status.is_client_error() {
        return answer;
    }
    let text = match answer.into_body().collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).chars().take(300).collect(),
        Err(_gone) => String::new(),
    };
    let reason =
        if text.is_empty() { status.canonical_reason().unwrap_or("refused").to_owned() } else { text };
    let mut refused = ApiError::Invalid { field: "request", reason }.into_response();
    *refused.status_mut() = status;
    refused
}

fn nothing_here() -> ApiError {
    ApiError::NotFound { kind: "operation", name: String::new(), next: "/api/v1/openapi.json lists them" }
}

fn asset(text: &'static str, kind: &'static str) -> AxumResponse {
    let mut answer = text.into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

async fn ready(State(services): State<Services>) -> AxumResponse {
    if services.is_ready() {
        // agents are served, whatever the disk takes
        match services.disk.report() {
            None => "ready\n".into_response(),
            Some(report) => format!("{}; agents are served\n", report.line()).into_response(),
        }
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_that_is_described_exists() {
        for operation in openapi::OPERATIONS {
            assert!(
                handler(operation.method, operation.path).is_some(),
                "{} {}",
                operation.method,
                operation.path
            );
        }
        let document = openapi::document();
        assert_eq!(document["paths"]["/api/v1/updates/approve"]["post"]["requestBody"]["required"], true);
    }
}
