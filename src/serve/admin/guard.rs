//! Who may ask the admin listener at all: names it answers to, origins it trusts, headers on every answer.
//!
//! **Invariant:** a page from elsewhere cannot use a visitor's browser against this listener, neither by a
//! name that was pointed at it (DNS rebinding) nor by a form. It never looks at a token.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::ApiError;

/// Names besides addresses and `localhost` that the listener answers to.
#[derive(Debug, Clone, Default)]
pub struct Names(pub Vec<String>);

impl Names {
    /// Whether a `Host` is ours. Addresses always are: a browser's rebinding attack needs a name.
    fn knows(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => return address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.parse::<std::net::IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Checks `Host`, `Origin` and what browsers say of where a request was made.
    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !self.knows(host) {
            return Err(ApiError::ForeignHost);
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let own = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
            if !own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
                return Err(ApiError::ForeignOrigin);
            }
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let site = text(HeaderName::from_static("sec-fetch-site"));
        match site {
            Some("cross-site" | "same-site") if !reads => Err(ApiError::ForeignOrigin),
            _ => Ok(()),
        }
    }
}

/// The console needs its own script and style and nothing else; nothing may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Checks a request and puts the security headers on its answer.
pub(super) async fn layer(State(names): State<Names>, request: Request, next: Next) -> Response {
    let mut answer = match names.check(request.method(), request.headers()) {
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
        let names = Names(vec!["branch1".to_owned()]);
        let map = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        names.check(&Method::POST, &map).is_ok()
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
