//! `/api/v1/downstreams`: servers that synchronise from here, directly or through others.
//!
//! **Invariant:** a token is told once, in the answer that made it. What servers say of themselves is passed on as text,
//! never interpreted.

use axum::Json;
use axum::extract::{Path, Query, State};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Result, Services, blocking};
use super::error::ApiError;
use super::names::Names;
use super::page::{MAX_ROWS, Range};
use crate::catalog::{Catalog, Seen, Server, Standing};
use crate::domain::{ServerId, Sha256Digest};

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
fn lacks(catalog: &Catalog, server: &Server, last_sync: Option<Timestamp>, now: Timestamp) -> Value {
    if server.parent.is_some() {
        // it synchronises from another server: what is known is when it last did
        let behind = server.last_sync.zip(last_sync).is_some_and(|(its, ours)| its < ours);
        return json!({ "revisions": null, "behind": behind });
    }
    let revisions = server.took.change.map(|change| catalog.revisions_after(change));
    let silent = server.took.at.is_none_or(|at| now.duration_since(at) > LONG_AGO);
    json!({ "revisions": revisions, "behind": silent || revisions.is_none_or(|count| count > 0) })
}

fn row(services: &Services, names: &Names, server: &Server, computers: usize) -> Value {
    let catalog = &services.catalog;
    let chain = catalog.server_chain(&server.id);
    let above = &chain[..chain.len().saturating_sub(1)];
    let via: Vec<Value> =
        above.iter().map(|id| json!({ "server_id": id, "name": names.server(id) })).collect();
    let last_sync = services.sync.last().and_then(|report| report["ended_at"].as_str()?.parse().ok());
    json!({
        "server_id": server.id, "name": server.name, "state": server.standing, "direct": server.parent.is_none(),
        "via": via, "needs_token": server.needs_token, "version": server.version, "replica": server.is_replica,
        "first_seen": server.first_seen, "last_seen": server.last_seen, "last_sync": server.last_sync,
        "last_rollup": server.last_rollup, "computers": computers,
        "took": { "metadata_bytes": server.took.metadata, "content_bytes": server.took.content, "at": server.took.at },
        "lacks": lacks(catalog, server, last_sync, services.clock.now()),
    })
}

/// By what a server is known again, whatever identity it says.
fn identities(seen: &Seen) -> Value {
    let certificates = seen.certificates.iter().map(|one| {
        let key = Sha256Digest(one.key).hex();
        json!({ "name": one.name, "public_key_sha256": key })
    });
    json!({ "names": seen.names, "addresses": seen.addresses, "tokens": seen.tokens(),
            "certificates": certificates.collect::<Vec<_>>() })
}

/// `GET /downstreams`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    /// Part of a name or identity.
    text: Option<String>,
    state: Option<Standing>,
    #[serde(default)]
    offset: usize,
    /// 1,000 when it is not said, and at most.
    limit: Option<usize>,
}

/// Servers by name, who is invited and who was refused.
pub(super) async fn list(
    State(services): State<Services>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let names = Names::of(catalog);
        let mut servers = catalog.servers();
        let text = query.text.unwrap_or_default().trim().to_lowercase();
        servers.retain(|server| {
            query.state.is_none_or(|state| server.standing == state)
                && (server.name.to_lowercase().contains(&text) || server.id.to_string().contains(&text))
        });
        let computers = catalog.computers_by_server();
        let computers = |id: &ServerId| computers.get(id).copied().unwrap_or(0);
        let range = Range { offset: query.offset, limit: query.limit };
        let mut answer = range.of("servers", &servers, MAX_ROWS, |server| {
            row(&services, &names, server, computers(&server.id))
        });
        let invited: Vec<Value> = catalog
            .invitations()
            .iter()
            .map(|one| json!({ "name": one.name, "needs_token": one.needs_token, "at": one.at }))
            .collect();
        let refused: Vec<Value> = catalog
            .refused_servers()
            .iter()
            .map(|one| {
                json!({ "server_id": one.id, "name": one.name, "reason": one.reason, "at": one.at, "times": one.times })
            })
            .collect();
        if let Value::Object(fields) = &mut answer {
            fields.insert("policy".to_owned(), json!(services.about.downstream_policy));
            fields.insert("invited".to_owned(), Value::Array(invited));
            fields.insert("refused".to_owned(), Value::Array(refused));
        }
        Ok(Json(answer))
    })
    .await
}

/// `GET /downstreams/{server}`.
pub(super) async fn show(State(services): State<Services>, Path(name): Path<String>) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let id = find(catalog, &name)?;
        let gone =
            || ApiError::NotFound { kind: "downstream server", name: name.clone(), next: "it was removed" };
        let server = catalog.server(&id).ok_or_else(gone)?;
        let names = Names::of(catalog);
        let children: Vec<Value> = catalog
            .servers()
            .iter()
            .filter(|one| one.parent == Some(id))
            .map(|one| json!({ "server_id": one.id, "name": one.name }))
            .collect();
        let computers = catalog.computers_by_server().get(&id).copied().unwrap_or(0);
        let mut answer = row(&services, &names, &server, computers);
        if let Value::Object(fields) = &mut answer {
            fields.insert("summary".to_owned(), json!(server.summary));
            fields.insert("children".to_owned(), Value::Array(children));
            fields.insert("known_by".to_owned(), identities(&server.seen));
            fields.insert("installations".to_owned(), json!(catalog.client_summaries(Some(&id))?));
        }
        Ok(Json(answer))
    })
    .await
}

/// `POST /downstreams/allow`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allow {
    server: String,
    #[serde(default)]
    needs_token: bool,
}

/// Lets a server in; the answer has its token.
pub(super) async fn allow(State(services): State<Services>, Json(body): Json<Allow>) -> Result<Json<Value>> {
    blocking(move || {
        let permission = services.catalog.allow_server(&body.server, body.needs_token)?;
        let state = if permission.server.is_some() { "allowed" } else { "invited" };
        tracing::info!(name = permission.name, server = ?permission.server, state, "a downstream server was allowed");
        Ok(Json(json!({
            "server_id": permission.server, "name": permission.name, "state": state, "token": permission.token,
            "needs_token": body.needs_token,
        })))
    })
    .await
}

/// `POST /downstreams/revoke`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    server: String,
    #[serde(default)]
    forget: bool,
}

/// Shuts a server out, or forgets it with all below it.
pub(super) async fn revoke(
    State(services): State<Services>,
    Json(body): Json<Revoke>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        if body.forget {
            let id = find(catalog, &body.server)?;
            let (servers, computers) = catalog.forget_server(&id)?;
            tracing::info!(server = %id, servers, computers, "a downstream server was forgotten");
            return Ok(Json(
                json!({ "server_id": id, "state": "forgotten", "servers": servers, "computers": computers }),
            ));
        }
        let revoked = catalog.revoke_server(&body.server)?;
        let server = revoked.server.as_deref();
        let (id, name) =
            server.map_or((None, body.server.trim().to_owned()), |one| (Some(one.id), one.name.clone()));
        tracing::info!(name, server = ?id, "a downstream server was revoked");
        let names = Names::of(catalog);
        let also = revoked.also.iter().map(|id| json!({ "server_id": id, "name": names.server(id) }));
        Ok(Json(json!({
            "server_id": id, "name": name, "state": Standing::Revoked,
            "shut_out": server.map(|server| identities(&server.seen)),
            "also_shut_out": also.collect::<Vec<_>>(), "shared_addresses": revoked.shared,
        })))
    })
    .await
}
