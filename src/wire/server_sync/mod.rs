//! MS-WSUSSS, the protocol between update servers: what a downstream server asks ([MS-WSUSSS] 3.2.4) and how
//! it reads the answers. The server's side of the same messages is [`served`].
//!
//! **Invariant:** answers are read whatever the prefix and the order of elements (Microsoft Update, WSUS and
//! the specification differ), an element that may stand once is refused when it stands twice, and update
//! documents are streamed, never gathered. Cookies and anchors are opaque: kept and sent back as they came.

mod authorization;
mod config_data;
mod decryption;
mod deployments;
mod files;
mod revision_ids;
pub mod served;
mod update_data;

pub(super) use authorization::result;
pub use authorization::{
    AuthConfig, AuthPlugIn, AuthorizationCookie, Cookie, get_auth_config, get_authorization_cookie,
    get_cookie, read_auth_config, read_authorization_cookie, read_cookie,
};
pub use config_data::{ConfigData, Language, get_config_data, read_config_data};
pub use decryption::{PayloadKey, UpdateKeys, get_update_decryption_data, read_update_decryption_data};
pub use deployments::{Deployment, Deployments, TargetGroup, get_deployments, read_deployments};
pub use files::download_files;
pub use revision_ids::{
    Filter, IdAndDelta, LanguageAndDelta, RevisionIds, get_revision_id_list, read_revision_ids,
};
pub use update_data::{DocumentError, FileUrl, Received, UpdateData, get_update_data, read_update_data};

use super::soap;
use crate::domain::{Limit, joined_limits};

pub(super) const LIMITS: &[Limit] = joined_limits![
    authorization::LIMITS,
    config_data::LIMITS,
    decryption::LIMITS,
    files::LIMITS,
    served::LIMITS,
    update_data::LIMITS,
];

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
    pub(super) fn new(namespace: &str, operation: &'static str, content: &str) -> Self {
        Self {
            operation,
            action: format!("\"{namespace}/{operation}\""),
            body: soap::request(namespace, operation, content),
        }
    }
}

#[cfg(test)]
mod tests;
