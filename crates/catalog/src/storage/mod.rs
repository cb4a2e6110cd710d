//! Where everything is kept: segments, the log over them, the index, records, and how an index is made again.
//!
//! **Invariant:** the index never points beyond the committed end of the log. It never knows what a snapshot is.

pub(crate) mod client_state;
pub(crate) mod damage;
pub(crate) mod dictionaries;
pub(crate) mod entries;
pub(crate) mod handle;
pub(crate) mod ids;
pub(crate) mod journal;
pub(crate) mod lineage;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod manifest;
pub(crate) mod opening;
pub(crate) mod rebuild;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod staged;
pub(crate) mod tail;
