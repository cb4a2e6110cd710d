//! The service for tailwaters: what it is made of, and how much of each kind of work there may be at once.
//!
//! **Invariant:** its parts are set once, at the start. It never answers by itself: requests do, each in a file of its
//! own.

use std::sync::Arc;

use super::packs::Packs;
use super::slots::Slots;
use crate::intake::Intake;
use crate::{downstream, files};
use tailwater_catalog::Catalog;
use tailwater_content::Store;
use tailwater_domain::{Limit, ServerId, limits};
use tailwater_runtime::{Clock, Limits as ShareLimits, Shares, Tasks, TurnLimits, Turns};

/// Children that wait for a change at once, where the configuration says nothing else; a further one asks again later.
pub const MAX_LONG_POLLS: u64 = 4_096;
/// How long a request waits until its pack or list is made.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(25);
/// Packs that are made at once: each takes a core and up to 30 MB.
const MOST_MAKING: usize = 2;
/// Lists that are made at once: one of 100,000 revisions takes 13 MB meanwhile.
const MOST_LISTING: usize = 2;
pub(super) const LIMITS: &[Limit] = limits![
    MAX_LONG_POLLS in "requests" key "downstream.max_long_polls": "Children that wait for a change at once, shared by address" => "503, after which they ask again",
    MOST_MAKING in "packs": "Packs that are made at once" => "a wait, then 503",
    MOST_LISTING in "lists": "Lists that are made at once" => "a wait, then 503",
    PATIENCE: "The wait until a pack or list is made" => "503",
];

/// What the service is made of.
pub struct Parts {
    /// Who this server is.
    pub server: ServerId,
    /// What is known.
    pub catalog: Catalog,
    /// What is held.
    pub content: Store,
    /// Answers for payloads.
    pub files: files::Service,
    /// The server role, which made the cookies and knows who may come.
    pub downstream: downstream::Service,
    /// Their turns.
    pub slots: Slots,
    /// Children that may wait for a change at once (`downstream.max_long_polls`).
    pub long_polls: u64,
    /// The time.
    pub clock: Clock,
    /// For knowing when to stop.
    pub tasks: Tasks,
    /// Takes in what they send.
    pub intake: Intake,
}

/// Answers tailwaters. Cheap to clone.
#[derive(Clone)]
pub struct Service(pub(super) Arc<PeerRole>);

/// What the service works with. Nothing in it changes but by its own rules.
pub(super) struct PeerRole {
    pub(super) server: ServerId,
    pub(super) catalog: Catalog,
    pub(super) content: Store,
    pub(super) files: files::Service,
    pub(super) downstream: downstream::Service,
    pub(super) slots: Slots,
    pub(super) work: PeerWork,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) intake: Intake,
}

/// How much may be done at once, and what was made.
pub(super) struct PeerWork {
    /// Children that wait for a change.
    pub(super) waiting: Shares,
    /// Turns of packs in the making.
    pub(super) making: Turns,
    /// Turns of lists in the making.
    pub(super) listing: Turns,
    /// Finished packs.
    pub(super) packs: Packs,
}

impl Service {
    /// The service over a catalog and a store.
    pub fn new(parts: Parts) -> Self {
        let Parts { server, catalog, content, files, downstream, slots, long_polls, clock, tasks, intake } =
            parts;
        Self(Arc::new(PeerRole {
            server,
            catalog,
            content,
            files,
            downstream,
            slots,
            work: PeerWork {
                waiting: Shares::new(ShareLimits::of(long_polls)),
                making: Turns::new(TurnLimits::of(MOST_MAKING, PATIENCE), clock.clone()),
                listing: Turns::new(TurnLimits::of(MOST_LISTING, PATIENCE), clock.clone()),
                packs: Packs::new(),
            },
            clock,
            tasks,
            intake,
        }))
    }
}
