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
