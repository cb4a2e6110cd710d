//! Updates with an encrypted payload, and their keys ([MS-WSUSSS] 3.1.4.18).
//!
//! **Invariant:** a key follows from the seed and the payload, as everything here. It never encrypts anything: what is
//! served is what is digested, and nobody but an agent decrypts.

use std::sync::atomic::{AtomicBool, Ordering};

use super::catalog::Catalog;
use super::payload::{Payload, mixed};
use super::revision::{Clause, Kind, Revision};
use super::world::identity;
use tailwater_domain::{DecryptionKey, Sha1Digest, UpdateIdentity};
use tailwater_wire::server_sync::{PayloadKey, UpdateKeys};

/// Words of 8 bytes in a key: AES-256.
const KEY_WORDS: u64 = 4;
/// Bytes of an encrypted payload.
const SIZE: u64 = 4_096;
/// Windows 11 in the list of products, and upgrades in that of classifications.
const PRODUCT: usize = 0;
const UPGRADES: usize = 9;

/// Whether keys are handed out; without that they are told as `NULL`.
pub(super) struct HandsOut(AtomicBool);

impl Default for HandsOut {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl HandsOut {
    pub(super) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Release);
    }
}

impl Payload {
    /// The key of this payload, were it encrypted.
    pub(super) fn decryption_key(&self) -> Option<DecryptionKey> {
        let mut seed = [0; 8];
        self.fill(0, &mut seed);
        let seed = u64::from_le_bytes(seed);
        DecryptionKey::new((1..=KEY_WORDS).flat_map(|word| mixed(!seed ^ word).to_le_bytes()).collect())
    }
}

impl Catalog {
    /// Adds an update whose payload is encrypted.
    pub(super) fn add_encrypted(&mut self, number: u32) {
        let update = identity(self.config.seed, &format!("encrypted/{number}"));
        let mut revision = Revision::new(UpdateIdentity { update, revision: 1 }, Kind::Update);
        revision.titles = vec![("en", format!("Windows 11 feature update, unified, number {number}"))];
        revision.kb = Some(5_900_000 + number);
        let category = |id| Clause { any_of: vec![id], marked: Some(true) };
        let (product, class) = (self.world.products[PRODUCT].id, self.world.classifications[UPGRADES]);
        revision.prerequisites = vec![category(product), category(class)];
        revision.files = vec![self.payload(format!("unified-{number:04}.wim"), SIZE, None)];
        revision.encrypted = true;
        self.add(revision);
    }

    /// The keys of a revision's payloads.
    pub(super) fn keys_of(&self, id: &UpdateIdentity, hands_out: &HandsOut) -> Option<UpdateKeys> {
        let revision = self.find(id)?;
        let give = revision.encrypted && hands_out.0.load(Ordering::Acquire);
        let files = revision.files.iter().map(|&index| {
            let payload = &self.payloads[index];
            PayloadKey { sha1: payload.digests().0, key: payload.decryption_key().filter(|_| give) }
        });
        Some(UpdateKeys { id: *id, files: files.collect() })
    }

    /// The revisions with an encrypted payload, each with the payload and its key.
    pub(super) fn encrypted(&self) -> Vec<(UpdateIdentity, Sha1Digest, Vec<u8>)> {
        let encrypted = self.revisions.iter().filter(|revision| revision.encrypted);
        let all = encrypted.flat_map(|revision| {
            let files = revision.files.iter().map(|&index| &self.payloads[index]);
            files.map(|file| (revision.identity, file.digests().0, file.decryption_key()))
        });
        all.filter_map(|(id, sha1, key)| Some((id, sha1, key?.bytes().to_vec()))).collect()
    }
}
