//! `GetRevisionIdList`, and the operations beside it that list nothing ([MS-WSUSSS] 3.1.4.5, 3.1.4.7 to 3.1.4.9).
//!
//! Servers of one kind ask with one filter, so a list is made once and remembered as it goes out.
//!
//! **Invariant:** what is remembered is asked for under its filter and its snapshot only. A list never depends on who
//! asks.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::config::tag_of;
use super::service::{Asked, Service};
use crate::Response;
use crate::fault::Refusal;
use crate::soap::{Exchange, Joined};
use tailwater_catalog::{ListQuery, Listed, Snapshot};
use tailwater_domain::UpdateId;
use tailwater_wire::server_sync::IdAndDelta;
use tailwater_wire::server_sync::served::{self, FilterRequest};
use tailwater_wire::xpress;

/// A filter that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filter {
    config: bool,
    since: u64,
    products: Vec<Listed<UpdateId>>,
    classifications: Vec<Listed<UpdateId>>,
    languages: Option<Vec<Listed<String>>>,
}

impl Filter {
    /// `since` is what the anchor says.
    fn of(request: &FilterRequest, config: bool, since: Option<u64>) -> Self {
        // without an anchor everything is new, and Delta has nothing to say
        let whole = |delta: bool| since.is_some() && !delta;
        let ids = |list: &[IdAndDelta]| -> Vec<Listed<UpdateId>> {
            if config {
                return Vec::new();
            }
            let mut ids: Vec<_> = list.iter().map(|entry| (entry.id, whole(entry.delta))).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        // number 0 is all languages; one that nobody knows fits what is made for all
        let every = config || request.languages.is_empty() || request.languages.iter().any(|it| it.id == 0);
        let languages = (!every).then(|| {
            let tag = |id: i32| tag_of(id).map_or_else(|| id.to_string(), str::to_owned);
            let mut tags: Vec<_> =
                request.languages.iter().map(|entry| (tag(entry.id), whole(entry.delta))).collect();
            tags.sort_unstable();
            tags.dedup();
            tags
        });
        Self {
            config,
            since: since.unwrap_or(0),
            products: ids(&request.categories),
            classifications: ids(&request.classifications),
            languages,
        }
    }

    /// What tells one list from another.
    fn key(&self, snapshot: &Snapshot, coded: bool) -> blake3::Hash {
        let mut key = blake3::Hasher::new();
        key.update(&snapshot.sequence().to_le_bytes()).update(&self.since.to_le_bytes());
        key.update(&[u8::from(self.config), u8::from(coded), u8::from(self.languages.is_some())]);
        for list in [&self.products, &self.classifications] {
            key.update(&(list.len() as u64).to_le_bytes());
            for (id, whole) in list {
                key.update(id.0.as_bytes()).update(&[u8::from(*whole)]);
            }
        }
        for (tag, whole) in self.languages.iter().flatten() {
            key.update(tag.as_bytes()).update(&[0, u8::from(*whole)]);
        }
        key.finalize()
    }

    fn list(&self, snapshot: &Snapshot) -> String {
        let revisions = if self.config {
            snapshot.list_categories(self.since)
        } else {
            snapshot.list_updates(&ListQuery {
                since: self.since,
                products: &self.products,
                classifications: &self.classifications,
                languages: self.languages.as_deref(),
            })
        };
        served::revision_ids_rest(&revisions)
    }
}

pub(super) fn coded(text: String, xpress: bool) -> Bytes {
    if xpress { xpress::encode(text.as_bytes()).into() } else { text.into() }
}

impl Service {
    /// [MS-WSUSSS] 3.1.4.5
    pub(super) async fn get_revision_ids(
        &self,
        exchange: &Exchange,
        asked: &mut Asked<'_>,
    ) -> Result<Response, Refusal> {
        let request = served::revision_ids_request(asked.decoder)?;
        let claims = self.admitted(request.cookie.as_deref(), &asked.proof)?;
        let wanted = request.filter.ok_or(Refusal::Parameter("filter"))?;
        let config = wanted.get_config.ok_or(Refusal::Parameter("filter"))?;
        let snapshot = self.0.catalog.snapshot();
        let change = snapshot.change_number();
        let anchor = wanted.anchor.as_deref().map(|text| self.read_anchor(text, change, "filter"));
        let since = anchor.transpose()?.map(|anchor| anchor.change);
        let filter = Filter::of(&wanted, config, since);
        let (key, xpress) = (filter.key(&snapshot, exchange.xpress), exchange.xpress);
        let closing = exchange.closing();
        let make = move || Ok(coded(filter.list(&snapshot) + closing, xpress));
        let list = self.0.lists.get(&key, asked.asker(&claims.server), make).await?;
        let head = exchange.opening() + &served::revision_ids_head(&self.anchor(change));
        let body = Joined::new([coded(head, exchange.xpress), list]).boxed_unsync();
        let answer = exchange.with_body(StatusCode::OK, body, exchange.xpress);
        let told = (!config).then_some(change);
        let service = self.clone();
        let count = move || {
            service.count(&claims.server, &answer, told);
            answer
        };
        Ok(tokio::task::spawn_blocking(count).await?)
    }

    /// [MS-WSUSSS] 3.1.4.7. Like WSUS this server takes no hardware identities: its downstream servers get drivers by
    /// category.
    pub(super) fn get_driver_ids(&self, asked: &mut Asked<'_>) -> Result<String, Refusal> {
        let request = served::driver_ids_request(asked.decoder)?;
        self.admitted(request.cookie.as_deref(), &asked.proof)?;
        if !request.has_filter {
            return Err(Refusal::Parameter("filter"));
        }
        let change = self.0.catalog.snapshot().change_number();
        request.anchor.map(|text| self.read_anchor(&text, change, "filter")).transpose()?;
        if request.computer_ids > 0 {
            return Err(Refusal::Parameter("ComputerIds"));
        }
        if request.hardware_ids > 0 {
            return Err(Refusal::Parameter("PnpHardwareIds"));
        }
        Ok(served::driver_ids_answer(&self.anchor(change)))
    }

    /// [MS-WSUSSS] 3.1.4.8. There are no driver sets, so none may be asked for.
    pub(super) fn get_driver_sets(&self, asked: &mut Asked<'_>) -> Result<String, Refusal> {
        let request = served::driver_sets_request(asked.decoder)?;
        self.admitted(request.cookie.as_deref(), &asked.proof)?;
        match request.sets {
            Some(0) => Ok(served::driver_sets_answer()),
            _ => Err(Refusal::Parameter("driverSets")),
        }
    }

    /// [MS-WSUSSS] 3.1.4.9: not used by the protocol, so nothing is related to anything.
    pub(super) fn get_related_revisions(&self, asked: &mut Asked<'_>) -> Result<String, Refusal> {
        let cookie = served::related_revisions_request(asked.decoder)?;
        self.admitted(cookie.as_deref(), &asked.proof)?;
        Ok(served::related_revisions_answer())
    }
}
