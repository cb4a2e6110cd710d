//! Which held revisions lack languages that the site wants by now.
//!
//! **Invariant:** a revision lacks a language only when its document was cut without it: that a document has no text in
//! a language is nothing to ask for again. It never fetches.

use crate::ingest::staging::Staging;
use crate::snapshot::world::{UNSAID, flag};
use tailwater_domain::{UpdateIdentity, language_serves};

/// Whether a document that was cut with `kept` has all that one cut with `wanted` has; none means all languages.
fn covers(kept: Option<&[String]>, wanted: Option<&[String]>) -> bool {
    let Some(kept) = kept else { return true };
    let Some(wanted) = wanted else { return false };
    let covered = |tag: &String| {
        // English is always kept, and `pt` with `pt-br`
        tag.eq_ignore_ascii_case("en") || kept.iter().any(|other| language_serves(tag, other))
    };
    wanted.iter().all(covered)
}

impl Staging {
    /// The active revisions whose documents were cut without some of these languages, and were not stored again since.
    /// `unsaid` is what those were cut with that were stored before it was noted. Sorted; what its publisher withdrew
    /// needs none. None means all languages.
    pub fn lacking_languages(
        &self,
        wanted: Option<&[String]>,
        unsaid: Option<&[String]>,
    ) -> Vec<UpdateIdentity> {
        let snapshot = self.0.current().snapshot();
        let world = snapshot.world();
        let enough: Vec<bool> = world.kept.iter().map(|kept| covers(kept.as_deref(), wanted)).collect();
        let unsaid = covers(unsaid, wanted);
        let has = |kept: u16| match kept {
            UNSAID => unsaid,
            number => enough.get(usize::from(number)).copied().unwrap_or(true),
        };
        let lacking = world
            .revs
            .iter()
            .filter(|rev| rev.has(flag::PRESENT) && !rev.has(flag::EXPIRED) && !has(rev.kept));
        let mut found: Vec<UpdateIdentity> = lacking.map(|rev| world.identity(rev)).collect();
        found.retain(|identity| !self.is_staged(identity));
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_cover_each_other_as_documents_are_cut() {
        let list = |text: &str| -> Option<Vec<String>> {
            (text != "*").then(|| text.split_whitespace().map(str::to_owned).collect())
        };
        for (kept, wanted, expected) in [
            ("*", "*", true),
            ("*", "en de", true),
            ("en de", "*", false),
            ("en", "en", true),
            ("", "en", true),
            ("de", "en", true),
            ("en", "en de", false),
            ("de en", "en de", true),
            ("pt-br", "pt", true),
            ("pt", "pt-br", false),
            ("DE", "de", true),
            ("den", "de", false),
        ] {
            assert_eq!(
                covers(list(kept).as_deref(), list(wanted).as_deref()),
                expected,
                "{kept} for {wanted}"
            );
        }
    }
}
