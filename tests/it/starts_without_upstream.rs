//! Agents can be served within 2 seconds of the start, whether or not the upstream answers; what is in the
//! way of a start is named with the next step.

use std::time::Duration;

use crate::server::{Server, command, said};

#[test]
fn ready_within_two_seconds_with_a_dead_upstream_and_stopped_in_order() {
    let mut server = Server::configured("");
    let took = server.start();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(server.ask("GET", "/healthz", "Host: localhost\r\n", b"").status, 200);
    assert!(server.stop(), "{}", server.log());
    // and again on the same data
    assert!(server.start() < Duration::from_secs(2));
}

#[test]
fn a_dead_upstream_is_named_with_its_address() {
    let server = Server::started("");
    let output = server.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("127.0.0.1"), "{}", said(&output));
}

#[test]
fn a_data_directory_in_use_is_named_with_the_process() {
    let server = Server::started("");
    let output = server.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("in use by process") && text.contains("server.data_dir"), "{text}");
}

#[test]
fn a_port_in_use_is_named() {
    let server = Server::started("");
    let taken = server.agents().to_string();
    let second = Server::configured("");
    let output =
        command(&second.config()).env("TAILWATER_SERVER__LISTEN", &taken).arg("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("server.listen") && text.contains(&server.agents().port().to_string()), "{text}");
}

#[test]
fn a_wrong_configuration_ends_with_2_and_the_nearest_key() {
    let server = Server::configured("[content]\nfetsh = \"demand\"");
    for arguments in [&["serve"][..], &["check-config"], &["status"]] {
        let output = server.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(said(&output).contains("content.fetch"), "{}", said(&output));
    }
}

/// What the log says of the console and of what to do first.
fn greeting(server: &Server) -> (bool, bool) {
    let log = server.log();
    assert!(!log.contains(&server.token()), "the token itself is never printed");
    let token_file = server.data().join("admin-token");
    let console = format!("http://{}/", server.admin().unwrap());
    let looks =
        log.lines().any(|line| line.contains(&console) && line.contains(&*token_file.to_string_lossy()));
    let first = format!("--config {} sync", server.config().display());
    (looks, log.contains(&first))
}

#[test]
fn the_start_says_where_the_console_is_and_the_first_one_what_to_do() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tasks = tailwater::runtime::Tasks::new();
    let config = tailwater::simulate::upstream::Config {
        updates: 3,
        definitions: 0,
        drivers: 0,
        ..tailwater::simulate::upstream::Config::default()
    };
    let clock = tailwater::runtime::Clock::system();
    let office = runtime.block_on(tailwater::simulate::upstream::start(config, &clock, &tasks)).unwrap();
    let mut server = Server::configured(&format!(
        "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n",
        office.url()
    ));
    server.start();
    tells(&server, (true, true));
    // the very command that was offered
    let output = command(&server.config()).arg("sync").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(server.stop());
    server.start();
    tells(&server, (true, false));
    drop(server);
    assert!(runtime.block_on(tasks.shut_down(Duration::from_secs(10))));
}

/// The lines come right after the server is ready.
fn tells(server: &Server, wanted: (bool, bool)) {
    let began = std::time::Instant::now();
    while greeting(server) != wanted {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", server.log());
        std::thread::yield_now();
    }
}
