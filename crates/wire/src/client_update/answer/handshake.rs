//! Answers of the handshake and of reporting.
//!
//! **Invariant:** a cookie goes out as it was sealed; nothing is added to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::{SealedCookie, whole};
use crate::client_update::{Service, date_time};

/// `GetConfigResult` ([MS-WUSP] 2.2.2.2.1).
#[derive(Debug, Clone)]
pub struct ConfigAnswer<'a> {
    /// `LastChange`.
    pub last_change: Timestamp,
    /// `IsRegistrationRequired`.
    pub registration_required: bool,
    /// `Properties`, in their order.
    pub properties: &'a [(&'a str, &'a str)],
}

impl ConfigAnswer<'_> {
    /// The body.
    pub fn encode(&self) -> String {
        whole(Service::Client, "GetConfig", |xml| {
            xml.open("GetConfigResult")
                .value("LastChange", date_time(self.last_change))
                .value("IsRegistrationRequired", self.registration_required)
                .open("AuthInfo")
                .open("AuthPlugInInfo")
                .value("PlugInID", "SimpleTargeting")
                .value("ServiceUrl", &Service::SimpleAuth.path()[1..])
                .empty("Parameter")
                .close("AuthPlugInInfo")
                .close("AuthInfo")
                .open("Properties");
            for (name, value) in self.properties {
                xml.open("ConfigurationProperty").text("Name", name).text("Value", value);
                xml.close("ConfigurationProperty");
            }
            xml.close("Properties").close("GetConfigResult");
        })
    }
}

/// `GetAuthorizationCookieResult` ([MS-WUSP] 2.2.2.1.1).
#[derive(Debug, Clone)]
pub struct AuthorizationAnswer {
    /// `CookieData`.
    pub sealed: Vec<u8>,
}

impl AuthorizationAnswer {
    /// The body.
    pub fn encode(&self) -> String {
        whole(Service::SimpleAuth, "GetAuthorizationCookie", |xml| {
            xml.open("GetAuthorizationCookieResult")
                .value("PlugInId", "SimpleTargeting")
                .value("CookieData", STANDARD.encode(&self.sealed))
                .close("GetAuthorizationCookieResult");
        })
    }
}

/// The body of a `GetCookie` answer.
pub fn cookie_answer(cookie: &SealedCookie) -> String {
    whole(Service::Client, "GetCookie", |xml| {
        xml.open("GetCookieResult");
        cookie.write(xml);
        xml.close("GetCookieResult");
    })
}

/// The body of a `RegisterComputer` answer.
pub fn register_computer_answer() -> String {
    format!("<RegisterComputerResponse xmlns=\"{}\" />", Service::Client.namespace())
}

/// The body of a `ReportEventBatch` answer.
pub fn report_answer() -> String {
    whole(Service::Reporting, "ReportEventBatch", |xml| {
        xml.value("ReportEventBatchResult", true);
    })
}

/// The body of a `ReportEventBatch2` answer.
pub fn report2_answer() -> String {
    whole(Service::Reporting, "ReportEventBatch2", |xml| {
        xml.value("ReportEventBatch2Result", true);
    })
}
