//! The world outside: logs and a store in which every call takes its time, rows land one by one,
//! answers get lost and rows come late.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use dealpulse::event::wire::{self, LinkMessage, Message};
use dealpulse::pipeline::epochs::{Epoch, Stage};
use dealpulse::pipeline::flush::RetryPolicy;
use dealpulse::pipeline::known::Known;
use dealpulse::pipeline::{
    CellName, Checkpoint, Entry, HourlyRows, Log, OutsideError, Row, Store, StoredCell, StoredLink,
    StoredRecord,
};
use dealpulse::record::{Entity, Home, SCHEMA, home};
use dealpulse::shard::{CellRow, CellRows, ChangeRow, LinkRow, RecordRow};

use super::Broken;
use super::rows::{Key, RowKey, SentLink, Value, Write};
use super::seen::Seen;
use super::versions::{self, Program};
use crate::oracle::history::Dice;

pub struct World {
    pub dice: Dice,
    pub broken: Broken,
    /// The versions of the program that instances are started of.
    pub programs: Vec<Program>,
    /// By generation and partition.
    pub logs: BTreeMap<u32, Vec<Vec<Entry>>>,
    /// Of rows with one key the greatest version counts; of equals, the last.
    pub tables: BTreeMap<RowKey, Write>,
    pub writes: Vec<(u32, Write)>,
    pub sent: Vec<SentLink>,
    pub epochs: BTreeMap<u32, Epoch>,
    pub copied: BTreeSet<(u32, Home)>,
    /// How far the old log is carried over; `None` before a rebuild has read from where.
    pub carried: Option<Vec<u64>>,
    /// The cells of the new epoch at the moment of the switch.
    pub at_switch: Option<Vec<CellRow>>,
    /// What was on its way when its sender crashed or gave up waiting, and will still land.
    pub late: Vec<Arrival>,
    pub seen: Seen,
    /// Nothing fails any more.
    pub calm: bool,
    pub lands_late: bool,
    pub tick: i64,
    /// How many assertions were routed.
    pub routed: u64,
}

/// A broker's clock moves by so much (µs): an hour is soon over.
const TICK: i64 = 20 * 60 * 1_000_000;
/// What it begins with: in the days of the events, 2026-02-01.
const BEGIN: i64 = 20_485 * DAY;
const DAY: i64 = 86_400 * 1_000_000;

pub enum Arrival {
    Row(u32, Box<Write>),
    Message(u32, Home, Vec<u8>),
}

