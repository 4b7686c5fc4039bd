//! The log and the store in memory: what `report` and the tests run on in place of Kafka and, in
//! the tests, of ClickHouse.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;

use super::{
    CellName, Checkpoint, Entry, Epoch, HourlyRows, Log, OutsideError, Row, Store, StoredCell,
    StoredLink, StoredRecord,
};
use crate::record::{Entity, Home};
use crate::shard::{CellRow, CellRows, ChangeRow, LinkRow, RecordRow};
use crate::window::Pane;

/// A log of so many partitions.
#[derive(Debug)]
pub struct MemoryLog {
    partitions: Vec<Mutex<Partition>>,
}

#[derive(Debug, Default)]
struct Partition {
    /// The offset of the oldest message kept.
    low: u64,
    entries: VecDeque<Entry>,
}

impl Partition {
    fn high(&self) -> u64 {
        self.low + self.entries.len() as u64
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new(partitions: u32) -> Self {
        MemoryLog {
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
        }
    }

    /// Up to `count` messages of a partition from an offset on.
    pub fn read(&self, shard: Home, from: u64, count: usize) -> Vec<Entry> {
        let partition = lock(&self.partitions[shard as usize]);
        let start = (from.saturating_sub(partition.low) as usize).min(partition.entries.len());
        partition
            .entries
            .range(start..)
            .take(count)
            .cloned()
            .collect()
    }

    /// Appends messages as taken at `append_time` (µs), so that a history read from files has times
    /// of its own.
    pub fn append_at(&self, messages: Vec<(Home, Vec<u8>)>, append_time: i64) {
        for (shard, payload) in messages {
            let mut partition = lock(&self.partitions[shard as usize]);
            let offset = partition.high();
            partition.entries.push_back(Entry {
                offset,
                append_time,
                payload,
            });
        }
    }

    /// Lets go of the messages of a partition before an offset, as retention would.
    pub fn forget(&self, shard: Home, before: u64) {
        let mut partition = lock(&self.partitions[shard as usize]);
        while partition.low < before && partition.entries.pop_front().is_some() {
            partition.low += 1;
        }
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }
}

/// A poisoned lock only means that another thread panicked; what it guards is whole after every
/// push and insert.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Log for MemoryLog {
    async fn append(&self, messages: Vec<(Home, Vec<u8>)>) -> Result<(), OutsideError> {
        for (shard, payload) in messages {
            let mut partition = lock(&self.partitions[shard as usize]);
            let offset = partition.high();
            partition.entries.push_back(Entry {
                offset,
                append_time: offset as i64,
                payload,
            });
        }
        Ok(())
    }

    async fn commit(&self, _positions: &[(Home, u64)]) -> Result<(), OutsideError> {
        Ok(())
    }

    async fn bounds(&self, shard: Home) -> Result<(u64, u64), OutsideError> {
        let partition = lock(&self.partitions[shard as usize]);
        Ok((partition.low, partition.high()))
    }

    async fn read_again(&self, shard: Home, offset: u64) -> Result<Option<Entry>, OutsideError> {
        Ok(self
            .read(shard, offset, 1)
            .pop()
            .filter(|entry| entry.offset == offset))
    }
}

/// The key of a rollup row.
pub type CellKey = (u32, Home, String, Pane, String, Vec<String>, String);
type LinkName = (u32, Home, (Entity, String), (Entity, String));

/// Tables that keep, of rows with one key, the one of the greatest version; of equals, the last.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default, Clone)]
struct Tables {
    epochs: BTreeMap<u32, Epoch>,
    copied: BTreeSet<(u32, Home)>,
    cells: BTreeMap<CellKey, Row<CellRow>>,
    hourly: BTreeMap<(CellKey, i64), Row<CellRow>>,
    changes: BTreeMap<(u32, Home, Entity, String, u64), ChangeRow>,
    records: BTreeMap<(u32, Home, Entity, String), Row<RecordRow>>,
    links: BTreeMap<LinkName, Row<LinkRow>>,
    checkpoints: BTreeMap<(u32, Home), Checkpoint>,
}

