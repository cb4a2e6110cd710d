//! A request between servers as a value, and the names of the two services ([MS-WSUSSS] 2.1).
//!
//! **Invariant:** the `SOAPAction` of a request is that of its operation. It never knows what an operation says.

use crate::soap;

/// Namespace of the synchronisation service; with a slash and the operation, its `SOAPAction`.
pub const NAMESPACE: &str = "http://www.microsoft.com/SoftwareDistribution";
/// Namespace of the authorization service.
pub const AUTH_NAMESPACE: &str = "http://www.microsoft.com/SoftwareDistribution/Server/DssAuthWebService";
/// Path of the synchronisation service ([MS-WSUSSS] 2.1).
pub const SERVICE_PATH: &str = "/ServerSyncWebService/ServerSyncWebService.asmx";
/// Path of the authorization service.
pub const AUTH_PATH: &str = "/DssAuthWebService/DssAuthWebService.asmx";
/// What we say to speak: what Windows Server says.
pub const PROTOCOL_VERSION: &str = "1.20";

/// A request, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The operation: `GetCookie` and so on.
    pub operation: &'static str,
    /// The `SOAPAction` header, with its quotation marks.
    pub action: String,
    /// The whole envelope.
    pub body: String,
}

impl Request {
    pub(crate) fn new(namespace: &str, operation: &'static str, content: &str) -> Self {
        Self {
            operation,
            action: format!("\"{namespace}/{operation}\""),
            body: soap::request(namespace, operation, content),
        }
    }
}
