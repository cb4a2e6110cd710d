//! What a stand-in was asked for.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts since start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests by SOAP operation.
    pub operations: BTreeMap<String, u64>,
    /// Faults by code.
    pub faults: BTreeMap<String, u64>,
    /// Bytes of SOAP answers, as sent (compressed where the client asked for it).
    pub soap_bytes: u64,
    /// Update documents sent.
    pub documents: u64,
    /// Requests for payloads.
    pub content_requests: u64,
    /// Those with a range.
    pub content_ranges: u64,
    /// Bytes of payloads handed to the network.
    pub content_bytes: u64,
    /// Requests for what does not exist.
    pub not_found: u64,
}
