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
mod message;
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
pub use message::{AUTH_NAMESPACE, AUTH_PATH, NAMESPACE, PROTOCOL_VERSION, Request, SERVICE_PATH};
pub use revision_ids::{
    Filter, IdAndDelta, LanguageAndDelta, RevisionIds, get_revision_id_list, read_revision_ids,
};
pub use update_data::{DocumentError, FileUrl, Received, UpdateData, get_update_data, read_update_data};

use tailwater_domain::{Limit, joined_limits};

pub(super) const LIMITS: &[Limit] = joined_limits![
    authorization::LIMITS,
    config_data::LIMITS,
    decryption::LIMITS,
    files::LIMITS,
    served::LIMITS,
    update_data::LIMITS,
];

#[cfg(test)]
mod tests;
