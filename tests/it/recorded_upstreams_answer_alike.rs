//! Answers to downstream servers are written as a real WSUS wrote the recorded ones, byte for byte where they say the
//! same ([MS-WSUSSS] 3.1.4).
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::path::{Path, PathBuf};

use tailwater::wire::server_sync::{read_revision_ids, read_update_data, served};
use tailwater::wire::soap::{self, Style, Version};
use tailwater::wire::xml::escape_text_into;

use crate::agents::{Document, all};
use crate::downstream::{Child, Upper};

/// The recorded exchanges; `None` when they are not beside the project.
fn recorded() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/wsusss/exchanges");
    if !root.is_dir() {
        println!("skipped: {} is not there", root.display());
        return None;
    }
    Some(root)
}

fn answer(root: &Path, number: u32) -> String {
    std::fs::read_to_string(root.join(format!("{number:06}/response.body"))).unwrap()
}

fn request(root: &Path, number: u32) -> String {
    std::fs::read_to_string(root.join(format!("{number:06}/request.body"))).unwrap()
}

fn without(text: &str, name: &str) -> String {
    all(text, name).iter().fold(text.to_owned(), |text, value| text.replace(*value, ""))
}

#[tokio::test]
async fn the_configuration_is_that_of_wsus() {
    let Some(root) = recorded() else { return };
    let upper = Upper::keeping(&["en"], [Document::new(1, "Software").text()]);
    let child = Child::of(&upper, 5).await;
    let full = upper.ask("GetConfigData", &child.with("")).await.ok();
    let anchor = format!("<configAnchor>{}</configAnchor>", full.one("NewConfigAnchor"));
    let short = upper.ask("GetConfigData", &child.with(&anchor)).await.ok();
    for (ours, number) in [(full, 5), (short, 4)] {
        let theirs = answer(&root, number);
        assert_eq!(
            without(&ours.text, "NewConfigAnchor"),
            without(&theirs, "NewConfigAnchor"),
            "exchange {number}"
        );
    }
    let ours = upper.ask("GetAuthConfig", "").await.ok();
    assert_eq!(without(&ours.text, "LastChange"), without(&answer(&root, 1), "LastChange"));
}

#[test]
fn lists_and_documents_are_written_as_by_wsus() {
    let Some(root) = recorded() else { return };
    let whole = |element: String| soap::envelope(Version::V11, Style::Server, &element);
    for number in 6..=12 {
        let theirs = answer(&root, number);
        let list = read_revision_ids(theirs.as_bytes()).unwrap();
        let ours = served::revision_ids_head(&list.anchor) + &served::revision_ids_rest(&list.revisions);
        assert_eq!(whole(ours), theirs, "exchange {number}");
    }
    for number in [13, 14, 15, 16] {
        let theirs = answer(&root, number);
        let data = read_update_data(theirs.as_bytes(), |document| {
            let mut text = String::new();
            std::io::Read::read_to_string(document, &mut text).map(|_| text).unwrap_or_default()
        })
        .unwrap();
        let mut ours = served::UPDATE_DATA.to_owned();
        for update in &data.updates {
            let packed = all(&theirs, "XmlUpdateBlobCompressed");
            let frame = served::update_frame(
                &update.id,
                update.digests.as_deref().unwrap_or_default(),
                !packed.is_empty(),
            );
            ours += &frame.head;
            match packed.first() {
                // theirs is compressed another way; what stands around it is compared
                Some(cabinet) => ours += cabinet,
                None => escape_text_into(&mut ours, update.document.as_ref().unwrap()),
            }
            ours += &frame.tail;
        }
        let mut urls = String::new();
        for url in &data.file_urls {
            served::file_url(&mut urls, &url.sha1, url.mu_url.as_deref());
        }
        ours += &served::update_data_end(&urls);
        assert_eq!(whole(ours), theirs, "exchange {number}");
    }
}

#[tokio::test]
async fn recorded_requests_get_recorded_faults() {
    let Some(root) = recorded() else { return };
    let upper = Upper::over(1, [Document::new(2, "Software").text()]);
    let child = Child::of(&upper, 5).await;
    let sealed = all(&child.cookie, "EncryptedData")[0].to_owned();
    for number in [17, 18, 19] {
        let mut body = request(&root, number);
        for theirs in all(&body.clone(), "EncryptedData") {
            body = body.replace(theirs, &sealed);
        }
        let operation = if number == 17 { "GetUpdateData" } else { "GetRevisionIdList" };
        let action = format!("\"http://www.microsoft.com/SoftwareDistribution/{operation}\"");
        let path = "/ServerSyncWebService/ServerSyncWebService.asmx";
        let ours = upper.send(path, &[("SOAPAction", &action)], body).await;
        let same = |text: &str| without(&without(text, "ID"), "faultactor").replace("&quot;", "\"");
        assert_eq!(same(&ours.text), same(&answer(&root, number)), "exchange {number}");
    }
}
