//! Synchronisation: what a downstream server does towards its upstream ([MS-WSUSSS] 3.2.4).
//!
//! A session authorizes and renews its cookie; a run lists what is new, fetches documents in bounded
//! batches, has them cut and stored, and makes everything visible with one activation.
//!
//! **Invariant:** agents see the world before a synchronisation or the world after it, never half of it;
//! revisions asked for and not yet durable never exceed one batch of the upstream; what was stored is not
//! fetched again, whatever stopped the process. It never touches payloads: it only knows where they are.

mod addresses;
mod attempt;
mod blocking;
mod capabilities;
mod client;
mod config;
mod contact;
mod deployments;
mod error;
mod examine;
mod fetch;
mod handle;
mod ingest;
mod keys;
mod languages;
mod mark;
mod names;
mod older;
mod peer;
mod reason;
mod recovery;
mod related;
mod renewal;
mod report;
mod rollup;
mod root;
mod run;
mod schedule;
mod select;
mod session;
mod sources;
mod standing;
mod state;
mod sync;

pub use addresses::Address;
pub use config::{Config, ContentFrom, Mode, PeerUse, Plan, PricedSource, Schedule, SourceKind, USUAL_COST};
pub use error::SyncError;
pub use examine::Examined;
pub use handle::Upstream;
pub use languages::LANGUAGES_KEY;
pub use names::{Choice, ChosenName, NameKey};
pub use reason::Reason;
pub use report::{Activated, Missing, Outcome, Phase, SyncOptions, SyncProgress, SyncReport, Trigger};
pub use rollup::RollupReport;
pub use standing::{Failing, Standing};

use tailwater_domain::{Limit, joined_limits};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    addresses::LIMITS,
    client::LIMITS,
    fetch::LIMITS,
    keys::LIMITS,
    languages::LIMITS,
    names::LIMITS,
    peer::LIMITS,
    related::LIMITS,
    renewal::LIMITS,
    rollup::LIMITS,
    root::LIMITS,
    run::LIMITS,
    schedule::LIMITS,
    session::LIMITS,
    sources::LIMITS,
    state::LIMITS,
    sync::LIMITS,
];
