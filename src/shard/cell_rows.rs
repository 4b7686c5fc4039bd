//! Rows of cells in the bytes they are inserted from: written once, straight from the cells, without
//! a text of its own for every value.

use super::cells::CellRef;
use super::columns::Kind;
use crate::codec::{Damaged, Reader, Writer};
use crate::metric::Catalogue;
use crate::symbol::Symbols;
use crate::window::calendar::{DAY, civil};
use crate::window::{Cell, CellKey, Grain, Pane};

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub struct CellRow {
    /// The epoch it counts for.
    pub epoch: u32,
    /// The rollup's name.
    pub rollup: String,
    /// The grouping set's name: its dimensions joined by commas.
    pub grouping: String,
    /// The stretch of time.
    pub pane: Pane,
    /// The dimensions' values.
    pub values: Vec<String>,
    /// The currency of its amounts.
    pub currency: String,
    /// The numbers, one for every measure of the rollup.
    pub cell: Cell,
}

impl CellRow {
    pub(super) fn new(
        epoch: u32,
        key: CellKey,
        cell: Cell,
        catalogue: &Catalogue,
        symbols: &Symbols,
    ) -> Self {
        let set = usize::from(key.set);
        let values = &key.values[..catalogue.sets[set].dimensions.len()];
        CellRow {
            epoch,
            rollup: catalogue.rollups()[usize::from(key.rollup)]
                .name
                .clone()
                .into_owned(),
            grouping: catalogue.set_name(set),
            pane: key.pane,
            values: values.iter().map(|s| symbols.text(*s).to_owned()).collect(),
            currency: symbols.text(key.currency).to_owned(),
            cell,
        }
    }
}

/// Rows of cells, all of one shard and version. A row is the RowBinary of the columns
/// [`CellRows::COLUMNS`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellRows {
    bytes: Vec<u8>,
    rows: Vec<At>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct At {
    end: usize,
    epoch: u32,
    /// The start of the pane (s).
    start: i64,
}

impl CellRows {
    /// The columns of a row, in their order; shard and version are the whole block's.
    pub const COLUMNS: [(&str, Kind); 10] = [
        ("epoch", Kind::U32),
        ("series", Kind::Text),
        ("grain", Kind::GRAIN),
        ("dimension", Kind::Text),
        ("pane", Kind::U32),
        ("value", Kind::TEXTS),
        ("currency", Kind::Text),
        ("counts", Kind::COUNTS),
        ("sums", Kind::SUMS),
        ("sketch", Kind::SKETCH),
    ];

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The bytes of each row.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.rows.iter().map(move |at| {
            let bytes = &self.bytes[from..at.end];
            from = at.end;
            bytes
        })
    }

    /// The epoch and the year that a row is partitioned by.
    pub fn partition(&self, row: usize) -> (u32, i32) {
        let at = &self.rows[row];
        (at.epoch, year(at.start))
    }

    /// The rows, read.
    pub fn decode(&self) -> impl Iterator<Item = CellRow> {
        self.iter().map(|bytes| {
            // Written by this very type.
            read(&mut Reader::new(bytes)).expect("a row of cells reads as it was written")
        })
    }

    /// Makes room for so many rows, of so many bytes in all.
    pub(super) fn reserve(&mut self, rows: usize, bytes: usize) {
        self.bytes.reserve(bytes);
        self.rows.reserve(rows);
    }

    /// Adds a cell.
    pub(super) fn push(
        &mut self,
        epoch: u32,
        key: &CellKey,
        cell: &CellRef<'_>,
        catalogue: &Catalogue,
        symbols: &Symbols,
    ) {
        let set = &catalogue.sets[usize::from(key.set)];
        let texts = key.values[..set.dimensions.len()].iter();
        self.row(
            (epoch, key.pane),
            &catalogue.rollups()[usize::from(key.rollup)].name,
            &set.name,
            texts.map(|symbol| symbols.text(*symbol)),
            symbols.text(key.currency),
            (cell.counts(), cell.sums(), cell.buckets()),
        );
    }

    fn row<'t>(
        &mut self,
        (epoch, pane): (u32, Pane),
        series: &str,
        dimension: &str,
        values: impl ExactSizeIterator<Item = &'t str>,
        currency: &str,
        (counts, sums, buckets): (
            impl ExactSizeIterator<Item = i64>,
            impl ExactSizeIterator<Item = i128>,
            impl ExactSizeIterator<Item = (i16, i64)>,
        ),
    ) {
        let mut writer = Writer {
            bytes: std::mem::take(&mut self.bytes),
        };
        writer.fixed(epoch.to_le_bytes());
        writer.text(series);
        writer.byte(pane.grain as u8);
        writer.text(dimension);
        // Panes lie between 1970 and 2100, which a DateTime holds.
        writer.fixed((pane.start as u32).to_le_bytes());
        writer.number(values.len() as u64);
        values.for_each(|value| writer.text(value));
        writer.text(currency);
        writer.number(counts.len() as u64);
        counts.for_each(|count| writer.fixed(count.to_le_bytes()));
        writer.number(sums.len() as u64);
        sums.for_each(|sum| writer.fixed(sum.to_le_bytes()));
        writer.number(buckets.len() as u64);
        for (bucket, count) in buckets {
            writer.fixed(bucket.to_le_bytes());
            writer.fixed(count.to_le_bytes());
        }
        self.bytes = writer.bytes;
        self.rows.push(At {
            end: self.bytes.len(),
            epoch,
            start: pane.start,
        });
    }
}

