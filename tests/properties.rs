//! The fast way gives what the slow way gives: rollups kept up incrementally equal those worked out
//! from scratch by an oracle, whatever the order, the duplicates, the patches, the number of shards
//! and the restarts.

// Shared with other tests, each of which uses a part.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::oracle::history::{Dice, deliver, histories, with_derived};
use crate::oracle::{Name, Numbers, Oracle};
use crate::support::pure::Pure;
use dealpulse::definitions::{Credit, DefinitionsSpec, ForecastCategory, SetSpec, StageMeaning};
use dealpulse::metric::Catalogue;
use dealpulse::pipeline::Row;
use dealpulse::shard::LinkRow;
use dealpulse::window::Pane;
use futures::executor::block_on;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// The definitions the histories are folded under: plain ones, and ones that use all there is.
static DEFINITIONS: LazyLock<[Arc<Catalogue>; 2]> = LazyLock::new(|| {
    let plain = DefinitionsSpec {
        time_zone: "Europe/Berlin".into(),
        ..DefinitionsSpec::default()
    };
    let mut rich = DefinitionsSpec {
        credit: Credit::Current,
        time_zone: "America/New_York".into(),
        ..plain.clone()
    };
    for (stage, status, probability) in [
        ("onboarding", Some("won"), None),
        ("talks", Some("open"), Some(0.4)),
        ("dropped", Some("lost"), Some(0.1)),
        ("unmapped", None, Some(0.15)),
    ] {
        rich.stages.insert(
            stage.into(),
            StageMeaning {
                status: status.map(str::to_owned),
                probability,
            },
        );
    }
    rich.forecast_categories
        .insert("sure".into(), ForecastCategory::Commit);
    // As long as it can be, most of it skipped.
    let between = (2..15).map(|number| format!("step {number}"));
    rich.stage_order = [
        ["talks".to_owned()].as_slice(),
        &between.collect::<Vec<_>>(),
        &["offer".to_owned()],
    ]
    .concat();
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    rich.groups.push(SetSpec {
        by: words(&["custom.tier", "owner"]),
        every: words(&["day", "month"]),
    });
    rich.groups.push(SetSpec {
        by: words(&["product", "region", "team"]),
        every: words(&["hour", "day"]),
    });
    [plain, rich].map(|spec| Arc::new(Catalogue::new(spec).unwrap()))
});

/// The stored rollups summed over the shards, without zeros.
fn rollups(pure: &Pure) -> BTreeMap<Name, Numbers> {
    let mut sums: BTreeMap<Name, Numbers> = BTreeMap::new();
    for row in pure.store.cells().values().map(|row| &row.row) {
        let name = (
            row.rollup.clone(),
            row.grouping.clone(),
            row.pane,
            row.values.clone(),
            row.currency.clone(),
        );
        sums.entry(name).or_default().merge(
            &row.cell.counts,
            &row.cell.sums,
            row.cell.sketch.buckets(),
        );
    }
    sums.into_iter()
        .filter_map(|(name, numbers)| Some((name, numbers.trimmed()?)))
        .collect()
}

/// Shard, rollup, grouping set, pane, values, currency.
type Held = BTreeMap<(u32, u8, u8, Pane, Vec<String>, String), Numbers>;

/// What the owners hold in memory, in texts.
fn held(pure: &Pure) -> Held {
    let mut held = Held::new();
    for owner in &pure.owners {
        let symbols = owner.shard().symbols();
        for (key, cell) in owner
            .shard()
            .ledgers()
            .iter()
            .flat_map(|ledger| ledger.cells())
        {
            let values = key
                .values
                .iter()
                .map(|v| symbols.text(*v).to_owned())
                .collect();
            let mut numbers = Numbers::default();
            numbers.merge(&cell.counts, &cell.sums, cell.sketch.buckets());
            if let Some(numbers) = numbers.trimmed() {
                held.insert(
                    (
                        owner.number(),
                        key.rollup,
                        key.set,
                        key.pane,
                        values,
                        symbols.text(key.currency).to_owned(),
                    ),
                    numbers,
                );
            }
        }
    }
    held
}

