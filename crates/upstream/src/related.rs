//! What the lists leave out: children of bundles, and prerequisites outside the selection.
//!
//! Invariant: it ends, however deep bundles lie in bundles, and a prerequisite that the upstream lacks is not
//! looked for with every synchronisation. It never asks twice for what was missing already.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::blocking::blocking;
use super::error::SyncError;
use super::fetch::Fetcher;
use super::ingest::Related;
use super::peer::PeerError;
use super::run::Run;
use super::session::SessionError;
use tailwater_catalog::Staging;
use tailwater_domain::{Limit, UpdateId, UpdateIdentity, limits};
use tailwater_wire::server_sync::Filter;

/// Bundles within bundles, and prerequisites of what was pulled in.
const MOST_LEVELS: usize = 16;
/// Prerequisites that the upstream did not have are looked for again after this.
const LOOK_UP_AGAIN: Duration = Duration::from_hours(7 * 24);

pub(super) const LIMITS: &[Limit] = limits![
    MOST_LEVELS in "levels": "Bundles within bundles, and prerequisites of what was pulled in" => "what lies deeper is not pulled in",
];

impl Run {
    /// Pulls in what bundles and prerequisites name and the lists left out.
    pub(super) async fn related(
        &mut self,
        fetcher: &Fetcher,
        mut related: Related,
        unfiltered: bool,
    ) -> Result<(), SessionError> {
        let staging = self.staging();
        let staged = blocking(move || stored_relations(&staging)).await?.map_err(SyncError::Catalog)?;
        related.merge(staged);
        related.merge(self.named().await?);
        for _ in 0..MOST_LEVELS {
            let children: Vec<UpdateIdentity> = related.children.iter().copied().collect();
            let mut next = self.retry(fetcher, children).await?;
            next.prerequisites.append(&mut related.prerequisites);
            related = next;
            if related.children.is_empty() {
                let prerequisites = std::mem::take(&mut related.prerequisites);
                related = self.prerequisites(fetcher, prerequisites, unfiltered).await?;
            }
            if related.children.is_empty() && related.prerequisites.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Looks for prerequisites that no list named.
    async fn prerequisites(
        &mut self,
        fetcher: &Fetcher,
        needed: BTreeSet<UpdateId>,
        unfiltered: bool,
    ) -> Result<Related, SessionError> {
        if needed.is_empty() {
            return Ok(Related::default());
        }
        let staging = self.staging();
        let mut absent = blocking(move || {
            let known: HashSet<UpdateId> = staging
                .active()
                .into_iter()
                .chain(staging.staged())
                .map(|identity| identity.update)
                .collect();
            needed.into_iter().filter(|id| !known.contains(id)).collect::<BTreeSet<_>>()
        })
        .await?;
        self.note_absent_prerequisites(absent.len());
        let now = self.now().as_second();
        // looked up in the future: by a clock that was ahead
        let again = i64::try_from(LOOK_UP_AGAIN.as_secs()).unwrap_or(i64::MAX);
        let recent = (0..again).contains(&(now - self.state().looked_up_at()));
        if recent {
            let state = self.state();
            absent.retain(|id| !state.is_absent(id));
        }
        // without a filter the lists were whole
        if absent.is_empty() || unfiltered {
            return Ok(Related::default());
        }
        tracing::info!(count = absent.len(), "looking for prerequisites that the selection left out");
        let found = self.newest(&absent).await?;
        absent.retain(|id| !found.contains_key(id));
        self.note_absent_prerequisites(absent.len());
        self.state_mut().note_absent(absent, (!recent).then_some(now));
        let wanted: Vec<UpdateIdentity> = found.into_values().collect();
        self.fetch(fetcher, &wanted, true).await
    }

    /// The newest revisions of updates, as far as the upstream has them.
    async fn newest(
        &self,
        updates: &BTreeSet<UpdateId>,
    ) -> Result<BTreeMap<UpdateId, UpdateIdentity>, SessionError> {
        let mut found: BTreeMap<UpdateId, UpdateIdentity> = BTreeMap::new();
        let mut note = |identity: UpdateIdentity| {
            let newest = found.entry(identity.update).or_insert(identity);
            *newest = (*newest).max(identity);
        };
        if let Some(peer) = self.peer().filter(|peer| peer.is_good()) {
            let named: Vec<UpdateId> = updates.iter().copied().collect();
            match peer.newest(&named).await {
                Ok(newest) => {
                    newest.into_iter().for_each(note);
                    return Ok(found);
                }
                Err(PeerError::Failed(error)) => return Err(error),
                Err(PeerError::Strange(reason)) => peer.distrust(&reason),
            }
        }
        // over MS-WSUSSS revision numbers are only in the whole list
        for get_config in [true, false] {
            let list = self.list(Filter { get_config, ..Filter::default() }).await?;
            list.revisions
                .into_iter()
                .filter(|identity| updates.contains(&identity.update))
                .for_each(&mut note);
        }
        Ok(found)
    }
}

/// What everything needs that an earlier attempt staged.
fn stored_relations(staging: &Staging) -> Result<Related, tailwater_catalog::CatalogError> {
    let mut related = Related::default();
    for identity in staging.staged() {
        if let Some(stored) = staging.facts(&identity)? {
            related.add(&stored.facts);
        }
    }
    Ok(related)
}
