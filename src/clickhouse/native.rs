//! Blocks of columns: ClickHouse's Native format, which it takes and gives with half the work of
//! rows.

use crate::codec::{Damaged, Reader, Writer};
use crate::shard::CellBlock;
use crate::shard::columns::{Column, Kind, dictionary as format};

/// How many rows a block holds at most, and how many bytes: enough that its columns are long, and
/// small beside the rows it is made of.
const ROWS: usize = 8_192;
const BYTES: usize = 1 << 20;

/// A block that is made of rows.
pub struct Block {
    columns: Vec<(Column, Values)>,
    rows: usize,
    bytes: usize,
}

/// The values of a column, one after the other.
enum Values {
    /// Of so many bytes each.
    Fixed(usize, Vec<u8>),
    Text(Writer),
    /// Which are NULL, and all of them, with zeros for those.
    Nullable(Vec<u8>, usize, Vec<u8>),
    /// Where each list ends, and the columns of the items of all.
    Lists(u64, Vec<u8>, Vec<Values>),
}

impl Values {
    fn of(kind: &Kind) -> Values {
        match *kind {
            Kind::Fixed(_, width) => Values::Fixed(width, Vec::new()),
            Kind::Text => Values::Text(Writer::default()),
            Kind::Nullable(_, width) => Values::Nullable(Vec::new(), width, Vec::new()),
            Kind::List(_) | Kind::Map(_) => {
                let items = kind.items().iter().map(Values::of);
                Values::Lists(0, Vec::new(), items.collect())
            }
        }
    }

