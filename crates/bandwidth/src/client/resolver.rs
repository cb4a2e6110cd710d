//! What a name stands for, as a seam: the system's resolver, or a table in tests.
//!
//! **Invariant:** what is given are addresses and nothing is left out of them. It never judges and never remembers.

use std::io;
use std::net::SocketAddr;

#[cfg(test)]
pub(super) type Stub = std::sync::Arc<dyn Fn(&str) -> Option<Vec<std::net::IpAddr>> + Send + Sync>;

/// Addresses of names.
#[derive(Clone, Default)]
pub(super) enum Resolver {
    /// As the system resolves names: `hosts`, DNS, and numbers in every form that it reads.
    #[default]
    System,
    /// What this says of a name, and for others the system.
    #[cfg(test)]
    Stub(Stub),
}

impl Resolver {
    /// The addresses of a host at a port.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        #[cfg(test)]
        if let Self::Stub(stub) = self
            && let Some(addresses) = stub(host)
        {
            return Ok(addresses.iter().map(|address| SocketAddr::new(*address, port)).collect());
        }
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}
