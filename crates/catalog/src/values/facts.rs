//! The record of what is kept of a revision beside its texts, and how an earlier one is completed.
//!
//! **Invariant:** records of the first version, which does not know for which computers a driver is distributed, are read
//! for ever; what they lack is read from the stored document when it is asked for. A driver whose document cannot be
//! read is offered to nobody. It never writes.

use crate::error::CatalogError;
use crate::storage::record;
use crate::storage::record::encode_as;
use crate::values::part::FileUrl;
use tailwater_domain::{Facts, HeapBytes as _};

/// Version of the record: the second knows for which computers drivers are distributed.
const VERSION: u8 = 2;

// not a limit: VERSION: a version of a record

/// What is kept of a revision beside its texts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredFacts {
    /// What its document says.
    pub facts: Facts,
    /// Where its payloads can be had upstream.
    pub file_urls: Vec<FileUrl>,
    /// Whether everything is known that its document says of drivers; not so for what was stored by earlier versions.
    #[serde(skip)]
    pub drivers_known: bool,
}

impl StoredFacts {
    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let url = |url: &FileUrl| size_of::<FileUrl>() + url.mu_url.heap_bytes() + url.uss_url.heap_bytes();
        size_of::<Self>() + self.facts.heap_bytes() + self.file_urls.iter().map(url).sum::<usize>()
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, CatalogError> {
        let distribution: Vec<&[String]> =
            self.facts.drivers.iter().map(|driver| &driver.distribution_ids[..]).collect();
        encode_as(VERSION, &(self, distribution))
    }

    /// Reads a record of either version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CatalogError> {
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

impl StoredFacts {
    /// Only addresses without a query are kept: others are signed for a moment and a reader.
    pub(crate) fn without_signed_urls(mut self) -> Self {
        for url in &mut self.file_urls {
            let plain = |url: &String| !url.contains('?');
            url.mu_url = url.mu_url.take().filter(plain);
            url.uss_url = url.uss_url.take().filter(plain);
        }
        self.file_urls.retain(|url| url.mu_url.is_some() || url.uss_url.is_some());
        self
    }
}
