//! Plain values of the catalog: computers, servers, texts, scans, counts.
//!
//! **Invariant:** they hold no lock and no handle, and know nothing of where they are kept. They never do input or output.

pub(crate) mod belonging;
pub(crate) mod computer;
pub(crate) mod counts;
pub(crate) mod descendant;
pub(crate) mod facts;
pub(crate) mod part;
pub(crate) mod payload_key;
pub(crate) mod scan;
pub(crate) mod server;
pub(crate) mod text;
pub(crate) mod withheld;
