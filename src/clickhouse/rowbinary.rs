//! Reading RowBinary: rows column by column, without names; the statement names the columns.

use crate::codec::{Damaged, Reader};
use crate::window::{Cell, Grain, Pane, Sketch};

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
