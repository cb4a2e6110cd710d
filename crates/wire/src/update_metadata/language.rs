//! Which languages of a document a site keeps.
//!
//! **Invariant:** English is always kept, so that every update can be named. It never invents a language that
//! the document does not have.

use tailwater_domain::language_serves;

/// The languages a site asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Languages(Option<Vec<String>>);

impl Languages {
    /// Everything a document has.
    pub fn all() -> Self {
        Self(None)
    }

    /// These and English. `pt-br` also keeps `pt`, which agents of that language fall back to.
    pub fn of<I: IntoIterator<Item = S>, S: Into<String>>(languages: I) -> Self {
        Self(Some(languages.into_iter().map(Into::into).collect()))
    }

    /// The tags asked for, lower case and sorted; none for all.
    pub fn tags(&self) -> Option<Vec<String>> {
        let mut tags: Vec<String> = self.0.as_ref()?.iter().map(|tag| tag.to_lowercase()).collect();
        tags.sort_unstable();
        tags.dedup();
        Some(tags)
    }

    /// Whether what is written in `language` is kept for its own sake.
    pub fn keeps(&self, language: &str) -> bool {
        match &self.0 {
            None => true,
            Some(wanted) => {
                language.eq_ignore_ascii_case("en") || wanted.iter().any(|tag| language_serves(language, tag))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_is_always_kept() {
        let german = Languages::of(["de"]);
        assert!(german.keeps("en") && german.keeps("de") && !german.keeps("fr"));
        assert!(Languages::all().keeps("fr"));
    }
}
