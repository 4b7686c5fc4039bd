//! What is written into the store and sent through the log, with what it is known by.

use dealpulse::pipeline::{Checkpoint, Row};
use dealpulse::record::{Entity, Home};
use dealpulse::shard::{CellRow, ChangeRow, LinkRow, RecordRow};
use dealpulse::window::Pane;

/// What a row is known by, within its shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Cell(u32, String, String, Pane, Vec<String>, String),
    /// The state of a cell in an hour (s).
    Hourly(Box<Key>, i64),
    Change(Entity, String, u64),
    Record(Entity, String),
    Link(u32, (Entity, String), (Entity, String)),
    Checkpoint,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Cell(CellRow),
    Hourly(CellRow, i64),
    Change(ChangeRow),
    Record(RecordRow),
    Link(LinkRow),
    Checkpoint(Checkpoint),
}

impl Value {
    pub fn key(&self) -> Key {
        match self {
            Value::Cell(c) => Key::Cell(
                c.epoch,
                c.rollup.clone(),
                c.grouping.clone(),
                c.pane,
                c.values.clone(),
                c.currency.clone(),
            ),
            Value::Hourly(c, hour) => Key::Hourly(Box::new(Value::Cell(c.clone()).key()), *hour),
            Value::Change(c) => Key::Change(c.entity, c.id.to_string(), c.version),
            Value::Record(r) => Key::Record(r.entity, r.id().to_owned()),
            Value::Link(l) => Key::Link(l.epoch, l.target.clone(), l.sender.clone()),
            Value::Checkpoint(_) => Key::Checkpoint,
        }
    }
}

/// A row as it was, or will be, written.
pub type Write = Row<Value>;

/// What rows are kept by: generation of the log, shard, key.
pub type RowKey = (u32, Home, Key);

/// A link as it was sent: by which shard of which generation, as of which version.
pub struct SentLink {
    pub generation: u32,
    pub shard: Home,
    pub version: u64,
    pub epoch: u32,
    pub target: (Entity, String),
    pub sender: (Entity, String),
    pub content: Vec<u8>,
}
