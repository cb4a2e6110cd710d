//! What an approval would move over the link, and what it moved: for `updates approve --dry-run`, the console's dialog and
//! `updates show`.
//!
//! **Invariant:** a dry run changes nothing, and names every update that it could not weigh. What is foreseen is never
//! corrected afterwards: it stands beside what crossed.

use std::sync::OnceLock;

use axum::Json;
use serde_json::{Value, json};

use super::api::{Result, Services, blocking};
use super::error::ApiError;
use super::names::resolve;
use super::updates::MAX_NAMED;
use crate::bandwidth::Budget;
use crate::domain::{Action, GroupId, UpdateId};
use crate::needs;

/// What approving would move.
pub(super) async fn dry_run(
    services: Services,
    updates: Vec<String>,
    all_matches: bool,
    group: GroupId,
    action: Action,
) -> Result<Json<Value>> {
    if updates.is_empty() || updates.len() > MAX_NAMED {
        let reason = format!("name at least one update and at most {MAX_NAMED}");
        return Err(ApiError::Invalid { field: "updates", reason });
    }
    blocking(move || {
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for name in &updates {
            match resolve(&services.catalog, name, all_matches) {
                Ok(ids) => found.extend(ids),
                Err(error @ (ApiError::NotFound { .. } | ApiError::Ambiguous { .. })) => {
                    failed.push(json!({ "update": name, "error": error.to_string(), "candidates": error.candidates() }));
                }
                Err(error) => return Err(error),
            }
        }
        found.sort_unstable();
        found.dedup();
        // removing needs no payload
        let weighed = if action == Action::Install { found.as_slice() } else { &[] };
        let cost = services.needs.scales(&group)?.weigh(weighed)?;
        Ok(Json(json!({ "dry_run": true, "budget": budget(&services, &cost), "rate": services.timetable.in_force(),
                        "fetch": services.about.fetch, "failed": failed, "cost": cost })))
    })
    .await
}

/// What is left of the link's budgets, the tighter one first of all, and whether it is enough; null where there are none.
fn budget(services: &Services, cost: &needs::Cost) -> Value {
    let Some(status) = services.limiter.budget().map(Budget::status) else { return Value::Null };
    let tightest = [&status.daily, &status.monthly].into_iter().flatten().min_by_key(|line| line.left);
    let Some(tightest) = tightest else { return Value::Null };
    json!({ "left": tightest.left, "left_for_urgent": tightest.left_for_urgent, "renews_at": tightest.renews_at,
            "is_enough": tightest.left >= cost.left, "daily": status.daily, "monthly": status.monthly })
}

/// Remembers what is foreseen of approvals that are about to be made. A failure costs the comparison, not the approval.
pub(super) struct Keeper {
    needs: needs::Handle,
    group: GroupId,
    scales: OnceLock<Option<needs::Scales>>,
}

impl Keeper {
    /// For approvals for this group.
    pub(super) fn new(needs: needs::Handle, group: GroupId) -> Self {
        Self { needs, group, scales: OnceLock::new() }
    }

    /// Before it is approved: what comes ahead begins at once.
    pub(super) fn keep(&self, update: &UpdateId) {
        let open = || match self.needs.scales(&self.group) {
            Ok(scales) => Some(scales),
            Err(error) => {
                tracing::warn!(%error, "what approvals will move cannot be foreseen");
                None
            }
        };
        let Some(scales) = self.scales.get_or_init(open) else { return };
        let kept = scales.weigh(std::slice::from_ref(update)).and_then(|cost| self.needs.keep(&cost));
        if let Err(error) = kept {
            tracing::warn!(%update, %error, "what an approval will move cannot be foreseen");
        }
    }
}

/// What was foreseen of an update's approval beside what crossed; null when it was not approved lately.
pub(super) fn traffic(services: &Services, update: &UpdateId) -> Result<Value> {
    Ok(json!(services.needs.kept(update)?.map(|kept| {
        json!({ "approved_at": kept.at, "whole": kept.whole, "foreseen": kept.left, "at_most": kept.at_most,
                "is_upper_bound": kept.is_upper_bound, "crossed": kept.crossed })
    })))
}
