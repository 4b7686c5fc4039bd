//! Reconciling beside owners that fold, flush, crash and come back: what really differs is found,
//! and nothing else ever is.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use dealpulse::metric::versions;
use dealpulse::pipeline::epochs::Epoch;
use dealpulse::pipeline::known::Known;
use dealpulse::pipeline::reconcile::{Findings, Pace, reconcile};
use dealpulse::pipeline::restart::RestartError;
use dealpulse::pipeline::{CellName, Row};
use dealpulse::record::Home;
use dealpulse::shard::CellRow;
use dealpulse::window::calendar::DAY;
use dealpulse::window::{Cell, Grain, Pane, Sketch};
use futures::future::BoxFuture;

use super::check::Kept;
use super::history::History;
use super::process::{Instance, poll};
use super::routing::Router;
use super::rows::{RowKey, Value};
use super::world::{Arrival, Sim};
use super::{Broken, definitions, events_of, number, step};
use crate::oracle::history::{Dice, deliver};

/// Waits for a step of another task; from time to time for too long.
struct Impatient(Sim);

impl Pace for Impatient {
    async fn wait(&self, attempt: u32) -> bool {
        let mut paused = false;
        poll_fn(|_| {
            if std::mem::replace(&mut paused, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        attempt < 200 || self.0.percent(90)
    }
}

type Reconciling = BoxFuture<'static, Result<Findings, RestartError>>;

fn reconciling(sim: &Sim, shard: Home) -> Reconciling {
    let sim = sim.clone();
    Box::pin(async move {
        let epoch = sim.lock().epochs[&1].clone();
        let known = Known::of(std::slice::from_ref(&epoch), 1, versions)?;
        reconcile(shard, &epoch, &known.live[0], &sim, &Impatient(sim.clone())).await
    })
}

/// A row of a source that does not exist: no flush will ever write over it.
fn plant(sim: &Sim, shard: Home) -> CellName {
    let (pane, cell) = (
        Pane {
            grain: Grain::Day,
            start: 20_500 * DAY,
        },
        Cell {
            counts: vec![7, 0],
            sums: vec![0, 0],
            sketch: Sketch::default(),
        },
    );
    let (grouping, values, currency) = (
        "source".to_owned(),
        vec!["nowhere".to_owned()],
        String::new(),
    );
    let row = CellRow {
        epoch: 1,
        rollup: "win_rate.closed".into(),
        grouping,
        pane,
        values,
        currency,
        cell,
    };
    let name = CellName::of(&row);
    sim.lock().land(Arrival::Row(
        1,
        Box::new(Row {
            shard,
            version: 0,
            row: Value::Cell(row),
        }),
    ));
    name
}

#[derive(Debug, Default)]
struct Counts {
    /// Readings that ended while the owners worked.
    beside: usize,
    /// Of those, the ones that could judge every cell.
    certain: usize,
    /// The planted row, found.
    planted: usize,
}

/// One history, reconciled again and again while it goes on.
fn run(seed: u64, counts: &mut Counts) {
    let mut dice = Dice(seed);
    let shards = 2 + dice.below(2) as u32;
    let lines = deliver(&events_of(&History::new(seed)), &mut dice);
    let sim = Sim::new(
        dice.next(),
        Broken::Nothing,
        Epoch::first(definitions("Europe/Berlin", "won"), shards),
    );
    let mut router = Router::new(&sim, 1, lines);
    let mut instances: Vec<Instance> = (0..shards)
        .map(|shard| Instance::new(&sim, vec![shard]))
        .collect();
    let mut zombies: Vec<Instance> = Vec::new();
    let fury = [0, 0, 2, 5][dice.below(4)];
    let mut planted: BTreeMap<Home, CellName> = BTreeMap::new();
    if dice.percent(30) {
        planted.insert(0, plant(&sim, 0));
    }
    let mut look: Option<(Home, Reconciling)> = None;
    let mut steps = 100 + dice.below(1_500);
    while steps > 0 || look.is_some() {
        steps = steps.saturating_sub(1);
        if dice.percent(fury) {
            let at = dice.below(instances.len());
            let successor = instances[at].successor();
            zombies.push(std::mem::replace(&mut instances[at], successor));
        } else if !zombies.is_empty() && dice.percent(fury) {
            drop(zombies.swap_remove(dice.below(zombies.len())));
        } else if dice.percent(fury) {
            land_one(&sim, &mut dice);
        }
        match dice.below(10) {
            0 if !router.is_done() => router.step(),
            1..4 => {
                let (shard, reconciling) = look.get_or_insert_with(|| {
                    let shard = dice.below(shards as usize) as Home;
                    (shard, reconciling(&sim, shard))
                });
                let shard = *shard;
                if let Some(found) = poll(reconciling) {
                    assert_right(
                        &found.expect("what was stored can be read"),
                        planted.get(&shard),
                        seed,
                        counts,
                    );
                    look = None;
                }
            }
            at if at > 7 && !zombies.is_empty() => {
                let zombie = dice.below(zombies.len());
                if zombies[zombie].step().is_err() {
                    drop(zombies.swap_remove(zombie));
                }
            }
            _ => step(&mut instances[dice.below(shards as usize)]),
        }
    }
    sim.lock().calm = true;
    drop(zombies);
    while !sim.lock().late.is_empty() {
        land_one(&sim, &mut dice);
    }
    while !router.is_done() {
        router.step();
    }
    run_to_completion(&mut instances);
    assert_rested(&sim, shards, planted.get(&0), seed);
    assert_spoilt(&sim, shards, &mut dice, seed);
}

fn land_one(sim: &Sim, dice: &mut Dice) {
    let world = &mut *sim.lock();
    if !world.late.is_empty() {
        let arrival = world.late.swap_remove(dice.below(world.late.len()));
        world.land(arrival);
    }
}

fn run_to_completion(instances: &mut [Instance]) {
    for _ in 0..20_000 {
        if instances.iter().all(Instance::is_at_rest) {
            return;
        }
        instances.iter_mut().for_each(step);
    }
    panic!("no rest");
}

/// Only what was planted may be drift, and it must be seen.
fn assert_right(found: &Findings, planted: Option<&CellName>, seed: u64, counts: &mut Counts) {
    counts.beside += 1;
    counts.certain += usize::from(found.in_motion.is_empty());
    for drift in &found.drift {
        assert_eq!(
            Some(&drift.name),
            planted,
            "a false alarm in history {seed}: {drift:#?}"
        );
    }
    if let Some(planted) = planted {
        let seen = found
            .drift
            .iter()
            .chain(&found.in_motion)
            .any(|difference| difference.name == *planted);
        assert!(seen, "history {seed}: the planted row was not seen");
        counts.planted += found.drift.len();
    }
}

fn all(sim: &Sim, shards: u32) -> Findings {
    let mut all = Findings::default();
    for shard in 0..shards {
        let found = futures::executor::block_on(async {
            let mut reconciling = reconciling(sim, shard);
            poll_fn(|context| {
                context.waker().wake_by_ref();
                reconciling.as_mut().poll(context)
            })
            .await
        });
        all.merge(found.expect("what was stored can be read"));
    }
    all
}

/// At rest there is nothing to wait for: all can be judged, and nothing differs but what was
/// planted.
fn assert_rested(sim: &Sim, shards: u32, planted: Option<&CellName>, seed: u64) {
    let found = all(sim, shards);
    let drift: Vec<&CellName> = found
        .drift
        .iter()
        .map(|difference| &difference.name)
        .collect();
    assert_eq!(
        drift,
        planted.into_iter().collect::<Vec<_>>(),
        "history {seed}"
    );
    assert_eq!(found.in_motion, [], "history {seed}");
    assert_eq!(found.total().differing, found.drift.len() as u64);
}

/// Any one row changed or lost at rest is found, and named.
fn assert_spoilt(sim: &Sim, shards: u32, dice: &mut Dice, seed: u64) {
    let before = all(sim, shards).drift.len();
    let rows: Vec<RowKey> = {
        let world = sim.lock();
        let epoch = &world.epochs[&1];
        let kept: Vec<Kept> = (0..shards)
            .map(|shard| Kept::by_shard(&world, epoch, shard))
            .collect();
        let of_cells = world.tables.iter().filter(|((_, shard, _), row)| {
            matches!(&row.row, Value::Cell(row) if row.values != ["nowhere"] && !row.cell.is_zero()
                && kept[*shard as usize].has(&row.rollup, row.pane))
        });
        of_cells.map(|(key, _)| key.clone()).collect()
    };
    if rows.is_empty() {
        return;
    }
    let key = rows[dice.below(rows.len())].clone();
    let name = {
        let world = &mut *sim.lock();
        let Value::Cell(row) = &mut world.tables.get_mut(&key).expect("it was there").row else {
            unreachable!("chosen among cells")
        };
        let name = CellName::of(row);
        row.cell.count(0, 1);
        if dice.percent(30) {
            world.tables.remove(&key);
        }
        name
    };
    let found = all(sim, shards);
    assert_eq!(found.drift.len(), before + 1, "history {seed}");
    assert!(
        found
            .drift
            .iter()
            .any(|difference| difference.shard == key.1 && difference.name == name),
        "history {seed}: {name:?} was not found"
    );
}

#[test]
fn reconciling_beside_a_running_pipeline_raises_no_false_alarm_and_finds_what_differs() {
    let seeds = match number("DEALPULSE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DEALPULSE_SEEDS").unwrap_or(2_000),
    };
    let mut counts = Counts::default();
    seeds.clone().for_each(|seed| run(seed, &mut counts));
    println!("{} histories: {counts:?}", seeds.clone().count());
    if seeds.count() >= 1_000 {
        assert!(
            counts.beside > 5_000 && counts.certain > 4_000 && counts.planted > 500,
            "too little to judge by: {counts:?}"
        );
    }
}
