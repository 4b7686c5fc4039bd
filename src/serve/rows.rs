//! The rows of one rollup and pane. A read model holds millions of rows, a few in most panes and
//! thousands in some: each is kept in as few bytes as it can be.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::numbers::Numbers;
use crate::record::Home;
use crate::window::Cell;

/// Up to so many rows are looked through; of more there is an index.
const FEW: usize = 8;
/// The bits of a version beside which the shard stands: an offset of a log is far below.
const VERSION_BITS: u32 = 48;

/// A row: the newest one of its line, shard and pane.
#[derive(Debug)]
pub struct Held {
    /// The shard, and below it the version.
    origin: u64,
    line: u32,
    /// When it was written, in whole seconds, rounded up.
    written: u32,
    numbers: Numbers,
}

impl Held {
    /// A row of a line; `written_at` in µs.
    pub fn new(line: u32, shard: Home, version: u64, written_at: i64, cell: &Cell) -> Held {
        let seconds = written_at.max(0).unsigned_abs().div_ceil(1_000_000);
        Held {
            origin: origin(shard, version),
            line,
            written: seconds.try_into().unwrap_or(u32::MAX),
            numbers: Numbers::of(cell),
        }
    }

    /// Its line.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Its shard.
    pub fn shard(&self) -> Home {
        (self.origin >> VERSION_BITS) as Home
    }

    /// The offset it was written at.
    pub fn version(&self) -> u64 {
        self.origin & ((1 << VERSION_BITS) - 1)
    }

    /// True if it may have been written after a time (µs): of its second nothing finer is known.
    pub fn may_be_after(&self, time: i64) -> bool {
        i64::from(self.written) * 1_000_000 > time
    }

    /// Its values.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }
}

fn origin(shard: Home, version: u64) -> u64 {
    u64::from(shard) << VERSION_BITS | version.min((1 << VERSION_BITS) - 1)
}

/// Rows by line and shard.
#[derive(Debug, Default)]
pub struct PaneRows {
    rows: Vec<Held>,
    /// The positions of the rows, once there are more than [`FEW`].
    index: HashTable<u32>,
}

impl PaneRows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Every row.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.rows.iter()
    }

    /// The row of a line and shard.
    pub fn get(&self, line: u32, shard: Home) -> Option<&Held> {
        self.position(line, shard).map(|at| &self.rows[at])
    }

    /// The same, to be replaced.
    pub fn get_mut(&mut self, line: u32, shard: Home) -> Option<&mut Held> {
        self.position(line, shard).map(|at| &mut self.rows[at])
    }

    /// Adds the row of a line and shard that have none.
    pub fn push(&mut self, row: Held) {
        let PaneRows { rows, index } = self;
        if rows.len() == rows.capacity() {
            rows.reserve_exact((rows.len() / 4).max(1));
        }
        rows.push(row);
        if rows.len() > FEW {
            let unindexed = index.len()..rows.len();
            for at in unindexed {
                let hash_at = |at: &u32| hash_of(&rows[*at as usize]);
                index.insert_unique(hash_of(&rows[at]), at as u32, hash_at);
            }
        }
    }

    fn position(&self, line: u32, shard: Home) -> Option<usize> {
        let is_it = |row: &Held| row.line == line && row.shard() == shard;
        if self.rows.len() <= FEW {
            return self.rows.iter().position(is_it);
        }
        let is_at = |at: &u32| is_it(&self.rows[*at as usize]);
        let found = self.index.find(hash(line, shard), is_at);
        found.map(|at| *at as usize)
    }
}

fn hash_of(row: &Held) -> u64 {
    hash(row.line, row.shard())
}

fn hash(line: u32, shard: Home) -> u64 {
    FxBuildHasher.hash_one((line, shard))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn row(line: u32, shard: Home, version: u64, count: i64) -> Held {
        let cell = Cell {
            counts: vec![count],
            ..Cell::default()
        };
        Held::new(line, shard, version, 0, &cell)
    }

    proptest! {
        #[test]
        fn the_row_that_was_put_last_is_found(
            puts in prop::collection::vec((0u32..12, 0u32..4, 0u64..99, any::<i32>()), 0..80),
        ) {
            let (mut rows, mut known) = (PaneRows::default(), HashMap::new());
            for (line, shard, version, count) in puts {
                let count = i64::from(count);
                let new = row(line, shard, version, count);
                match rows.get_mut(line, shard) {
                    Some(held) => *held = new,
                    None => rows.push(new),
                }
                known.insert((line, shard), (version, count));
                prop_assert_eq!(rows.len(), known.len());
            }
            for line in 0..12 {
                for shard in 0..4 {
                    let found = rows.get(line, shard);
                    let expected = known.get(&(line, shard));
                    prop_assert_eq!(found.is_some(), expected.is_some());
                    let (Some(found), Some((version, count))) = (found, expected) else { continue };
                    let expected = row(line, shard, *version, *count);
                    prop_assert_eq!(found.numbers(), expected.numbers());
                    prop_assert_eq!((found.line(), found.version()), (line, *version));
                }
            }
            prop_assert_eq!(rows.iter().count(), known.len());
        }
    }

    #[test]
    fn a_row_takes_forty_bytes() {
        assert_eq!(size_of::<Held>(), 40);
    }

    #[test]
    fn shard_and_version_stand_side_by_side() {
        let row = row(0, 9_999, (1 << VERSION_BITS) - 2, 1);
        assert_eq!(
            (row.shard(), row.version()),
            (9_999, (1 << VERSION_BITS) - 2)
        );
    }

    #[test]
    fn when_a_row_was_written_is_rounded_up() {
        let at = |written_at| Held::new(0, 0, 1, written_at, &Cell::default());
        assert!(!at(0).may_be_after(0));
        assert!(at(5_000_001).may_be_after(5_999_999));
        assert!(!at(5_000_001).may_be_after(6_000_000));
        assert!(!at(5_000_000).may_be_after(5_000_000));
    }
}
