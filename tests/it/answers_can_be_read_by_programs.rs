//! `--json` gives one document, always, and the status says what kind of failure it was.

use serde_json::Value;

use crate::server::{Server, command, dead_port, said};

/// The one document that a command printed.
fn document(output: &std::process::Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}: {}", said(output)))
}

#[test]
fn every_failure_is_one_document() {
    let server = Server::started("");
    let table: [(&[&str], i32); 11] = [
        // wrong usage
        (&["updates", "lst", "--json"], 2),
        (&["--json", "updates", "approve"], 2),
        (&["bandwidth", "set", "--rate", "fast", "--json"], 2),
        (&["client-policy", "--url", "nowhere", "--json"], 2),
        (&["updates", "list", "--limit", "many", "--json"], 2),
        // refusals and failures
        (&["updates", "show", "KB1", "--json"], 1),
        (&["updates", "approve", "KB1", "--group", "Nobody", "--json"], 1),
        (&["computers", "show", "nobody", "--json"], 1),
        (&["downstreams", "show", "nobody", "--json"], 1),
        (&["sync", "--json"], 1),
        (&["sync", "cancel", "--json"], 1),
    ];
    for (arguments, code) in table {
        let output = server.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        let document = document(&output);
        let is_told = document["error"]["message"].is_string() || document["message"].is_string();
        assert!(is_told, "{arguments:?}: {document}");
    }
    let clients = command(&server.config())
        .args(["simulate", "clients", "--count", "1", "--json", "--server"])
        .arg(format!("http://127.0.0.1:{}", dead_port()))
        .output()
        .unwrap();
    assert_eq!(clients.status.code(), Some(1), "{}", said(&clients));
    document(&clients);
    let wrong = Server::configured("[content]\nfetsh = \"demand\"\nmax_size = 3\n");
    for arguments in [&["status", "--json"][..], &["check-config", "--json"], &["serve", "--json"]] {
        let output = wrong.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(document(&output)["error"]["message"].as_str().unwrap().contains("content.max_size"));
    }
    // help and version are no errors
    assert!(server.run(&["--help"]).status.success() && server.run(&["--version"]).status.success());
}
