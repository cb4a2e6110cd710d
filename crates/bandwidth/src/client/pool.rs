//! Connections that may serve another request: bounded, young, and of the right window.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::Connection;
use super::origin::Origin;
use tailwater_domain::{Limit, limits};
use tailwater_runtime::Clock;

/// Origins remembered at once; far more than a site has upstreams and mirrors.
const MAX_ORIGINS: usize = 64;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ORIGINS in "servers": "Servers with connections kept open" => "its connection is closed",
];

struct Idle {
    connection: Connection,
    since: Instant,
}

pub(super) struct Pool {
    idle: Mutex<HashMap<Origin, Vec<Idle>>>,
    clock: Clock,
    keep_alive: Duration,
    max_per_origin: usize,
}

impl Pool {
    pub(super) fn new(clock: &Clock, keep_alive: Duration, max_per_origin: usize) -> Self {
        Self { idle: Mutex::default(), clock: clock.clone(), keep_alive, max_per_origin }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Origin, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection used last, if it is open, young, and its window suits the rate of now.
    pub(super) fn take(&self, origin: &Origin, suits: impl Fn(Option<u32>) -> bool) -> Option<Connection> {
        let now = self.clock.instant();
        let mut idle = self.idle();
        let list = idle.get_mut(origin)?;
        while let Some(Idle { connection, since }) = list.pop() {
            let young = now.duration_since(since) < self.keep_alive;
            if young && !connection.sender.is_closed() && suits(connection.window) {
                return Some(connection);
            }
            connection.task.abort();
        }
        None
    }

    /// Closes the connections to an origin that nobody uses.
    pub(super) fn forget(&self, origin: &Origin) {
        for Idle { connection, .. } in self.idle().remove(origin).unwrap_or_default() {
            connection.task.abort();
        }
    }

    /// Keeps a connection whose exchange is over.
    pub(super) fn put(&self, origin: &Origin, connection: Connection) {
        let now = self.clock.instant();
        let mut idle = self.idle();
        if connection.sender.is_closed() || (idle.len() >= MAX_ORIGINS && !idle.contains_key(origin)) {
            connection.task.abort();
            idle.retain(|_, list| !list.is_empty());
            return;
        }
        let list = idle.entry(origin.clone()).or_default();
        list.retain(|entry| {
            let keep =
                now.duration_since(entry.since) < self.keep_alive && !entry.connection.sender.is_closed();
            if !keep {
                entry.connection.task.abort();
            }
            keep
        });
        if list.len() < self.max_per_origin {
            list.push(Idle { connection, since: now });
        } else {
            connection.task.abort();
        }
    }
}
