//! Operations become routes: what goes in is read by the types of the operation, what comes out is written by them.
//!
//! **Invariant:** a handler fits its operation or does not compile. Nothing of a request is read but what the operation
//! takes.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest as _, FromRequestParts as _, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on as on_method};
use bytes::Bytes;
use http::header;
use serde::Serialize;

use super::error::ApiError;
use super::services::{Result, Services, blocking};
use tailwater_api::{Endpoint, Input as _, Method};

/// What was asked of an operation.
pub(super) struct Call<E: Endpoint> {
    /// The name in the path; empty where the path has none.
    pub(super) name: String,
    /// The query.
    pub(super) query: E::Query,
    /// The body.
    pub(super) body: E::Body,
}

impl<E: Endpoint> Call<E> {
    async fn of(request: Request) -> std::result::Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let name = if E::PATH.contains('{') {
            Path::from_request_parts(&mut parts, &()).await.map_err(IntoResponse::into_response)?.0
        } else {
            String::new()
        };
        let query = if let Some(nothing) = E::Query::EMPTY {
            nothing
        } else {
            Query::from_request_parts(&mut parts, &()).await.map_err(IntoResponse::into_response)?.0
        };
        let body = if let Some(nothing) = E::Body::EMPTY {
            nothing
        } else {
            let request = http::Request::from_parts(parts, Body::new(body));
            Json::from_request(request, &()).await.map_err(IntoResponse::into_response)?.0
        };
        Ok(Self { name, query, body })
    }
}

/// An operation with its handler.
pub(super) struct Route {
    /// How it is asked for; the handler knows it by itself.
    #[cfg(test)]
    pub(super) method: Method,
    /// Where it lies below `/api/v1`.
    pub(super) path: &'static str,
    /// What answers.
    pub(super) handler: MethodRouter<Services>,
}

/// The route of an operation whose answer is JSON.
pub(super) fn on<E, H, F>(operation: E, handler: H) -> Route
where
    E: Endpoint,
    H: Fn(Services, Call<E>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<E::Answer>> + Send,
{
    on_raw(operation, move |services, call| {
        let answer = handler(services, call);
        async move {
            let answer = answer.await?;
            // a long list takes milliseconds, for which steps of scans would wait
            blocking(move || written(&answer)).await
        }
    })
}

/// An answer as JSON, in memory of exactly its length: as much it is charged until it is taken.
fn written(answer: &impl Serialize) -> Result<Response> {
    let text = serde_json::to_vec(answer).map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], Bytes::copy_from_slice(&text)).into_response())
}

/// The route of an operation that also answers in another form.
pub(super) fn on_raw<E, H, F>(_: E, handler: H) -> Route
where
    E: Endpoint,
    H: Fn(Services, Call<E>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response>> + Send,
{
    let filter = match E::METHOD {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    };
    let answer = move |State(services): State<Services>, request: Request| async move {
        let call = match Call::<E>::of(request).await {
            Ok(call) => call,
            Err(refused) => return refused,
        };
        handler(services, call).await.unwrap_or_else(ApiError::into_response)
    };
    Route {
        #[cfg(test)]
        method: E::METHOD,
        path: E::PATH,
        handler: on_method(filter, answer),
    }
}
