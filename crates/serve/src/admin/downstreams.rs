//! `/api/v1/downstreams`: servers that synchronise from here, directly or through others.
//!
//! **Invariant:** a token is told once, in the answer that made it. What servers say of themselves is passed on as text,
//! never interpreted.

use jiff::{SignedDuration, Timestamp};

use super::error::ApiError;
use super::names::Names;
use super::route::Call;
use super::services::{Result, Services, blocking};
use super::shown;
use tailwater_api::{self as api, MAX_ROWS, ServerName};
use tailwater_catalog::{Catalog, Seen, Server};
use tailwater_domain::{ServerId, Sha256Digest};

/// A server that did not take anything for so long is behind, whatever the counts say.
const LONG_AGO: SignedDuration = SignedDuration::from_hours(48);

// not a limit: LONG_AGO: when a server counts as behind

/// The server that an identity or a name means.
pub(super) fn find(catalog: &Catalog, name: &str) -> Result<ServerId> {
    let wanted = name.trim();
    let id = wanted.parse::<ServerId>().ok();
    let servers = catalog.servers();
    let mut fits = servers.iter().filter(|one| Some(one.id) == id || one.name.eq_ignore_ascii_case(wanted));
    match (fits.next(), fits.next()) {
        (Some(one), None) => Ok(one.id),
        _ => Err(ApiError::NotFound {
            kind: "single downstream server",
            name: wanted.chars().take(120).collect(),
            next: "`tailwater downstreams list` shows names and identities",
        }),
    }
}

/// What a server lacks, as far as can be told: revisions that appeared since it last listed, and when it last took
/// anything.
fn lacks(catalog: &Catalog, server: &Server, last_sync: Option<Timestamp>, now: Timestamp) -> api::Lacks {
    if server.parent.is_some() {
        // it synchronises from another server: what is known is when it last did
        let behind = server.last_sync.zip(last_sync).is_some_and(|(its, ours)| its < ours);
        return api::Lacks { revisions: None, behind };
    }
    let revisions = server.took.change.map(|change| catalog.revisions_after(change));
    let silent = server.took.at.is_none_or(|at| now.duration_since(at) > LONG_AGO);
    api::Lacks { revisions, behind: silent || revisions.is_none_or(|count| count > 0) }
}

fn named(names: &Names, id: &ServerId) -> ServerName {
    ServerName { server_id: *id, name: names.server(id) }
}

fn row(services: &Services, names: &Names, server: &Server, computers: usize) -> api::Server {
    let catalog = &services.catalog;
    let chain = catalog.server_chain(&server.id);
    let above = &chain[..chain.len().saturating_sub(1)];
    let last_sync = services.sync.last().map(|report| report.ended_at);
    api::Server {
        server_id: server.id,
        name: server.name.clone(),
        state: shown::server_state(server.standing),
        direct: server.parent.is_none(),
        via: above.iter().map(|id| named(names, id)).collect(),
        needs_token: server.needs_token,
        version: server.version.clone(),
        replica: server.is_replica,
        first_seen: server.first_seen,
        last_seen: server.last_seen,
        last_sync: server.last_sync,
        last_rollup: server.last_rollup,
        computers,
        took: api::Took {
            metadata_bytes: server.took.metadata,
            content_bytes: server.took.content,
            at: server.took.at,
        },
        lacks: lacks(catalog, server, last_sync, services.clock.now()),
    }
}

/// By what a server is known again, whatever identity it says.
fn identities(seen: &Seen) -> api::Identities {
    let certificates = seen.certificates.iter();
    let certificates = certificates.map(|one| api::Certificate {
        name: one.name.clone(),
        public_key_sha256: Sha256Digest(one.key).hex(),
    });
    api::Identities {
        names: seen.names.clone(),
        addresses: seen.addresses.clone(),
        tokens: seen.tokens(),
        certificates: certificates.collect(),
    }
}

