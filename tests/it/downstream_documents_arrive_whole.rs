//! Documents reach a downstream server as they were stored, plain or packed, however large ([MS-WSUSSS] 3.1.4.6).

use tailwater::wire::server_sync::read_update_data;

use crate::agents::{Document, id};
use crate::downstream::{Child, Upper};

fn with_rules(number: u128, elements: usize) -> String {
    let rules = "<upd:IsInstalled><lar:And>".to_owned()
        + &"<lar:True/>".repeat(elements)
        + "</lar:And></upd:IsInstalled>";
    Document::new(number, "Software").rules(&rules).text()
}

/// The documents of an answer, read the way a downstream server of ours reads them.
fn read(text: &str) -> Vec<(String, String)> {
    let data = read_update_data(text.as_bytes(), |document| {
        let mut text = String::new();
        document.read_to_string(&mut text).unwrap();
        text
    })
    .unwrap();
    data.updates.into_iter().map(|update| (update.id.to_string(), update.document.unwrap())).collect()
}

#[tokio::test]
async fn short_documents_are_plain_long_ones_cabinets_and_all_are_the_same() {
    let documents = [with_rules(1, 1), with_rules(2, 1_000), with_rules(3, 200_000)];
    let upper = Upper::over(1, &documents);
    let child = Child::of(&upper, 5).await;
    // the largest alone, then all: what is too long for memory goes out uncompressed
    for (wanted, coded, packed) in [(&[1, 2][..], true, 1), (&[3], false, 1), (&[1, 2, 3], false, 2)] {
        let ids: Vec<_> = wanted.iter().map(|&number| (id(number), 1)).collect();
        let reply = child.documents(&upper, &ids).await.ok();
        assert_eq!(reply.headers.contains_key("Content-Encoding"), coded);
        assert_eq!(reply.all("XmlUpdateBlobCompressed").len(), packed);
        let found = read(&reply.text);
        assert_eq!(found.len(), wanted.len());
        for ((name, text), &number) in found.iter().zip(wanted) {
            assert_eq!(*name, format!("{}/1", id(number)));
            let document = &documents[usize::try_from(number).unwrap() - 1];
            assert!(text == document, "{name}: {} bytes for {}", text.len(), document.len());
        }
    }
}

#[tokio::test]
async fn digests_stand_before_a_cabinet_and_addresses_once() {
    let rules =
        format!("<upd:IsInstalled><lar:And>{}</lar:And></upd:IsInstalled>", "<lar:True/>".repeat(1_000));
    let upper = Upper::over(
        1,
        [
            Document::new(1, "Software").file(7, "a.cab").file(8, "b.cab").text(),
            Document::new(2, "Software").file(7, "a.cab").rules(&rules).text(),
            Document::new(3, "Software").text(),
        ],
    );
    let child = Child::of(&upper, 5).await;
    let ids: Vec<_> = (1..=3).map(|number| (id(number), 1)).collect();
    let reply = child.documents(&upper, &ids).await.ok();
    let updates = reply.all("ServerSyncUpdateData");
    let order = |text: &str, names: [&str; 2]| text.find(names[0]).unwrap() < text.find(names[1]).unwrap();
    assert!(order(updates[0], ["<XmlUpdateBlob>", "<FileDigestList>"]), "as the schema has it");
    assert!(order(updates[1], ["<FileDigestList>", "<XmlUpdateBlobCompressed>"]));
    assert!(!updates[2].contains("FileDigestList"), "absent without files");
    assert_eq!(reply.all("ServerSyncUrlData").len(), 2, "each payload once");
    assert_eq!(reply.text.matches("<UssUrl />").count(), 2);
    assert_eq!(reply.all("MUUrl").len(), 0, "known for none");
}

#[tokio::test]
async fn an_unknown_revision_fails_the_call_as_on_wsus() {
    let upper = Upper::over(1, [Document::new(1, "Software").text()]);
    let child = Child::of(&upper, 5).await;
    for unknown in [(id(2), 1), (id(1), 2)] {
        let reply = child.documents(&upper, &[(id(1), 1), unknown]).await;
        assert_eq!(
            (reply.code(), reply.one("Message"), reply.one("faultcode")),
            ("InternalServerError", "", "soap:Server")
        );
    }
}

#[tokio::test]
async fn an_answer_ends_at_two_million_bytes_and_has_one_update_at_least() {
    // noise does not shrink: each takes more than 100 kB as a cabinet in Base64
    let mut state = 1_u32;
    let mut noise = || -> String {
        let mut step = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_u32(0x4e00 + (state >> 16) % 0x4000).unwrap()
        };
        (0..30_000).map(|_| step()).collect()
    };
    let documents: Vec<String> = (1..=40)
        .map(|number| {
            let rules = format!("<upd:IsInstalled><lar:True Noise=\"{}\"/></upd:IsInstalled>", noise());
            Document::new(number, "Software").rules(&rules).text()
        })
        .collect();
    let upper = Upper::over(1, &documents);
    let child = Child::of(&upper, 5).await;
    let mut wanted: Vec<_> = (1..=40).map(|number| (id(number), 1)).collect();
    let mut found = Vec::new();
    let mut answers = 0;
    while !wanted.is_empty() {
        let reply = child.documents(&upper, &wanted).await.ok();
        assert!(reply.text.len() < 2_010_000, "{}", reply.text.len());
        let got = read(&reply.text);
        assert!(!got.is_empty());
        wanted.drain(..got.len());
        found.extend(got.into_iter().map(|(_, text)| text));
        answers += 1;
    }
    assert!(answers > 1, "{answers}");
    assert!(found == documents);
}
