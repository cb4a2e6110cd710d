//! A server as scheme, host and port. Pure.
//!
//! **Invariant:** it is made of an address with a host and of scheme http or https alone, and never holds a path or a query,
//! so that it may stand in logs and errors.

use http::Uri;

use crate::LinkError;

/// A server: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    /// Without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    pub(super) fn of(uri: &Uri) -> Result<Self, LinkError> {
        let refuse = || LinkError::Address {
            address: format!("{}://{}", uri.scheme_str().unwrap_or(""), uri.host().unwrap_or("")),
        };
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(refuse)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Ok(Self { https, host, port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }) })
    }

    /// `host:port` with the brackets of IPv6.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The same server and port with the other scheme.
    pub(super) fn other_scheme(&self) -> Self {
        Self { https: !self.https, ..self.clone() }
    }

    /// Whether both are the same scheme, host and port, however the host is written.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let host = |origin: &Self| origin.host.trim_end_matches('.').to_ascii_lowercase();
        (self.https, self.port) == (other.https, other.port) && host(self) == host(other)
    }

    /// The error when the server speaks the other scheme at this port.
    pub(super) fn speaks_other_scheme(&self) -> LinkError {
        LinkError::OtherScheme { origin: self.to_string(), instead: self.other_scheme().to_string() }
    }

    /// As in a `Host` header: the usual port is left out.
    pub(super) fn host_header(&self) -> String {
        let authority = self.authority();
        let usual = if self.https { ":443" } else { ":80" };
        authority.strip_suffix(usual).unwrap_or(&authority).to_owned()
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.authority())
    }
}
