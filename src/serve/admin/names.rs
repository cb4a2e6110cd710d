//! What people call things, and what things are called: updates by GUID, KB number or part of a title;
//! categories and groups by name.
//!
//! **Invariant:** a name that fits several updates equally well is refused with what fits, never guessed. It
//! changes nothing.

use serde_json::{Value, json};

use super::api::Result;
use super::error::ApiError;
use crate::catalog::{Catalog, MAX_PAGE, UpdateQuery, UpdateRow};
use crate::domain::{GroupId, ServerId, UpdateId};

/// Rows shown of those that fit an ambiguous name.
const CANDIDATES: usize = 10;

pub(super) fn unknown(name: &str) -> ApiError {
    ApiError::NotFound {
        kind: "update",
        name: name.chars().take(120).collect(),
        next: "`tailwater updates list --text …` finds it, if it was synchronised",
    }
}

/// The update that a GUID, a KB number or a part of a title names; several only when `all` are wanted.
pub(super) fn resolve(catalog: &Catalog, name: &str, all: bool) -> Result<Vec<UpdateId>> {
    let name = name.trim();
    if let Ok(id) = name.parse::<UpdateId>() {
        return if catalog.snapshot().latest(&id).is_some() { Ok(vec![id]) } else { Err(unknown(name)) };
    }
    let digits = name.strip_prefix("KB").or_else(|| name.strip_prefix("kb")).unwrap_or(name);
    let is_kb = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let query = if is_kb {
        UpdateQuery { kb: Some(digits.to_owned()), limit: MAX_PAGE, ..UpdateQuery::default() }
    } else if name.is_empty() {
        return Err(unknown(name));
    } else {
        UpdateQuery { text: Some(name.to_owned()), limit: MAX_PAGE, ..UpdateQuery::default() }
    };
    let page = catalog.updates(&query)?;
    let exact: Vec<&UpdateRow> =
        page.rows.iter().filter(|row| row.title.eq_ignore_ascii_case(name)).collect();
    match (page.rows.as_slice(), exact.as_slice()) {
        ([], _) => Err(unknown(name)),
        (_, [one]) => Ok(vec![one.identity.update]),
        ([one], _) => Ok(vec![one.identity.update]),
        (rows, _) if all => Ok(rows.iter().map(|row| row.identity.update).collect()),
        (rows, _) => Err(ApiError::Ambiguous {
            name: name.to_owned(),
            count: page.total,
            candidates: rows
                .iter()
                .take(CANDIDATES)
                .map(|row| (row.identity.update.to_string(), row.title.clone()))
                .collect(),
        }),
    }
}

/// Names of categories and groups, for rows.
pub(super) struct Names {
    categories: std::collections::HashMap<UpdateId, String>,
    groups: std::collections::HashMap<GroupId, String>,
    servers: std::collections::HashMap<ServerId, String>,
}

impl Names {
    pub(super) fn of(catalog: &Catalog) -> Result<Self> {
        Ok(Self {
            categories: catalog.categories(None)?.into_iter().map(|row| (row.id, row.title)).collect(),
            groups: catalog.groups().into_iter().map(|group| (group.id, group.name)).collect(),
            servers: catalog.servers().iter().map(|server| (server.id, server.name.clone())).collect(),
        })
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
        let found = self.categories.iter().find(|(_, title)| title.eq_ignore_ascii_case(name));
        found.map(|(id, _)| Some(*id)).ok_or_else(|| ApiError::NotFound {
            kind: field,
            name: name.chars().take(120).collect(),
            next: "`tailwater categories list` shows them",
        })
    }

    fn titles(&self, ids: &[UpdateId]) -> Vec<String> {
        ids.iter().map(|id| self.categories.get(id).cloned().unwrap_or_else(|| id.to_string())).collect()
    }

    pub(super) fn row(&self, row: &UpdateRow) -> Value {
        let approved = row.approvals.iter().any(|entry| entry.approval.action.acts());
        let state = if row.declined.is_some() {
            "declined"
        } else if row.expired {
            "expired"
        } else if row.hold.is_some() {
            "held"
        } else if approved {
            "approved"
        } else {
            "unapproved"
        };
        let approvals: Vec<Value> = row
            .approvals
            .iter()
            .map(|entry| {
                let approval = &entry.approval;
                json!({ "approval_id": approval.id, "group_id": entry.group, "group": self.group(&entry.group), "action": approval.action,
                        "deadline": approval.deadline, "made_at": approval.made_at, "made_by": approval.made_by })
            })
            .collect();
        json!({
            "update_id": row.identity.update, "revision": row.identity.revision, "title": row.title,
            "kb": row.kb_articles, "severity": row.severity, "created": row.creation_date, "arrived": row.arrived,
            "classification": self.titles(&row.classifications).join(", "), "products": self.titles(&row.products),
            "type": row.update_type, "bundle": row.is_bundle, "superseded": row.superseded, "state": state,
            "approvable": row.explicitly_deployable && !row.expired, "approvals": approvals,
            "declined": row.declined, "hold": row.hold,
            "computers": { "needed": row.counts.needed, "installed": row.counts.installed, "failed": row.counts.failed },
        })
    }
}
