//! A scan tells an agent only what its prerequisites allow, once, and says honestly when it is done
//! ([MS-WUSP] 3.1.5.7).
#![expect(clippy::format_collect, reason = "a few short texts for a test")]

use std::collections::BTreeSet;

use tailwater::domain::{Action, ByteCount};
use tailwater::serve::client::Config;

use crate::agents::{Agent, Document, Reply, Server, all};

/// A company, a product in it, a classification, a bundle of two for the product, a plain update, one for another
/// product.
fn world() -> Vec<String> {
    vec![
        Document::category(1, "Company").text(),
        Document::category(2, "Product").needs(&[1], true).text(),
        Document::category(3, "UpdateClassification").text(),
        Document::category(4, "Product").needs(&[1], true).text(),
        Document::new(10, "Software").needs(&[2], true).needs(&[3], true).bundles(11).bundles(12).text(),
        Document::new(11, "Software").member().needs(&[2], false).file(1, "x.cab").text(),
        Document::new(12, "Software").member().needs(&[2], false).file(2, "y.cab").text(),
        Document::new(20, "Software").needs(&[2], true).file(3, "z.msu").titled("de", "auf Deutsch").text(),
        Document::new(30, "Software").needs(&[4], true).text(),
    ]
}

/// (revision, number of its update, action, leaf) of each new update.
fn new(reply: &Reply) -> Vec<(u32, u128, String, bool)> {
    let Some(list) = reply.all("NewUpdates").first().copied() else { return Vec::new() };
    all(list, "UpdateInfo")
        .into_iter()
        .map(|info| {
            let xml = all(info, "Xml")[0];
            let id = xml.split("UpdateID=\"").nth(1).unwrap().split('"').next().unwrap();
            let number = uuid::Uuid::try_parse(id).unwrap().as_u128();
            (
                all(info, "ID")[0].parse().unwrap(),
                number,
                all(info, "Action")[0].to_owned(),
                all(info, "IsLeaf")[0] == "true",
            )
        })
        .collect()
}

fn numbers(reply: &Reply) -> BTreeSet<u128> {
    new(reply).into_iter().map(|row| row.1).collect()
}

