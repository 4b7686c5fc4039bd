//! The values of a row, packed: a read model holds millions of them, and most are small.

use smallvec::SmallVec;

use crate::window::Cell;

/// Counts, sums and buckets as integers of variable length (LEB128, zigzag), each list with its
/// length first.
#[derive(Debug, PartialEq, Eq)]
pub struct Numbers(Packed);

/// The bytes of a row: in line those of nearly all.
#[derive(Debug, PartialEq, Eq)]
enum Packed {
    Few(u8, [u8; IN_LINE]),
    Many(Box<[u8]>),
}

const IN_LINE: usize = 22;

impl Packed {
    fn of(bytes: &[u8]) -> Packed {
        let mut few = [0; IN_LINE];
        match few.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Packed::Few(bytes.len() as u8, few)
            }
            None => Packed::Many(bytes.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Packed::Few(length, bytes) => &bytes[..usize::from(*length)],
            Packed::Many(bytes) => bytes,
        }
    }
}

impl Numbers {
    /// Packs a cell.
    pub fn of(cell: &Cell) -> Numbers {
        let mut bytes = Bytes::new();
        push(&mut bytes, cell.counts.len() as i128);
        cell.counts
            .iter()
            .for_each(|count| push(&mut bytes, i128::from(*count)));
        push(&mut bytes, cell.sums.len() as i128);
        cell.sums.iter().for_each(|sum| push(&mut bytes, *sum));
        for (bucket, count) in cell.sketch.buckets() {
            push(&mut bytes, i128::from(*bucket));
            push(&mut bytes, i128::from(*count));
        }
        Numbers(Packed::of(&bytes))
    }

    /// Adds them to a sum.
    pub fn add_to(&self, sum: &mut Cell) {
        self.visit(sum, 1);
    }

    /// Takes them from a sum.
    pub fn subtract_from(&self, sum: &mut Cell) {
        self.visit(sum, -1);
    }

    fn visit(&self, cell: &mut Cell, sign: i64) {
        let mut rest = self.0.bytes();
        for measure in 0..pull(&mut rest) as usize {
            cell.count(measure, sign * pull(&mut rest) as i64);
        }
        for measure in 0..pull(&mut rest) as usize {
            cell.sum(measure, i128::from(sign) * pull(&mut rest));
        }
        while !rest.is_empty() {
            let bucket = pull(&mut rest) as i16;
            cell.sketch.add(bucket, sign * pull(&mut rest) as i64);
        }
    }
}

/// Room for what most rows take.
type Bytes = SmallVec<[u8; 64]>;

fn push(bytes: &mut Bytes, number: i128) {
    let mut zigzag = (number << 1 ^ number >> 127) as u128;
    while zigzag >= 0x80 {
        bytes.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    bytes.push(zigzag as u8);
}

/// The next number. Only what `push` wrote is read, so there always is one.
fn pull(rest: &mut &[u8]) -> i128 {
    let mut zigzag = 0u128;
    let mut shift = 0;
    while let Some((&byte, tail)) = rest.split_first() {
        *rest = tail;
        zigzag |= u128::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    (zigzag >> 1) as i128 ^ -((zigzag & 1) as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_adds_up_and_can_be_taken_back(
            counts in proptest::collection::vec(any::<i32>().prop_map(i64::from), 0..4),
            sums in proptest::collection::vec(any::<i64>().prop_map(|n| i128::from(n) * 1_000_003), 0..4),
            buckets in proptest::collection::vec((any::<i16>(), -5i64..5), 0..6),
        ) {
            let cell = Cell { counts, sums, sketch: buckets.into_iter().collect() };
            let numbers = Numbers::of(&cell);
            let mut sum = Cell::default();
            numbers.add_to(&mut sum);
            prop_assert_eq!(&sum, &cell);
            numbers.add_to(&mut sum);
            numbers.subtract_from(&mut sum);
            prop_assert_eq!(&sum, &cell);
            numbers.subtract_from(&mut sum);
            prop_assert!(sum.is_zero());
        }
    }
}
