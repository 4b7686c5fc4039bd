//! Rows of cells, as the columns they are inserted as: written once, straight from the cells,
//! without a text or a list of its own for every value.

use super::cells::CellRef;
use super::columns::{ColumnBytes, Kind};
use super::dictionary::Dictionary;
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

/// How many rows a block holds at most: enough that its columns are long.
const ROWS: usize = 1 << 15;

/// Rows of cells, all of one shard and version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellRows {
    blocks: Vec<CellBlock>,
}

impl CellRows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.rows).sum()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The blocks they are in; none is empty.
    pub fn blocks(&self) -> &[CellBlock] {
        &self.blocks
    }

    /// The rows of some partitions, which are in order.
    pub fn of_partitions(&self, partitions: &[(u32, i32)]) -> CellRows {
        let rows = self.decode().filter(|row| {
            let partition = (row.epoch, year(row.pane.start));
            partitions.binary_search(&partition).is_ok()
        });
        rows.collect()
    }

    /// The rows, read.
    pub fn decode(&self) -> impl Iterator<Item = CellRow> {
        self.blocks.iter().flat_map(CellBlock::decode)
    }

    /// Adds the cells of an epoch that are handed over, which are about so many.
    pub(super) fn write<'a>(
        &'a mut self,
        epoch: u32,
        expected: usize,
        (catalogue, symbols): (&'a Catalogue, &'a Symbols),
    ) -> CellWriter<'a> {
        CellWriter {
            rows: self,
            block: CellBlock::new(epoch, expected),
            expected,
            catalogue,
            symbols,
        }
    }
}

/// Adds cells of one epoch to rows.
pub(super) struct CellWriter<'a> {
    rows: &'a mut CellRows,
    block: CellBlock,
    expected: usize,
    catalogue: &'a Catalogue,
    symbols: &'a Symbols,
}

impl CellWriter<'_> {
    /// Adds a cell.
    pub fn push(&mut self, key: &CellKey, cell: &CellRef<'_>) {
        if self.block.rows == ROWS {
            self.expected = self.expected.saturating_sub(ROWS);
            let next = CellBlock::new(self.block.epoch, self.expected);
            let full = std::mem::replace(&mut self.block, next);
            self.rows.blocks.push(full);
        }
        let (catalogue, symbols) = (self.catalogue, self.symbols);
        let rollup = &catalogue.rollups()[usize::from(key.rollup)].name;
        let set = &catalogue.sets[usize::from(key.set)];
        let texts = key.values[..set.dimensions.len()].iter();
        self.block.push(
            key.pane,
            [
                (key.rollup.into(), rollup),
                (key.set.into(), &set.name),
                (key.currency.0, symbols.text(key.currency)),
            ],
            texts.map(|symbol| symbols.text(*symbol)),
            (cell.counts(), cell.sums(), cell.buckets()),
        );
    }
}

impl Drop for CellWriter<'_> {
    fn drop(&mut self) {
        if self.block.rows > 0 {
            let last = std::mem::take(&mut self.block);
            self.rows.blocks.push(last);
        }
    }
}

/// At most [`ROWS`] rows of one epoch, column by column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellBlock {
    epoch: u32,
    rows: usize,
    series: Dictionary,
    grains: Vec<u8>,
    dimensions: Dictionary,
    /// Their starts (s), in four bytes.
    panes: Vec<u8>,
    values: List<Writer>,
    currencies: Dictionary,
    /// In eight bytes.
    counts: List<Vec<u8>>,
    /// In sixteen bytes.
    sums: List<Vec<u8>>,
    /// Buckets in two bytes, and what is in each in eight.
    sketches: List<[Vec<u8>; 2]>,
}

/// A column of lists: where each ends, and the items of all, one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
struct List<T> {
    end: u64,
    /// In eight bytes.
    ends: Vec<u8>,
    items: T,
}

impl<T: Default> List<T> {
    fn with_capacity(rows: usize) -> Self {
        List {
            ends: Vec::with_capacity(8 * rows),
            ..List::default()
        }
    }

    /// The items of a row come next; they are so many.
    #[inline]
    fn begin(&mut self, count: usize) -> &mut T {
        self.end += count as u64;
        self.ends.extend_from_slice(&self.end.to_le_bytes());
        &mut self.items
    }
}

impl CellBlock {
    /// The names of its columns, in their order. The epoch is that of all rows.
    pub const COLUMNS: [&str; 9] = [
        "series",
        "grain",
        "dimension",
        "pane",
        "value",
        "currency",
        "counts",
        "sums",
        "sketch",
    ];

