//! What other rooms know, in the types of the API.
//!
//! **Invariant:** a field of the API is filled here by name, so that a room may call its own things anew without changing
//! what is on the wire. Nothing is computed here.

use tailwater_api as api;
use tailwater_bandwidth::{
    self as bandwidth, CapReason, Forecast, RateReason, Standing as BudgetStanding, WhenSpent,
};
use tailwater_catalog::{self as catalog, Reason as Withholding};
use tailwater_content as content;
use tailwater_domain::{self as domain, Action, CategoryKind};
use tailwater_ledger as ledger;
use tailwater_needs as needs;
use tailwater_transfer as transfer;
use tailwater_upstream as upstream;

/// The same variants under another type.
macro_rules! variants {
    ($(#[$about:meta])* $name:ident: $from:ty => $to:ty { $($variant:ident),+ $(,)? }) => {
        $(#[$about])*
        pub(super) fn $name(one: $from) -> $to {
            match one {
                $(<$from>::$variant => <$to>::$variant,)+
            }
        }
    };
}

/// The same fields under another type.
macro_rules! fields {
    ($one:expr => $($to:ident)::+ { $($field:ident),+ $(; $($other:ident: $value:expr),+ $(,)?)? }) => {
        $($to)::+ { $($field: $one.$field,)+ $($($other: $value,)+)? }
    };
}
pub(super) use fields;

variants! { class: domain::Class => api::Class { Interactive, Metadata, Deadline, Security, Normal, Background } }
variants! { class_of: api::Class => domain::Class { Interactive, Metadata, Deadline, Security, Normal, Background } }
variants! { update_type: domain::UpdateType => api::UpdateType { Software, Driver, Category, Detectoid } }
variants! { reported: catalog::State => api::ReportedState { Installed, Needed, Failed, NotApplicable, Unknown } }
variants! { reported_of: api::ReportedState => catalog::State { Installed, Needed, Failed, NotApplicable, Unknown } }
variants! { held_state: content::FileState => api::HeldState { Partial, Complete, Verified } }
variants! { progress: content::FileState => api::FileProgress { Partial, Complete, Verified } }
variants! { server_state: catalog::Standing => api::ServerState { Open, Allowed, Revoked } }
variants! { whose: api::Whose => catalog::Whose { All, Ours, Below } }
variants! { identity_kind: catalog::IdentityKind => api::IdentityKind { Address, Name, Hardware, Groups, Certificate } }
variants! { by: ledger::By => api::LedgerBy { Hour, Day, Month, Class, File, Source, Client } }
variants! { by_of: api::LedgerBy => ledger::By { Hour, Day, Month, Class, File, Source, Client } }
variants! { knowledge: needs::Knowledge => api::Knowledge { Learned, TakesNothing, Unknown } }
variants! { source_state: transfer::SourceState => api::SourceState { Unused, Up, Down } }
variants! { transfer_state: transfer::TransferState => api::TransferState { Queued, Running, Waiting, Paused, Verifying, Failed } }
variants! { phase: upstream::Phase => api::SyncPhase {
    Idle, Connecting, Categories, Listing, Updates, Related, Languages, Keys, Decisions, Activating,
} }
variants! { outcome: upstream::Outcome => api::SyncOutcome { Complete, Partial, Held, Cancelled, Failed } }
variants! { trigger: upstream::Trigger => api::SyncTrigger { Demand, Schedule, Notice } }
variants! { failure: upstream::Reason => api::FailureReason {
    Unreachable, Proxy, Certificate, Budget, Refused, WrongAnswer, Configuration, Storage, Internal,
} }
variants! { list: upstream::NameKey => api::ChoiceList { Products, Classifications } }
variants! { withheld: Withholding => api::WithheldReason {
    Missing, Withdrawn, Damaged, NoKey, Expired, Declined, Held, NotNeeded,
} }
variants! { state_filter: api::UpdateStateFilter => catalog::UpdateState {
    Unapproved, Approved, Declined, Expired, Superseded, Needed, Failed, Held, Withheld,
} }
variants! { budget_standing: BudgetStanding => api::BudgetStanding { Open, Urgent, Spent } }
variants! { when_spent: WhenSpent => api::WhenSpent { Closed, Urgent } }
variants! { forecast: Forecast => api::BudgetForecast { Unknown, Lasts, Ends, ReserveOnly, Spent } }
variants! { adaptive_reason: CapReason => api::AdaptiveReason { Idle, Blind, Starting, Rising, Steady, Yielding, Calendar } }

pub(super) fn action(action: Action) -> api::Action {
    match action {
        Action::Install => api::Action::Install,
        Action::Uninstall => api::Action::Uninstall,
        Action::Detect => api::Action::Detect,
        Action::Block => api::Action::NotApproved,
    }
}

pub(super) fn action_of(action: api::Action) -> Action {
    match action {
        api::Action::Install => Action::Install,
        api::Action::Uninstall => Action::Uninstall,
        api::Action::Detect => Action::Detect,
        api::Action::NotApproved => Action::Block,
    }
}

pub(super) fn category_kind(kind: CategoryKind) -> api::CategoryKind {
    match kind {
        CategoryKind::Company => api::CategoryKind::Company,
        CategoryKind::ProductFamily => api::CategoryKind::Family,
        CategoryKind::Product => api::CategoryKind::Product,
        CategoryKind::Classification => api::CategoryKind::Classification,
        CategoryKind::Other => api::CategoryKind::Other,
    }
}

pub(super) fn because(because: RateReason) -> api::RateReason {
    match because {
        RateReason::Base => api::RateReason::Base,
        RateReason::Window(window) => api::RateReason::Window(window),
        RateReason::Exception => api::RateReason::Exception,
    }
}

/// An error code of Windows, as people look it up.
pub(super) fn code(result: i32) -> String {
    format!("0x{result:08X}")
}

pub(super) fn rate_in_force(one: &bandwidth::RateInForce) -> api::RateInForce {
    fields!(one => api::RateInForce { rate, until, then; because: because(one.because) })
}

pub(super) fn budget_line(one: &bandwidth::BudgetLine) -> api::BudgetLine {
    fields!(one => api::BudgetLine { limit, reserve, spent, left, left_for_urgent, renews_at, ends_at, expected;
                                     forecast: forecast(one.forecast) })
}

pub(super) fn budget(one: bandwidth::BudgetStatus) -> api::Budget {
    let (daily, monthly) = (one.daily.as_ref().map(budget_line), one.monthly.as_ref().map(budget_line));
    let urgent = one.urgent.iter().copied().map(class).collect();
    fields!(one => api::Budget { time_zone, date, until, block, trouble; daily: daily, monthly: monthly, urgent: urgent,
                                 standing: budget_standing(one.standing), when_spent: when_spent(one.when_spent) })
}

pub(super) fn adaptive(one: &bandwidth::YieldStatus) -> api::Adaptive {
    fields!(one => api::Adaptive { cap_bits_per_second, base_delay_ms, queue_ms, probes, failed_probes;
                                   exempt: one.exempt.iter().copied().map(class).collect(),
                                   because: adaptive_reason(one.because) })
}

pub(super) fn client_rates(one: bandwidth::EgressStatus) -> api::ClientRates {
    let rates = one.rates;
    fields!(one => api::ClientRates { clients, waiting, sent; rate: rates.rate, per_client: rates.per_client,
                                      per_subnet: rates.per_subnet })
}

pub(super) fn counts(one: &ledger::Counts) -> api::ByteCounts {
    fields!(one => api::ByteCounts { received, sent, payload, wasted, served, fetched; avoided: one.avoided() })
}

pub(super) fn source(one: transfer::SourceStatus) -> api::Source {
    fields!(one => api::Source { source, cost, retry_seconds, down_seconds, ranges, requests, received, trouble;
                                 state: source_state(one.state) })
}

pub(super) fn transfer(one: &transfer::TransferStatus) -> api::Transfer {
    fields!(one => api::Transfer { size, held, waiting, flights; sha1: one.sha1.hex(), name: one.name.clone(),
                                   class: class(one.class), state: transfer_state(one.state),
                                   trouble: one.trouble.clone() })
}

pub(super) fn standing(one: upstream::Standing) -> api::SyncStanding {
    let failing = one.failing.map(|one| {
        fields!(one => api::Failing { since, at, times, error; reason: failure(one.reason),
                                      next_step: one.next_step.to_owned() })
    });
    fields!(one => api::SyncStanding { last_success, next; failing: failing })
}

pub(super) fn file(one: &content::FileStatus) -> api::HeldFile {
    fields!(one => api::HeldFile { size, held, last_use; sha1: one.sha1.hex(), names: one.names.clone(),
                                   sha256: one.sha256.map(|digest| digest.hex()), state: held_state(one.state) })
}

pub(super) fn verified(one: content::VerifyReport) -> api::VerificationReport {
    let damaged = one
        .damaged
        .into_iter()
        .map(|damage| fields!(damage => api::Damage { names, dropped; sha1: damage.sha1.hex() }));
    api::VerificationReport {
        files: one.files,
        bytes: one.bytes,
        finished: one.finished,
        damaged: damaged.collect(),
    }
}

pub(super) fn cost(one: needs::Cost) -> api::Cost {
    let ends = |one: needs::Ends| fields!(one => api::Ends { at, seconds, unlimited });
    let (ends_left, ends_at_most) = (ends(one.ends), ends(one.ends_at_most));
    let updates = one.updates.into_iter().map(update_cost).collect();
    api::Cost {
        updates,
        whole: one.whole,
        needed: one.needed,
        held: one.held,
        left: one.left,
        at_most: one.at_most,
        is_upper_bound: one.is_upper_bound,
        ends: ends_left,
        ends_at_most,
    }
}

fn update_cost(one: needs::UpdateCost) -> api::UpdateCost {
    let class = |one: needs::ClassCost| fields!(one => api::ClassCost { class, computers, needed; knowledge: knowledge(one.knowledge) });
    let classes = one.classes.into_iter().map(class).collect();
    fields!(one => api::UpdateCost { update_id, title, whole, needed, held, left, at_most, is_upper_bound, replaced_by;
                                     classes: classes })
}

pub(super) fn learned(one: needs::ClassNeeds) -> api::LearnedClass {
    let file =
        |one: needs::LearnedFile| fields!(one => api::LearnedFile { name, size, share, used, versions });
    let lineage = |one: needs::LearnedLineage| api::LearnedRelease {
        title: one.title,
        releases: one.releases,
        bytes: one.bytes,
        files: one.files.into_iter().map(file).collect(),
    };
    let lineages = one.lineages.into_iter().map(lineage).collect();
    fields!(one => api::LearnedClass { class, living; lineages: lineages })
}

pub(super) fn facts(one: &domain::ComputerFacts) -> api::ComputerFacts {
    let one = one.clone();
    fields!(one => api::ComputerFacts {
        dns_name, os_major, os_minor, os_build, service_pack_major, service_pack_minor, locale, manufacturer, model,
        bios_version, bios_name, bios_date, architecture, suite_mask, old_product_type, new_product_type,
        system_metrics, client_version, os_description, oem, device_type, firmware_version, mobile_operator
    })
}

pub(super) fn server_counts(one: &domain::ServerSummary) -> api::ServerCounts {
    fields!(one => api::ServerCounts {
        updates, declined, approved, not_approved, stale_approvals, expired, critical_not_approved,
        infrastructure_not_approved, with_client_errors, with_server_errors, needing_files, needed_by_computers,
        up_to_date, custom_groups, computers, computers_needing_updates, computers_with_errors, computers_up_to_date
    })
}

pub(super) fn systems(one: domain::ClientSummary) -> api::ClientSystems {
    let activity = one.activity.iter();
    let activity =
        activity.map(|one| fields!(one => api::Installations { update, revision, succeeded, failed }));
    let (activity, os) = (activity.collect(), one.os);
    let os = fields!(os => api::OsFacts { major, minor, build, service_pack_major, service_pack_minor, locale, suite_mask,
                                          old_product_type, new_product_type, system_metrics, architecture });
    api::ClientSystems { os, count: one.count, activity }
}

pub(super) fn keys(keys: Vec<catalog::KeyInfo>) -> Vec<api::Key> {
    let key =
        |one: catalog::KeyInfo| fields!(one => api::Key { id, made, seals; purpose: one.purpose.to_owned() });
    keys.into_iter().map(key).collect()
}
