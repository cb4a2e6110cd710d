//! `check-config`: what is in force and where each value came from.
//!
//! **Invariant:** it reads and checks, and touches nothing else. Errors were told before this runs.

use crate::cli::output::{self, Outcome};
use crate::config::{Loaded, PLACES};

/// Prints every key.
pub(super) fn run(loaded: &Loaded, json: bool) -> anyhow::Result<Outcome> {
    let shown = loaded.shown();
    if json {
        output::json(&serde_json::json!({ "file": loaded.file, "keys": shown }))?;
        return Ok(Outcome::Done);
    }
    match &loaded.file {
        Some(file) => output::text(&format!("Configuration file: {}\n\n", file.display())),
        None => output::text(&format!(
            "No configuration file ({} do not exist); defaults hold.\n\n",
            PLACES.join(" and ")
        )),
    }
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|entry| {
            let value = entry.value.as_ref().map_or_else(|| "(not set)".to_owned(), ToString::to_string);
            vec![entry.key.to_owned(), value, entry.origin.to_string()]
        })
        .collect();
    output::table(&["KEY", "VALUE", "FROM"], &rows);
    output::text("\nThe configuration can be used.");
    Ok(Outcome::Done)
}
