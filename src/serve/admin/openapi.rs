//! `/api/v1/openapi.json`: the API, told to machines.
//!
//! **Invariant:** the router is built from the same list, so that an operation cannot exist in only one of
//! the two. It never describes what is not there.

use serde_json::{Map, Value, json};

use super::page::{MAX_REVISIONS, MAX_ROWS, MAX_WHOLE};
use crate::bandwidth::Class;
use crate::catalog::{MAX_DECIDED, MAX_MOVED};

/// One operation of the API.
pub(super) struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    /// Names of query parameters.
    pub query: &'static [&'static str],
    /// Fields of the JSON body; a `*` in front marks those that are needed.
    pub body: &'static [&'static str],
}

const fn operation(method: &'static str, path: &'static str, summary: &'static str) -> Operation {
    Operation { method, path, summary, query: &[], body: &[] }
}

const fn reading(path: &'static str, summary: &'static str, query: &'static [&'static str]) -> Operation {
    Operation { method: "get", path, summary, query, body: &[] }
}

const fn writing(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    body: &'static [&'static str],
) -> Operation {
    Operation { method, path, summary, query: &[], body }
}

/// Everything below `/api/v1` but this document.
pub(super) const OPERATIONS: &[Operation] = &[
    reading("/status", "One screen of everything", &[]),
    reading("/configuration", "What is in force and where each value came from", &[]),
    operation("post", "/reload", "Read the configuration again; names what needs a restart"),
    reading(
        "/store",
        "Whether the data directory can be written, and the keys of cookies, without the secrets",
        &[],
    ),
    operation(
        "post",
        "/store/rotate-keys",
        "Replace the keys that cookies are sealed with; what the old ones sealed stays good until it ends",
    ),
    reading("/sync", "The synchronisation that runs, and the last one", &[]),
    writing("post", "/sync", "Start a synchronisation", &["metadata_only", "accept_removals"]),
    operation("delete", "/sync", "Cancel the synchronisation that runs"),
    reading("/sync/history", "Synchronisations, newest first", &["offset", "limit"]),
    reading(
        "/updates",
        "List updates, newest first",
        &["text", "product", "classification", "kb", "state", "offset", "limit"],
    ),
    reading(
        "/updates/{update}",
        "One update: by GUID, KB number, or a phrase that only its title has",
        &["offset", "limit"],
    ),
    writing(
        "post",
        "/updates/approve",
        "Approve updates for a group, or say with dry_run what that would change and move over the link",
        &[
            "*updates",
            "*group",
            "action",
            "deadline",
            "accept_license",
            "dry_run",
            "cost",
            "all_matches",
            "by",
        ],
    ),
    writing(
        "post",
        "/updates/unapprove",
        "Take approvals back",
        &["*updates", "group", "dry_run", "all_matches"],
    ),
    writing("post", "/updates/decline", "Decline updates", &["*updates", "dry_run", "all_matches", "by"]),
    writing("post", "/updates/undecline", "Take declines back", &["*updates", "dry_run", "all_matches"]),
    writing(
        "post",
        "/updates/hold",
        "Hold updates back on this server, whatever was approved",
        &["*updates", "until", "reason", "dry_run", "all_matches", "by"],
    ),
    writing("post", "/updates/release", "Let held updates go", &["*updates", "dry_run", "all_matches"]),
    reading(
        "/revisions",
        "Every revision held, with the payloads it declares",
        &["documents", "offset", "limit"],
    ),
    reading("/categories", "Products and classifications, with what is selected", &["offset", "limit"]),
    reading("/groups", "All groups, each followed by those below it", &["offset", "limit"]),
    writing("post", "/groups", "Create a group", &["*name", "parent"]),
    writing("patch", "/groups/{group}", "Rename a group, or put it below another", &["name", "parent"]),
    Operation {
        query: &["dry_run"],
        ..operation(
            "delete",
            "/groups/{group}",
            "Remove a group and those below it, or say with dry_run what would go",
        )
    },
    reading(
        "/computers",
        "All computers, by name",
        &["text", "group", "whose", "through", "offset", "limit"],
    ),
    reading(
        "/computers/{computer}",
        "One computer and a page of what it reported",
        &["state", "offset", "limit"],
    ),
    writing("put", "/computers/{computer}/group", "Put a computer into a group", &["*group"]),
    writing("post", "/computers/move", "Put computers into a group, all or none", &["*computers", "*group"]),
    operation("delete", "/computers/{computer}", "Forget a computer"),
    reading(
        "/downstreams",
        "Servers that synchronise from here, directly or not, by name, and those refused",
        &["text", "state", "offset", "limit"],
    ),
    reading("/downstreams/{server}", "One server: what it took, what it lacks, what it says of itself", &[]),
    writing(
        "post",
        "/downstreams/allow",
        "Let a server in and make a token for it",
        &["*server", "needs_token"],
    ),
    writing(
        "post",
        "/downstreams/revoke",
        "Shut a server out under every identity it was seen with, or forget what it told",
        &["*server", "forget"],
    ),
    reading(
        "/bandwidth/ledger",
        "Every byte: received, served, avoided, wasted, by time or by name; as CSV with format=csv",
        &["from", "to", "by", "format"],
    ),
    reading("/content", "What is held", &["offset", "limit"]),
    reading("/content/learned", "What classes of computers used, and what is fetched ahead of demand", &[]),
    operation("post", "/content/verify", "Hash what is held again"),
    writing("post", "/content/fetch", "Fetch files now", &["updates", "approved"]),
    operation("post", "/content/collect", "Drop files that nothing offered names"),
    reading("/transfers", "What is on its way", &["offset", "limit"]),
    writing(
        "put",
        "/transfers/{sha1}",
        "Pause a transfer, go on with it, or make it more urgent",
        &["paused", "class"],
    ),
    operation("delete", "/transfers/{sha1}", "Give a transfer up"),
    reading("/bandwidth", "The rate, and what crosses the link", &[]),
    writing("put", "/bandwidth", "Let a rate hold over the calendar", &["*rate", "until"]),
    operation("delete", "/bandwidth", "Let the calendar hold again"),
];

