//! Promises of choosing a source.

use super::*;

fn sources(costs: [u32; 2]) -> Vec<Source> {
    let source = |(url, cost): (&str, u32)| Source { cost, ..Source::from(url.to_owned()) };
    ["http://a/x", "http://b/x"].into_iter().zip(costs).map(source).collect()
}

fn two() -> Health {
    Health::new(sources([10, 10]))
}

fn pick(health: &Health, now: Instant) -> Pick {
    health.pick(now, |_| None)
}

/// Refusals until it is given up.
fn refuse(health: &mut Health, index: usize, blame: Blame, now: Instant) -> u32 {
    let mut at = now;
    for count in 1..20 {
        health.failed(index, blame, at, 1.0);
        if health.0[index].unfit {
            return count;
        }
        at += LONGEST_REFUSED_PAUSE;
    }
    panic!("it is never given up");
}

#[test]
fn a_source_in_trouble_rests_and_the_next_is_asked() {
    let (mut health, now) = (two(), Instant::now());
    assert_eq!(pick(&health, now), Pick::Now(0));
    health.failed(0, Blame::Trouble, now, 1.0);
    assert_eq!(pick(&health, now), Pick::Now(1));
    assert_eq!(pick(&health, now + FIRST_PAUSE), Pick::Now(0));
}

#[test]
fn a_dearer_source_is_asked_only_while_the_cheaper_does_badly() {
    let now = Instant::now();
    let mut health = Health::new(sources([50, 5]));
    assert_eq!(health.source(0).unwrap().url, "http://b/x", "the cheaper first");
    health.failed(0, Blame::Trouble, now, 1.0);
    assert_eq!(pick(&health, now), Pick::At(now + FIRST_PAUSE), "a short pause is waited for");
    let mut at = now;
    for _ in 1..MAX_TROUBLE {
        at += LONGEST_PAUSE;
        health.failed(0, Blame::Trouble, at, 1.0);
    }
    assert_eq!(pick(&health, at), Pick::Now(1));
    assert_eq!(pick(&health, at + LONGEST_PAUSE), Pick::Now(0), "it is tried again by itself");
    health.delivered(0, now);
    health.failed(0, Blame::Busy(Duration::from_mins(1)), at, 0.0);
    assert_eq!(pick(&health, at), Pick::Now(1), "a long pause is not waited for");
    health.delivered(0, now);
    let down =
        |url: &str| url.starts_with("http://b").then_some(Closed { until: at + LONGEST_PAUSE, known: true });
    assert_eq!(health.pick(at, down), Pick::Now(1));
    assert_eq!(health.down_until(down), None);
    refuse(&mut health, 1, Blame::Unfit, at);
    assert_eq!(health.pick(at, down), Pick::At(at + LONGEST_PAUSE));
    assert_eq!(health.down_until(down), Some(at + LONGEST_PAUSE));
}

#[test]
fn pauses_grow_and_asked_ones_are_kept() {
    let (mut health, now) = (two(), Instant::now());
    refuse(&mut health, 1, Blame::Unfit, now);
    health.failed(0, Blame::Trouble, now, 1.0);
    let later = now + FIRST_PAUSE;
    health.failed(0, Blame::Trouble, later, 1.0);
    assert_eq!(pick(&health, later), Pick::At(later + FIRST_PAUSE * 2));
    let later = later + FIRST_PAUSE * 2;
    health.failed(0, Blame::Busy(Duration::from_secs(9_999)), later, 0.0);
    assert_eq!(pick(&health, later), Pick::At(later + LONGEST_RETRY_AFTER + FIRST_PAUSE * 2));
}

#[test]
fn whoever_sent_wrong_bytes_goes_behind_the_others() {
    let (mut health, now) = (two(), Instant::now());
    health.delivered(0, now);
    assert_eq!(health.lied(), ["http://a/x"]);
    assert_eq!(pick(&health, now), Pick::Now(1));
    health.contributed(&["http://b/x".to_owned()]);
    assert_eq!(health.lied(), ["http://b/x"]);
    assert!(health.lied().is_empty());
}

