//! Black-box tests: one file a promise.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod admin_needs_the_token;
mod fragments_equal_captures;
mod link;
mod link_rate;
mod server;
mod starts_without_upstream;
