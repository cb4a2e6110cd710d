//! A server that is not let in is told so by the specified fault, the log says who and why, and the rest of the chain
//! does not notice.

use std::net::TcpStream;

use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;

use crate::head_offices_see_every_computer::json;
use crate::server::{Server, said};

fn below(url: &str, more: &str) -> String {
    format!("[upstream]\nurl = \"{url}\"\nschedule = []\nclassifications = []\nproxy = \"none\"\n{more}")
}

#[test]
fn an_unknown_server_is_refused_until_it_is_allowed_and_after_it_is_revoked() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tasks = Tasks::new();
    let config =
        upstream::Config { updates: 10, mean_size: ByteCount(20_000), ..upstream::Config::default() };
    let office = runtime.block_on(upstream::start(config, &Clock::system(), &tasks)).unwrap();
    let policy = "[downstream]\npolicy = \"enrolled\"\n";
    let head =
        Server::started(&format!("{}{policy}", below(&office.url(), "account_name = \"head.example\"\n")));
    json(&head, &["sync"]);
    let url = format!("http://{}", head.agents());

    let stranger = Server::started(&below(&url, "account_name = \"stranger.example\"\n"));
    let refused = stranger.run(&["sync"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("downstreams allow"), "the next step is named: {}", said(&refused));
    let listed = json(&head, &["downstreams", "list"]);
    assert_eq!(listed["refused"][0]["name"], "stranger.example", "{listed}");
    let log = head.log();
    let line = log.lines().find(|line| line.contains("refused a downstream server"));
    let line = line.unwrap_or_else(|| panic!("the log is silent: {log}"));
    assert!(line.contains("stranger.example") && line.contains("not enrolled"), "{line}");

    // one with a token comes, whatever its name; the token stands nowhere but in its configuration
    let allowed = json(&head, &["downstreams", "allow", "branch.example", "--require-token"]);
    let token = allowed["token"].as_str().unwrap();
    let mut branch =
        Server::started(&below(&url, &format!("account_name = \"branch.example\"\ntoken = \"{token}\"\n")));
    json(&branch, &["sync"]);
    let shown = said(&branch.run(&["check-config"]));
    assert!(!shown.contains(token) && !head.log().contains(token) && !branch.log().contains(token));
    assert_eq!(json(&head, &["downstreams", "show", "branch.example"])["state"], "allowed");

    // by name, one that cannot show anything
    json(&head, &["downstreams", "allow", "stranger.example"]);
    json(&stranger, &["sync"]);

    // revoked: also with the cookie that it still has
    json(&head, &["downstreams", "revoke", "branch.example"]);
    let revoked = branch.run(&["sync"]);
    assert_eq!(revoked.status.code(), Some(1), "{}", said(&revoked));
    assert!(head.log().contains("revoked by an administrator"), "{}", head.log());
    // the others do not notice, and the revoked one goes on serving
    json(&stranger, &["sync"]);
    assert!(TcpStream::connect(branch.agents()).is_ok());
    assert!(branch.stop());
}
