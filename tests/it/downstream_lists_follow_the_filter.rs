//! What downstream servers are told there is: categories, updates by filter, language and anchor ([MS-WSUSSS] 3.1.4.5).

use std::time::Duration;

use crate::agents::{Document, id, ingest};
use crate::downstream::{Child, Upper};

const COMPANY: u128 = 1;
const FAMILY: u128 = 2;
const PRODUCT: u128 = 3;
const OTHER_PRODUCT: u128 = 4;
const SECURITY: u128 = 5;
const DRIVERS: u128 = 6;
const DETECTOID: u128 = 7;

/// A bundle of a product with a member that names no category, and updates of other products and languages.
fn documents() -> Vec<String> {
    let categories = [
        Document::category(COMPANY, "Company"),
        Document::category(FAMILY, "ProductFamily").needs(&[COMPANY], true),
        Document::category(PRODUCT, "Product").needs(&[FAMILY], true),
        Document::category(OTHER_PRODUCT, "Product").needs(&[FAMILY], true),
        Document::category(SECURITY, "UpdateClassification"),
        Document::category(DRIVERS, "UpdateClassification"),
        Document::new(DETECTOID, "Detectoid").needs(&[OTHER_PRODUCT], true),
    ];
    let updates = [
        Document::new(10, "Software").needs(&[PRODUCT], true).needs(&[SECURITY], true).bundles(11),
        Document::new(11, "Software").member().bundles(12),
        Document::new(12, "Software").member(),
        // the product in a plain clause, and a detectoid that lies in another product
        Document::new(13, "Software")
            .member()
            .needs(&[PRODUCT], false)
            .needs(&[SECURITY], true)
            .needs(&[DETECTOID], false),
        Document::new(20, "Software").needs(&[OTHER_PRODUCT], true).needs(&[SECURITY], true),
        Document::new(21, "Driver").needs(&[OTHER_PRODUCT], true).needs(&[DRIVERS], true),
        Document::new(30, "Software").needs(&[PRODUCT], true).needs(&[SECURITY], true).made_for("de"),
        Document::new(31, "Software")
            .needs(&[PRODUCT], true)
            .needs(&[SECURITY], true)
            .made_for("fr")
            .made_for("en"),
        Document::new(40, "Software").needs(&[OTHER_PRODUCT], true).needs(&[SECURITY], true).expired(),
    ];
    categories.iter().chain(&updates).map(Document::text).collect()
}

fn list(name: &str, entries: &[(u128, bool)]) -> String {
    let row = |&(number, delta): &(u128, bool)| {
        format!("<IdAndDelta><Id>{}</Id><Delta>{delta}</Delta></IdAndDelta>", id(number))
    };
    format!("<{name}>{}</{name}>", entries.iter().map(row).collect::<String>())
}

fn filter(anchor: &str, products: &[(u128, bool)], classifications: &[(u128, bool)]) -> String {
    let anchor = if anchor.is_empty() { String::new() } else { format!("<Anchor>{anchor}</Anchor>") };
    format!(
        "{anchor}<GetConfig>false</GetConfig><Get63LanguageOnly>false</Get63LanguageOnly>{}{}",
        list("Categories", products),
        list("Classifications", classifications)
    )
}

fn revisions(numbers: &[u128]) -> Vec<String> {
    numbers.iter().map(|&number| format!("{}/1", id(number))).collect()
}

/// Products, classifications, and what they select.
type Row<'a> = (&'a [u128], &'a [u128], &'a [u128]);

#[tokio::test]
async fn products_and_classifications_select_what_has_one_of_each() {
    let upper = Upper::over(1, documents());
    let child = Child::of(&upper, 5).await;
    let everything: Vec<u128> = vec![10, 11, 12, 13, 20, 21, 30, 31, 40];
    let of_product: Vec<u128> = vec![10, 11, 12, 13, 30, 31];
    let unknown = 99;
    let rows: [Row<'_>; 9] = [
        (&[], &[], &everything),
        (&[PRODUCT], &[SECURITY], &of_product),
        (&[PRODUCT], &[DRIVERS], &[]),
        (&[OTHER_PRODUCT], &[DRIVERS], &[21]),
        (&[PRODUCT, OTHER_PRODUCT], &[SECURITY, DRIVERS], &everything),
        (&[FAMILY], &[SECURITY, DRIVERS], &everything),
        (&[COMPANY], &[DRIVERS], &[21]),
        (&[PRODUCT], &[], &[]),
        (&[unknown], &[SECURITY], &[]),
    ];
    for (products, classifications, wanted) in rows {
        let entries = |list: &[u128]| list.iter().map(|&number| (number, false)).collect::<Vec<_>>();
        let filter = filter("", &entries(products), &entries(classifications));
        let (_, found) = child.list(&upper, &filter).await;
        assert_eq!(found, revisions(wanted), "{products:?} {classifications:?}");
    }
    let everything = format!("<GetConfig>true</GetConfig>{}", list("Categories", &[(PRODUCT, false)]));
    let (_, found) = child.list(&upper, &everything).await;
    assert_eq!(
        found,
        revisions(&[1, 2, 3, 4, 5, 6, 7]),
        "categories and detectoids, whatever the filter says"
    );
}

