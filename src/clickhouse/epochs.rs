//! Epochs in ClickHouse: read, written, and dropped by dropping partitions.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::{ClickHouse, fact_tables};
use crate::codec::{Reader, Writer};
use crate::pipeline::epochs::{Epoch, Stage};
use crate::pipeline::{OutsideError, Store};
use crate::shard::columns::Columns;

const DOING: &str = "reading the epochs";
const COLUMNS: &str = "epoch, definitions, generation, partitions, live, reading, inputs, feeds_on, live_since, catalogue, stood_at";

pub(super) async fn read(clickhouse: &ClickHouse) -> Result<Vec<Epoch>, OutsideError> {
    let sql = format!("SELECT {COLUMNS} FROM epochs FINAL ORDER BY epoch");
    // The definitions and inputs are JSON: parsed once the row is read, so that a bad one is named.
    let rows = clickhouse.rows(DOING, &sql, |r: &mut Reader<'_>| {
        let (epoch, definitions, generation, partitions) =
            (r.u32()?, r.text()?.to_owned(), r.u32()?, r.u32()?);
        let stage = [Stage::Building, Stage::Live, Stage::Dropped][usize::from(r.byte()?).min(2)];
        let (reading, inputs, feeds_on) = (r.u32()?, r.text()?.to_owned(), r.u32()?);
        let live_since = if r.byte()? == 0 {
            Some(r.u64()? as i64)
        } else {
            None
        };
        let catalogue = r.text()?.to_owned();
        let stood_at = if r.byte()? == 0 {
            Some(r.u64()? as i64)
        } else {
            None
        };
        let row = Epoch {
            stage,
            generation,
            reading,
            feeds_on,
            live_since,
            stood_at,
            ..Epoch::first(Default::default(), partitions)
        };
        Ok((row, epoch, (definitions, inputs, catalogue)))
    });
    type Texts = (String, String, String);
    let parse = |(row, epoch, (definitions, inputs, catalogue)): (Epoch, u32, Texts)| {
        let bad = |what: &str, error| {
            OutsideError::fatal(format!("{DOING}: the {what} of epoch {epoch}"), error)
        };
        let definitions =
            serde_json::from_str(&definitions).map_err(|error| bad("definitions", error))?;
        let inputs = serde_json::from_str(&inputs).map_err(|error| bad("inputs", error))?;
        let catalogue =
            serde_json::from_str(&catalogue).map_err(|error| bad("catalogue", error))?;
        Ok(Epoch {
            epoch,
            definitions,
            inputs,
            catalogue,
            ..row
        })
    };
    rows.await?.into_iter().map(parse).collect()
}

/// Writes the first epoch: of the inserts with this token the first counts and the others are left
/// out.
pub(super) async fn write_first(
    clickhouse: &ClickHouse,
    epoch: &Epoch,
) -> Result<(), OutsideError> {
    insert(clickhouse, epoch, "the first epoch").await
}

/// Writes an epoch under a token of its own. Without one a row would be left out that is equal to
/// an earlier one, though not to the last.
pub(super) async fn write(clickhouse: &ClickHouse, epoch: &Epoch) -> Result<(), OutsideError> {
    let random = RandomState::new().build_hasher().finish();
    insert(clickhouse, epoch, &format!("{random:x}")).await
}

async fn insert(clickhouse: &ClickHouse, epoch: &Epoch, token: &str) -> Result<(), OutsideError> {
    let settings = [
        ("async_insert", "0"),
        ("insert_deduplicate", "1"),
        ("insert_deduplication_token", token),
    ];
    let fail = |error| OutsideError::fatal("writing an epoch", error);
    let mut writer = Writer::default();
    writer.fixed(epoch.epoch.to_le_bytes());
    writer.text(&serde_json::to_string(&epoch.definitions).map_err(fail)?);
    writer.fixed(epoch.generation.to_le_bytes());
    writer.fixed(epoch.partitions.to_le_bytes());
    writer.byte(epoch.stage as u8);
    writer.fixed(epoch.reading.to_le_bytes());
    writer.text(&serde_json::to_string(&epoch.inputs).map_err(fail)?);
    writer.fixed(epoch.feeds_on.to_le_bytes());
    writer.nullable(epoch.live_since, |writer, at| {
        writer.fixed(at.to_le_bytes())
    });
    writer.text(&serde_json::to_string(&epoch.catalogue).map_err(fail)?);
    writer.nullable(epoch.stood_at, |writer, at| writer.fixed(at.to_le_bytes()));
    // A stage is never left for an earlier one, so it is the version.
    writer.fixed((epoch.stage as u64).to_le_bytes());
    let (columns, row) = (format!("{COLUMNS}, version"), std::iter::once(writer.bytes));
    let write = |writer: &mut Writer, row: Vec<u8>| writer.bytes.extend(row);
    clickhouse
        .insert_with(&settings, "epochs", &columns, row, write)
        .await
}

impl ClickHouse {
    /// Drops an epoch: first it is marked, so that no shard counts it any more, then its rollups
    /// and links go. With `log_too` the facts and checkpoints of its log's generation go as well.
    /// `changes` stay.
    ///
    /// # Errors
    /// What ClickHouse or the network answered; it may be repeated.
    pub async fn drop_epoch(&self, epoch: &Epoch, log_too: bool) -> Result<(), OutsideError> {
        self.put_epoch(&Epoch {
            stage: Stage::Dropped,
            ..epoch.clone()
        })
        .await?;
        let doing = "dropping an epoch";
        let sql = format!(
            "SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = currentDatabase() AND table = 'rollups' \
             AND partition LIKE '({},%'",
            epoch.epoch
        );
        let years = self.fetch(doing, &sql, "TSV").await?;
        for id in String::from_utf8_lossy(&years).lines() {
            self.execute(
                doing,
                &format!("ALTER TABLE rollups DROP PARTITION ID '{id}'"),
            )
            .await?;
        }
        self.execute(
            doing,
            &format!("ALTER TABLE links DROP PARTITION {}", epoch.epoch),
        )
        .await?;
        if log_too {
            for table in fact_tables().map(|(_, table)| table).chain(["checkpoints"]) {
                self.execute(
                    doing,
                    &format!("ALTER TABLE {table} DROP PARTITION {}", epoch.generation),
                )
                .await?;
            }
        }
        Ok(())
    }
}
