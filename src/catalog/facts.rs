//! The record of what is kept of a revision beside its texts, and how an earlier one is completed.
//!
//! **Invariant:** records of the first version, which does not know for which computers a driver is distributed, are read
//! for ever; what they lack is read from the stored document when it is asked for. A driver whose document cannot be
//! read is offered to nobody. It never writes.

use std::sync::Arc;

use super::record::{self, encode_as};
use super::snapshot::Snapshot;
use super::store::Store;
use super::{CatalogError, PartKind, StoredFacts};
use crate::domain::RevisionId;

/// Version of the record: the second knows for which computers drivers are distributed.
const VERSION: u8 = 2;

// not a limit: VERSION: a version of a record

impl StoredFacts {
    pub(super) fn encode(&self) -> Result<Vec<u8>, CatalogError> {
        let distribution: Vec<&[String]> =
            self.facts.drivers.iter().map(|driver| &driver.distribution_ids[..]).collect();
        encode_as(VERSION, &(self, distribution))
    }

    /// Reads a record of either version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CatalogError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => {
                let (mut stored, distribution): (Self, Vec<Vec<String>>) = postcard::from_bytes(rest)
                    .map_err(|source| CatalogError::Record { kind: 'f', source })?;
                for (driver, ids) in stored.facts.drivers.iter_mut().zip(distribution) {
                    driver.distribution_ids = ids;
                }
                stored.drivers_known = true;
                Ok(stored)
            }
            Some((&found, _)) if found > VERSION => Err(CatalogError::Newer { found, known: VERSION }),
            _ => {
                let stored: Self = record::decode('f', bytes)?;
                Ok(Self { drivers_known: stored.facts.drivers.is_empty(), ..stored })
            }
        }
    }
}

impl Store {
    /// What a driver says of itself, in full; none when its document cannot be read.
    pub(super) fn driver_facts(
        &self,
        snapshot: &Snapshot,
        id: u32,
    ) -> Result<Option<Arc<StoredFacts>>, CatalogError> {
        let Some(part) = snapshot.facts_part(id) else { return Ok(None) };
        let known = self.read_facts(&part)?;
        let (false, Some(read)) = (known.drivers_known, self.config.read_drivers) else {
            return Ok(Some(known));
        };
        let document = snapshot.part(RevisionId(id), &PartKind::Document);
        let text = document.map(|document| self.read(&document)).transpose()?;
        let Some(drivers) = text.and_then(|text| read(&text)) else {
            tracing::warn!(update = %known.facts.identity, "a stored driver document cannot be read; it is not offered");
            return Ok(None);
        };
        let mut stored = (*known).clone();
        (stored.facts.drivers, stored.drivers_known) = (drivers, true);
        let stored = Arc::new(stored);
        self.facts.insert((part.segment, part.offset), Arc::clone(&stored));
        Ok(Some(stored))
    }
}
