//! Which language serves whom.
//!
//! **Invariant:** a tag is compared by its parts, without case. It never guesses: `en` serves `en-US`, not the other way
//! round.

/// Whether text in `language` serves one who asks for `tag`: the same tag, or its leading part (`en` serves `en-US`), as
/// real servers answer agents.
pub fn language_serves(language: &str, tag: &str) -> bool {
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
            assert_eq!(language_serves(language, tag), serves, "{language} for {tag}");
        }
    }
}
