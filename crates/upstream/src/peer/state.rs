//! Whether the upstream is a tailwater: asked once, remembered for a bounded time.
//!
//! **Invariant:** an upstream that is none is asked again only after [`ASK_AGAIN`], whatever happens between; one that
//! behaved strangely is let alone longer each time. It never keeps what belongs to another address.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::{Deserialize, Serialize};

use tailwater_bandwidth::LinkClient;
use tailwater_catalog::{Catalog, CatalogError};
use tailwater_domain::{Class, Limit, limits};
use tailwater_wire::peer::{BASE, Hello, MAX_HELLO};

const KEY: &str = "upstream.peer";
/// After how long an upstream that is no tailwater may have become one.
const ASK_AGAIN: Duration = Duration::from_hours(24);
/// For how long one that behaved strangely is not used; doubles each time, up to [`ASK_AGAIN`].
const STRANGE: Duration = Duration::from_mins(15);
/// How long the answer may take: it is a few dozen bytes.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const LIMITS: &[Limit] = limits![
    PATIENCE: "The time for the greeting of a tailwater" => "it counts as another kind of server",
];

// not a limit: ASK_AGAIN, STRANGE: when an upstream is greeted again

/// What is known of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerState {
    url: String,
    /// What it said, if it is a tailwater.
    hello: Option<Hello>,
    /// When it was asked, or behaved strangely, in seconds since 1970.
    at: i64,
    /// How often it behaved strangely without a good synchronisation in between.
    strange: u32,
}

impl PeerState {
    /// What is remembered of `url`; nothing of another one.
    pub(crate) fn load(catalog: &Catalog, url: &str) -> Result<Self, CatalogError> {
        let kept: Option<Self> = catalog.json(KEY)?;
        let fresh = Self { url: url.to_owned(), ..Self::default() };
        Ok(kept.filter(|kept| kept.url == url).unwrap_or(fresh))
    }

    /// Remembers it.
    pub(crate) fn save(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        catalog.set_json(KEY, self)
    }

    fn rest(&self) -> Duration {
        match self.strange {
            0 => ASK_AGAIN,
            times => STRANGE.saturating_mul(1 << (times - 1).min(10)).min(ASK_AGAIN),
        }
    }

    fn is_resting(&self, now: i64) -> bool {
        let rest = i64::try_from(self.rest().as_secs()).unwrap_or(i64::MAX);
        (0..rest).contains(&(now - self.at))
    }

    /// What it said of itself, when it may be asked as a tailwater now.
    pub(crate) fn known(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Whether it should be asked who it is.
    pub(crate) fn is_due(&self, now: i64) -> bool {
        self.hello.is_none() && !self.is_resting(now)
    }

    /// It behaved strangely.
    pub(crate) fn was_strange(&mut self, now: i64) {
        (self.at, self.strange) = (now, self.strange.saturating_add(1));
        // a server of another kind may stand there now
        self.hello = None;
    }

    /// A synchronisation went well. True when that is news.
    pub(crate) fn went_well(&mut self) -> bool {
        std::mem::take(&mut self.strange) != 0
    }

    /// Asks it who it is. A link that broke is no answer: it is asked again sooner.
    pub(crate) async fn ask(&mut self, link: &LinkClient, now: i64) {
        let mut request = Request::new(Full::<Bytes>::default());
        let Ok(uri) = format!("{}{BASE}/", self.url).parse() else { return };
        (*request.method_mut(), *request.uri_mut()) = (Method::GET, uri);
        let asked = async {
            let response = link.send(request, Class::Metadata).await.ok()?;
            let found = response.status().is_success();
            let body = Limited::new(response.into_body(), MAX_HELLO).collect().await;
            Some(body.ok().filter(|_| found).and_then(|body| Hello::decode(&body.to_bytes()).ok()))
        };
        let Ok(Some(hello)) = tokio::time::timeout(PATIENCE, asked).await else {
            self.was_strange(now);
            return;
        };
        if hello.is_none() {
            self.strange = 0;
        }
        (self.hello, self.at) = (hello, now);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const DAY: i64 = 24 * 3600;

    #[test]
    fn the_negative_answer_is_remembered_for_a_day() {
        let mut upstream = PeerState { at: 0, ..PeerState::default() };
        assert!(upstream.is_due(DAY));
        upstream.at = DAY;
        assert!(!upstream.is_due(DAY + 60) && upstream.known().is_none());
        assert!(upstream.is_due(2 * DAY));
    }

    #[test]
    fn a_strange_one_is_let_alone_longer_each_time() {
        let hello = Hello::new(Uuid::from_u128(1));
        let mut upstream = PeerState { hello: Some(hello.clone()), ..PeerState::default() };
        assert_eq!(upstream.known(), Some(&hello));
        upstream.was_strange(1_000);
        assert!(upstream.known().is_none() && !upstream.is_due(1_001) && upstream.is_due(1_000 + 900));
        upstream.was_strange(2_000);
        assert!(!upstream.is_due(2_000 + 900) && upstream.is_due(2_000 + 1_800));
        for _ in 0..40 {
            upstream.was_strange(2_000);
        }
        assert!(!upstream.is_due(2_000 + DAY - 1) && upstream.is_due(2_000 + DAY));
        assert!(upstream.went_well() && !upstream.went_well());
    }
}
