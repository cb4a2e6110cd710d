//! Open files: what the system allows this process, and how many connections that leaves.
//!
//! **Invariant:** connections of agents never take the files that payloads, the catalog, the upstream and the
//! administrators' listener need. It never lowers a limit of the system.

use rustix::process::{Resource, Rlimit};

use tailwater_domain::{Limit, limits};

/// Files open at once, where the system allows as many: far more than clients and payloads need.
const MOST_FILES: u64 = 1 << 20;
/// Files for the catalog, the index, the log, connections to upstreams and what is written.
const RESERVE: u64 = 512;
/// Of all files so many are for payloads that are open (`content` keeps as many).
const PAYLOADS: u64 = 16;
/// Where few files are allowed the reserve is at most this part of them, in quarters.
const RESERVED_QUARTERS: u64 = 3;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_FILES in "descriptors": "Descriptors that are asked of the system" => "no more are used",
    RESERVE in "descriptors": "Descriptors that are kept from connections, beside those for payloads and administrators" => "fewer connections than server.max_connections, with a warning",
];

/// Raises the limit of open files as far as the system lets it; gives what it is then. Each client is a file to the
/// system, and many systems allow a process 1,024 of them until it asks for more.
pub(super) fn raise_file_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MOST_FILES).min(MOST_FILES);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, limit = limit.current, "the limit of open files cannot be raised");
        }
    }
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(MOST_FILES)
}

/// How many of `wanted` connections there can be with so many files, beside `admin` connections of administrators.
pub(super) fn connections_within(files: u64, wanted: usize, admin: usize) -> usize {
    let reserve = RESERVE + admin as u64 + files / PAYLOADS;
    let reserve = reserve.min(files / 4 * RESERVED_QUARTERS);
    usize::try_from(files.saturating_sub(reserve)).unwrap_or(usize::MAX).min(wanted).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_files_whatever_the_limit_is() {
        let table = [
            (1 << 20, 10_000, 10_000),
            (65_536, 100_000, 60_672),
            (4_096, 10_000, 3_072),
            (1_024, 10_000, 256),
            (256, 10_000, 64),
            (64, 10_000, 16),
            (1_024, 16, 16),
        ];
        for (files, wanted, connections) in table {
            assert_eq!(connections_within(files, wanted, 256), connections, "{files} {wanted}");
            assert!(connections as u64 <= files / 4 || files - connections as u64 >= RESERVE + 256);
        }
    }
}
