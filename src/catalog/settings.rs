//! Small values of other rooms, by name: some for a while (anchors, cookies), some for the life of the store (identities,
//! keys).
//!
//! **Invariant:** a value that cannot be encoded is an error and never an empty one; a value that cannot be read is told
//! in the log and counts as none. It never looks into a value.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::catalog::Catalog;
use crate::catalog::error::CatalogError;
use crate::catalog::storage::record::key;

/// A value as JSON, for a setting.
///
/// # Errors
/// When it cannot be encoded.
pub fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, CatalogError> {
    serde_json::to_vec(value).map_err(CatalogError::Json)
}

/// What a stored value says; none where it cannot be read, such as one of a later version.
fn from_json<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Option<T> {
    let read = serde_json::from_slice(bytes);
    read.map_err(|error| tracing::warn!(name, %error, "a stored setting cannot be read and counts as none"))
        .ok()
}

impl Catalog {
    // --- for a while ----------------------------------------------------------------------------------------

    /// A value.
    pub fn setting(&self, key: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        Ok(self.0.kv.get(&key::setting(key))?)
    }

    /// Sets a value durably, at most [`crate::kv::MAX_ENTRY`] bytes; `None` removes it.
    pub fn set_setting(&self, key: &str, value: Option<&[u8]>) -> Result<(), CatalogError> {
        self.0.apply_durably(&[(key::setting(key), value.map(<[u8]>::to_vec))])
    }

    /// A value that was set with [`Catalog::set_json`].
    pub fn json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, CatalogError> {
        Ok(self.setting(key)?.and_then(|bytes| from_json(key, &bytes)))
    }

    /// Sets a value durably, as JSON.
    pub fn set_json<T: Serialize>(&self, key: &str, value: &T) -> Result<(), CatalogError> {
        self.set_setting(key, Some(&to_json(value)?))
    }

    // --- for the life of the store ------------------------------------------------------------------------------

    /// A value that must outlive a rebuilt index, such as an identity or a key. Reads what was a mere setting of the
    /// same name before.
    pub fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        Ok(match self.0.kv.get(&key::kept(name))? {
            Some(value) => Some(value),
            None => self.0.kv.get(&key::setting(name))?,
        })
    }

    /// Keeps a value, at most 64 KiB, durably and in the journal; on a disk that takes nothing in memory, and in the index
    /// once there is room. What is kept already is not written again.
    pub fn keep(&self, name: &str, value: &[u8]) -> Result<(), CatalogError> {
        let key = key::kept(name);
        if self.0.kv.get(&key)?.as_deref() == Some(value) {
            return Ok(());
        }
        match self.0.journal(vec![(key.clone(), Some(value.to_vec()))]) {
            // until there is room it lasts as long as the process
            Err(error) if error.is_read_only() => self.0.put((key, Some(value.to_vec()))),
            other => other,
        }
    }

    /// A value that was kept with [`Catalog::keep_json`].
    pub fn kept_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CatalogError> {
        Ok(self.kept(name)?.and_then(|bytes| from_json(name, &bytes)))
    }

    /// Keeps a value, as JSON.
    pub fn keep_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), CatalogError> {
        self.keep(name, &to_json(value)?)
    }
}
