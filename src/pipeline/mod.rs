//! The pipeline: route, fold, flush and restart, as a protocol over two traits: a log and a store.
//!
//! Nothing here knows Kafka or ClickHouse. Every row written is f(log ≤ version), so a retry, a
//! replay or a stale owner writes the same value or loses to a newer one.

pub mod catalogue;
pub mod epochs;
pub mod flush;
pub mod following;
pub mod known;
pub mod memory;
pub mod outbox;
pub mod owner;
pub mod payments;
pub mod rebuild;
pub mod reconcile;
pub mod restart;
pub mod route;
pub mod run_to_completion;
pub mod watermark;

pub use epochs::Epoch;

use std::borrow::Cow;
use std::future::Future;

use crate::record::{Entity, Home};
use crate::shard::{CellRow, CellRows, ChangeRow, LinkRow, RecordRow};
use crate::window::{Cell, Pane};

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Whoever wrote the configuration or the input.
    User,
    /// Whoever runs Kafka, ClickHouse or the network.
    External,
    /// We.
    Internal,
}

/// An error of the log or the store.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {message}")]
pub struct OutsideError {
    /// What was being done.
    pub doing: String,
    /// What was answered, and what to do.
    pub message: String,
    /// Who has to act.
    pub fault: Fault,
    /// The same call may succeed later.
    pub is_transient: bool,
}

impl OutsideError {
    /// An outage: worth trying again.
    pub fn transient(doing: impl Into<String>, message: impl std::fmt::Display) -> Self {
        OutsideError {
            doing: doing.into(),
            message: message.to_string(),
            fault: Fault::External,
            is_transient: true,
        }
    }

    /// A refusal: trying again is no use.
    pub fn fatal(doing: impl Into<String>, message: impl std::fmt::Display) -> Self {
        OutsideError {
            doing: doing.into(),
            message: message.to_string(),
            fault: Fault::External,
            is_transient: false,
        }
    }
}

/// One message of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its offset.
    pub offset: u64,
    /// When the log took it (µs).
    pub append_time: i64,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// The internal log, written. One partition a shard, kept until its retention, never compacted.
pub trait Log: Send + Sync {
    /// Appends messages to the partitions named; returns once every one is acknowledged by all
    /// in-sync replicas.
    fn append(
        &self,
        messages: Vec<(Home, Vec<u8>)>,
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Notes in the log's own books up to where a shard is done. Only for onlookers: a restart goes
    /// by the checkpoint.
    fn commit(
        &self,
        positions: &[(Home, u64)],
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Checks that the log still is what the protocol relies on: its partition count, its
    /// retention.
    fn check(&self) -> impl Future<Output = Result<(), OutsideError>> + Send {
        async { Ok(()) }
    }

    /// The offset of the oldest message kept and the offset after the newest one.
    fn bounds(&self, shard: Home) -> impl Future<Output = Result<(u64, u64), OutsideError>> + Send;

    /// One message, read again; `None` if it is not there any more.
    fn read_again(
        &self,
        shard: Home,
        offset: u64,
    ) -> impl Future<Output = Result<Option<Entry>, OutsideError>> + Send;
}

/// A row with the shard it belongs to and the offset it is the value at.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<T> {
    /// The shard.
    pub shard: Home,
    /// The offset after the last message that is in it.
    pub version: u64,
    /// Its content.
    pub row: T,
}

impl Row<CellRows> {
    /// A block of one row.
    pub fn single(row: Row<CellRow>) -> Self {
        Row {
            shard: row.shard,
            version: row.version,
            row: std::iter::once(row.row).collect(),
        }
    }

    /// The rows of a block, each by itself.
    pub fn decode(&self) -> impl Iterator<Item = Row<CellRow>> {
        let (shard, version) = (self.shard, self.version);
        self.row.decode().map(move |row| Row {
            shard,
            version,
            row,
        })
    }
}

/// The touched cells whose state is kept of every hour, as they were in one: the latest row of a
/// cell before an hour is its state then.
#[derive(Debug, Clone, PartialEq)]
pub struct HourlyRows {
    /// The start of the hour (s): that of the greatest append time folded.
    pub hour: i64,
    /// The cells.
    pub cells: Row<CellRows>,
}

/// The start (s) of the hour of an append time (µs).
pub fn hour_of(append_time: i64) -> i64 {
    append_time.div_euclid(3_600_000_000) * 3_600
}

/// How far a shard is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The offset of the next message to fold.
    pub next_offset: u64,
    /// [`message_hash`] of the last message folded, to recognise the log by.
    pub message_hash: u64,
    /// The greatest append time folded (µs).
    pub append_time: i64,
}

/// The hash a checkpoint keeps of a message.
pub fn message_hash(payload: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(payload)
}

/// A record as the store gives it back.
#[derive(Debug, Clone)]
pub struct StoredRecord<'s> {
    /// What kind.
    pub entity: Entity,
    /// Its id.
    pub id: Cow<'s, str>,
    /// The record's bytes.
    pub state: Cow<'s, [u8]>,
    /// The offset it is the value at.
    pub version: u64,
}

impl StoredRecord<'_> {
    /// The same, to be kept.
    pub fn into_owned(self) -> StoredRecord<'static> {
        StoredRecord {
            entity: self.entity,
            id: self.id.into_owned().into(),
            state: self.state.into_owned().into(),
            version: self.version,
        }
    }
}