impl World {
    pub fn land(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Row(generation, row) => {
                self.writes.push((generation, (*row).clone()));
                let key = (generation, row.shard, row.row.key());
                if self
                    .tables
                    .get(&key)
                    .is_none_or(|known| known.version <= row.version)
                {
                    self.tables.insert(key, *row);
                }
            }
            Arrival::Message(generation, shard, payload) => {
                let payload = self.note_links(generation, shard, payload);
                // A broker's clock may go back.
                self.tick += (self.dice.below(4) as i64 - 1) * TICK;
                // Or nothing happens for days, and hours are not kept any more.
                if self.dice.percent(1) {
                    self.tick += self.dice.below(40) as i64 * DAY;
                }
                let (append_time, logs) = (self.tick, self.logs.entry(generation).or_default());
                let entries = &mut logs[shard as usize];
                entries.push(Entry {
                    offset: entries.len() as u64,
                    append_time,
                    payload,
                });
            }
        }
    }

    /// The greatest time (µs) a shard's log has come to.
    pub fn append_time(&self, generation: u32, shard: Home) -> i64 {
        let log = self.logs[&generation].get(shard as usize);
        let times = log.into_iter().flatten().map(|entry| entry.append_time);
        times.max().unwrap_or_default()
    }

    /// The epochs as the instances see them.
    fn epochs_seen(&self) -> Vec<Epoch> {
        let epochs = self.epochs.values().cloned();
        match self.broken {
            Broken::CataloguesIgnored => versions::without_catalogues(epochs),
            _ => epochs.collect(),
        }
    }

    /// The database is one of the version before, and both are started: this one until the other
    /// has begun an epoch of its own.
    pub fn begin_before(&mut self) {
        self.programs = vec![Program::Before, Program::Today];
        for epoch in self.epochs.values_mut() {
            epoch.catalogue = Program::Before.catalogue()(&epoch.definitions);
        }
    }

    /// The upgrade is given up, unless it has come to its end, or has not begun.
    pub fn give_up(&mut self) {
        let next = self.epochs.get_mut(&2);
        if let Some(next) = next.filter(|next| next.stage == Stage::Building) {
            next.stage = Stage::Dropped;
            self.seen.given_up += 1;
        }
    }

    /// How many messages each partition of a log holds.
    pub fn ends(&self, generation: u32) -> Vec<u64> {
        self.logs.get(&generation).map_or_else(Vec::new, |logs| {
            logs.iter().map(|log| log.len() as u64).collect()
        })
    }

    /// The generation of the log that an epoch is kept on.
    fn generation_of(&self, epoch: u32) -> u32 {
        self.epochs.get(&epoch).map_or(1, |epoch| epoch.generation)
    }

    fn note_links(&mut self, generation: u32, to: Home, payload: Vec<u8>) -> Vec<u8> {
        let Ok(Message::Links(mut links)) = wire::read(&payload, &SCHEMA) else {
            return payload;
        };
        let shards = self.logs[&generation].len() as u32;
        let name = |name: &wire::Name<'_>| (name.entity, name.id.clone().into_owned());
        let has_begun = |epoch: u32, world: &World| {
            let is_start = |entry: &Entry| matches!(wire::read(&entry.payload, &SCHEMA), Ok(Message::Assertions(a)) if a.assertions().any(|a| a.entity == Entity::EPOCH && *a.id == *epoch.to_string()));
            epoch == 1
                || generation > 1
                || world.logs[&generation][to as usize].iter().any(is_start)
        };
        for LinkMessage {
            epoch,
            target,
            sender,
            version,
            content,
        } in &links
        {
            let (shard, version, epoch) =
                (home(sender.entity, &sender.id, shards), *version, *epoch);
            let (target, sender, content) =
                (name(target), name(sender), content.clone().into_owned());
            self.seen.early_links += usize::from(!has_begun(epoch, self));
            self.sent.push(SentLink {
                generation,
                shard,
                version,
                epoch,
                target,
                sender,
                content,
            });
        }
        match self.broken {
            // Whoever comes last.
            Broken::LastLinkWins => links
                .iter_mut()
                .for_each(|link| link.version = self.sent.len() as u64),
            Broken::LinksSharedByEpochs => links
                .iter_mut()
                .for_each(|link| link.epoch = if generation == 1 { 1 } else { link.epoch }),
            Broken::EarlyLinksIgnored => links.retain(|link| has_begun(link.epoch, self)),
            _ => return payload,
        }
        wire::write_links(links.iter())
    }
}

/// A handle on the world: its log of one generation, its store and the patience of those who use
/// them.
#[derive(Clone)]
pub struct Sim {
    world: Arc<Mutex<World>>,
    pub generation: u32,
}

/// Lands what is left, some of it, late, when its sender has ended: its process crashed, or its
/// time ran out.
struct Landing {
    sim: Sim,
    rest: Vec<Arrival>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let world = &mut *self.sim.lock();
        if !self.rest.is_empty() && world.lands_late && world.dice.percent(60) {
            for arrival in std::mem::take(&mut self.rest) {
                if world.dice.percent(70) {
                    world.late.push(arrival);
                }
            }
        }
    }
}

