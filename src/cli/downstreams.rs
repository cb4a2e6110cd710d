//! `downstreams`: list, show, allow, revoke.
//!
//! **Invariant:** a token is printed once, to standard output, and nowhere kept. What servers say of themselves is
//! printed as text without control characters.

use serde_json::{Value, json};

use crate::cli::arguments::DownstreamsCommand;
use crate::cli::connection::{Connection, encoded};
use crate::cli::output::{self, Outcome, bytes, field, list, time};

/// Lists, shows or decides.
pub(super) async fn run(
    connection: &Connection,
    command: DownstreamsCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    let (answer, print): (Value, fn(&Value)) = match command {
        DownstreamsCommand::List { text, state, page } => {
            let mut query = Vec::new();
            query.extend(text.map(|text| format!("text={}", encoded(&text))));
            query.extend(state.map(|state| format!("state={}", state.as_str())));
            let path = format!("/downstreams?{}", query.join("&"));
            (connection.pages(&path, "servers", page.offset, page.limit).await?, print_list)
        }
        DownstreamsCommand::Show { server } => {
            (connection.get(&format!("/downstreams/{}", encoded(&server))).await?, print_one)
        }
        DownstreamsCommand::Allow { server, require_token } => {
            let body = json!({ "server": server, "needs_token": require_token });
            (connection.send("POST", "/downstreams/allow", Some(body)).await?, print_allowed)
        }
        DownstreamsCommand::Revoke { server, forget } => {
            let body = json!({ "server": server, "forget": forget });
            (connection.send("POST", "/downstreams/revoke", Some(body)).await?, print_revoked)
        }
    };
    if json {
        output::json(&answer)?;
    } else {
        print(&answer);
    }
    Ok(Outcome::Done)
}

/// `a.example > b.example`: the servers between this one and what is shown.
pub(super) fn via(row: &Value) -> String {
    let names: Vec<String> = list(row, "via").iter().map(|server| field(server, "name")).collect();
    names.join(" > ")
}

fn lacks(server: &Value) -> String {
    match server.pointer("/lacks/revisions").and_then(Value::as_u64) {
        Some(0) => "nothing".to_owned(),
        Some(count) => format!("{count} revisions"),
        None if field(server, "lacks/behind") == "true" => "behind".to_owned(),
        None => "unknown".to_owned(),
    }
}

fn print_list(answer: &Value) {
    let rows: Vec<Vec<String>> = list(answer, "servers")
        .iter()
        .map(|server| {
            vec![
                field(server, "name"),
                field(server, "state"),
                via(server),
                field(server, "computers"),
                field(server, "took/at"),
                bytes(server, "took/metadata_bytes"),
                bytes(server, "took/content_bytes"),
                lacks(server),
                field(server, "server_id"),
            ]
        })
        .collect();
    let head = ["SERVER", "STATE", "VIA", "COMPUTERS", "LAST TOOK", "METADATA", "CONTENT", "LACKS", "ID"];
    output::table(&head, &rows);
    output::of_all(answer, "servers");
    let cells =
        |value: &Value, names: &[&str]| names.iter().map(|name| field(value, name)).collect::<Vec<_>>();
    let invited: Vec<_> =
        list(answer, "invited").iter().map(|one| cells(one, &["name", "at", "needs_token"])).collect();
    if !invited.is_empty() {
        output::text("");
        output::table(&["ALLOWED, NOT COME YET", "SINCE", "NEEDS TOKEN"], &invited);
    }
    let refused: Vec<_> = list(answer, "refused")
        .iter()
        .map(|one| cells(one, &["name", "at", "times", "reason", "server_id"]))
        .collect();
    if !refused.is_empty() {
        output::text("");
        output::table(&["REFUSED", "LAST", "TIMES", "WHY", "ID"], &refused);
    }
    output::text(&format!("\npolicy: {}", field(answer, "policy")));
}

fn print_one(server: &Value) {
    let of = |name: &str| field(server, name);
    let via = via(server);
    let via = if via.is_empty() { "directly" } else { &via };
    output::text(&format!(
        "{}\n  id            {}\n  state         {}\n  via           {}\n  version       {}\n  replica       {}\n  \
         computers     {}\n  last seen     {}\n  last sync     {}\n  last roll-up  {}\n  took          {} metadata, {} \
         content\n  lacks         {}",
        of("name"),
        of("server_id"),
        of("state"),
        via,
        of("version"),
        of("replica"),
        of("computers"),
        time(server, "last_seen"),
        time(server, "last_sync"),
        time(server, "last_rollup"),
        bytes(server, "took/metadata_bytes"),
        bytes(server, "took/content_bytes"),
        lacks(server),
    ));
    if let Some(summary) = server.get("summary").and_then(Value::as_object) {
        let rows: Vec<Vec<String>> =
            summary.iter().map(|(name, number)| vec![name.replace('_', " "), number.to_string()]).collect();
        output::text("");
        output::table(&["IT SAYS", "COUNT"], &rows);
    }
    let children: Vec<Vec<String>> = list(server, "children")
        .iter()
        .map(|child| vec![field(child, "name"), field(child, "server_id")])
        .collect();
    if !children.is_empty() {
        output::text("");
        output::table(&["SERVERS BELOW IT", "ID"], &children);
    }
}

fn print_allowed(answer: &Value) {
    let (name, token) = (field(answer, "name"), field(answer, "token"));
    let who = if field(answer, "state") == "allowed" {
        format!("{name} may synchronise from here.")
    } else if field(answer, "needs_token") == "true" {
        format!("Whoever shows the token may synchronise from here, as {name}.")
    } else {
        format!("The first server that comes as {name} may synchronise from here.")
    };
    output::text(&format!(
        "{who}\nIf it is a Tailwater, put this into its configuration; it is not shown again:\n\n  [upstream]\n  token = \"{token}\""
    ));
}

/// Under what it is shut out, and who else is.
fn print_shut_out(answer: &Value) {
    let texts = |name: &str| -> Vec<String> {
        list(answer, name).iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let certificates: Vec<String> = list(answer, "shut_out/certificates")
        .iter()
        .map(|one| format!("{} {}", field(one, "name"), field(one, "public_key_sha256")).trim().to_owned())
        .collect();
    let identity = field(answer, "server_id");
    let lines = [
        ("identity", if identity.is_empty() { Vec::new() } else { vec![identity] }),
        ("name", texts("shut_out/names")),
        ("certificate", certificates),
        ("address", texts("shut_out/addresses")),
    ];
    output::text("Whoever comes with one of these is shut out too, under whatever identity:");
    for (what, values) in lines {
        for value in values {
            output::text(&format!("  {what:<12}  {value}"));
        }
    }
    match output::number(answer, "shut_out/tokens") {
        0 => {}
        tokens => output::text(&format!("  {:<12}  {tokens} made for it", "token")),
    }
    for address in texts("shared_addresses") {
        output::text(&format!(
            "Other servers come from {address} too: newcomers from there are not shut out by it."
        ));
    }
    for other in list(answer, "also_shut_out") {
        output::text(&format!("Shut out with it: {} {}", field(other, "name"), field(other, "server_id")));
    }
    output::text("`tailwater downstreams allow` lets one in again, by name or identity.");
}

fn print_revoked(answer: &Value) {
    if field(answer, "state") == "forgotten" {
        let (servers, computers) = (field(answer, "servers"), field(answer, "computers"));
        output::text(&format!("Forgot {servers} servers and {computers} computers."));
    } else {
        output::text(&format!(
            "{} is shut out. What it told stays; --forget removes it.",
            field(answer, "name")
        ));
        print_shut_out(answer);
    }
}
