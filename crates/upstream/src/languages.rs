//! Languages that a site wants by now, for what it held before.
//!
//! **Invariant:** what has a language, or can have none of it upstream, is not asked for again; what was stored again
//! stays so, whatever stopped the process. A language that the upstream does not keep is waited for, not given up. It
//! never removes a language.

use std::collections::BTreeSet;

use super::blocking::blocking;
use super::error::SyncError;
use super::fetch::Fetcher;
use super::report::Phase;
use super::run::{Run, batch};
use super::session::SessionError;
use super::state::SyncState;
use tailwater_catalog::{Catalog, to_json};
use tailwater_domain::{Limit, UpdateIdentity, language_serves, limits};
use tailwater_wire::server_sync::Language;

/// The setting that says which languages everything held has, as far as documents have them; empty for all.
pub const LANGUAGES_KEY: &str = "upstream.languages";
/// Stands for all languages where a list must say so.
const ALL: &str = "*";
/// Revisions remembered that the upstream no longer hands out.
const MOST_REFUSED: usize = 10_000;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_REFUSED in "revisions": "Revisions remembered that the upstream no longer hands out" => "they are asked for again",
];

/// Of the languages that are wanted those that the upstream keeps, as far as it says; none for all.
pub(super) fn available(wanted: &[String], known: &[Language]) -> Option<Vec<String>> {
    let every = known.is_empty() || known.iter().any(|language| language.id == 0 && language.enabled);
    let mut tags: Vec<String> = if wanted.is_empty() {
        let each: Vec<&Language> = known.iter().filter(|language| language.id != 0).collect();
        if every || each.iter().all(|language| language.enabled) {
            return None;
        }
        each.into_iter().filter(|it| it.enabled).map(|it| it.short_name.to_lowercase()).collect()
    } else {
        let had = |tag: &&String| {
            let mut named =
                known.iter().filter(|language| language_serves(tag, &language.short_name)).peekable();
            every || named.peek().is_none() || named.any(|language| language.enabled)
        };
        wanted.iter().filter(had).map(|tag| tag.to_lowercase()).collect()
    };
    tags.sort_unstable();
    tags.dedup();
    Some(tags)
}

/// What revisions were cut with that were stored before it was noted: what the last synchronisation selected.
fn assumed(state: &SyncState) -> Vec<String> {
    let selection = state.mark().map_or(state.selection(), |mark| &mark.selection);
    let known = state.languages();
    let tag =
        |id: &i32| known.iter().find(|language| language.id == *id).map(|it| it.short_name.to_lowercase());
    let tags: Vec<String> = selection.languages.iter().filter_map(tag).collect();
    if tags.is_empty() { vec![ALL.to_owned()] } else { tags }
}

/// As a choice of languages; none for all.
pub(super) fn some(tags: &[String]) -> Option<&[String]> {
    (!tags.iter().any(|tag| tag == ALL)).then_some(tags)
}

impl Run {
    /// The languages that are available now.
    pub(super) fn kept_languages(&self) -> Option<Vec<String>> {
        available(&self.config().languages, self.state().languages())
    }

    /// Whether the upstream did not keep some wanted language when it was last asked.
    pub(super) fn misses_languages(&self) -> bool {
        let wanted: BTreeSet<String> = self.config().languages.iter().map(|tag| tag.to_lowercase()).collect();
        match self.kept_languages() {
            None => false,
            Some(kept) => wanted.is_empty() || kept.len() < wanted.len(),
        }
    }

    /// Notes, once, what was stored before it was noted of each revision. Before anything is selected.
    pub(super) fn note_languages(&mut self) {
        if self.state().unsaid_languages().is_none() {
            let tags = assumed(self.state());
            self.state_mut().note_unsaid_languages(tags);
        }
    }

    /// Fetches anew what was cut without a language that is wanted by now.
    pub(super) async fn fetch_languages(&mut self) -> Result<(), SessionError> {
        let kept = self.kept_languages();
        let unsaid = self.state().unsaid_languages().unwrap_or_default().to_vec();
        let (staging, wanted) = (self.staging(), kept.clone());
        let found = blocking(move || staging.lacking_languages(wanted.as_deref(), some(&unsaid)));
        let mut lacking: Vec<UpdateIdentity> = found.await?;
        let mut refused = self.state_mut().take_refused_languages(kept.as_ref());
        lacking.retain(|identity| !refused.contains(identity));
        if !lacking.is_empty() {
            tracing::info!(count = lacking.len(), "fetching languages that were added for what is held");
            self.phase(Phase::Languages);
            let size = self.state().config().map_or(1, batch);
            let fetcher =
                Fetcher { again: true, ..self.fetcher(size, self.peer().cloned(), self.kept_languages()) };
            let result = fetcher.fetch(&lacking, false).await?;
            self.note_fetched(result.stored);
            // it is held as it is; what the upstream does not hand out any more is not asked for each time
            refused.extend(result.missing.iter().map(|missing| missing.identity));
        }
        let refused = refused.into_iter().take(MOST_REFUSED).collect();
        self.state_mut().keep_refused_languages(kept, refused);
        Ok(())
    }

    /// Notes that everything held has the languages that are available: servers below are told so.
    pub(super) async fn languages_are_complete(&self) -> Result<(), SyncError> {
        let (catalog, kept) = (self.catalog(), self.kept_languages().unwrap_or_default());
        let note = move |catalog: &Catalog| {
            let value = to_json(&kept)?;
            match catalog.setting(LANGUAGES_KEY)? {
                Some(known) if known == value => Ok(()),
                _ => catalog.set_setting(LANGUAGES_KEY, Some(&value)),
            }
        };
        blocking(move || note(&catalog)).await?.map_err(SyncError::Catalog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_what_both_sides_keep() {
        let known = |all: bool, enabled: &[&str]| -> Vec<Language> {
            let row = |id, tag: &str, enabled| Language { id, short_name: tag.to_owned(), enabled };
            let each = [(1033, "en"), (1031, "de"), (1046, "pt-br"), (2070, "pt")];
            let rows = each.map(|(id, tag)| row(id, tag, all || enabled.contains(&tag)));
            [row(0, "all", all)].into_iter().chain(rows).collect()
        };
        let some = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
        for (wanted, known, expected) in [
            (&["en", "DE"][..], known(true, &[]), Some(&["de", "en"][..])),
            (&["en", "de"], known(false, &["en"]), Some(&["en"])),
            (&["en", "pt"], known(false, &["en", "pt-br"]), Some(&["en", "pt"])),
            (&["en", "xx"], known(false, &["en"]), Some(&["en", "xx"])),
            (&["en", "de"], Vec::new(), Some(&["de", "en"])),
            (&[], known(true, &[]), None),
            (&[], Vec::new(), None),
            (&[], known(false, &["en", "de"]), Some(&["de", "en"])),
            (&[], known(false, &["en", "de", "pt", "pt-br"]), None),
        ] {
            assert_eq!(available(&some(wanted), &known), expected.map(some), "{wanted:?}");
        }
    }
}
