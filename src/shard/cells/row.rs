//! A cell as a row of four-byte words: what it is cut by, with its state in a byte of it, then its
//! numbers.
//!
//! Counts and sums of most cells are small, so that a row holds them in 32 and 64 bits. Those of a
//! rollup in which a number outgrows that are held in 64 and 128 bits from then on.

use std::hash::Hasher;

use rustc_hash::FxHasher;
use smallvec::SmallVec;

use super::samples::Samples;
use crate::shard::difference::Change;
use crate::symbol::{Symbol, halve};
use crate::window::{Cell, CellKey, Grain, MAX_CROSS, Pane};

/// The words of a key before its values: start of the pane (s, 1970 to 2100); currency; grouping
/// set, grain and state.
const HEAD: usize = 3;
/// The word with the state, and its bits there, which are no part of the key.
const MARKS: usize = 2;
const STATE: u32 = 0xff;

/// The states of a row, a bit each.
pub(super) mod state {
    /// To be written.
    pub const TOUCHED: u32 = 1;
    /// Of no cell: dropped, or not used yet.
    pub const UNUSED: u32 = 2;
    /// Touched since its state of the hour was taken.
    pub const THIS_HOUR: u32 = 4;
}

/// Which cell of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u32; HEAD + MAX_CROSS]);

impl Key {
    #[inline]
    pub fn new(pane: Pane, currency: Symbol, values: [Symbol; MAX_CROSS], set: u8) -> Self {
        let [first, second, third] = values;
        let marks = u32::from(set) << 16 | (pane.grain as u32) << 8;
        Key([
            pane.start as u32,
            currency.0,
            marks,
            first.0,
            second.0,
            third.0,
        ])
    }

    pub fn cell_key(&self, rollup: usize) -> CellKey {
        let [start, currency, marks, first, second, third] = self.0;
        // Written by `new`, so that the grain is one.
        let grain = Grain::from_number((marks >> 8) as u8).unwrap_or(Grain::Day);
        CellKey {
            rollup: rollup as u8,
            set: (marks >> 16) as u8,
            pane: Pane {
                grain,
                start: i64::from(start),
            },
            currency: Symbol(currency),
            values: [Symbol(first), Symbol(second), Symbol(third)],
        }
    }
}

/// What a change adds to every cell it goes to.
#[derive(Default)]
pub(super) struct Delta {
    /// What is added to a count, by its measure.
    counts: Few<i32>,
    /// What is added to a sum, by its measure.
    sums: Few<i128>,
    /// Samples, by bucket.
    pub samples: SmallVec<[(i16, i64); 2]>,
}

/// Numbers by measure, of which a change has few.
type Few<T> = SmallVec<[(u8, T); 4]>;

impl Delta {
    pub fn of(change: Change<'_>) -> Delta {
        let mut delta = Delta::default();
        let [minus, plus] = [change.minus, change.plus].map(|c| c.map_or(0, |c| c.counts));
        for (mut bits, sign) in [(minus & !plus, -1), (plus & !minus, 1)] {
            while bits != 0 {
                delta.counts.push((bits.trailing_zeros() as u8, sign));
                bits &= bits - 1;
            }
        }
        for (contribution, sign) in change.signed() {
            for (measure, number) in contribution.sums.iter().filter(|(_, number)| *number != 0) {
                let by = i128::from(sign) * i128::from(*number);
                match delta.sums.iter_mut().find(|(known, _)| known == measure) {
                    Some((_, sum)) => *sum += by,
                    None => delta.sums.push((*measure, by)),
                }
            }
            if let Some(bucket) = contribution.sample {
                delta.samples.push((bucket, sign));
            }
        }
        delta
    }
}

/// What became of an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// Nothing, since a number would not fit.
    TooWide,
    /// One of the numbers is not 0.
    SomethingIsLeft,
    /// It has to be looked at whether anything is left.
    Unknown,
}

