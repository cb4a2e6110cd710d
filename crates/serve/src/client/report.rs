//! `ReportEventBatch` ([MS-WUSP] 3.1.5.11) and `ReportEventBatch2`.
//!
//! **Invariant:** events belong to the computer that the cookie names, or without cookies the request, whatever they say
//! of themselves; what they mean is for the catalog to derive. It never makes a computer known.

use super::service::Service;
use super::session::computer_id;
use crate::fault::Refusal;
use tailwater_catalog::{Caller, Event};
use tailwater_domain::{ComputerId, UpdateId, UpdateIdentity};
use tailwater_wire::client_update::{self as wusp, ReportEventBatch};

impl Service {
    /// [MS-WUSP] 3.1.5.11
    pub(super) async fn report(&self, request: ReportEventBatch, from: &Caller) -> Result<String, Refusal> {
        let claims = self.bearer(request.cookie.as_ref())?;
        self.take_events(claims.computer, request, from).await?;
        Ok(wusp::report_answer())
    }

    /// The WSDL's second form: who has no cookie names its computer, which must be known here.
    pub(super) async fn report2(&self, request: ReportEventBatch, from: &Caller) -> Result<String, Refusal> {
        let computer = computer_id(request.computer_id.as_deref(), "computerId")?;
        if self.0.catalog.computer(&computer).is_none() {
            return Err(Refusal::RegistrationRequired);
        }
        self.take_events(computer, request, from).await?;
        Ok(wusp::report2_answer())
    }

    async fn take_events(
        &self,
        computer: ComputerId,
        request: ReportEventBatch,
        from: &Caller,
    ) -> Result<(), Refusal> {
        if !request.has_client_time {
            return Err(Refusal::Parameter("clientTime"));
        }
        self.called(from, self.0.catalog.computer(&computer).as_deref());
        let now = self.0.clock.now();
        let events = request.events.ok_or(Refusal::Parameter("eventBatch"))?;
        let events: Vec<Event> = events.into_iter().map(|event| kept(event, now)).collect();
        if !events.is_empty() {
            let from = from.clone();
            self.blocking(move |service| service.0.catalog.report(&from, &computer, events)).await?;
        }
        Ok(())
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
