//! A rebuild beside the running pipeline, killed and started again; or one that breaks its rules.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dealpulse::event::wire::{self, Message, RecordMessage};
use dealpulse::pipeline::epochs::{Epoch, Stage};
use dealpulse::pipeline::flush::RetryPolicy;
use dealpulse::pipeline::rebuild::{Around, Form, Waiting, rebuild};
use dealpulse::pipeline::{Entry, Log, OutsideError};
use dealpulse::record::{
    Clock, CustomFields, Entity, Field, Home, Origin, Record, SCHEMA, Stamp, Symbols,
};
use futures::future::BoxFuture;

use super::Broken;
use super::process::poll;
use super::rows::{Key, Value};
use super::world::{Sim, pause};

/// What the next epoch is to be.
#[derive(Clone)]
pub struct QueryPlan {
    pub form: Form,
    pub next: Epoch,
}

/// The process that rebuilds.
pub struct Rebuilder {
    sim: Sim,
    plan: QueryPlan,
    /// Where the routers of the new reading are, and have to be.
    pub routed: Arc<Mutex<Vec<(u64, u64)>>>,
    working: Option<BoxFuture<'static, Result<(), OutsideError>>>,
}

impl Rebuilder {
    pub fn new(sim: &Sim, plan: QueryPlan) -> Rebuilder {
        Rebuilder {
            sim: sim.clone(),
            plan,
            routed: Arc::default(),
            working: None,
        }
    }

    pub fn form(&self) -> Form {
        self.plan.form
    }

    /// True if the program that rebuilds counts by other formulas than the epoch before.
    pub fn is_upgrade(&self) -> bool {
        self.plan.next.stood_at.is_some()
    }

    /// It came to its end, or was given up.
    pub fn is_done(&self) -> bool {
        self.sim
            .lock()
            .epochs
            .get(&self.plan.next.epoch)
            .is_some_and(|epoch| epoch.stage != Stage::Building)
    }

    pub fn crash(&mut self) {
        if self.working.take().is_some() {
            self.sim.lock().seen.rebuilds_resumed += 1;
        }
    }

    pub fn step(&mut self) {
        if self.is_done() {
            return;
        }
        let working = self.working.get_or_insert_with(|| {
            let (sim, QueryPlan { form, next }) = (self.sim.clone(), self.plan.clone());
            let current = sim.lock().epochs[&1].clone();
            let new = NewLog {
                sim: sim.on(next.generation),
                ends: Mutex::default(),
                asked: Mutex::default(),
            };
            let around = Surroundings {
                sim: sim.clone(),
                form,
                current: current.clone(),
                routed: self.routed.clone(),
            };
            Box::pin(
                async move { rebuild(form, &current, &next, (&sim, &new), &sim, &around).await },
            )
        });
        if let Some(Err(_)) = poll(working) {
            self.crash();
        }
    }
}

/// The log that is written by the rebuild, or a spoiled view of it.
struct NewLog {
    sim: Sim,
    /// The ends as they were at first.
    ends: Mutex<BTreeMap<Home, u64>>,
    asked: Mutex<BTreeMap<Home, u32>>,
}

impl Log for NewLog {
    async fn append(&self, messages: Vec<(Home, Vec<u8>)>) -> Result<(), OutsideError> {
        let broken = self.sim.lock().broken;
        for (shard, payload) in messages {
            // Slowly: long enough for a shard that has read an epoch's start to send a link to one
            // that has not.
            for _ in 0..self.sim.below(60) {
                pause().await;
            }
            self.sim
                .append(vec![(shard, copied(payload, broken))])
                .await?;
        }
        Ok(())
    }

    async fn commit(&self, positions: &[(Home, u64)]) -> Result<(), OutsideError> {
        self.sim.commit(positions).await
    }

    /// Without all turns, the last ones look at ends that were passed already.
    async fn bounds(&self, shard: Home) -> Result<(u64, u64), OutsideError> {
        let (low, high) = self.sim.bounds(shard).await?;
        let turns = match self.sim.lock().broken {
            Broken::OneTurn => 1,
            Broken::TwoTurns => 2,
            Broken::ThreeTurns => 3,
            Broken::FourTurns => 4,
            Broken::FiveTurns => 5,
            _ => u32::MAX,
        };
        let turn = *self
            .asked
            .lock()
            .unwrap()
            .entry(shard)
            .and_modify(|turn| *turn += 1)
            .or_insert(1);
        let mut ends = self.ends.lock().unwrap();
        if turn <= turns {
            ends.insert(shard, high);
        }
        Ok((low, ends[&shard]))
    }

    async fn read_again(&self, shard: Home, offset: u64) -> Result<Option<Entry>, OutsideError> {
        self.sim.read_again(shard, offset).await
    }
}