#[tokio::test]
async fn an_anchor_leaves_what_is_new_and_delta_false_what_is_asked_anew() {
    let upper = Upper::over(1, documents());
    let child = Child::of(&upper, 5).await;
    let (anchor, _) = child.list(&upper, &filter("", &[], &[])).await;
    for products in [&[][..], &[(PRODUCT, true)]] {
        let classifications: &[_] = if products.is_empty() { &[] } else { &[(SECURITY, true)] };
        let (_, found) = child.list(&upper, &filter(&anchor, products, classifications)).await;
        assert_eq!(found, revisions(&[]), "nothing new");
    }
    let (_, found) = child
        .list(&upper, &filter(&anchor, &[(PRODUCT, true), (OTHER_PRODUCT, false)], &[(SECURITY, true)]))
        .await;
    assert_eq!(found, revisions(&[20, 40]), "all of what is asked anew");
    let (_, found) = child.list(&upper, &filter(&anchor, &[(PRODUCT, true)], &[(SECURITY, false)])).await;
    assert_eq!(found, revisions(&[10, 11, 12, 13, 30, 31]));

    upper.clock.advance(Duration::from_mins(1));
    let revised = Document::new(10, "Software")
        .revision(2)
        .needs(&[PRODUCT], true)
        .needs(&[SECURITY], true)
        .bundles(11);
    ingest(&upper.catalog, [revised.text(), Document::new(22, "Software").text()]);
    let (newer, found) = child.list(&upper, &filter(&anchor, &[(PRODUCT, true)], &[(SECURITY, true)])).await;
    let bundle = format!("{}/2", id(10));
    let mut wanted = revisions(&[11, 12]);
    wanted.insert(0, bundle.clone());
    assert_eq!(found, wanted, "the revised bundle, with what it names");
    let (_, found) = child.list(&upper, &filter("", &[], &[])).await;
    assert!(found.contains(&bundle) && !found.contains(&format!("{}/1", id(10))), "only the newest revision");

    // anchors and cookies outlive the process
    let upper = upper.restarted();
    let (_, found) = child.list(&upper, &filter(&newer, &[], &[])).await;
    assert_eq!(found, revisions(&[]));
    let (_, found) = child.list(&upper, &filter(&anchor, &[], &[])).await;
    assert_eq!(found.len(), 4, "{found:?}");
}

#[tokio::test]
async fn what_a_bundle_names_follows_it() {
    let upper = Upper::over(1, documents());
    let child = Child::of(&upper, 5).await;
    let request = format!("<filter>{}</filter>", filter("", &[], &[]));
    let reply = upper.ask("GetRevisionIdList", &child.with(&request)).await.ok();
    let ids = reply.all("UpdateID");
    let bundle = ids.iter().position(|found| *found == id(10)).unwrap();
    assert_eq!(ids[bundle..bundle + 3], [id(10), id(11), id(12)]);
}

#[tokio::test]
async fn languages_leave_out_what_is_made_for_others() {
    let upper = Upper::over(1, documents());
    let child = Child::of(&upper, 5).await;
    let languages = |rows: &[(i32, bool)]| {
        let row = |&(id, delta): &(i32, bool)| {
            format!("<LanguageAndDelta><Id>{id}</Id><Delta>{delta}</Delta></LanguageAndDelta>")
        };
        format!("<Languages>{}</Languages>", rows.iter().map(row).collect::<String>())
    };
    let anchor = child.list(&upper, &filter("", &[], &[])).await.0;
    for (rows, absent) in [
        (&[(1033, false)][..], &[30][..]),
        (&[(1031, false)], &[31]),
        (&[(1033, false), (1031, false)], &[]),
        (&[(1041, false)], &[30, 31]),
        (&[(0, false)], &[]),
        (&[(4_711, false)], &[30, 31]),
    ] {
        let (_, found) = child.list(&upper, &(filter("", &[], &[]) + &languages(rows))).await;
        let wanted: Vec<u128> = [10, 11, 12, 13, 20, 21, 30, 31, 40]
            .into_iter()
            .filter(|number| !absent.contains(number))
            .collect();
        assert_eq!(found, revisions(&wanted), "{rows:?}");
    }
    let again = filter(&anchor, &[], &[]) + &languages(&[(1033, true), (1031, false)]);
    let (_, found) = child.list(&upper, &again).await;
    assert!(
        found.contains(&format!("{}/1", id(30))) && !found.contains(&format!("{}/1", id(31))),
        "{found:?}"
    );
}

#[tokio::test]
async fn what_the_server_is_like_is_told_in_the_order_of_wsus() {
    let upper = Upper::over(1, documents());
    let child = Child::of(&upper, 5).await;
    let reply = upper.ask("GetConfigData", &child.with("")).await.ok();
    let names: Vec<&str> = reply
        .one("GetConfigDataResult")
        .split('<')
        .filter_map(|part| part.split(['>', ' ', '/']).next().filter(|name| !name.is_empty()))
        .filter(|name| {
            !name.starts_with("ServerSyncLang")
                && !["LanguageID", "ShortLanguage", "LongLanguage", "Enabled"].contains(name)
        })
        .collect();
    assert_eq!(
        names,
        [
            "CatalogOnlySync",
            "LazySync",
            "ServerHostsPsfFiles",
            "MaxNumberOfComputerIdsInRequest",
            "MaxNumberOfDriverSetsPerRequest",
            "MaxNumberOfPnpHardwareIdsInRequest",
            "MaxNumberOfUpdatesPerRequest",
            "NewConfigAnchor",
            "ProtocolVersion",
            "LanguageUpdateList",
            "MaxUpdatesPerRequestInGetUpdateDecryptionData"
        ]
    );
    assert_eq!((reply.one("LazySync"), reply.one("MaxNumberOfUpdatesPerRequest")), ("true", "100"));
    assert_eq!(reply.all("LanguageID").len(), 39);
    assert_eq!((reply.all("ShortLanguage")[0], reply.all("Enabled")[0]), ("all", "false"));
    let anchor = format!("<configAnchor>{}</configAnchor>", reply.one("NewConfigAnchor"));
    let reply = upper.ask("GetConfigData", &child.with(&anchor)).await.ok();
    assert!(reply.text.contains("<LanguageUpdateList />"), "{}", reply.text);
}
