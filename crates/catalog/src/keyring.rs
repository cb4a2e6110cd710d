//! The keys that cookies are sealed with: each in a file of its own that only its owner reads, replaced in time.
//!
//! A ring is all keys for one purpose. The newest seals; those before it open what they sealed for as long as that is
//! good, then their files go. Folders of earlier versions had one key for ever, in the index and in the journal: it is
//! moved out and replaced at once, so that what still lies there seals nothing any more.
//!
//! **Invariant:** a key is durable before it seals, but on a disk that takes nothing, where it lasts as long as the
//! process. A file that others own is refused; one that others can read is closed to them. A key is never logged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::Config;
use crate::error::CatalogError;
use crate::storage::handle::Storage;
use crate::storage::record::key;
use tailwater_domain::{Limit, limits};
use tailwater_durable::{Mode, Trouble, make_private_folder, open_private, replace, set_aside};

/// Bytes of a key: a block of SHA-256.
pub const SEAL_KEY: usize = 64;
/// A key file is a few lines.
const MAX_KEY_FILE: u64 = 4 * 1024;
/// The most keys of a ring that are kept; with more rotations within a cookie's life the oldest are given up.
const MAX_KEYS: usize = 16;

/// What is limited here.
pub(crate) const LIMITS: &[Limit] = limits![
    MAX_KEYS in "keys": "Keys of a ring, the one that seals and those that still open" => "the oldest is given up",
    MAX_KEY_FILE in "bytes": "The file of a key" => "it is set aside",
];

/// One key.
#[derive(Clone)]
struct SealKey {
    /// Counts the keys of a ring.
    number: u32,
    id: Uuid,
    made: Timestamp,
    secret: [u8; SEAL_KEY],
}

/// As it lies in its file.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    purpose: String,
    number: u32,
    id: Uuid,
    made: Timestamp,
    secret: String,
}

/// A key as it is shown: without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// What it is for.
    pub purpose: &'static str,
    /// Its name in the log and in its file.
    pub id: Uuid,
    /// When it was made.
    pub made: Timestamp,
    /// Whether it seals; else it only opens what it sealed before.
    pub seals: bool,
}

/// All keys for one purpose. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Keyring(Arc<Ring>);

struct Ring {
    purpose: &'static str,
    dir: PathBuf,
    /// How long what a key sealed may be good.
    life: Duration,
    /// The newest last; never empty.
    keys: RwLock<Vec<SealKey>>,
}

/// The rings of a store.
pub(crate) struct Rings {
    storage: Arc<Storage>,
    config: Arc<Config>,
    /// Every ring that was opened, by purpose.
    opened: RwLock<BTreeMap<&'static str, Keyring>>,
}

fn random() -> Result<[u8; SEAL_KEY], CatalogError> {
    let mut secret = [0; SEAL_KEY];
    getrandom::fill(&mut secret).map_err(CatalogError::Chance)?;
    Ok(secret)
}

impl SealKey {
    fn path(&self, dir: &Path, purpose: &str) -> PathBuf {
        dir.join(format!("{purpose}-{:06}.key", self.number))
    }

    fn write(&self, dir: &Path, purpose: &str) -> Result<(), CatalogError> {
        let path = self.path(dir, purpose);
        let file = KeyFile {
            version: 1,
            purpose: purpose.to_owned(),
            number: self.number,
            id: self.id,
            made: self.made,
            secret: STANDARD_NO_PAD.encode(self.secret),
        };
        let written = serde_json::to_vec_pretty(&file).map_err(std::io::Error::other).and_then(|bytes| {
            make_private_folder(dir)?;
            replace(&path, Mode::Private, |file| std::io::Write::write_all(file, &bytes))
        });
        written.map_err(|source| CatalogError::File { path, action: "written", source })
    }

    /// The key in a file; none where it holds none of this purpose.
    fn parse(bytes: &[u8], purpose: &str) -> Option<Self> {
        let file: KeyFile = serde_json::from_slice(bytes).ok()?;
        let secret = STANDARD_NO_PAD.decode(&file.secret).ok()?.try_into().ok()?;
        (file.version == 1 && file.purpose == purpose).then_some(Self {
            number: file.number,
            id: file.id,
            made: file.made,
            secret,
        })
    }
}

