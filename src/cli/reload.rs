//! `reload`: the running server reads its configuration again.
//!
//! **Invariant:** it ends with 3 when a part of the new configuration needs a restart, so that scripts notice. It never
//! restarts anything.

use crate::cli::connection::Connection;
use crate::cli::output::{self, Outcome, field, list};

/// Asks the server, and prints what changed.
pub(super) async fn run(connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
    let answer = connection.send("POST", "/reload", Some(serde_json::json!({}))).await?;
    let restart = list(&answer, "restart");
    if json {
        output::json(&answer)?;
    } else {
        let changed = list(&answer, "changed");
        for one in changed {
            let (before, after) = (shown(one, "before"), shown(one, "after"));
            output::text(&format!("{}: {before} -> {after}", field(one, "key")));
        }
        if changed.is_empty() {
            output::text("Nothing that can be changed while the server runs is different.");
        }
        for one in restart {
            output::text(&format!(
                "{}: needs a restart ({} -> {})",
                field(one, "key"),
                shown(one, "before"),
                shown(one, "after")
            ));
        }
        for doubt in list(&answer, "doubts") {
            output::note(&format!("warning: {} {}", field(doubt, "key"), field(doubt, "text")));
        }
    }
    Ok(if restart.is_empty() { Outcome::Done } else { Outcome::InPart })
}

fn shown(one: &serde_json::Value, name: &str) -> String {
    if one[name].is_null() { "(not set)".to_owned() } else { one[name].to_string() }
}
