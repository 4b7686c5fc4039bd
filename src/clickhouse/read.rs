//! The queries of the read model: the rollups of the current epoch, summed by window.

use std::collections::{BTreeSet, HashMap};

use super::ClickHouse;
use super::native::{Received, received};
use super::rowbinary::{array, cell};
use crate::codec::{Damaged, Reader};
use crate::metric::{Catalogue, Converted, QueryPlan, SideInputs, Sums};
use crate::pipeline::OutsideError;
use crate::record::Home;
use crate::shard::columns::Kind;
use crate::window::rolling::PaneRange;
use crate::window::{Cell, Day, Grain, Pane};

impl ClickHouse {
    /// The cells that `plan` is read from, summed over shards and panes, in one statement and so at
    /// one moment; amounts also by the rates, and what is by owner also up the hierarchy.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn sums(
        &self,
        epoch: u32,
        definitions: &Catalogue,
        plan: &QueryPlan,
        side: &SideInputs,
    ) -> Result<Sums, OutsideError> {
        let doing = "reading the rollups";
        let rollups = definitions.numbers_of_rollups();
        let of_rollup = definitions.rollups().iter().zip(0..);
        let convertible: BTreeSet<&str> = of_rollup
            .filter(|(_, number)| definitions.converted(*number).is_some())
            .filter(|_| !side.rates.reporting().is_empty())
            .map(|(rollup, _)| &*rollup.name)
            .collect();
        let zone = definitions.calendar.zone().name();
        let owners = definitions.owners().filter(|_| !side.hierarchy.is_empty());
        let sets: HashMap<String, u8> = (0..definitions.sets.len())
            .map(|set| (definitions.set_name(set), set as u8))
            .collect();
        let selects: Vec<String> = plan
            .ranges
            .iter()
            .zip(&plan.rollups)
            .enumerate()
            .map(|(number, (range, rollups))| {
                select(
                    epoch,
                    number,
                    range,
                    rollups,
                    &convertible,
                    owners.is_some(),
                    zone,
                )
            })
            .collect();
        let mut sums = Sums::default();
        let bytes = self
            .fetch(doing, &selects.join(" UNION ALL "), "RowBinary")
            .await?;
        let mut reader = Reader::new(&bytes);
        while !reader.is_at_end() {
            let row =
                SumRow::read(&mut reader).map_err(|error| OutsideError::fatal(doing, error))?;
            // Rows of metrics or groups unknown to this program are another version's.
            let (Some(&rollup), Some(&set)) = (rollups.get(row.rollup), sets.get(row.dimension))
            else {
                continue;
            };
            let converted = convertible.contains(row.rollup).then(|| {
                let mut sum = Converted::default();
                sum.add(&row.cell, side.rates.factor(row.currency, row.day), 1);
                sum
            });
            let mut add = |set: u8, values: Vec<String>| {
                if let Some(sum) = &converted {
                    sums.add_converted(row.range, rollup, set, values.clone(), sum);
                }
                let currency = row.currency.to_owned();
                sums.add(row.range, rollup, set, values, currency, &row.cell);
            };
            if owners == Some(set) {
                // The last day there is has what holds today.
                let day = if definitions.owner_is_todays(rollup) {
                    Day::MAX - 1
                } else {
                    row.day.min(Day::MAX - 1)
                };
                let owner = row.value.first().map_or("", String::as_str);
                let above = side.hierarchy.of(owner).into_iter();
                for (dimension, value, _) in above.filter(|(.., days)| days.contains(&day)) {
                    let set = definitions.sets.len() + dimension;
                    add(set as u8, vec![value.to_owned()]);
                }
            }
            add(set, row.value);
        }
        Ok(sums)
    }

    /// Hands over the rows of an epoch in some ranges of panes, each with the names of its rollups,
    /// in one statement and so at one moment. Several versions of a key may come, in any order:
    /// FINAL would read more than it leaves out.
    ///
    /// # Errors
    /// What ClickHouse or the network answered; some rows may have been handed over.
    pub async fn rollup_rows(
        &self,
        epoch: u32,
        ranges: &[(PaneRange, BTreeSet<String>)],
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<(), OutsideError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let panes: Vec<String> = ranges
            .iter()
            .map(|(range, names)| in_range(range, names))
            .collect();
        self.rows_where(
            &format!("epoch = {epoch} AND ({})", panes.join(" OR ")),
            take,
        )
        .await
    }

    /// Hands over the rows of an epoch that are new to a reader, as [`ClickHouse::rollup_rows`]
    /// does. Returns when ClickHouse took the newest of them (µs by its clock), or if there is
    /// none, the newest that was left out and is later than asked for: there is nothing before it
    /// that the reader has to ask for again, apart from rows that come late. 0 if there is neither.
    ///
    /// # Errors
    /// As [`ClickHouse::rollup_rows`].
    pub async fn new_rollup_rows(
        &self,
        epoch: u32,
        new: &NewRows<'_>,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<i64, OutsideError> {
        let is_later = format!(
            "epoch = {epoch} AND written_at > fromUnixTimestamp64Micro(toInt64({}), 'UTC')",
            new.after
        );
        let mut condition = is_later.clone();
        if !new.seen.is_empty() && !self.is_replicated().await? {
            let (shards, offsets): (Vec<Home>, Vec<u64>) = new.seen.iter().copied().unzip();
            condition += &format!(
                " AND version > transform(shard, {shards:?}, CAST({offsets:?}, 'Array(UInt64)'), toUInt64(0))"
            );
        }
        if let Some(panes) = &new.panes {
            let ranges = panes
                .iter()
                .map(|range| format!(" OR {}", is_pane_of(range)));
            condition += &format!(" AND (grain = 'undated'{})", ranges.collect::<String>());
        }
        let mut newest = 0;
        let mut read = |row: RollupRow<'_>| {
            newest = row.written_at.max(newest);
            take(row);
        };
        self.rows_where(&condition, &mut read).await?;
        if newest > 0 {
            return Ok(newest);
        }
        let left_out = format!(
            "SELECT toUnixTimestamp64Micro(max(written_at)) FROM rollups PREWHERE {is_later}"
        );
        let left_out = self.rows("asking for the newest row", &left_out, |r| {
            Ok(i64::from_le_bytes(r.fixed()?))
        });
        let left_out = left_out.await?.pop().unwrap_or(0);
        if left_out > new.newest {
            // Some that are not left out may have come before it meanwhile.
            self.rows_where(&condition, take).await?;
        }
        Ok(left_out)
    }

    /// True if an acknowledged row may not be seen yet, since it is read where it was not written:
    /// on another replica.
    async fn is_replicated(&self) -> Result<bool, OutsideError> {
        let asked = self.is_replicated.get_or_try_init(|| async {
            let sql = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'rollups'";
            let engine = self.fetch("asking how rollups are kept", sql, "TSV").await?;
            Ok(&engine[..] != b"ReplacingMergeTree\n")
        });
        asked.await.copied()
    }

    async fn rows_where(
        &self,
        condition: &str,
        take: &mut (dyn FnMut(RollupRow<'_>) + Send),
    ) -> Result<(), OutsideError> {
        // A block has to fit in memory beside the rows that are made of it.
        let sql = format!(
            "SELECT {} FROM rollups PREWHERE {condition} SETTINGS max_block_size = 16384",
            RollupRow::COLUMNS
        );
        let mut read = |columns: &mut [Received<'_>]| {
            take(RollupRow::read(columns)?);
            Ok(())
        };
        let doing = "reading the rows of the windows";
        self.fetch_columns(doing, &sql, &RollupRow::KINDS, &mut read)
            .await
    }

    /// The cells of an epoch by series, grain, pane, dimension, value and currency, shards summed
    /// and zeros left out, one a line: what two runs over the same events must agree on.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn cell_lines(&self, epoch: u32) -> Result<Vec<String>, OutsideError> {
        let sql = format!(
            "SELECT * FROM (SELECT series, grain, pane, dimension, value, currency, sumForEach(r.counts) AS counts, sumForEach(r.sums) AS sums, \
             mapFilter((k, v) -> v != 0, sumMap(r.sketch)) AS sketch FROM rollups AS r FINAL WHERE epoch = {epoch} GROUP BY ALL) \
             WHERE arrayExists(c -> c != 0, counts) OR arrayExists(s -> s != 0, sums) ORDER BY ALL"
        );
        let text = self.fetch("reading all cells", &sql, "TSV").await?;
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .map(str::to_owned)
            .collect())
    }
}

