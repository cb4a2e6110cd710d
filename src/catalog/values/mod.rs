//! Plain values of the catalog: computers, servers, texts, scans, counts.
//!
//! **Invariant:** they hold no lock and no handle, and know nothing of where they are kept. They never do input or output.

pub(in crate::catalog) mod belonging;
pub(in crate::catalog) mod computer;
pub(in crate::catalog) mod counts;
pub(in crate::catalog) mod descendant;
pub(in crate::catalog) mod facts;
pub(in crate::catalog) mod part;
pub(in crate::catalog) mod payload_key;
pub(in crate::catalog) mod scan;
pub(in crate::catalog) mod server;
pub(in crate::catalog) mod text;
pub(in crate::catalog) mod withheld;
