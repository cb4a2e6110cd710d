//! Somebody waits for the last piece of a file that passes through: what was not hashed before it is fetched first.
//!
//! **Invariant:** one proof of a file runs at a time, as long as somebody waits for it or did a moment ago; what it hashed
//! is not hashed again. It never gives anything out: that is for [`super::passage`], when all is right.

use std::sync::Arc;
use std::time::Duration;

use super::TransferError;
use super::flow::Flow;
use super::handle::Handle;
use super::passage::{Outcome, Passage};
use super::plan::Demand;
use super::shared::{Shared, locked};
use super::verdict::REST_MISMATCH;
use tailwater_content::{ContentError, PIECE, SparseFile};
use tailwater_domain::{ByteRange, Class, FileDeclaration, Limit, Requester, Sha1Digest, limits};

/// How often it is looked whether somebody still waits for a proof.
const LOOK: Duration = Duration::from_secs(5);

/// A proof goes on for so long after the last who waited for it: clients that were not answered for a while come again.
const LINGER: Duration = Duration::from_mins(2);

pub(super) const LIMITS: &[Limit] = limits![
    LINGER: "The time the end of a file larger than the store is still verified after the last client who waits for it" => "it goes on when somebody asks for the end again",
];

/// Watches a file of which pieces are about to leave. Blocking.
///
/// # Errors
/// [`ContentError::Dropped`] when what was given out of it is not known any more, so that it begins anew.
pub(super) fn watch_now(
    shared: &Shared,
    declaration: &FileDeclaration,
    file: &Arc<SparseFile>,
) -> Result<(), ContentError> {
    let sha1 = declaration.sha1;
    let _one = shared.passages.beginning();
    if shared.passages.of(file).is_some() {
        return Ok(());
    }
    if !shared.store.begin_passing(&sha1) {
        shared.store.discard(file);
        return Err(ContentError::Dropped { sha1 });
    }
    shared.passages.begin(declaration, file, shared.clock.instant())
}

impl Handle {
    /// Watches a file that passes through. `Err(Dropped)` when it begins anew.
    pub(super) async fn watch(
        &self,
        declaration: &FileDeclaration,
        file: &Arc<SparseFile>,
    ) -> Result<(), TransferError> {
        let shared = Arc::clone(&self.0.shared);
        let now = shared.clock.instant();
        if let Some(passage) = shared.passages.asked(file, now) {
            passage.withhold(file);
            return Ok(());
        }
        let (declaration, file) = (declaration.clone(), Arc::clone(file));
        let began = tokio::task::spawn_blocking(move || watch_now(&shared, &declaration, &file));
        Ok(began.await.map_err(|_join| TransferError::Stopping)??)
    }

    /// Fetches the pieces before the last one that were not hashed yet, as urgently as somebody waits for it.
    pub(super) fn prove(&self, flow: &Arc<Flow>, file: &Arc<SparseFile>, class: Class) {
        let sha1 = flow.sha1();
        let Some(passage) = flow.shared.passages.of(file) else { return };
        if flow.declaration.is_taken_in_parts() && passage.missing().is_some() {
            // nobody reads such a file whole: who reads parts of it has their digests
            file.give_out();
            flow.wake(passage.last_piece());
            return;
        }
        if !passage.begin_proving() {
            return;
        }
        let (handle, flow, file) = (self.clone(), Arc::clone(flow), Arc::clone(file));
        let tasks = flow.shared.tasks.clone();
        tasks.spawn("verify the end of a large file", async move {
            if let Err(error) = handle.fetch_proof(&flow, &file, &passage, class).await {
                tracing::debug!(%sha1, %error, "the verification of a file that passes through was broken off");
            }
            passage.end_proving();
        });
    }

    async fn fetch_proof(
        &self,
        flow: &Arc<Flow>,
        file: &Arc<SparseFile>,
        passage: &Arc<Passage>,
        class: Class,
    ) -> Result<(), TransferError> {
        // what is held may only wait for its turn
        let Some(first) = flow.hash_on(file, passage).await? else { return Ok(()) };
        let end = passage.last_piece() * PIECE;
        tracing::info!(sha1 = %flow.sha1(), from = first * PIECE, to = end,
            "the end of a file larger than the store was asked for: what was not verified of it is fetched first");
        // a reader like others: nothing is fetched for it that they bring
        let demand = Demand { class, requester: Requester::Own, reader: true };
        let range = ByteRange { start: first * PIECE, end };
        let want = self.register(&flow.declaration, Some(range), demand).await?.in_answer();
        let stopping = flow.shared.tasks.stopping();
        let mut waited = flow.shared.clock.instant();
        while let Some(next) = flow.hash_on(want.file(), passage).await? {
            let now = flow.shared.clock.instant();
            if flow.is_waited_for(passage.last_piece()) {
                waited = now;
            }
            if now.duration_since(waited) > LINGER {
                return Ok(());
            }
            tokio::select! {
                ready = want.ready(next * PIECE) => drop(ready?),
                () = tokio::time::sleep(LOOK) => {}
                () = stopping.cancelled() => return Err(TransferError::Stopping),
            }
        }
        Ok(())
    }
}

impl Flow {
    /// Hashes what is held, and acts on how that ended. The first piece that is missing of the proof; `None` when there is
    /// none, or the file begins anew.
    async fn hash_on(
        self: &Arc<Self>,
        file: &Arc<SparseFile>,
        passage: &Arc<Passage>,
    ) -> Result<Option<u64>, TransferError> {
        let (held, hashing) = (Arc::clone(file), Arc::clone(passage));
        let hashed = tokio::task::spawn_blocking(move || hashing.advance(&held)).await;
        let outcome = hashed.map_err(|_join| TransferError::Stopping)?;
        self.passed(file, outcome).await;
        Ok(passage.missing().filter(|_| !file.is_dropped()))
    }

    /// Acts on how far the bytes of a file that passes through were hashed.
    pub(super) async fn passed(self: &Arc<Self>, file: &Arc<SparseFile>, outcome: Outcome) {
        match outcome {
            Outcome::Open(_) => {}
            Outcome::Right => self.passed_right(),
            Outcome::Wrong(found) => self.refute(file, found.unwrap_or(self.sha1())).await,
            Outcome::Collides => {
                if self.drop_passed(file).await {
                    self.give_up(TransferError::Collision { sha1: self.sha1() }, REST_MISMATCH);
                }
            }
        }
    }

    /// Somebody waits for the last piece, and it is given out now.
    fn passed_right(self: &Arc<Self>) {
        let last = self.declaration.size.div_ceil(PIECE).saturating_sub(1);
        let is_news = locked(&self.state).passed_right();
        if is_news {
            tracing::info!(sha1 = %self.sha1(), size = self.declaration.size, "a file larger than the store passed and was verified");
        }
        self.wake(last);
    }

    /// What passes is not what was declared, or is not twice the same: nobody gets its end, and it begins anew.
    pub(super) async fn refute(self: &Arc<Self>, file: &Arc<SparseFile>, found: Sha1Digest) {
        if self.drop_passed(file).await {
            self.mismatched(file, &found).await;
        }
    }

    /// Drops what is held; false when it was dropped before.
    async fn drop_passed(&self, file: &Arc<SparseFile>) -> bool {
        let (shared, file) = (Arc::clone(&self.shared), Arc::clone(file));
        let dropped = tokio::task::spawn_blocking(move || {
            let is_first = shared.store.discard(&file);
            if is_first {
                shared.passages.forget(&file);
            }
            is_first
        });
        dropped.await.unwrap_or_default()
    }
}
