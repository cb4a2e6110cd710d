//! `DownstreamServerRollupInfo` ([MS-WSUSSS] 3.1.4.14.3.2): a server, its numbers, its computers by operating system.
//!
//! **Invariant:** a server without an identity or a parent is an error; summaries are counted over all servers of a
//! request.

use std::io::BufRead;

use uuid::Uuid;

use super::element::{MAX_UPDATES, Outcome, guid, lenient, os_number, rows, server_name};
use crate::server_reporting::{summary, time};
use crate::xml::{Decoder, XmlError};
use tailwater_domain::{Activity, ClientSummary, ServerId, ServerReport, UpdateId};

/// One server; `summaries` is how many summaries the request may still have.
pub(super) fn server<R: BufRead>(decoder: &mut Decoder<R>, summaries: &mut usize) -> Outcome<ServerReport> {
    let (mut id, mut parent) = (None, None);
    let mut report = ServerReport {
        id: ServerId(Uuid::nil()),
        name: String::new(),
        last_sync: None,
        parent: None,
        version: String::new(),
        is_replica: false,
        last_rollup: None,
        summary: None,
        clients: Vec::new(),
    };
    while let Some(name) = decoder.child()? {
        match name {
            "ServerId" => id = Some(guid(decoder)?),
            "ParentServerId" => parent = Some(guid(decoder)?),
            "FullDomainName" => report.name = server_name(&decoder.text()?)?,
            "LastSyncTime" => report.last_sync = time::read("LastSyncTime", &decoder.text()?)?,
            "Version" => report.version = decoder.text()?,
            "IsReplica" => report.is_replica = decoder.boolean()?,
            "LastRollupTime" => report.last_rollup = time::read("LastRollupTime", &decoder.text()?)?,
            "ServerSummary" => {
                let nil = decoder.is_nil();
                report.summary = Some(summary::read(decoder)?).filter(|_| !nil);
            }
            "ClientSummaries" => {
                let clients = rows(decoder, "DownstreamServerRollupClientSummary", *summaries, client)?;
                report.clients = clients.unwrap_or_default();
                *summaries -= report.clients.len();
            }
            _ => decoder.skip()?,
        }
    }
    let named = |id: Option<Uuid>, element| id.ok_or(XmlError::Missing { element });
    report.id = ServerId(named(id, "ServerId")?);
    report.parent = Some(named(parent, "ParentServerId")?).filter(|id| !id.is_nil()).map(ServerId);
    Ok(report)
}

fn client<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<ClientSummary> {
    let mut client = ClientSummary::default();
    while let Some(name) = decoder.child()? {
        match name {
            "OSLocale" => client.os.locale = decoder.text()?,
            "ProcessorArchitecture" => client.os.architecture = decoder.text()?,
            "Count" => client.count = lenient(&decoder.text()?),
            "ActivitySummaries" => {
                let item = "DownstreamServerRollupClientActivitySummary";
                client.activity = rows(decoder, item, MAX_UPDATES, activity)?.unwrap_or_default();
            }
            other => match os_number(&mut client.os, other) {
                Some(place) => *place = lenient(&decoder.text()?),
                None => decoder.skip()?,
            },
        }
    }
    Ok(client)
}

fn activity<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Activity> {
    let mut activity = Activity { update: UpdateId(Uuid::nil()), revision: 0, succeeded: 0, failed: 0 };
    while let Some(name) = decoder.child()? {
        match name {
            "UpdateId" => activity.update = UpdateId(guid(decoder)?),
            "RevisionNumber" => activity.revision = lenient(&decoder.text()?),
            "InstallSuccessCount" => activity.succeeded = lenient(&decoder.text()?),
            "InstallFailureCount" => activity.failed = lenient(&decoder.text()?),
            _ => decoder.skip()?,
        }
    }
    Ok(activity)
}
