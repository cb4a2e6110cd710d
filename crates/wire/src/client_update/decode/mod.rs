//! Reading the body of a request. The decoder stands inside the operation's element.
//!
//! **Invariant:** an element that is not known is passed over with everything in it. Lists are bounded by the limits of
//! [`element`], far above what clients send.

mod details;
mod element;
mod handshake;
mod report;
mod scan;

use std::io::BufRead;

pub(super) use self::element::LIMITS;
use self::element::Outcome;
use super::Service;
use super::request::Request;
use crate::xml::Decoder;

impl Request {
    /// Reads the request `operation` of a service; `None` when the service has no such operation.
    ///
    /// # Errors
    /// When the body is no such request.
    pub fn decode<R: BufRead>(
        service: Service,
        operation: &str,
        decoder: &mut Decoder<R>,
    ) -> Outcome<Option<Self>> {
        Ok(Some(match (service, operation) {
            (Service::Client, "GetConfig") => Self::GetConfig(handshake::get_config(decoder)?),
            (Service::Client, "GetCookie") => Self::GetCookie(handshake::get_cookie(decoder)?),
            (Service::Client, "RegisterComputer") => {
                Self::RegisterComputer(handshake::register_computer(decoder)?)
            }
            (Service::Client, "StartCategoryScan") => {
                Self::StartCategoryScan(scan::start_category_scan(decoder)?)
            }
            (Service::Client, "SyncUpdates") => Self::SyncUpdates(scan::sync_updates(decoder)?),
            (Service::Client, "SyncPrinterCatalog") => {
                Self::SyncPrinterCatalog(scan::sync_printers(decoder)?)
            }
            (Service::Client, "RefreshCache") => Self::RefreshCache(details::refresh_cache(decoder)?),
            (Service::Client, "GetExtendedUpdateInfo") => {
                Self::GetExtendedUpdateInfo(details::get_extended(decoder)?)
            }
            (Service::Client, "GetExtendedUpdateInfo2") => {
                Self::GetExtendedUpdateInfo2(details::get_extended2(decoder)?)
            }
            (Service::Client, "GetFileLocations") => {
                let (cookie, digests) = details::get_file_locations(decoder)?;
                Self::GetFileLocations(cookie, digests)
            }
            (Service::SimpleAuth, "GetAuthorizationCookie") => {
                Self::GetAuthorizationCookie(handshake::get_authorization(decoder)?)
            }
            (Service::Reporting, "ReportEventBatch") => Self::ReportEventBatch(report::report(decoder)?),
            (Service::Reporting, "ReportEventBatch2") => Self::ReportEventBatch2(report::report(decoder)?),
            _ => return Ok(None),
        }))
    }
}
