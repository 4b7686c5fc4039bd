//! The cells of an epoch in a shard: for each rollup a pool, in which a cell is a row of words: what it is cut by, then its numbers.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHasher};
use smallvec::SmallVec;

use super::difference::Change;
use crate::metric::Catalogue;
use crate::symbol::{Symbol, halve, spread};
use crate::window::{Cell, CellKey, Grain, MAX_CROSS, Pane};

/// Which cell of a pool, in three words: start of the pane (s, 1970 to 2100) and currency; two values; the third, grouping set and grain.
/// The lowest byte of the last one is no part of the key: a row keeps its state there.
#[derive(Debug, Clone, Copy)]
struct Key([u64; KEY]);

const KEY: usize = 3;
const STATE: u64 = 0xff;

/// As many cells as a contribution usually goes to, or fewer.
const USUAL: usize = 16;

/// The state of a row, a bit each: to be written; not in use; touched since its state of the hour was taken.
const TOUCHED: u64 = 1;
const FREE: u64 = 2;
const THIS_HOUR: u64 = 4;

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl Key {
    fn new(pane: Pane, currency: Symbol, values: [Symbol; MAX_CROSS], set: u8) -> Self {
        let [first, second, third] = values;
        let set_and_grain = u32::from(set) << 16 | (pane.grain as u32) << 8;
        Key([
            pair(pane.start as u32, currency.0),
            pair(first.0, second.0),
            pair(third.0, set_and_grain),
        ])
    }

    fn of_row(row: &[u64]) -> Self {
        Key([row[0], row[1], row[2] & !STATE])
    }

    fn is_of(&self, row: &[u64]) -> bool {
        self.0 == Self::of_row(row).0
    }

    fn hash(&self) -> u32 {
        let mut hasher: FxHasher = FxBuildHasher.build_hasher();
        self.0.iter().for_each(|word| hasher.write_u64(*word));
        halve(hasher.finish())
    }

    fn cell_key(&self, rollup: usize) -> CellKey {
        let [time, values, last] = self.0;
        let high = |word: u64| Symbol((word >> 32) as u32);
        // Written by `new`, so that the grain is one.
        let grain = Grain::from_number((last >> 8) as u8).unwrap_or(Grain::Day);
        CellKey {
            rollup: rollup as u8,
            set: (last >> 16) as u8,
            pane: Pane {
                grain,
                start: (time >> 32) as i64,
            },
            currency: Symbol(time as u32),
            values: [high(values), Symbol(values as u32), high(last)],
        }
    }
}

/// The samples of a cell: sketch buckets with their counts, eight bytes each, in order.
#[derive(Debug, Clone, Default)]
struct Samples(Vec<u64>);

const COUNT_BITS: u32 = 48;

impl Samples {
    fn add(&mut self, bucket: i16, by: i64) {
        let ordered = u64::from(bucket as u16 ^ 0x8000);
        match self
            .0
            .binary_search_by_key(&ordered, |item| item >> COUNT_BITS)
        {
            Ok(at) => {
                let count = Self::count(self.0[at]) + by;
                if count == 0 {
                    self.0.remove(at);
                } else {
                    self.0[at] = Self::item(ordered, count);
                }
            }
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(1 + self.0.len() / 2);
                }
                self.0.insert(at, Self::item(ordered, by));
            }
        }
    }

    fn item(ordered: u64, count: i64) -> u64 {
        ordered << COUNT_BITS | count as u64 & ((1 << COUNT_BITS) - 1)
    }

    fn count(item: u64) -> i64 {
        (item << (64 - COUNT_BITS)) as i64 >> (64 - COUNT_BITS)
    }

    fn buckets(&self) -> impl ExactSizeIterator<Item = (i16, i64)> {
        let bucket = |item: &u64| ((item >> COUNT_BITS) as u16 ^ 0x8000) as i16;
        self.0
            .iter()
            .map(move |item| (bucket(item), Self::count(*item)))
    }
}

/// So many cells are allocated at once, so that growing copies none.
const CHUNK: usize = 128;

/// The cells of one rollup.
#[derive(Default)]
struct Pool {
    counts: usize,
    /// Words a row takes: its key, one a count, two a sum.
    width: usize,
    /// Rows with the hashes of their keys, so that growing looks at no row.
    index: HashTable<(u32, u32)>,
    chunks: Vec<Box<[u64]>>,
    /// Rows in use or free.
    rows: usize,
    /// Only of rollups whose contributions have samples; then one a cell.
    samples: Vec<Samples>,
    touched: Vec<u32>,
    /// Those touched since their state of the hour was taken, of a rollup whose state is kept of every hour.
    this_hour: Option<Vec<u32>>,
    free: Vec<u32>,
}

/// The numbers of a cell, as they are held.
pub(super) struct CellRef<'a> {
    counts: &'a [u64],
    sums: &'a [u64],
    samples: Option<&'a Samples>,
}