/// How the rows of a pool are laid out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layout {
    /// Values of its widest grouping set.
    pub values: usize,
    pub counts: usize,
    pub sums: usize,
    /// Numbers take twice as many words.
    pub is_wide: bool,
}

impl Layout {
    /// Words a row takes.
    pub fn width(self) -> usize {
        self.key() + self.numbers(self.counts + 2 * self.sums)
    }

    #[inline]
    fn key(self) -> usize {
        HEAD + self.values
    }

    /// The words of what takes so many if it is narrow.
    fn numbers(self, narrow: usize) -> usize {
        narrow << u32::from(self.is_wide)
    }

    #[inline]
    pub fn hash(self, key: &Key) -> u32 {
        let mut hasher = FxHasher::default();
        let pair = |at| u64::from(key.0[at]) << 32 | u64::from(key.0[at + 1]);
        hasher.write_u64(pair(0));
        hasher.write_u64(pair(2));
        if self.values > 1 {
            hasher.write_u64(pair(4));
        }
        halve(hasher.finish())
    }

    /// True if a row is of this key.
    #[inline]
    pub fn is_of(self, row: &[u32], key: &Key) -> bool {
        row[0] == key.0[0]
            && row[1] == key.0[1]
            && row[MARKS] & !STATE == key.0[MARKS]
            && (HEAD..self.key()).all(|at| row[at] == key.0[at])
    }

    pub fn key_of(self, row: &[u32]) -> Key {
        let mut key = [0; HEAD + MAX_CROSS];
        let words = key.iter_mut().zip(&row[..self.key()]);
        words.for_each(|(word, of_row)| *word = *of_row);
        key[MARKS] &= !STATE;
        Key(key)
    }

    /// The start (s) of the hour a row is of, if it is of one.
    pub fn hour(row: &[u32]) -> Option<i64> {
        let is_hour = row[MARKS] >> 8 & 0xff == Grain::Hour as u32;
        is_hour.then_some(i64::from(row[0]))
    }

    /// Makes an unused row one of this key, with nothing in it.
    pub fn begin(self, row: &mut [u32], key: &Key) {
        row.fill(0);
        row[..self.key()].copy_from_slice(&key.0[..self.key()]);
    }

    /// True if it has the state.
    #[inline]
    pub fn is(row: &[u32], state: u32) -> bool {
        row[MARKS] & state != 0
    }

    /// Sets a state. True if it had not got it.
    #[inline]
    pub fn set(row: &mut [u32], state: u32) -> bool {
        let is_new = !Self::is(row, state);
        row[MARKS] |= state;
        is_new
    }

    pub fn unset(row: &mut [u32], state: u32) {
        row[MARKS] &= !state;
    }

    /// Adds to the numbers of a row.
    #[inline]
    pub fn add(self, row: &mut [u32], delta: &Delta) -> Added {
        let numbers = &mut row[self.key()..];
        if self.is_wide {
            self.add_wide(numbers, delta);
            return Added::Unknown;
        }
        let mut left = 0;
        for (at, (measure, by)) in delta.counts.iter().enumerate() {
            let count = &mut numbers[usize::from(*measure)];
            let Some(after) = (*count as i32).checked_add(*by) else {
                self.take_back(numbers, &delta.counts[..at], &[]);
                return Added::TooWide;
            };
            *count = after as u32;
            left |= after;
        }
        for (at, (measure, by)) in delta.sums.iter().enumerate() {
            let sum = self.sum(numbers, *measure);
            let after = i64::try_from(*by).ok();
            let Some(after) = after.and_then(|by| (read(sum) as i64).checked_add(by)) else {
                self.take_back(numbers, &delta.counts, &delta.sums[..at]);
                return Added::TooWide;
            };
            write(sum, after as u64);
            left |= i32::from(after != 0);
        }
        if left == 0 {
            Added::Unknown
        } else {
            Added::SomethingIsLeft
        }
    }

    #[inline]
    fn sum(self, numbers: &mut [u32], measure: u8) -> &mut [u32] {
        &mut numbers[self.counts + usize::from(measure) * 2..][..2]
    }

