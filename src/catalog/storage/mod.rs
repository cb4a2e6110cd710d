//! Where everything is kept: segments, the log over them, the index, records, and how an index is made again.
//!
//! **Invariant:** the index never points beyond the committed end of the log. It never knows what a snapshot is.

pub(in crate::catalog) mod client_state;
pub(in crate::catalog) mod damage;
pub(in crate::catalog) mod dictionaries;
pub(in crate::catalog) mod entries;
pub(in crate::catalog) mod handle;
pub(in crate::catalog) mod ids;
pub(in crate::catalog) mod journal;
pub(in crate::catalog) mod lineage;
pub(in crate::catalog) mod lock;
pub(in crate::catalog) mod log;
pub(in crate::catalog) mod manifest;
pub(in crate::catalog) mod opening;
pub(in crate::catalog) mod rebuild;
pub(in crate::catalog) mod record;
pub(in crate::catalog) mod segment;
pub(in crate::catalog) mod staged;
pub(in crate::catalog) mod tail;
