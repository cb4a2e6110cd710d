//! Sections of a document, numbered in the order in which fragments have them.
//!
//! **Invariant:** the order is that of WSUS ([MS-WUSP] 3.1.1.1), whatever the order in the document.

/// Sections in the order of the fragments; what a section's number is in the cutter.
pub(super) const IDENTITY: usize = 0;
pub(super) const CORE: usize = 1;
pub(super) const RELATIONSHIPS: usize = 2;
pub(super) const RULES: usize = 3;
pub(super) const EXTENDED: usize = 4;
pub(super) const FILES: usize = 5;
pub(super) const HANDLER: usize = 6;
pub(super) const UNROUTED: usize = 7;
