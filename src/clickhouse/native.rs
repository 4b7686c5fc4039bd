//! Rows of cells as columns: ClickHouse's Native format, which it takes with a third less work than
//! rows.

use crate::codec::{Damaged, Reader, Writer};

/// How many rows a block holds at most: enough that its columns are long, and small beside the rows
/// it is made of.
pub const BLOCK: usize = 8_192;

/// A row to be inserted.
pub struct InsertedCell<'r> {
    /// The hour (s) that it is the state of; only of the state of hours.
    pub hour: u32,
    /// Who writes it.
    pub shard: u32,
    /// The offset it is the value at.
    pub version: u64,
    /// The columns [`CellRows::COLUMNS`](crate::shard::CellRows::COLUMNS).
    pub bytes: &'r [u8],
}

/// One block of rows.
#[derive(Default)]
pub struct CellColumns {
    rows: u64,
    /// Only of the state of hours.
    hour: Option<Vec<u8>>,
    shard: Vec<u8>,
    version: Vec<u8>,
    epoch: Vec<u8>,
    series: Writer,
    grain: Vec<u8>,
    dimension: Writer,
    pane: Vec<u8>,
    value: Lists,
    currency: Writer,
    counts: Lists,
    sums: Lists,
    /// The buckets' numbers; what they count follows them.
    sketch: Lists,
    counted: Vec<u8>,
}

/// Lists one after the other: where each ends, and the items of all.
#[derive(Default)]
struct Lists {
    length: u64,
    ends: Vec<u8>,
    items: Writer,
}

impl Lists {
    fn add(&mut self, count: usize) {
        self.length += count as u64;
        self.ends.extend_from_slice(&self.length.to_le_bytes());
    }

    fn parts(&self) -> [&[u8]; 3] {
        [&self.ends, &self.items.bytes, &[]]
    }
}

/// Reads a list of numbers of fixed width.
fn numbers(r: &mut Reader<'_>, width: usize, lists: &mut Lists) -> Result<(), Damaged> {
    let count = r.count()?;
    lists.add(count);
    lists.items.bytes.extend_from_slice(r.slice(count * width)?);
    Ok(())
}

impl CellColumns {
    /// No rows yet; of the state of hours they have an hour each.
    pub fn new(is_hourly: bool) -> Self {
        CellColumns {
            hour: is_hourly.then(Vec::new),
            ..CellColumns::default()
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If its bytes are no row of a cell.
    pub fn push(&mut self, row: &InsertedCell<'_>) -> Result<(), Damaged> {
        let r = &mut Reader::new(row.bytes);
        if let Some(hours) = &mut self.hour {
            hours.extend_from_slice(&row.hour.to_le_bytes());
        }
        self.shard.extend_from_slice(&row.shard.to_le_bytes());
        self.version.extend_from_slice(&row.version.to_le_bytes());
        self.epoch.extend_from_slice(r.slice(4)?);
        self.series.blob(r.bytes()?);
        self.grain.push(r.byte()?);
        self.dimension.blob(r.bytes()?);
        self.pane.extend_from_slice(r.slice(4)?);
        let values = r.count()?;
        self.value.add(values);
        for _ in 0..values {
            self.value.items.blob(r.bytes()?);
        }
        self.currency.blob(r.bytes()?);
        numbers(r, 8, &mut self.counts)?;
        numbers(r, 16, &mut self.sums)?;
        let buckets = r.count()?;
        self.sketch.add(buckets);
        for _ in 0..buckets {
            self.sketch.items.bytes.extend_from_slice(r.slice(2)?);
            self.counted.extend_from_slice(r.slice(8)?);
        }
        self.rows += 1;
        Ok(())
    }

    /// The block in the bytes it is inserted as.
    pub fn write(&self) -> Vec<u8> {
        // Types that ClickHouse turns into those of the table: it knows the words of an enumeration
        // by their numbers, and fills its dictionaries itself.
        let columns: [(&str, &str, [&[u8]; 3]); 13] = [
            (
                "hour",
                "UInt32",
                [self.hour.as_deref().unwrap_or_default(), &[], &[]],
            ),
            ("shard", "UInt32", [&self.shard, &[], &[]]),
            ("version", "UInt64", [&self.version, &[], &[]]),
            ("epoch", "UInt32", [&self.epoch, &[], &[]]),
            ("series", "String", [&self.series.bytes, &[], &[]]),
            ("grain", "Int8", [&self.grain, &[], &[]]),
            ("dimension", "String", [&self.dimension.bytes, &[], &[]]),
            ("pane", "UInt32", [&self.pane, &[], &[]]),
            ("value", "Array(String)", self.value.parts()),
            ("currency", "String", [&self.currency.bytes, &[], &[]]),
            ("counts", "Array(Int64)", self.counts.parts()),
            ("sums", "Array(Decimal(38, 4))", self.sums.parts()),
            (
                "sketch",
                "Map(Int16, Int64)",
                [&self.sketch.ends, &self.sketch.items.bytes, &self.counted],
            ),
        ];
        let columns = &columns[usize::from(self.hour.is_none())..];
        let bytes = columns.iter().flat_map(|(.., parts)| parts);
        let mut block = Writer {
            bytes: Vec::with_capacity(bytes.map(|part| part.len()).sum::<usize>() + 512),
        };
        block.number(columns.len() as u64);
        block.number(self.rows);
        for (name, kind, parts) in columns {
            block.text(name);
            block.text(kind);
            for part in parts {
                block.bytes.extend_from_slice(part);
            }
        }
        block.bytes
    }
}
