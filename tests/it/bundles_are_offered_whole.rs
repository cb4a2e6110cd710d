//! A bundle is offered whole or not at all; administrators are told why, and agents hear by themselves when it is whole.

use std::collections::BTreeMap;

use serde_json::Value;
use tailwater::domain::{Action, UpdateId};

use crate::agents::{self, Agent, Document, Reply, all, id};
use crate::office::{self, Office};
use crate::server::{Server, said};

/// Action by number of update, of new and of changed updates; the numbers by which the server knows them.
fn told(reply: &Reply, list: &str, known: &mut BTreeMap<u32, u128>) -> BTreeMap<u128, String> {
    let Some(list) = reply.all(list).first().copied() else { return BTreeMap::new() };
    let one = |info| {
        let revision: u32 = all(info, "ID")[0].parse().unwrap();
        let xml = all(info, "Xml").first().copied().unwrap_or_default();
        if let Some(id) = xml.split("UpdateID=\"").nth(1).and_then(|rest| rest.split('"').next()) {
            known.insert(revision, uuid::Uuid::try_parse(id).unwrap().as_u128());
        }
        (known[&revision], all(info, "Action")[0].to_owned())
    };
    all(list, "UpdateInfo").into_iter().map(one).collect()
}

fn actions(expected: &[(u128, &str)]) -> BTreeMap<u128, String> {
    expected.iter().map(|(number, action)| (*number, (*action).to_owned())).collect()
}

#[tokio::test]
async fn agents_hear_of_a_bundle_when_its_last_member_comes_and_when_one_goes() {
    // 1 bundles 2, which bundles 3 or 4 and needs 5; 6 can be deployed by itself as well
    let server = agents::Server::over([
        Document::new(1, "Software").bundles(2).bundles(6).text(),
        Document::new(2, "Software").member().bundles_any(&[3, 4]).bundles(5).text(),
        Document::new(4, "Software").member().text(),
        Document::new(6, "Software").text(),
    ]);
    server.approve(&id(1), Action::Install);
    let mut known = BTreeMap::new();
    let mut agent = Agent::registered(&server, "a").await;
    let first = agent.sync(&server, &[], &[]).await;
    assert_eq!(told(&first, "NewUpdates", &mut known), actions(&[(6, "PreDeploymentCheck")]));
    agents::ingest(&server.catalog, [Document::new(5, "Software").member().text()]);
    let cached: Vec<u32> = known.keys().copied().collect();
    let second = agent.sync(&server, &[], &cached).await;
    let expected = actions(&[(1, "Install"), (2, "Bundle"), (4, "Bundle"), (5, "Bundle")]);
    assert_eq!(told(&second, "NewUpdates", &mut known), expected);
    assert_eq!(told(&second, "ChangedUpdates", &mut known), actions(&[(6, "Bundle")]));
    let six: UpdateId = id(6).parse().unwrap();
    server.catalog.decline(&six, "test").unwrap();
    let cached: Vec<u32> = known.keys().copied().collect();
    let third = agent.sync(&server, &[], &cached).await;
    let gone = all(third.all("OutOfScopeRevisionIDs")[0], "int").len();
    assert_eq!((gone, told(&third, "NewUpdates", &mut known)), (5, BTreeMap::new()));
    server.catalog.undecline(&six).unwrap();
    let fourth = agent.sync(&server, &[], &[]).await;
    assert_eq!(told(&fourth, "NewUpdates", &mut known).get(&1).unwrap(), "Install");
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", said(&output)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_is_told_which_member_the_upstream_refuses() {
    let mut documents = office::categories();
    let (inner, member, late) =
        (office::revision(501, 1), office::revision(502, 4), office::revision(503, 1));
    let part = |identity, title, relations: &str| office::Document {
        listed: false,
        ..office::document(identity, "Software", title, relations, "")
    };
    documents.push(part(inner, "The inner bundle", &office::bundles(&[member, late])));
    documents.push(part(member, "The refused member", ""));
    let title = "The outer bundle";
    documents.push(office::document(
        office::revision(500, 1),
        "Software",
        title,
        &office::bundles(&[inner]),
        "",
    ));
    let office = Office::open(documents, 100).await;
    office.refuse(member);
    let server = Server::started(&format!(
        "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n",
        office.url
    ));
    assert_eq!(json(&server, &["sync"])["outcome"], "partial");
    let bundle = office::id(500).to_string();
    json(&server, &["updates", "approve", &bundle, "--group", "All Computers"]);
    let shown = json(&server, &["updates", "show", &bundle]);
    assert_eq!(shown["state"], "withheld", "{shown}");
    let names: Vec<(&Value, &Value, &Value)> = shown["withheld"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["update_id"], &one["revision"], &one["reason"]))
        .collect();
    let (first, second) = (Value::from(member.update.to_string()), Value::from(late.update.to_string()));
    let (four, one, missing) = (Value::from(4), Value::from(1), Value::from("missing"));
    assert_eq!(names, [(&first, &four, &missing), (&second, &one, &missing)]);
    assert_eq!(shown["withheld"][0]["through"], Value::from(vec![inner.update.to_string()]));
    assert!(shown["withheld"][0]["detail"].as_str().unwrap().contains("InternalServerError"), "{shown}");
    let text = said(&server.run(&["updates", "show", &bundle]));
    assert!(text.contains("withheld") && text.contains(&member.to_string()), "{text}");
    assert_eq!(json(&server, &["updates", "list", "--state", "withheld"])["total"], 2, "inner and outer");
    // it comes by itself
    office.admit(member);
    office.publish(part(late, "The late member", ""));
    assert_eq!(json(&server, &["sync"])["outcome"], "complete");
    let shown = json(&server, &["updates", "show", &bundle]);
    assert_eq!((&shown["state"], &shown["withheld"]), (&Value::from("approved"), &Value::Array(Vec::new())));
    office.close().await;
}
