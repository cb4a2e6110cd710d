//! The messages of [MS-WUSP]: what agents ask and how they are answered.
//!
//! Requests are read the way clients of all ages write them: elements in any order, unknown ones passed over, absent,
//! empty and nil told apart only where it matters. Answers are written element for element as a real server writes
//! them; fragments of documents are not copied but named, so that a huge one can be streamed.
//!
//! **Invariant:** every list that is read has a limit. Nothing here knows a catalog, or what is true.

mod answer;
mod decode;
mod request;
mod time;
mod version;

#[cfg(test)]
mod tests;

use tailwater_domain::{Limit, joined_limits};

pub use answer::{
    AuthorizationAnswer, CategoryScanAnswer, ConfigAnswer, DeploymentView, Extended2Answer, ExtendedAnswer,
    FileKey, FileLocation, Piece, RefreshRow, SealedCookie, SyncAnswer, SyncEnd, UpdateView, cookie_answer,
    extended_answer, extended2_answer, file_locations_answer, refresh_cache_answer, register_computer_answer,
    report_answer, report2_answer,
};
pub use request::{
    AuthorizationCookie, CategoryRelationship, Cookie, Device, Event, FragmentType, GetAuthorization,
    GetCookie, GetExtended, GetExtended2, InstalledDriver, RefreshCache, RegisterComputer, ReportEventBatch,
    Request, RevisionIdentity, StartCategoryScan, SyncPrinterCatalog, SyncUpdates,
};
pub use time::{date, date_time, parse_date_time};
pub use version::ProtocolVersion;

pub(super) const LIMITS: &[Limit] = joined_limits![decode::LIMITS,];

/// Which of the three services of an update server ([MS-WUSP] 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// `/ClientWebService/client.asmx`
    Client,
    /// `/SimpleAuthWebService/SimpleAuth.asmx`
    SimpleAuth,
    /// `/ReportingWebService/ReportingWebService.asmx`
    Reporting,
}

impl Service {
    /// The namespace of its messages.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Client => "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService",
            Self::SimpleAuth => "http://www.microsoft.com/SoftwareDistribution/Server/SimpleAuthWebService",
            Self::Reporting => "http://www.microsoft.com/SoftwareDistribution",
        }
    }

    /// Its path, in the letter case of the specification.
    pub fn path(self) -> &'static str {
        match self {
            Self::Client => "/ClientWebService/client.asmx",
            Self::SimpleAuth => "/SimpleAuthWebService/SimpleAuth.asmx",
            Self::Reporting => "/ReportingWebService/ReportingWebService.asmx",
        }
    }

    /// The service under a path, whatever its letter case.
    pub fn at(path: &str) -> Option<Self> {
        [Self::Client, Self::SimpleAuth, Self::Reporting]
            .into_iter()
            .find(|service| service.path().eq_ignore_ascii_case(path))
    }

    /// How its answers are wrapped.
    pub fn style(self) -> super::soap::Style {
        match self {
            Self::Client => super::soap::Style::Client,
            Self::SimpleAuth | Self::Reporting => super::soap::Style::Server,
        }
    }
}
