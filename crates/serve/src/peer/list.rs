//! Lists: which revisions a child may select that it was not told of before, page by page.
//!
//! **Invariant:** a page never names more than [`MOST_ENTRIES`], and a child that asks again from the last number it
//! was given misses nothing and is told nothing twice. It selects what `GetRevisionIdList` selects.

use super::changes::numbers;
use super::refusal::{Refused, message};
use super::service::Service;
use crate::http::Response;
use tailwater_catalog::{Catalog, ListQuery, Listed, Place, Snapshot};
use tailwater_domain::{Limit, RevisionId, UpdateId, UpdateIdentity, limits};
use tailwater_runtime::Asker;
use tailwater_wire::peer::{List, ListEntry, MOST_ENTRIES, MOST_WITHDRAWN, Numbers, Question, squeeze};
use tailwater_wire::server_sync::IdAndDelta;

/// Documents that a list proposes to compress against.
const MOST_KIN: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_KIN in "documents": "Documents proposed to compress against" => "they are not proposed",
];

impl Service {
    pub(super) async fn list(&self, asker: Asker, body: &[u8]) -> Result<Response, Refused> {
        let mut question = Question::decode(body)?;
        let _making = self.0.work.listing.take(asker).await?;
        let gave = |change, mark| self.0.catalog.gave(&Place { change, mark });
        let another = question.server.is_some_and(|server| server != self.0.server.0);
        // numbers of another server mean nothing here, nor those of another branch of this one's store
        if another || question.since > 0 && !gave(question.since, question.since_mark) {
            (question.since, question.after) = (0, 0);
        }
        if let Some(known) = question.decisions.filter(|known| *known > 0)
            && (another || !gave(known, question.decisions_mark))
        {
            question.decisions = Some(0);
        }
        let catalog = self.0.catalog.clone();
        let server = self.0.server.0;
        let list = tokio::task::spawn_blocking(move || {
            let snapshot = catalog.snapshot();
            let mut selected = select(&snapshot, &question);
            selected.retain(|entry| entry.number > question.after);
            let more = selected.len() > MOST_ENTRIES;
            selected.truncate(MOST_ENTRIES);
            let listed: Vec<RevisionId> = selected.iter().map(|entry| RevisionId(entry.number)).collect();
            let kin = snapshot.kin(&listed, question.since, question.after, MOST_KIN);
            let numbers = numbers(&catalog, &snapshot);
            let decisions = match question.decisions {
                Some(known) if known != numbers.decisions => Some(decisions(&catalog, known, numbers)?),
                _ => None,
            };
            let withdrawn = match question.after {
                0 if question.config => snapshot.withdrawn_after(question.since, MOST_WITHDRAWN),
                _ => Vec::new(),
            };
            Ok::<_, Refused>(List { withdrawn, server, numbers, entries: selected, more, kin, decisions })
        });
        Ok(message(list.await??.encode()))
    }
}

/// What was decided after the change number `known`, or all of it when that is too long ago.
fn decisions(catalog: &Catalog, known: u64, numbers: Numbers) -> Result<Vec<u8>, Refused> {
    let since = if known > numbers.decisions { 0 } else { known };
    let set = match catalog.export_decisions(since, numbers.decisions)? {
        None => catalog.export_decisions(0, numbers.decisions)?,
        changed => changed,
    };
    Ok(squeeze(&set.unwrap_or_default())?)
}

/// What a question selects, by number.
fn select(snapshot: &Snapshot, question: &Question) -> Vec<ListEntry> {
    let entry = |(id, identity): (RevisionId, UpdateIdentity)| ListEntry { number: id.0, identity };
    if !question.named.is_empty() {
        let newest = question.named.iter().filter_map(|update| {
            let id = snapshot.latest(update)?;
            Some((id, snapshot.revision(id)?.identity))
        });
        let mut found: Vec<ListEntry> = newest.map(entry).collect();
        found.sort_unstable();
        found.dedup();
        return found;
    }
    let listed = if question.config {
        snapshot.list_categories(question.since)
    } else {
        // without a number everything is new, and Delta has nothing to say
        let whole = |delta: bool| question.since > 0 && !delta;
        let ids = |list: &[IdAndDelta]| -> Vec<Listed<UpdateId>> {
            list.iter().map(|entry| (entry.id, whole(entry.delta))).collect()
        };
        let (products, classifications) = (ids(&question.products), ids(&question.classifications));
        let languages: Vec<Listed<String>> =
            question.languages.iter().map(|(tag, delta)| (tag.clone(), whole(*delta))).collect();
        snapshot.list_updates(&ListQuery {
            since: question.since,
            products: &products,
            classifications: &classifications,
            languages: (!languages.is_empty()).then_some(&languages[..]),
        })
    };
    let numbered = listed.into_iter().filter_map(|identity| Some((snapshot.find(&identity)?, identity)));
    let mut found: Vec<ListEntry> = numbered.map(entry).collect();
    found.sort_unstable();
    found
}
