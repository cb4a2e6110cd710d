//! Where an answer sends a request on to, and what may go there with it. Pure.
//!
//! **Invariant:** a redirect never leads from https to http, and what is sensitive never leaves its server. How many are
//! followed is the client's part.

use http::header::LOCATION;
use http::{HeaderMap, HeaderName, Response, StatusCode, Uri};

use super::origin::Origin;
use crate::LinkError;

/// Removes what authenticates this server where a redirect leads to another server.
pub(super) fn keep_secrets(from: &Uri, to: &Uri, headers: &mut HeaderMap) {
    let origin = |uri: &Uri| (uri.scheme().cloned(), uri.authority().cloned());
    if origin(from) != origin(to) {
        let secrets = headers.iter().filter(|(_, value)| value.is_sensitive());
        let names: Vec<HeaderName> = secrets.map(|(name, _)| name.clone()).collect();
        for name in names {
            headers.remove(name);
        }
    }
}

/// Where a redirect leads; `None` when the answer is no redirect.
pub(super) fn redirect<B>(from: &Uri, response: &Response<B>) -> Result<Option<Uri>, LinkError> {
    let status = response.status();
    let refuse = |why| Origin::of(from).map(|origin| LinkError::Redirect { origin: origin.to_string(), why });
    if !matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    ) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return Err(refuse("without saying where to")?);
    };
    let Some(target) = resolve(from, location) else {
        return Err(refuse("to an address that is not http(s)")?);
    };
    if from.scheme_str() == Some("https") && target.scheme_str() != Some("https") {
        return Err(refuse("from https to http")?);
    }
    Ok(Some(target))
}

/// The address that `location` means when it is met at `base` (RFC 3986 section 5.2.2, without removing dot segments).
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let text = if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        location.to_owned()
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let target: Uri = text.parse().ok()?;
    let web = matches!(target.scheme_str(), Some("http" | "https")) && target.host().is_some();
    web.then_some(target)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn secrets_stay_with_the_server_they_are_for() {
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("tailwater-cookie"), secret),
            (HeaderName::from_static("range"), HeaderValue::from_static("bytes=0-1")),
        ]);
        let here: Uri = "http://a.example:8530/x".parse().unwrap();
        for (to, left) in
            [("http://a.example:8530/y", 2), ("http://a.example/y", 1), ("http://b.example:8530/x", 1)]
        {
            let mut headers = headers.clone();
            keep_secrets(&here, &to.parse().unwrap(), &mut headers);
            assert_eq!(headers.len(), left, "{to}");
            assert!(headers.contains_key("range"));
        }
    }

    #[test]
    fn redirects_lead_where_a_browser_would_go() {
        let base: Uri = "http://a.example:8530/Content/49/X.cab?sig=1".parse().unwrap();
        let table = [
            ("https://b.example/x", Some("https://b.example/x")),
            ("/y?z#f", Some("http://a.example:8530/y?z")),
            ("Y.cab", Some("http://a.example:8530/Content/49/Y.cab")),
            ("//c.example/x", Some("http://c.example/x")),
            ("ftp://d.example/x", None),
            ("file:///etc/passwd", None),
            ("javascript:1", None),
        ];
        for (location, target) in table {
            assert_eq!(resolve(&base, location).map(|uri| uri.to_string()).as_deref(), target, "{location}");
        }
    }
}
