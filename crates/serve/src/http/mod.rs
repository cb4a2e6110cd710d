//! HTTP as the services of this room see it: requests with their peer, answers with their bodies, paths, host names.
//!
//! **Invariant:** nothing here knows a service or a protocol above HTTP, so every service may use it. It never answers a
//! request by itself but with what HTTP itself has words for.

pub(super) mod body;
mod certificate;
mod hosts;
pub(super) mod path;
mod refusal;
mod request;

use tailwater_domain::{Limit, joined_limits};

pub(super) const LIMITS: &[Limit] = joined_limits![certificate::LIMITS, request::LIMITS];

pub use body::{Body, Observed, Observer, Polled, empty, full, text};
pub use certificate::PeerCertificate;
pub use hosts::Hosts;
pub(super) use hosts::{Foreign, asked_host, check_request};
pub use refusal::Misdirected;
pub(super) use request::base_url;
pub use request::{Answer, Peer, Request, Response};
