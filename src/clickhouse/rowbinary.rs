//! RowBinary: the bytes rows travel in. Column by column, without names; the statement names the columns.

use crate::codec::{Damaged, Reader, Writer};
use crate::event::When;
use crate::window::{Cell, Grain, Pane, Sketch};

/// The years a DateTime64 column can hold (µs): 1900 to 2299. What lies outside shows as NULL; the state has it.
pub const SHOWN: std::ops::Range<i64> = -2_208_988_800_000_000..10_413_792_000_000_000;

/// Writes columns.
pub trait Columns {
    /// Nullable(T).
    fn nullable<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T));
    /// Nullable(DateTime64(6)).
    fn when(&mut self, when: Option<When>);
    /// Nullable(Decimal(18, 4)).
    fn decimal(&mut self, ten_thousandths: Option<i64>);
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
}

/// Reads the columns `counts, sums, sketch`.
pub fn cell(r: &mut Reader<'_>) -> Result<Cell, Damaged> {
    Ok(Cell {
        counts: array(r, |r| Ok(i64::from_le_bytes(r.fixed()?)))?,
        sums: array(r, |r| Ok(i128::from_le_bytes(r.fixed()?)))?,
        sketch: array(r, |r| {
            Ok((
                i16::from_le_bytes(r.fixed()?),
                i64::from_le_bytes(r.fixed()?),
            ))
        })?
        .into_iter()
        .collect::<Sketch>(),
    })
}

/// Reads the columns `grain, pane`.
pub fn pane(r: &mut Reader<'_>) -> Result<Pane, Damaged> {
    let grain = Grain::from_number(r.byte()?).ok_or(Damaged {
        at: r.position(),
        what: "a grain",
    })?;
    Ok(Pane {
        grain,
        start: i64::from(r.u32()?),
    })
}

/// Reads an array.
pub fn array<'a, T>(
    reader: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Damaged>,
) -> Result<Vec<T>, Damaged> {
    (0..reader.count()?).map(|_| item(reader)).collect()
}
