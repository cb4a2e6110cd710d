//! Which languages of a document a site keeps.
//!
//! **Invariant:** English is always kept, so that every update can be named. It never invents a language that
//! the document does not have.

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
                language.eq_ignore_ascii_case("en") || wanted.iter().any(|tag| answers(language, tag))
            }
        }
    }
}

/// Whether text in `language` serves one who asks for `tag`: the same tag, or its leading part
/// (`en` serves `en-US`), as real servers answer agents.
pub fn answers(language: &str, tag: &str) -> bool {
    match tag.as_bytes().get(..language.len()) {
        Some(start) if !language.is_empty() && start.eq_ignore_ascii_case(language.as_bytes()) => {
            matches!(tag.as_bytes().get(language.len()), None | Some(b'-'))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_serves_its_regions_and_not_the_other_way_round() {
        let table = [
            ("en", "en-US", true),
            ("EN", "en", true),
            ("pt-br", "pt-BR", true),
            ("pt-br", "pt", false),
            ("en", "eng", false),
            ("", "en", false),
        ];
        for (language, tag, serves) in table {
            assert_eq!(answers(language, tag), serves, "{language} for {tag}");
        }
    }

    #[test]
    fn english_is_always_kept() {
        let german = Languages::of(["de"]);
        assert!(german.keeps("en") && german.keeps("de") && !german.keeps("fr"));
        assert!(Languages::all().keeps("fr"));
    }
}
