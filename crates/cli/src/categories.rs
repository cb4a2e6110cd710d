//! `categories list`: products and classifications, with what is selected.
//!
//! **Invariant:** names are printed so that they can be pasted into the configuration. It changes nothing.

use crate::arguments::CategoriesCommand;
use crate::connection::Connection;
use crate::output::{self, Outcome};
use tailwater_api as api;

/// Lists.
pub(super) async fn run(
    connection: &Connection,
    command: &CategoriesCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    let CategoriesCommand::List = command;
    let answer = connection.pages(api::ListCategories, |paging| paging, 0, None).await?;
    if json {
        output::json(&answer)?;
        return Ok(Outcome::Done);
    }
    let row = |category: &api::Category| {
        let selected = if category.selected { "yes" } else { "" };
        vec![
            category.name.clone(),
            category.kind.as_str().to_owned(),
            selected.to_owned(),
            category.updates.to_string(),
            category.id.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = answer.categories.iter().map(row).collect();
    output::table(&["NAME", "KIND", "SELECTED", "UPDATES", "GUID"], &rows);
    if let Some(chosen) = &answer.chosen {
        for warning in &chosen.warnings {
            output::note(&format!("Warning: {warning}"));
        }
        for note in &chosen.notes {
            output::note(&format!("Note: {note}"));
        }
    }
    if rows.is_empty() {
        output::note("Nothing was synchronised yet; `tailwater sync` brings the categories.");
    }
    Ok(Outcome::Done)
}
