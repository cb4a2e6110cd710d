//! Full update documents, and the fragments of them that agents get ([MS-WUSP] 3.1.1.1; byte for byte as real
//! servers cut them).
//!
//! **Invariant:** a document passes once, as a stream: memory does not grow with it beyond the named limits.
//! Nothing here asks the catalog or decides what an agent is offered.

mod around;
mod cut;
mod cut_result;
mod cutter;
mod element_kind;
mod error;
mod escape;
mod facts;
mod fragment;
mod language;
mod localized;
#[cfg(test)]
mod maxima_tests;

mod properties;
mod section;
mod source;
mod spool;
mod tag;
#[cfg(test)]
mod tests;

use tailwater_domain::{Limit, joined_limits};

pub use around::Trim;
pub use cut::{cut, drivers_of};
pub use cut_result::{Cut, Localized};
pub use cutter::MAX_DEPTH;
pub use error::MetadataError;
pub use language::Languages;
pub use source::MAX_DOCUMENT;
pub use spool::{MEMORY_LIMIT, Spool, SpoolReader};

pub(super) const LIMITS: &[Limit] = joined_limits![
    around::LIMITS,
    cutter::LIMITS,
    localized::LIMITS,
    source::LIMITS,
    spool::LIMITS,
    tag::LIMITS,
];
