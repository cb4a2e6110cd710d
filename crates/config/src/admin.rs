//! `[admin]`: where administrators reach this server.
//!
//! **Invariant:** a key of this section stands here once: its name and default, its meaning, and how it is read.

use std::net::SocketAddr;

use crate::ConfigError;
use crate::keys::{Key, list, text};
use crate::reading::Checked;

/// The keys of this section, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[text("admin.listen", "\"127.0.0.1:8532\""), list("admin.names", "[]")];

/// `[admin]`: console, API and metrics.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// Listener.
    pub listen: SocketAddr,
    /// Names besides addresses and `localhost` under which the listener answers.
    pub names: Vec<String>,
}

impl AdminSettings {
    pub(super) fn read(of: &Checked<'_>) -> Result<Self, ConfigError> {
        Ok(Self { listen: of.needed_address("admin.listen")?, names: of.list("admin.names")?.to_vec() })
    }
}