    /// Undoes the additions before one that did not fit.
    fn take_back(self, numbers: &mut [u32], counts: &[(u8, i32)], sums: &[(u8, i128)]) {
        for (measure, by) in counts {
            let count = &mut numbers[usize::from(*measure)];
            *count = count.wrapping_sub(*by as u32);
        }
        for (measure, by) in sums {
            let sum = self.sum(numbers, *measure);
            write(sum, read(sum).wrapping_sub(*by as u64));
        }
    }

    fn add_wide(self, numbers: &mut [u32], delta: &Delta) {
        for (measure, by) in &delta.counts {
            let count = &mut numbers[usize::from(*measure) * 2..][..2];
            write(count, read(count).wrapping_add(i64::from(*by) as u64));
        }
        for (measure, by) in &delta.sums {
            let sum = &mut numbers[2 * self.counts + usize::from(*measure) * 4..][..4];
            let after = wide_sum(sum).wrapping_add(*by) as u128;
            write(&mut sum[..2], after as u64);
            write(&mut sum[2..], (after >> 64) as u64);
        }
    }

    /// True if all numbers of a row are 0.
    pub fn is_zero(self, row: &[u32]) -> bool {
        row[self.key()..].iter().all(|word| *word == 0)
    }

    /// Writes a row of the narrow layout as one of the wide.
    pub fn widen(self, row: &[u32], wide: &mut [u32]) {
        let key = self.key();
        wide[..key].copy_from_slice(&row[..key]);
        let (counts, sums) = row[key..].split_at(self.counts);
        let (wide_counts, wide_sums) = wide[key..].split_at_mut(2 * self.counts);
        for (count, wide) in counts.iter().zip(wide_counts.chunks_exact_mut(2)) {
            write(wide, i64::from(*count as i32) as u64);
        }
        for (sum, wide) in sums.chunks_exact(2).zip(wide_sums.chunks_exact_mut(4)) {
            let sum = i128::from(read(sum) as i64);
            write(&mut wide[..2], sum as u64);
            write(&mut wide[2..], (sum >> 64) as u64);
        }
    }

    pub fn cell<'a>(self, row: &'a [u32], samples: &'a Samples) -> CellRef<'a> {
        CellRef {
            layout: self,
            numbers: &row[self.key()..],
            samples,
        }
    }
}

/// A number in two words.
#[inline]
fn read(words: &[u32]) -> u64 {
    u64::from(words[1]) << 32 | u64::from(words[0])
}

#[inline]
fn write(words: &mut [u32], number: u64) {
    words[0] = number as u32;
    words[1] = (number >> 32) as u32;
}

fn wide_sum(words: &[u32]) -> i128 {
    (u128::from(read(&words[2..])) << 64 | u128::from(read(&words[..2]))) as i128
}

/// The numbers of a cell, as they are held.
pub(in crate::shard) struct CellRef<'a> {
    layout: Layout,
    numbers: &'a [u32],
    samples: &'a Samples,
}

impl CellRef<'_> {
    /// The counts.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = i64> {
        (0..self.layout.counts).map(|at| {
            if self.layout.is_wide {
                read(&self.numbers[2 * at..]) as i64
            } else {
                i64::from(self.numbers[at] as i32)
            }
        })
    }

    /// The sums, in ten-thousandths.
    pub fn sums(&self) -> impl ExactSizeIterator<Item = i128> {
        let sums = &self.numbers[self.layout.numbers(self.layout.counts)..];
        (0..self.layout.sums).map(move |at| {
            if self.layout.is_wide {
                wide_sum(&sums[4 * at..])
            } else {
                i128::from(read(&sums[2 * at..]) as i64)
            }
        })
    }

    /// The buckets of its sketch.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (i16, i64)> {
        self.samples.buckets()
    }

    /// The same, apart from the pool.
    pub fn to_cell(&self) -> Cell {
        Cell {
            counts: self.counts().collect(),
            sums: self.sums().collect(),
            sketch: self.buckets().collect(),
        }
    }
}
