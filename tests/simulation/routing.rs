//! What writes into the logs: routers of the input, and carriers of an old log into a newer one.
//! Whatever was sent since the last commit may be sent again.

use dealpulse::event::decode::cloudevents;
use dealpulse::event::wire::{self, LinkMessage, Message};
use dealpulse::pipeline::epochs::{Epoch, current};
use dealpulse::pipeline::route::partition_by_home;
use dealpulse::pipeline::{Log, OutsideError, rebuild};
use dealpulse::record::{Entity, Home, SCHEMA, home};
use futures::future::BoxFuture;

use super::Broken;
use super::process::poll;
use super::world::Sim;
use crate::support::pure::context;

type Sending = Option<BoxFuture<'static, Result<(), OutsideError>>>;

/// A router of one input partition, in one reading of the input.
pub struct Router {
    /// With the log it writes to, as far as it knows.
    sim: Sim,
    reading: u32,
    lines: Vec<(u64, String)>,
    next: usize,
    committed: usize,
    sending: Sending,
    /// It never reads the epochs again.
    pub is_straggler: bool,
    /// Its reading is not the current one any more, and it knows.
    is_over: bool,
}

impl Router {
    pub fn new(sim: &Sim, reading: u32, lines: Vec<(u64, String)>) -> Router {
        Router {
            sim: sim.clone(),
            reading,
            lines,
            next: 0,
            committed: 0,
            sending: None,
            is_straggler: false,
            is_over: false,
        }
    }

    pub fn is_done(&self) -> bool {
        self.is_over || self.committed == self.lines.len()
    }

    /// How far it is.
    pub fn position(&self) -> u64 {
        self.committed as u64
    }

    pub fn reading(&self) -> u32 {
        self.reading
    }

    pub fn crash(&mut self) {
        self.sending = None;
        self.next = self.committed;
    }

    /// Reads the epochs: the current one has the log to write to, or that another reading has taken
    /// over.
    fn look(&mut self) {
        let epochs: Vec<Epoch> = self.sim.lock().epochs.values().cloned().collect();
        let Some(current) = current(&epochs) else {
            return;
        };
        if current.reading == self.reading {
            self.sim = self.sim.on(current.generation);
        } else if current.reading > self.reading {
            self.is_over = true;
        }
    }

    pub fn step(&mut self) {
        if let Some(sending) = &mut self.sending {
            match poll(sending) {
                None => return,
                Some(Err(_)) => return self.crash(),
                Some(Ok(())) => self.sending = None,
            }
            if self.sim.percent(70) || self.next == self.lines.len() {
                self.committed = self.next;
            }
            return;
        }
        if !self.is_straggler && self.sim.percent(10) {
            self.look();
            if self.is_over {
                return;
            }
        }
        let end = (self.next + 1 + self.sim.below(4)).min(self.lines.len());
        let decoded = self.lines[self.next..end].iter().map(|(offset, line)| {
            cloudevents::decode(Some(line.as_bytes()), &[], &context(*offset))
        });
        let mut assertions: Vec<_> = decoded.flat_map(|d| d.assertions).collect();
        self.next = end;
        if self.sim.lock().broken == Broken::TiesByArrival {
            for assertion in &mut assertions {
                let world = &mut *self.sim.lock();
                world.routed += 1;
                assertion.stamp.origin.offset = world.routed;
            }
        }
        let shards = self.sim.partitions();
        let mut messages = partition_by_home(&assertions, shards);
        if self.sim.lock().broken == Broken::AliasesAtHomeOnly {
            messages = messages
                .into_iter()
                .filter_map(|(shard, bytes)| {
                    Some((shard, without_foreign_aliases(shard, &bytes, shards)?))
                })
                .collect();
        }
        let sim = self.sim.clone();
        self.sending = Some(Box::pin(async move { sim.append(messages).await }));
    }
}

/// Leaves out what is sent to a shard about records that are not its own.
fn without_foreign_aliases(shard: Home, bytes: &[u8], shards: u32) -> Option<Vec<u8>> {
    let Ok(Message::Assertions(batch)) = wire::read(bytes, &SCHEMA) else {
        panic!("routers send assertions")
    };
    let mut assertions: Vec<_> = batch.assertions().collect();
    assertions.retain(|a| {
        a.entity != Entity::ALIAS
            || a.id
                .split_once(':')
                .is_some_and(|(_, id)| home(Entity::DEAL, id, shards) == shard)
    });
    (!assertions.is_empty()).then(|| wire::write_assertions(assertions.iter()))
}

/// Carries the first log over into the second.
pub struct Carrier {
    old: Sim,
    new: Sim,
    positions: Option<Vec<u64>>,
    sending: Sending,
}

impl Carrier {
    pub fn new(old: &Sim, new: &Sim) -> Carrier {
        Carrier {
            old: old.clone(),
            new: new.clone(),
            positions: None,
            sending: None,
        }
    }

    pub fn is_at_rest(&self) -> bool {
        let world = self.old.lock();
        self.sending.is_none()
            && world
                .carried
                .as_ref()
                .is_some_and(|carried| *carried == world.ends(self.old.generation))
    }

    pub fn crash(&mut self) {
        (self.sending, self.positions) = (None, None);
    }

    pub fn step(&mut self) {
        if let Some(sending) = &mut self.sending {
            match poll(sending) {
                None => return,
                Some(Err(_)) => return self.crash(),
                Some(Ok(())) => self.sending = None,
            }
            let is_end =
                self.positions.as_ref() == Some(&self.old.lock().ends(self.old.generation));
            if is_end || self.old.percent(70) {
                let carried = &mut self.old.lock().carried;
                for (committed, position) in carried
                    .iter_mut()
                    .flatten()
                    .zip(self.positions.iter().flatten())
                {
                    *committed = (*committed).max(*position);
                }
            }
            return;
        }
        let Some(committed) = self.old.lock().carried.clone() else {
            return;
        };
        let positions = self.positions.get_or_insert(committed);
        let shard = self.old.below(positions.len());
        let (entries, partitions) = (
            self.old.read(shard as Home, positions[shard], 3),
            self.new.partitions(),
        );
        positions[shard] += entries.len() as u64;
        let copies_links = self.old.lock().broken == Broken::LinksCarried;
        let mut messages = Vec::new();
        for entry in entries {
            messages.extend(
                rebuild::carry(&entry.payload, partitions)
                    .expect("the log holds what was written to it"),
            );
            if copies_links && let Ok(Message::Links(links)) = wire::read(&entry.payload, &SCHEMA) {
                let renamed = links
                    .into_iter()
                    .map(|link| LinkMessage { epoch: 2, ..link });
                messages.extend(renamed.map(|link| {
                    (
                        home(link.target.entity, &link.target.id, partitions),
                        wire::write_links([link].iter()),
                    )
                }));
            }
        }
        let new = self.new.clone();
        self.sending = Some(Box::pin(async move { new.append(messages).await }));
    }
}
