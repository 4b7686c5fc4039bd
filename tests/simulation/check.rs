//! What must be true at the end: every row ever written was f(log ≤ version), and what counts is what an undisturbed run gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dealpulse::definitions::Definitions;
use dealpulse::pipeline::memory::{MemoryLog, MemoryStore};
use dealpulse::pipeline::owner::Owner;
use dealpulse::record::{Entity, Home};
use dealpulse::shard::Shard;
use futures::executor::block_on;

use super::process::EPOCH;
use super::world::{Key, Told, Value, World, Write};
use crate::oracle::story::Event;
use crate::oracle::{Name, Numbers, Oracle};
use crate::support::pure::Pure;

type Problems = BTreeSet<String>;
type Pair = ((Entity, String), (Entity, String));

/// A shard folded anew, message by message.
#[derive(Default)]
struct Reference {
    values: BTreeMap<Key, Value>,
    told: BTreeMap<Pair, Vec<u8>>,
}

/// Everything that is wrong with a world at rest.
pub fn problems(world: &World, events: &[Event], definitions: &Arc<Definitions>) -> Problems {
    let mut problems = Problems::new();
    for shard in 0..world.logs.len() as Home {
        check_shard(world, shard, definitions, &mut problems);
    }
    check_end(world, events, definitions, &mut problems);
    check_oracle(world, events, definitions, &mut problems);
    problems
}

fn check_shard(world: &World, shard: Home, definitions: &Arc<Definitions>, problems: &mut Problems) {
    let mut rows: BTreeMap<u64, Vec<&Write>> = BTreeMap::new();
    world.writes.iter().filter(|row| row.shard == shard).for_each(|row| rows.entry(row.version).or_default().push(row));
    let mut told: BTreeMap<u64, Vec<&Told>> = BTreeMap::new();
    world.told.iter().filter(|told| told.0 == shard).for_each(|link| told.entry(link.1).or_default().push(link));

    let mut reference = Reference::default();
    let mut owner = Owner::new(shard, Shard::new(&[(EPOCH, definitions.clone())]), None, 0);
    let mut checked = 0;
    for entry in &world.logs[shard as usize] {
        owner.fold(entry).expect("the log holds what was written to it");
        reference.take(&mut owner);
        for row in rows.get(&owner.position()).into_iter().flatten() {
            checked += 1;
            if !reference.agrees(&row.row) {
                problems.insert(format!("a {} row is not f(log ≤ version)", kind(&row.row)));
            }
        }
        for (_, _, target, sender, content) in told.get(&owner.position()).into_iter().flatten() {
            let said = reference.told.get(&(target.clone(), sender.clone())).map_or(&[0][..], Vec::as_slice);
            if said != content {
                problems.insert("a link told is not f(log ≤ version)".into());
            }
        }
    }
    if checked != rows.values().map(Vec::len).sum::<usize>() {
        problems.insert("a row has a version no message has".into());
    }
    // What counts in the end is what the whole log says, and nothing is missing.
    let stored: BTreeMap<Key, Value> =
        world.tables.iter().filter(|((of, _), _)| *of == shard).map(|((_, k), row)| (k.clone(), row.row.clone())).collect();
    let keys: BTreeSet<&Key> = stored.keys().chain(reference.values.keys()).collect();
    for key in keys.into_iter().filter(|key| **key != Key::Checkpoint) {
        let (is, should) = (stored.get(key).filter(|v| !is_zero(v)), reference.values.get(key).filter(|v| !is_zero(v)));
        if is != should {
            problems.insert(format!("a {} is missing, stale or too much", kind(is.or(should).expect("one of them is there"))));
        }
    }
}