pub async fn pause() {
    let mut paused = false;
    poll_fn(|_| {
        if std::mem::replace(&mut paused, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

impl Sim {
    pub fn new(seed: u64, broken: Broken, first: Epoch) -> Sim {
        let world = World {
            dice: Dice(seed),
            broken,
            programs: vec![Program::Today],
            logs: BTreeMap::from([(1, vec![Vec::new(); first.partitions as usize])]),
            tables: BTreeMap::new(),
            writes: Vec::new(),
            sent: Vec::new(),
            epochs: BTreeMap::from([(1, first)]),
            copied: BTreeSet::new(),
            carried: None,
            at_switch: None,
            late: Vec::new(),
            seen: Seen::default(),
            calm: false,
            lands_late: true,
            tick: BEGIN,
            routed: 0,
        };
        Sim {
            world: Arc::new(Mutex::new(world)),
            generation: 1,
        }
    }

    /// The same world, and the log of another generation.
    pub fn on(&self, generation: u32) -> Sim {
        Sim {
            world: self.world.clone(),
            generation,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn percent(&self, percent: u64) -> bool {
        self.lock().dice.percent(percent)
    }

    pub fn below(&self, limit: usize) -> usize {
        self.lock().dice.below(limit)
    }

    /// One of the versions of the program that instances are started of.
    pub fn any_program(&self) -> Program {
        let world = &mut *self.lock();
        match world.programs[..] {
            [only] => only,
            ref programs => programs[world.dice.below(programs.len())],
        }
    }

    /// The epochs of its log, as a program needs them.
    pub fn known(&self, program: Program) -> Result<Known, OutsideError> {
        let world = self.lock();
        let catalogue = versions::compared(program, world.broken);
        Known::of(&world.epochs_seen(), self.generation, catalogue)
    }

    /// How many partitions its log has.
    pub fn partitions(&self) -> u32 {
        self.lock().logs[&self.generation].len() as u32
    }

    /// Up to so many messages of a partition from an offset on.
    pub fn read(&self, shard: Home, from: u64, count: usize) -> Vec<Entry> {
        self.lock().logs[&self.generation][shard as usize]
            .iter()
            .skip(from as usize)
            .take(count)
            .cloned()
            .collect()
    }

    async fn pause_at_times(&self, percent: u64) {
        if self.percent(percent) {
            pause().await;
        }
    }

    fn fails(&self, percent: u64) -> Result<(), OutsideError> {
        let world = &mut *self.lock();
        if world.calm || !world.dice.percent(percent) {
            return Ok(());
        }
        world.seen.failures += 1;
        Err(OutsideError::transient("asking the world", "no answer"))
    }

    /// Lands all of it bit by bit; then, perhaps, the answer gets lost. Or its sender's time runs
    /// out before all has landed: what is left may still land, late, though it is sent again
    /// meanwhile.
    async fn send(&self, mut arrivals: Vec<Arrival>) -> Result<(), OutsideError> {
        self.fails(2)?;
        arrivals.reverse();
        let late = self
            .fails(3)
            .err()
            .map(|error| (1 + self.below(arrivals.len().max(1)), error));
        let left = late.as_ref().map_or(0, |(left, _)| *left);
        let mut landing = Landing {
            sim: self.clone(),
            rest: arrivals,
        };
        pause().await;
        while landing.rest.len() > left {
            landing
                .rest
                .pop()
                .into_iter()
                .for_each(|arrival| self.lock().land(arrival));
            self.pause_at_times(25).await;
        }
        late.map_or_else(|| self.fails(4), |(_, error)| Err(error))
    }

    async fn insert(
        &self,
        generation: impl Fn(&Value) -> u32,
        rows: impl Iterator<Item = Write>,
    ) -> Result<(), OutsideError> {
        let mut rows: Vec<Arrival> = rows
            .map(|row| Arrival::Row(generation(&row.row), Box::new(row)))
            .collect();
        self.lock().dice.shuffle(&mut rows);
        self.send(rows).await
    }

    /// Reads rows one by one, each as it is when its turn comes.
    async fn rows(
        &self,
        generation: u32,
        shard: Home,
        wanted: impl Fn(&Key) -> bool,
    ) -> Vec<Write> {
        let is_wanted =
            |(of, number, key): &&RowKey| (*of, *number) == (generation, shard) && wanted(key);
        let keys: Vec<RowKey> = self
            .lock()
            .tables
            .keys()
            .filter(is_wanted)
            .cloned()
            .collect();
        let mut rows = Vec::new();
        for key in keys {
            let row = self.lock().tables[&key].clone();
            rows.push(row);
            self.pause_at_times(15).await;
        }
        // Some answers take long: long enough for a stale owner to finish a flush meanwhile.
        if self.percent(30) {
            for _ in 0..self.below(40) {
                pause().await;
            }
        }
        rows
    }
}

impl Log for Sim {
    async fn append(&self, messages: Vec<(Home, Vec<u8>)>) -> Result<(), OutsideError> {
        let mut arrivals = Vec::new();
        for (shard, payload) in messages {
            if self.percent(10) {
                arrivals.push(Arrival::Message(self.generation, shard, payload.clone())); // a producer's own retry
            }
            arrivals.push(Arrival::Message(self.generation, shard, payload));
        }
        self.send(arrivals).await
    }

    async fn commit(&self, _positions: &[(Home, u64)]) -> Result<(), OutsideError> {
        self.fails(2)
    }

    async fn bounds(&self, shard: Home) -> Result<(u64, u64), OutsideError> {
        self.pause_at_times(50).await;
        Ok((
            0,
            self.lock().logs[&self.generation][shard as usize].len() as u64,
        ))
    }

    async fn read_again(&self, shard: Home, offset: u64) -> Result<Option<Entry>, OutsideError> {
        self.pause_at_times(50).await;
        Ok(self.read(shard, offset, 1).pop())
    }
}

fn values<T: Clone>(rows: &[Row<T>], value: fn(T) -> Value) -> impl Iterator<Item = Write> {
    rows.iter().map(move |row| Row {
        shard: row.shard,
        version: row.version,
        row: value(row.row.clone()),
    })
}

impl Store for Sim {
    async fn epochs(&self) -> Result<Vec<Epoch>, OutsideError> {
        Ok(self.lock().epochs_seen())
    }

    async fn put_first_epoch(&self, epoch: &Epoch) -> Result<(), OutsideError> {
        let epochs = &mut self.lock().epochs;
        if epochs.is_empty() {
            epochs.insert(epoch.epoch, epoch.clone());
        }
        Ok(())
    }

    async fn put_epoch(&self, epoch: &Epoch) -> Result<(), OutsideError> {
        self.fails(4)?;
        pause().await;
        {
            let world = &mut *self.lock();
            if world
                .epochs
                .get(&epoch.epoch)
                .is_none_or(|known| known.stage < epoch.stage)
            {
                if epoch.stage == Stage::Live {
                    let cells = world.tables.values().filter_map(|row| {
                        if let Value::Cell(cell) = &row.row {
                            Some(cell)
                        } else {
                            None
                        }
                    });
                    world.at_switch = Some(
                        cells
                            .filter(|cell| cell.epoch == epoch.epoch)
                            .cloned()
                            .collect(),
                    );
                }
                world
                    .logs
                    .entry(epoch.generation)
                    .or_insert_with(|| vec![Vec::new(); epoch.partitions as usize]);
                world.epochs.insert(epoch.epoch, epoch.clone());
            }
        }
        pause().await;
        self.fails(4)
    }

    async fn copied(&self, epoch: u32) -> Result<Vec<Home>, OutsideError> {
        Ok(self
            .lock()
            .copied
            .iter()
            .filter(|(of, _)| *of == epoch)
            .map(|(_, shard)| *shard)
            .collect())
    }

    async fn record_copied(&self, epoch: u32, shard: Home) -> Result<(), OutsideError> {
        pause().await;
        self.lock().copied.insert((epoch, shard));
        self.fails(4)
    }

    async fn checkpoint(
        &self,
        generation: u32,
        shard: Home,
    ) -> Result<Option<Checkpoint>, OutsideError> {
        let row = self
            .lock()
            .tables
            .get(&(generation, shard, Key::Checkpoint))
            .map(|row| row.row.clone());
        pause().await;
        Ok(if let Some(Value::Checkpoint(checkpoint)) = row {
            Some(checkpoint)
        } else {
            None
        })
    }

    async fn each_record(
        &self,
        generation: u32,
        shard: Home,
        take: &mut (dyn FnMut(StoredRecord<'_>) + Send),
    ) -> Result<(), OutsideError> {
        let rows = self
            .rows(generation, shard, |key| matches!(key, Key::Record(..)))
            .await;
        let stored = rows.into_iter().filter_map(|row| match row.row {
            Value::Record(r) => Some(StoredRecord {
                entity: r.entity,
                id: r.id().to_owned().into(),
                state: r.state().to_owned().into(),
                version: row.version,
            }),
            _ => None,
        });
        stored.for_each(take);
        Ok(())
    }

    async fn each_link(
        &self,
        epoch: u32,
        shard: Home,
        take: &mut (dyn FnMut(StoredLink<'_>) + Send),
    ) -> Result<(), OutsideError> {
        let generation = self.lock().generation_of(epoch);
        let rows = self
            .rows(
                generation,
                shard,
                |key| matches!(key, Key::Link(of, ..) if *of == epoch),
            )
            .await;
        let stored = rows.into_iter().filter_map(|row| match row.row {
            Value::Link(l) => {
                let LinkRow {
                    target,
                    sender,
                    link_version,
                    content,
                    ..
                } = l;
                Some(StoredLink {
                    epoch,
                    target: (target.0, target.1.into()),
                    sender: (sender.0, sender.1.into()),
                    link_version,
                    content: content.into(),
                    version: row.version,
                })
            }
            _ => None,
        });
        stored.for_each(take);
        Ok(())
    }

    async fn rollups(&self, epoch: u32, shard: Home) -> Result<Vec<StoredCell>, OutsideError> {
        let generation = self.lock().generation_of(epoch);
        let rows = self
            .rows(
                generation,
                shard,
                |key| matches!(key, Key::Cell(of, ..) if *of == epoch),
            )
            .await;
        let stored = rows.into_iter().filter_map(|row| match row.row {
            Value::Cell(c) => Some(StoredCell {
                name: CellName::of(&c),
                cell: c.cell,
                version: row.version,
            }),
            _ => None,
        });
        Ok(stored.collect())
    }

    async fn rollup_shards(&self, _epoch: u32) -> Result<Vec<Home>, OutsideError> {
        Ok((0..self.partitions()).collect())
    }

    async fn insert_cells(&self, blocks: &[Row<CellRows>]) -> Result<(), OutsideError> {
        let rows: Vec<Row<CellRow>> = blocks.iter().flat_map(Row::decode).collect();
        self.insert(|_| self.generation, values(&rows, Value::Cell))
            .await
    }

    async fn insert_hourly(&self, blocks: &[HourlyRows]) -> Result<(), OutsideError> {
        let rows = blocks.iter().flat_map(|block| {
            let rows = block.cells.decode();
            rows.map(|row| Row {
                shard: row.shard,
                version: row.version,
                row: Value::Hourly(row.row, block.hour),
            })
        });
        self.insert(|_| self.generation, rows).await
    }

    async fn insert_changes(
        &self,
        generation: u32,
        rows: &[Row<ChangeRow>],
    ) -> Result<(), OutsideError> {
        self.insert(|_| generation, values(rows, Value::Change))
            .await
    }

    async fn insert_records(
        &self,
        generation: u32,
        rows: &[Row<RecordRow>],
    ) -> Result<(), OutsideError> {
        self.insert(|_| generation, values(rows, Value::Record))
            .await
    }

    async fn insert_links(&self, rows: &[Row<LinkRow>]) -> Result<(), OutsideError> {
        self.insert(|_| self.generation, values(rows, Value::Link))
            .await
    }

    async fn insert_checkpoints(
        &self,
        generation: u32,
        rows: &[(Home, Checkpoint)],
    ) -> Result<(), OutsideError> {
        let row = |(shard, checkpoint): &(Home, Checkpoint)| Row {
            shard: *shard,
            version: checkpoint.next_offset,
            row: Value::Checkpoint(checkpoint.clone()),
        };
        self.insert(|_| generation, rows.iter().map(row)).await
    }
}

impl RetryPolicy for Sim {
    async fn should_retry(&self, _attempt: u32, _error: &OutsideError) -> bool {
        pause().await;
        self.percent(80)
    }
}
