//! From the configuration to what each room is told.
//!
//! **Invariant:** every setting reaches its room in one place, here. Nothing is opened, and no default is made up.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::lock::DataDir;
use tailwater_bandwidth::{ClientCertificate, LinkConfig, Reachable};
use tailwater_catalog as catalog;
use tailwater_config::{Loaded, Settings};
use tailwater_content as content;
use tailwater_domain::Choice as _;
use tailwater_runtime::Clock;
use tailwater_serve::admin;
use tailwater_telemetry as telemetry;
use tailwater_transfer as transfer;
use tailwater_upstream as upstream;

/// How the catalog is kept below a data directory.
pub(super) fn catalog_config(settings: &Settings, dir: &DataDir) -> catalog::Config {
    catalog::Config {
        offer: settings.agents.offer,
        hold_above_share: settings.upstream.hold_removals_above,
        client_side_targeting: settings.agents.client_side_targeting,
        replace_silent_after: settings.agents.replace_silent_after,
        max_computers: settings.agents.max_computers,
        max_state: settings.agents.max_state,
        max_servers: settings.downstream.max_servers,
        max_descendants: settings.downstream.max_descendants,
        max_downstream_state: settings.downstream.max_state,
        replica_of: (settings.upstream.mode == upstream::Mode::Replica)
            .then(|| telemetry::safe_url(&settings.upstream.url)),
        read_drivers: Some(tailwater_wire::update_metadata::drivers_of),
        disk: dir.disk().clone(),
        keys: Some(dir.path().join("keys")),
        ..catalog::Config::new(dir.path().join("catalog"))
    }
}

/// How payloads are kept below a data directory.
pub(super) fn content_config(settings: &Settings, dir: &DataDir) -> content::Config {
    content::Config {
        dir: dir.path().join("content"),
        max_size: Some(settings.content.max_size),
        min_free: settings.content.min_free,
    }
}

/// How the upstream is reached; `own` is where this server listens.
pub(super) fn link_config(settings: &Settings, own: &[SocketAddr]) -> LinkConfig {
    let upstream = &settings.upstream;
    let client_certificate = upstream.client_certificate.as_ref().map(|certificate| ClientCertificate {
        certificate: certificate.clone(),
        key: upstream.client_key.clone().unwrap_or_else(|| certificate.clone()),
    });
    LinkConfig {
        proxy: upstream.proxy.clone(),
        ca_file: upstream.ca_file.clone(),
        client_certificate,
        reachable: reachable(settings, own),
        counted: settings.bandwidth.count,
        ..LinkConfig::default()
    }
}

/// Configured servers are reached wherever they are, others on the public internet and where the configuration says so.
pub(super) fn reachable(settings: &Settings, own: &[SocketAddr]) -> Reachable {
    let upstream = &settings.upstream;
    let sources = upstream.sources.iter().filter_map(|source| source.kind.server());
    Reachable::configured(sources.chain([&*upstream.url]))
        .with_private(settings.content.allowed_private.clone())
        .with_redirects(settings.content.redirect_hosts.clone())
        .without_own(own.iter().copied())
}

/// What is synchronised, from where, as which server.
pub(super) fn upstream_config(settings: &Settings, dir: &DataDir, link: LinkConfig) -> upstream::Config {
    let wanted = &settings.upstream;
    upstream::Config {
        url: wanted.url.clone(),
        products: wanted.products.clone(),
        classifications: wanted.classifications.clone(),
        languages: wanted.languages.clone(),
        schedule: wanted.schedule.clone(),
        account_name: wanted.account_name.clone(),
        token: wanted.token.clone(),
        mode: wanted.mode,
        content_from: wanted.content_from,
        cost: wanted.cost,
        sources: wanted.sources.clone(),
        peer: wanted.tailwater,
        dir: dir.path().join("upstream"),
        link,
    }
}

/// What of the synchronisation a reload may change.
pub(super) fn plan(settings: &Settings) -> upstream::Plan {
    upstream::Plan {
        products: settings.upstream.products.clone(),
        classifications: settings.upstream.classifications.clone(),
        schedule: settings.upstream.schedule.clone(),
    }
}

/// How payloads are fetched.
pub(super) fn transfer_config(settings: &Settings) -> transfer::Config {
    transfer::Config {
        servers: servers(settings),
        policy: settings.content.fetch,
        ..transfer::Config::default()
    }
}

/// The servers that the configuration names, with what payloads cost there.
pub(super) fn servers(settings: &Settings) -> Vec<(String, u32)> {
    let wanted = &settings.upstream;
    let others =
        wanted.sources.iter().filter_map(|source| Some((source.kind.server()?.to_owned(), source.cost)));
    std::iter::once((wanted.url.clone(), wanted.cost)).chain(others).collect()
}

/// What the console shows of this server.
pub(super) fn about(loaded: &Loaded, clock: &Clock) -> admin::About {
    let settings = &loaded.settings;
    admin::About {
        started_at: clock.now(),
        upstream: telemetry::safe_url(&settings.upstream.url),
        replica: settings.upstream.mode == upstream::Mode::Replica,
        listen: Mutex::new(Vec::new()),
        fetch: settings.content.fetch.word().to_owned(),
        downstream_policy: settings.downstream.policy.word().to_owned(),
        in_force: Mutex::new(Arc::new(in_force(loaded))),
    }
}

/// What of a configuration is shown and a reload may change.
pub(super) fn in_force(loaded: &Loaded) -> admin::InForce {
    let settings = &loaded.settings;
    admin::InForce {
        max_size: settings.content.max_size.to_string(),
        products: settings.upstream.products.clone(),
        classifications: settings.upstream.classifications.clone(),
        configuration: super::shown::configuration(loaded),
    }
}
