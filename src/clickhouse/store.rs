//! The store over ClickHouse: every insert is acknowledged before it returns, and may be repeated.

use std::collections::BTreeSet;

use super::native::{self, Received, received};
use super::rowbinary::{array, cell, pane};
use super::{ClickHouse, epochs};
use crate::codec::{Damaged, Reader, Writer};
use crate::pipeline::{
    CellName, Checkpoint, Epoch, HourlyRows, OutsideError, Row, Store, StoredCell, StoredLink,
    StoredRecord,
};
use crate::record::{Entity, Home};
use crate::shard::columns::{Column, Columns, Kind, SHOWN};
use crate::shard::{CellBlock, CellRows, ChangeRow, LinkRow, RecordRow};

/// Every entity with the table of its facts.
pub fn fact_tables() -> impl Iterator<Item = (Entity, &'static str)> {
    Entity::ALL
        .iter()
        .map(|entity| (*entity, entity.spec().table))
}

/// The columns of the table of an entity's facts.
pub fn fact_columns(entity: Entity) -> Vec<Column> {
    let mut columns = named(&[("generation", Kind::U32), ("shard", Kind::U32)]);
    columns.extend(RecordRow::columns(entity));
    columns.push(Column::new("version", Kind::U64));
    columns
}

/// ClickHouse refuses an insert into more partitions than its limit of 100; half of that leaves a
/// margin for other settings.
const PARTITIONS: usize = 50;

fn damaged(doing: &'static str) -> impl Fn(Damaged) -> OutsideError {
    move |error| OutsideError::fatal(format!("ClickHouse, {doing}"), error)
}

fn named_entity(column: &mut Received<'_>) -> Result<Entity, Damaged> {
    let name = column.text()?;
    let entity = Entity::ALL.into_iter().find(|entity| entity.name() == name);
    let what = "an entity";
    entity.ok_or(Damaged { at: 0, what })
}

fn micros(time: i64) -> [u8; 8] {
    // Columns that are never NULL take the nearest they can hold.
    time.clamp(SHOWN.start, SHOWN.end - 1).to_le_bytes()
}

