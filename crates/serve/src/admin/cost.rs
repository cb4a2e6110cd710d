//! What an approval would move over the link, and what it moved: for `updates approve --dry-run`, the console's dialog and
//! `updates show`.
//!
//! **Invariant:** a dry run changes nothing, and names every update that it could not weigh. What is foreseen is never
//! corrected afterwards: it stands beside what crossed.

use super::error::ApiError;
use super::services::{Result, Services};
use super::shown;
use tailwater_api as api;
use tailwater_catalog::Verdict;
use tailwater_domain::{Action, GroupId, UpdateId};
use tailwater_needs::{self as needs, MAX_UPDATES as MAX_WEIGHED};

/// What approving these would move.
pub(super) fn of(
    services: &Services,
    updates: &[UpdateId],
    group: &GroupId,
    action: Action,
) -> Result<api::Weighed> {
    if updates.len() > MAX_WEIGHED {
        let reason =
            format!("what {} updates move is not weighed at once; name at most {MAX_WEIGHED}", updates.len());
        return Err(ApiError::Invalid { field: "updates", reason });
    }
    let mut weighed = updates.to_vec();
    weighed.sort_unstable();
    // removing needs no payload, and not approving neither
    if action != Action::Install {
        weighed.clear();
    }
    let cost = services.needs.scales(group)?.weigh(&weighed)?;
    Ok(api::Weighed {
        budget: budget(services, &cost),
        rate: shown::rate_in_force(&services.timetable.in_force()),
        fetch: services.about.fetch.clone(),
        cost: shown::cost(cost),
    })
}

/// What is left of the link's budgets, the tighter one first of all, and whether it is enough; null where there are none.
fn budget(services: &Services, cost: &needs::Cost) -> Option<api::BudgetLeft> {
    let status = services.limiter.budget()?.status_at(super::bandwidth::pace(services));
    let tightest = [&status.daily, &status.monthly].into_iter().flatten().min_by_key(|line| line.left)?;
    Some(api::BudgetLeft {
        left: tightest.left,
        left_for_urgent: tightest.left_for_urgent,
        renews_at: tightest.renews_at,
        is_enough: tightest.left >= cost.left,
        daily: status.daily.as_ref().map(shown::budget_line),
        monthly: status.monthly.as_ref().map(shown::budget_line),
    })
}

/// What is foreseen of approvals that are about to be made: before, because what comes ahead begins at once. A failure
/// costs the comparison, not the approval.
pub(super) fn foresee(
    needs: &needs::Handle,
    verdict: &Verdict,
    updates: &[UpdateId],
) -> Vec<needs::Foreseen> {
    let Verdict::Approve { group, action: Action::Install, .. } = verdict else { return Vec::new() };
    let foreseen = || -> std::result::Result<_, needs::NeedsError> {
        let scales = needs.scales(group)?;
        let mut foreseen = Vec::new();
        // of more than are remembered the last stand
        for some in updates.rchunks(needs::MAX_UPDATES).take(1) {
            foreseen.extend(needs.foresee(&scales.weigh(some)?)?);
        }
        Ok(foreseen)
    };
    foreseen().unwrap_or_else(|error| {
        tracing::warn!(%error, "what approvals will move cannot be foreseen");
        Vec::new()
    })
}

/// Remembers what was foreseen of approvals that were made.
pub(super) fn remember(needs: &needs::Handle, foreseen: Vec<needs::Foreseen>) {
    if let Err(error) = needs.keep(foreseen) {
        tracing::warn!(%error, "what approvals will move cannot be remembered");
    }
}

/// What was foreseen of an update's approval beside what crossed; null when it was not approved lately.
pub(super) fn traffic(services: &Services, update: &UpdateId) -> Result<Option<api::Traffic>> {
    Ok(services.needs.kept(update)?.map(|kept| api::Traffic {
        approved_at: kept.at,
        whole: kept.whole,
        foreseen: kept.left,
        at_most: kept.at_most,
        is_upper_bound: kept.is_upper_bound,
        crossed: kept.crossed,
    }))
}
