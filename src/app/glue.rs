//! Where rooms that do not know each other meet: which files exist, and where they can be had.
//!
//! **Invariant:** a file that no metadata names is never asked for. It holds no state of its own.

use crate::catalog::Catalog;
use crate::domain::{FileDeclaration, Sha1Digest};
use crate::serve::files::KnownFiles;
use crate::transfer::{Source, Sources, SourcesFuture};
use crate::upstream::Upstream;

/// The catalog's side of a miss.
pub(super) struct Known(pub Catalog);

impl KnownFiles for Known {
    fn declaration(&self, sha1: &Sha1Digest) -> Option<FileDeclaration> {
        match self.0.file(sha1) {
            Ok(known) => known.map(|known| known.declaration),
            Err(error) => {
                tracing::warn!(%sha1, %error, "the catalog cannot be asked for a file");
                None
            }
        }
    }
}

/// The upstream's side of a transfer.
pub(super) struct FromUpstream(pub Upstream);

impl Sources for FromUpstream {
    fn sources<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a> {
        Box::pin(async move { self.0.sources(file).await.into_iter().map(|url| Source { url }).collect() })
    }
}