    fn new(epoch: u32, expected: usize) -> Self {
        let rows = expected.min(ROWS);
        CellBlock {
            epoch,
            rows: 0,
            series: Dictionary::with_capacity(rows),
            grains: Vec::with_capacity(rows),
            dimensions: Dictionary::with_capacity(rows),
            panes: Vec::with_capacity(4 * rows),
            values: List::with_capacity(rows),
            currencies: Dictionary::with_capacity(rows),
            counts: List::with_capacity(rows),
            sums: List::with_capacity(rows),
            sketches: List::with_capacity(rows),
        }
    }

    /// Adds a row. Names come with what they are known by.
    fn push<'t>(
        &mut self,
        pane: Pane,
        [series, dimension, currency]: [(u32, &str); 3],
        values: impl ExactSizeIterator<Item = &'t str>,
        (counts, sums, buckets): (
            impl ExactSizeIterator<Item = i64>,
            impl ExactSizeIterator<Item = i128>,
            impl ExactSizeIterator<Item = (i16, i64)>,
        ),
    ) {
        self.rows += 1;
        self.series.push(series.0, series.1);
        self.grains.push(pane.grain as u8);
        self.dimensions.push(dimension.0, dimension.1);
        // Panes lie between 1970 and 2100, which a DateTime holds.
        self.panes
            .extend_from_slice(&(pane.start as u32).to_le_bytes());
        let texts = self.values.begin(values.len());
        values.for_each(|value| texts.text(value));
        self.currencies.push(currency.0, currency.1);
        let items = self.counts.begin(counts.len());
        counts.for_each(|count| items.extend_from_slice(&count.to_le_bytes()));
        let items = self.sums.begin(sums.len());
        sums.for_each(|sum| items.extend_from_slice(&sum.to_le_bytes()));
        let [keys, numbers] = self.sketches.begin(buckets.len());
        for (bucket, count) in buckets {
            keys.extend_from_slice(&bucket.to_le_bytes());
            numbers.extend_from_slice(&count.to_le_bytes());
        }
    }

    /// The epoch that the rows count for.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Each of [`CellBlock::COLUMNS`].
    pub fn columns(&self) -> [ColumnBytes<'_>; 9] {
        let [buckets, numbers] = &self.sketches.items;
        [
            self.series.column(self.rows),
            ColumnBytes::new(Kind::GRAIN, vec![&self.grains]),
            self.dimensions.column(self.rows),
            ColumnBytes::new(Kind::U32, vec![&self.panes]),
            ColumnBytes::new(
                Kind::TEXTS,
                vec![&self.values.ends, &self.values.items.bytes],
            ),
            self.currencies.column(self.rows),
            ColumnBytes::new(Kind::COUNTS, vec![&self.counts.ends, &self.counts.items]),
            ColumnBytes::new(Kind::SUMS, vec![&self.sums.ends, &self.sums.items]),
            ColumnBytes::new(Kind::SKETCH, vec![&self.sketches.ends, buckets, numbers]),
        ]
    }

    /// The epochs and years that its rows are partitioned by.
    pub fn partitions(&self) -> impl Iterator<Item = (u32, i32)> {
        let (panes, _) = self.panes.as_chunks();
        let starts = panes.iter().map(|pane| u32::from_le_bytes(*pane));
        starts.map(|start| (self.epoch, year(start.into())))
    }

    fn decode(&self) -> Vec<CellRow> {
        // Written by this very type.
        self.read().expect("cells read as they were written")
    }

    fn read(&self) -> Result<Vec<CellRow>, Damaged> {
        let (mut series, mut dimensions) = (self.series.texts()?, self.dimensions.texts()?);
        let mut currencies = self.currencies.texts()?;
        let mut next = Reader::new(&self.values.items.bytes);
        let mut values = self.values.rows(|| Ok(next.text()?.to_owned()))?;
        let mut next = Reader::new(&self.counts.items);
        let mut counts = self.counts.rows(|| Ok(i64::from_le_bytes(next.fixed()?)))?;
        let mut next = Reader::new(&self.sums.items);
        let mut sums = self.sums.rows(|| Ok(i128::from_le_bytes(next.fixed()?)))?;
        let [mut next, mut numbers] = self
            .sketches
            .items
            .each_ref()
            .map(|items| Reader::new(items));
        let mut sketches = self.sketches.rows(|| {
            let bucket = i16::from_le_bytes(next.fixed()?);
            Ok((bucket, i64::from_le_bytes(numbers.fixed()?)))
        })?;
        let (mut grains, mut panes) = (Reader::new(&self.grains), Reader::new(&self.panes));
        let mut row = |at: usize| {
            let grain = Grain::from_number(grains.byte()?);
            Ok(CellRow {
                epoch: self.epoch,
                rollup: series.next().unwrap_or_default().to_owned(),
                grouping: dimensions.next().unwrap_or_default().to_owned(),
                pane: Pane {
                    grain: grain.ok_or(grains.damaged("a grain"))?,
                    start: i64::from(panes.u32()?),
                },
                values: std::mem::take(&mut values[at]),
                currency: currencies.next().unwrap_or_default().to_owned(),
                cell: Cell {
                    counts: std::mem::take(&mut counts[at]),
                    sums: std::mem::take(&mut sums[at]),
                    sketch: std::mem::take(&mut sketches[at]).into_iter().collect(),
                },
            })
        };
        (0..self.rows).map(&mut row).collect()
    }
}

