//! Reads the configuration again and brings into force what can be changed while the server runs.
//!
//! **Invariant:** either the whole new configuration is checked and its live keys are in force, or nothing changed. No
//! connection and no transfer is touched. What needs a restart is named until the restart.

use std::sync::{Mutex, PoisonError};

use super::build::App;
use super::settings::plan;
use super::shown;
use tailwater_api::Reloaded;
use tailwater_bandwidth::{Calendar, Timetable};
use tailwater_config::{self as config, ConfigError, Difference, Loaded};
use tailwater_content::Store;
use tailwater_serve::admin;
use tailwater_telemetry as telemetry;
use tailwater_upstream::Upstream;

/// What a reload changes, and what is in force.
pub(super) struct Reloader {
    in_force: Mutex<Loaded>,
    services: admin::Services,
    timetable: Timetable,
    upstream: Upstream,
    content: Store,
}

impl Reloader {
    pub(super) fn new(loaded: &Loaded, app: &App) -> Self {
        Self {
            in_force: Mutex::new(loaded.clone()),
            services: app.services.clone(),
            timetable: app.services.timetable.clone(),
            upstream: app.upstream.clone(),
            content: app.stores.content.clone(),
        }
    }

    /// Reads the file and the environment again. One at a time.
    ///
    /// # Errors
    /// With each mistake; nothing is changed then.
    pub(super) fn reload(&self) -> Result<Reloaded, ConfigError> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let read = config::load(in_force.named.as_deref(), super::environment())?;
        let differences = in_force.differences(&read);
        let next = in_force.with_live(&read)?;
        let settings = &next.settings;
        self.timetable
            .set_calendar(Calendar::new(settings.bandwidth.rate, settings.bandwidth.windows.clone()));
        self.upstream.set_plan(plan(settings));
        self.content.set_limits(Some(settings.content.max_size), settings.content.min_free);
        if let Err(error) = telemetry::set_filter(&settings.log.filter) {
            // it was checked when it was read
            tracing::error!(%error, "the log's filter stays as it was");
        }
        self.services.set_in_force(super::settings::in_force(&next));
        *in_force = next;
        drop(in_force);
        let (changed, restart): (Vec<_>, Vec<_>) = differences.into_iter().partition(|one| one.live);
        tracing::info!(changed = ?keys(&changed), need_restart = ?keys(&restart), "the configuration was read again");
        let each = |list: Vec<Difference>| list.into_iter().map(shown::difference).collect();
        let doubts = read.doubts().iter().map(shown::doubt).collect();
        Ok(Reloaded { changed: each(changed), restart: each(restart), doubts })
    }
}

fn keys(differences: &[Difference]) -> Vec<&'static str> {
    differences.iter().map(|one| one.key).collect()
}
