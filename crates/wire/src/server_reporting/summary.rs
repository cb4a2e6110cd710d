//! The eighteen numbers of a server, by their names on the wire ([MS-WSUSSS] 3.1.4.14.3.3).
//!
//! **Invariant:** the order is the schema's. A number below 0 is read as 0: it counts something.

use std::io::BufRead;

use crate::xml::{Decoder, Encoder, XmlError};
use tailwater_domain::ServerSummary;

/// In the schema's order.
const NAMES: [&str; 18] = [
    "UpdateCount",
    "DeclinedUpdateCount",
    "ApprovedUpdateCount",
    "NotApprovedUpdateCount",
    "UpdatesWithStaleUpdateApprovalsCount",
    "ExpiredUpdateCount",
    "CriticalOrSecurityUpdatesNotApprovedForInstallCount",
    "WsusInfrastructureUpdatesNotApprovedForInstallCount",
    "UpdatesWithClientErrorsCount",
    "UpdatesWithServerErrorsCount",
    "UpdatesNeedingFilesCount",
    "UpdatesNeededByComputersCount",
    "UpdatesUpToDateCount",
    "CustomComputerTargetGroupCount",
    "ComputerTargetCount",
    "ComputerTargetsNeedingUpdatesCount",
    "ComputerTargetsWithUpdateErrorsCount",
    "ComputersUpToDateCount",
];

/// The places of the numbers, in the same order.
fn places(summary: &mut ServerSummary) -> [&mut u32; 18] {
    [
        &mut summary.updates,
        &mut summary.declined,
        &mut summary.approved,
        &mut summary.not_approved,
        &mut summary.stale_approvals,
        &mut summary.expired,
        &mut summary.critical_not_approved,
        &mut summary.infrastructure_not_approved,
        &mut summary.with_client_errors,
        &mut summary.with_server_errors,
        &mut summary.needing_files,
        &mut summary.needed_by_computers,
        &mut summary.up_to_date,
        &mut summary.custom_groups,
        &mut summary.computers,
        &mut summary.computers_needing_updates,
        &mut summary.computers_with_errors,
        &mut summary.computers_up_to_date,
    ]
}

pub(super) fn write(xml: &mut Encoder, summary: &ServerSummary) {
    let mut summary = *summary;
    xml.open("ServerSummary");
    for (name, number) in NAMES.iter().zip(places(&mut summary)) {
        xml.value(name, *number);
    }
    xml.close("ServerSummary");
}

pub(super) fn read<R: BufRead>(decoder: &mut Decoder<R>) -> Result<ServerSummary, XmlError> {
    let mut summary = ServerSummary::default();
    while let Some(name) = decoder.child()? {
        let at = NAMES.iter().position(|known| *known == name);
        match at.and_then(|at| places(&mut summary).into_iter().nth(at)) {
            Some(place) => *place = u32::try_from(decoder.value::<i64>()?.max(0)).unwrap_or(u32::MAX),
            None => decoder.skip()?,
        }
    }
    Ok(summary)
}
