//! Answers to roll-ups: written by the server above, read by the one below.
//!
//! **Invariant:** what is written is in the order of Microsoft's server, what is read may be in any. A list that is
//! read has the limit of the request it answers.

use std::io::BufRead;

use super::{NAMESPACE, RollupConfiguration};
use crate::server_sync::result;
use crate::soap::{SoapError, open_answer};
use crate::xml::{Decoder, Encoder, Limits, XmlError, once};
use tailwater_domain::{ComputerChange, ComputerId, Limit, ServerId, limits};

/// Most rows in an answer: as many as a request can have.
const MAX_ROWS: usize = 100_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ROWS in "rows": "Rows in an answer to a roll-up" => "the answer is refused",
];

/// What to do about a computer (`ChangedComputer`).
pub type ChangedComputer = (ComputerId, ComputerChange);

fn whole(operation: &str, content: impl FnOnce(&mut Encoder)) -> String {
    let mut xml = Encoder::with_capacity(512);
    let response = format!("{operation}Response");
    xml.open_in(&response, NAMESPACE);
    content(&mut xml);
    xml.close(&response);
    xml.finish()
}

/// The answer to `GetRollupConfiguration`.
pub fn configuration_answer(configuration: &RollupConfiguration) -> String {
    whole("GetRollupConfiguration", |xml| {
        xml.open("GetRollupConfigurationResult");
        xml.value("DoDetailedRollup", configuration.detailed).value("RollupResetGuid", configuration.reset);
        xml.value("ServerId", configuration.server);
        xml.value("RollupDownstreamServersMaxBatchSize", configuration.max_summaries);
        xml.value("RollupComputersMaxBatchSize", configuration.max_computers);
        xml.value("GetOutOfSyncComputersMaxBatchSize", configuration.max_numbers);
        xml.value("RollupComputerStatusMaxBatchSize", configuration.max_statuses);
        xml.close("GetRollupConfigurationResult");
    })
}

/// Reads the answer to `GetRollupConfiguration`.
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_configuration<R: BufRead>(input: R) -> Result<RollupConfiguration, SoapError> {
    let mut decoder = result(input, "GetRollupConfiguration", "GetRollupConfigurationResult")?;
    let (mut detailed, mut reset, mut server) = (None, None, None);
    let mut sizes = [None; 4];
    while let Some(name) = decoder.child()? {
        match name {
            "DoDetailedRollup" => once(&mut detailed, "DoDetailedRollup", decoder.boolean()?)?,
            "RollupResetGuid" => once(&mut reset, "RollupResetGuid", decoder.value()?)?,
            "ServerId" => once(&mut server, "ServerId", decoder.value()?)?,
            "RollupDownstreamServersMaxBatchSize" => sizes[0] = Some(size(&mut decoder)?),
            "RollupComputersMaxBatchSize" => sizes[1] = Some(size(&mut decoder)?),
            "GetOutOfSyncComputersMaxBatchSize" => sizes[2] = Some(size(&mut decoder)?),
            "RollupComputerStatusMaxBatchSize" => sizes[3] = Some(size(&mut decoder)?),
            _ => decoder.skip()?,
        }
    }
    let reset = reset.ok_or(XmlError::Missing { element: "RollupResetGuid" })?;
    let server = server.ok_or(XmlError::Missing { element: "ServerId" })?;
    let usual = RollupConfiguration::usual(ServerId(server), reset);
    Ok(RollupConfiguration {
        detailed: detailed.unwrap_or(false),
        max_summaries: sizes[0].unwrap_or(usual.max_summaries),
        max_computers: sizes[1].unwrap_or(usual.max_computers),
        max_numbers: sizes[2].unwrap_or(usual.max_numbers),
        max_statuses: sizes[3].unwrap_or(usual.max_statuses),
        ..usual
    })
}

/// A batch size: at least 1, whatever is said.
fn size<R: BufRead>(decoder: &mut Decoder<R>) -> Result<usize, XmlError> {
    Ok(usize::try_from(decoder.value::<i64>()?.clamp(1, 1_000_000)).unwrap_or(1))
}

