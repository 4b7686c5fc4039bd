//! The world outside: a log and a store in which every call takes its time, rows land one by one, answers get lost and rows come late.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use dealpulse::event::wire::{self, LinkMessage, Message};
use dealpulse::pipeline::flush::KeepTrying;
use dealpulse::pipeline::{Checkpoint, Entry, Epoch, Log, OutsideError, Row, Store, StoredLink, StoredRecord};
use dealpulse::record::{Entity, Home, home};
use dealpulse::shard::{CellRow, ChangeRow, LinkRow, RecordRow};
use dealpulse::window::Pane;

use super::Broken;
use crate::oracle::story::Dice;

/// What a row is known by, within its shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Cell(u32, &'static str, String, Pane, Vec<String>, String),
    Change(Entity, String, u64),
    Record(Entity, String),
    Link(u32, (Entity, String), (Entity, String)),
    Checkpoint,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Cell(CellRow),
    Change(ChangeRow),
    Record(RecordRow),
    Link(LinkRow),
    Checkpoint(Checkpoint),
}

impl Value {
    pub fn key(&self) -> Key {
        match self {
            Value::Cell(c) => Key::Cell(c.epoch, c.rollup, c.grouping.clone(), c.pane, c.values.clone(), c.currency.clone()),
            Value::Change(c) => Key::Change(c.entity, c.id.clone(), c.version),
            Value::Record(r) => Key::Record(r.entity, r.id.clone()),
            Value::Link(l) => Key::Link(l.epoch, l.target.clone(), l.sender.clone()),
            Value::Checkpoint(_) => Key::Checkpoint,
        }
    }
}

/// A row as it was, or will be, written.
pub type Write = Row<Value>;

/// A link as it was told: the sender's shard, version, target, sender, content.
pub type Told = (Home, u64, (Entity, String), (Entity, String), Vec<u8>);

/// What happened, so that a test can tell a story of crashes from a quiet one.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub crashes: usize,
    pub zombies: usize,
    pub late: usize,
    pub failures: usize,
    pub restored_ahead: usize,
}

pub struct World {
    pub dice: Dice,
    pub broken: Broken,
    pub logs: Vec<Vec<Entry>>,
    /// Of rows with one key the greatest version counts; of equals, the last.
    pub tables: BTreeMap<(Home, Key), Write>,
    pub writes: Vec<Write>,
    pub told: Vec<Told>,
    /// What was on its way when its sender crashed, and will still land.
    pub late: Vec<Arrival>,
    pub seen: Seen,
    /// Nothing fails any more.
    pub calm: bool,
    tick: i64,
}

pub enum Arrival {
    Row(Box<Write>),
    Message(Home, Vec<u8>),
}

impl World {
    pub fn land(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Row(row) => {
                self.writes.push((*row).clone());
                let key = (row.shard, row.row.key());
                if self.tables.get(&key).is_none_or(|known| known.version <= row.version) {
                    self.tables.insert(key, *row);
                }
            }
            Arrival::Message(shard, payload) => {
                let payload = self.note_links(payload);
                self.tick += self.dice.below(3) as i64 - 1; // a broker's clock may go back
                let entries = &mut self.logs[shard as usize];
                entries.push(Entry { offset: entries.len() as u64, append_time: self.tick, payload });
            }
        }
    }

    fn note_links(&mut self, payload: Vec<u8>) -> Vec<u8> {
        let Ok(Message::Links(mut links)) = wire::read(&payload) else { return payload };
        let shards = self.logs.len() as u32;
        let name = |name: &wire::Name<'_>| (name.entity, name.id.clone().into_owned());
        for LinkMessage { target, sender, version, content, .. } in &links {
            self.told.push((home(sender.entity, &sender.id, shards), *version, name(target), name(sender), content.clone().into_owned()));
        }
        if self.broken != Broken::LastLinkWins {
            return payload;
        }
        for link in &mut links {
            link.version = self.told.len() as u64; // whoever comes last
        }
        wire::write_links(links.iter())
    }
}

/// A handle on the world: its log, its store and the patience of those who use them.
#[derive(Clone)]
pub struct Sim(pub Arc<Mutex<World>>);

/// Lands what is left, some of it, late, when the future that was sending it is dropped: its process crashed.
struct Landing {
    sim: Sim,
    rest: Vec<Arrival>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let world = &mut *self.sim.lock();
        if !self.rest.is_empty() && world.dice.percent(60) {
            for arrival in std::mem::take(&mut self.rest) {
                if world.dice.percent(70) {
                    world.late.push(arrival);
                }
            }
        }
    }
}