impl ClickHouse {
    /// Reads rows of RowBinary to the end.
    pub(super) async fn rows<T>(
        &self,
        doing: &'static str,
        sql: &str,
        read: impl Fn(&mut Reader<'_>) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, OutsideError> {
        let bytes = self.fetch(doing, sql, "RowBinary").await?;
        let mut reader = Reader::new(&bytes);
        let mut rows = Vec::new();
        while !reader.is_at_end() {
            rows.push(read(&mut reader).map_err(damaged(doing))?);
        }
        Ok(rows)
    }

    /// Inserts blocks of cells into one of their tables, which may have columns of its own in front.
    async fn insert_cell_blocks(
        &self,
        table: &str,
        own: &str,
        blocks: impl Iterator<Item = Vec<u8>> + Send,
    ) -> Result<(), OutsideError> {
        let columns = CellBlock::COLUMNS.join(", ");
        let columns = format!("{own}epoch, shard, version, {columns}");
        self.insert_blocks(table, &columns, blocks).await
    }
}

/// Cells of a shard at a version as blocks to be inserted, with further columns in front.
fn cell_blocks<const N: usize>(
    own: [(&'static str, Kind, [u8; 4]); N],
    cells: &Row<CellRows>,
) -> impl Iterator<Item = Vec<u8>> + Send {
    let (shard, version) = (cells.shard.to_le_bytes(), cells.version.to_le_bytes());
    cells.row.blocks().iter().map(move |block| {
        let epoch = block.epoch().to_le_bytes();
        let own = own
            .iter()
            .map(|(name, kind, value)| (*name, *kind, &value[..]));
        let mut constant: Vec<(&'static str, Kind, &[u8])> = own.collect();
        constant.push(("epoch", Kind::U32, &epoch));
        constant.push(("shard", Kind::U32, &shard));
        constant.push(("version", Kind::U64, &version));
        native::of_cells(&constant, block)
    })
}

/// The partitions that rows of cells are in.
fn partitions(blocks: &[Row<CellRows>]) -> Vec<(u32, i32)> {
    let blocks = blocks.iter().flat_map(|rows| rows.row.blocks());
    let partitions: BTreeSet<(u32, i32)> = blocks.flat_map(CellBlock::partitions).collect();
    partitions.into_iter().collect()
}

fn named(columns: &[(&'static str, Kind)]) -> Vec<Column> {
    let columns = columns.iter();
    columns
        .map(|(name, kind)| Column::new(*name, *kind))
        .collect()
}

impl Store for ClickHouse {
    async fn epochs(&self) -> Result<Vec<Epoch>, OutsideError> {
        epochs::read(self).await
    }

    async fn put_first_epoch(&self, epoch: &Epoch) -> Result<(), OutsideError> {
        epochs::write_first(self, epoch).await
    }

    async fn put_epoch(&self, epoch: &Epoch) -> Result<(), OutsideError> {
        epochs::write(self, epoch).await
    }

    async fn copied(&self, epoch: u32) -> Result<Vec<Home>, OutsideError> {
        let sql = format!("SELECT DISTINCT shard FROM poured WHERE epoch = {epoch}");
        self.rows("reading which shards were copied", &sql, |r| r.u32())
            .await
    }

    async fn record_copied(&self, epoch: u32, shard: Home) -> Result<(), OutsideError> {
        let row = std::iter::once((epoch, shard));
        let write = |writer: &mut Writer, (epoch, shard): (u32, Home)| {
            writer.fixed(epoch.to_le_bytes());
            writer.fixed(shard.to_le_bytes());
        };
        self.insert("poured", "epoch, shard", row, write).await
    }

    async fn checkpoint(
        &self,
        generation: u32,
        shard: Home,
    ) -> Result<Option<Checkpoint>, OutsideError> {
        let sql = format!(
            "SELECT next_offset, message_hash, append_time FROM checkpoints FINAL WHERE generation = {generation} AND shard = {shard}"
        );
        let rows = self.rows("reading a checkpoint", &sql, |r| {
            Ok(Checkpoint {
                next_offset: r.u64()?,
                message_hash: r.u64()?,
                append_time: r.u64()? as i64,
            })
        });
        Ok(rows.await?.pop())
    }

    async fn checkpoints(
        &self,
        generation: u32,
        _: u32,
    ) -> Result<Vec<(Home, Checkpoint)>, OutsideError> {
        let sql = format!(
            "SELECT shard, next_offset, message_hash, append_time FROM checkpoints FINAL WHERE generation = {generation}"
        );
        let read = |r: &mut Reader<'_>| {
            Ok((
                r.u32()?,
                Checkpoint {
                    next_offset: r.u64()?,
                    message_hash: r.u64()?,
                    append_time: r.u64()? as i64,
                },
            ))
        };
        self.rows("reading the checkpoints", &sql, read).await
    }

    async fn each_record(
        &self,
        generation: u32,
        shard: Home,
        take: &mut (dyn FnMut(StoredRecord<'_>) + Send),
    ) -> Result<(), OutsideError> {
        for (entity, table) in fact_tables() {
            let sql = format!(
                "SELECT id, state, version FROM {table} FINAL WHERE generation = {generation} AND shard = {shard}"
            );
            let kinds = [Kind::Text, Kind::Text, Kind::U64];
            let mut row = |columns: &mut [Received<'_>]| {
                let [id, state, version] = received(columns)?;
                take(StoredRecord {
                    entity,
                    id: id.text()?.into(),
                    state: state.bytes()?.into(),
                    version: u64::from_le_bytes(version.fixed()?),
                });
                Ok(())
            };
            let doing = "reading the facts of a shard";
            self.fetch_columns(doing, &sql, &kinds, &mut row).await?;
        }
        Ok(())
    }

    async fn each_link(
        &self,
        epoch: u32,
        shard: Home,
        take: &mut (dyn FnMut(StoredLink<'_>) + Send),
    ) -> Result<(), OutsideError> {
        let columns =
            "target_entity, target, sender_entity, sender, link_version, content, version";
        let sql =
            format!("SELECT {columns} FROM links FINAL WHERE epoch = {epoch} AND shard = {shard}");
        let kinds = [
            Kind::Text,
            Kind::Text,
            Kind::Text,
            Kind::Text,
            Kind::U64,
            Kind::Text,
            Kind::U64,
        ];
        let mut row = |columns: &mut [Received<'_>]| {
            let [
                of_target,
                target,
                of_sender,
                sender,
                link_version,
                content,
                version,
            ] = received(columns)?;
            take(StoredLink {
                epoch,
                target: (named_entity(of_target)?, target.text()?.into()),
                sender: (named_entity(of_sender)?, sender.text()?.into()),
                link_version: u64::from_le_bytes(link_version.fixed()?),
                content: content.bytes()?.into(),
                version: u64::from_le_bytes(version.fixed()?),
            });
            Ok(())
        };
        let doing = "reading the links of a shard";
        self.fetch_columns(doing, &sql, &kinds, &mut row).await
    }

    async fn rollups(&self, epoch: u32, shard: Home) -> Result<Vec<StoredCell>, OutsideError> {
        let columns =
            "series, dimension, value, grain, pane, currency, counts, sums, sketch, version";
        let sql = format!(
            "SELECT {columns} FROM rollups FINAL WHERE epoch = {epoch} AND shard = {shard}"
        );
        self.rows("reading the rollups of a shard", &sql, read_cell)
            .await
    }

    async fn rollup_shards(&self, epoch: u32) -> Result<Vec<Home>, OutsideError> {
        let sql =
            format!("SELECT DISTINCT shard FROM rollups WHERE epoch = {epoch} ORDER BY shard");
        self.rows("reading which shards have rollups", &sql, |r| r.u32())
            .await
    }

    async fn insert_cells(&self, blocks: &[Row<CellRows>]) -> Result<(), OutsideError> {
        let insert = async |blocks: &[Row<CellRows>]| {
            let blocks = blocks.iter().flat_map(|cells| cell_blocks([], cells));
            self.insert_cell_blocks("rollups", "", blocks).await
        };
        let partitions = partitions(blocks);
        if partitions.len() <= PARTITIONS {
            return insert(blocks).await;
        }
        for some in partitions.chunks(PARTITIONS) {
            let of_them = |cells: &Row<CellRows>| Row {
                row: cells.row.of_partitions(some),
                ..*cells
            };
            let of_them: Vec<Row<CellRows>> = blocks.iter().map(of_them).collect();
            insert(&of_them).await?;
        }
        Ok(())
    }

    async fn insert_hourly(&self, blocks: &[HourlyRows]) -> Result<(), OutsideError> {
        let blocks = blocks.iter().flat_map(|HourlyRows { hour, cells }| {
            // A DateTime column takes the nearest it can hold.
            let hour = (*hour).clamp(0, i64::from(u32::MAX)) as u32;
            cell_blocks([("hour", Kind::U32, hour.to_le_bytes())], cells)
        });
        self.insert_cell_blocks("hourly", "hour, ", blocks).await
    }

    async fn insert_changes(
        &self,
        generation: u32,
        rows: &[Row<ChangeRow>],
    ) -> Result<(), OutsideError> {
        let write = |writer: &mut Writer, Row { shard, row, .. }: &Row<ChangeRow>| {
            writer.fixed(generation.to_le_bytes());
            writer.fixed(shard.to_le_bytes());
            writer.text(row.entity.name());
            writer.text(&row.id);
            writer.fixed(row.version.to_le_bytes());
            writer.fixed(micros(row.append_time));
            writer.fixed(micros(row.event_time));
            for text in [&row.status.0, &row.status.1, &row.owner.0, &row.owner.1] {
                writer.text(text);
            }
            writer.decimal(row.amount.0);
            writer.decimal(row.amount.1);
            Columns::when(writer, row.closed_at.0);
            Columns::when(writer, row.closed_at.1);
        };
        let columns = named(&[
            ("generation", Kind::U32),
            ("shard", Kind::U32),
            ("entity", Kind::Text),
            ("id", Kind::Text),
            ("version", Kind::U64),
            ("appended_at", Kind::INSTANT),
            ("event_time", Kind::INSTANT),
            ("status_before", Kind::Text),
            ("status", Kind::Text),
            ("owner_before", Kind::Text),
            ("owner", Kind::Text),
            ("amount_before", Kind::DECIMAL),
            ("amount", Kind::DECIMAL),
            ("closed_at_before", Kind::WHEN),
            ("closed_at", Kind::WHEN),
        ]);
        self.insert_columns("changes", columns, rows.iter(), write)
            .await
    }

    async fn insert_records(
        &self,
        generation: u32,
        rows: &[Row<RecordRow>],
    ) -> Result<(), OutsideError> {
        for (entity, table) in fact_tables() {
            let mut of_entity: Vec<&Row<RecordRow>> = rows.iter().collect();
            of_entity.retain(|row| row.row.entity == entity);
            if of_entity.is_empty() {
                continue;
            }
            let write = |writer: &mut Writer, row: &Row<RecordRow>| {
                writer.fixed(generation.to_le_bytes());
                writer.fixed(row.shard.to_le_bytes());
                writer.bytes.extend_from_slice(row.row.bytes());
                writer.fixed(row.version.to_le_bytes());
            };
            let columns = fact_columns(entity);
            self.insert_columns(table, columns, of_entity.into_iter(), write)
                .await?;
        }
        Ok(())
    }

    async fn insert_links(&self, rows: &[Row<LinkRow>]) -> Result<(), OutsideError> {
        let write = |writer: &mut Writer, line: &Row<LinkRow>| {
            let Row {
                shard,
                version,
                row,
            } = line;
            writer.fixed(row.epoch.to_le_bytes());
            writer.fixed(shard.to_le_bytes());
            for (entity, id) in [&row.target, &row.sender] {
                writer.text(entity.name());
                writer.text(id);
            }
            writer.fixed(row.link_version.to_le_bytes());
            writer.byte(u8::from(row.withdrawn));
            let outcome = row.outcome.as_ref();
            writer.text(outcome.map_or("", |outcome| outcome.status));
            Columns::when(writer, outcome.and_then(|outcome| outcome.closed_at));
            writer.decimal(outcome.and_then(|outcome| outcome.amount));
            writer.text(outcome.map_or("", |outcome| &outcome.currency));
            writer.number(row.content.len() as u64);
            writer.bytes.extend_from_slice(&row.content);
            writer.fixed(version.to_le_bytes());
        };
        let columns = named(&[
            ("epoch", Kind::U32),
            ("shard", Kind::U32),
            ("target_entity", Kind::Text),
            ("target", Kind::Text),
            ("sender_entity", Kind::Text),
            ("sender", Kind::Text),
            ("link_version", Kind::U64),
            ("withdrawn", Kind::BYTE),
            ("status", Kind::Text),
            ("closed_at", Kind::WHEN),
            ("amount", Kind::DECIMAL),
            ("currency", Kind::Text),
            ("content", Kind::Text),
            ("version", Kind::U64),
        ]);
        self.insert_columns("links", columns, rows.iter(), write)
            .await
    }

    async fn insert_checkpoints(
        &self,
        generation: u32,
        rows: &[(Home, Checkpoint)],
    ) -> Result<(), OutsideError> {
        let write = |writer: &mut Writer, (shard, checkpoint): &(Home, Checkpoint)| {
            writer.fixed(generation.to_le_bytes());
            writer.fixed(shard.to_le_bytes());
            writer.fixed(checkpoint.next_offset.to_le_bytes());
            writer.fixed(checkpoint.message_hash.to_le_bytes());
            writer.fixed(checkpoint.append_time.to_le_bytes());
        };
        let columns = "generation, shard, next_offset, message_hash, append_time";
        self.insert("checkpoints", columns, rows.iter(), write)
            .await
    }
}

fn read_cell(r: &mut Reader<'_>) -> Result<StoredCell, Damaged> {
    let (series, dimension) = (r.text()?.to_owned(), r.text()?.to_owned());
    let value = array(r, |r| Ok(r.text()?.to_owned()))?;
    let pane = pane(r)?;
    let name = CellName {
        series,
        dimension,
        value,
        pane,
        currency: r.text()?.to_owned(),
    };
    Ok(StoredCell {
        name,
        cell: cell(r)?,
        version: r.u64()?,
    })
}
