//! Columns of rows in the bytes they are inserted as (ClickHouse's RowBinary): one after the other,
//! without names.

use crate::codec::Writer;
use crate::event::When;

/// The years a DateTime64 column can hold (µs): 1900 to 2299. What lies outside shows as NULL; the
/// state has it.
pub const SHOWN: std::ops::Range<i64> = -2_208_988_800_000_000..10_413_792_000_000_000;

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
