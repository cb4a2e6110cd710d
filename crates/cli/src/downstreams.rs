//! `downstreams`: list, show, allow, revoke.
//!
//! **Invariant:** a token is printed once, to standard output, and nowhere kept. What servers say of themselves is
//! printed as text without control characters.

use crate::arguments::DownstreamsCommand;
use crate::connection::Connection;
use crate::output::{self, Outcome, bytes, maybe, time};
use tailwater_api::{
    self as api, Allow, Allowed, AllowedState, Identities, Revoke, Revoked, Server, ServerDetail, ServerName,
    Servers, ServersQuery,
};

/// Lists, shows or decides.
pub(super) async fn run(
    connection: &Connection,
    command: DownstreamsCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    match command {
        DownstreamsCommand::List { text, state, page } => {
            let asked = ServersQuery { text, state: state.map(Into::into), ..ServersQuery::default() };
            let query = |paging: api::Paging| ServersQuery {
                offset: paging.offset,
                limit: paging.limit,
                ..asked.clone()
            };
            let answer = connection.pages(api::ListServers, query, page.offset, page.limit).await?;
            if json {
                output::json(&answer)?;
            } else {
                print_list(&answer);
            }
        }
        DownstreamsCommand::Show { server } => {
            let answer = connection.read(api::ReadServer, &server, &api::Nothing {}).await?;
            if json {
                output::json(&answer)?;
            } else {
                print_one(&answer);
            }
        }
        DownstreamsCommand::Allow { server, require_token } => {
            let allow = Allow { server, needs_token: require_token };
            let answer = connection.send(api::AllowServer, "", &allow).await?;
            if json {
                output::json(&answer)?;
            } else {
                print_allowed(&answer);
            }
        }
        DownstreamsCommand::Revoke { server, forget } => {
            let answer = connection.send(api::RevokeServer, "", &Revoke { server, forget }).await?;
            if json {
                output::json(&answer)?;
            } else {
                print_revoked(&answer);
            }
        }
    }
    Ok(Outcome::Done)
}

/// `a.example > b.example`: the servers between this one and what is shown.
pub(super) fn via(servers: &[ServerName]) -> String {
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    names.join(" > ")
}

fn lacks(server: &Server) -> String {
    match server.lacks.revisions {
        Some(0) => "nothing".to_owned(),
        Some(count) => format!("{count} revisions"),
        None if server.lacks.behind => "behind".to_owned(),
        None => "unknown".to_owned(),
    }
}

fn print_list(answer: &Servers) {
    let row = |server: &Server| {
        vec![
            server.name.clone(),
            server.state.as_str().to_owned(),
            via(&server.via),
            server.computers.to_string(),
            maybe(server.took.at),
            bytes(server.took.metadata_bytes),
            bytes(server.took.content_bytes),
            lacks(server),
            server.server_id.to_string(),
        ]
    };
    let rows: Vec<_> = answer.servers.iter().map(row).collect();
    let head = ["SERVER", "STATE", "VIA", "COMPUTERS", "LAST TOOK", "METADATA", "CONTENT", "LACKS", "ID"];
    output::table(&head, &rows);
    output::of_all(rows.len(), &answer.page);
    let invited = answer.invited.iter();
    let invited: Vec<_> =
        invited.map(|one| vec![one.name.clone(), one.at.to_string(), one.needs_token.to_string()]).collect();
    if !invited.is_empty() {
        output::text("");
        output::table(&["ALLOWED, NOT COME YET", "SINCE", "NEEDS TOKEN"], &invited);
    }
    let refused = |one: &api::Refused| {
        let (at, times) = (one.at.to_string(), one.times.to_string());
        vec![one.name.clone(), at, times, one.reason.clone(), one.server_id.to_string()]
    };
    let refused: Vec<_> = answer.refused.iter().map(refused).collect();
    if !refused.is_empty() {
        output::text("");
        output::table(&["REFUSED", "LAST", "TIMES", "WHY", "ID"], &refused);
    }
    output::text(&format!("\npolicy: {}", answer.policy));
}