impl Ring {
    /// The keys in the files, in order.
    fn read(&self) -> Result<Vec<SealKey>, CatalogError> {
        let mut keys: Vec<SealKey> = Vec::new();
        let names = match std::fs::read_dir(&self.dir) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(keys),
            Err(source) => return Err(CatalogError::File { path: self.dir.clone(), action: "read", source }),
        };
        if let Err(source) = make_private_folder(&self.dir) {
            return Err(CatalogError::File { path: self.dir.clone(), action: "trusted", source });
        }
        for path in names.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let rest = name.strip_prefix(self.purpose).and_then(|rest| rest.strip_prefix('-'));
            if rest.is_none() || path.extension().is_none_or(|extension| extension != "key") {
                continue;
            }
            let (bytes, was_open) = match open_private(&path, MAX_KEY_FILE) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => (Vec::new(), false),
                Err(source) => return Err(CatalogError::File { path, action: "trusted", source }),
            };
            if was_open {
                tracing::warn!(path = %path.display(),
                    "a key was readable by others and is closed to them now; `tailwater store rotate-keys` replaces it");
            }
            if let Some(key) = SealKey::parse(&bytes, self.purpose) {
                keys.push(key);
            } else {
                let aside = set_aside(&path).unwrap_or_else(|_in_place| path.clone());
                tracing::error!(aside = %aside.display(),
                    "a key file cannot be read and was set aside; what it sealed is not accepted any more");
            }
        }
        keys.sort_unstable_by_key(|key| key.number);
        Ok(keys)
    }

    fn keys(&self) -> Vec<SealKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes another key the one that seals.
    fn add(&self, secret: [u8; SEAL_KEY], made: Timestamp) -> Result<(), CatalogError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let number = keys.last().map_or(1, |last| last.number.saturating_add(1));
        let key = SealKey { number, id: Uuid::new_v4(), made, secret };
        match key.write(&self.dir, self.purpose) {
            Err(error) if error.is_read_only() && keys.is_empty() => {
                tracing::warn!(purpose = self.purpose, %error,
                    "a key cannot be written: what it seals is good until the server stops");
            }
            written => written?,
        }
        tracing::debug!(purpose = self.purpose, id = %key.id, "a new key");
        keys.push(key);
        Ok(())
    }

    /// Gives up keys whose sealings are no longer good.
    fn drop_old(&self, now: Timestamp) {
        let life = SignedDuration::try_from(self.life).unwrap_or(SignedDuration::MAX);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        // a key sealed until the next one was made
        let retired = keys.windows(2).take_while(|pair| now.duration_since(pair[1].made) > life).count();
        let gone = retired.max(keys.len().saturating_sub(MAX_KEYS));
        for key in keys.drain(..gone) {
            let path = key.path(&self.dir, self.purpose);
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
                && Trouble::of(&error).is_none()
            {
                tracing::warn!(path = %path.display(), %error, "an old key cannot be removed; remove it by hand");
            }
        }
    }
}

impl Keyring {
    /// A ring of one key that lies nowhere, for tests.
    pub fn fixed(secret: [u8; SEAL_KEY]) -> Self {
        let key = SealKey { number: 1, id: Uuid::nil(), made: Timestamp::UNIX_EPOCH, secret };
        Self(Arc::new(Ring {
            purpose: "fixed",
            dir: PathBuf::new(),
            life: Duration::MAX,
            keys: RwLock::new(vec![key]),
        }))
    }

    /// The key that seals.
    pub fn newest(&self) -> [u8; SEAL_KEY] {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.last().map_or([0; SEAL_KEY], |key| key.secret)
    }

    /// Every key that opens, the newest first.
    pub fn all(&self) -> Vec<[u8; SEAL_KEY]> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().rev().map(|key| key.secret).collect()
    }

    fn infos(&self) -> Vec<KeyInfo> {
        let keys = self.0.keys();
        let newest = keys.last().map(|key| key.id);
        let info = |key: &SealKey| {
            let (id, made) = (key.id, key.made);
            KeyInfo { purpose: self.0.purpose, id, made, seals: Some(id) == newest }
        };
        keys.iter().map(info).collect()
    }

    /// Whether its key sealed for so long. One that was made by a clock that was ahead counts as new.
    fn is_due(&self, now: Timestamp, period: Duration) -> bool {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        let age = keys.last().map(|key| now.duration_since(key.made));
        age.and_then(|age| Duration::try_from(age).ok()).is_some_and(|age| age >= period)
    }
}

impl Rings {
    /// The rings of this store; none is opened yet.
    pub(crate) fn new(storage: Arc<Storage>, config: Arc<Config>) -> Self {
        Self { storage, config, opened: RwLock::default() }
    }

