//! `/metrics`: counters and gauges in the form that Prometheus reads.
//!
//! **Invariant:** numbers are read from the rooms when asked for, so they never disagree with the API. No
//! label holds anything that a computer or a document said.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::error::ApiError;
use super::services::{Result, Services};
use tailwater_bandwidth::{Budget, BudgetLine, CongestionYield, EgressLimiter, Standing, YieldStatus};
use tailwater_catalog::{IdentityKind, Lost};
use tailwater_transfer::SourceState;
use tailwater_upstream::Reason;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLabel {
    of: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeriodLabel {
    period: &'static str,
}

type Counts<L> = Family<L, Gauge<u64, AtomicU64>>;

/// Answers a scrape.
pub(super) async fn scrape(State(services): State<Services>) -> Result<Response> {
    let mut registry = Registry::with_prefix("tailwater");
    link(&services, &mut registry);
    egress(&services, &mut registry);
    budget(&services, &mut registry);
    ledger(&services, &mut registry);
    synchronisation(&services, &mut registry);
    content(&services, &mut registry);
    sources(&services, &mut registry);
    catalog(&services, &mut registry);
    downstream(&services, &mut registry);
    fleet(&services, &mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .map_err(|error| ApiError::internal(&error))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

fn link(services: &Services, registry: &mut Registry) {
    let (reading, before) = (services.meter.reading(), services.ledger.before());
    let received = ConstCounter::new(before.received.saturating_add(reading.received));
    registry.register_with_unit("link_received", "Received from upstream", Unit::Bytes, received);
    registry.register_with_unit(
        "link_sent",
        "Sent to upstream",
        Unit::Bytes,
        ConstCounter::new(before.sent.saturating_add(reading.sent)),
    );
    let by_class: Counts<ClassLabel> = Family::default();
    for (class, received, _) in &reading.by_class {
        let before = services.ledger.before_of_class(class.as_str()).received;
        by_class.get_or_create(&ClassLabel { class: class.as_str() }).set(before.saturating_add(*received));
    }
    registry.register("link_received_by_class_bytes", "Received from upstream, by purpose", by_class);
    let now = ConstGauge::new(reading.bits_per_second);
    registry.register("link_bits_per_second", "Received from upstream, mean of the last seconds", now);
    // 0 stands for no limit: Prometheus has no better word
    let cap = services.limiter.rate().bytes_per_second().map_or(0, |bytes| bytes.saturating_mul(8));
    registry.register("link_rate_bits_per_second", "The cap in force; 0 is none", ConstGauge::new(cap));
    if let Some(yielding) = services.congestion.as_ref().map(CongestionYield::status) {
        congestion(&yielding, registry);
    }
}

fn congestion(yielding: &YieldStatus, registry: &mut Registry) {
    let cap = ConstGauge::new(yielding.cap_bits_per_second);
    registry.register("link_adaptive_bits_per_second", "What the classes that yield are held to", cap);
    let seconds = |millis: Option<f64>| ConstGauge::new(millis.unwrap_or(0.0) / 1000.0);
    let (base, queue) = (seconds(yielding.base_delay_ms), seconds(yielding.queue_ms));
    registry.register_with_unit(
        "link_base_delay",
        "To the upstream and back without a queue",
        Unit::Seconds,
        base,
    );
    registry.register_with_unit("link_queue", "What queues on the link, in time", Unit::Seconds, queue);
    registry.register("link_probes", "Probes of the delay, answered", ConstCounter::new(yielding.probes));
}

fn egress(services: &Services, registry: &mut Registry) {
    let Some(status) = services.egress.as_ref().map(EgressLimiter::status) else { return };
    let sent = ConstCounter::new(status.sent);
    registry.register_with_unit(
        "downstream_sent",
        "Sent to agents and downstream servers",
        Unit::Bytes,
        sent,
    );
    let clients: Counts<StateLabel> = Family::default();
    for (state, count) in [("connected", status.clients), ("waiting", status.waiting)] {
        clients.get_or_create(&StateLabel { state }).set(u64::try_from(count).unwrap_or(u64::MAX));
    }
    let help = "Addresses of agents and downstream servers, while their rates are limited";
    registry.register("downstream_clients", help, clients);
}

/// What the ledger keeps; its words are explained there. Counters go on over restarts.
fn ledger(services: &Services, registry: &mut Registry) {
    let (counts, ahead) = services.ledger.counted();
    let counters = [
        ("ledger_payload", "Received from upstream: payloads", counts.payload),
        ("ledger_wasted", "Of these, of no use to anybody", counts.wasted),
        ("ledger_served", "Payloads sent to agents and downstream servers", counts.served),
        ("ledger_fetched", "Of these, sent for the first time since they were fetched", counts.fetched),
        ("ledger_avoided", "Of these, not fetched again", counts.avoided()),
    ];
    for (name, help, value) in counters {
        registry.register_with_unit(name, help, Unit::Bytes, ConstCounter::new(value));
    }
    let help = "Payloads held that nobody was served yet";
    registry.register_with_unit("ledger_ahead", help, Unit::Bytes, ConstGauge::new(ahead));
}

/// When one last succeeded, when the next is due, and why they fail.
fn synchronisation(services: &Services, registry: &mut Registry) {
    let standing = services.sync.standing();
    let times = [
        (
            "sync_last_success_timestamp",
            "When a synchronisation last succeeded; 0 is never",
            standing.last_success,
        ),
        ("sync_next_timestamp", "When the next one is due by itself; 0 is only on demand", standing.next),
    ];
    for (name, help, at) in times {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
        let seconds = at.map_or(0.0, |at| at.as_second() as f64);
        registry.register_with_unit(name, help, Unit::Seconds, ConstGauge::new(seconds));
    }
    let failing = standing.failing.as_ref();
    let times = failing.map_or(0, |failing| u64::try_from(failing.times).unwrap_or(u64::MAX));
    let help = "Synchronisations that failed since the last success; the history keeps 50";
    registry.register("sync_failures_in_a_row", help, ConstGauge::new(times));
    let reasons: Counts<ReasonLabel> = Family::default();
    for reason in Reason::ALL {
        let is_it = failing.is_some_and(|failing| failing.reason == reason);
        reasons.get_or_create(&ReasonLabel { reason: reason.as_str() }).set(u64::from(is_it));
    }
    registry.register("sync_failing", "1 for the reason why the last synchronisation failed", reasons);
}

/// Only where there is a budget.
fn budget(services: &Services, registry: &mut Registry) {
    let Some(status) = services.limiter.budget().map(Budget::status) else { return };
    let lines = [("day", status.daily), ("month", status.monthly)];
    let mut register = |name: &str, help: &str, value: &dyn Fn(BudgetLine) -> u64| {
        let family: Counts<PeriodLabel> = Family::default();
        for (period, line) in lines {
            if let Some(line) = line {
                family.get_or_create(&PeriodLabel { period }).set(value(line));
            }
        }
        registry.register(name, help, family);
    };
    register("link_budget_bytes", "The budget of a period", &|line| line.limit);
    register("link_budget_spent_bytes", "Received in the period", &|line| line.spent);
    register("link_budget_left_bytes", "Left for what is not urgent", &|line| line.left);
    register("link_budget_left_for_urgent_bytes", "Left for urgent classes", &|line| line.left_for_urgent);
    let standing = match status.standing {
        Standing::Open => 0_u64,
        Standing::Urgent => 1,
        Standing::Spent => 2,
    };
    let help = "Who may spend the budget: 0 everyone, 1 urgent classes, 2 nobody";
    registry.register("link_budget_standing", help, ConstGauge::new(standing));
}

fn content(services: &Services, registry: &mut Registry) {
    let usage = services.content.usage();
    registry.register_with_unit(
        "content_held",
        "Bytes of payloads held",
        Unit::Bytes,
        ConstGauge::new(usage.held),
    );
    let files: Counts<StateLabel> = Family::default();
    let complete = usage.files.saturating_sub(usage.verified).saturating_sub(usage.partial);
    for (state, count) in [("verified", usage.verified), ("partial", usage.partial), ("complete", complete)] {
        files.get_or_create(&StateLabel { state }).set(count);
    }
    registry.register("content_files", "Payloads held, by state", files);
    let dropped = ConstCounter::new(usage.dropped);
    registry.register_with_unit("content_dropped", "Dropped to make room", Unit::Bytes, dropped);
    registry.register(
        "content_full",
        "1 when there is no room for more",
        ConstGauge::new(u64::from(usage.full)),
    );
    let served = ConstCounter::new(services.served_bytes());
    registry.register_with_unit("content_served", "Payload bytes sent to agents", Unit::Bytes, served);
    let missed = ConstCounter::new(services.needs.missed());
    let help = "Requests for payloads that nothing was learned from, because too many came at once";
    registry.register("needs_requests_missed", help, missed);
    let running = u64::try_from(services.transfers.list().len()).unwrap_or(u64::MAX);
    registry.register("transfers", "Transfers that run, wait or failed lately", ConstGauge::new(running));
}

/// Servers of the configuration only: others are what documents say.
fn sources(services: &Services, registry: &mut Registry) {
    let (received, up): (Counts<SourceLabel>, Counts<SourceLabel>) = (Family::default(), Family::default());
    for server in services.sources().into_iter().filter(|server| server.cost.is_some()) {
        let label = SourceLabel { source: server.source };
        received.get_or_create(&label).set(server.received);
        up.get_or_create(&label).set(u64::from(server.state != SourceState::Down));
    }
    registry.register("source_received_bytes", "Payload bytes received, by server", received);
    registry.register("source_up", "0 while a server that payloads come from cannot be reached", up);
}

fn downstream(services: &Services, registry: &mut Registry) {
    let turns = services.slots.turns();
    let transfers: Counts<StateLabel> = Family::default();
    let counts = [
        ("running", turns.running),
        ("waiting", turns.waiting),
        ("most", turns.most),
        ("slots", turns.places),
    ];
    for (state, count) in counts {
        transfers.get_or_create(&StateLabel { state }).set(u64::try_from(count).unwrap_or(u64::MAX));
    }
    let help = "Transfers to downstream tailwaters: running, waiting for a turn, the most that ran at once, and how many may";
    registry.register("downstream_turns", help, transfers);
}

/// What computers and servers say, and what of it was not kept.
fn fleet(services: &Services, registry: &mut Registry) {
    let (catalog, fleet) = (&services.catalog, services.catalog.fleet_counts());
    let provisional = u64::try_from(fleet.provisional).unwrap_or(u64::MAX);
    let help = "Computers that did not scan yet, or that there is no room for";
    registry.register("computers_provisional", help, ConstGauge::new(provisional));
    let help = "Scans of computers that are answered and not kept";
    registry.register("computers_not_kept", help, ConstCounter::new(fleet.not_kept));
    let help = "Reports of computers that are not kept";
    registry.register("computer_reports_not_kept", help, ConstCounter::new(fleet.reports_not_kept));
    let changes: Family<KindLabel, Counter> = Family::default();
    let counts = catalog.identity_counts();
    for kind in IdentityKind::ALL {
        let count = counts.get(&kind).copied().unwrap_or(0);
        changes.get_or_create(&KindLabel { kind: kind.as_str() }).inc_by(count);
    }
    registry.register(
        "computer_identity_changes",
        "Computers that were not what they were, by what changed",
        changes,
    );
    let bytes = catalog.state_bytes();
    let state: Counts<OfLabel> = Family::default();
    for (of, bytes) in [("agents", bytes.agents), ("downstream", bytes.downstream)] {
        state.get_or_create(&OfLabel { of }).set(bytes);
    }
    registry.register("state_bytes", "What clients make this server keep, by whose it is", state);
    let wrong = ConstCounter::new(services.wrong_tokens().total());
    registry.register("admin_wrong_tokens", "Requests to this listener with a wrong token", wrong);
}

fn catalog(services: &Services, registry: &mut Registry) {
    let totals = services.catalog.totals();
    let count = |value: usize| ConstGauge::new(u64::try_from(value).unwrap_or(u64::MAX));
    registry.register("catalog_revisions", "Revisions held", count(totals.revisions));
    registry.register("catalog_updates", "Updates known", count(totals.updates));
    registry.register("catalog_approved", "Updates approved for some group", count(totals.approved));
    registry.register("catalog_declined", "Updates declined", count(totals.declined));
    registry.register("catalog_damaged", "Revisions damaged on disk", count(totals.damaged));
    let lost = services.catalog.lost();
    let lost = |of: fn(&Lost) -> u64| ConstGauge::new(lost.as_ref().map_or(0, of));
    let help = "Revisions missing because what was stored of them is damaged, at most; fetched again by the next synchronisation";
    registry.register("catalog_lost_revisions", help, lost(|lost| lost.revisions));
    let help = "Stretches of segments that could not be read when the index was made anew";
    registry.register("catalog_lost_stretches", help, lost(|lost| lost.stretches));
    let help = "Records of decisions that could not be read when the index was made anew, for 30 days";
    registry.register("catalog_lost_decisions", help, lost(|lost| lost.decisions));
    registry.register("computers", "Computers known", count(totals.computers));
    registry.register(
        "ready",
        "1 when agents can be answered",
        ConstGauge::new(u64::from(services.is_ready())),
    );
    registry.register(
        "data_directory_writable",
        "0 while nothing can be written: no room, read-only or no rights",
        ConstGauge::new(u64::from(services.disk.report().is_none())),
    );
    let running = services.tasks.status().iter().map(|task| task.running).sum();
    registry.register("tasks", "Tasks that run", count(running));
}