/// `GET /downstreams`: servers by name, who is invited and who was refused.
pub(super) async fn list(services: Services, call: Call<api::ListServers>) -> Result<api::Servers> {
    blocking(move || {
        let (catalog, query) = (&services.catalog, call.query);
        let names = Names::of(catalog);
        let mut servers = catalog.servers();
        let text = query.text.as_deref().unwrap_or_default().trim().to_lowercase();
        servers.retain(|server| {
            query.state.is_none_or(|state| shown::server_state(server.standing) == state)
                && (server.name.to_lowercase().contains(&text) || server.id.to_string().contains(&text))
        });
        let computers = catalog.computers_by_server();
        let computers = |id: &ServerId| computers.get(id).copied().unwrap_or(0);
        let (page, servers) = query
            .paging()
            .of(&servers, MAX_ROWS, |server| row(&services, &names, server, computers(&server.id)));
        let (invited, refused) = (catalog.invitations(), catalog.refused_servers());
        let invited = invited.iter().map(|one| api::Invited {
            name: one.name.clone(),
            needs_token: one.needs_token,
            at: one.at,
        });
        let refused = refused.iter().map(|one| api::Refused {
            server_id: one.id,
            name: one.name.clone(),
            reason: one.reason.to_owned(),
            at: one.at,
            times: one.times,
        });
        Ok(api::Servers {
            page,
            servers,
            policy: services.about.downstream_policy.clone(),
            invited: invited.collect(),
            refused: refused.collect(),
        })
    })
    .await
}

/// `GET /downstreams/{server}`.
pub(super) async fn show(services: Services, call: Call<api::ReadServer>) -> Result<api::ServerDetail> {
    blocking(move || {
        let catalog = &services.catalog;
        let id = find(catalog, &call.name)?;
        let gone = || ApiError::NotFound {
            kind: "downstream server",
            name: call.name.clone(),
            next: "it was removed",
        };
        let server = catalog.server(&id).ok_or_else(gone)?;
        let servers = catalog.servers();
        let children = servers.iter().filter(|one| one.parent == Some(id));
        let children = children.map(|one| ServerName { server_id: one.id, name: one.name.clone() });
        let computers = catalog.computers_by_server().get(&id).copied().unwrap_or(0);
        Ok(api::ServerDetail {
            row: row(&services, &Names::of(catalog), &server, computers),
            summary: server.summary.as_ref().map(shown::server_counts),
            children: children.collect(),
            known_by: identities(&server.seen),
            installations: catalog.client_summaries(Some(&id))?.into_iter().map(shown::systems).collect(),
        })
    })
    .await
}

/// `POST /downstreams/allow`: lets a server in; the answer has its token.
pub(super) async fn allow(services: Services, call: Call<api::AllowServer>) -> Result<api::Allowed> {
    blocking(move || {
        let needs_token = call.body.needs_token;
        let permission = services.catalog.allow_server(&call.body.server, needs_token)?;
        let is_known = permission.server.is_some();
        let state = if is_known { api::AllowedState::Allowed } else { api::AllowedState::Invited };
        tracing::info!(name = permission.name, server = ?permission.server, ?state, "a downstream server was allowed");
        Ok(api::Allowed {
            server_id: permission.server,
            name: permission.name,
            state,
            token: permission.token,
            needs_token,
        })
    })
    .await
}

/// `POST /downstreams/revoke`: shuts a server out, or forgets it with all below it.
pub(super) async fn revoke(services: Services, call: Call<api::RevokeServer>) -> Result<api::Revoked> {
    blocking(move || {
        let (catalog, body) = (&services.catalog, call.body);
        if body.forget {
            let server_id = find(catalog, &body.server)?;
            let (servers, computers) = catalog.forget_server(&server_id)?;
            tracing::info!(server = %server_id, servers, computers, "a downstream server was forgotten");
            return Ok(api::Revoked::Forgotten { server_id, servers, computers });
        }
        let revoked = catalog.revoke_server(&body.server)?;
        let server = revoked.server.as_deref();
        let (id, name) =
            server.map_or((None, body.server.trim().to_owned()), |one| (Some(one.id), one.name.clone()));
        tracing::info!(name, server = ?id, "a downstream server was revoked");
        let names = Names::of(catalog);
        Ok(api::Revoked::Revoked {
            server_id: id,
            name,
            shut_out: server.map(|server| identities(&server.seen)),
            also_shut_out: revoked.also.iter().map(|id| named(&names, id)).collect(),
            shared_addresses: revoked.shared,
        })
    })
    .await
}
