//! Fragments are cut byte for byte as a real server cuts them ([MS-WUSP] 3.1.1.1).

use std::fs;
use std::path::Path;

use tailwater::wire::update_metadata::{Languages, cut};

fn unescaped(text: &[u8]) -> String {
    String::from_utf8(text.to_vec())
        .unwrap()
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#xD;", "\r")
        .replace("&amp;", "&")
}

/// One recorded file has the end of an address blacked out.
fn assert_same(ours: &str, recorded: &str, what: &str) {
    let Some((before, after)) = recorded.split_once("LinkId=REDACTED") else {
        assert_eq!(ours, recorded, "{what}");
        return;
    };
    assert!(ours.starts_with(before) && ours.ends_with(after), "{what}: {ours}");
    let middle = &ours[before.len()..ours.len() - after.len()];
    assert!(
        middle.strip_prefix("LinkId=").is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit())),
        "{what}"
    );
}

#[test]
fn recorded_documents_give_the_recorded_fragments() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/fragments");
    let Ok(documents) = fs::read_dir(root.join("documents")) else {
        println!("skipped: {} is not there", root.display());
        return;
    };
    let mut compared = 0;
    for entry in documents {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let document = fs::read(&path).unwrap();
        let cut = cut(document.as_slice(), &Languages::of(["en"])).unwrap();
        let localized = cut.localized.iter().find(|entry| entry.language == "en").unwrap().text.clone();
        let parts = [
            ("core", cut.core.into_bytes().unwrap()),
            ("extended", cut.extended.into_bytes().unwrap()),
            ("localized-en", localized),
        ];
        for (kind, ours) in parts {
            let recorded = fs::read_to_string(root.join(format!("expected/{stem}.{kind}.xml"))).unwrap();
            assert_same(&unescaped(&ours), &recorded, &format!("{stem} {kind}"));
            compared += 1;
        }
    }
    assert_eq!(compared, 18);
}
