//! What must be true at the end: every row ever written was f(log ≤ version), and what counts is
//! what an undisturbed run gives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use dealpulse::metric::Catalogue;
use dealpulse::pipeline::catalogue::left_by;
use dealpulse::pipeline::epochs::{Epoch, Stage, current};
use dealpulse::pipeline::hour_of;
use dealpulse::pipeline::owner::{FoldError, Owner};
use dealpulse::record::{Entity, Home};
use dealpulse::shard::{CellRow, Shard};
use dealpulse::window::Pane;
use futures::executor::block_on;

use super::rows::{Key, SentLink, Value, Write};
use super::rules::Broken;
use super::versions::{Program, all_of};
use super::world::World;
use crate::oracle::history::{Event, with_derived};
use crate::oracle::{Name, Numbers, Oracle};
use crate::support::pure::Pure;

type Problems = BTreeSet<String>;
type Pair = (u32, (Entity, String), (Entity, String));

/// A shard folded anew, message by message, and every epoch counted by its own formulas.
struct Reference {
    programs: BTreeMap<u32, Program>,
    /// The epochs that are counted to the end.
    counted: BTreeSet<u32>,
    values: BTreeMap<Key, Value>,
    /// The hour (s) of the greatest append time so far.
    hour: i64,
    sent: BTreeMap<Pair, Vec<u8>>,
}

/// Everything that is wrong with a world at rest. With `switched_late` all events had been routed
/// before the rebuild began, so that nothing may have been missing at the switch.
pub fn problems(world: &World, events: &[Event], switched_late: bool) -> Problems {
    let mut problems = Problems::new();
    for (generation, log) in &world.logs {
        for shard in 0..log.len() as Home {
            check_shard(world, *generation, shard, &mut problems);
        }
    }
    let epochs: Vec<Epoch> = world.epochs.values().cloned().collect();
    let Some(current) = current(&epochs) else {
        return problems;
    };
    let told = with_derived(events);
    // Of an old log nothing more is asked after the switch: what is new goes to the new one. Nor of
    // an epoch that nobody counts on.
    let ours = epochs
        .iter()
        .filter(|epoch| epoch.generation == current.generation);
    for epoch in ours.filter(|epoch| is_counted(&epochs, epoch.epoch)) {
        let definitions = epoch.ready().expect("the test's definitions");
        check_end(world, epoch, events, &definitions, &mut problems);
        let cells = cells(world).filter(|cell| cell.epoch == epoch.epoch);
        if kept(world, epoch, sums(cells)) != kept(world, epoch, oracle(&definitions, &told)) {
            problems.insert("the metrics are not the oracle's".into());
        }
    }
    if let Some(cells) = world.at_switch.as_ref().filter(|_| switched_late) {
        let definitions = current.ready().expect("the test's definitions");
        let sums = kept(world, current, sums(cells.iter()));
        if sums != kept(world, current, oracle(&definitions, &told)) {
            problems.insert("a number is missing at the switch".into());
        }
    }
    problems
}

/// True if an epoch is counted to the end: nobody left it, nobody gave it up.
fn is_counted(epochs: &[Epoch], number: u32) -> bool {
    let is_dropped = |epoch: &Epoch| epoch.epoch == number && epoch.stage == Stage::Dropped;
    left_by(epochs, number).is_none() && !epochs.iter().any(is_dropped)
}

fn cells(world: &World) -> impl Iterator<Item = &CellRow> {
    world.tables.values().filter_map(|row| {
        if let Value::Cell(cell) = &row.row {
            Some(cell)
        } else {
            None
        }
    })
}

fn oracle(definitions: &Arc<Catalogue>, told: &[Event]) -> BTreeMap<Name, Numbers> {
    Oracle::new(definitions, told).cells()
}

/// Which cells of an epoch are kept up to date when the log has come to a time (µs).
pub struct Kept {
    definitions: Arc<Catalogue>,
    rollups: HashMap<String, u8>,
    append_time: i64,
    /// A reader takes all for it.
    all: bool,
}

impl Kept {
    /// Those that one shard keeps.
    pub fn by_shard(world: &World, epoch: &Epoch, shard: Home) -> Kept {
        Kept::new(world, epoch, world.append_time(epoch.generation, shard))
    }

    fn new(world: &World, epoch: &Epoch, append_time: i64) -> Kept {
        let definitions = epoch.ready().expect("the test's definitions");
        Kept {
            rollups: definitions.numbers_of_rollups(),
            definitions,
            append_time,
            all: world.broken == Broken::OldHoursRead,
        }
    }

