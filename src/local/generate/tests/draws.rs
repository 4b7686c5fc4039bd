//! What the generator draws from: working hours, chances and names.

use super::super::calendar::{DAY, HOUR, at_work, signing, utc};
use super::super::company::company_name;
use super::super::random::Random;
use chrono::{Datelike, TimeDelta};
use std::collections::HashSet;

#[test]
fn works_on_working_days_and_signs_towards_a_quarters_end() {
    let mut random = Random::new(7);
    let mut in_last_weeks = 0;
    for _ in 0..10_000 {
        let ready = random.between(-400 * DAY, 20_000 * DAY);
        let offset = random.between(-11, 12);
        for at in [
            at_work(ready, offset, &mut random),
            signing(ready, offset, &mut random),
        ] {
            assert!(at >= ready);
            let local = utc(at + offset * HOUR);
            assert!(local.weekday().num_days_from_monday() < 5, "{local}");
            assert!(
                (8 * HOUR..18 * HOUR).contains(
                    &at.rem_euclid(DAY)
                        .wrapping_add(offset * HOUR)
                        .rem_euclid(DAY)
                )
            );
        }
        let signed = utc(signing(ready, 0, &mut random));
        let next_weeks = signed + TimeDelta::days(16);
        in_last_weeks += usize::from(next_weeks.month0() / 3 != signed.month0() / 3);
    }
    // Evenly partition_by_home it would be a sixth.
    assert!(in_last_weeks > 2_400, "{in_last_weeks}");
}

#[test]
fn draws_as_often_as_the_weights_say() {
    let mut random = Random::new(5);
    let arrivals: u64 = (0..10_000).map(|_| random.arrivals(3 << 15)).sum();
    assert!((14_500..15_500).contains(&arrivals), "{arrivals}");
    let shorter = (0..10_000)
        .filter(|_| random.long_tailed(1000) < 1000)
        .count();
    assert!((4_800..5_200).contains(&shorter), "{shorter}");
    let mut drawn = [0; 3];
    for _ in 0..10_000 {
        drawn[random.weighted([1, 0, 3].into_iter())] += 1;
    }
    assert!(
        (2_300..2_700).contains(&drawn[0]) && drawn[1] == 0,
        "{drawn:?}"
    );
    assert_eq!(random.below(0), 0);
}

#[test]
fn no_two_companies_share_a_name() {
    let names: HashSet<String> = (0..60_000).map(|number| company_name(number, 0)).collect();
    assert_eq!(names.len(), 60_000);
}
