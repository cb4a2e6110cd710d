//! Tailwater: a bandwidth-aware downstream replica and caching server for Windows updates.
//!
//! The rooms, in the order of their floors; each is a package of its own in `crates/`. A room uses only rooms of a lower
//! floor, and only what its `lib.rs` shows; `tests/architecture` holds the house to that.

// floor 0: values and the machine
pub use tailwater_domain as domain;
pub use tailwater_durable as durable;
pub use tailwater_kv as kv;
pub use tailwater_runtime as runtime;
pub use tailwater_telemetry as telemetry;

// floor 1: what is known, held and said
pub use tailwater_api as api;
pub use tailwater_bandwidth as bandwidth;
pub use tailwater_catalog as catalog;
pub use tailwater_content as content;
pub use tailwater_ledger as ledger;
pub use tailwater_wire as wire;

// floor 2: what is brought in, and what will be needed
pub use tailwater_needs as needs;
pub use tailwater_transfer as transfer;
pub use tailwater_upstream as upstream;

// floor 3: what is answered
pub use tailwater_serve as serve;
pub use tailwater_simulate as simulate;

// floor 4: what was asked for
pub use tailwater_config as config;

// floor 5: everything together
pub use tailwater_app as app;

// floor 6: what people type
pub use tailwater_cli as cli;
