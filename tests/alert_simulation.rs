//! The detector in simulation: how often it alerts when nothing happens, and how soon when
//! something does; beside the windowed z-tests. Short here; `make soak` runs it over many more
//! histories and prints the tables of docs/alerts.md.

use crate::support::alert_world::{
    BEFORE, FLAT, SEASON, Steps, WATCHED, World, Z_TESTS, above, catches, detected, episodes,
    phases, start, tuned, years,
};
use chrono_tz::Tz;
use dealpulse::alert::calibrate::{self, Null};
use dealpulse::alert::fit::fit;
use dealpulse::alert::status::Series;
use dealpulse::alert::threshold::{information, looked_for, simulated};
use dealpulse::alert::{Daily, FALSE_A_YEAR, Likelihood, Phases, Random, Watch};
use dealpulse::window::{Calendar, Day};

/// Simulated histories a case: enough to fail on, or enough for a table.
const HISTORIES: usize = if cfg!(feature = "soak") { 1_000 } else { 60 };
const VOLUMES: [f64; 4] = [30.0, 60.0, 200.0, 1_000.0];
const RHOS: [f64; 2] = [0.0, 0.03];

fn share() -> Likelihood {
    Watch::WinRate.likelihood()
}

fn deals(weekly: f64, rho: f64) -> World {
    World {
        likelihood: share(),
        weekly,
        base: 0.25,
        rho,
        season: SEASON,
    }
}

fn nothing() -> (std::ops::Range<usize>, f64) {
    (0..0, 0.0)
}

/// Histories of a world in which nothing happens.
fn quiet(world: &World, phases: &Phases, histories: usize, seed: u64) -> Vec<Daily> {
    let mut random = Random::new(seed);
    (0..histories)
        .map(|_| world.days(phases, nothing(), &mut random))
        .collect()
}

/// What a week tells of them on average.
fn nats_a_week(likelihood: Likelihood, histories: &[Daily], phases: &Phases) -> (f64, Vec<Steps>) {
    let (mut nats, mut all) = (0.0, Vec::new());
    for daily in histories {
        let (rho, steps) = detected(likelihood, daily, phases);
        nats += 7.0 * information(likelihood, daily, &steps, rho, looked_for(likelihood)).mean;
        all.push(steps);
    }
    (nats / histories.len() as f64, all)
}

/// How many of so many falls are caught within 14, 28 and 56 days, by each of the ways to watch,
/// the detector last.
fn caught(world: &World, phases: &Phases, part: f64, threshold: f64) -> Vec<[f64; 3]> {
    let mut random = Random::new(2);
    let mut caught = vec![[0.0; 3]; Z_TESTS.len() + 1];
    for _ in 0..HISTORIES {
        let at = start(&mut random);
        let daily = world.days(phases, (BEFORE + at..BEFORE + WATCHED, part), &mut random);
        let (_, steps) = detected(world.likelihood, &daily, phases);
        let mut ways: Vec<Vec<bool>> = Z_TESTS.iter().map(|test| test.above(&daily)).collect();
        ways.push(above(&steps, threshold));
        for (way, caught) in ways.iter().zip(&mut caught) {
            for (within, caught) in [14, 28, 56].into_iter().zip(caught) {
                *caught += f64::from(u8::from(catches(way, at, within))) / HISTORIES as f64;
            }
        }
    }
    caught
}

#[test]
fn a_fall_is_caught_in_time_and_what_is_none_is_not_alerted() {
    let phases = phases();
    let ways = Z_TESTS.map(|test| test.name).join("; ");
    println!(
        "false episodes a year, and falls caught within 14, 28 and 56 days, by: {ways}; the detector"
    );
    println!("| deals a week, rho | false a year | −20 % | −40 % |");
    for rho in RHOS {
        for weekly in VOLUMES {
            let world = deals(weekly, rho);
            let histories = quiet(&world, &phases, HISTORIES, 1);
            let (nats, steps) = nats_a_week(share(), &histories, &phases);
            let threshold = simulated(share(), nats);
            let a_year = |count: usize| count as f64 / years(HISTORIES);
            let of_detector = a_year(steps.iter().map(|s| episodes(&above(s, threshold))).sum());
            let of_tests = Z_TESTS
                .map(|test| a_year(histories.iter().map(|d| episodes(&test.above(d))).sum()));
            let (fifth, two_fifths) = (
                caught(&world, &phases, 0.2, threshold),
                caught(&world, &phases, 0.4, threshold),
            );
            println!(
                "| {weekly}, {rho} | {of_tests:.2?}; {of_detector:.2} | {fifth:.2?} | {two_fifths:.2?} |"
            );

            // Twice the promise is what chance allows over so few years.
            assert!(
                of_detector < 2.0 * FALSE_A_YEAR,
                "{weekly} a week, rho {rho}: {of_detector} false a year"
            );
            let in_28_days = two_fifths[Z_TESTS.len()][1];
            let least = match (weekly, rho > 0.0) {
                (30.0, _) => 0.2,
                (60.0, false) => 0.6,
                (60.0, true) => 0.4,
                _ => 0.85,
            };
            assert!(
                in_28_days >= least,
                "{weekly} a week, rho {rho}: {in_28_days} caught"
            );
            assert!(
                of_tests[0] > 1.5,
                "the naive test alerts all the time: {}",
                of_tests[0]
            );
        }
    }
}

