//! The administrator's side: JSON API, console, metrics, health.
//!
//! **Invariant:** everything below `/api/v1` but its own description needs the token; nothing that changes
//! anything answers without it. It never speaks to agents, and agents' listeners never lead here.

mod answering;
mod bandwidth;
mod computers;
mod content;
mod control;
mod cost;
mod decide;
mod downstreams;
mod error;
mod groups;
mod guard;
mod ledger;
mod metrics;
mod names;
mod overview;
mod reload;
mod route;
mod services;
mod shown;
mod store;
mod sync;
mod token;
mod transfers;
mod updates;
mod warnings;

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::{DefaultBodyLimit, Request as AxumRequest, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response as AxumResponse};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use answering::Answering;

use super::{Answer, Hosts, Intake, Peer, Request, Response, operations};

pub use bandwidth::EXCEPTION_KEY;
pub use control::Control;
pub use error::ApiError;
pub use reload::Reload;
use route::{Route, on, on_raw};
pub use services::{About, InForce, Parts, Services};
use tailwater_api as api;
use tailwater_domain::{Limit, joined_limits};
pub use token::{TOKEN_FILE, Token, TokenError};

pub(super) const LIMITS: &[Limit] = joined_limits![
    answering::LIMITS,
    computers::LIMITS,
    content::LIMITS,
    control::LIMITS,
    groups::LIMITS,
    names::LIMITS,
    token::LIMITS,
];

const PAGE: &str = include_str!("console/index.html");
const SCRIPT: &str = include_str!("console/console.js");
const STYLE: &str = include_str!("console/console.css");

/// The admin listener's answers. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    router: Router,
}

/// Each operation of [`api::OPERATIONS`] with what answers it.
fn routes() -> Vec<Route> {
    vec![
        on(api::ReadStatus, overview::status),
        on(api::ReadConfiguration, overview::configuration),
        on(api::Reload, reload::reload),
        on(api::ReadStore, store::show),
        on(api::RotateKeys, store::rotate_keys),
        on(api::ReadSync, sync::show),
        on(api::Synchronise, sync::start),
        on(api::CancelSync, sync::cancel),
        on(api::ListSyncs, sync::history),
        on(api::ListUpdates, updates::list),
        on(api::ReadUpdate, updates::show),
        on(api::ApproveUpdates, decide::approve),
        on(api::UnapproveUpdates, decide::unapprove),
        on(api::DeclineUpdates, decide::decline),
        on(api::UndeclineUpdates, decide::undecline),
        on(api::HoldUpdates, decide::hold),
        on(api::ReleaseUpdates, decide::release),
        on(api::ListRevisions, updates::revisions),
        on(api::ListCategories, overview::categories),
        on(api::ListGroups, groups::list),
        on(api::CreateGroup, groups::create),
        on(api::UpdateGroup, groups::change),
        on(api::DeleteGroup, groups::remove),
        on(api::ListComputers, computers::list),
        on(api::ReadComputer, computers::show),
        on(api::MoveComputer, computers::assign),
        on(api::MoveComputers, computers::assign_all),
        on(api::DeleteComputer, computers::forget),
        on(api::ListServers, downstreams::list),
        on(api::ReadServer, downstreams::show),
        on(api::AllowServer, downstreams::allow),
        on(api::RevokeServer, downstreams::revoke),
        on_raw(api::ReadLedger, ledger::report),
        on(api::ReadContent, content::status),
        on(api::ReadLearned, content::learned),
        on(api::VerifyContent, content::verify),
        on(api::FetchContent, content::fetch),
        on(api::CollectContent, content::collect),
        on(api::ListTransfers, transfers::list),
        on(api::UpdateTransfer, transfers::change),
        on(api::CancelTransfer, transfers::cancel),
        on(api::ReadLink, bandwidth::show),
        on(api::SetLinkRate, bandwidth::set),
        on(api::ResetLinkRate, bandwidth::clear),
    ]
}

impl Site {
    /// The whole site. Without a token (a command that opened the store itself) nothing is asked for.
    ///
    /// Bodies are charged to the intake's memory; what comes from the process itself needs none.
    pub fn new(services: Services, token: Option<Token>, names: Hosts, intake: Option<Intake>) -> Self {
        let answering = middleware::from_fn_with_state(Answering::new(&services.clock), answering::layer);
        let each = routes().into_iter();
        let operations = each.fold(Router::new(), |router, one| router.route(one.path, one.handler));
        let operations = operations
            .fallback(|| async { nothing_here() })
            .layer(DefaultBodyLimit::disable())
            .layer(answering.clone())
            .layer(middleware::from_fn_with_state(intake, take_body))
            .layer(middleware::map_response(readable_refusal))
            .layer(middleware::from_fn_with_state((token, services.clone()), ask_for_token));
        let router = Router::new()
            .nest("/api/v1", operations)
            .route("/api/v1/openapi.json", get(document))
            .route("/", get(|| async { asset(PAGE, "text/html; charset=utf-8") }))
            .route("/console.js", get(|| async { asset(SCRIPT, "text/javascript; charset=utf-8") }))
            .route("/console.css", get(|| async { asset(STYLE, "text/css; charset=utf-8") }))
            .route("/metrics", get(metrics::scrape).layer(answering))
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

/// The API's own description, made once.
async fn document() -> AxumResponse {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(api::document().to_string()));
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone()).into_response()
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

    /// Each operation of the table has a route, and each route is in the table, with its method.
    #[test]
    fn routes_and_operations_are_the_same() {
        let mut routes: Vec<_> = routes().iter().map(|route| (route.path, route.method.as_str())).collect();
        let mut described: Vec<_> =
            api::OPERATIONS.iter().map(|operation| (operation.path, operation.method.as_str())).collect();
        routes.sort_unstable();
        described.sort_unstable();
        assert_eq!(routes, described);
        let document = api::document();
        for (path, method) in routes {
            let described = &document["paths"][format!("/api/v1{path}")][method.to_lowercase()];
            assert!(described["responses"]["200"].is_object(), "{method} {path}");
        }
    }
}