async fn pause() {
    let mut paused = false;
    poll_fn(|_| if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl Sim {
    pub fn new(seed: u64, shards: u32, broken: Broken) -> Sim {
        let logs = (0..shards).map(|_| Vec::new()).collect();
        let (tables, writes, told, late) = Default::default();
        let world = World { dice: Dice(seed), broken, logs, tables, writes, told, late, seen: Seen::default(), calm: false, tick: 0 };
        Sim(Arc::new(Mutex::new(world)))
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub fn percent(&self, percent: u64) -> bool {
        self.lock().dice.percent(percent)
    }

    pub fn below(&self, limit: usize) -> usize {
        self.lock().dice.below(limit)
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

    /// Lands all of it bit by bit; then, perhaps, the answer gets lost.
    async fn send(&self, mut arrivals: Vec<Arrival>) -> Result<(), OutsideError> {
        self.fails(2)?;
        arrivals.reverse();
        let mut landing = Landing { sim: self.clone(), rest: arrivals };
        pause().await;
        while let Some(arrival) = landing.rest.pop() {
            self.lock().land(arrival);
            self.pause_at_times(25).await;
        }
        self.fails(4)
    }

    async fn insert(&self, rows: impl Iterator<Item = Write>) -> Result<(), OutsideError> {
        let mut rows: Vec<Arrival> = rows.map(|row| Arrival::Row(Box::new(row))).collect();
        self.lock().dice.shuffle(&mut rows);
        self.send(rows).await
    }

    /// Reads rows one by one, each as it is when its turn comes.
    async fn rows(&self, shard: Home, wanted: impl Fn(&Key) -> bool) -> Vec<Write> {
        let keys: Vec<(Home, Key)> = self.lock().tables.keys().filter(|(of, key)| *of == shard && wanted(key)).cloned().collect();
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
                arrivals.push(Arrival::Message(shard, payload.clone())); // a producer's own retry
            }
            arrivals.push(Arrival::Message(shard, payload));
        }
        self.send(arrivals).await
    }

    async fn commit(&self, _positions: &[(Home, u64)]) -> Result<(), OutsideError> {
        self.fails(2)
    }

    async fn bounds(&self, shard: Home) -> Result<(u64, u64), OutsideError> {
        self.pause_at_times(50).await;
        Ok((0, self.lock().logs[shard as usize].len() as u64))
    }

    async fn read_again(&self, shard: Home, offset: u64) -> Result<Option<Entry>, OutsideError> {
        self.pause_at_times(50).await;
        Ok(self.lock().logs[shard as usize].get(offset as usize).cloned())
    }
}

fn values<T: Clone>(rows: &[Row<T>], value: fn(T) -> Value) -> impl Iterator<Item = Write> {
    rows.iter().map(move |row| Row { shard: row.shard, version: row.version, row: value(row.row.clone()) })
}

impl Store for Sim {
    async fn epochs(&self) -> Result<Vec<Epoch>, OutsideError> {
        Ok(Vec::new())
    }

    async fn add_epoch(&self, _epoch: &Epoch) -> Result<(), OutsideError> {
        Ok(())
    }

    async fn checkpoint(&self, _generation: u32, shard: Home) -> Result<Option<Checkpoint>, OutsideError> {
        let row = self.lock().tables.get(&(shard, Key::Checkpoint)).map(|row| row.row.clone());
        pause().await;
        Ok(if let Some(Value::Checkpoint(checkpoint)) = row { Some(checkpoint) } else { None })
    }

    async fn records(&self, _generation: u32, shard: Home) -> Result<Vec<StoredRecord>, OutsideError> {
        let rows = self.rows(shard, |key| matches!(key, Key::Record(..))).await;
        let stored = rows.into_iter().filter_map(|row| match row.row {
            Value::Record(r) => Some(StoredRecord { entity: r.entity, id: r.id, state: r.state, version: row.version }),
            _ => None,
        });
        Ok(stored.collect())
    }

    async fn links(&self, epoch: u32, shard: Home) -> Result<Vec<StoredLink>, OutsideError> {
        let rows = self.rows(shard, |key| matches!(key, Key::Link(..))).await;
        let stored = rows.into_iter().filter_map(|row| match row.row {
            Value::Link(l) => {
                let LinkRow { target, sender, link_version, content, .. } = l;
                Some(StoredLink { epoch, target, sender, link_version, content, version: row.version })
            }
            _ => None,
        });
        Ok(stored.collect())
    }

    async fn insert_cells(&self, rows: &[Row<CellRow>]) -> Result<(), OutsideError> {
        self.insert(values(rows, Value::Cell)).await
    }

    async fn insert_changes(&self, _generation: u32, rows: &[Row<ChangeRow>]) -> Result<(), OutsideError> {
        self.insert(values(rows, Value::Change)).await
    }

    async fn insert_records(&self, _generation: u32, rows: &[Row<RecordRow>]) -> Result<(), OutsideError> {
        self.insert(values(rows, Value::Record)).await
    }

    async fn insert_links(&self, rows: &[Row<LinkRow>]) -> Result<(), OutsideError> {
        self.insert(values(rows, Value::Link)).await
    }

    async fn insert_checkpoints(&self, _generation: u32, rows: &[(Home, Checkpoint)]) -> Result<(), OutsideError> {
        let row = |(shard, checkpoint): &(Home, Checkpoint)| Row {
            shard: *shard,
            version: checkpoint.next_offset,
            row: Value::Checkpoint(checkpoint.clone()),
        };
        self.insert(rows.iter().map(row)).await
    }
}

impl KeepTrying for Sim {
    async fn again(&self, _attempt: u32, _error: &OutsideError) -> bool {
        pause().await;
        self.percent(80)
    }
}
