//! `check-config`: what is in force, where each value came from, and whether it can be used on this machine.
//!
//! **Invariant:** it reads and checks, and touches nothing else: no folder is made, no file is written (with `--connect`
//! answers are kept in a temporary folder that goes again). Mistakes in the file itself were told before this runs, all
//! at once.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::arguments::CheckArguments;
use crate::output::{self, Outcome};
use tailwater_api::ConfigurationKey;
use tailwater_app as app;
use tailwater_config::{Loaded, PLACES};
use tailwater_domain::ByteCount;
use tailwater_runtime::{Clock, Tasks};
use tailwater_upstream::{Examined, SyncError};

/// What was found, beside the values.
#[derive(Default)]
struct Findings {
    /// What keeps the server from working.
    mistakes: Vec<String>,
    /// What is probably not meant.
    doubts: Vec<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Checked<'a> {
    file: Option<&'a str>,
    keys: &'a [ConfigurationKey],
    time_zone: String,
    usable: bool,
    mistakes: &'a [String],
    doubts: &'a [String],
    upstream: Option<&'a Asked>,
}

/// What the upstream said, or why it said nothing.
#[derive(Serialize)]
#[serde(untagged)]
enum Asked {
    Examined(Examined),
    Failed { error: String },
}

/// Prints every key, and what is wrong. Ends with 2 when something cannot be used.
pub(super) async fn run(loaded: &Loaded, arguments: &CheckArguments, json: bool) -> anyhow::Result<Outcome> {
    let mut found = Findings::default();
    found.doubts.extend(loaded.doubts().iter().map(|doubt| format!("{} {}", doubt.key, doubt.text)));
    data_folder(loaded, &mut found);
    let examined = if arguments.connect { Some(ask_upstream(loaded, &mut found).await?) } else { None };
    if json {
        let configuration = app::configuration(loaded);
        output::json(&Checked {
            file: configuration.file.as_deref(),
            keys: &configuration.keys,
            time_zone: loaded.time_zone(),
            usable: found.mistakes.is_empty(),
            mistakes: &found.mistakes,
            doubts: &found.doubts,
            upstream: examined.as_ref(),
        })?;
    } else {
        print(loaded, &found, examined.as_ref());
    }
    for mistake in &found.mistakes {
        output::note(&format!("error: {mistake}"));
    }
    Ok(if found.mistakes.is_empty() { Outcome::Done } else { Outcome::Unusable })
}

fn print(loaded: &Loaded, found: &Findings, upstream: Option<&Asked>) {
    match &loaded.file {
        Some(file) => output::text(&format!("Configuration file: {}\n\n", file.display())),
        None => output::text(&format!(
            "No configuration file ({} do not exist); defaults hold.\n\n",
            PLACES.join(" and ")
        )),
    }
    let rows: Vec<Vec<String>> = loaded
        .shown()
        .iter()
        .map(|entry| {
            let value = entry.value.as_ref().map_or_else(|| "(not set)".to_owned(), ToString::to_string);
            vec![entry.key.to_owned(), value, entry.origin.to_string()]
        })
        .collect();
    output::table(&["KEY", "VALUE", "FROM"], &rows);
    output::text(&format!("\nTime zone in force: {}", loaded.time_zone()));
    if let Some(Asked::Examined(upstream)) = upstream {
        output::text(&format!(
            "The upstream answers (protocol {}, {} categories{}).",
            upstream.protocol,
            upstream.categories,
            if upstream.tailwater { ", a Tailwater" } else { "" }
        ));
    }
    for doubt in &found.doubts {
        output::text(&format!("Warning: {doubt}"));
    }
    if found.mistakes.is_empty() {
        output::text("\nThe configuration can be used.");
    }
}

/// The nearest folder above that exists.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_unnameable| path.to_owned());
    absolute.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Whether the data folder can be used, or made, and whether its disk is large enough for what is configured.
fn data_folder(loaded: &Loaded, found: &mut Findings) {
    let settings = &loaded.settings;
    let dir = &settings.server.data_dir;
    let place = existing(dir);
    let name = dir.display();
    if !place.is_dir() {
        found
            .mistakes
            .push(format!("server.data_dir {name} cannot be made: {} is no folder", place.display()));
        return;
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if let Err(error) = rustix::fs::access(&place, access) {
        let what = if place == *dir { "written to" } else { "made" };
        found.mistakes.push(format!(
            "server.data_dir {name} cannot be {what}: {}: {error}; change its owner or rights, or name another folder",
            place.display()
        ));
    }
    let Ok(disk) = rustix::fs::statvfs(&place) else { return };
    if disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        found.mistakes.push(format!("server.data_dir {name} lies on a disk that is mounted read-only"));
    }
    let size = disk.f_blocks.saturating_mul(disk.f_frsize);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let content = &settings.content;
    if content.min_free.0 >= size {
        found.mistakes.push(format!(
            "content.min_free {} is more than the whole disk of server.data_dir ({}): nothing would ever be fetched",
            content.min_free,
            ByteCount(size)
        ));
    } else if content.max_size.0 > size {
        found.doubts.push(format!(
            "content.max_size {} is more than the disk of server.data_dir ({}); content.min_free limits what is held",
            content.max_size,
            ByteCount(size)
        ));
    }
    if free < content.min_free.0 {
        found.doubts.push(format!(
            "content.min_free {} is more than is free on the disk of server.data_dir ({}): no more payloads are fetched",
            content.min_free,
            ByteCount(free)
        ));
    }
}

/// Asks the upstream what only it knows.
async fn ask_upstream(loaded: &Loaded, found: &mut Findings) -> anyhow::Result<Asked> {
    output::note("asking the upstream; with Microsoft Update this takes about a minute…");
    let tasks = Tasks::new();
    let examined = app::examine(loaded, Clock::system(), &tasks).await?;
    tasks.shut_down(std::time::Duration::from_secs(5)).await;
    Ok(match examined {
        Ok(examined) => {
            doubts_of(&examined, found);
            Asked::Examined(examined)
        }
        Err(error) => {
            let text = causes(&error);
            found.mistakes.push(format!("the upstream cannot be used: {text}"));
            Asked::Failed { error: text }
        }
    })
}

fn doubts_of(examined: &Examined, found: &mut Findings) {
    for language in &examined.unknown_languages {
        found.doubts.push(format!(
            "upstream.languages: the upstream has no {language:?}, so documents in all languages are taken"
        ));
    }
    for (key, name) in &examined.unknown_categories {
        found.doubts.push(format!(
            "{key}: the upstream has nothing called {name:?}; `tailwater categories list` shows names after the first \
             synchronisation"
        ));
    }
}

fn causes(error: &SyncError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
