//! An upgrade of a database with history, in memory: shards that a program of another catalogue has
//! folded are taken over by this one, while an older instance is still running. Nothing is ever
//! counted by two formulas.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::pure::{Pure, context};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::event::decode::cloudevents;
use dealpulse::local::generate::{Generator, GeneratorConfig};
use dealpulse::metric::{Catalogue, Versions, versions};
use dealpulse::pipeline::catalogue::{VersionsOf, is_shown};
use dealpulse::pipeline::epochs::Stage;
use dealpulse::pipeline::flush::{FlushBatch, Once, RetryPolicy};
use dealpulse::pipeline::following::{FoldingError, fold};
use dealpulse::pipeline::memory::{CellKey, MemoryLog, MemoryStore};
use dealpulse::pipeline::owner::{Flush, Owner};
use dealpulse::pipeline::rebuild::{Around, Form, Waiting, rebuild, start_messages};
use dealpulse::pipeline::restart::restore;
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::pipeline::run_to_completion::run_to_completion;
use dealpulse::pipeline::{Epoch, Log, OutsideError, Row, Store};
use dealpulse::record::Home;
use dealpulse::shard::CellRow;

const SHARDS: u32 = 3;

/// The catalogue of the version before: `win_rate` by another formula, `upsell` not yet.
fn before(definitions: &DefinitionsSpec) -> Versions {
    let mut before = versions(definitions);
    before.insert("win_rate".into(), 0);
    before.remove("upsell");
    before
}

fn today() -> Catalogue {
    Catalogue::new(DefinitionsSpec::default()).unwrap()
}

fn is_of(metric: &str, rollup: &str) -> bool {
    let rollups = today().metric(metric).expect("a metric of today").rollups();
    rollups.into_iter().any(|known| known.name == rollup)
}

/// A flush as the version before would make it: every count of the win rate is one that no formula
/// of today gives.
fn by_the_formulas_before(flush: &mut Flush) {
    let mut rows: Vec<_> = flush.cells.decode().collect();
    rows.retain(|row| !is_of("upsell", &row.rollup));
    for row in rows.iter_mut().filter(|row| is_of("win_rate", &row.rollup)) {
        row.cell.counts.iter_mut().for_each(|n| *n *= 1_000);
    }
    flush.cells = rows.into_iter().collect();
}

struct World {
    log: MemoryLog,
    store: MemoryStore,
    sent: u64,
}

impl World {
    async fn new() -> World {
        let world = World {
            log: MemoryLog::new(SHARDS),
            store: MemoryStore::default(),
            sent: 0,
        };
        let spec = DefinitionsSpec::default();
        let first = Epoch {
            catalogue: before(&spec),
            ..Epoch::first(spec, SHARDS)
        };
        world.store.put_epoch(&first).await.unwrap();
        world
    }

    async fn send(&mut self, lines: &[String]) {
        for line in lines {
            let decoded = cloudevents::decode(Some(line.as_bytes()), &[], &context(self.sent));
            self.sent += 1;
            let routed = partition_by_home(&decoded.assertions, SHARDS);
            self.log.append(routed).await.unwrap();
        }
    }

    async fn owner(&self, shard: Home, version: VersionsOf) -> Result<Owner, String> {
        restore(shard, 1, &self.log, &self.store, version)
            .await
            .map_err(|error| error.to_string())
    }

    async fn owners(&self, version: VersionsOf) -> Vec<Owner> {
        let mut owners = Vec::new();
        for shard in 0..SHARDS {
            owners.push(self.owner(shard, version).await.unwrap());
        }
        owners
    }

    /// Folds as the version before does, until there is nothing left, or a message stops it.
    async fn fold_before(&self, owners: &mut [Owner]) -> Result<(), FoldingError> {
        loop {
            let mut flushes = Vec::new();
            for owner in owners.iter_mut() {
                for entry in self.log.read(owner.number(), owner.position(), 50) {
                    fold(owner, &entry, 1, &self.store, before, &Once).await?;
                }
                flushes.extend(owner.flush());
            }
            if flushes.is_empty() {
                return Ok(());
            }
            flushes.iter_mut().for_each(by_the_formulas_before);
            FlushBatch::new(1, SHARDS, flushes)
                .write(&self.log, &self.store, &Once)
                .await?;
            owners.iter_mut().for_each(Owner::acknowledge);
        }
    }

