//! The catalog towards other rooms that keep small values and keys.
//!
//! **Invariant:** as the catalog's. It never looks into a value.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CatalogError;
use crate::keyring::{KeyInfo, Keyring, SEAL_KEY};
use crate::parts::Catalog;
use crate::settings::{from_json, to_json};

impl Catalog {
    // --- for a while ----------------------------------------------------------------------------------------

    /// A value.
    pub fn setting(&self, key: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        self.0.storage.setting(key)
    }

    /// Sets a value durably, at most [`tailwater_kv::MAX_ENTRY`] bytes; `None` removes it.
    pub fn set_setting(&self, key: &str, value: Option<&[u8]>) -> Result<(), CatalogError> {
        self.0.storage.set_setting(key, value)
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
        self.0.storage.kept(name)
    }

    /// Keeps a value, at most 64 KiB, durably and in the journal; on a disk that takes nothing in memory, and in the index
    /// once there is room. What is kept already is not written again.
    pub fn keep(&self, name: &str, value: &[u8]) -> Result<(), CatalogError> {
        self.0.storage.keep(name, value)
    }

    /// A value that was kept with [`Catalog::keep_json`].
    pub fn kept_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CatalogError> {
        Ok(self.kept(name)?.and_then(|bytes| from_json(name, &bytes)))
    }

    /// Keeps a value, as JSON.
    pub fn keep_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), CatalogError> {
        self.keep(name, &to_json(value)?)
    }

    // --- keys ----------------------------------------------------------------------------------------------

    /// The ring for a purpose, whose sealings are good for at most `life`; made when there is none. `former` names the
    /// value that held the only key in folders of earlier versions. Blocks.
    ///
    /// # Errors
    /// When key files cannot be read or belong to another user.
    pub fn keyring(
        &self,
        purpose: &'static str,
        life: Duration,
        former: Option<&str>,
    ) -> Result<Keyring, CatalogError> {
        self.0.rings.keyring(purpose, life, former)
    }

    /// Replaces the key of every ring that was opened; with a period, of those that are older. What was sealed stays good.
    /// How many were replaced. Blocks.
    ///
    /// # Errors
    /// When a key cannot be written; then the one before goes on sealing.
    pub fn rotate_keys(&self, older_than: Option<Duration>) -> Result<usize, CatalogError> {
        self.0.rings.rotate_keys(older_than)
    }

    /// The keys of every ring that was opened.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.0.rings.keys()
    }

    /// A secret of this store that is never replaced, in a file of its own. `former` is as in [`Catalog::keyring`].
    ///
    /// # Errors
    /// As [`Catalog::keyring`].
    pub fn lasting_secret(
        &self,
        purpose: &'static str,
        former: Option<&str>,
    ) -> Result<[u8; SEAL_KEY], CatalogError> {
        self.0.rings.lasting_secret(purpose, former)
    }
}