/// A link as the store gives it back.
#[derive(Debug, Clone)]
pub struct StoredLink<'s> {
    /// The epoch it was made in.
    pub epoch: u32,
    /// The target.
    pub target: (Entity, Cow<'s, str>),
    /// The sender.
    pub sender: (Entity, Cow<'s, str>),
    /// The offset in the sender's log it was taken at.
    pub link_version: u64,
    /// The link's content.
    pub content: Cow<'s, [u8]>,
    /// The offset it is the value at.
    pub version: u64,
}

impl StoredLink<'_> {
    /// The same, to be kept.
    pub fn into_owned(self) -> StoredLink<'static> {
        StoredLink {
            epoch: self.epoch,
            target: (self.target.0, self.target.1.into_owned().into()),
            sender: (self.sender.0, self.sender.1.into_owned().into()),
            link_version: self.link_version,
            content: self.content.into_owned().into(),
            version: self.version,
        }
    }
}

/// Which cell of an epoch and shard, in the words of the rollups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellName {
    /// The rollup's name.
    pub series: String,
    /// The grouping set's name: its dimensions joined by commas.
    pub dimension: String,
    /// The dimensions' values.
    pub value: Vec<String>,
    /// The stretch of time.
    pub pane: Pane,
    /// The currency of its amounts.
    pub currency: String,
}

impl CellName {
    /// The name of a row that is to be written.
    pub fn of(row: &CellRow) -> Self {
        let (series, dimension, value) =
            (row.rollup.clone(), row.grouping.clone(), row.values.clone());
        CellName {
            series,
            dimension,
            value,
            pane: row.pane,
            currency: row.currency.clone(),
        }
    }
}

/// A cell as the store gives it back.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCell {
    /// Which.
    pub name: CellName,
    /// Its values.
    pub cell: Cell,
    /// The offset it is the value at.
    pub version: u64,
}

/// Where rows are kept: facts, rollups, checkpoints, changes, epochs. Of rows with one key the
/// greatest version counts.
pub trait Store: Send + Sync {
    /// All epochs there ever were, oldest first.
    fn epochs(&self) -> impl Future<Output = Result<Vec<Epoch>, OutsideError>> + Send;

    /// Writes the epoch a database begins with. Of several writers the first one's counts; reading
    /// it back shows whose it was.
    fn put_first_epoch(
        &self,
        epoch: &Epoch,
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Writes an epoch, new or further in its life: of rows of one epoch the one of the latest
    /// stage counts.
    fn put_epoch(&self, epoch: &Epoch) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// The shards whose records were copied into the new log that an epoch is being built on.
    fn copied(&self, epoch: u32) -> impl Future<Output = Result<Vec<Home>, OutsideError>> + Send;

    /// Notes that a shard's records were.
    fn record_copied(
        &self,
        epoch: u32,
        shard: Home,
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Where a shard is, if it ever was anywhere.
    fn checkpoint(
        &self,
        generation: u32,
        shard: Home,
    ) -> impl Future<Output = Result<Option<Checkpoint>, OutsideError>> + Send;

    /// Where each of so many shards is, if it ever was anywhere.
    fn checkpoints(
        &self,
        generation: u32,
        shards: u32,
    ) -> impl Future<Output = Result<Vec<(Home, Checkpoint)>, OutsideError>> + Send {
        async move {
            let mut checkpoints = Vec::new();
            for shard in 0..shards {
                let checkpoint = self.checkpoint(generation, shard).await?;
                checkpoints.extend(checkpoint.map(|checkpoint| (shard, checkpoint)));
            }
            Ok(checkpoints)
        }
    }

    /// Hands over every record of a shard, one after the other: there may be more than fit in
    /// memory twice.
    fn each_record(
        &self,
        generation: u32,
        shard: Home,
        take: &mut (dyn FnMut(StoredRecord<'_>) + Send),
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Every record of a shard.
    fn records(
        &self,
        generation: u32,
        shard: Home,
    ) -> impl Future<Output = Result<Vec<StoredRecord<'static>>, OutsideError>> + Send {
        async move {
            let mut records = Vec::new();
            let mut take = |record: StoredRecord<'_>| records.push(record.into_owned());
            self.each_record(generation, shard, &mut take).await?;
            Ok(records)
        }
    }

    /// Hands over every link received by a shard in an epoch, likewise.
    fn each_link(
        &self,
        epoch: u32,
        shard: Home,
        take: &mut (dyn FnMut(StoredLink<'_>) + Send),
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Every link received by a shard in an epoch.
    fn links(
        &self,
        epoch: u32,
        shard: Home,
    ) -> impl Future<Output = Result<Vec<StoredLink<'static>>, OutsideError>> + Send {
        async move {
            let mut links = Vec::new();
            let mut take = |link: StoredLink<'_>| links.push(link.into_owned());
            self.each_link(epoch, shard, &mut take).await?;
            Ok(links)
        }
    }

    /// Every cell of a shard in an epoch, zeros included.
    fn rollups(
        &self,
        epoch: u32,
        shard: Home,
    ) -> impl Future<Output = Result<Vec<StoredCell>, OutsideError>> + Send;

    /// The shards that have cells in an epoch, in order.
    fn rollup_shards(
        &self,
        epoch: u32,
    ) -> impl Future<Output = Result<Vec<Home>, OutsideError>> + Send;

    /// Writes cells: blocks of rows of one shard and version each.
    fn insert_cells(
        &self,
        blocks: &[Row<CellRows>],
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Writes the state of hours.
    fn insert_hourly(
        &self,
        blocks: &[HourlyRows],
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Writes what messages changed.
    fn insert_changes(
        &self,
        generation: u32,
        rows: &[Row<ChangeRow>],
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Writes records.
    fn insert_records(
        &self,
        generation: u32,
        rows: &[Row<RecordRow>],
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Writes links received.
    fn insert_links(
        &self,
        rows: &[Row<LinkRow>],
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;

    /// Writes where shards are.
    fn insert_checkpoints(
        &self,
        generation: u32,
        rows: &[(Home, Checkpoint)],
    ) -> impl Future<Output = Result<(), OutsideError>> + Send;
}