fn cell_key(row: &Row<CellRow>) -> CellKey {
    let cell = &row.row;
    (
        cell.epoch,
        row.shard,
        cell.rollup.clone(),
        cell.pane,
        cell.grouping.clone(),
        cell.values.clone(),
        cell.currency.clone(),
    )
}

fn put<K: Ord, T>(table: &mut BTreeMap<K, Row<T>>, key: K, row: Row<T>) {
    if table
        .get(&key)
        .is_none_or(|known| known.version <= row.version)
    {
        table.insert(key, row);
    }
}

impl MemoryStore {
    /// The rollup rows that count, zeros included.
    pub fn cells(&self) -> BTreeMap<CellKey, Row<CellRow>> {
        lock(&self.tables).cells.clone()
    }

    /// The state of hours by cell and hour (s), zeros included.
    pub fn hourly(&self) -> BTreeMap<(CellKey, i64), Row<CellRow>> {
        lock(&self.tables).hourly.clone()
    }

    /// The record rows that count, by generation, shard, entity and id.
    pub fn record_rows(&self) -> BTreeMap<(u32, Home, Entity, String), Row<RecordRow>> {
        lock(&self.tables).records.clone()
    }

    /// The link rows that count.
    pub fn link_rows(&self) -> Vec<Row<LinkRow>> {
        lock(&self.tables).links.values().cloned().collect()
    }

    /// The rows of `changes`.
    pub fn change_rows(&self) -> Vec<ChangeRow> {
        lock(&self.tables).changes.values().cloned().collect()
    }
}

impl Store for MemoryStore {
    async fn epochs(&self) -> Result<Vec<Epoch>, OutsideError> {
        Ok(lock(&self.tables).epochs.values().cloned().collect())
    }

    async fn put_first_epoch(&self, epoch: &Epoch) -> Result<(), OutsideError> {
        let epochs = &mut lock(&self.tables).epochs;
        if epochs.is_empty() {
            epochs.insert(epoch.epoch, epoch.clone());
        }
        Ok(())
    }

    async fn put_epoch(&self, epoch: &Epoch) -> Result<(), OutsideError> {
        let epochs = &mut lock(&self.tables).epochs;
        if epochs
            .get(&epoch.epoch)
            .is_none_or(|known| known.stage <= epoch.stage)
        {
            epochs.insert(epoch.epoch, epoch.clone());
        }
        Ok(())
    }

    async fn copied(&self, epoch: u32) -> Result<Vec<Home>, OutsideError> {
        Ok(lock(&self.tables)
            .copied
            .iter()
            .filter(|(of, _)| *of == epoch)
            .map(|(_, shard)| *shard)
            .collect())
    }

    async fn record_copied(&self, epoch: u32, shard: Home) -> Result<(), OutsideError> {
        lock(&self.tables).copied.insert((epoch, shard));
        Ok(())
    }

    async fn checkpoint(
        &self,
        generation: u32,
        shard: Home,
    ) -> Result<Option<Checkpoint>, OutsideError> {
        Ok(lock(&self.tables)
            .checkpoints
            .get(&(generation, shard))
            .cloned())
    }

