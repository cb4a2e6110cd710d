//! What black-box tests of payloads share: an upstream that counts and misbehaves, a site under test, a
//! client.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    unreachable_pub,
    reason = "test code: what cannot be set up ends the test"
)]

pub mod bad_link;
pub mod client;
pub mod origin;
pub mod raw_origin;
pub mod world;
