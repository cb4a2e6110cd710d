//! A recorded scan of a real agent, sent as it is but for its cookies, gets answers of the recorded shape.
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::fs;
use std::path::{Path, PathBuf};

use tailwater::wire::client_update::Service;

use crate::agents::{Agent, Server, all};

/// The names of all elements in their order; runs of one name count once.
fn shape(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for tag in text.split('<').skip(1) {
        let name: String = tag.chars().take_while(|c| !c.is_whitespace() && !">/".contains(*c)).collect();
        if !name.is_empty() && !name.starts_with('?') && names.last() != Some(&name) {
            names.push(name);
        }
    }
    names
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
}

/// Puts today's cookies and configuration where the recording has its own.
fn with_cookies(body: &str, agent: &Agent) -> String {
    let mut body = body.to_owned();
    for (name, value) in [
        ("cookie", agent.cookie.as_str()),
        ("CookieData", &agent.authorization),
        ("lastChange", &agent.last_change),
    ] {
        if let Some(old) = all(&body, name).first().map(|old| (*old).to_owned()) {
            body = body.replace(&format!("<{name}>{old}</{name}>"), &format!("<{name}>{value}</{name}>"));
        }
    }
    body
}

fn captures() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    let there = root.join("wua-scan").is_dir() && root.join("fragments/documents").is_dir();
    if !there {
        println!("skipped: {} is not there", root.display());
    }
    there.then_some(root)
}

#[tokio::test]
async fn the_answers_have_the_recorded_elements_in_their_order() {
    let Some(root) = captures() else { return };
    let documents: Vec<Vec<u8>> = fs::read_dir(root.join("fragments/documents"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    // the product of the recorded scan is not among the recorded documents
    let product = "<upd:Update xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\" xmlns:cat=\"http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/Category\">\
        <upd:UpdateIdentity UpdateID=\"dd78b8a1-0b20-45c1-add6-4da72e9364cf\" RevisionNumber=\"1\"/><upd:Properties UpdateType=\"Category\" DefaultPropertiesLanguage=\"en\"/>\
        <upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>en</upd:Language><upd:Title>x</upd:Title></upd:LocalizedProperties></upd:LocalizedPropertiesCollection>\
        <upd:Relationships><upd:Prerequisites><upd:AtLeastOne IsCategory=\"true\"><upd:UpdateIdentity UpdateID=\"6964aab4-c5b5-43bd-a17d-ffb4346a8e1d\"/></upd:AtLeastOne></upd:Prerequisites></upd:Relationships>\
        <upd:HandlerSpecificData><cat:CategoryInformation CategoryType=\"Product\"/></upd:HandlerSpecificData></upd:Update>";
    let server = Server::over(documents.into_iter().chain([product.as_bytes().to_vec()]));
    let mut agent = Agent::introduced(&server, "e1da06a3-5601-43c9-bac3-52d5db701494", "2.90").await;
    // the recorded numbers are those of another server
    let mut ours: Vec<u32> = Vec::new();
    for number in 1..=10 {
        let folder = root.join(format!("wua-scan/{number:06}"));
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let headers = read("request.headers");
        let path = headers.split_whitespace().nth(1).unwrap();
        let action = header(&headers, "SOAPAction").unwrap();
        let mut body = with_cookies(&read("request.body"), &agent);
        for (theirs, ours) in ["108226", "108231", "72571"].iter().zip(&ours) {
            body = body.replace(&format!("<int>{theirs}</int>"), &format!("<int>{ours}</int>"));
        }
        let reply =
            server.send(path, &[("SOAPAction", action), ("Accept-Encoding", "xpress")], body).await.ok();
        assert_eq!(shape(&reply.text), shape(&read("response.body")), "exchange {number}: {}", reply.text);
        assert!(Service::at(path).is_some());
        if let Some(new) = reply.all("NewUpdates").first() {
            ours.push(all(new, "ID")[0].parse().unwrap());
        }
        if let Some(cookie) = reply.all("NewCookie").first().or(reply.all("GetCookieResult").first()) {
            (*cookie).clone_into(&mut agent.cookie);
        }
        if let Some(data) = reply.all("CookieData").first() {
            (*data).clone_into(&mut agent.authorization);
        }
    }
    assert_eq!(ours.len(), 3, "a company, a family and a product came, one a round");
}
