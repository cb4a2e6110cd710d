//! `content pause`, `resume`, `raise`, `cancel`: what an administrator changes of transfers.
//!
//! **Invariant:** a name that could be several transfers changes none of them. Nothing that is cached is dropped.

use serde::Serialize;

use crate::arguments::TransferNames;
use crate::connection::Connection;
use crate::output::{self, Outcome, bytes};
use tailwater_api::{self as api, ChangeTransfer, Nothing, Transfer};

/// Transfers that a screen has room for.
const SHOWN: usize = 20;

/// Shows them, the first few.
pub(super) fn print(transfers: &[Transfer]) {
    if transfers.is_empty() {
        return;
    }
    output::text("\n");
    let row = |transfer: &Transfer| {
        vec![
            transfer.state.as_str().to_owned(),
            transfer.class.as_str().to_owned(),
            bytes(transfer.held),
            bytes(transfer.size),
            transfer.sha1.clone(),
            transfer.name.clone(),
        ]
    };
    let rows: Vec<_> = transfers.iter().take(SHOWN).map(row).collect();
    output::table(&["TRANSFER", "CLASS", "HELD", "SIZE", "SHA-1", "NAME"], &rows);
    if transfers.len() > SHOWN {
        output::text(&format!("and {} more; --json shows all\n", transfers.len() - SHOWN));
    }
}

/// All transfers.
pub(super) async fn all(connection: &Connection) -> anyhow::Result<Vec<Transfer>> {
    Ok(connection.pages(api::ListTransfers, |paging| paging, 0, None).await?.transfers)
}

/// The one transfer that a name means.
fn transfer<'a>(transfers: &'a [Transfer], name: &str) -> anyhow::Result<&'a Transfer> {
    let wanted = name.to_ascii_lowercase();
    let means = |transfer: &&Transfer| {
        transfer.sha1.to_ascii_lowercase().starts_with(&wanted) || transfer.name.eq_ignore_ascii_case(&wanted)
    };
    let mut found = transfers.iter().filter(means);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => anyhow::bail!("no transfer is called {name}; `tailwater content status` shows them"),
        (Some(_), Some(_)) => anyhow::bail!("{name} could be several transfers; give the whole SHA-1"),
    }
}

/// What was done to one transfer.
#[derive(Serialize)]
#[serde(untagged)]
enum Done {
    Changed(api::ChangedTransfer),
    Cancelled(api::CancelledTransfer),
}

/// Changes transfers, or cancels them where there is no change.
pub(super) async fn order(
    connection: &Connection,
    names: &TransferNames,
    change: Option<ChangeTransfer>,
    json: bool,
) -> anyhow::Result<Outcome> {
    let transfers = all(connection).await?;
    let meant: Vec<&Transfer> =
        names.files.iter().map(|name| transfer(&transfers, name)).collect::<anyhow::Result<_>>()?;
    let mut done = Vec::new();
    for transfer in meant {
        done.push(match &change {
            Some(change) => {
                Done::Changed(connection.send(api::UpdateTransfer, &transfer.sha1, change).await?)
            }
            None => Done::Cancelled(connection.send(api::CancelTransfer, &transfer.sha1, &Nothing {}).await?),
        });
        if !json {
            let what = match change {
                None => "cancelled; what has arrived is kept".to_owned(),
                Some(ChangeTransfer { paused: Some(true), .. }) => "paused".to_owned(),
                Some(ChangeTransfer { class: Some(class), .. }) => format!("at least {} now", class.as_str()),
                Some(_) => "resumed".to_owned(),
            };
            output::text(&format!("{} {}: {what}\n", transfer.sha1, transfer.name));
        }
    }
    if json {
        output::json(&done)?;
    }
    Ok(Outcome::Done)
}