    pub fn has(&self, rollup: &str, pane: Pane) -> bool {
        let number = self.rollups[rollup];
        self.all || self.definitions.keeps_pane(number, pane, self.append_time)
    }
}

/// Of the cells of all shards those that every shard keeps: what can be read.
fn kept(
    world: &World,
    epoch: &Epoch,
    mut cells: BTreeMap<Name, Numbers>,
) -> BTreeMap<Name, Numbers> {
    let shards = 0..epoch.partitions;
    let append_times = shards.map(|shard| world.append_time(epoch.generation, shard));
    let kept = Kept::new(world, epoch, append_times.max().unwrap_or_default());
    cells.retain(|(rollup, _, pane, ..), _| kept.has(rollup, *pane));
    cells
}

/// The cells, summed over the shards.
fn sums<'c>(cells: impl Iterator<Item = &'c CellRow>) -> BTreeMap<Name, Numbers> {
    let mut sums: BTreeMap<Name, Numbers> = BTreeMap::new();
    for cell in cells {
        let name = (
            cell.rollup.clone(),
            cell.grouping.clone(),
            cell.pane,
            cell.values.clone(),
            cell.currency.clone(),
        );
        sums.entry(name).or_default().merge(
            &cell.cell.counts,
            &cell.cell.sums,
            cell.cell.sketch.buckets(),
        );
    }
    sums.into_iter()
        .filter_map(|(name, numbers)| Some((name, numbers.trimmed()?)))
        .collect()
}

fn check_shard(world: &World, generation: u32, shard: Home, problems: &mut Problems) {
    let mut rows: BTreeMap<u64, Vec<&Write>> = BTreeMap::new();
    let ours = world
        .writes
        .iter()
        .filter(|(of, row)| (*of, row.shard) == (generation, shard));
    ours.for_each(|(_, row)| rows.entry(row.version).or_default().push(row));
    let mut sent: BTreeMap<u64, Vec<&SentLink>> = BTreeMap::new();
    let ours = world
        .sent
        .iter()
        .filter(|sent| (sent.generation, sent.shard) == (generation, shard));
    ours.for_each(|link| sent.entry(link.version).or_default().push(link));

    let epochs: Vec<Epoch> = world.epochs.values().cloned().collect();
    let known = all_of(&epochs, generation).expect("the test's definitions");
    let founding: Vec<_> = known
        .live
        .iter()
        .filter(|live| live.is_founding)
        .map(|live| (live.epoch, live.definitions.clone()))
        .collect();
    let ours = world
        .tables
        .iter()
        .filter(|((of, number, _), _)| (*of, *number) == (generation, shard));
    let stored: BTreeMap<&Key, &Write> = ours.map(|((_, _, key), row)| (key, row)).collect();
    let mut reference = Reference::new(world);
    let mut owner = Owner::new(shard, Shard::new(&founding), None, 0);
    let mut checked = 0;
    for entry in &world.logs[&generation][shard as usize] {
        match owner.fold(entry) {
            Err(FoldError::UnknownEpoch { .. }) => {
                owner.learn(&known);
                owner.fold(entry).expect("the epoch is known");
            }
            folded => folded.expect("the log holds what was written to it"),
        }
        let next_hour = hour_of(entry.append_time);
        if next_hour > reference.hour {
            check_hours(&stored, &reference, next_hour, problems);
            reference.hour = next_hour;
        }
        reference.take(&mut owner);
        for row in rows.get(&owner.position()).into_iter().flatten() {
            checked += 1;
            if !reference.agrees(&row.row) {
                let article = if matches!(row.row, Value::Hourly(..)) {
                    "an"
                } else {
                    "a"
                };
                let problem = format!("{article} {} row is not f(log ≤ version)", kind(&row.row));
                problems.insert(problem);
            }
            if reference.is_of_another_formula(&row.row) {
                problems.insert("a cell is by other formulas than its epoch".into());
            }
        }
        for link in sent.get(&owner.position()).into_iter().flatten() {
            let pair = (link.epoch, link.target.clone(), link.sender.clone());
            let expected = reference.sent.get(&pair).map_or(&[0][..], Vec::as_slice);
            if expected != link.content {
                problems.insert("a link sent is not f(log ≤ version)".into());
            }
        }
    }
    check_hours(&stored, &reference, i64::MAX, problems);
    if checked != rows.values().map(Vec::len).sum::<usize>() {
        problems.insert("a row has a version no message has".into());
    }
    // The final state is the fold of the whole log, and nothing is missing.
    let stored: BTreeMap<Key, Value> = stored
        .into_iter()
        .filter(|(key, _)| !matches!(key, Key::Hourly(..)))
        .map(|(key, row)| (key.clone(), row.row.clone()))
        .collect();
    let kept: BTreeMap<u32, Kept> = epochs
        .iter()
        .filter(|epoch| epoch.generation == generation && is_counted(&epochs, epoch.epoch))
        .map(|epoch| (epoch.epoch, Kept::by_shard(world, epoch, shard)))
        .collect();
    let is_kept = |key: &&Key| match key {
        Key::Cell(epoch, rollup, _, pane, ..) => {
            kept.get(epoch).is_some_and(|kept| kept.has(rollup, *pane))
        }
        Key::Link(epoch, ..) => is_counted(&epochs, *epoch),
        key => **key != Key::Checkpoint,
    };
    let keys: BTreeSet<&Key> = stored.keys().chain(reference.values.keys()).collect();
    for key in keys.into_iter().filter(is_kept) {
        let (is, should) = (
            stored.get(key).filter(|v| !is_zero(v)),
            reference.values.get(key).filter(|v| !is_zero(v)),
        );
        if is != should {
            problems.insert(format!(
                "a {} is missing, stale or too much",
                kind(is.or(should).expect("one of them is there"))
            ));
        }
    }
}