impl<T> List<T> {
    /// The list of every row, each item as `next` reads it.
    fn rows<I>(
        &self,
        mut next: impl FnMut() -> Result<I, Damaged>,
    ) -> Result<Vec<Vec<I>>, Damaged> {
        let (ends, _) = self.ends.as_chunks();
        let mut from = 0;
        let lists = ends.iter().map(|end| {
            let end = u64::from_le_bytes(*end);
            let count = end.saturating_sub(std::mem::replace(&mut from, end));
            (0..count).map(|_| next()).collect()
        });
        lists.collect()
    }
}

impl FromIterator<CellRow> for CellRows {
    fn from_iter<T: IntoIterator<Item = CellRow>>(rows: T) -> Self {
        let mut all = CellRows::default();
        let mut names = Symbols::default();
        for row in rows {
            let last = all.blocks.last();
            if last.is_none_or(|last| last.epoch != row.epoch || last.rows == ROWS) {
                all.blocks.push(CellBlock::new(row.epoch, 0));
            }
            let last = all.blocks.len() - 1;
            let name = |text| (names.intern(text).0, text);
            let [rollup, grouping, currency] = [&row.rollup, &row.grouping, &row.currency];
            all.blocks[last].push(
                row.pane,
                [&**rollup, grouping, currency].map(name),
                row.values.iter().map(String::as_str),
                (
                    row.cell.counts.iter().copied(),
                    row.cell.sums.iter().copied(),
                    row.cell.sketch.buckets().iter().copied(),
                ),
            );
        }
        all
    }
}

/// The calendar year of a pane's start.
fn year(start: i64) -> i32 {
    use chrono::Datelike;
    civil((start / DAY) as i32).year()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: i64) -> CellRow {
        CellRow {
            epoch: 1 + (number / 20) as u32 % 3,
            rollup: format!("metric.{}", number % 7),
            grouping: ["", "owner", "région,product"][number as usize % 3].into(),
            pane: Pane {
                grain: [Grain::Hour, Grain::Day][number as usize % 2],
                start: number * 40 * DAY % (120 * 365 * DAY),
            },
            values: (0..number % 3).map(|n| format!("värde {n}")).collect(),
            currency: ["", "EUR", "USD"][number as usize % 3].into(),
            cell: Cell {
                counts: vec![number, -1],
                sums: (0..number % 3).map(i128::from).collect(),
                sketch: (0..number % 4).map(|n| (n as i16 - 1, n + 1)).collect(),
            },
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written_however_many_there_are() {
        let rows = |count| (0..count as i64).map(row);
        for count in [0, 1, 25, 2 * ROWS + 1] {
            let written: CellRows = rows(count).collect();
            assert_eq!(written.len(), count);
            assert_eq!(written.is_empty(), count == 0);
            assert!(written.decode().eq(rows(count)), "{count} rows");
            let blocks = written.blocks().iter();
            assert!(
                blocks
                    .clone()
                    .all(|block| (1..=ROWS).contains(&block.len()))
            );
            assert_eq!(blocks.map(CellBlock::len).sum::<usize>(), count);
        }
    }

    #[test]
    fn rows_of_some_partitions_are_those_of_their_epochs_and_years() {
        let written: CellRows = (0..500).map(row).collect();
        let chosen = [(1, 1970), (2, 1972), (2, 1973)];
        let of_them = written.of_partitions(&chosen);
        let in_them = of_them.blocks().iter().flat_map(CellBlock::partitions);
        let mut in_them: Vec<_> = in_them.collect();
        in_them.dedup();
        assert_eq!(in_them, chosen);
        let is_chosen = |row: &CellRow| chosen.contains(&(row.epoch, year(row.pane.start)));
        assert!(of_them.decode().eq((0..500).map(row).filter(is_chosen)));
    }
}
