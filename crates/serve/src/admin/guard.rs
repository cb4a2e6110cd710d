//! Who may ask the admin listener at all: names it answers to, origins it trusts, headers on every answer.
//!
//! **Invariant:** a page from elsewhere cannot use a visitor's browser against this listener, neither by a
//! name that was pointed at it (DNS rebinding) nor by a form. It never looks at a token.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::ApiError;
use crate::Hosts;
use crate::http::asked_host;

/// Checks `Host`, `Origin` and what browsers say of where a request was made.
fn check(names: &Hosts, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let host = asked_host(uri, headers).unwrap_or_default();
    if !names.knows(host) {
        return Err(ApiError::ForeignHost);
    }
    for origin in headers.get_all(header::ORIGIN) {
        let own = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
        if !own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
            return Err(ApiError::ForeignOrigin);
        }
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    match site {
        Some("cross-site" | "same-site") if !reads => Err(ApiError::ForeignOrigin),
        _ => Ok(()),
    }
}

/// The console needs its own script and style and nothing else; nothing may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Checks a request and puts the security headers on its answer.
pub(super) async fn layer(State(names): State<Hosts>, request: Request, next: Next) -> Response {
    let mut answer = match check(&names, request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = answer.headers_mut();
    let set = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(headers: &[(&'static str, &'static str)]) -> bool {
        let names = Hosts(vec!["branch1".to_owned()]);
        let map = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        check(&names, &Method::POST, &Uri::from_static("/"), &map).is_ok()
    }

    #[test]
    fn only_own_names_and_own_pages_get_through() {
        let own = ["127.0.0.1:8532", "localhost:8532", "[::1]:8532", "Branch1:8532", "10.0.0.5"];
        for host in own {
            assert!(outcome(&[("host", host)]), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8532", "", "[evil]:8532", "localhost.evil:1"] {
            assert!(!outcome(&[("host", host)]), "{host}");
        }
        assert!(outcome(&[("host", "localhost:8532"), ("origin", "http://localhost:8532")]));
        assert!(!outcome(&[("host", "localhost:8532"), ("origin", "http://localhost:9999")]));
        assert!(!outcome(&[("host", "localhost:8532"), ("origin", "null")]));
        assert!(!outcome(&[("host", "localhost:8532"), ("sec-fetch-site", "cross-site")]));
    }
}
