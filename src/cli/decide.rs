//! `updates approve` and the like: what will change, whether it is meant, and what came of it.
//!
//! **Invariant:** what was shown is what is changed. Of several names those that can be decided are; each that cannot is
//! printed, and the status is 3. `--all-matches` is confirmed, at a terminal or with `--yes`; without either it is refused.

use serde_json::{Value, json};

use super::confirm;
use super::connection::Connection;
use super::output::{self, Outcome, field, list, number};
use crate::catalog::MAX_DECIDED;

/// A decision as it was typed.
pub(super) struct Decision {
    /// Path of the API below `/updates`; what it is called.
    pub(super) verb: &'static str,
    /// What it says of an update that changed.
    pub(super) done: &'static str,
    /// For whom or how, for the question; may be empty.
    pub(super) how: String,
    /// The request.
    pub(super) body: Value,
    /// Whether it was confirmed beforehand.
    pub(super) yes: bool,
}

impl Decision {
    /// Shows, asks, decides, tells.
    pub(super) async fn make(mut self, connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
        let told = if self.yes { false } else { self.confirm(connection).await? };
        let answer = self.send(connection).await?;
        if !told {
            confirm::warn(list(&answer, "warnings"));
        }
        let (done, failed) = (list(&answer, "done"), list(&answer, "failed"));
        if json {
            output::json(&answer)?;
        } else {
            for update in done {
                let word = if update["changed"] == false { "Unchanged:" } else { self.done };
                output::text(&format!("{word} {}  {}", field(update, "update_id"), field(update, "title")));
            }
            if done.len() > 1 {
                output::text(&format!("{} of {} changed.", number(&answer, "count"), done.len()));
            }
        }
        for failure in failed {
            output::note(&format!("error: {}: {}", field(failure, "update"), field(failure, "error")));
            for candidate in list(failure, "candidates") {
                output::note(&format!("  {}  {}", field(candidate, "update_id"), field(candidate, "title")));
            }
        }
        Ok(if failed.is_empty() { Outcome::Done } else { Outcome::InPart })
    }

    /// Shows what will change and asks where that is needed. Whether warnings were shown.
    async fn confirm(&mut self, connection: &Connection) -> anyhow::Result<bool> {
        let all_matches = self.body["all_matches"] == true;
        if !all_matches && !confirm::can_ask() {
            return Ok(false);
        }
        let mut preview = self.body.clone();
        preview["dry_run"] = json!(true);
        if self.verb == "approve" {
            preview["cost"] = json!(false);
        }
        let preview = connection.send("POST", &format!("/updates/{}", self.verb), Some(preview)).await?;
        let (count, warnings) = (number(&preview, "count"), list(&preview, "warnings"));
        let changing: Vec<Value> =
            list(&preview, "updates").iter().filter(|row| row["changed"] == true).cloned().collect();
        let will = format!("{} {count} updates{}", self.verb, self.how);
        if all_matches && count > 0 && confirm::can_ask() {
            output::note(&format!("This will {will}:"));
            confirm::show(&changing);
        }
        confirm::warn(warnings);
        let licenses = list(&preview, "licenses").len();
        let asks = licenses > 0 && self.body["accept_license"] != true;
        // licenses have a question of their own
        let other = warnings.iter().any(|warning| warning["code"] != "license");
        if count > 0 && (all_matches || other) {
            if !confirm::can_ask() {
                return Err(confirm::unconfirmed(&format!("this would {will}"), Some(count), changing));
            }
            if !confirm::ask("Go on?") {
                anyhow::bail!("nothing was changed");
            }
        }
        if asks && confirm::can_ask() {
            let question = format!("Accept the license terms of {licenses} updates for all computers?");
            self.body["accept_license"] = json!(confirm::ask(&question));
        }
        if all_matches && count > 0 {
            // what was shown, and what was refused with its reason
            let named = |list: &[Value], name| list.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
            let shown = [named(&changing, "update_id"), named(list(&preview, "failed"), "update")].concat();
            self.body["updates"] = Value::Array(shown);
        }
        Ok(true)
    }

    /// Sends it, page by page where more is named than one request takes.
    async fn send(&self, connection: &Connection) -> anyhow::Result<Value> {
        let named = list(&self.body, "updates").to_vec();
        let mut whole = json!({ "count": 0, "done": [], "failed": [], "warnings": [], "licenses": [] });
        let mut body = self.body.clone();
        for page in named.chunks(MAX_DECIDED) {
            body["updates"] = json!(page);
            let answer =
                connection.send("POST", &format!("/updates/{}", self.verb), Some(body.clone())).await;
            let before = number(&whole, "count");
            if answer.is_err() && before > 0 {
                output::note(&format!("{before} updates were decided before"));
            }
            let answer = answer?;
            whole["count"] = json!(before + number(&answer, "count"));
            for name in ["done", "failed", "warnings", "licenses"] {
                if let Some(all) = whole[name].as_array_mut() {
                    all.extend_from_slice(list(&answer, name));
                }
            }
        }
        Ok(whole)
    }
}
