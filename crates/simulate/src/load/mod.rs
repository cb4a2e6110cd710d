//! What simulated agents and simulated branches share: connections, measured exchanges, and the loop that starts them.
//!
//! **Invariant:** nothing here knows which protocol is spoken. It never decides what a machine does.

mod connection;
mod crowd;
mod error;
mod exchange;
mod figures;

pub(super) use connection::{ANSWER_TIME, Connection, Server};
pub(super) use crowd::{Crowd, between};
pub use error::AgentError;
pub(super) use exchange::envelope_of;
pub(super) use figures::Figures;
pub use figures::{OperationReport, Report};
