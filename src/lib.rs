//! Tailwater: a bandwidth-aware downstream replica and caching server for Windows updates.
//!
//! The rooms, in the order of their floors. A room uses only rooms of a lower floor, and only what their
//! `mod.rs` shows; `tests/architecture` holds the house to that.

// floor 0: values and the machine
pub mod domain;
pub mod durable;
pub mod kv;
pub mod runtime;
pub mod telemetry;

// floor 1: what is known, held and said
pub mod api;
pub mod bandwidth;
pub mod catalog;
pub mod content;
pub mod ledger;
pub mod wire;

// floor 2: what is brought in, and what will be needed
pub mod needs;
pub mod transfer;
pub mod upstream;

// floor 3: what is answered
pub mod serve;
pub mod simulate;

// floor 4: what was asked for
pub mod config;

// floor 5: everything together
pub mod app;

// floor 6: what people type
pub mod cli;