impl CellRef<'_> {
    /// The counts.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = i64> {
        self.counts.iter().map(|word| *word as i64)
    }

    /// The sums, in ten-thousandths.
    pub fn sums(&self) -> impl ExactSizeIterator<Item = i128> {
        let sums = self.sums.chunks_exact(2);
        sums.map(sum)
    }

    /// The buckets of its sketch.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (i16, i64)> {
        static NONE: Samples = Samples(Vec::new());
        self.samples.unwrap_or(&NONE).buckets()
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

/// A sum in its two words.
fn sum(words: &[u64]) -> i128 {
    (u128::from(words[1]) << 64 | u128::from(words[0])) as i128
}

/// The row of a number, to be changed.
fn row_mut(chunks: &mut [Box<[u64]>], width: usize, at: usize) -> &mut [u64] {
    &mut chunks[at / CHUNK][at % CHUNK * width..][..width]
}

/// The row of a number.
fn row(chunks: &[Box<[u64]>], width: usize, at: usize) -> &[u64] {
    &chunks[at / CHUNK][at % CHUNK * width..][..width]
}

impl Pool {
    fn row(&self, at: usize) -> &[u64] {
        row(&self.chunks, self.width, at)
    }

    fn row_mut(&mut self, at: usize) -> &mut [u64] {
        row_mut(&mut self.chunks, self.width, at)
    }

    fn find(&self, key: &Key, hash: u32) -> Option<u32> {
        let (chunks, width) = (&self.chunks, self.width);
        let found = self.index.find(spread(hash), |(at, other)| {
            *other == hash && key.is_of(row(chunks, width, *at as usize))
        });
        found.map(|(at, _)| *at)
    }

    /// A new row for a key that has none.
    fn insert(&mut self, key: &Key, hash: u32) -> usize {
        let at = self.free.pop().map_or(self.rows, |at| at as usize);
        if at == self.rows {
            self.rows += 1;
            if at / CHUNK == self.chunks.len() {
                let chunk = vec![0; CHUNK * self.width];
                self.chunks.push(chunk.into_boxed_slice());
            }
        }
        self.row_mut(at)[..KEY].copy_from_slice(&key.0);
        let entry = (at as u32, hash);
        self.index
            .insert_unique(spread(hash), entry, |(_, hash)| spread(*hash));
        at
    }

    /// Applies a change to the cells of these keys. Says in how many nothing is left.
    fn apply_all(&mut self, keys: &[Key], change: Change<'_>) -> usize {
        // All are looked up before any is changed: none has to wait for another's way through memory, which is most of the cost.
        let found: SmallVec<[(u32, Option<u32>); USUAL]> = keys
            .iter()
            .map(|key| {
                let hash = key.hash();
                (hash, self.find(key, hash))
            })
            .collect();
        let mut zeros = 0;
        for (key, (hash, at)) in keys.iter().zip(found) {
            let at = at.map_or_else(|| self.insert(key, hash), |at| at as usize);
            zeros += usize::from(self.apply(at, change));
        }
        zeros
    }

    /// Applies a change to a cell, and notes that it was touched. True if nothing is left in it.
    fn apply(&mut self, at: usize, change: Change<'_>) -> bool {
        let counts = self.counts;
        let (key, words) = row_mut(&mut self.chunks, self.width, at).split_at_mut(KEY);
        if key[KEY - 1] & TOUCHED == 0 {
            key[KEY - 1] |= TOUCHED;
            self.touched.push(at as u32);
        }
        if let Some(this_hour) = &mut self.this_hour
            && key[KEY - 1] & THIS_HOUR == 0
        {
            key[KEY - 1] |= THIS_HOUR;
            this_hour.push(at as u32);
        }
        for (contribution, sign) in change.signed() {
            let mut bits = contribution.counts;
            while bits != 0 {
                let count = &mut words[bits.trailing_zeros() as usize];
                *count = count.wrapping_add(sign as u64);
                bits &= bits - 1;
            }
            for (measure, number) in contribution.sums.iter().filter(|(_, number)| *number != 0) {
                let words = &mut words[counts + usize::from(*measure) * 2..][..2];
                let after = sum(words) + i128::from(sign) * i128::from(*number);
                (words[0], words[1]) = (after as u64, (after >> 64) as u64);
            }
            if let Some(bucket) = contribution.sample {
                if self.samples.len() <= at {
                    self.samples.resize_with(at + 1, Samples::default);
                }
                self.samples[at].add(bucket, sign);
            }
        }
        change.minus.is_some() && self.is_zero(at)
    }

    fn is_zero(&self, at: usize) -> bool {
        self.row(at)[KEY..].iter().all(|word| *word == 0)
            && self.samples.get(at).is_none_or(|s| s.0.is_empty())
    }

