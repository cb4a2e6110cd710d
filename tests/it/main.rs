//! Black-box tests: one file a promise.

mod admin_needs_the_token;
mod fragments_equal_captures;
mod server;
mod starts_without_upstream;