/// As of the start of an hour, of every cell the latest row of an hour before it must be what the
/// log had made of it by then.
fn check_hours(
    stored: &BTreeMap<&Key, &Write>,
    reference: &Reference,
    before: i64,
    problems: &mut Problems,
) {
    let mut latest: BTreeMap<&Key, &Write> = BTreeMap::new();
    for (key, row) in stored {
        let Key::Hourly(cell, hour) = key else {
            continue;
        };
        if *hour < before {
            let known = latest.entry(cell).or_insert(row);
            if known.version <= row.version {
                *known = row;
            }
        }
    }
    let is_kept = |key: &&Key| matches!(key, Key::Cell(epoch, rollup, ..) if rollup == "forecast.open" && reference.counted.contains(epoch));
    let keys: BTreeSet<&Key> = latest
        .keys()
        .copied()
        .chain(reference.values.keys())
        .collect();
    for key in keys.into_iter().filter(is_kept) {
        let state = |value: Option<&Value>| match value {
            Some(Value::Cell(row) | Value::Hourly(row, _)) if !row.cell.is_zero() => {
                Some(row.cell.clone())
            }
            _ => None,
        };
        if state(latest.get(key).map(|row| &row.row)) != state(reference.values.get(key)) {
            problems.insert("the state of an hour is missing or wrong".into());
        }
    }
}

impl Reference {
    fn new(world: &World) -> Reference {
        let programs = world.epochs.values().map(|e| (e.epoch, Program::of(e)));
        let epochs: Vec<Epoch> = world.epochs.values().cloned().collect();
        Reference {
            programs: programs.collect(),
            counted: epochs
                .iter()
                .map(|epoch| epoch.epoch)
                .filter(|epoch| is_counted(&epochs, *epoch))
                .collect(),
            values: BTreeMap::new(),
            hour: 0,
            sent: BTreeMap::new(),
        }
    }

    /// Takes over what the last message changed.
    fn take(&mut self, owner: &mut Owner) {
        let Some(flush) = owner.flush() else { return };
        owner.acknowledge();
        let values = flush
            .cells
            .decode()
            .map(|row| Value::Cell(self.programs[&row.epoch].count(row)))
            .chain(flush.changes.into_iter().map(|r| Value::Change(r.row)));
        let values = values
            .chain(flush.records.into_iter().map(|r| Value::Record(r.row)))
            .chain(flush.links.into_iter().map(|r| Value::Link(r.row)));
        self.values.extend(
            values
                .chain([Value::Checkpoint(flush.checkpoint)])
                .map(|value| (value.key(), value)),
        );
        self.sent.extend(
            flush
                .outbox
                .links
                .into_iter()
                .map(|link| ((link.epoch, link.target, link.sender), link.content)),
        );
    }

    fn agrees(&self, written: &Value) -> bool {
        if let Value::Hourly(row, hour) = written {
            return *hour == self.hour && self.agrees(&Value::Cell(row.clone()));
        }
        match self.values.get(&written.key()) {
            Some(value) => value == written,
            None => is_zero(written),
        }
    }