fn select(
    epoch: u32,
    number: usize,
    range: &PaneRange,
    rollups: &BTreeSet<String>,
    convertible: &BTreeSet<&str>,
    has_hierarchy: bool,
    zone: &str,
) -> String {
    // The day of what is converted or summed up the hierarchy: it is summed day by day. What is
    // undated is of the last day there is.
    let converted = names(convertible.iter());
    let is_up = if has_hierarchy {
        "dimension != 'owner'"
    } else {
        "true"
    };
    let day = format!(
        "if(series NOT IN ({converted}) AND {is_up}, 0, multiIf(grain = 'undated', {}, grain = 'hour', toInt32(toDate32(pane, '{zone}')), toInt32(toDate32(pane, 'UTC'))))",
        i32::MAX
    );
    format!(
        "SELECT toUInt32({number}), series, dimension, value, currency, toInt32({day}) AS day, sumForEach(r.counts), sumForEach(r.sums), sumMap(r.sketch) \
         FROM rollups AS r FINAL WHERE epoch = {epoch} AND {} GROUP BY series, dimension, value, currency, day",
        in_range(range, rollups)
    )
}

/// Names as a list of SQL, never an empty one.
fn names(names: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    if quoted.is_empty() {
        "''".into()
    } else {
        quoted.join(", ")
    }
}