    async fn run(&self, owners: &mut [Owner]) {
        run_to_completion(owners, 1, &self.log, &self.store, versions)
            .await
            .unwrap();
    }

    /// The next epoch, by the catalogue of today.
    async fn next(&self) -> (Epoch, Epoch) {
        let current = self.store.epochs().await.unwrap().pop().unwrap();
        let next = Epoch {
            epoch: current.epoch + 1,
            stage: Stage::Building,
            catalogue: versions(&current.definitions),
            stood_at: Some(0),
            ..current.clone()
        };
        (current, next)
    }

    /// The cells of an epoch that are not zero.
    fn cells(&self, epoch: u32) -> BTreeMap<CellKey, Row<CellRow>> {
        let mut cells = self.store.cells();
        cells.retain(|key, row| key.0 == epoch && !row.row.cell.is_zero());
        cells
    }
}

/// The cells, whatever epoch and version they are of.
fn numbers(cells: BTreeMap<CellKey, Row<CellRow>>) -> Vec<String> {
    let lines = cells.into_values().map(|row| {
        let cell = &row.row;
        format!(
            "{} {} {:?} {} {:?} {} {:?}",
            row.shard, cell.rollup, cell.pane, cell.grouping, cell.values, cell.currency, cell.cell
        )
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn history() -> Vec<String> {
    let config = GeneratorConfig {
        seed: 5,
        deals: 120,
        ..GeneratorConfig::default()
    };
    Generator::new(config)
        .map(|event| String::from_utf8_lossy(&event.payload).into_owned())
        .collect()
}

/// Nothing is retried, and waiting lets the shards go on.
struct Beside;

impl RetryPolicy for Beside {
    async fn should_retry(&self, _: u32, _: &OutsideError) -> bool {
        false
    }
}

impl Around for Beside {
    async fn carry_from(&self, _: &[u64]) -> Result<(), OutsideError> {
        Ok(())
    }
    async fn input_ends(&self) -> Result<Vec<u64>, OutsideError> {
        Ok(Vec::new())
    }
    async fn input_positions(&self) -> Result<Vec<u64>, OutsideError> {
        Ok(Vec::new())
    }
    async fn wait(&self, _: Waiting) {
        tokio::task::yield_now().await;
    }
    fn now(&self) -> i64 {
        1
    }
}

#[tokio::test]
async fn rule_an_upgraded_database_is_counted_by_one_formula_before_and_after_the_switch() {
    let (mut world, lines) = (World::new().await, history());
    let (first, rest) = lines.split_at(lines.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    world.send(first).await;
    let mut old = world.owners(before).await;
    world.fold_before(&mut old).await.unwrap();

    // The new program starts no shard before the next epoch is in the store.
    let refused = world.owner(0, versions).await.err().unwrap();
    let here = versions(&DefinitionsSpec::default())["win_rate"];
    let altered = format!("altered: `win_rate` (version 0 there, {here} here)");
    for words in [&*altered, "new: `upsell`"] {
        assert!(refused.contains(words), "{refused}");
    }
    let (current, next) = world.next().await;
    world.store.put_epoch(&next).await.unwrap();
    let left = world.cells(1);

    // An older instance still has shard 0: it goes on until the log, or a shard that is ahead,
    // names the epoch it can't count.
    world.send(second).await;
    let mut mixed = vec![
        world.owner(1, versions).await.unwrap(),
        world.owner(2, versions).await.unwrap(),
    ];
    world.fold_before(&mut old[..1]).await.unwrap();
    world.run(&mut mixed).await;
    world.log.append(start_messages(&next)).await.unwrap();
    world.run(&mut mixed).await;
    world.send(third).await;
    world.run(&mut mixed).await;
    let stopped = world
        .fold_before(&mut old[..1])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        stopped.contains("epoch 2 is counted by another catalogue"),
        "{stopped}"
    );
    let refused = world.owner(1, before).await.err().unwrap();
    assert!(refused.contains("epoch 2"), "{refused}");

    // Of the epoch that is left, the shards the new program has folded are as they were, and all of
    // it is by the old formulas.
    let left_rows = world.cells(1);
    let of = |cells: &BTreeMap<CellKey, Row<CellRow>>, shards: BTreeSet<Home>| {
        let mut cells = cells.clone();
        cells.retain(|key, _| shards.contains(&key.1));
        cells
    };
    assert_eq!(of(&left_rows, [1, 2].into()), of(&left, [1, 2].into()));
    assert_ne!(of(&left_rows, [0].into()), of(&left, [0].into()));
    for row in left_rows.values() {
        assert!(!is_of("upsell", &row.row.rollup));
        let is_old = row.row.cell.counts.iter().all(|n| n % 1_000 == 0);
        assert!(is_old || !is_of("win_rate", &row.row.rollup), "{row:?}");
    }
    let shown = |epoch: &Epoch| {
        let program = versions(&epoch.definitions);
        let names = program
            .keys()
            .filter(|name| is_shown(epoch, name, &program));
        names.cloned().collect::<Vec<String>>()
    };
    let mut unchanged: Vec<String> = versions(&DefinitionsSpec::default()).into_keys().collect();
    unchanged.retain(|name| name != "win_rate" && name != "upsell");
    assert_eq!(shown(&current), unchanged);

    // The last shard is taken over, and the rebuild comes to its end beside the folding.
    mixed.push(world.owner(0, versions).await.unwrap());
    let is_live = async || {
        let epochs = world.store.epochs().await.unwrap();
        epochs
            .last()
            .is_some_and(|epoch| epoch.stage == Stage::Live)
    };
    let folding = async {
        while !is_live().await {
            world.run(&mut mixed).await;
            tokio::task::yield_now().await;
        }
    };
    let (form, logs) = (Form::Definitions, (&world.log, &world.log));
    let making = rebuild(form, &current, &next, logs, &world.store, &Beside);
    let (made, ()) = tokio::join!(making, folding);
    made.unwrap();
    assert_eq!(
        shown(&next).len(),
        versions(&DefinitionsSpec::default()).len()
    );
    assert_eq!(world.cells(1), left_rows);

    // The same events, counted by this program from the first one on.
    let mut undisturbed = Pure::new(SHARDS, DefinitionsSpec::default()).await;
    let numbered = lines.iter().enumerate();
    undisturbed
        .feed(numbered.map(|(at, line)| (at as u64, line.as_str())), 1)
        .await;
    let mut expected = undisturbed.store.cells();
    expected.retain(|_, row| !row.row.cell.is_zero());
    let expected = numbers(expected);
    assert!(
        expected.iter().any(|line| line.contains(" upsell")),
        "no upsell"
    );
    assert_eq!(numbers(world.cells(2)), expected);
}

#[tokio::test]
async fn an_abandoned_upgrade_leaves_an_epoch_that_no_program_continues() {
    let (mut world, lines) = (World::new().await, history());
    world.send(&lines[..lines.len() / 2]).await;
    let mut old = world.owners(before).await;
    world.fold_before(&mut old).await.unwrap();
    let (_, next) = world.next().await;
    world.store.put_epoch(&next).await.unwrap();
    let left = world.cells(1);
    world.send(&lines[lines.len() / 2..]).await;
    let mut new = world.owners(versions).await;
    world.run(&mut new).await;
    let dropped = Epoch {
        stage: Stage::Dropped,
        ..next
    };
    world.store.put_epoch(&dropped).await.unwrap();

    // To go on from the checkpoints would leave out what was folded meanwhile.
    let mut old = world.owners(before).await;
    world.send(&lines[..50]).await;
    world.fold_before(&mut old).await.unwrap();
    assert_eq!(world.cells(1), left);
}
