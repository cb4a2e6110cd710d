//! `categories list`: products and classifications, with what is selected.
//!
//! **Invariant:** names are printed so that they can be pasted into the configuration. It changes nothing.

use crate::cli::arguments::CategoriesCommand;
use crate::cli::connection::Connection;
use crate::cli::output::{self, Outcome, field, list};

/// Lists.
pub(super) async fn run(
    connection: &Connection,
    command: &CategoriesCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    let CategoriesCommand::List = command;
    let answer = connection.pages("/categories", "categories", 0, None).await?;
    if json {
        output::json(&answer)?;
        return Ok(Outcome::Done);
    }
    let rows: Vec<Vec<String>> = list(&answer, "categories")
        .iter()
        .map(|category| {
            let selected = if category["selected"] == true { "yes" } else { "" };
            vec![
                field(category, "name"),
                field(category, "kind"),
                selected.to_owned(),
                field(category, "updates"),
                field(category, "id"),
            ]
        })
        .collect();
    output::table(&["NAME", "KIND", "SELECTED", "UPDATES", "GUID"], &rows);
    for (name, word) in [("chosen/warnings", "Warning"), ("chosen/notes", "Note")] {
        for text in list(&answer, name) {
            output::note(&format!("{word}: {}", text.as_str().unwrap_or_default()));
        }
    }
    if rows.is_empty() {
        output::note("Nothing was synchronised yet; `tailwater sync` brings the categories.");
    }
    Ok(Outcome::Done)
}