fn print_one(detail: &ServerDetail) {
    let server = &detail.row;
    let via = via(&server.via);
    let via = if via.is_empty() { "directly" } else { &via };
    output::text(&format!(
        "{}\n  id            {}\n  state         {}\n  via           {}\n  version       {}\n  replica       {}\n  \
         computers     {}\n  last seen     {}\n  last sync     {}\n  last roll-up  {}\n  took          {} metadata, {} \
         content\n  lacks         {}",
        server.name,
        server.server_id,
        server.state.as_str(),
        via,
        server.version,
        server.replica,
        server.computers,
        time(server.last_seen),
        time(server.last_sync),
        time(server.last_rollup),
        bytes(server.took.metadata_bytes),
        bytes(server.took.content_bytes),
        lacks(server),
    ));
    if let Some(summary) = &detail.summary {
        let rows = summary.named().map(|(name, number)| vec![name.replace('_', " "), number.to_string()]);
        output::text("");
        output::table(&["IT SAYS", "COUNT"], &rows);
    }
    let children = detail.children.iter();
    let children: Vec<_> =
        children.map(|child| vec![child.name.clone(), child.server_id.to_string()]).collect();
    if !children.is_empty() {
        output::text("");
        output::table(&["SERVERS BELOW IT", "ID"], &children);
    }
}

fn print_allowed(answer: &Allowed) {
    let (name, token) = (&answer.name, &answer.token);
    let who = if answer.state == AllowedState::Allowed {
        format!("{name} may synchronise from here.")
    } else if answer.needs_token {
        format!("Whoever shows the token may synchronise from here, as {name}.")
    } else {
        format!("The first server that comes as {name} may synchronise from here.")
    };
    output::text(&format!(
        "{who}\nIf it is a Tailwater, put this into its configuration; it is not shown again:\n\n  [upstream]\n  token = \"{token}\""
    ));
}

/// Under what it is shut out.
fn print_shut_out(identity: Option<String>, known: Option<&Identities>) {
    let addresses = known.map(|known| known.addresses.iter().map(ToString::to_string).collect());
    let certificates = known.map(|known| {
        let certificates = known.certificates.iter();
        certificates.map(|one| format!("{} {}", one.name, one.public_key_sha256).trim().to_owned()).collect()
    });
    let lines = [
        ("identity", Vec::from_iter(identity)),
        ("name", known.map(|known| known.names.clone()).unwrap_or_default()),
        ("certificate", certificates.unwrap_or_default()),
        ("address", addresses.unwrap_or_default()),
    ];
    output::text("Whoever comes with one of these is shut out too, under whatever identity:");
    for (what, values) in lines {
        for value in values {
            output::text(&format!("  {what:<12}  {value}"));
        }
    }
    match known.map_or(0, |known| known.tokens) {
        0 => {}
        tokens => output::text(&format!("  {:<12}  {tokens} made for it", "token")),
    }
}

fn print_revoked(answer: &Revoked) {
    match answer {
        Revoked::Forgotten { servers, computers, .. } => {
            output::text(&format!("Forgot {servers} servers and {computers} computers."));
        }
        Revoked::Revoked { server_id, name, shut_out, also_shut_out, shared_addresses } => {
            output::text(&format!("{name} is shut out. What it told stays; --forget removes it."));
            print_shut_out(server_id.map(|id| id.to_string()), shut_out.as_ref());
            for address in shared_addresses {
                output::text(&format!(
                    "Other servers come from {address} too: newcomers from there are not shut out by it."
                ));
            }
            for other in also_shut_out {
                output::text(&format!("Shut out with it: {} {}", other.name, other.server_id));
            }
            output::text("`tailwater downstreams allow` lets one in again, by name or identity.");
        }
    }
}