    /// True if a cell is what its epoch's formulas don't make of the log, but another version's do.
    fn is_of_another_formula(&self, written: &Value) -> bool {
        let (Value::Cell(written), Some(Value::Cell(known))) =
            (written, self.values.get(&written.key()))
        else {
            return false;
        };
        let before = |row: &CellRow| Program::Before.count(row.clone());
        written != known && (*written == before(known) || *known == before(written))
    }
}

fn is_zero(value: &Value) -> bool {
    matches!(value, Value::Cell(row) if row.cell.is_zero())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Cell(_) => "cell",
        Value::Hourly(..) => "hourly",
        Value::Change(_) => "change",
        Value::Record(_) => "record",
        Value::Link(_) => "link",
        Value::Checkpoint(_) => "checkpoint",
    }
}

/// The final cells, records and links of an epoch, against those of a run without faults.
fn check_end(
    world: &World,
    epoch: &Epoch,
    events: &[Event],
    definitions: &Arc<Catalogue>,
    problems: &mut Problems,
) {
    let mut calm = block_on(Pure::with(epoch.partitions, definitions));
    let lines: Vec<String> = events.iter().map(|event| event.line(|_| true)).collect();
    block_on(
        calm.feed(
            events
                .iter()
                .zip(&lines)
                .map(|(event, line)| (event.offset, line.as_str())),
            3,
        ),
    );

    let mut expected: BTreeMap<(Home, Key), String> = BTreeMap::new();
    let cells = calm
        .store
        .cells()
        .into_values()
        .map(|row| (row.shard, Value::Cell(row.row)));
    let records = calm
        .store
        .record_rows()
        .into_values()
        .map(|row| (row.shard, Value::Record(row.row)));
    let links = calm
        .store
        .link_rows()
        .into_iter()
        .map(|row| (row.shard, Value::Link(row.row)));
    for (shard, value) in cells.chain(records).chain(links) {
        expected.extend(live_text(&value).map(|text| ((shard, as_first(value.key())), text)));
    }
    let ours = world.tables.iter().filter(|((generation, _, key), _)| {
        *generation == epoch.generation && is_of(key, epoch.epoch)
    });
    let found = ours.filter_map(|((_, shard, key), row)| {
        Some(((*shard, as_first(key.clone())), live_text(&row.row)?))
    });
    let found: BTreeMap<(Home, Key), String> = found.collect();
    let kept: Vec<Kept> = (0..epoch.partitions)
        .map(|shard| Kept::by_shard(world, epoch, shard))
        .collect();
    let is_kept = |(shard, key): &&(Home, Key)| match key {
        Key::Cell(_, rollup, _, pane, ..) => kept[*shard as usize].has(rollup, *pane),
        _ => true,
    };
    let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    for key in keys
        .into_iter()
        .filter(is_kept)
        .filter(|key| found.get(key) != expected.get(key))
    {
        let what = ["cell", "record", "link"][match key.1 {
            Key::Cell(..) => 0,
            Key::Record(..) => 1,
            _ => 2,
        }];
        problems.insert(format!("a {what} differs from an undisturbed run's"));
    }
}

/// True if a row belongs to an epoch; starts of epochs are of none.
fn is_of(key: &Key, number: u32) -> bool {
    match key {
        Key::Cell(epoch, ..) | Key::Link(epoch, ..) => *epoch == number,
        Key::Record(entity, _) => *entity != Entity::EPOCH,
        Key::Change(..) | Key::Checkpoint => true,
        Key::Hourly(cell, _) => is_of(cell, number),
    }
}

/// The key as it were in the first epoch.
fn as_first(key: Key) -> Key {
    match key {
        Key::Cell(_, rollup, grouping, pane, values, currency) => {
            Key::Cell(1, rollup, grouping, pane, values, currency)
        }
        Key::Link(_, target, sender) => Key::Link(1, target, sender),
        key => key,
    }
}

/// What of a row must be the same however the log came about: not versions, not what was withdrawn,
/// not what is zero.
fn live_text(value: &Value) -> Option<String> {
    match value {
        Value::Cell(row) => (!row.cell.is_zero()).then(|| format!("{:?}", row.cell)),
        Value::Record(row) => Some(format!("{row:?}")),
        Value::Link(row) => (!row.withdrawn).then(|| format!("{:?}", row.content)),
        // Of which hours there are rows depends on the log.
        Value::Hourly(..) | Value::Change(_) | Value::Checkpoint(_) => None,
    }
}
