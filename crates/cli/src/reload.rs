//! `reload`: the running server reads its configuration again.
//!
//! **Invariant:** it ends with 3 when a part of the new configuration needs a restart, so that scripts notice. It never
//! restarts anything.

use crate::connection::Connection;
use crate::output::{self, Outcome};
use tailwater_api::{self as api, ConfigurationValue};

/// Asks the server, and prints what changed.
pub(super) async fn run(connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
    let answer = connection.ask(api::Reload).await?;
    if json {
        output::json(&answer)?;
    } else {
        for one in &answer.changed {
            output::text(&format!(
                "{}: {} -> {}",
                one.key,
                shown(one.before.as_ref())?,
                shown(one.after.as_ref())?
            ));
        }
        if answer.changed.is_empty() {
            output::text("Nothing that can be changed while the server runs is different.");
        }
        for one in &answer.restart {
            let (before, after) = (shown(one.before.as_ref())?, shown(one.after.as_ref())?);
            output::text(&format!("{}: needs a restart ({before} -> {after})", one.key));
        }
        for doubt in &answer.doubts {
            output::note(&format!("warning: {} {}", doubt.key, doubt.text));
        }
    }
    Ok(if answer.restart.is_empty() { Outcome::Done } else { Outcome::InPart })
}

fn shown(value: Option<&ConfigurationValue>) -> anyhow::Result<String> {
    Ok(match value {
        Some(value) => serde_json::to_string(value)?,
        None => "(not set)".to_owned(),
    })
}