    async fn each_record(
        &self,
        generation: u32,
        shard: Home,
        take: &mut (dyn FnMut(StoredRecord<'_>) + Send),
    ) -> Result<(), OutsideError> {
        let tables = lock(&self.tables);
        let rows = tables
            .records
            .iter()
            .filter(|(key, _)| (key.0, key.1) == (generation, shard))
            .map(|(_, row)| row);
        for row in rows {
            take(StoredRecord {
                entity: row.row.entity,
                id: row.row.id().into(),
                state: row.row.state().into(),
                version: row.version,
            });
        }
        Ok(())
    }

    async fn each_link(
        &self,
        epoch: u32,
        shard: Home,
        take: &mut (dyn FnMut(StoredLink<'_>) + Send),
    ) -> Result<(), OutsideError> {
        let tables = lock(&self.tables);
        let rows = tables
            .links
            .iter()
            .filter(|(key, _)| (key.0, key.1) == (epoch, shard))
            .map(|(_, row)| row);
        for row in rows {
            let (target, sender) = (&row.row.target, &row.row.sender);
            take(StoredLink {
                epoch,
                target: (target.0, target.1.as_str().into()),
                sender: (sender.0, sender.1.as_str().into()),
                link_version: row.row.link_version,
                content: row.row.content.as_slice().into(),
                version: row.version,
            });
        }
        Ok(())
    }

    async fn rollups(&self, epoch: u32, shard: Home) -> Result<Vec<StoredCell>, OutsideError> {
        let tables = lock(&self.tables);
        let rows = tables
            .cells
            .values()
            .filter(|row| (row.row.epoch, row.shard) == (epoch, shard));
        Ok(rows
            .map(|row| StoredCell {
                name: CellName::of(&row.row),
                cell: row.row.cell.clone(),
                version: row.version,
            })
            .collect())
    }

    async fn rollup_shards(&self, epoch: u32) -> Result<Vec<Home>, OutsideError> {
        let tables = lock(&self.tables);
        let shards: BTreeSet<Home> = tables
            .cells
            .values()
            .filter(|row| row.row.epoch == epoch)
            .map(|row| row.shard)
            .collect();
        Ok(shards.into_iter().collect())
    }

    async fn insert_cells(&self, blocks: &[Row<CellRows>]) -> Result<(), OutsideError> {
        let tables = &mut lock(&self.tables).cells;
        for row in blocks.iter().flat_map(Row::decode) {
            put(tables, cell_key(&row), row);
        }
        Ok(())
    }

    async fn insert_hourly(&self, blocks: &[HourlyRows]) -> Result<(), OutsideError> {
        let tables = &mut lock(&self.tables).hourly;
        for block in blocks {
            for row in block.cells.decode() {
                put(tables, (cell_key(&row), block.hour), row);
            }
        }
        Ok(())
    }

    async fn insert_changes(
        &self,
        generation: u32,
        rows: &[Row<ChangeRow>],
    ) -> Result<(), OutsideError> {
        let tables = &mut lock(&self.tables).changes;
        for row in rows {
            tables.insert(
                (
                    generation,
                    row.shard,
                    row.row.entity,
                    row.row.id.to_string(),
                    row.version,
                ),
                row.row.clone(),
            );
        }
        Ok(())
    }

    async fn insert_records(
        &self,
        generation: u32,
        rows: &[Row<RecordRow>],
    ) -> Result<(), OutsideError> {
        let tables = &mut lock(&self.tables).records;
        for row in rows {
            put(
                tables,
                (
                    generation,
                    row.shard,
                    row.row.entity,
                    row.row.id().to_owned(),
                ),
                Row {
                    row: row.row.detached(),
                    ..*row
                },
            );
        }
        Ok(())
    }

    async fn insert_links(&self, rows: &[Row<LinkRow>]) -> Result<(), OutsideError> {
        let tables = &mut lock(&self.tables).links;
        for row in rows {
            put(
                tables,
                (
                    row.row.epoch,
                    row.shard,
                    row.row.target.clone(),
                    row.row.sender.clone(),
                ),
                row.clone(),
            );
        }
        Ok(())
    }

    async fn insert_checkpoints(
        &self,
        generation: u32,
        rows: &[(Home, Checkpoint)],
    ) -> Result<(), OutsideError> {
        let tables = &mut lock(&self.tables).checkpoints;
        for (shard, checkpoint) in rows {
            let known = tables
                .get(&(generation, *shard))
                .map_or(0, |known| known.next_offset);
            if known <= checkpoint.next_offset {
                tables.insert((generation, *shard), checkpoint.clone());
            }
        }
        Ok(())
    }
}
