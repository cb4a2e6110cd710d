//! Promises about documents that say too much: each maximum holds to the one, and what lies within it is whole.

use super::tests::{ID, NAMES};
use super::*;
use tailwater_domain::{Counted, Facts, MAX_FACT_TEXT, MAX_LANGUAGE_NAME};

fn repeated(count: u64, one: impl FnMut(u64) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().concat()
}

fn update_id(number: u64) -> String {
    format!("UpdateID=\"10000000-0000-4000-8000-{number:012}\"")
}

fn identity(number: u64) -> String {
    format!("<upd:UpdateIdentity {} RevisionNumber=\"1\"/>", update_id(number))
}

fn digest(number: u64) -> String {
    use base64::Engine as _;
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn document(properties: &str, inner: &str) -> String {
    format!(
        "<upd:Update {NAMES}>{ID}<upd:Properties UpdateType=\"Driver\" DefaultPropertiesLanguage=\"en\">{properties}\
         </upd:Properties>{inner}</upd:Update>"
    )
}

fn driver(inner: &str) -> String {
    document(
        "",
        &format!(
            "<upd:ApplicabilityRules><upd:Metadata><drv:WindowsDriverMetaData HardwareID=\"a\">{inner}\
             </drv:WindowsDriverMetaData></upd:Metadata></upd:ApplicabilityRules>"
        ),
    )
}

/// A document with so many of a kind, and how many of them its facts have.
#[expect(clippy::too_many_lines, reason = "a table")]
fn with(kind: Counted, count: u64) -> (String, fn(&Facts) -> usize) {
    let related = |inner: String| document("", &format!("<upd:Relationships>{inner}</upd:Relationships>"));
    match kind {
        Counted::Prerequisites => (
            related(format!(
                "<upd:Prerequisites>{}</upd:Prerequisites>",
                repeated(count, |n| { format!("<upd:UpdateIdentity {}/>", update_id(n)) })
            )),
            |facts| facts.prerequisites.len(),
        ),
        Counted::BundleMembers => (
            related(format!("<upd:BundledUpdates>{}</upd:BundledUpdates>", repeated(count, identity))),
            |facts| facts.bundled.len(),
        ),
        Counted::Superseded => (
            related(format!("<upd:SupersededUpdates>{}</upd:SupersededUpdates>", repeated(count, identity))),
            |facts| facts.supersedes.len(),
        ),
        Counted::Files => (
            document(
                "",
                &format!(
                    "<upd:Files>{}</upd:Files>",
                    repeated(count, |n| {
                        format!("<upd:File Digest=\"{}\" Size=\"1\" FileName=\"a.cab\"/>", digest(n))
                    })
                ),
            ),
            |facts| facts.files.len(),
        ),
        // an entry, and what stands between it and the next
        Counted::Localized => (
            document(
                "",
                &format!(
                    "<upd:LocalizedPropertiesCollection>{}</upd:LocalizedPropertiesCollection>",
                    repeated(count / 2, |n| format!(
                        "<upd:LocalizedProperties><upd:Language>l{n}</upd:Language><upd:Title>T</upd:Title>\
                     </upd:LocalizedProperties>"
                    ))
                ),
            ),
            |facts| facts.titles.len() * 2,
        ),
        Counted::Articles => {
            (document(&repeated(count, |n| format!("<upd:KBArticleID>{n}</upd:KBArticleID>")), ""), |facts| {
                facts.kb_articles.len()
            })
        }
        Counted::Bulletins => (
            document(
                &repeated(count, |n| format!("<upd:SecurityBulletinID>{n}</upd:SecurityBulletinID>")),
                "",
            ),
            |facts| facts.bulletins.len(),
        ),
        Counted::Languages => {
            (document(&repeated(count, |n| format!("<upd:Language>l{n}</upd:Language>")), ""), |facts| {
                facts.languages.len()
            })
        }
        Counted::Devices => (
            document(
                "",
                &format!(
                    "<upd:ApplicabilityRules><upd:Metadata>{}</upd:Metadata></upd:ApplicabilityRules>",
                    repeated(count, |n| format!("<drv:WindowsDriverMetaData HardwareID=\"{n}\"/>"))
                ),
            ),
            |facts| facts.drivers.len(),
        ),
        Counted::ComputerIds => (
            driver(&repeated(count, |n| {
                format!("<drv:TargetComputerHardwareId>{n}</drv:TargetComputerHardwareId>")
            })),
            |facts| facts.drivers[0].computer_hardware_ids.len(),
        ),
        Counted::FeatureScores => (
            driver(&repeated(count, |_| {
                "<drv:FeatureScore OperatingSystem=\"X\" FeatureScore=\"1\"/>".to_owned()
            })),
            |facts| facts.drivers[0].feature_scores.len(),
        ),
    }
}

#[test]
fn each_maximum_holds_to_the_one() {
    for kind in Counted::ALL {
        let limit = kind.limit();
        for count in [0, 2, limit - 2, limit] {
            let (text, found) = with(kind, count);
            let cut = cut(text.as_bytes(), &Languages::all()).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
            assert_eq!(found(&cut.facts) as u64, count, "{kind:?}");
        }
        let (text, _) = with(kind, limit + 2);
        match cut(text.as_bytes(), &Languages::all()) {
            Err(MetadataError::TooMuch { what, limit: said }) => {
                assert_eq!((what, said), (kind.what(), limit));
            }
            other => panic!("{kind:?}: {:?}", other.map(|cut| found_in(&cut.facts))),
        }
    }
}

fn found_in(facts: &Facts) -> usize {
    facts.prerequisites.len() + facts.files.len() + facts.drivers.len()
}

#[test]
fn text_of_all_facts_together_and_names_of_languages_are_bounded() {
    let each = 50 << 10;
    let names = |count: u64| {
        let one =
            |n| format!("<upd:File Digest=\"{}\" Size=\"1\" FileName=\"{}\"/>", digest(n), "x".repeat(each));
        document("", &format!("<upd:Files>{}</upd:Files>", repeated(count, one)))
    };
    let most = MAX_FACT_TEXT / each as u64;
    assert!(cut(names(most).as_bytes(), &Languages::all()).is_ok());
    let refused = cut(names(most + 1).as_bytes(), &Languages::all());
    assert!(matches!(refused, Err(MetadataError::TooMuch { limit: MAX_FACT_TEXT, .. })));
    for (length, fits) in [(MAX_LANGUAGE_NAME, true), (MAX_LANGUAGE_NAME + 1, false)] {
        let name = "l".repeat(length);
        let made_for = document(&format!("<upd:Language>{name}</upd:Language>"), "");
        let entry = format!(
            "<upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>{name}</upd:Language>\
             <upd:Title>T</upd:Title></upd:LocalizedProperties></upd:LocalizedPropertiesCollection>"
        );
        let default = document("", "").replace("Language=\"en\"", &format!("Language=\"{name}\""));
        for text in [made_for, document("", &entry), default] {
            assert_eq!(cut(text.as_bytes(), &Languages::all()).is_ok(), fits, "{length}");
        }
    }
}