#[test]
fn a_last_resort_is_used_while_the_others_cannot_be() {
    let now = Instant::now();
    let mut sources = sources([10, 10]);
    sources[1].last_resort = true;
    let mut health = Health::new(sources.clone());
    // a source that asks to be left alone is waited for
    health.failed(0, Blame::Busy(Duration::from_secs(30)), now, 0.0);
    assert!(matches!(pick(&health, now), Pick::At(_)));
    let mut at = now + Duration::from_mins(1);
    for _ in 0..MAX_TROUBLE {
        assert_eq!(pick(&health, at), Pick::Now(0));
        health.failed(0, Blame::Trouble, at, 1.0);
        at += Duration::from_mins(1);
    }
    assert_eq!(pick(&health, at - Duration::from_mins(1)), Pick::Now(1), "while the first rests");
    health.delivered(0, now);
    health.failed(0, Blame::Trouble, at, 1.0);
    assert!(matches!(pick(&health, at), Pick::At(_)));
    let mut health = Health::new(sources);
    refuse(&mut health, 0, Blame::Unfit, now);
    assert_eq!(pick(&health, now), Pick::Now(1));
}

#[test]
fn a_wait_is_known_when_every_source_that_comes_into_question_has_one() {
    let now = Instant::now();
    let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
    let mut health = two();
    let resting = |health: &Health| health.resting_until(now, |_| None);
    assert_eq!(resting(&health), None);
    health.failed(0, Blame::Busy(hour), now, 0.0);
    assert_eq!(resting(&health), None, "the other may be asked");
    health.failed(1, Blame::Busy(minute), now, 0.0);
    let soonest = resting(&health).unwrap();
    assert!(soonest >= now + minute && soonest < now + minute + LONGEST_PAUSE, "{:?}", soonest - now);
    assert_eq!(health.resting_until(now + hour, |_| None), None, "it is over");
    // who does not have the file at all does not count
    refuse(&mut health, 1, Blame::Gone, now);
    assert!(resting(&health).unwrap() > now + minute + LONGEST_PAUSE);
    // a server of which it is not known whether it is back leaves all open
    let probed = |known| move |_: &str| Some(Closed { until: now + minute, known });
    let mut health = two();
    assert_eq!(health.resting_until(now, probed(false)), None);
    assert_eq!(health.resting_until(now, probed(true)), Some(now + minute));
    health.failed(0, Blame::Unranged, now, 1.0);
    assert_eq!(resting(&health), None);
    // a dearer source stands in for one that asks for long, and a last resort does not
    let mut health = Health::new(sources([1, 50]));
    health.failed(0, Blame::Busy(hour), now, 0.0);
    assert_eq!(resting(&health), None);
    let mut resort = sources([1, 1]);
    resort[1].last_resort = true;
    let mut health = Health::new(resort);
    health.failed(0, Blame::Busy(hour), now, 0.0);
    assert!(resting(&health).is_some());
}

#[test]
fn a_source_without_ranges_is_left_alone_for_longer_each_time() {
    let (mut health, mut at) = (Health::new(sources([1, 1]).drain(..1).collect()), Instant::now());
    for round in 0..4 {
        assert_eq!((pick(&health, at), health.unranged(0)), (Pick::Now(0), round));
        health.failed(0, Blame::Unranged, at, 1.0);
        assert_eq!(pick(&health, at), Pick::At(at + FIRST_UNRANGED_PAUSE * 2_u32.pow(round)));
        at += FIRST_UNRANGED_PAUSE * 2_u32.pow(round);
    }
    health.ranged(0);
    assert_eq!(health.unranged(0), 0);
    assert!(!health.has_other(0) && two().has_other(0));
}

