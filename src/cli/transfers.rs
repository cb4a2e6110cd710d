//! `content pause`, `resume`, `raise`, `cancel`: what an administrator says of transfers.
//!
//! **Invariant:** a name that could be several transfers changes none of them. Nothing that is held is given up.

use serde_json::Value;

use crate::cli::arguments::TransferNames;
use crate::cli::connection::Connection;
use crate::cli::output::{self, Outcome, bytes, field, list};

/// Transfers that a screen has room for.
const SHOWN: usize = 20;

/// Shows them, the first few.
pub(super) fn print(answer: &Value) {
    let transfers = list(answer, "transfers");
    if transfers.is_empty() {
        return;
    }
    output::text("\n");
    let rows: Vec<Vec<String>> = transfers
        .iter()
        .take(SHOWN)
        .map(|transfer| {
            vec![
                field(transfer, "state"),
                field(transfer, "class"),
                bytes(transfer, "held"),
                bytes(transfer, "size"),
                field(transfer, "sha1"),
                field(transfer, "name"),
            ]
        })
        .collect();
    output::table(&["TRANSFER", "CLASS", "HELD", "SIZE", "SHA-1", "NAME"], &rows);
    if transfers.len() > SHOWN {
        output::text(&format!("and {} more; --json shows all\n", transfers.len() - SHOWN));
    }
}

/// The one transfer that a name means.
fn transfer<'a>(transfers: &'a [Value], name: &str) -> anyhow::Result<&'a Value> {
    let wanted = name.to_ascii_lowercase();
    let means = |transfer: &&Value| {
        let sha1 = transfer["sha1"].as_str().unwrap_or_default().to_ascii_lowercase();
        sha1.starts_with(&wanted)
            || transfer["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(&wanted))
    };
    let mut found = transfers.iter().filter(means);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => anyhow::bail!("no transfer is called {name}; `tailwater content status` shows them"),
        (Some(_), Some(_)) => anyhow::bail!("{name} could be several transfers; give the whole SHA-1"),
    }
}

/// Changes transfers, or gives them up.
pub(super) async fn order(
    connection: &Connection,
    names: &TransferNames,
    change: Option<Value>,
    json: bool,
) -> anyhow::Result<Outcome> {
    let answer = connection.get("/transfers").await?;
    let transfers = list(&answer, "transfers");
    let meant: Vec<&Value> =
        names.files.iter().map(|name| transfer(transfers, name)).collect::<anyhow::Result<_>>()?;
    let mut done = Vec::new();
    for transfer in meant {
        let path = format!("/transfers/{}", transfer["sha1"].as_str().unwrap_or_default());
        let method = if change.is_some() { "PUT" } else { "DELETE" };
        done.push(connection.send(method, &path, change.clone()).await?);
        if !json {
            output::text(&format!(
                "{} {}: {}\n",
                field(transfer, "sha1"),
                field(transfer, "name"),
                match &change {
                    None => "given up; what has come is kept".to_owned(),
                    Some(change) if change["paused"] == true => "paused".to_owned(),
                    Some(change) if change["paused"] == false => "goes on".to_owned(),
                    Some(change) => format!("at least {} now", field(change, "class")),
                }
            ));
        }
    }
    if json {
        output::json(&Value::from(done))?;
    }
    Ok(Outcome::Done)
}
