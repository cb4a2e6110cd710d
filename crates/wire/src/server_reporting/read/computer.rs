//! Computers of a roll-up: what they are, the numbers of their reports, and what they say of updates.
//!
//! **Invariant:** a row without an identity is an error; a time that is "never" is absent.

use std::io::BufRead;

use jiff::Timestamp;
use uuid::Uuid;

use super::element::{
    KEPT_GROUP_NAMES, MAX_GROUPS, MAX_UPDATES, Outcome, computer_id, full_name, guid, lenient, os_number,
    parsed, rows,
};
use crate::server_reporting::time;
use crate::xml::{Decoder, XmlError};
use tailwater_domain::{
    ComputerDetails, ComputerId, GroupId, RolledComputer, ServerId, StatusReport, Summarization, SyncResult,
    UpdateId, UpdateStatus,
};

/// `ComputerRollupInfo` ([MS-WSUSSS] 3.1.4.15).
pub(super) fn computer<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<RolledComputer> {
    let (mut id, mut parent) = (None, None);
    let mut row = RolledComputer {
        id: ComputerId(String::new()),
        last_sync: None,
        last_result: SyncResult::Unknown,
        last_reboot: None,
        last_status: None,
        last_inventory: None,
        parent: ServerId(Uuid::nil()),
        details: None,
    };
    for (name, text) in decoder.take_attributes() {
        match name.as_str() {
            "ComputerId" => id = Some(computer_id(&text)?),
            "ParentServerId" => parent = Some(ServerId(parsed("ParentServerId", &text)?)),
            "LastSyncTime" => row.last_sync = time::read(&name, &text)?,
            "LastReportedRebootTime" => row.last_reboot = time::read(&name, &text)?,
            "LastReportedStatusTime" => row.last_status = time::read(&name, &text)?,
            "LastInventoryTime" => row.last_inventory = time::read(&name, &text)?,
            "LastSyncResult" => {
                row.last_result = match text.trim() {
                    "1" => SyncResult::Succeeded,
                    "2" => SyncResult::Failed,
                    _ => SyncResult::Unknown,
                }
            }
            _ => {}
        }
    }
    while let Some(name) = decoder.child()? {
        match name {
            "Details" => {
                let nil = decoder.is_nil();
                row.details = Some(details(decoder)?).filter(|_| !nil);
            }
            _ => decoder.skip()?,
        }
    }
    row.id = id.ok_or(XmlError::Missing { element: "ComputerId" })?;
    row.parent = parent.ok_or(XmlError::Missing { element: "ParentServerId" })?;
    Ok(row)
}

fn details<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<ComputerDetails> {
    let mut details = ComputerDetails::default();
    for (name, text) in decoder.take_attributes() {
        match name.as_str() {
            "FullDomainName" => details.name = full_name(&text)?,
            "OSLocale" => details.os.locale = text,
            "ProcessorArchitecture" => details.os.architecture = text,
            "OSDescription" => details.os_description = text,
            "ComputerMake" => details.make = text,
            "ComputerModel" => details.model = text,
            "BiosVersion" => details.bios_version = text,
            "BiosName" => details.bios_name = text,
            "BiosReleaseDate" => details.bios_date = text,
            "ClientVersion" => details.client_version = text,
            other => {
                if let Some(place) = os_number(&mut details.os, other) {
                    *place = lenient(&text);
                }
            }
        }
    }
    while let Some(name) = decoder.child()? {
        match name {
            "TargetGroupIdList" => {
                let groups = decoder.texts("guid", MAX_GROUPS)?;
                details.groups = groups.iter().filter_map(|id| id.parse::<GroupId>().ok()).collect();
            }
            "RequestedTargetGroupNames" => {
                let mut names = decoder.texts("string", MAX_GROUPS)?;
                // what says nothing takes no memory, and no computer asks for more
                names.retain(|name| !name.is_empty());
                names.truncate(KEPT_GROUP_NAMES);
                names.shrink_to_fit();
                details.requested_groups = names;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(details)
}

/// `ComputerLastRollupNumber`: which computer, and the number of its last report.
pub(super) fn number<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<(ComputerId, i32)> {
    let (mut id, mut number) = (None, 0);
    while let Some(name) = decoder.child()? {
        match name {
            "ComputerId" => id = Some(computer_id(&decoder.text()?)?),
            "RollupNumber" => number = decoder.value()?,
            _ => decoder.skip()?,
        }
    }
    Ok((id.ok_or(XmlError::Missing { element: "ComputerId" })?, number))
}

/// `ComputerStatusRollupInfo` ([MS-WSUSSS] 3.1.4.17).
pub(super) fn status<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<StatusReport> {
    let mut id = None;
    let mut row = StatusReport {
        computer: ComputerId(String::new()),
        effective_detection: None,
        number: 0,
        full: false,
        updates: Vec::new(),
    };
    while let Some(name) = decoder.child()? {
        match name {
            "ComputerId" => id = Some(computer_id(&decoder.text()?)?),
            "EffectiveLastDetectionTime" => {
                row.effective_detection = time::read("EffectiveLastDetectionTime", &decoder.text()?)?;
            }
            "RollupNumber" => row.number = decoder.value()?,
            "IsFullRollup" => row.full = decoder.boolean()?,
            "UpdateStatus" => {
                let item = "ComputerStatusRollupUpdateStatus";
                row.updates = rows(decoder, item, MAX_UPDATES, update)?.unwrap_or_default();
            }
            _ => decoder.skip()?,
        }
    }
    row.computer = id.ok_or(XmlError::Missing { element: "ComputerId" })?;
    Ok(row)
}

fn update<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<UpdateStatus> {
    let (mut id, mut state, mut changed) = (None, None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "UpdateId" => id = Some(UpdateId(guid(decoder)?)),
            "SummarizationState" => {
                let text = decoder.text()?;
                let known = Summarization::of(parsed("SummarizationState", &text)?);
                state = Some(
                    known
                        .ok_or_else(|| XmlError::Value { element: "SummarizationState".to_owned(), text })?,
                );
            }
            "LastChangeTime" => changed = time::read("LastChangeTime", &decoder.text()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(UpdateStatus {
        update: id.ok_or(XmlError::Missing { element: "UpdateId" })?,
        state: state.ok_or(XmlError::Missing { element: "SummarizationState" })?,
        changed: changed.unwrap_or(Timestamp::UNIX_EPOCH),
    })
}
