//! The part about servers: this one and those below.
//!
//! Invariant: parents are told of before their children, no request holds more summaries than the upstream takes. What
//! computers installed is told once.

use jiff::Timestamp;

use super::round::{Rollup, synchronised};
use crate::error::SyncError;
use tailwater_catalog::{Catalog, CatalogError};
use tailwater_domain::{Limit, ServerId, ServerReport, limits};
use tailwater_wire::server_reporting::{self as wire, RollupConfiguration};

/// Servers in one request.
const MAX_SERVERS: usize = 100;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_SERVERS in "servers": "Servers in a request of a roll-up" => "they go into the next one",
];

impl Rollup {
    pub(super) async fn tell_servers(&self, configuration: &RollupConfiguration) -> Result<usize, SyncError> {
        let (ours, now) = (self.ours, self.clock.now());
        let (name, is_replica) = (self.session.account_name().to_owned(), self.is_replica);
        let reports = self.ask(move |catalog| reports(catalog, ours, name, is_replica, now)).await?;
        let count = reports.len();
        for some in split_servers(reports, configuration.max_summaries) {
            let request = wire::rollup_servers(self.clock.now(), &some);
            self.session.report(&request, wire::read_servers_answer).await?;
            self.ask(move |catalog| {
                let told = some.iter().filter(|report| !report.clients.is_empty());
                told.clone().try_for_each(|report| {
                    catalog.clear_activity(Some(&report.id).filter(|id| **id != ours), &report.clients)
                })
            })
            .await?;
        }
        Ok(count)
    }
}

/// This server and those below it, parents before their children, this one last as the text has it.
fn reports(
    catalog: &Catalog,
    ours: ServerId,
    name: String,
    is_replica: bool,
    now: Timestamp,
) -> Result<Vec<ServerReport>, CatalogError> {
    let mut below: Vec<_> = catalog
        .servers()
        .into_iter()
        .map(|server| (catalog.server_chain(&server.id).len(), server))
        .collect();
    below.sort_by_key(|(depth, _)| *depth);
    let ourself = ServerReport {
        id: ours,
        name,
        last_sync: synchronised(catalog).into_iter().max(),
        parent: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        is_replica,
        last_rollup: Some(now),
        summary: Some(catalog.server_summary()?),
        clients: catalog.client_summaries(None)?,
    };
    // Deviates: the text has this server last. Its own children would have a parent that the upstream may not know yet.
    let mut reports = vec![ourself];
    for (_, server) in below {
        reports.push(ServerReport {
            id: server.id,
            name: server.name.clone(),
            last_sync: server.last_sync,
            parent: Some(server.parent.unwrap_or(ours)),
            version: server.version.clone(),
            is_replica: server.is_replica,
            last_rollup: server.last_rollup,
            summary: server.summary,
            clients: catalog.client_summaries(Some(&server.id))?,
        });
    }
    Ok(reports)
}

/// Requests of at most so many summaries, and so many servers; a server with more summaries is told in parts.
fn split_servers(reports: Vec<ServerReport>, max_summaries: usize) -> Vec<Vec<ServerReport>> {
    let parts = reports.into_iter().flat_map(|mut report| {
        let clients = std::mem::take(&mut report.clients);
        let mut chunks: Vec<Vec<_>> = clients.chunks(max_summaries).map(<[_]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        chunks.into_iter().map(move |clients| ServerReport { clients, ..report.clone() })
    });
    let mut requests: Vec<Vec<ServerReport>> = Vec::new();
    let mut summaries = 0;
    for part in parts {
        let more = part.clients.len();
        if let Some(last) =
            requests.last_mut().filter(|last| last.len() < MAX_SERVERS && summaries + more <= max_summaries)
        {
            summaries += more;
            last.push(part);
        } else {
            summaries = more;
            requests.push(vec![part]);
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use tailwater_domain::ClientSummary;

    fn report(number: u128, clients: usize) -> ServerReport {
        ServerReport {
            id: ServerId(Uuid::from_u128(number)),
            name: String::new(),
            last_sync: None,
            parent: None,
            version: String::new(),
            is_replica: false,
            last_rollup: None,
            summary: None,
            clients: vec![ClientSummary::default(); clients],
        }
    }

    #[test]
    fn requests_hold_no_more_summaries_than_allowed_and_keep_the_order() {
        let requests = split_servers(vec![report(1, 0), report(2, 25), report(3, 4), report(4, 7)], 10);
        let sizes: Vec<Vec<(u128, usize)>> = requests
            .iter()
            .map(|some| some.iter().map(|one| (one.id.0.as_u128(), one.clients.len())).collect())
            .collect();
        assert_eq!(sizes, [vec![(1, 0), (2, 10)], vec![(2, 10)], vec![(2, 5), (3, 4)], vec![(4, 7)]]);
    }
}
