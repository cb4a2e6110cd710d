//! `GetConfig`, `GetAuthorizationCookie`, `GetCookie`, `RegisterComputer`.
//!
//! **Invariant:** cookies are bytes here; nothing of them is understood.

use std::io::BufRead;

use super::element::{MAX_COOKIES, Outcome, cookie, present, rows, sealed};
use crate::client_update::parse_date_time;
use crate::client_update::request::{AuthorizationCookie, GetAuthorization, GetCookie, RegisterComputer};
use crate::xml::{Decoder, once};
use tailwater_domain::ComputerFacts;

pub(super) fn get_config<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<String>> {
    let mut version = None;
    while let Some(name) = decoder.child()? {
        match name {
            "protocolVersion" => once(&mut version, "protocolVersion", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(version.flatten())
}

pub(super) fn get_authorization<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<GetAuthorization> {
    let (mut client, mut group, mut dns) = (None, None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "clientId" => once(&mut client, "clientId", decoder.optional_text()?)?,
            "targetGroupName" => once(&mut group, "targetGroupName", decoder.optional_text()?)?,
            "dnsName" => once(&mut dns, "dnsName", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(GetAuthorization {
        client_id: client.flatten(),
        target_group: group.flatten(),
        dns_name: dns.flatten(),
    })
}

pub(super) fn get_cookie<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<GetCookie> {
    let mut request = GetCookie::default();
    let (mut old, mut version) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "authCookies" => {
                request.authorizations = rows(decoder, "AuthorizationCookie", MAX_COOKIES, authorization)?;
            }
            "oldCookie" => once(&mut old, "oldCookie", cookie(decoder)?)?,
            "lastChange" => request.last_change = parse_date_time(&decoder.text()?),
            "protocolVersion" => once(&mut version, "protocolVersion", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    request.old = old.flatten();
    request.protocol_version = version.flatten();
    Ok(request)
}

fn authorization<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<AuthorizationCookie> {
    let mut row = AuthorizationCookie::default();
    while let Some(name) = decoder.child()? {
        match name {
            "PlugInId" => row.plug_in = decoder.text()?,
            "CookieData" => row.sealed = sealed(decoder)?,
            _ => decoder.skip()?,
        }
    }
    Ok(row)
}

pub(super) fn register_computer<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<RegisterComputer> {
    let mut request = RegisterComputer::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "computerInfo" => request.info = present(decoder, computer_info)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn computer_info<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<ComputerFacts> {
    let (mut info, mut client_version) = (ComputerFacts::default(), [0_i32; 4]);
    while let Some(name) = decoder.child()? {
        // numbers are only shown to people: one that is no number is left at 0
        let (text, number) = match name {
            "DnsName" => (Some(&mut info.dns_name), None),
            "OSLocale" => (Some(&mut info.locale), None),
            "ComputerManufacturer" => (Some(&mut info.manufacturer), None),
            "ComputerModel" => (Some(&mut info.model), None),
            "BiosVersion" => (Some(&mut info.bios_version), None),
            "BiosName" => (Some(&mut info.bios_name), None),
            "BiosReleaseDate" => (Some(&mut info.bios_date), None),
            "ProcessorArchitecture" => (Some(&mut info.architecture), None),
            "OSDescription" => (Some(&mut info.os_description), None),
            "OEM" => (Some(&mut info.oem), None),
            "DeviceType" => (Some(&mut info.device_type), None),
            "FirmwareVersion" => (Some(&mut info.firmware_version), None),
            "MobileOperator" => (Some(&mut info.mobile_operator), None),
            "OSMajorVersion" => (None, Some(&mut info.os_major)),
            "OSMinorVersion" => (None, Some(&mut info.os_minor)),
            "OSBuildNumber" => (None, Some(&mut info.os_build)),
            "OSServicePackMajorNumber" => (None, Some(&mut info.service_pack_major)),
            "OSServicePackMinorNumber" => (None, Some(&mut info.service_pack_minor)),
            "SuiteMask" => (None, Some(&mut info.suite_mask)),
            "OldProductType" => (None, Some(&mut info.old_product_type)),
            "NewProductType" => (None, Some(&mut info.new_product_type)),
            "SystemMetrics" => (None, Some(&mut info.system_metrics)),
            "ClientVersionMajorNumber" => (None, Some(&mut client_version[0])),
            "ClientVersionMinorNumber" => (None, Some(&mut client_version[1])),
            "ClientVersionBuildNumber" => (None, Some(&mut client_version[2])),
            "ClientVersionQfeNumber" => (None, Some(&mut client_version[3])),
            _ => (None, None),
        };
        match (text, number) {
            (Some(place), _) => *place = decoder.text()?,
            (_, Some(place)) => *place = decoder.text()?.trim().parse().unwrap_or_default(),
            _ => decoder.skip()?,
        }
    }
    let [major, minor, build, qfe] = client_version;
    info.client_version = format!("{major}.{minor}.{build}.{qfe}");
    Ok(info)
}
