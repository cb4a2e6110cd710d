//! `updates approve` and the like: what will change, whether it is meant, and what came of it.
//!
//! **Invariant:** what was shown is what is changed. Of several names those that can be decided are; each that cannot is
//! printed, and the status is 3. `--all-matches` is confirmed, at a terminal or with `--yes`; without either it is refused.

use super::confirm;
use super::connection::Connection;
use super::output::{self, Outcome};
use tailwater_api::{Candidate, Decided, Endpoint, MAX_DECIDED, Nothing, Select};

/// A decision as it was typed.
pub(super) struct Decision<E: Endpoint> {
    /// The operation that makes it.
    pub(super) operation: E,
    /// What it is called, for the question.
    pub(super) verb: &'static str,
    /// What it says of an update that changed.
    pub(super) done: &'static str,
    /// For whom or how, for the question; may be empty.
    pub(super) how: String,
    /// The request.
    pub(super) body: E::Body,
    /// Whether it was confirmed beforehand.
    pub(super) yes: bool,
}

impl<E> Decision<E>
where
    E: Endpoint<Query = Nothing, Body: Select, Answer = Decided> + Copy,
{
    /// Shows, asks, decides, prints.
    pub(super) async fn make(mut self, connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
        let told = if self.yes { false } else { self.confirm(connection).await? };
        let answer = self.send(connection).await?;
        if !told {
            confirm::warn(&answer.warnings);
        }
        let done = answer.done.as_deref().unwrap_or_default();
        if json {
            output::json(&answer)?;
        } else {
            for update in done {
                let word = if update.changed { self.done } else { "Unchanged:" };
                output::text(&format!("{word} {}  {}", update.update_id, update.title));
            }
            if done.len() > 1 {
                output::text(&format!("{} of {} changed.", answer.count, done.len()));
            }
        }
        for failure in &answer.failed {
            output::note(&format!("error: {}: {}", failure.update, failure.error));
            confirm::show(&failure.candidates);
        }
        Ok(if answer.failed.is_empty() { Outcome::Done } else { Outcome::InPart })
    }

    /// Shows what will change and asks where that is needed. Whether warnings were shown.
    async fn confirm(&mut self, connection: &Connection) -> anyhow::Result<bool> {
        let all_matches = self.body.all_matches();
        if !all_matches && !confirm::can_ask() {
            return Ok(false);
        }
        let mut preview = self.body.clone();
        preview.set_dry_run();
        let preview = connection.send(self.operation, "", &preview).await?;
        let (count, warnings) = (preview.count, &preview.warnings);
        let changing = preview.updates.iter().flatten().filter(|row| row.changed);
        let changing: Vec<Candidate> =
            changing.map(|row| Candidate { update_id: row.update_id, title: row.title.clone() }).collect();
        let will = format!("{} {count} updates{}", self.verb, self.how);
        if all_matches && count > 0 && confirm::can_ask() {
            output::note(&format!("This will {will}:"));
            confirm::show(&changing);
        }
        confirm::warn(warnings);
        let licenses = preview.licenses.len();
        let asks = licenses > 0 && !self.body.accepts_license();
        // licenses have a question of their own
        let other = warnings.iter().any(|warning| warning.code != "license");
        // what was shown, and what was refused with its reason
        let shown = changing.iter().map(|row| row.update_id.to_string());
        let shown: Vec<String> =
            shown.chain(preview.failed.iter().map(|failure| failure.update.clone())).collect();
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
            if confirm::ask(&question) {
                self.body.accept_license();
            }
        }
        if all_matches && count > 0 {
            *self.body.updates() = shown;
        }
        Ok(true)
    }

    /// Sends it, page by page where more is named than one request takes.
    async fn send(&mut self, connection: &Connection) -> anyhow::Result<Decided> {
        let named = std::mem::take(self.body.updates());
        let mut whole = Decided { done: Some(Vec::new()), ..Decided::default() };
        for page in named.chunks(MAX_DECIDED) {
            page.clone_into(self.body.updates());
            let answer = connection.send(self.operation, "", &self.body).await;
            if answer.is_err() && whole.count > 0 {
                output::note(&format!("{} updates were decided before", whole.count));
            }
            let answer = answer?;
            whole.count += answer.count;
            whole.done.get_or_insert_default().extend(answer.done.unwrap_or_default());
            whole.failed.extend(answer.failed);
            whole.warnings.extend(answer.warnings);
            whole.licenses.extend(answer.licenses);
        }
        Ok(whole)
    }
}