/// The condition for the rows of some rollups in a range.
fn in_range(range: &PaneRange, rollups: &BTreeSet<String>) -> String {
    let names = names(rollups.iter());
    let undated = if range.undated {
        " OR grain = 'undated'"
    } else {
        ""
    };
    let pane = is_pane_of(range);
    format!("(series IN ({names}) AND ({pane}{undated}))")
}

/// The condition for the panes of a range.
fn is_pane_of(range: &PaneRange) -> String {
    let second = |s: i64| s.clamp(0, i64::from(u32::MAX));
    format!(
        "(grain = '{}' AND pane >= toDateTime({}, 'UTC') AND pane < toDateTime({}, 'UTC'))",
        range.grain.name(),
        second(range.from),
        second(range.to)
    )
}

/// Which rows of an epoch are new to a reader.
#[derive(Debug, Clone, Default)]
pub struct NewRows<'a> {
    /// Those that ClickHouse took later than this (µs by its clock).
    pub after: i64,
    /// When ClickHouse took the newest row that the reader knows of.
    pub newest: i64,
    /// By shard an offset that it was flushed to before the reader's last reading. A row of a
    /// version up to it was written before, or says what such a row said; where rows are read on
    /// the server that acknowledged them, the last reading had them all, and they are left out.
    pub seen: &'a [(Home, u64)],
    /// If given, rows of other panes are left out, except undated ones.
    pub panes: Option<Vec<PaneRange>>,
}

/// A row of the rollups.
#[derive(Debug, Clone)]
pub struct RollupRow<'a> {
    /// The name of its rollup.
    pub series: &'a str,
    /// The name of its grouping set.
    pub dimension: &'a str,
    /// The values of the set's dimensions.
    pub values: Vec<&'a str>,
    /// Blank where money plays no part.
    pub currency: &'a str,
    /// Its stretch of time.
    pub pane: Pane,
    /// Who wrote it.
    pub shard: u32,
    /// The offset it is the state of: of two rows of a key the one with the greater counts.
    pub version: u64,
    /// When ClickHouse took it (µs by its clock); 0 for rows older than that column.
    pub written_at: i64,
    /// Its values.
    pub cell: Cell,
}

impl<'a> RollupRow<'a> {
    /// What is asked for, and what comes back.
    const COLUMNS: &'static str = "series, dimension, currency, value, CAST(grain, 'Int8'), toUInt32(pane), shard, version, written_at, counts, sums, sketch";
    const KINDS: [Kind; 12] = [
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::TEXTS,
        Kind::GRAIN,
        Kind::U32,
        Kind::U32,
        Kind::U64,
        Kind::INSTANT,
        Kind::COUNTS,
        Kind::SUMS,
        Kind::SKETCH,
    ];

    /// The next row of a block.
    fn read(columns: &mut [Received<'a>]) -> Result<Self, Damaged> {
        let [
            series,
            dimension,
            currency,
            value,
            grain,
            pane,
            shard,
            version,
            written_at,
            counts,
            sums,
            sketch,
        ] = received(columns)?;
        let [grain] = grain.fixed()?;
        let grain = Grain::from_number(grain);
        let what = "a grain";
        Ok(RollupRow {
            series: series.text()?,
            dimension: dimension.text()?,
            values: value.list(|items| items[0].text())?,
            currency: currency.text()?,
            pane: Pane {
                grain: grain.ok_or(Damaged { at: 0, what })?,
                start: i64::from(u32::from_le_bytes(pane.fixed()?)),
            },
            shard: u32::from_le_bytes(shard.fixed()?),
            version: u64::from_le_bytes(version.fixed()?),
            written_at: i64::from_le_bytes(written_at.fixed()?),
            cell: Cell {
                counts: counts.list(|items| Ok(i64::from_le_bytes(items[0].fixed()?)))?,
                sums: sums.list(|items| Ok(i128::from_le_bytes(items[0].fixed()?)))?,
                sketch: sketch
                    .list(|items| {
                        let bucket = i16::from_le_bytes(items[0].fixed()?);
                        Ok((bucket, i64::from_le_bytes(items[1].fixed()?)))
                    })?
                    .into_iter()
                    .collect(),
            },
        })
    }
}

struct SumRow<'a> {
    range: usize,
    rollup: &'a str,
    dimension: &'a str,
    value: Vec<String>,
    currency: &'a str,
    /// Of what is converted.
    day: Day,
    cell: Cell,
}

impl<'a> SumRow<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Damaged> {
        Ok(SumRow {
            range: r.u32()? as usize,
            rollup: r.text()?,
            dimension: r.text()?,
            value: array(r, |r| Ok(r.text()?.to_owned()))?,
            currency: r.text()?,
            day: i32::from_le_bytes(r.fixed()?),
            cell: cell(r)?,
        })
    }
}