/// What a rebuild asks for.
struct Surroundings {
    sim: Sim,
    form: Form,
    current: Epoch,
    routed: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Surroundings {
    /// The old log's checkpoints as they are now, whatever was read before.
    fn checkpoints(&self) -> Vec<u64> {
        let world = self.sim.lock();
        let checkpoint = |shard| match world
            .tables
            .get(&(1, shard, Key::Checkpoint))
            .map(|row| &row.row)
        {
            Some(Value::Checkpoint(checkpoint)) => checkpoint.next_offset,
            _ => 0,
        };
        (0..self.current.partitions).map(checkpoint).collect()
    }
}

impl RetryPolicy for Surroundings {
    async fn should_retry(&self, attempt: u32, error: &OutsideError) -> bool {
        self.sim.should_retry(attempt, error).await
    }
}

impl Around for Surroundings {
    async fn carry_from(&self, positions: &[u64]) -> Result<(), OutsideError> {
        pause().await;
        let world = &mut *self.sim.lock();
        if world.broken != Broken::CarriedFromLater {
            world.carried.get_or_insert_with(|| positions.to_vec());
        }
        Ok(())
    }

    async fn input_ends(&self) -> Result<Vec<u64>, OutsideError> {
        let later = self.checkpoints();
        let world = &mut *self.sim.lock();
        Ok(match self.form {
            Form::Definitions => Vec::new(),
            Form::Log => {
                world.carried.get_or_insert(later);
                world.ends(1)
            }
            Form::Mapping => self
                .routed
                .lock()
                .unwrap()
                .iter()
                .map(|(_, end)| *end)
                .collect(),
        })
    }

    async fn input_positions(&self) -> Result<Vec<u64>, OutsideError> {
        Ok(match self.form {
            Form::Definitions => Vec::new(),
            Form::Log => self.sim.lock().carried.clone().unwrap_or_default(),
            Form::Mapping => self
                .routed
                .lock()
                .unwrap()
                .iter()
                .map(|(position, _)| *position)
                .collect(),
        })
    }

    async fn wait(&self, _what: Waiting) {
        pause().await;
    }

    fn now(&self) -> i64 {
        self.sim.lock().tick
    }
}

/// Records on their way into the new log, with something of them left out.
fn copied(payload: Vec<u8>, broken: Broken) -> Vec<u8> {
    let spoils = matches!(
        broken,
        Broken::TiesNotCopied
            | Broken::FirstNotCopied
            | Broken::OriginsAnew
            | Broken::ClocksOfTheNewest
            | Broken::CutsNotCopied
    );
    let Ok(Message::Records(records)) = wire::read(&payload, &SCHEMA) else {
        return payload;
    };
    if !spoils {
        return payload;
    }
    let spoiled: Vec<RecordMessage<'_>> = records
        .into_iter()
        .map(|record| spoil(record, broken))
        .collect();
    wire::write_records(spoiled.iter())
}

fn spoil<'a>(message: RecordMessage<'a>, broken: Broken) -> RecordMessage<'a> {
    let (entity, mut customs, mut symbols) = (
        message.name.entity,
        CustomFields::default(),
        Symbols::default(),
    );
    let record = Record::from_bytes(entity.spec(), &message.state, &mut customs, &mut symbols)
        .expect("what was written");
    let mut copied = Record::default();
    let fields: Vec<Field> = (0..entity.fields().len() as u16)
        .map(Field)
        .chain(record.custom_fields())
        .collect();
    let newest = record.last_clock().unwrap_or_default();
    let mut first: Option<Clock> = None;
    for field in fields {
        let values: Vec<_> = record.stamped(field, &symbols).collect();
        let keep = if broken == Broken::TiesNotCopied
            && entity.spec().spec(field).keep == dealpulse::record::Keep::Latest
        {
            1
        } else {
            values.len()
        };
        for value in values.iter().rev().take(keep) {
            let Stamp {
                mut clock,
                mut origin,
            } = value.stamp;
            match broken {
                Broken::OriginsAnew => {
                    origin = Origin {
                        topic: u32::MAX,
                        ..Origin::default()
                    }
                }
                Broken::ClocksOfTheNewest
                    if entity.spec().spec(field).keep == dealpulse::record::Keep::Latest =>
                {
                    clock = newest
                }
                _ => {}
            }
            first = Some(first.map_or(clock, |first| first.min(clock)));
            copied
                .assert(
                    field,
                    entity.spec().spec(field).keep,
                    Stamp { clock, origin },
                    value.held,
                    &mut symbols,
                )
                .expect("room");
        }
    }
    let witnessed = if broken == Broken::FirstNotCopied {
        first
    } else {
        record.first()
    };
    if let Some(clock) = witnessed {
        copied.witness(clock);
    }
    if entity == Entity::ALIAS {
        return message;
    }
    RecordMessage {
        state: copied.to_bytes(&customs, &symbols).into(),
        ..message
    }
}
