//! What people call things, and what things are called: updates by GUID, KB number, a phrase of the title or the name of
//! a product; categories and groups by name.
//!
//! **Invariant:** a name that fits several updates equally well is refused with what fits, never guessed. It
//! changes nothing.

use std::cell::RefCell;
use std::collections::HashMap;

use super::error::ApiError;
use super::services::Result;
use super::shown;
use tailwater_api as api;
use tailwater_catalog::{Catalog, GroupApproval, UpdateRow, UpdateState, Withheld};
use tailwater_domain::{GroupId, Limit, ServerId, UpdateId, folded, limits};

/// How alike a name must be to be proposed, of 1.
const ALIKE: f64 = 0.75;

/// Rows shown of those that fit an ambiguous name.
const CANDIDATES: usize = 10;

pub(super) const LIMITS: &[Limit] = limits![
    CANDIDATES in "rows": "Rows shown for an ambiguous name" => "they are not shown",
];

// not a limit: ALIKE: what is proposed instead

pub(super) fn unknown(name: &str) -> ApiError {
    ApiError::NotFound {
        kind: "update",
        name: name.chars().take(120).collect(),
        next: "`tailwater updates list --text …` finds it, if it was synchronised",
    }
}

/// The update that a text means; several only when `all` are wanted. Where it is the whole title of one, it means that one.
pub(super) fn resolve(catalog: &Catalog, name: &str, all: bool) -> Result<Vec<UpdateId>> {
    let selected = catalog.select(name)?;
    match (selected.updates.as_slice(), selected.titled.as_slice()) {
        ([], _) => Err(unknown(name.trim())),
        (found, _) if all || found.len() == 1 => Ok(selected.updates),
        (_, [one]) => Ok(vec![*one]),
        (found, _) => {
            let rows = catalog.rows(&found[..found.len().min(CANDIDATES)])?;
            Err(ApiError::Ambiguous {
                name: name.trim().chars().take(120).collect(),
                count: found.len(),
                candidates: rows
                    .into_iter()
                    .map(|row| api::Candidate { update_id: row.identity.update, title: row.title })
                    .collect(),
            })
        }
    }
}

/// One thing that keeps an update from being offered, in fields and in a sentence.
fn withheld(one: &Withheld, of: UpdateId) -> api::Withheld {
    let whose = if one.member.update == of { "it".to_owned() } else { format!("its member {}", one.member) };
    api::Withheld {
        update_id: one.member.update,
        revision: one.member.revision,
        reason: shown::withheld(one.reason),
        through: one.through.clone(),
        message: format!("{whose} {}", one.reason.in_words()),
        title: None,
        detail: None,
    }
}

/// The name that is most like a wrong one, when any is at all.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let wrong = folded(wrong);
    let like = names.map(|name| (strsim::jaro_winkler(&folded(name), &wrong), name));
    let best = like.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))?;
    (best.0 >= ALIKE).then(|| best.1.to_owned())
}

/// Names of categories and groups, for rows. A category's title is read when it is shown, once.
pub(super) struct Names {
    catalog: Catalog,
    categories: RefCell<HashMap<UpdateId, String>>,
    groups: HashMap<GroupId, String>,
    servers: HashMap<ServerId, String>,
}

impl Names {
    pub(super) fn of(catalog: &Catalog) -> Self {
        Self {
            catalog: catalog.clone(),
            categories: RefCell::default(),
            groups: catalog.groups().into_iter().map(|group| (group.id, group.name)).collect(),
            servers: catalog.servers().iter().map(|server| (server.id, server.name.clone())).collect(),
        }
    }

    pub(super) fn group(&self, id: &GroupId) -> String {
        self.groups.get(id).cloned().unwrap_or_else(|| id.to_string())
    }

    pub(super) fn server(&self, id: &ServerId) -> String {
        self.servers.get(id).cloned().unwrap_or_else(|| id.to_string())
    }

    pub(super) fn category(&self, field: &'static str, name: Option<&str>) -> Result<Option<UpdateId>> {
        let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) else { return Ok(None) };
        if let Ok(id) = name.parse::<UpdateId>() {
            return Ok(Some(id));
        }
        let wanted = folded(name);
        let categories = self.catalog.categories(None)?;
        let found = categories.iter().find(|row| folded(&row.title) == wanted);
        found.map(|row| Some(row.id)).ok_or_else(|| ApiError::Unknown {
            kind: field,
            name: name.chars().take(120).collect(),
            near: nearest(name, categories.iter().map(|row| row.title.as_str())),
            next: "`tailwater categories list` shows them",
        })
    }

    fn titles(&self, ids: &[UpdateId]) -> Vec<String> {
        ids.iter().map(|id| self.title(id)).collect()
    }

    fn title(&self, id: &UpdateId) -> String {
        if let Some(known) = self.categories.borrow().get(id) {
            return known.clone();
        }
        let title = self.catalog.title(id, None).ok().flatten().unwrap_or_else(|| id.to_string());
        self.categories.borrow_mut().insert(*id, title.clone());
        title
    }

    pub(super) fn row(&self, row: &UpdateRow) -> api::Update {
        let approval = |entry: &GroupApproval| api::Approval {
            approval_id: entry.approval.id,
            group_id: entry.group,
            group: self.group(&entry.group),
            action: shown::action(entry.approval.action),
            deadline: entry.approval.deadline,
            made_at: entry.approval.made_at,
            made_by: entry.approval.made_by.clone(),
        };
        let declined = row.declined.clone().map(|one| api::Decline { at: one.at, by: one.by });
        let hold = row.hold.clone();
        api::Update {
            update_id: row.identity.update,
            revision: row.revision.0,
            title: row.title.clone(),
            kb: row.kb_articles.clone(),
            severity: row.severity.clone(),
            created: row.creation_date.clone(),
            arrived: row.arrived,
            classification: self.titles(&row.classifications).join(", "),
            products: self.titles(&row.products),
            update_type: shown::update_type(row.update_type),
            bundle: row.is_bundle,
            superseded: row.superseded,
            state: state(row.state()),
            approvable: row.is_approvable(),
            approvals: row.approvals.iter().map(approval).collect(),
            declined,
            hold: hold.map(|one| api::HoldNote {
                until: one.until,
                reason: one.reason,
                by: one.by,
                at: one.at,
            }),
            withheld: row.withheld.iter().map(|one| withheld(one, row.identity.update)).collect(),
            computers: api::StateCounts {
                needed: row.counts.needed,
                installed: row.counts.installed,
                failed: row.counts.failed,
            },
        }
    }
}

/// What the catalog says of an update in one word: one of the six that exclude each other.
fn state(state: UpdateState) -> api::UpdateState {
    match state {
        UpdateState::Declined => api::UpdateState::Declined,
        UpdateState::Expired => api::UpdateState::Expired,
        UpdateState::Held => api::UpdateState::Held,
        UpdateState::Withheld => api::UpdateState::Withheld,
        UpdateState::Approved => api::UpdateState::Approved,
        UpdateState::Unapproved | UpdateState::Superseded | UpdateState::Needed | UpdateState::Failed => {
            api::UpdateState::Unapproved
        }
    }
}