    /// Replaces the key of every ring that was opened; with a period, of those that are older. What was sealed stays good.
    /// Blocks.
    ///
    /// # Errors
    /// When a key cannot be written; then the one before goes on sealing.
    pub(crate) fn rotate_keys(&self, older_than: Option<Duration>) -> Result<usize, CatalogError> {
        let rings: Vec<Keyring> =
            self.opened.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let (now, mut rotated) = (self.storage.clock().now(), 0);
        for ring in rings {
            if older_than.is_none_or(|period| ring.is_due(now, period)) {
                ring.0.add(random()?, now)?;
                rotated += 1;
            }
            ring.0.drop_old(now);
        }
        if rotated > 0 {
            tracing::info!(
                rings = rotated,
                "keys of cookies were replaced; what the old ones sealed stays good until it ends"
            );
        }
        Ok(rotated)
    }

    /// The keys of every ring that was opened.
    pub(crate) fn keys(&self) -> Vec<KeyInfo> {
        let rings = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        rings.values().flat_map(Keyring::infos).collect()
    }

    /// A secret of this store that is never replaced, in a file of its own. `former` is as in [`crate::Catalog::keyring`].
    ///
    /// # Errors
    /// As [`crate::Catalog::keyring`].
    pub(crate) fn lasting_secret(
        &self,
        purpose: &'static str,
        former: Option<&str>,
    ) -> Result<[u8; SEAL_KEY], CatalogError> {
        let secret = self.open_ring(purpose, Duration::MAX, former)?.0.newest();
        Ok(secret)
    }

    /// Where key files lie.
    fn keys_dir(&self) -> PathBuf {
        self.config.keys.clone().unwrap_or_else(|| self.config.dir.join("keys"))
    }

    /// Opens a ring; `true` when its key came from the value of an earlier version.
    fn open_ring(
        &self,
        purpose: &'static str,
        life: Duration,
        former: Option<&str>,
    ) -> Result<(Keyring, bool), CatalogError> {
        let now = self.storage.clock().now();
        let inner = Ring { purpose, dir: self.keys_dir(), life, keys: RwLock::default() };
        let found = inner.read()?;
        let is_new = found.is_empty();
        *inner.keys.write().unwrap_or_else(PoisonError::into_inner) = found;
        let mut moved = false;
        if is_new {
            let kept = former.map(|name| self.former_key(name)).transpose()?.flatten();
            moved = kept.is_some();
            let secret = match kept {
                Some(secret) => secret,
                None => random()?,
            };
            inner.add(secret, now)?;
        }
        Ok((Keyring(Arc::new(inner)), moved))
    }

    /// The key that an earlier version kept under this name.
    fn former_key(&self, name: &str) -> Result<Option<[u8; SEAL_KEY]>, CatalogError> {
        let kept = match self.storage.kv().get(&key::kept(name))? {
            Some(value) => Some(value),
            None => self.storage.kv().get(&key::setting(name))?,
        };
        Ok(kept.and_then(|value| value.try_into().ok()))
    }

    /// The ring for a purpose, made when there is none.
    pub(crate) fn keyring(
        &self,
        purpose: &'static str,
        life: Duration,
        former: Option<&str>,
    ) -> Result<Keyring, CatalogError> {
        if let Some(ring) = self.opened.read().unwrap_or_else(PoisonError::into_inner).get(purpose) {
            return Ok(ring.clone());
        }
        let (ring, moved) = self.open_ring(purpose, life, former)?;
        let now = self.storage.clock().now();
        if moved && self.config.disk.report().is_none() {
            // what lies in the journal stays there, so it must not seal anything any more
            ring.0.add(random()?, now)?;
        }
        if let Some(name) = former {
            self.forget_former(name)?;
        }
        ring.0.drop_old(now);
        self.opened.write().unwrap_or_else(PoisonError::into_inner).insert(purpose, ring.clone());
        Ok(ring)
    }

    /// Takes the key of an earlier version out of the index, and notes so in the journal.
    fn forget_former(&self, name: &str) -> Result<(), CatalogError> {
        let (kept, setting) = (key::kept(name), key::setting(name));
        if self.storage.kv().get(&kept)?.is_none() && self.storage.kv().get(&setting)?.is_none() {
            return Ok(());
        }
        match self.storage.journal(vec![(kept, None), (setting, None)]) {
            // with the next start that finds room
            Err(error) if error.is_read_only() => Ok(()),
            other => other,
        }
    }
}
