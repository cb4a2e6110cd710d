//! `serve`: the server, until it is told to stop.
//!
//! **Invariant:** SIGTERM and SIGINT end it in order: nothing new is accepted, what runs may end, the store
//! is flushed. It never starts in part: a listener that cannot be had ends it with the reason.

use crate::app;
use crate::cli::output::Outcome;
use crate::config::Loaded;
use crate::runtime::{Clock, Tasks};

/// Serves.
pub(super) async fn run(loaded: &Loaded) -> anyhow::Result<Outcome> {
    let running = app::start(loaded, Clock::system(), Tasks::new()).await?;
    app::stop_signal().await?;
    running.stop().await;
    Ok(Outcome::Done)
}