fn parameters(operation: &Operation) -> Vec<Value> {
    let named = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = named
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = operation
        .query
        .iter()
        .map(|name| json!({ "name": name, "in": "query", "schema": query_schema(operation.path, name) }));
    in_path.chain(in_query).collect()
}

/// Rows in one answer of a list: unless more are asked for, and at most.
fn rows(path: &str) -> (usize, usize) {
    match path {
        "/updates" | "/updates/{update}" | "/computers/{computer}" => (100, MAX_ROWS),
        "/content" => (200, MAX_ROWS),
        "/revisions" => (MAX_REVISIONS, MAX_REVISIONS),
        "/categories" | "/groups" | "/transfers" => (MAX_WHOLE, MAX_WHOLE),
        _ => (MAX_ROWS, MAX_ROWS),
    }
}

fn query_schema(path: &str, name: &str) -> Value {
    let (usual, most) = rows(path);
    match name {
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": most, "default": usual,
                           "description": "rows in one answer; a larger number is taken as the maximum" }),
        "offset" => json!({ "type": "integer", "minimum": 0, "default": 0,
                            "description": "where the page begins: `next` of the page before, which is null in the last" }),
        _ => field_schema(name),
    }
}

fn field_schema(name: &str) -> Value {
    match name {
        "updates" => {
            json!({ "type": "array", "items": { "type": "string" }, "maxItems": MAX_DECIDED,
                    "description": "GUIDs (with or without .REVISION), KB numbers, phrases of titles, names of products or classifications; decided as one change, all or none" })
        }
        "computers" => {
            json!({ "type": "array", "items": { "type": "string" }, "maxItems": MAX_MOVED, "description": "names or ids" })
        }
        "whose" => json!({ "type": "string", "enum": ["all", "ours", "below"] }),
        "paused" | "dry_run" | "cost" | "accept_license" | "all_matches" | "needs_token" | "forget"
        | "approved" | "metadata_only" | "accept_removals" => {
            json!({ "type": "boolean" })
        }
        "action" => json!({ "type": "string", "enum": ["install", "uninstall", "not_approved"] }),
        "deadline" => json!({ "type": "string", "description": "RFC 3339, or local time without an offset" }),
        "class" => json!({ "type": "string", "enum": Class::ALL }),
        "rate" => json!({ "type": "string", "examples": ["8 Mbit/s", "unlimited"] }),
        _ => json!({ "type": "string" }),
    }
}

fn body(operation: &Operation) -> Option<Value> {
    if operation.body.is_empty() {
        return None;
    }
    let plain = |name: &&str| name.trim_start_matches('*').to_owned();
    let fields: Map<String, Value> =
        operation.body.iter().map(|name| (plain(name), field_schema(name.trim_start_matches('*')))).collect();
    let needed: Vec<String> = operation.body.iter().filter(|name| name.starts_with('*')).map(plain).collect();
    let schema =
        json!({ "type": "object", "properties": fields, "required": needed, "additionalProperties": false });
    Some(json!({ "required": true, "content": { "application/json": { "schema": schema } } }))
}

/// The document.
pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let answer = json!({ "description": "done", "content": { "application/json": { "schema": { "type": "object" } } } });
        let refused = json!({ "description": "refused", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } } });
        let mut entry = json!({
            "summary": operation.summary, "parameters": parameters(operation),
            "responses": { "200": answer, "default": refused },
        });
        if let (Some(entry), Some(body)) = (entry.as_object_mut(), body(operation)) {
            entry.insert("requestBody".to_owned(), body);
        }
        let path = paths.entry(format!("/api/v1{}", operation.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.to_owned(), entry);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Tailwater admin API", "version": env!("CARGO_PKG_VERSION"),
                  "description": "Needs the token of the file admin-token in the data directory." },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Error": { "type": "object", "properties": { "error": { "type": "object", "properties": {
                "code": { "type": "string" }, "message": { "type": "string" },
                "candidates": { "type": "array", "items": { "type": "object" } } }, "required": ["code", "message"] } } } },
        },
    })
}
