//! `store`: what is done to the data directory itself.
//!
//! **Invariant:** indexes are made again only while nobody has the directory, and nothing is deleted. It never shows a key.

use anyhow::Context as _;

use super::connection::Connection;
use super::output::{self, Outcome};
use super::progress::Bar;
use tailwater_api as api;
use tailwater_app::{self as app, AppError};
use tailwater_config::Loaded;
use tailwater_domain::ByteCount;
use tailwater_runtime::Clock;

/// Makes the indexes again.
pub(super) async fn rebuild(loaded: &Loaded, json: bool) -> anyhow::Result<Outcome> {
    let dir = &loaded.settings.server.data_dir;
    if !dir.exists() {
        anyhow::bail!(
            "the data directory {} does not exist; name the right configuration with --config",
            dir.display()
        );
    }
    let loaded = loaded.clone();
    let work = move || {
        let bar = Bar::new();
        let rebuilt = app::rebuild_store(&loaded, &Clock::system(), |done, total| {
            bar.show(done, total, &format!("reading segments: {} of {}", ByteCount(done), ByteCount(total)));
        });
        bar.end();
        rebuilt
    };
    let rebuilt = match tokio::task::spawn_blocking(work).await.context("the work failed; see above")? {
        Err(AppError::Locked { holder, .. }) if holder.admin.is_some() || holder.pid == 0 => anyhow::bail!(
            "a server (process {}) has the store; stop it first (`systemctl stop tailwater`), run `tailwater store \
             rebuild`, and start it again",
            holder.pid
        ),
        other => other?,
    };
    if json {
        output::json(&rebuilt)?;
    } else {
        output::text(&format!(
            "Made again: {} updates in {} revisions, {} payloads with {}.",
            rebuilt.updates,
            rebuilt.revisions,
            rebuilt.files,
            ByteCount(rebuilt.held)
        ));
        for path in &rebuilt.set_aside {
            output::text(&format!("The former index is {path} in the data directory; it may be removed."));
        }
    }
    if rebuilt.damaged > 0 {
        output::note(&format!(
            "{} revisions are damaged; `tailwater sync` fetches them again",
            rebuilt.damaged
        ));
        return Ok(Outcome::InPart);
    }
    Ok(Outcome::Done)
}

/// Replaces the keys of cookies.
pub(super) async fn rotate_keys(connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
    let answer = connection.ask(api::RotateKeys).await?;
    if json {
        output::json(&answer)?;
        return Ok(Outcome::Done);
    }
    if answer.rotated == 0 {
        output::text("There are no keys yet: a server makes them when it starts.");
    }
    for key in &answer.keys {
        let state = if key.seals { "seals" } else { "opens what it sealed" };
        output::text(&format!("{}  {}  {}  {state}", key.purpose, key.id, key.made));
    }
    Ok(Outcome::Done)
}
