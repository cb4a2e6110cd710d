//! What `fuzz/` reaches of this room: redirects and proxies. **Invariant:** it is never part of the product.

use http::{Response, StatusCode, Uri, header};

use super::config::ProxySetting;
use super::origin::Origin;
use super::proxy::Proxies;

/// Follows a redirect to what the bytes name, and reads them as a proxy and as an environment.
pub fn addresses(data: &[u8]) {
    let from = Uri::from_static("https://updates.example:8531/Content/AA/x.cab?y");
    let answer = Response::builder().status(StatusCode::FOUND).header(header::LOCATION, data).body(());
    if let Some(target) =
        answer.ok().and_then(|answer| super::redirect::redirect(&from, &answer).ok()).flatten()
    {
        let _ = Origin::of(&target).map(|origin| origin.authority());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Proxies::new(&ProxySetting::Url(text.to_owned()), |_| None);
    let lines: Vec<&str> = text.lines().collect();
    let environment = |name: &str| {
        let place = ["http_proxy", "https_proxy", "no_proxy"].iter().position(|known| *known == name)?;
        lines.get(place).map(|line| (*line).to_owned())
    };
    if let (Ok(proxies), Ok(origin)) = (Proxies::new(&ProxySetting::System, environment), Origin::of(&from)) {
        let _ = proxies.of(&origin).map(super::proxy::Proxy::name);
    }
}
