//! How this server wants to be told, and the turns of roll-ups that are worked on.
//!
//! **Invariant:** a bounded number is worked on at once, whoever asks. It never reads a roll-up.

use std::time::Duration;

use uuid::Uuid;

use crate::cookie::lasting;
use tailwater_catalog::{Catalog, CatalogError};
use tailwater_domain::{Limit, ServerId, limits};
use tailwater_runtime::{Clock, TurnLimits, Turns};
use tailwater_wire::server_reporting::RollupConfiguration;

/// Roll-ups unpacked and worked on at once.
const MAX_TURNS: usize = 4;
/// How long one waits for its turn before it is told that the server is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// Names what was told; another one makes downstream servers tell everything again.
const RESET_KEY: &str = "downstream.rollup_reset";

pub(super) const LIMITS: &[Limit] = limits![
    MAX_TURNS in "roll-ups": "Roll-ups that are unpacked and worked on at once; addresses take turns" => "a wait, then `ServerBusy`",
    PATIENCE: "The wait of a roll-up for its turn" => "`ServerBusy`",
];

/// What all roll-ups share.
pub(super) struct RollupQueue {
    pub(super) configuration: RollupConfiguration,
    pub(super) turns: Turns,
}

impl RollupQueue {
    pub(super) fn open(server: ServerId, catalog: &Catalog, clock: &Clock) -> Result<Self, CatalogError> {
        let reset = Uuid::from_bytes(lasting(catalog, RESET_KEY)?);
        let configuration = RollupConfiguration::usual(server, reset);
        let turns = Turns::new(TurnLimits::of(MAX_TURNS, PATIENCE), clock.clone());
        Ok(Self { configuration, turns })
    }
}