/// The answer to `RollupDownstreamServers`: nothing.
pub fn servers_answer() -> String {
    whole("RollupDownstreamServers", |_| {})
}

/// Reads it.
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_servers_answer<R: BufRead>(input: R) -> Result<(), SoapError> {
    open_answer(input, Limits::ANSWER, "RollupDownstreamServers").map(|_| ())
}

/// The answer to `RollupComputers`.
pub fn computers_answer(changed: &[ChangedComputer]) -> String {
    whole("RollupComputers", |xml| {
        xml.open("RollupComputersResult");
        for (computer, change) in changed {
            let change = match change {
                ComputerChange::Deleted => "Deleted",
                ComputerChange::NewParent => "NewParent",
            };
            xml.begin_tag("ChangedComputer").attribute("ComputerId", &computer.0);
            xml.attribute("Change", change).end_empty();
        }
        xml.close("RollupComputersResult");
    })
}

/// Reads it. Changes that are not known are passed over.
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_computers_answer<R: BufRead>(input: R) -> Result<Vec<ChangedComputer>, SoapError> {
    let mut decoder = open_answer(input, Limits::ANSWER, "RollupComputers")?;
    decoder.keep_attributes();
    let mut changed = Vec::new();
    while let Some(name) = decoder.child()? {
        if name != "RollupComputersResult" {
            decoder.skip()?;
            continue;
        }
        while let Some(name) = decoder.child()? {
            let row = if name == "ChangedComputer" { decoder.take_attributes() } else { Vec::new() };
            decoder.skip()?;
            if changed.len() == MAX_ROWS {
                return Err(XmlError::TooManyElements { limit: MAX_ROWS }.into());
            }
            changed.extend(changed_computer(&row));
        }
    }
    Ok(changed)
}

fn changed_computer(row: &[(String, String)]) -> Option<ChangedComputer> {
    let of = |name: &str| row.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let change = match of("Change")? {
        "Deleted" => ComputerChange::Deleted,
        "NewParent" => ComputerChange::NewParent,
        _ => return None,
    };
    Some((ComputerId(of("ComputerId")?.to_lowercase()), change))
}

/// The answer to `GetOutOfSyncComputers`.
pub fn out_of_sync_answer(computers: &[ComputerId]) -> String {
    whole("GetOutOfSyncComputers", |xml| {
        xml.open("GetOutOfSyncComputersResult");
        for computer in computers {
            xml.text("string", &computer.0);
        }
        xml.close("GetOutOfSyncComputersResult");
    })
}

/// Reads it.
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_out_of_sync<R: BufRead>(input: R) -> Result<Vec<ComputerId>, SoapError> {
    let mut decoder = open_answer(input, Limits::ANSWER, "GetOutOfSyncComputers")?;
    let mut found = Vec::new();
    while let Some(name) = decoder.child()? {
        match name {
            "GetOutOfSyncComputersResult" => found.extend(decoder.texts("string", MAX_ROWS)?),
            _ => decoder.skip()?,
        }
    }
    Ok(found.into_iter().map(|id| ComputerId(id.to_lowercase())).collect())
}

/// The answer to `RollupComputerStatus`: whether it was taken; else the sender tries again later.
pub fn status_answer(taken: bool) -> String {
    whole("RollupComputerStatus", |xml| {
        xml.value("RollupComputerStatusResult", taken);
    })
}

/// Reads it.
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_status_answer<R: BufRead>(input: R) -> Result<bool, SoapError> {
    let mut decoder = open_answer(input, Limits::ANSWER, "RollupComputerStatus")?;
    while let Some(name) = decoder.child()? {
        match name {
            "RollupComputerStatusResult" => return Ok(decoder.boolean()?),
            _ => decoder.skip()?,
        }
    }
    Err(XmlError::Missing { element: "RollupComputerStatusResult" }.into())
}