impl Extend<CellRow> for CellRows {
    fn extend<T: IntoIterator<Item = CellRow>>(&mut self, rows: T) {
        for row in rows {
            self.row(
                (row.epoch, row.pane),
                &row.rollup,
                &row.grouping,
                row.values.iter().map(String::as_str),
                &row.currency,
                (
                    row.cell.counts.iter().copied(),
                    row.cell.sums.iter().copied(),
                    row.cell.sketch.buckets().iter().copied(),
                ),
            );
        }
    }
}

impl FromIterator<CellRow> for CellRows {
    fn from_iter<T: IntoIterator<Item = CellRow>>(rows: T) -> Self {
        let mut all = CellRows::default();
        all.extend(rows);
        all
    }
}

/// The calendar year of a pane's start.
fn year(start: i64) -> i32 {
    use chrono::Datelike;
    civil((start / DAY) as i32).year()
}

fn read(r: &mut Reader<'_>) -> Result<CellRow, Damaged> {
    let (epoch, rollup) = (r.u32()?, r.text()?.to_owned());
    let grain = Grain::from_number(r.byte()?).ok_or(r.damaged("a grain"))?;
    let grouping = r.text()?.to_owned();
    let start = i64::from(r.u32()?);
    let values = (0..r.count()?).map(|_| Ok(r.text()?.to_owned()));
    let values = values.collect::<Result<_, Damaged>>()?;
    let currency = r.text()?.to_owned();
    let counts = (0..r.count()?).map(|_| Ok(i64::from_le_bytes(r.fixed()?)));
    let counts = counts.collect::<Result<_, Damaged>>()?;
    let sums = (0..r.count()?).map(|_| Ok(i128::from_le_bytes(r.fixed()?)));
    let sums = sums.collect::<Result<_, Damaged>>()?;
    let bucket = |r: &mut Reader<'_>| -> Result<(i16, i64), Damaged> {
        let bucket = i16::from_le_bytes(r.fixed()?);
        Ok((bucket, i64::from_le_bytes(r.fixed()?)))
    };
    let sketch = (0..r.count()?).map(|_| bucket(r));
    let sketch = sketch.collect::<Result<_, _>>()?;
    Ok(CellRow {
        epoch,
        rollup,
        grouping,
        pane: Pane { grain, start },
        values,
        currency,
        cell: Cell {
            counts,
            sums,
            sketch,
        },
    })
}
