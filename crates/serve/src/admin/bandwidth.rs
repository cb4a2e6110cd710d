//! `/api/v1/bandwidth`: how fast the link is, why, until when, and what crossed it.
//!
//! **Invariant:** an exception that was answered with success holds after a restart too. It never changes the
//! configuration.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::error::ApiError;
use super::route::Call;
use super::services::{Result, Services, blocking};
use super::shown;
use tailwater_api as api;
use tailwater_bandwidth::{
    BudgetLine, BudgetPace, BudgetStatus, CongestionYield, EgressLimiter, Exception, Forecast, Standing,
    Window,
};
use tailwater_catalog::to_json;
use tailwater_domain::Rate;

/// Where the exception is kept.
pub const EXCEPTION_KEY: &str = "bandwidth.exception";

/// `GET /bandwidth`.
pub(super) async fn show(services: Services, _: Call<api::ReadLink>) -> Result<api::Link> {
    Ok(api::Link {
        reading: reading(&services),
        windows: services.timetable.windows().iter().map(window).collect(),
        downstream: services.egress.as_ref().map(EgressLimiter::status).map(shown::client_rates),
    })
}

fn window(window: &Window) -> api::Window {
    api::Window {
        days: window.days.to_string(),
        from: window.from.strftime("%H:%M").to_string(),
        to: window.to.strftime("%H:%M").to_string(),
        rate: window.rate,
        time_zone: window.zone.iana_name().unwrap_or("this machine's").to_owned(),
    }
}

/// What the link does now.
pub(super) fn reading(services: &Services) -> api::LinkReading {
    let (reading, before) = (services.meter.reading(), services.ledger.before());
    let (kept, limiter) = (services.ledger.kept(), services.limiter.status());
    let by_class = reading.by_class.iter().map(|&(class, received, sent)| {
        let before = services.ledger.before_of_class(class.as_str());
        api::ClassBytes {
            class: shown::class(class),
            received: before.received.saturating_add(received),
            sent: before.sent.saturating_add(sent),
        }
    });
    let waiting = limiter.waiting.iter();
    let waiting = waiting.map(|&(class, streams)| api::ClassWaiting { class: shown::class(class), streams });
    let in_force = services.timetable.in_force();
    let budget = services.limiter.budget().map(|budget| budget.status_at(pace(services)));
    api::LinkReading {
        rate: limiter.rate,
        because: shown::because(in_force.because),
        until: in_force.until,
        then: in_force.then,
        bits_per_second: reading.bits_per_second,
        since: kept.since,
        received: before.received.saturating_add(reading.received),
        sent: before.sent.saturating_add(reading.sent),
        received_today: kept.today.received,
        received_month: kept.month.received,
        by_class: by_class.collect(),
        waiting: waiting.collect(),
        max_transfers: limiter.max_transfers,
        budget: budget.map(shown::budget),
        adaptive: services.congestion.as_ref().map(CongestionYield::status).as_ref().map(shown::adaptive),
    }
}

/// How fast the link was used lately: the ledger goes back further than a budget that was just set.
pub(super) fn pace(services: &Services) -> Option<BudgetPace> {
    services.ledger.pace().map(|pace| BudgetPace { bytes: pace.bytes, seconds: pace.seconds })
}

/// What an administrator should know of a budget.
pub(super) fn warnings(budget: &BudgetStatus) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(trouble) = &budget.trouble {
        warnings.push(format!("nothing is taken from upstream: {trouble}"));
    }
    let until = budget.until.map(|until| format!(" until {until}")).unwrap_or_default();
    match budget.standing {
        Standing::Open => {}
        Standing::Urgent => {
            let urgent = budget.urgent.iter().map(|class| class.as_str()).collect::<Vec<_>>().join(", ");
            warnings.push(format!("the link's budget is spent but for its reserve: only {urgent}{until}"));
        }
        Standing::Spent => warnings.push(format!(
            "the link's budget is spent: nothing is taken from upstream{until}; what is held is served. Raise \
             bandwidth.budget and restart, or wait"
        )),
    }
    let ends = |line: BudgetLine| line.ends_at.filter(|_| line.forecast == Forecast::Ends);
    if let Some(ends_at) = budget.monthly.and_then(ends) {
        warnings.push(format!("at this pace the month's budget ends at {ends_at}"));
    }
    warnings
}

/// The exception that is asked for.
fn exception(order: &api::SetRate, now: Timestamp) -> Result<Exception> {
    let invalid = |field, reason: String| ApiError::Invalid { field, reason };
    let rate: Rate = order
        .rate
        .parse()
        .map_err(|error: tailwater_domain::ParseRateError| invalid("rate", error.to_string()))?;
    let until = order.until.as_deref().map(|text| moment(text, now));
    let wanted = "expected a time to come, such as \"06:00\", \"2026-12-24T18:00\" or RFC 3339";
    match until {
        None => Ok(Exception { rate, until: None, since: Some(now) }),
        Some(Some(until)) if until > now => Ok(Exception { rate, until: Some(until), since: Some(now) }),
        Some(_) => Err(invalid("until", wanted.to_owned())),
    }
}

/// A time of day that comes next on this machine's clocks, a local date and time, or RFC 3339.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let zone = TimeZone::system();
    if let Ok(time) = jiff::civil::Time::strptime("%H:%M", text) {
        let today = zone.to_datetime(now).date();
        let at = |date: jiff::civil::Date| zone.to_timestamp(date.to_datetime(time)).ok();
        return at(today).filter(|at| *at > now).or_else(|| at(today.tomorrow().ok()?));
    }
    let local = || zone.to_timestamp(text.parse::<jiff::civil::DateTime>().ok()?).ok();
    text.parse().ok().or_else(local)
}

/// `PUT /bandwidth`: lets a rate hold over the calendar, at once on everything that runs.
pub(super) async fn set(services: Services, call: Call<api::SetLinkRate>) -> Result<api::RateChanged> {
    let exception = exception(&call.body, services.clock.now())?;
    change(services, Some(exception)).await
}

/// `DELETE /bandwidth`: lets the calendar hold again.
pub(super) async fn clear(services: Services, _: Call<api::ResetLinkRate>) -> Result<api::RateChanged> {
    change(services, None).await
}

async fn change(services: Services, exception: Option<Exception>) -> Result<api::RateChanged> {
    blocking(move || {
        // what cannot be written is an error: an empty record would end the exception at the next start
        let kept = exception.as_ref().map(to_json).transpose()?;
        services.catalog.set_setting(EXCEPTION_KEY, kept.as_deref())?;
        let before = services.limiter.rate();
        services.timetable.set_exception(exception);
        let now = services.timetable.in_force();
        tracing::info!(%before, now = %now.rate, until = ?now.until, "an administrator changed the link's rate");
        let because = shown::because(now.because);
        Ok(api::RateChanged { rate: now.rate, before, because, until: now.until, then: now.then })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_exception_lies_ahead() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let order =
            |until: &str| api::SetRate { rate: "unlimited".to_owned(), until: Some(until.to_owned()) };
        let until = |text: &str| exception(&order(text), now).map(|exception| exception.until.unwrap());
        for text in ["00:00", "11:59", "12:01", "2026-11-26T06:00", "2026-11-25T13:00:00+01:00"] {
            match until(text) {
                Ok(until) => assert!(until > now && until.duration_since(now).as_hours() <= 30, "{text}"),
                Err(error) => assert_eq!(text, "2026-11-25T13:00:00+01:00", "{error}"),
            }
        }
        for wrong in ["soon", "2026-11-24T06:00", "25:00"] {
            assert!(until(wrong).is_err(), "{wrong}");
        }
    }
}
