//! What the evidence is a function of, and what it does at the edges.

use std::ops::Range;

use chrono_tz::Tz;
use proptest::prelude::*;

use super::status::Series;
use super::{Daily, Phases, Random, Tally, Watch};
use crate::window::{Calendar, Day};

/// 2024-01-01, a Monday.
const FIRST: Day = 19_723;
const DAYS: usize = 700;

fn phases() -> Phases {
    Phases::new(&Calendar::new(Tz::UTC, 1), FIRST..FIRST + DAYS as Day)
}

fn tally(n: usize, x: usize) -> Tally {
    Tally {
        n: n as f64,
        x: x as f64,
        xx: 0.0,
    }
}

/// Twelve deals a working day, of which so many are won on average; other shares on some days.
fn deals(share: f64, changed: Range<usize>, other: f64, seed: u64) -> Daily {
    let mut random = Random::new(seed);
    let day = |position: usize| {
        if position % 7 >= 5 {
            return Tally::default();
        }
        let share = if changed.contains(&position) {
            other
        } else {
            share
        };
        tally(12, (0..12).filter(|_| random.unit() < share).count())
    };
    Daily {
        first: FIRST,
        days: (0..DAYS).map(day).collect(),
    }
}

fn evidence(watch: Watch, daily: &Daily) -> f64 {
    let phases = phases();
    let series = Series::new(watch, daily, &phases).unwrap();
    series.status(series.threshold(None)).unwrap().evidence
}

#[test]
fn nothing_counted_says_nothing() {
    let phases = phases();
    assert_eq!(Daily::of([], FIRST), Daily::default());
    for watch in Watch::ALL {
        assert!(Series::new(watch, &Daily::default(), &phases).is_none());
    }
}

#[test]
fn a_short_history_is_not_judged() {
    let phases = phases();
    for length in [1, 28, 80] {
        let mut daily = deals(0.3, 0..0, 0.0, 1);
        daily.days.truncate(length);
        for watch in Watch::ALL {
            let series = Series::new(watch, &daily, &phases).unwrap();
            let status = series.status(series.threshold(None)).unwrap();
            assert_eq!((status.evidence, status.threshold.nats), (0.0, None));
            assert_eq!(status.since, None);
        }
    }
}

#[test]
fn what_never_changes_is_no_evidence() {
    let constant = |won: usize| Daily {
        first: FIRST,
        days: (0..DAYS)
            .map(|day| {
                if day % 7 < 5 {
                    tally(12, won)
                } else {
                    Tally::default()
                }
            })
            .collect(),
    };
    // None, some and all of them.
    for won in [0, 3, 12] {
        let found = evidence(Watch::WinRate, &constant(won));
        // A share of 0 is taken for one of a ten-thousandth, which every loss speaks against a
        // little.
        assert!(found < 0.5, "{won} of 12: {found}");
    }
    assert_eq!(evidence(Watch::LeadVolume, &constant(12).of_volume()), 0.0);
}

#[test]
fn a_fall_from_all_to_none_is_finite_evidence() {
    let found = evidence(Watch::WinRate, &deals(1.0, DAYS - 10..DAYS, 0.0, 2));
    assert!(found.is_finite() && found > 10.0, "{found}");
}

#[test]
fn a_rate_that_rises_is_no_evidence_of_a_fall() {
    let found = evidence(Watch::WinRate, &deals(0.3, DAYS - 28..DAYS, 0.6, 3));
    assert!(found < 1.0, "{found}");
}

#[test]
fn weekends_without_leads_are_no_loss_and_a_source_that_dries_up_is() {
    let phases = phases();
    let leads = |dry: usize| {
        let mut random = Random::new(4);
        let day = |position: usize| {
            let is_lead = position % 7 < 5 && position < DAYS - dry;
            tally(0, if is_lead { 6 + random.below(9) } else { 0 })
        };
        let days = (0..DAYS).map(day).collect();
        Daily { first: FIRST, days }.of_volume()
    };
    // The last two of the seven hundred days are a weekend.
    let fine = leads(0);
    let series = Series::new(Watch::LeadVolume, &fine, &phases).unwrap();
    let status = series.status(series.threshold(None)).unwrap();
    assert!(
        status.evidence < 1.0 && status.threshold.nats.is_some(),
        "{status:?}"
    );
    let dry = leads(7);
    let series = Series::new(Watch::LeadVolume, &dry, &phases).unwrap();
    let status = series.status(series.threshold(None)).unwrap();
    assert!(status.is_alert(), "{status:?}");
    assert_eq!(status.observed, Some(0.0));
    assert_eq!(status.sample, 0.0, "no lead since then");
    assert!(status.expected.unwrap() > 5.0);
}

#[test]
fn a_cycle_that_takes_half_as_long_again_is_noticed_and_a_shorter_one_is_not() {
    let cycles = |factor: f64| {
        let mut random = Random::new(5);
        let day = |position: usize| {
            let mut tally = Tally::default();
            let won = if position % 7 < 5 { 6 } else { 0 };
            for _ in 0..won {
                let factor = if position >= DAYS - 28 { factor } else { 1.0 };
                let logarithm = (40.0 * factor * (0.7 * random.normal()).exp()).ln_1p();
                tally += Tally {
                    n: 1.0,
                    x: logarithm,
                    xx: logarithm * logarithm,
                };
            }
            tally
        };
        Daily {
            first: FIRST,
            days: (0..DAYS).map(day).collect(),
        }
    };
    let phases = phases();
    let longer = cycles(1.5);
    let series = Series::new(Watch::CycleLength, &longer, &phases).unwrap();
    let status = series.status(series.threshold(None)).unwrap();
    assert!(status.is_alert(), "{status:?}");
    let (observed, expected) = (status.observed.unwrap(), status.expected.unwrap());
    assert!(
        (1.3..1.8).contains(&(observed / expected)),
        "{observed} s of {expected} s"
    );
    assert!(
        (30.0..50.0).contains(&(expected / 86_400.0)),
        "{expected} s"
    );
    assert!(evidence(Watch::CycleLength, &cycles(0.6)) < 1.0);
}

