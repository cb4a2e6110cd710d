//! Nothing of the admin API answers without the token or to another site's page, and nothing large gets in.

use serde_json::json;

use crate::server::Server;

#[test]
fn without_the_token_only_health_and_the_page_answer() {
    let server = Server::started("");
    for path in
        ["/", "/console.js", "/console.css", "/healthz", "/readyz", "/metrics", "/api/v1/openapi.json"]
    {
        assert_eq!(server.ask("GET", path, "Host: localhost\r\n", b"").status, 200, "{path}");
    }
    let document = server.ask("GET", "/api/v1/openapi.json", "Host: localhost\r\n", b"").json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let asked = path.replace(['{', '}'], "");
            let answer = server.ask(&method.to_uppercase(), &asked, "Host: localhost\r\n", b"{}");
            assert_eq!(answer.status, 401, "{method} {path}");
        }
    }
    let wrong =
        server.ask("GET", "/api/v1/status", "Host: localhost\r\nAuthorization: Bearer wrong\r\n", b"");
    assert_eq!(wrong.status, 401);
    assert_eq!(server.api("GET", "/status", None).json()["ready"], true);
}

#[test]
fn other_sites_and_foreign_names_are_refused() {
    let server = Server::started("");
    let token = server.token();
    let with = |headers: &str| {
        let headers = format!("Authorization: Bearer {token}\r\n{headers}");
        server.ask("GET", "/api/v1/status", &headers, b"").status
    };
    assert_eq!(with("Host: localhost\r\n"), 200);
    assert_eq!(with("Host: rebound.example\r\n"), 421);
    assert_eq!(with("Host: localhost\r\nOrigin: http://evil.example\r\n"), 403);
    let page = server.ask("GET", "/", "Host: localhost\r\n", b"");
    assert!(page.headers.contains("content-security-policy: default-src 'none'"), "{}", page.headers);
    assert!(!page.text().contains("http://") && !page.text().contains("https://"), "no external assets");
}

#[test]
fn bad_requests_are_refused_in_words() {
    let server = Server::started("");
    let huge = json!({ "rate": "x".repeat(3_000_000) });
    assert_eq!(server.api("PUT", "/bandwidth", Some(&huge)).status, 413);
    let answer = server.api("PUT", "/bandwidth", Some(&json!({ "rate": "fast" })));
    assert_eq!(answer.status, 400);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("8 Mbit/s"));
    let answer = server.api("PUT", "/bandwidth", Some(&json!({ "rat": "8 Mbit/s" })));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("rat"), "{}", answer.text());
    assert_eq!(server.api("GET", "/nothing", None).status, 404);
}

#[test]
fn a_rate_set_by_command_is_in_force_at_once() {
    let server = Server::started("");
    assert!(server.run(&["bandwidth", "set", "--rate", "2 Mbit/s"]).status.success());
    assert_eq!(server.api("GET", "/bandwidth", None).json()["rate"], "2 Mbit/s");
    assert!(server.run(&["bandwidth", "set", "--rate", "closed", "--until", "06:00"]).status.success());
    let answer = server.api("GET", "/bandwidth", None).json();
    assert_eq!((&answer["rate"], &answer["because"]), (&json!("closed"), &json!("exception")));
    assert_eq!(answer["then"], "unlimited");
    assert!(server.run(&["bandwidth", "set", "--calendar"]).status.success());
    assert_eq!(server.api("GET", "/bandwidth", None).json()["rate"], "unlimited");
    assert_eq!(
        server.run(&["bandwidth", "set", "--rate", "1 MB/s", "--until", "soon"]).status.code(),
        Some(2)
    );
}
