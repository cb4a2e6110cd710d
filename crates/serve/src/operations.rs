//! How long a request may be: a limit for every SOAP operation, every operation of the API, and every address between
//! two tailwaters, each from what real senders need.
//!
//! **Invariant:** an operation that is not in a table is refused before its body is read. It never knows what an
//! operation does.

use tailwater_domain::{Limit, LimitValue};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// An operation and the bytes that its request may have.
struct Operation {
    name: &'static str,
    bytes: usize,
}

/// A table of operations and its limits, as the documentation lists them.
macro_rules! operations {
    ($(#[$about:meta])* $table:ident, $limits:ident, $prefix:literal, $of:literal: $($name:literal $bytes:expr,)+) => {
        $(#[$about])*
        const $table: &[Operation] = &[$(Operation { name: $name, bytes: $bytes },)+];
        /// The same for the table of all limits.
        pub(super) const $limits: &[Limit] = &[$(Limit {
            name: concat!($prefix, $name),
            file: file!(),
            what: concat!($of, $name),
            value: Some(|| LimitValue::from($bytes)),
            unit: "bytes",
            key: None,
            beyond: "413",
        },)+];
    };
}

operations! {
    /// Agents, [MS-WUSP]. Recorded requests have 0.2 to 3 KB, a driver pass with 75 devices 50 KB, a scan with 25,000
    /// identities 0.5 MB, and a report 2 KB for each of its events, of which there are up to 4,000 at once.
    OF_AGENTS, AGENT_LIMITS, "OF_AGENTS/", "Request of an agent: ":
    "GetConfig" 4 * KIB,
    "GetAuthorizationCookie" 16 * KIB,
    "GetCookie" 64 * KIB,
    "RegisterComputer" 64 * KIB,
    "StartCategoryScan" 256 * KIB,
    "SyncUpdates" 4 * MIB,
    "SyncPrinterCatalog" 4 * MIB,
    "RefreshCache" 2 * MIB,
    "GetExtendedUpdateInfo" 64 * KIB,
    "GetExtendedUpdateInfo2" 64 * KIB,
    "GetFileLocations" 256 * KIB,
    "ReportEventBatch" 6 * MIB,
    "ReportEventBatch2" 6 * MIB,
    "Ping" 4 * KIB,
}

operations! {
    /// Downstream servers, [MS-WSUSSS]. Recorded requests have up to 1 KB; filters name up to some thousand categories
    /// at 150 bytes, `GetUpdateData` a hundred revisions at as much.
    OF_SERVERS, SERVER_LIMITS, "OF_SERVERS/", "Request of a downstream server: ":
    "GetAuthConfig" 4 * KIB,
    "GetAuthorizationCookie" 16 * KIB,
    "GetCookie" 64 * KIB,
    "GetConfigData" 16 * KIB,
    "GetRevisionIdList" 4 * MIB,
    "GetUpdateData" 128 * KIB,
    "GetUpdateDecryptionData" 128 * KIB,
    "GetRelatedRevisionsForUpdates" 128 * KIB,
    "GetDriverIdList" 4 * MIB,
    "GetDriverSetData" 128 * KIB,
    "GetDeployments" 64 * KIB,
    "DownloadFiles" 64 * KIB,
    "Ping" 4 * KIB,
}

operations! {
    /// Roll-ups, as text: 500 computers with 250 states each are 26 MB, 1,500 computers 2 MB, 20,000 numbers 3 MB.
    OF_ROLLUPS, ROLLUP_LIMITS, "OF_ROLLUPS/", "Roll-up of a downstream server: ":
    "GetRollupConfiguration" 16 * KIB,
    "RollupDownstreamServers" 16 * MIB,
    "RollupComputers" 16 * MIB,
    "GetOutOfSyncComputers" 8 * MIB,
    "RollupComputerStatus" 28 * MIB,
}

/// A SOAP request that does not name its operation outside of its body; real senders always do.
const UNNAMED: usize = 64 * KIB;
/// A roll-up of a server that never synchronised from here while this process runs, as text.
const STRANGERS_ROLLUP: usize = MIB;
/// A message of a tailwater: a filter of 25,000 categories, an order of 1,024 documents.
const MAX_PEER_MESSAGE: usize = tailwater_wire::peer::MAX_REQUEST;
/// A request of the API that names what it is about in a list: twenty thousand GUIDs are 800 KB.
const MAX_LIST_OF_API: usize = 960 * KIB;
/// Any other request of the API.
const MAX_REQUEST_OF_API: usize = 64 * KIB;

pub(super) const LIMITS: &[Limit] = tailwater_domain::limits![
    UNNAMED in "bytes": "SOAP request without SOAPAction" => "413",
    STRANGERS_ROLLUP in "bytes": "Roll-up of a server that did not synchronise from here since the start" => "413",
    MAX_PEER_MESSAGE in "bytes": "Request of a tailwater: list, pack" => "413",
    MAX_LIST_OF_API in "bytes": "Request of the API with a list of what it is about" => "413",
    MAX_REQUEST_OF_API in "bytes": "Any other request of the API" => "413",
];

/// Operations of the API whose requests may have long lists.
const LISTS_OF_API: &[&str] = &[
    "/updates/approve",
    "/updates/unapprove",
    "/updates/decline",
    "/updates/undecline",
    "/updates/hold",
    "/updates/release",
    "/computers/move",
    "/content/fetch",
];

fn find(table: &[Operation], name: &str) -> Option<usize> {
    table.iter().find(|operation| operation.name == name).map(|operation| operation.bytes)
}

/// Bytes of an agent's request; `None` for an operation that agents' services do not have.
pub(super) fn of_agents(operation: Option<&str>) -> Option<usize> {
    operation.map_or(Some(UNNAMED), |name| find(OF_AGENTS, name))
}

/// Bytes of a downstream server's request, roll-ups excepted.
pub(super) fn of_servers(operation: Option<&str>) -> Option<usize> {
    operation.map_or(Some(UNNAMED), |name| find(OF_SERVERS, name))
}

/// Bytes of a roll-up's text; `known` is whether its sender synchronises from here.
pub(super) fn of_rollups(operation: Option<&str>, known: bool) -> usize {
    let limit = operation.and_then(|name| find(OF_ROLLUPS, name)).unwrap_or(UNNAMED);
    if known { limit } else { limit.min(STRANGERS_ROLLUP) }
}

/// Bytes of a message between two tailwaters.
pub(super) fn of_tailwaters() -> usize {
    MAX_PEER_MESSAGE
}

/// Whether an operation of the API takes a list of what it is about, by its path below `/api/v1`.
pub(super) fn has_list(path: &str) -> bool {
    LISTS_OF_API.contains(&path)
}

/// Bytes of a request of the API, by its path below `/api/v1`.
pub(super) fn of_api(path: &str) -> usize {
    if has_list(path) { MAX_LIST_OF_API } else { MAX_REQUEST_OF_API }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_wire::server_reporting;

    #[test]
    fn every_operation_has_its_limit_and_no_other_is_let_in() {
        for (table, one) in [(OF_AGENTS, "SyncUpdates"), (OF_SERVERS, "GetUpdateData")] {
            assert!(find(table, one).is_some());
            assert!(table.iter().all(|operation| (4 * KIB..=28 * MIB).contains(&operation.bytes)));
        }
        assert_eq!((of_agents(Some("GetConfig")), of_servers(Some("GetConfig"))), (Some(4 * KIB), None));
        assert_eq!((of_agents(None), of_servers(None)), (Some(UNNAMED), Some(UNNAMED)));
        for operation in server_reporting::OPERATIONS {
            assert!(find(OF_ROLLUPS, operation).is_some(), "{operation}");
            assert!(of_rollups(Some(operation), false) <= STRANGERS_ROLLUP);
        }
    }
}