#[test]
fn one_bulk_close_is_reported_and_not_alerted() {
    let phases = phases();
    let mut daily = deals(0.3, 0..0, 0.0, 6);
    // Somebody closes a year's dead leads in one go: more in a day than on any day it is compared
    // with.
    daily.days[DAYS - 4] = tally(150, 3);
    let series = Series::new(Watch::WinRate, &daily, &phases).unwrap();
    let status = series.status(series.threshold(None)).unwrap();
    assert!(status.is_above(), "{status:?}");
    assert!(status.is_bulk && !status.is_alert(), "{status:?}");
    // The same fall over the days of two weeks is an alert.
    let series = deals(0.3, DAYS - 16..DAYS, 0.05, 6);
    let series = Series::new(Watch::WinRate, &series, &phases).unwrap();
    let status = series.status(series.threshold(None)).unwrap();
    assert!(status.is_alert() && !status.is_bulk, "{status:?}");
}

#[test]
fn too_few_are_not_judged_and_the_smallest_fall_is_said() {
    let phases = phases();
    let mut few = deals(0.3, 0..0, 0.0, 7);
    // One deal on two days of the week.
    for (position, day) in few.days.iter_mut().enumerate() {
        *day = match position % 7 {
            1 | 3 => tally(1, usize::from(position % 10 == 3)),
            _ => Tally::default(),
        };
    }
    let series = Series::new(Watch::WinRate, &few, &phases).unwrap();
    let threshold = series.threshold(None);
    assert_eq!(threshold.nats, None);
    assert!(
        threshold.smallest_drop.is_none_or(|part| part > 0.4),
        "{threshold:?}"
    );
    let many = deals(0.5, 0..0, 0.0, 7);
    let series = Series::new(Watch::WinRate, &many, &phases).unwrap();
    let threshold = series.threshold(None);
    assert!(threshold.nats.is_some());
    assert!(
        (0.1..0.4).contains(&threshold.smallest_drop.unwrap()),
        "{threshold:?}"
    );
}

#[test]
fn the_last_four_quarters_are_what_a_day_is_compared_with() {
    let phases = phases();
    let daily = deals(0.3, 0..0, 0.0, 8);
    let series = Series::new(Watch::WinRate, &daily, &phases).unwrap();
    let status = series.status(series.threshold(None)).unwrap();
    assert_eq!(status.baseline_quarters, 4);
    assert!(
        (800.0..1_100.0).contains(&status.baseline_sample),
        "{status:?}"
    );
    let short = Daily {
        first: daily.first + 600,
        days: daily.days[600..].to_vec(),
    };
    let series = Series::new(Watch::WinRate, &short, &phases).unwrap();
    let threshold = series.threshold(None);
    let status = series.status(threshold).unwrap();
    assert_eq!(
        (status.baseline_quarters, threshold.nats),
        (0, None),
        "flat, and not calibrated"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_order_of_what_was_counted_is_irrelevant(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let daily = deals(0.3, 0..0, 0.0, seed);
        // Every day in two parts, in any order.
        let mut parts: Vec<(Day, Tally)> = Vec::new();
        for (position, day) in daily.days.iter().enumerate() {
            let mut rest = *day;
            let part = tally(random.below(day.n as usize + 1), 0);
            rest -= part;
            parts.push((daily.day(position), part));
            parts.push((daily.day(position), rest));
        }
        for last in (1..parts.len()).rev() {
            parts.swap(last, random.below(last + 1));
        }
        let last = daily.end() - 1;
        let again = Daily::of(parts, last);
        prop_assert_eq!(again.first, daily.first);
        prop_assert_eq!(&again.days, &daily.days);
    }

    #[test]
    fn evidence_is_a_number_of_the_daily_counts_alone(
        days in prop::collection::vec((0usize..40, 0.0f64..=1.0), 1..400),
        watch in prop::sample::select(Watch::ALL.to_vec()),
    ) {
        let days: Vec<Tally> = days.iter().map(|(n, share)| {
            let x = (*n as f64 * share).floor();
            Tally { n: *n as f64, x, xx: x }
        }).collect();
        let daily = Daily { first: FIRST, days };
        let phases = phases();
        let status = |daily: &Daily| {
            let series = Series::new(watch, daily, &phases)?;
            series.status(series.threshold(None))
        };
        if let Some(found) = status(&daily) {
            prop_assert!(found.evidence.is_finite() && found.evidence >= 0.0);
            prop_assert!(found.dispersion >= 1.0 && found.dispersion.is_finite());
            prop_assert!(found.observed.is_none_or(f64::is_finite) && found.expected.is_none_or(f64::is_finite));
            prop_assert_eq!(Some(found.clone()), status(&daily));
            // A day on which nobody was asked says nothing about a share.
            if !matches!(watch, Watch::LeadVolume) {
                let mut longer = daily.clone();
                longer.days.push(Tally::default());
                let after = status(&longer).unwrap();
                prop_assert!((after.evidence - found.evidence).abs() < 0.5 * found.evidence.max(1.0));
            }
        }
    }
}
