//! What can be wrong with a configuration, told so that it can be put right at once.

use std::path::PathBuf;

use super::Origin;

/// A configuration that cannot be used. The process ends with status 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read; check the path and its permissions", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("the configuration file {path} is larger than {limit} bytes; is it the right file?", path = path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The file is not TOML.
    #[error("{path}, line {line}: {reason}", path = path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the reader says.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{origin}: there is no key {key:?}{hint}", hint = hint(nearest.as_deref()))]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// As written.
        key: String,
        /// The nearest one that exists.
        nearest: Option<String>,
    },
    /// A value of the wrong kind or out of bounds.
    #[error("{origin}: {key} = {value}: {reason}")]
    Value {
        /// Where.
        origin: Origin,
        /// The key.
        key: String,
        /// As written, at most 80 characters.
        value: String,
        /// What is expected instead.
        reason: String,
    },
    /// More than one mistake.
    #[error("{} mistakes:\n{}", list.len(), lines(list))]
    Several {
        /// Each, in the order of the file.
        list: Vec<ConfigError>,
    },
    /// Keys that do not go together.
    #[error("{origin}: {key} {reason}")]
    Conflict {
        /// Where.
        origin: Origin,
        /// The key to change.
        key: String,
        /// Why it clashes, and with what.
        reason: &'static str,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|key| format!("; did you mean {key:?}?")).unwrap_or_default()
}

fn lines(list: &[ConfigError]) -> String {
    list.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    /// One error of all mistakes; `None` when there is none.
    pub(super) fn of(mut list: Vec<Self>) -> Option<Self> {
        if list.len() > 1 { Some(Self::Several { list }) } else { list.pop() }
    }

    /// The key that is wrong, where the mistake is about a value; `server.tls` stands for all below it.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Value { key, .. } | Self::Conflict { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Each mistake by itself.
    pub fn each(&self) -> &[Self] {
        match self {
            Self::Several { list } => list,
            one => std::slice::from_ref(one),
        }
    }
}
