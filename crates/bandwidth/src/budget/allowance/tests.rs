//! Promises of the arithmetic of a budget.

use super::*;

fn config(daily: &str, monthly: &str) -> BudgetConfig {
    let amount = |text: &str| text.parse().ok();
    BudgetConfig {
        daily: amount(daily),
        monthly: amount(monthly),
        reserve: 100,
        urgent: vec![Class::Interactive, Class::Metadata, Class::Deadline],
        when_spent: WhenSpent::Closed,
        zone: TimeZone::get("Europe/Berlin").unwrap(),
    }
}

fn spent(days: &[(&str, u64)]) -> Spent {
    let mut spent = Spent::default();
    let first = "2026-11-01T00:00:00+01:00".parse().unwrap();
    for (date, bytes) in days {
        spent.add(date.parse().unwrap(), *bytes, first);
    }
    spent
}

#[test]
fn the_reserve_is_for_the_urgent() {
    let config = config("10 MB", "100 MB");
    let day = "2026-11-22".parse().unwrap();
    let table = [
        (0, 9_000_000, 10_000_000),
        (8_900_000, 100_000, 1_100_000),
        (8_950_000, 0, 1_050_000),
        (9_990_000, 0, 0),
    ];
    for (used, normal, urgent) in table {
        let spent = spent(&[("2026-11-22", used)]);
        assert_eq!(config.left(&spent, day, Class::Normal), normal, "{used}");
        assert_eq!(config.left(&spent, day, Class::Interactive), urgent, "{used}");
    }
    let open = BudgetConfig { when_spent: WhenSpent::Urgent, ..config };
    assert_eq!(open.left(&spent(&[("2026-11-22", 20_000_000)]), day, Class::Deadline), u64::MAX);
}

#[test]
fn a_month_is_the_sum_of_its_days() {
    let config = config("10 MB", "20 MB");
    let spent = spent(&[("2026-10-31", 9_000_000), ("2026-11-01", 9_000_000), ("2026-11-21", 8_000_000)]);
    let day = "2026-11-22".parse().unwrap();
    assert_eq!(config.left(&spent, day, Class::Normal), 1_000_000);
    assert_eq!(config.left(&spent, "2026-12-01".parse().unwrap(), Class::Normal), 9_000_000);
    let until = |used| {
        let mut spent = spent.clone();
        spent.add(day, used, Timestamp::UNIX_EPOCH);
        config.renews(&spent, day, Class::Normal).to_string()
    };
    assert_eq!(until(1_000_000), "2026-11-30T23:00:00Z");
    assert_eq!(until(0), "2026-11-22T23:00:00Z");
}

#[test]
fn days_on_which_clocks_change_are_as_long_as_they_are() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let hours = |date: &str| {
        let date: Date = date.parse().unwrap();
        end_of_day(date, &zone).duration_since(midnight(date, &zone)).as_hours()
    };
    assert_eq!([hours("2026-03-28"), hours("2026-03-29"), hours("2026-10-25")], [24, 23, 25]);
    // where midnight itself does not exist, the day begins with the first moment after it
    let havana = TimeZone::get("America/Havana").unwrap();
    let begin = midnight("2026-03-08".parse().unwrap(), &havana);
    assert_eq!(havana.to_datetime(begin).to_string(), "2026-03-08T01:00:00");
}

#[test]
fn the_forecast_follows_the_last_seven_days() {
    let config = config("", "150 GB");
    let gigabytes = |day: &str, count: u64| (day.to_owned(), count * 1_000_000_000);
    let mut days: Vec<_> = (1..=14).map(|day| gigabytes(&format!("2026-11-{day:02}"), 1)).collect();
    days.extend((15..=21).map(|day| gigabytes(&format!("2026-11-{day:02}"), 10)));
    let days: Vec<(&str, u64)> = days.iter().map(|(day, bytes)| (day.as_str(), *bytes)).collect();
    let spent = spent(&days);
    let now = "2026-11-21T23:59:59+01:00".parse().unwrap();
    let line = config.lines(&spent, "2026-11-21".parse().unwrap(), now, None)[1].unwrap();
    // 84 of 150 GB are spent, 10 a day: the rest lasts 6.6 days
    assert_eq!(line.spent, 84_000_000_000);
    let ends = config.zone.to_datetime(line.ends_at.unwrap()).to_string();
    assert!(ends.starts_with("2026-11-28T14:2"), "{ends}");
    assert!(line.expected.unwrap().abs_diff(174_000_000_000) < 10_000_000, "{:?}", line.expected);
    // at the pace of the first days it lasts
    let early = "2026-11-14T23:59:59+01:00".parse().unwrap();
    let calm = spent.clone();
    assert_eq!(config.lines(&calm, "2026-11-14".parse().unwrap(), early, None)[1].unwrap().ends_at, None);
}

#[test]
fn a_forecast_never_contradicts_what_is_left() {
    let config = config("10 MB", "");
    let date = "2026-11-22".parse().unwrap();
    let now = "2026-11-22T12:00:00+01:00".parse().unwrap();
    let day = |used, pace: Option<u64>| {
        let pace = pace.map(|bytes| BudgetPace { bytes, seconds: 43_200 });
        let line = config.lines(&spent(&[("2026-11-22", used)]), date, now, pace)[0].unwrap();
        (line.forecast, line.ends_at.is_some())
    };
    let table = [
        (0, Some(1_000_000), (Forecast::Lasts, false)),
        (6_000_000, Some(6_000_000), (Forecast::Ends, true)),
        // spent is spent, whatever the pace says
        (10_000_000, Some(1), (Forecast::Spent, false)),
        (10_000_000, Some(10_000_000), (Forecast::Spent, false)),
        (12_000_000, None, (Forecast::Spent, false)),
        (9_990_000, Some(1), (Forecast::Spent, false)),
        (9_000_000, Some(1), (Forecast::ReserveOnly, false)),
        (9_200_000, Some(20_000_000), (Forecast::ReserveOnly, false)),
    ];
    for (used, pace, wanted) in table {
        assert_eq!(day(used, pace), wanted, "{used} {pace:?}");
    }
    // a minute after the first byte nothing can be told
    let fresh = config.lines(&Spent::default(), date, now, None)[0].unwrap();
    assert_eq!((fresh.forecast, fresh.ends_at), (Forecast::Unknown, None));
}