#[test]
fn the_thresholds_of_the_table_keep_the_promise_whatever_is_watched() {
    let (phases, durations, leads) = (
        phases(),
        Watch::CycleLength.likelihood(),
        Watch::LeadVolume.likelihood(),
    );
    let world = |likelihood, weekly, base, rho| World {
        likelihood,
        weekly,
        base,
        rho,
        season: SEASON,
    };
    let mut worlds = vec![
        world(share(), 15.0, 0.6, 0.0),
        world(share(), 200.0, 0.6, 0.03),
        world(share(), 60.0, 0.25, 0.0),
        world(durations, 15.0, 30.0, 0.0),
        world(durations, 60.0, 30.0, 0.03),
        world(durations, 200.0, 30.0, 0.0),
        world(leads, 15.0, 0.0, 0.3),
        world(leads, 60.0, 0.0, 0.0),
        world(leads, 200.0, 0.0, 0.3),
        World {
            season: FLAT,
            ..world(share(), 60.0, 0.25, 0.03)
        },
    ];
    if cfg!(feature = "soak") {
        for weekly in [15.0, 30.0, 60.0, 200.0, 1_000.0, 3_000.0] {
            worlds.extend([0.0, 0.03].map(|rho| world(share(), weekly, 0.25, rho)));
        }
    }
    println!("| nats a week | tuned | table | false a year | what |");
    for world in worlds {
        let histories = quiet(&world, &phases, HISTORIES, 3);
        let (nats, steps) = nats_a_week(world.likelihood, &histories, &phases);
        let threshold = simulated(world.likelihood, nats);
        let count: usize = steps.iter().map(|s| episodes(&above(s, threshold))).sum();
        let a_year = count as f64 / years(HISTORIES);
        let tuned = tuned(&steps, FALSE_A_YEAR);
        println!("| {nats:.2} | {tuned:.2} | {threshold:.2} | {a_year:.2} | {world:?} |");
        assert!(
            a_year < 2.0 * FALSE_A_YEAR,
            "{world:?}: {a_year} false a year"
        );
    }
}

#[test]
fn calibration_keeps_the_promise_also_where_the_history_has_a_fall_in_it() {
    let phases = phases();
    let calendar = Calendar::new(Tz::UTC, 1);
    let world = deals(200.0, 0.03);
    let fresh: Vec<Steps> = quiet(&world, &phases, HISTORIES, 5)
        .iter()
        .map(|daily| detected(share(), daily, &phases).1)
        .collect();
    let calibrations = if cfg!(feature = "soak") { 40 } else { 4 };
    let mut random = Random::new(6);
    let (mut a_year, mut smallest) = (0.0, Vec::new());
    for seed in 0..calibrations {
        // Every second one has lost two fifths of its wins in its last six weeks.
        let part = if seed % 2 == 0 { 0.4 } else { 0.0 };
        let fallen = BEFORE + WATCHED - 42..BEFORE + WATCHED;
        let daily = world.days(&phases, (fallen, part), &mut random);
        let fit = fit(share(), &daily, &phases).unwrap();
        let days = calibrate::phases(&calendar, daily.end(), daily.days.len());
        let histories = if cfg!(feature = "soak") { 400 } else { 120 };
        let null = Null::draw(share(), &daily, &phases, &fit, &days, histories, seed);
        let found = null.calibrate();
        assert!(found.false_a_year <= FALSE_A_YEAR, "{found:?}");
        smallest.push(found.smallest_drop.unwrap());
        let count: usize = fresh
            .iter()
            .map(|s| episodes(&above(s, found.threshold)))
            .sum();
        a_year += count as f64 / years(HISTORIES) / calibrations as f64;
    }
    println!("false a year with calibrated thresholds: {a_year:.2}; smallest falls {smallest:.2?}");
    assert!(a_year < 2.0 * FALSE_A_YEAR, "{a_year} false a year");
    assert!(
        smallest.iter().all(|part| (0.2..0.45).contains(part)),
        "{smallest:?}"
    );
}

#[test]
fn what_lasts_is_an_alert_until_it_ends() {
    let phases = phases();
    let mut random = Random::new(8);
    let fallen = BEFORE + 300..BEFORE + 360;
    let daily = deals(200.0, 0.0).days(&phases, (fallen.clone(), 0.4), &mut random);
    let series = Series::new(Watch::WinRate, &daily, &phases).unwrap();
    let threshold = series.threshold(None);
    assert!(threshold.nats.is_some() && !threshold.is_calibrated);
    let episodes = series.episodes(threshold);
    let day = |position: usize| daily.first + position as Day;
    let of_fall = episodes
        .iter()
        .find(|episode| (day(fallen.start)..day(fallen.end)).contains(&episode.at_start.newest))
        .unwrap_or_else(|| panic!("it fired {episodes:?}"));
    let (fired, end) = (of_fall.at_start.newest, of_fall.end);
    assert!(
        fired - day(fallen.start) < 21,
        "after {} days",
        fired - day(fallen.start)
    );
    let after = end - day(fallen.end);
    assert!(
        (-7..21).contains(&after),
        "it ended {after} days after the fall"
    );
    let (observed, expected) = (
        of_fall.at_peak.observed.unwrap(),
        of_fall.at_peak.expected.unwrap(),
    );
    assert!(
        (0.5..0.8).contains(&(observed / expected)),
        "{observed} of {expected}"
    );
    assert!(!of_fall.at_start.is_bulk && of_fall.at_start.is_alert());
    let since = of_fall.at_start.since.unwrap();
    assert!((day(fallen.start) - 28..=fired).contains(&since));
}
