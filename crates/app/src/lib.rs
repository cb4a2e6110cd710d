//! The composition root: builds every room from the configuration, starts them in order, and stops them in
//! order.
//!
//! **Invariant:** sockets are bound before anything else is done and answer only when the rooms behind them
//! are open; shutdown is one drain, and the data directory is released last. Nothing below knows this room.

mod build;
mod descriptors;
mod error;
mod glue;
mod holder;
mod limits;
mod lock;
mod rebuild;
mod reload;
mod run;
mod secrets;
mod settings;
mod shown;
mod workers;

pub use build::{App, close, examine};
pub use error::AppError;
pub use holder::Holder;
pub use limits::{doubtful_limits, limits, limits_table};
pub use lock::DataDir;
pub use rebuild::{Rebuilt, rebuild_store};
pub use run::{Running, outlive_file_limits, start, stop_signal, stop_signals};
pub use shown::configuration;

use tailwater_domain::{Limit, joined_limits};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![lock::LIMITS, descriptors::LIMITS, run::LIMITS, workers::LIMITS,];

/// The variables that may override keys.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
