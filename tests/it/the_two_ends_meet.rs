//! Simulated agents get what is approved from a simulated upstream through the real server, every byte
//! right, and what one of them asked for crosses the link once.

use std::time::Duration;

use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::{clients, upstream};

use crate::server::{Server, said};

fn some_updates(server: &Server, count: usize) -> Vec<String> {
    let list = server.api("GET", "/updates?limit=500", None).json();
    let updates = list["updates"].as_array().unwrap();
    let usable =
        updates.iter().filter(|update| update["approvable"] == true && update["state"] == "unapproved");
    usable.take(count).map(|update| update["update_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn agents_get_what_is_approved_and_each_byte_crosses_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let config = upstream::Config {
        updates: 40,
        definitions: 1,
        definition_files: 12,
        drivers: 3,
        mean_size: ByteCount(300_000),
        ..upstream::Config::default()
    };
    let office = runtime.block_on(upstream::start(config, &clock, &tasks)).unwrap();
    let server = Server::started(&format!(
        "[upstream]\nurl = \"{}\"\nschedule = []\nproducts = []\nclassifications = []\n",
        office.url()
    ));
    let synced = server.run(&["sync"]);
    assert!(synced.status.success(), "{}", said(&synced));
    assert_eq!(office.counters().documents, office.offers().0 as u64, "each document once");

    let updates = some_updates(&server, 15);
    let mut command = vec!["updates", "approve", "--accept-license", "--group", "All Computers"];
    command.extend(updates.iter().map(String::as_str));
    let approved = server.run(&command);
    assert!(approved.status.success(), "{}", said(&approved));

    let fleet = clients::Config {
        server: format!("http://{}", server.agents()),
        count: 6,
        parallel: 6,
        rounds: 2,
        download: true,
        arrival: Duration::ZERO,
        ..clients::Config::default()
    };
    let report = runtime.block_on(clients::run(fleet, &clock, &tasks));
    assert_eq!((report.agents_done, report.agents_failed), (6, 0), "{:?}", report.failures);
    assert!(report.files > 0 && report.files_wrong == 0, "{report:?}");
    let sent = office.counters().content_bytes;
    assert!(sent < report.file_bytes / 2, "{sent} bytes from upstream for {} to agents", report.file_bytes);

    let status = server.api("GET", "/computers", None).json();
    let installed: u64 =
        status["computers"].as_array().unwrap().iter().filter_map(|c| c["installed"].as_u64()).sum();
    assert!(installed > 0, "{status}");

    office.publish(5);
    let before = office.counters().documents;
    assert!(server.run(&["sync"]).status.success());
    let fetched = office.counters().documents - before;
    assert!((5..=20).contains(&fetched), "only what is new: {fetched}");
    assert!(runtime.block_on(tasks.shut_down(Duration::from_secs(10))));
}