    /// Moves a value from a row to the column.
    fn push(&mut self, row: &mut Reader<'_>) -> Result<(), Damaged> {
        match self {
            Values::Fixed(width, bytes) => bytes.extend_from_slice(row.slice(*width)?),
            Values::Text(texts) => texts.blob(row.bytes()?),
            Values::Nullable(nulls, width, bytes) => {
                let is_null = row.byte()?;
                nulls.push(is_null);
                if is_null == 0 {
                    bytes.extend_from_slice(row.slice(*width)?);
                } else {
                    bytes.resize(bytes.len() + *width, 0);
                }
            }
            Values::Lists(end, ends, items) => {
                let count = row.count()?;
                *end += count as u64;
                ends.extend_from_slice(&end.to_le_bytes());
                match &mut items[..] {
                    [Values::Fixed(width, bytes)] => {
                        bytes.extend_from_slice(row.slice(count * *width)?)
                    }
                    items => {
                        for _ in 0..count {
                            items.iter_mut().try_for_each(|item| item.push(row))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends them to a block and forgets them; the room they took is kept.
    fn empty_into(&mut self, block: &mut Vec<u8>) {
        match self {
            Values::Fixed(_, bytes) => block.append(bytes),
            Values::Text(texts) => block.append(&mut texts.bytes),
            Values::Nullable(nulls, _, bytes) => {
                block.append(nulls);
                block.append(bytes);
            }
            Values::Lists(end, ends, items) => {
                *end = 0;
                block.append(ends);
                items.iter_mut().for_each(|item| item.empty_into(block));
            }
        }
    }
}

impl Block {
    /// No rows yet.
    pub fn new(columns: Vec<Column>) -> Block {
        let with_values = columns.into_iter().map(|column| {
            let values = Values::of(&column.kind);
            (column, values)
        });
        Block {
            columns: with_values.collect(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Adds a row, its columns in RowBinary.
    ///
    /// # Errors
    /// If the bytes are no such row; the block is of no use then.
    pub fn push(&mut self, row: &[u8]) -> Result<(), Damaged> {
        let reader = &mut Reader::new(row);
        for (_, values) in &mut self.columns {
            values.push(reader)?;
        }
        if !reader.is_at_end() {
            return Err(reader.damaged("the end of a row"));
        }
        self.rows += 1;
        self.bytes += row.len();
        Ok(())
    }

    /// True if it should be sent.
    pub fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes >= BYTES
    }

    /// True if there is no row in it.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The bytes it is inserted as; it has no rows after that. ClickHouse turns its types into
    /// those of the table: it fills its dictionaries itself, and knows the words of an enumeration
    /// by their numbers.
    pub fn take(&mut self) -> Vec<u8> {
        // Lists and NULLs take more than they do in a row.
        let room = self.bytes + self.bytes / 4 + 64 * self.columns.len();
        let mut block = Writer {
            bytes: Vec::with_capacity(room),
        };
        block.number(self.columns.len() as u64);
        block.number(self.rows as u64);
        for (column, values) in &mut self.columns {
            block.text(&column.name);
            block.text(&column.kind.to_string());
            values.empty_into(&mut block.bytes);
        }
        (self.rows, self.bytes) = (0, 0);
        block.bytes
    }
}

/// The bytes that a block of cells is inserted as. In front of its columns are some that have one
/// value in all rows.
pub fn of_cells(constant: &[(&'static str, Kind, &[u8])], cells: &CellBlock) -> Vec<u8> {
    let (rows, columns) = (cells.len(), cells.columns());
    let pieces = columns.iter().flat_map(|column| &column.pieces);
    let constants = constant.iter().map(|(.., value)| value.len());
    // Names and dictionaries are short.
    let room =
        pieces.map(|piece| piece.len()).sum::<usize>() + rows * constants.sum::<usize>() + 4_096;
    let mut block = Writer {
        bytes: Vec::with_capacity(room),
    };
    block.number((constant.len() + columns.len()) as u64);
    block.number(rows as u64);
    for (name, kind, value) in constant {
        block.text(name);
        block.text(&kind.to_string());
        (0..rows).for_each(|_| block.bytes.extend_from_slice(value));
    }
    for (name, mut column) in CellBlock::COLUMNS.iter().zip(columns) {
        block.text(name);
        block.text(&column.kind);
        block.bytes.append(&mut column.head);
        let pieces = column.pieces.iter();
        pieces.for_each(|piece| block.bytes.extend_from_slice(piece));
    }
    block.bytes
}

/// A column of a block that came from ClickHouse, read a row at a time.
pub struct Received<'a> {
    /// The values; of lists, where they end; of texts with a dictionary, their numbers in it.
    values: Reader<'a>,
    dictionary: Option<Dictionary<'a>>,
    end: u64,
    /// Of lists, the columns of their items.
    items: Vec<Received<'a>>,
}

/// The columns of a block, which are as many as were asked for.
pub fn received<'c, 'a, const N: usize>(
    columns: &'c mut [Received<'a>],
) -> Result<&'c mut [Received<'a>; N], Damaged> {
    let what = "as many columns as were asked for";
    columns.try_into().map_err(|_| Damaged { at: 0, what })
}

/// Why there is no block.
#[derive(Debug)]
pub enum NoBlock {
    /// Its end is still to come, unless nothing comes any more.
    Incomplete(Damaged),
    /// It is another one than was asked for.
    Other(Damaged),
}

impl From<Damaged> for NoBlock {
    fn from(error: Damaged) -> Self {
        NoBlock::Incomplete(error)
    }
}

/// What a reader found in place of what was asked for.
fn other(reader: &Reader<'_>, what: &'static str) -> NoBlock {
    NoBlock::Other(reader.damaged(what))
}

/// The texts of a column, each once, and in how many bytes a row has the number of its own.
struct Dictionary<'a> {
    texts: Vec<&'a str>,
    width: usize,
}

impl<'a> Dictionary<'a> {
    /// Reads it; the numbers of so many rows follow.
    fn read(reader: &mut Reader<'a>, rows: usize) -> Result<Self, NoBlock> {
        const OTHERS_TEXTS: u64 = 1 << 8;
        let (version, of_itself) = (reader.u64()?, reader.u64()?);
        let has_own = of_itself & (format::OWN_TEXTS | OTHERS_TEXTS) == format::OWN_TEXTS;
        let width = match of_itself as u8 {
            power @ 0..=3 if version == format::VERSION && has_own => 1 << power,
            _ => return Err(other(reader, "a dictionary of its own")),
        };
        let count = reader.u64()?;
        let texts = (0..count).map(|_| reader.text());
        let texts = texts.collect::<Result<Vec<&str>, Damaged>>()?;
        if reader.u64()? != rows as u64 {
            return Err(other(reader, "a number for every row"));
        }
        Ok(Dictionary { texts, width })
    }

    fn text(&self, values: &mut Reader<'a>) -> Result<&'a str, Damaged> {
        let mut number = [0; 8];
        number[..self.width].copy_from_slice(values.slice(self.width)?);
        let text = self.texts.get(u64::from_le_bytes(number) as usize);
        text.copied()
            .ok_or(values.damaged("a text of the dictionary"))
    }
}

impl<'a> Received<'a> {
    /// Finds the columns of the block at the front of `bytes`: how many rows, the columns, and how
    /// many bytes it takes.
    ///
    /// # Errors
    /// If the block is not all there, or has columns of other kinds.
    pub fn block(
        bytes: &'a [u8],
        kinds: &[Kind],
    ) -> Result<(usize, Vec<Received<'a>>, usize), NoBlock> {
        let mut reader = Reader::new(bytes);
        if reader.number()? != kinds.len() as u64 {
            let what = "a block of as many columns as were asked for";
            return Err(other(&reader, what));
        }
        let rows = reader.count()?;
        let mut columns = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let (_, named) = (reader.text()?, reader.text()?);
            let has_dictionary = *kind == Kind::Text && named == format::TYPE;
            if !has_dictionary && named != kind.to_string() {
                let what = "a column of the kind that was asked for";
                return Err(other(&reader, what));
            }
            // A block without rows has nothing but names.
            let dictionary = (has_dictionary && rows > 0)
                .then(|| Dictionary::read(&mut reader, rows))
                .transpose()?;
            columns.push(match dictionary {
                Some(dictionary) => Received {
                    values: Reader::new(reader.slice(rows.saturating_mul(dictionary.width))?),
                    dictionary: Some(dictionary),
                    end: 0,
                    items: Vec::new(),
                },
                None => Received::column(&mut reader, kind, rows)?,
            });
        }
        Ok((rows, columns, reader.position()))
    }

    fn column(reader: &mut Reader<'a>, kind: &Kind, rows: usize) -> Result<Self, NoBlock> {
        let mut values = reader.clone();
        let mut items = Vec::new();
        match *kind {
            Kind::Fixed(_, width) => {
                values = Reader::new(reader.slice(rows.saturating_mul(width))?)
            }
            Kind::Text => {
                for _ in 0..rows {
                    reader.bytes()?;
                }
            }
            // Nothing that is read so has NULLs.
            Kind::Nullable(..) => return Err(other(reader, "a column without NULLs")),
            Kind::List(_) | Kind::Map(_) => {
                let ends = reader.slice(rows.saturating_mul(8))?;
                values = Reader::new(ends);
                let last = ends
                    .last_chunk()
                    .map_or(0, |last| u64::from_le_bytes(*last));
                let last = usize::try_from(last).map_err(|_| other(reader, "an end"))?;
                for kind in kind.items() {
                    items.push(Received::column(reader, kind, last)?);
                }
            }
        }
        Ok(Received {
            values,
            dictionary: None,
            end: 0,
            items,
        })
    }

    /// The next value, of fixed width.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        self.values.fixed()
    }

    /// The next value, a text.
    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        match &self.dictionary {
            Some(dictionary) => dictionary.text(&mut self.values),
            None => self.values.text(),
        }
    }

    /// The next value, bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        self.values.bytes()
    }

    /// The next value, a list, item by item; maps have a column of keys and one of values.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut [Received<'a>]) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        let end = u64::from_le_bytes(self.values.fixed()?);
        let count = end.checked_sub(self.end);
        let count = count.ok_or(self.values.damaged("an end after the one before"))?;
        self.end = end;
        (0..count).map(|_| item(&mut self.items)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 4] = [
        Kind::Fixed("UInt32", 4),
        Kind::Text,
        Kind::TEXTS,
        Kind::SKETCH,
    ];

    fn block() -> Block {
        let columns = KINDS.iter().zip(["number", "name", "values", "sketch"]);
        Block::new(
            columns
                .map(|(kind, name)| Column::new(name, *kind))
                .collect(),
        )
    }

    fn row(number: u32, texts: &[&str]) -> Vec<u8> {
        let mut row = Writer::default();
        row.fixed(number.to_le_bytes());
        row.text("Ä");
        row.number(texts.len() as u64);
        texts.iter().for_each(|text| row.text(text));
        row.number(1);
        row.fixed((-5_i16).to_le_bytes());
        row.fixed(i64::from(number).to_le_bytes());
        row.bytes
    }

    #[test]
    fn rows_come_back_from_the_block_they_were_put_into() {
        let mut block = block();
        for _ in 0..2 {
            // A block is used again.
            block.push(&row(7, &["a", ""])).unwrap();
            block.push(&row(8, &[])).unwrap();
            block.push(&row(9, &["b"])).unwrap();
            let bytes = block.take();
            let (rows, mut columns, length) = Received::block(&bytes, &KINDS).unwrap();
            assert_eq!((rows, length), (3, bytes.len()));
            for (number, texts) in [(7, &["a", ""][..]), (8, &[]), (9, &["b"])] {
                assert_eq!(columns[0].fixed().map(u32::from_le_bytes), Ok(number));
                assert_eq!(columns[1].text(), Ok("Ä"));
                assert_eq!(columns[2].list(|items| items[0].text()).unwrap(), texts);
                let pair = |items: &mut [Received<'_>]| {
                    let bucket = i16::from_le_bytes(items[0].fixed()?);
                    Ok((bucket, i64::from_le_bytes(items[1].fixed()?)))
                };
                assert_eq!(columns[3].list(pair), Ok(vec![(-5, i64::from(number))]));
            }
            assert!(block.is_empty());
        }
    }

    #[test]
    fn texts_are_read_from_the_dictionary_of_their_column() {
        let mut block = Writer::default();
        block.number(1);
        block.number(3);
        block.text("series");
        block.text("LowCardinality(String)");
        for number in [1, 1 | 1 << 9 | 1 << 10, 2_u64] {
            block.fixed(number.to_le_bytes());
        }
        block.text("");
        block.text("deals");
        block.fixed(3_u64.to_le_bytes());
        for number in [1, 0, 1_u16] {
            block.fixed(number.to_le_bytes());
        }
        let (rows, mut columns, length) = Received::block(&block.bytes, &[Kind::Text]).unwrap();
        assert_eq!((rows, length), (3, block.bytes.len()));
        let texts: Vec<&str> = (0..3).map(|_| columns[0].text().unwrap()).collect();
        assert_eq!(texts, ["deals", "", "deals"]);
        for length in 0..block.bytes.len() {
            let read = Received::block(&block.bytes[..length], &[Kind::Text]);
            assert!(matches!(read, Err(NoBlock::Incomplete(_))), "{length}");
        }
        // A number that has no text.
        *block.bytes.last_mut().unwrap() = 2;
        let (_, mut columns, _) = Received::block(&block.bytes, &[Kind::Text]).unwrap();
        assert!((0..3).any(|_| columns[0].text().is_err()));
        // Texts that are elsewhere.
        block.bytes[41] |= 1;
        let read = Received::block(&block.bytes, &[Kind::Text]);
        assert!(matches!(read, Err(NoBlock::Other(_))));
    }

    #[test]
    fn a_block_that_is_not_all_there_or_another_one_is_told() {
        let mut block = block();
        block.push(&row(7, &["a"])).unwrap();
        let bytes = block.take();
        for length in 0..bytes.len() {
            let read = Received::block(&bytes[..length], &KINDS);
            assert!(matches!(read, Err(NoBlock::Incomplete(_))), "{length}");
        }
        let read = Received::block(&bytes, &KINDS[..3]);
        assert!(matches!(read, Err(NoBlock::Other(_))));
        let mut others = KINDS;
        others[0] = Kind::Fixed("Int32", 4);
        let read = Received::block(&bytes, &others);
        assert!(matches!(read, Err(NoBlock::Other(_))));
    }

    proptest! {
        #[test]
        fn damaged_blocks_are_read_without_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut block = block();
            for number in 0..3 {
                block.push(&row(number, &["a", "b"])).unwrap();
            }
            let mut bytes = block.take();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok((rows, mut columns, _)) = Received::block(&bytes, &KINDS) {
                for _ in 0..rows {
                    let _ = columns[0].fixed::<4>();
                    let _ = columns[1].text();
                    let _ = columns[2].list(|items| items[0].text());
                    let _ = columns[3].list(|items| Ok((items[0].fixed::<2>()?, items[1].fixed::<8>()?)));
                }
            }
        }
    }

    #[test]
    fn a_row_that_ends_too_early_or_too_late_is_refused() {
        let whole = row(7, &["a"]);
        assert!(block().push(&whole[..whole.len() - 1]).is_err());
        assert!(block().push(&[&whole[..], &[0]].concat()).is_err());
        assert!(block().push(&whole).is_ok());
    }
}