    fn cell(&self, at: usize) -> CellRef<'_> {
        let (counts, sums) = self.row(at)[KEY..].split_at(self.counts);
        CellRef {
            counts,
            sums,
            samples: self.samples.get(at),
        }
    }

    /// Drops a cell in which nothing is left.
    fn release(&mut self, at: usize) {
        let hash = Key::of_row(self.row(at)).hash();
        let entry = self
            .index
            .find_entry(spread(hash), |(other, _)| *other as usize == at);
        if let Ok(entry) = entry {
            entry.remove();
        }
        self.row_mut(at)[KEY - 1] = FREE;
        self.free.push(at as u32);
    }

    fn live(&self) -> impl Iterator<Item = (Key, CellRef<'_>)> {
        let cells = (0..self.rows).filter(|at| self.row(*at)[KEY - 1] & FREE == 0);
        cells.map(|at| (Key::of_row(self.row(at)), self.cell(at)))
    }

    fn bytes(&self) -> usize {
        let samples = self.samples.iter();
        self.chunks.len() * CHUNK * self.width * 8
            + self.samples.capacity() * size_of::<Samples>()
            + samples.map(|s| s.0.capacity() * 8).sum::<usize>()
            + self.index.capacity() * (size_of::<(u32, u32)>() + 1)
            + (self.touched.capacity() + self.free.capacity()) * 4
            + self
                .this_hour
                .as_ref()
                .map_or(0, |rows| rows.capacity() * 4)
    }
}

/// The cells of every rollup.
pub(super) struct Cells {
    pools: Vec<Pool>,
}

impl Cells {
    pub fn new(catalogue: &Catalogue) -> Self {
        let pools = catalogue.rollups().iter().map(|rollup| Pool {
            counts: rollup.counts.len(),
            width: KEY + rollup.counts.len() + 2 * rollup.sums.len(),
            ..Pool::default()
        });
        let mut pools: Vec<Pool> = pools.collect();
        for rollup in catalogue.kept_hourly() {
            pools[usize::from(rollup)].this_hour = Some(Vec::new());
        }
        Cells { pools }
    }

    /// Applies a change to every cell it goes to. Says in how many nothing is left.
    pub fn apply(&mut self, change: Change<'_>, catalogue: &Catalogue) -> usize {
        let Some(place) = change.place() else {
            return 0;
        };
        let pool = &mut self.pools[usize::from(place.rollup)];
        let mut panes = [None; 4];
        let mut keys: SmallVec<[Key; USUAL]> = SmallVec::new();
        for (set, grains) in catalogue.placements(place.rollup) {
            let mut values = [Symbol::BLANK; MAX_CROSS];
            let dimensions = &catalogue.sets[usize::from(*set)].dimensions;
            for (value, dimension) in values.iter_mut().zip(dimensions) {
                *value = place.dims[usize::from(dimension.0)];
            }
            for grain in grains {
                let pane = *panes[*grain as usize - 1]
                    .get_or_insert_with(|| Pane::of(place.at, *grain, &catalogue.calendar));
                keys.push(Key::new(pane, place.currency, values, *set));
                if pane == Pane::UNDATED {
                    break; // one undated cell serves all grains
                }
            }
        }
        pool.apply_all(&keys, change)
    }

    /// Every cell, zeros included until they are taken.
    pub fn iter(&self) -> impl Iterator<Item = (CellKey, Cell)> {
        let pools = self.pools.iter().enumerate();
        pools.flat_map(|(rollup, pool)| {
            pool.live()
                .map(move |(key, cell)| (key.cell_key(rollup), cell.to_cell()))
        })
    }

    /// How many cells are to be written.
    pub fn touched(&self) -> usize {
        self.pools.iter().map(|pool| pool.touched.len()).sum()
    }

    /// Hands over every cell, zeros too, that was touched since the last time, of the rollups whose state is kept of every hour.
    pub fn take_this_hour(&mut self, mut take: impl FnMut(CellKey, CellRef<'_>)) {
        for (rollup, pool) in self.pools.iter_mut().enumerate() {
            let this_hour = pool.this_hour.as_mut().map(std::mem::take);
            for at in this_hour.into_iter().flatten() {
                let at = at as usize;
                take(Key::of_row(pool.row(at)).cell_key(rollup), pool.cell(at));
                pool.row_mut(at)[KEY - 1] &= !THIS_HOUR;
            }
        }
    }

    /// Hands over every cell to be written, zeros too, after which none is; a cell in which nothing is left is dropped, so that its state of
    /// the hour has to be taken first.
    pub fn take_touched(&mut self, mut take: impl FnMut(CellKey, CellRef<'_>)) {
        for (rollup, pool) in self.pools.iter_mut().enumerate() {
            for at in std::mem::take(&mut pool.touched) {
                let at = at as usize;
                take(Key::of_row(pool.row(at)).cell_key(rollup), pool.cell(at));
                pool.row_mut(at)[KEY - 1] &= !TOUCHED;
                if pool.is_zero(at) {
                    pool.release(at); // its row says zero; the next contribution starts from there
                }
            }
        }
    }

    /// Nothing is to be written.
    pub fn forget_touched(&mut self) {
        self.take_this_hour(|_, _| {});
        self.take_touched(|_, _| {});
    }

    /// How many cells there are.
    pub fn count(&self) -> usize {
        self.pools.iter().map(|p| p.rows - p.free.len()).sum()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.pools.iter().map(Pool::bytes).sum()
    }
}