#[test]
fn addresses_that_are_told_anew_are_asked_and_the_old_ones_stay() {
    let (mut health, now) = (two(), Instant::now());
    refuse(&mut health, 0, Blame::Unfit, now);
    refuse(&mut health, 1, Blame::Gone, now);
    assert_eq!((pick(&health, now), health.is_gone()), (Pick::Nobody, false));
    health.renew(sources([10, 10]));
    assert_eq!(pick(&health, now), Pick::Nobody, "the same addresses are no news");
    health.renew(vec![Source::from("http://a/x?signed=anew".to_owned())]);
    assert_eq!(pick(&health, now), Pick::Now(2));
}

#[test]
fn one_odd_answer_gives_no_source_up() {
    let now = Instant::now();
    for blame in [Blame::Gone, Blame::Unfit] {
        let mut health = Health::new(sources([1, 1]).drain(..1).collect());
        health.failed(0, blame, now, 1.0);
        // three more that were on their way tell nothing new
        (0..3).for_each(|_| health.failed(0, blame, now, 1.0));
        assert_eq!(pick(&health, now), Pick::At(now + FIRST_REFUSED_PAUSE));
        health.delivered(0, now);
        assert_eq!(pick(&health, now), Pick::At(now + FIRST_REFUSED_PAUSE), "what ran before delivers");
        let later = now + FIRST_REFUSED_PAUSE;
        assert_eq!(pick(&health, later), Pick::Now(0));
        health.delivered(0, later);
        assert_eq!(health.0[0].refusals, 0);
    }
}

#[test]
fn a_source_that_goes_on_refusing_is_given_up_soon() {
    let now = Instant::now();
    let one = |url: &str| Health::new(vec![Source::from(url.to_owned())]);
    let (mut new, mut proven, mut signed) = (one("http://a/x"), one("http://a/x"), one("http://a/x?s=1"));
    proven.delivered(0, now);
    assert_eq!(refuse(&mut new, 0, Blame::Gone, now), MAX_REFUSALS);
    assert_eq!(refuse(&mut proven, 0, Blame::Gone, now), MAX_REFUSALS_PROVEN);
    assert_eq!(refuse(&mut signed, 0, Blame::Gone, now), MAX_REFUSALS_SIGNED);
    assert!(new.is_gone() && proven.is_gone() && !signed.is_gone());
    // the upstream stands by its address
    signed.renew(vec![Source::from("http://a/x?s=1".to_owned())]);
    assert_eq!(pick(&signed, now + Duration::from_mins(1)), Pick::Now(0));
    signed.failed(0, Blame::Gone, now + Duration::from_mins(1), 1.0);
    assert_eq!(pick(&signed, now + Duration::from_mins(1)), Pick::Nobody);
    // another run of it delivers all the same
    proven.delivered(0, now + Duration::from_mins(1));
    assert_eq!(pick(&proven, now + Duration::from_mins(1)), Pick::Now(0));
}

#[test]
fn among_equals_the_one_that_does_not_refuse_is_asked() {
    let (mut health, now) = (two(), Instant::now());
    health.failed(0, Blame::Gone, now, 1.0);
    assert_eq!(pick(&health, now + Duration::from_mins(1)), Pick::Now(1));
    // a dearer one waits until the cheaper is given up
    let mut health = Health::new(sources([1, 50]));
    health.failed(0, Blame::Gone, now, 1.0);
    assert_eq!(pick(&health, now), Pick::At(now + FIRST_REFUSED_PAUSE));
    assert_eq!(refuse(&mut health, 0, Blame::Gone, now + Duration::from_secs(9)), MAX_REFUSALS - 1);
    assert_eq!(pick(&health, now), Pick::Now(1));
}

#[test]
fn when_nobody_has_it_nobody_is_asked() {
    let (mut health, now) = (two(), Instant::now());
    refuse(&mut health, 0, Blame::Unfit, now);
    refuse(&mut health, 1, Blame::Unfit, now);
    assert_eq!(pick(&health, now), Pick::Nobody);
    assert_eq!(pick(&Health::new(Vec::new()), now), Pick::Nobody);
}
