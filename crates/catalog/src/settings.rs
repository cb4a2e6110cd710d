//! Small values of other rooms, by name: some for a while (anchors, cookies), some for the life of the store (identities,
//! keys).
//!
//! **Invariant:** a value that cannot be encoded is an error and never an empty one; a value that cannot be read is told
//! in the log and counts as none. It never looks into a value.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CatalogError;
use crate::storage::handle::Storage;
use crate::storage::record::key;

/// A value as JSON, for a setting.
///
/// # Errors
/// When it cannot be encoded.
pub fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, CatalogError> {
    serde_json::to_vec(value).map_err(CatalogError::Json)
}

/// What a stored value says; none where it cannot be read, such as one of a later version.
pub(crate) fn from_json<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Option<T> {
    let read = serde_json::from_slice(bytes);
    read.map_err(|error| tracing::warn!(name, %error, "a stored setting cannot be read and counts as none"))
        .ok()
}

impl Storage {
    /// A value that lasts for a while.
    pub(crate) fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        Ok(self.kv().get(&key::setting(name))?)
    }

    /// Sets a value durably; none removes it.
    pub(crate) fn set_setting(&self, name: &str, value: Option<&[u8]>) -> Result<(), CatalogError> {
        self.apply_durably(&[(key::setting(name), value.map(<[u8]>::to_vec))])
    }

    /// A value that lasts as long as the store; what was a mere setting of that name before counts as well.
    pub(crate) fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        match self.kv().get(&key::kept(name))? {
            Some(value) => Ok(Some(value)),
            None => self.setting(name),
        }
    }

    /// Keeps a value durably and in the journal; on a disk that takes nothing in memory until there is room.
    pub(crate) fn keep(&self, name: &str, value: &[u8]) -> Result<(), CatalogError> {
        let key = key::kept(name);
        if self.kv().get(&key)?.as_deref() == Some(value) {
            return Ok(());
        }
        match self.journal(vec![(key.clone(), Some(value.to_vec()))]) {
            // until there is room it lasts as long as the process
            Err(error) if error.is_read_only() => self.put((key, Some(value.to_vec()))),
            other => other,
        }
    }
}
