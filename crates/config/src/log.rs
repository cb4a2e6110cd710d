//! `[log]`: what the process writes to standard error.
//!
//! **Invariant:** a key of this section stands here once: its name and default, its meaning, and how it is read.

use tailwater_telemetry::{self as telemetry, Config};

use crate::ConfigError;
use crate::keys::{Key, text};
use crate::reading::Checked;

/// The keys of this section, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[text("log.filter", "\"info\"").live(), text("log.format", "\"text\"")];

pub(super) fn read(of: &Checked<'_>) -> Result<Config, ConfigError> {
    let filter = of.text("log.filter").unwrap_or("info").to_owned();
    telemetry::check(&filter).map_err(|error| of.refuse("log.filter", error.to_string()))?;
    Ok(Config { filter, format: of.choice("log.format")? })
}
