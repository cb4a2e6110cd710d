//! What this server tells tailwaters that synchronise from it, below `/tailwater/v1/`: lists, packs of documents,
//! notices of changes, payloads with the hashes of their pieces.
//!
//! **Invariant:** nothing but the greeting is answered without a cookie that the server role made and that the
//! gate still lets in; transfers never exceed their slots; what is told is what MS-WSUSSS would tell. It never
//! waits for the upstream but for payloads, as everywhere.

mod answering;
mod changes;
mod content;
mod list;
mod pack;
mod packs;
mod refusal;
mod service;
mod slots;

pub use service::{MAX_LONG_POLLS, Parts, Service};
pub use slots::Slots;

use tailwater_domain::{Limit, joined_limits};

pub(super) const LIMITS: &[Limit] = joined_limits![
    service::LIMITS,
    changes::LIMITS,
    content::LIMITS,
    list::LIMITS,
    pack::LIMITS,
    slots::LIMITS,
];
