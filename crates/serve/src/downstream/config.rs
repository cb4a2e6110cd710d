//! How this server presents itself to downstream servers, and the languages it says it keeps.
//!
//! **Invariant:** what is said of a language changes only when the configuration does, or once everything held has a
//! language that was added, and the change is remembered over restarts, so that an anchor tells who knows of it. It never
//! reads the configuration file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use tailwater_catalog::{Catalog, CatalogError};
use tailwater_domain::language_serves;
use tailwater_upstream::LANGUAGES_KEY;
use tailwater_wire::server_sync::served;

/// Where it is remembered what was said of each language.
const KEY: &str = "downstream.languages";

/// How this server presents itself.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `http://updates.branch.example:8530`; when unset, the address under which it was asked.
    pub public_url: Option<String>,
    /// Whether payloads are had at their origin only (`CatalogOnlySync`).
    pub catalog_only: bool,
    /// The languages that are kept, as tags; empty means all.
    pub languages: Vec<String>,
}

/// The languages that update servers tell apart: locale number, short and long name.
const LANGUAGES: [(i32, &str, &str); 38] = [
    (1025, "ar", "Arabic"),
    (1026, "bg", "Bulgarian"),
    (1028, "zh-tw", "Chinese (Traditional)"),
    (1029, "cs", "Czech"),
    (1030, "da", "Danish"),
    (1031, "de", "German"),
    (1032, "el", "Greek"),
    (1033, "en", "English"),
    (1034, "es", "Spanish"),
    (1035, "fi", "Finnish"),
    (1036, "fr", "French"),
    (1037, "he", "Hebrew"),
    (1038, "hu", "Hungarian"),
    (1040, "it", "Italian"),
    (1041, "ja", "Japanese"),
    (1042, "ko", "Korean"),
    (1043, "nl", "Dutch"),
    (1044, "no", "Norwegian"),
    (1045, "pl", "Polish"),
    (1046, "pt-br", "Portuguese (Brazil)"),
    (1048, "ro", "Romanian"),
    (1049, "ru", "Russian"),
    (1050, "hr", "Croatian"),
    (1051, "sk", "Slovak"),
    (1053, "sv", "Swedish"),
    (1054, "th", "Thai"),
    (1055, "tr", "Turkish"),
    (1058, "uk", "Ukrainian"),
    (1060, "sl", "Slovenian"),
    (1061, "et", "Estonian"),
    (1062, "lv", "Latvian"),
    (1063, "lt", "Lithuanian"),
    (1081, "hi", "Hindi"),
    (2052, "zh-cn", "Chinese (Simplified)"),
    (2070, "pt", "Portuguese (Portugal)"),
    (2074, "sr", "Serbian (Latin)"),
    (3076, "zh-hk", "Chinese (Hong Kong SAR)"),
    (66577, "ja-nec", "Japanese NEC"),
];

/// The short name of a locale number.
pub(super) fn tag_of(id: i32) -> Option<&'static str> {
    LANGUAGES.iter().find(|language| language.0 == id).map(|language| language.1)
}

/// What was said of a language, and since when: the second, and the change number that held then, because an anchor
/// given in the same second may be older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    enabled: bool,
    since: i64,
    #[serde(default)]
    change: u64,
}

/// All languages with what is said of them.
pub(super) struct Languages(BTreeMap<i32, Said>);

impl Languages {
    /// What the configuration says now; what differs from what was said before changed now.
    pub(super) fn open(wanted: &[String], catalog: &Catalog, now: Timestamp) -> Result<Self, CatalogError> {
        // none at first: then everything changed now
        let before: BTreeMap<i32, Said> = catalog.kept_json(KEY)?.unwrap_or_default();
        // a language that was added is announced once what was held before has it
        let complete: Option<Vec<String>> = catalog.json(LANGUAGES_KEY)?;
        let complete = complete.unwrap_or_default();
        let change = catalog.snapshot().change_number();
        let among =
            |tag: &str, list: &[String]| list.is_empty() || list.iter().any(|it| language_serves(it, tag));
        let keeps = |tag: &str| among(tag, wanted) && among(tag, &complete);
        let all = [(0, wanted.is_empty() && complete.is_empty())];
        let each = LANGUAGES.iter().map(|(id, tag, _)| (*id, keeps(tag)));
        let said: BTreeMap<i32, Said> = all
            .into_iter()
            .chain(each)
            .map(|(id, enabled)| {
                let kept = before.get(&id).filter(|said| said.enabled == enabled).copied();
                (id, kept.unwrap_or(Said { enabled, since: now.as_second(), change }))
            })
            .collect();
        if said != before {
            catalog.keep_json(KEY, &said)?;
        }
        Ok(Self(said))
    }

    /// What changed after an anchor of this second and change number; with `None` everything. English is first of all
    /// `all`.
    pub(super) fn changed_since(&self, known: Option<(i64, u64)>) -> Vec<served::LanguageRow<'static>> {
        let names = [(0, "all", "all")].into_iter().chain(LANGUAGES);
        names
            .filter_map(|(id, short_name, long_name)| {
                let said = self.0.get(&id)?;
                let changed =
                    known.is_none_or(|(second, change)| said.since > second || said.change > change);
                changed.then_some(served::LanguageRow { id, short_name, long_name, enabled: said.enabled })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_runtime::Clock;

    fn tags(languages: &[served::LanguageRow<'_>]) -> Vec<String> {
        let enabled = languages.iter().filter(|row| row.enabled);
        enabled.map(|row| row.short_name.to_owned()).collect()
    }

    #[test]
    fn only_languages_whose_setting_changed_are_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_second(1_000).unwrap());
        let catalog = Catalog::open(tailwater_catalog::Config::new(dir.path()), clock.clone()).unwrap();
        let some = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
        let open = |tags: &[&str], at| {
            Languages::open(&some(tags), &catalog, Timestamp::from_second(at).unwrap()).unwrap()
        };
        let first = open(&["en", "pt"], 1_000);
        assert_eq!(tags(&first.changed_since(None)), ["en", "pt-br", "pt"]);
        assert_eq!(first.changed_since(None).len(), 39);
        assert_eq!(first.changed_since(Some((1_000, u64::MAX))), []);
        let second = open(&["en", "de"], 2_000);
        assert_eq!(second.changed_since(Some((2_000, u64::MAX))), []);
        let changed = second.changed_since(Some((1_500, u64::MAX)));
        let rows: Vec<_> = changed.iter().map(|row| (row.short_name, row.enabled)).collect();
        assert_eq!(rows, [("de", true), ("pt-br", false), ("pt", false)]);
        let all = open(&[], 3_000);
        assert_eq!(all.changed_since(Some((2_500, u64::MAX)))[0].short_name, "all");
        assert_eq!(all.changed_since(Some((3_000, u64::MAX))), []);
    }
}