fn first_difference<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> Option<String> {
    let names: std::collections::BTreeSet<&K> = found.keys().chain(expected.keys()).collect();
    let differs = names
        .into_iter()
        .find(|name| found.get(name) != expected.get(name))?;
    Some(format!(
        "{differs:?}\n  pipeline: {:?}\n  expected: {:?}",
        found.get(differs),
        expected.get(differs)
    ))
}

fn feed(pure: &mut Pure, lines: &[(u64, String)], at_a_time: usize, every: usize, restarts: bool) {
    for part in lines.chunks(every) {
        block_on(pure.feed(
            part.iter().map(|(offset, line)| (*offset, line.as_str())),
            at_a_time,
        ));
        if restarts {
            block_on(pure.restart());
        }
    }
}

fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default);
    // A failing case is printed with all that is needed to run it again; files of seeds would
    // become outdated.
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn incremental_rollups_equal_a_slow_recomputation(
        events in histories(40), rich in 0usize..2, seed in any::<u64>(), shards in 1u32..=5, at_a_time in 1usize..5, every in 1usize..12, restarts in any::<bool>()
    ) {
        let mut pure = block_on(Pure::with(shards, &DEFINITIONS[rich]));
        feed(&mut pure, &deliver(&events, &mut Dice(seed)), at_a_time, every, restarts);
        let expected = Oracle::new(&DEFINITIONS[rich], &with_derived(&events)).cells();
        prop_assert_eq!(first_difference(&rollups(&pure), &expected), None);
    }

    #[test]
    fn restored_owners_go_on_like_owners_that_never_stopped(
        events in histories(40), rich in 0usize..2, seed in any::<u64>(), shards in 1u32..=5, at_a_time in 1usize..5, every in 1usize..12
    ) {
        let lines = deliver(&events, &mut Dice(seed));
        let [mut steady, mut restarted] = [0, 1].map(|_| block_on(Pure::with(shards, &DEFINITIONS[rich])));
        feed(&mut steady, &lines, at_a_time, every, false);
        feed(&mut restarted, &lines, at_a_time, every, true);
        prop_assert_eq!(first_difference(&held(&restarted), &held(&steady)), None, "cells in memory");
        prop_assert_eq!(first_difference(&restarted.store.record_rows(), &steady.store.record_rows()), None);
        prop_assert_eq!(first_difference(&link_rows(&restarted), &link_rows(&steady)), None);
        prop_assert_eq!(first_difference(&restarted.store.cells(), &steady.store.cells()), None, "rollup rows, versions included");
    }
}

/// Link rows by shard, target and sender.
fn link_rows(pure: &Pure) -> BTreeMap<String, Row<LinkRow>> {
    pure.store
        .link_rows()
        .into_iter()
        .map(|row| {
            (
                format!("{} {:?} {:?}", row.shard, row.row.target, row.row.sender),
                row,
            )
        })
        .collect()
}

#[test]
fn the_stories_reach_every_measure_of_every_rollup() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, (u32, u32, bool)> = BTreeMap::new();
    for _ in 0..2_000 {
        let events = histories(40).new_tree(&mut runner).unwrap().current();
        let events = with_derived(&events);
        for ((name, ..), numbers) in Oracle::new(&DEFINITIONS[1], &events).cells() {
            let rollup = DEFINITIONS[1]
                .rollups()
                .iter()
                .find(|r| r.name == name)
                .expect("the oracle's rollups are the catalogue's");
            let (counts, sums, sampled) = seen.entry(&rollup.name).or_default();
            numbers
                .counts
                .iter()
                .enumerate()
                .filter(|(_, n)| **n != 0)
                .for_each(|(measure, _)| *counts |= 1 << measure);
            numbers
                .sums
                .iter()
                .enumerate()
                .filter(|(_, n)| **n != 0)
                .for_each(|(measure, _)| *sums |= 1 << measure);
            *sampled |= !numbers.sketch.is_empty();
        }
    }
    for rollup in DEFINITIONS[1].rollups() {
        // A history here is too short to be cut; src/record/tests.rs covers that.
        let measures = rollup
            .counts
            .iter()
            .filter(|measure| **measure != "history_cut")
            .count();
        let expected = (
            (1 << measures) - 1,
            (1 << rollup.sums.len()) - 1,
            [["seconds"], ["value"]]
                .iter()
                .any(|sums| rollup.sums == sums),
        );
        assert_eq!(seen.get(&*rollup.name), Some(&expected), "{}", rollup.name);
    }
}
