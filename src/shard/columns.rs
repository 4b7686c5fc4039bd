//! Columns of rows: their names and kinds, and their values in bytes (ClickHouse's RowBinary), one
//! after the other.

use std::borrow::Cow;
use std::fmt;

use crate::codec::Writer;
use crate::event::When;

/// The years a DateTime64 column can hold (µs): 1900 to 2299. What lies outside shows as NULL; the
/// state has it.
pub const SHOWN: std::ops::Range<i64> = -2_208_988_800_000_000..10_413_792_000_000_000;

/// A column of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What its values are.
    pub kind: Kind,
}

impl Column {
    /// A column by its name and kind.
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Kind) -> Column {
        let name = name.into();
        Column { name, kind }
    }
}

/// What the values of a column are; shown as ClickHouse's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Of a type whose values take so many bytes.
    Fixed(&'static str, usize),
    /// Texts, or bytes.
    Text,
    /// Such values, or NULL.
    Nullable(&'static str, usize),
    /// Lists; of tuples if there are several kinds.
    List(&'static [Kind]),
    /// Maps from the first kind to the second.
    Map(&'static [Kind; 2]),
}

impl Kind {
    /// One byte: a flag, or the number of a word of an enumeration.
    pub const BYTE: Kind = Kind::Fixed("UInt8", 1);
    /// An unsigned number of 32 bits.
    pub const U32: Kind = Kind::Fixed("UInt32", 4);
    /// An unsigned number of 64 bits.
    pub const U64: Kind = Kind::Fixed("UInt64", 8);
    /// The number of a grain.
    pub const GRAIN: Kind = Kind::Fixed("Int8", 1);
    /// Texts.
    pub const TEXTS: Kind = Kind::List(&[Kind::Text]);
    /// The counts of a cell.
    pub const COUNTS: Kind = Kind::List(&[Kind::Fixed("Int64", 8)]);
    /// The sums of a cell (ten-thousandths).
    pub const SUMS: Kind = Kind::List(&[Kind::Fixed("Decimal(38, 4)", 16)]);
    /// The buckets of a sketch, and what is in each.
    pub const SKETCH: Kind = Kind::Map(&[Kind::Fixed("Int16", 2), Kind::Fixed("Int64", 8)]);
    /// An instant (µs).
    pub const INSTANT: Kind = Kind::Fixed("DateTime64(6, 'UTC')", 8);
    /// What [`Columns::when`] writes.
    pub const WHEN: Kind = Kind::Nullable("DateTime64(6, 'UTC')", 8);
    /// What [`Columns::decimal`] writes.
    pub const DECIMAL: Kind = Kind::Nullable("Decimal(18, 4)", 8);
    /// What [`Columns::rate`] writes.
    pub const RATE: Kind = Kind::Nullable("Decimal(38, 12)", 16);
    /// What [`Columns::flag`] writes.
    pub const FLAG: Kind = Kind::Nullable("UInt8", 1);

    /// What the items of a list or a map are; nothing for all others.
    pub fn items(self) -> &'static [Kind] {
        match self {
            Kind::List(items) => items,
            Kind::Map(items) => items,
            Kind::Fixed(..) | Kind::Text | Kind::Nullable(..) => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Fixed(name, _) => f.write_str(name),
            Kind::Text => f.write_str("String"),
            Kind::Nullable(name, _) => write!(f, "Nullable({name})"),
            Kind::List([item]) => write!(f, "Array({item})"),
            Kind::List(items) => {
                f.write_str("Array(Tuple(")?;
                for (number, item) in items.iter().enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("))")
            }
            Kind::Map([key, value]) => write!(f, "Map({key}, {value})"),
        }
    }
}

/// A column of texts with a dictionary in ClickHouse's Native format: its type, the version of its
/// format, and what it says of itself if texts of its own follow. The lowest byte of that is the
/// width of the numbers, as a power of two.
pub mod dictionary {
    /// The name of its type.
    pub const TYPE: &str = "LowCardinality(String)";
    /// The version of its format.
    pub const VERSION: u64 = 1;
    /// It has texts of its own.
    pub const OWN_TEXTS: u64 = 1 << 9;
}

/// The values of a column in ClickHouse's Native format.
#[derive(Debug)]
pub struct ColumnBytes<'a> {
    /// The name of its type.
    pub kind: String,
    /// What comes first.
    pub head: Vec<u8>,
    /// What follows, piece by piece.
    pub pieces: Vec<&'a [u8]>,
}

impl<'a> ColumnBytes<'a> {
    /// A column with nothing before its pieces.
    pub fn new(kind: Kind, pieces: Vec<&'a [u8]>) -> Self {
        ColumnBytes {
            kind: kind.to_string(),
            head: Vec::new(),
            pieces,
        }
    }
}

/// Writes columns.
pub trait Columns {
    /// Nullable(T).
    fn nullable<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T));
    /// Nullable(DateTime64(6)).
    fn when(&mut self, when: Option<When>);
    /// Nullable(Decimal(18, 4)).
    fn decimal(&mut self, ten_thousandths: Option<i64>);
    /// Nullable(Decimal(38, 12)).
    fn rate(&mut self, rate: Option<i128>);
    /// Nullable(UInt8).
    fn flag(&mut self, flag: Option<bool>);
}

impl Columns for Writer {
    fn nullable<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_none()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn when(&mut self, when: Option<When>) {
        let micros = when.and_then(|when| match when {
            When::Instant(micros) => Some(micros),
            When::Date(day) => i64::from(day).checked_mul(86_400_000_000),
        });
        self.nullable(micros.filter(|m| SHOWN.contains(m)), |writer, micros| {
            writer.fixed(micros.to_le_bytes())
        });
    }

    fn decimal(&mut self, ten_thousandths: Option<i64>) {
        // Decimal(18, 4) holds one digit less than an i64.
        const LIMIT: i64 = 999_999_999_999_999_999;
        self.nullable(
            ten_thousandths.filter(|d| (-LIMIT..=LIMIT).contains(d)),
            |writer, number| writer.fixed(number.to_le_bytes()),
        );
    }

    fn rate(&mut self, rate: Option<i128>) {
        self.nullable(rate, |writer, rate| writer.fixed(rate.to_le_bytes()));
    }

    fn flag(&mut self, flag: Option<bool>) {
        self.nullable(flag, |writer, flag| writer.byte(u8::from(flag)));
    }
}