impl Reference {
    /// Takes over what the last message changed.
    fn take(&mut self, owner: &mut Owner) {
        let Some(flush) = owner.flush() else { return };
        owner.acknowledge();
        let values = flush.cells.into_iter().map(|r| Value::Cell(r.row)).chain(flush.changes.into_iter().map(|r| Value::Change(r.row)));
        let values = values.chain(flush.records.into_iter().map(|r| Value::Record(r.row))).chain(flush.links.into_iter().map(|r| Value::Link(r.row)));
        self.values.extend(values.chain([Value::Checkpoint(flush.checkpoint)]).map(|value| (value.key(), value)));
        self.told.extend(flush.outbox.into_iter().map(|link| ((link.target, link.sender), link.content)));
    }

    fn agrees(&self, written: &Value) -> bool {
        match self.values.get(&written.key()) {
            Some(value) => value == written,
            None => is_zero(written),
        }
    }
}

fn is_zero(value: &Value) -> bool {
    matches!(value, Value::Cell(row) if row.cell.is_zero())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Cell(_) => "cell",
        Value::Change(_) => "change",
        Value::Record(_) => "record",
        Value::Link(_) => "link",
        Value::Checkpoint(_) => "checkpoint",
    }
}

/// Cells, records and links that stand, against those of a run in which nothing ever went wrong.
fn check_end(world: &World, events: &[Event], definitions: &Arc<Definitions>, problems: &mut Problems) {
    let (log, store) = (MemoryLog::new(world.logs.len() as u32), MemoryStore::default());
    let mut calm = Pure { definitions: definitions.clone(), log, store, owners: Vec::new() };
    block_on(calm.restart());
    let lines: Vec<String> = events.iter().map(|event| event.line(|_| true)).collect();
    block_on(calm.feed(events.iter().zip(&lines).map(|(event, line)| (event.offset, line.as_str())), 3));

    let mut expected: BTreeMap<(Home, Key), String> = BTreeMap::new();
    let cells = calm.store.cells().into_values().map(|row| (row.shard, Value::Cell(row.row)));
    let records = calm.store.record_rows().into_values().map(|row| (row.shard, Value::Record(row.row)));
    let links = calm.store.link_rows().into_iter().map(|row| (row.shard, Value::Link(row.row)));
    for (shard, value) in cells.chain(records).chain(links) {
        expected.extend(standing(&value).map(|text| ((shard, value.key()), text)));
    }
    let found = world.tables.iter().filter_map(|(key, row)| Some((key.clone(), standing(&row.row)?)));
    let found: BTreeMap<(Home, Key), String> = found.collect();
    let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    for key in keys.into_iter().filter(|key| found.get(key) != expected.get(key)) {
        let what = ["cell", "record", "link"][match key.1 {
            Key::Cell(..) => 0,
            Key::Record(..) => 1,
            _ => 2,
        }];
        problems.insert(format!("a {what} differs from an undisturbed run's"));
    }
}

/// The numbers, summed over the shards, against those worked out without any pipeline.
fn check_oracle(world: &World, events: &[Event], definitions: &Definitions, problems: &mut Problems) {
    let mut sums: BTreeMap<Name, Numbers> = BTreeMap::new();
    for row in world.tables.values() {
        let Value::Cell(cell) = &row.row else { continue };
        let name = (cell.rollup.to_owned(), cell.grouping.clone(), cell.pane, cell.values.clone(), cell.currency.clone());
        sums.entry(name).or_default().merge(&cell.cell.counts, &cell.cell.sums, cell.cell.sketch.buckets());
    }
    let found: BTreeMap<Name, Numbers> = sums.into_iter().filter_map(|(name, numbers)| Some((name, numbers.trimmed()?))).collect();
    if found != Oracle::new(definitions, events).cells() {
        problems.insert("the numbers are not the oracle's".into());
    }
}

/// What of a row must be the same however the log came about: not versions, not what was withdrawn, not what is zero.
fn standing(value: &Value) -> Option<String> {
    match value {
        Value::Cell(row) => (!row.cell.is_zero()).then(|| format!("{:?}", row.cell)),
        Value::Record(row) => Some(format!("{row:?}")),
        Value::Link(row) => (!row.withdrawn).then(|| format!("{:?}", row.content)),
        Value::Change(_) | Value::Checkpoint(_) => None,
    }
}
