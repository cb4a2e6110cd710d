//! What an administrator asked for by name: fetched whole, over restarts and power cuts, until it is there or given up.
//!
//! **Invariant:** a download that was answered for is durable; at most as many are kept as the queue has room for. It never
//! decides what is fetched next: that is [`super::queue`]'s.

use super::TransferError;
use super::handle::Handle;
use super::shared::Shared;
use tailwater_domain::{Class, FileDeclaration, Sha1Digest};

impl Handle {
    /// Fetches whole files in the background, whatever the policy, and goes on with them after a restart. The answer is
    /// those for which the queue has no room. Blocking.
    ///
    /// # Errors
    /// [`TransferError::Store`] when they cannot be remembered; nothing is fetched then.
    pub fn pin_downloads<'a>(
        &self,
        files: &'a [FileDeclaration],
        class: Class,
    ) -> Result<Vec<&'a FileDeclaration>, TransferError> {
        let (store, room) = (&self.0.shared.store, self.0.queue.room());
        let (taken, left) = files.split_at(room.min(files.len()));
        store.pin_downloads(taken)?;
        let full = taken.iter().filter(|file| !self.0.queue.push((*file).clone(), class));
        Ok(full.chain(left).collect())
    }
}

/// Goes on with what was asked for before a restart.
pub(super) fn resume(handle: &Handle) {
    let resuming = handle.clone();
    handle.0.shared.tasks.spawn("pinned downloads", async move {
        let store = resuming.0.shared.store.clone();
        let pinned = tokio::task::spawn_blocking(move || store.pinned_downloads()).await.unwrap_or_default();
        for file in pinned.into_iter().filter(|file| !resuming.0.queue.holds(&file.sha1)) {
            resuming.0.queue.push(file, Class::Normal);
        }
    });
}

/// A file is there, or given up: a restart does not bring it back.
pub(super) fn forget(shared: &Shared, sha1: Sha1Digest) {
    let store = shared.store.clone();
    let forget = async move {
        let forgotten = tokio::task::spawn_blocking(move || store.complete_download(&sha1)).await;
        if let Ok(Err(error)) = forgotten {
            tracing::warn!(%sha1, %error, "a file that is there will be looked at once more after a restart");
        }
    };
    shared.tasks.spawn("complete a pinned download", forget);
}
