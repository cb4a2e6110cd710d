//! `ReportEventBatch` ([MS-WUSP] 3.1.5.11).
//!
//! **Invariant:** events belong to the computer that the cookie names, whatever they say of themselves; what they mean
//! is for the catalog to derive.

use super::{Refusal, Service};
use crate::catalog::Event;
use crate::domain::{UpdateId, UpdateIdentity};
use crate::wire::client_update::{self as wusp, ReportEventBatch};

impl Service {
    /// [MS-WUSP] 3.1.5.11
    pub(super) async fn report(
        &self,
        request: ReportEventBatch,
        from: std::net::IpAddr,
    ) -> Result<String, Refusal> {
        let claims = self.claims(request.cookie.as_ref())?;
        if !request.has_client_time {
            return Err(Refusal::Parameter("clientTime"));
        }
        if let Some(computer) = self.0.catalog.computer(&claims.computer) {
            self.0.callers.called(from, &computer);
        }
        let now = self.0.clock.now();
        let events = request.events.ok_or(Refusal::Parameter("eventBatch"))?;
        let events: Vec<Event> = events.into_iter().map(|event| kept(event, now)).collect();
        if !events.is_empty() {
            self.blocking(move |service| service.0.catalog.report(&claims.computer, events)).await?;
        }
        Ok(wusp::report_answer())
    }
}

fn kept(event: wusp::Event, now: jiff::Timestamp) -> Event {
    Event {
        instance: event.instance,
        id: event.id,
        namespace: event.namespace,
        source: event.source,
        at: event.at.unwrap_or(now),
        update: event.update.map(|update| UpdateIdentity {
            update: UpdateId(update.update),
            revision: u32::try_from(update.revision).unwrap_or_default(),
        }),
        result: event.result,
        app: event.app,
        replacements: event.replacements,
        misc: event.misc,
    }
}