/// Scans to the end; everything without a number in `absent` counts as installed.
async fn scan(server: &Server, agent: &mut Agent, absent: &[u128]) -> Vec<(u32, u128, String, bool)> {
    let (mut installed, mut other, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..50 {
        let reply = agent.sync(server, &installed, &other).await;
        let rows = new(&reply);
        for (id, number, _, leaf) in &rows {
            if !leaf && !absent.contains(number) { installed.push(*id) } else { other.push(*id) }
        }
        let done = reply.one("Truncated") == "false" && rows.iter().all(|row| row.3);
        seen.extend(rows);
        if done {
            return seen;
        }
    }
    panic!("a scan has an end")
}

#[tokio::test]
async fn one_level_of_prerequisites_a_round() {
    let server = Server::over(world());
    let mut agent = Agent::registered(&server, "a").await;
    let first = agent.sync(&server, &[], &[]).await;
    assert_eq!(numbers(&first), BTreeSet::from([1, 3]));
    assert!(new(&first).iter().all(|row| row.2 == "Evaluate" && !row.3));
    assert_eq!(first.one("DriverSyncNotNeeded"), "false");
    let company = new(&first).iter().find(|row| row.1 == 1).unwrap().0;
    let class = new(&first).iter().find(|row| row.1 == 3).unwrap().0;
    let second = agent.sync(&server, &[company], &[class]).await;
    assert_eq!(numbers(&second), BTreeSet::from([2, 4]));
    let product = new(&second).iter().find(|row| row.1 == 2).unwrap().0;
    let third = agent.sync(&server, &[company, product], &[class]).await;
    assert_eq!(
        numbers(&third),
        BTreeSet::from([4, 11, 12, 20]),
        "4 was not cached, 10 lacks its classification"
    );
    let out = agent.sync(&server, &[company], &[class, product, 999_999]).await;
    assert!(
        out.all("OutOfScopeRevisionIDs")
            .first()
            .is_none_or(|list| !list.contains(&format!("<int>{product}</int>")))
    );
}

#[tokio::test]
async fn what_is_approved_is_installed_and_the_rest_is_only_looked_at() {
    let server = Server::over(world());
    server.approve(&crate::agents::id(10), Action::Install);
    let mut agent = Agent::registered(&server, "a").await;
    let seen = scan(&server, &mut agent, &[4]).await;
    let action = |number: u128| seen.iter().find(|row| row.1 == number).map(|row| row.2.as_str());
    assert_eq!(action(10), Some("Install"));
    assert_eq!(action(11), Some("Bundle"));
    assert_eq!(action(20), Some("PreDeploymentCheck"));
    assert_eq!(action(30), None, "its product is not installed");
    let ids: BTreeSet<u32> = seen.iter().map(|row| row.0).collect();
    assert_eq!(ids.len(), seen.len(), "nothing comes twice");
}

#[tokio::test]
async fn pages_are_small_complete_and_honest() {
    let documents: Vec<String> = (100..400).map(|number| Document::new(number, "Software").text()).collect();
    for (limit, bytes) in [(7, 1_000_000), (200, 2_000), (200, 1_000_000)] {
        let config = Config { page_updates: limit, page_bytes: ByteCount(bytes), ..Config::default() };
        let server = Server::configured(config, &documents);
        let mut agent = Agent::registered(&server, "a").await;
        let seen = scan(&server, &mut agent, &[]).await.len();
        assert_eq!(seen, 300, "pages of {limit} and {bytes} bytes");
    }
}

#[tokio::test]
async fn agents_of_one_image_get_the_same_page_with_their_own_cookie() {
    let server = Server::over(world());
    let mut pages = Vec::new();
    for id in ["a", "b"] {
        let mut agent = Agent::registered(&server, id).await;
        let reply = agent.sync(&server, &[], &[]).await;
        let (page, end) =
            reply.text.split_once("<NewCookie>").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        pages.push((page, end));
    }
    assert_eq!(pages[0].0, pages[1].0);
    assert_ne!(pages[0].1, pages[1].1);
}

#[tokio::test]
async fn a_new_approval_reaches_who_has_cached_the_update() {
    let server = Server::over([Document::new(1, "Software").text()]);
    let mut agent = Agent::registered(&server, "a").await;
    let first = agent.sync(&server, &[], &[]).await;
    let id = new(&first)[0].0;
    assert!(agent.sync(&server, &[], &[id]).await.all("ChangedUpdates").is_empty());
    server.approve(&crate::agents::id(1), Action::Install);
    let changed = agent.sync(&server, &[], &[id]).await;
    assert!(changed.one("ChangedUpdates").contains("<Action>Install</Action>"), "{}", changed.text);
    assert!(changed.all("Xml").is_empty());
    assert!(agent.sync(&server, &[], &[id]).await.all("ChangedUpdates").is_empty(), "it is told once");
}

#[tokio::test]
async fn old_clients_are_spared_what_they_do_not_know() {
    let server = Server::over(world());
    Agent::registered(&server, "a").await;
    let mut old = Agent::introduced(&server, "a", "1.6").await;
    let reply = old.sync(&server, &[], &[]).await;
    for late in ["AutoSelect", "AutoDownload", "SupersedenceBehavior", "DriverSyncNotNeeded"] {
        assert!(!reply.text.contains(late), "{late}");
    }
}

#[tokio::test]
async fn the_driver_pass_is_one_call() {
    let driver = Document::new(50, "Driver")
        .rules(
            "<upd:Metadata><drv:WindowsDriverMetaData HardwareID=\"PCI\\VEN_1&amp;DEV_2\" DriverVerDate=\"2026-01-01\" \
             DriverVerVersion=\"1.2.3.4\" Class=\"Net\" Provider=\"P\" Manufacturer=\"M\" Model=\"X\"/></upd:Metadata>",
        )
        .file(9, "d.cab");
    let server = Server::over([driver.text()]);
    server.approve(&crate::agents::id(50), Action::Install);
    let mut agent = Agent::registered(&server, "a").await;
    assert!(numbers(&agent.sync(&server, &[], &[]).await).is_empty(), "drivers are no software");
    let device = |id: &str| {
        format!(
            "<SystemSpec><Device><HardwareIDs><string>{id}</string></HardwareIDs></Device></SystemSpec><SkipSoftwareSync>true</SkipSoftwareSync>"
        )
    };
    let reply = agent.sync_with(&server, &[], &[], &device("pci\\ven_1&amp;dev_2")).await;
    assert_eq!(numbers(&reply), BTreeSet::from([50]));
    assert_eq!(reply.one("HardwareIds").to_lowercase(), "<string>pci\\ven_1&amp;dev_2</string>");
    assert_eq!(reply.one("DriverSyncNotNeeded"), "true");
    assert!(numbers(&agent.sync_with(&server, &[], &[], &device("USB\\X")).await).is_empty());
}

#[tokio::test]
async fn firmware_goes_to_the_models_that_it_is_distributed_to() {
    let ids = |name: &str, numbers: &[u128]| {
        let one =
            |number: &u128| format!("<drv:{name}>{}</drv:{name}>", crate::agents::id(*number).to_uppercase());
        numbers.iter().map(one).collect::<String>()
    };
    let driver = |number: u128, made_for: &[u128], sent_to: &[u128]| {
        let aims =
            ids("DistributionComputerHardwareId", sent_to) + &ids("TargetComputerHardwareId", made_for);
        let rules = format!(
            "<upd:Metadata><drv:WindowsDriverMetaData HardwareID=\"UEFI\\RES_{number}\" DriverVerDate=\"2026-01-01\" \
             DriverVerVersion=\"1.2.3.4\" Class=\"Firmware\" Provider=\"P\" Manufacturer=\"M\" Model=\"X\">{aims}</drv:WindowsDriverMetaData></upd:Metadata>"
        );
        Document::new(number, "Driver").rules(&rules).text()
    };
    let server =
        Server::over([driver(50, &[], &[]), driver(51, &[], &[900, 901]), driver(52, &[900], &[901, 902])]);
    let mut agent = Agent::registered(&server, "a").await;
    let devices: String = (50..53)
        .map(|number| {
            format!("<Device><HardwareIDs><string>UEFI\\RES_{number}</string></HardwareIDs></Device>")
        })
        .collect();
    for (computer, offered) in
        [(&[][..], vec![50]), (&[901][..], vec![50, 51]), (&[902][..], vec![50]), (&[900, 901], vec![50, 51])]
    {
        let own: String =
            computer.iter().map(|number| format!("<guid>{}</guid>", crate::agents::id(*number))).collect();
        let ask = format!(
            "<SystemSpec>{devices}</SystemSpec><SkipSoftwareSync>true</SkipSoftwareSync><ComputerSpec><HardwareIDs>{own}</HardwareIDs></ComputerSpec>"
        );
        let reply = agent.sync_with(&server, &[], &[], &ask).await;
        assert_eq!(numbers(&reply), offered.into_iter().collect::<BTreeSet<u128>>(), "{computer:?}");
    }
}

#[tokio::test]
async fn who_adds_a_printer_is_told_of_all_printer_drivers() {
    let driver = |number: u128, class: &str| {
        let rules = format!(
            "<upd:Metadata><drv:WindowsDriverMetaData HardwareID=\"USBPRINT\\X{number}\" DriverVerDate=\"2026-01-01\" \
             DriverVerVersion=\"1.2.3.4\" Class=\"{class}\"/></upd:Metadata>"
        );
        Document::new(number, "Driver").rules(&rules).text()
    };
    let server = Server::over([driver(50, "Printer"), driver(51, "Net"), driver(52, "printer")]);
    let agent = Agent::registered(&server, "a").await;
    let ask = async |cached: &str| {
        let content = format!("<installedNonLeafUpdateIDs/><printerUpdateIDs>{cached}</printerUpdateIDs>");
        server.client("SyncPrinterCatalog", &agent.with(&content)).await.ok()
    };
    let all_of_them = ask("").await;
    assert_eq!(numbers(&all_of_them), BTreeSet::from([50, 52]));
    let first = new(&all_of_them)[0].0;
    assert_eq!(numbers(&ask(&format!("<int>{first}</int>")).await).len(), 1);
}

#[tokio::test]
async fn details_come_with_an_address_for_every_file() {
    let server = Server::over(world());
    let mut agent = Agent::registered(&server, "a").await;
    let seen = scan(&server, &mut agent, &[]).await;
    let id = |number: u128| seen.iter().find(|row| row.1 == number).unwrap().0;
    let content = format!(
        "<revisionIDs><int>{}</int><int>{}</int><int>999999</int></revisionIDs>\
         <infoTypes><XmlUpdateFragmentType>LocalizedProperties</XmlUpdateFragmentType><XmlUpdateFragmentType>Extended</XmlUpdateFragmentType></infoTypes>\
         <locales><string>de-DE</string></locales>",
        id(20),
        id(11)
    );
    let reply = server.client("GetExtendedUpdateInfo", &agent.with(&content)).await.ok();
    let kinds: Vec<&str> = reply.all("Xml").iter().map(|xml| &xml[..8]).collect();
    assert_eq!(
        kinds,
        ["&lt;Exte", "&lt;Exte", "&lt;Loca", "&lt;Loca", "&lt;Loca"],
        "Extended first, then languages"
    );
    assert!(reply.text.contains("auf Deutsch") && reply.text.contains("update 20"));
    assert_eq!(reply.one("OutOfScopeRevisionIDs"), "<int>999999</int>");
    let urls = reply.all("Url");
    let hex = "03".repeat(20);
    assert!(urls.contains(&format!("http://updates.example:8530/Content/03/{hex}.msu").as_str()), "{urls:?}");
    assert_eq!(urls.len(), 2);

    let digest = reply.all("FileDigest")[0];
    let content = format!("<fileDigests><base64Binary>{digest}</base64Binary></fileDigests>");
    let reply = server.client("GetFileLocations", &agent.with(&content)).await.ok();
    assert_eq!(reply.all("Url").len(), 1);
    assert_eq!(reply.all("NewCookie").len(), 1);

    let content = format!(
        "<updateIDs><UpdateIdentity><UpdateID>{}</UpdateID><RevisionNumber>1</RevisionNumber></UpdateIdentity></updateIDs>\
         <infoTypes><XmlUpdateFragmentType>FileUrl</XmlUpdateFragmentType></infoTypes>",
        crate::agents::id(12)
    );
    let reply = server.client("GetExtendedUpdateInfo2", &agent.with(&content)).await.ok();
    assert!(reply.all("Update").is_empty());
    assert_eq!(reply.all("Url").len(), 1);
}

#[tokio::test]
async fn a_cache_is_refreshed_with_this_servers_numbers() {
    let server = Server::over(world());
    let mut agent = Agent::registered(&server, "a").await;
    let seen = scan(&server, &mut agent, &[]).await;
    let rows: String = [1, 10, 11, 20, 77]
        .iter()
        .map(|&number| {
            format!(
                "<UpdateIdentity><UpdateID>{}</UpdateID><RevisionNumber>1</RevisionNumber></UpdateIdentity>",
                crate::agents::id(number)
            )
        })
        .collect();
    let reply =
        server.client("RefreshCache", &agent.with(&format!("<globalIDs>{rows}</globalIDs>"))).await.ok();
    let ids: Vec<u32> = reply.all("RevisionID").iter().map(|id| id.parse().unwrap()).collect();
    let expected: Vec<u32> =
        [1, 10, 20].iter().map(|number| seen.iter().find(|row| row.1 == *number).unwrap().0).collect();
    assert_eq!(ids, expected, "members of bundles and unknown ones are left out");
}

#[tokio::test]
async fn only_the_newest_revision_is_offered() {
    let server = Server::over([
        Document::new(1, "Software").text(),
        Document::new(1, "Software").revision(3).text(),
        Document::new(1, "Software").revision(2).text(),
    ]);
    let mut agent = Agent::registered(&server, "a").await;
    let reply = agent.sync(&server, &[], &[]).await;
    assert_eq!(new(&reply).len(), 1);
    assert!(reply.text.contains("RevisionNumber=\"3\""));
}
