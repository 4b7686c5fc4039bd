//! The cells of an epoch in a shard: for each rollup a pool, in which a cell is a key of 24 bytes and its numbers in line.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHasher};

use crate::metric::{Catalogue, Contribution};
use crate::symbol::Symbol;
use crate::window::{Cell, CellKey, Grain, MAX_CROSS, Pane};

/// Which cell of a pool, in 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    /// Start of the pane in seconds: panes lie between 1970 and 2100.
    start: u32,
    currency: Symbol,
    values: [Symbol; MAX_CROSS],
    set: u8,
    grain: Grain,
    state: State,
}

/// What is to be done with a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Clean,
    Touched,
    Free,
}

impl Key {
    fn is_same(&self, other: &Key) -> bool {
        (self.start, self.currency, self.values, self.set, self.grain)
            == (
                other.start,
                other.currency,
                other.values,
                other.set,
                other.grain,
            )
    }

    fn hash(&self) -> u64 {
        let mut hasher: FxHasher = FxBuildHasher.build_hasher();
        hasher.write_u64(u64::from(self.start) << 32 | u64::from(self.currency.0));
        hasher.write_u64(u64::from(self.values[0].0) << 32 | u64::from(self.values[1].0));
        let set = u64::from(self.set) << 8 | self.grain as u64;
        hasher.write_u64(u64::from(self.values[2].0) << 32 | set);
        hasher.finish()
    }

    fn pane(&self) -> Pane {
        Pane {
            grain: self.grain,
            start: i64::from(self.start),
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

/// The cells of one rollup.
#[derive(Default)]
struct Pool {
    counts: usize,
    /// Words a cell takes: one a count, two a sum.
    width: usize,
    index: HashTable<u32>,
    keys: Vec<Key>,
    words: Vec<i64>,
    /// Only of rollups whose contributions have samples; then one a cell.
    samples: Vec<Samples>,
    touched: Vec<u32>,
    free: Vec<u32>,
}

/// The numbers of a cell, as they are held.
pub(super) struct CellRef<'a> {
    /// The counts.
    pub counts: &'a [i64],
    sums: &'a [i64],
    samples: Option<&'a Samples>,
}

impl CellRef<'_> {
    /// The sums, in ten-thousandths.
    pub fn sums(&self) -> impl ExactSizeIterator<Item = i128> {
        let sums = self.sums.chunks_exact(2);
        sums.map(|words| i128::from(words[1]) << 64 | i128::from(words[0] as u64))
    }

    /// The buckets of its sketch.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (i16, i64)> {
        static NONE: Samples = Samples(Vec::new());
        self.samples.unwrap_or(&NONE).buckets()
    }

    /// The same, apart from the pool.
    pub fn to_cell(&self) -> Cell {
        Cell {
            counts: self.counts.to_vec(),
            sums: self.sums().collect(),
            sketch: self.buckets().collect(),
        }
    }
}

impl Pool {
    fn find(&mut self, key: Key) -> usize {
        let Pool { index, keys, .. } = self;
        let hash = key.hash();
        if let Some(at) = index.find(hash, |at| keys[*at as usize].is_same(&key)) {
            return *at as usize;
        }
        let at = match self.free.pop() {
            Some(at) => {
                keys[at as usize] = key;
                at
            }
            None => {
                if keys.len() == keys.capacity() {
                    let more = (keys.len() / 4).max(16);
                    keys.reserve_exact(more);
                    self.words.reserve_exact(more * self.width);
                }
                keys.push(key);
                self.words.resize(self.words.len() + self.width, 0);
                (keys.len() - 1) as u32
            }
        };
        index.insert_unique(hash, at, |at| keys[*at as usize].hash());
        at as usize
    }

    /// Adds a contribution to a cell, and notes that it was touched. True if nothing is left in it.
    fn add(&mut self, key: Key, contribution: &Contribution, sign: i64) -> bool {
        let at = self.find(key);
        if self.keys[at].state == State::Clean {
            self.keys[at].state = State::Touched;
            self.touched.push(at as u32);
        }
        let words = &mut self.words[at * self.width..][..self.width];
        let mut counts = contribution.counts;
        while counts != 0 {
            words[counts.trailing_zeros() as usize] += sign;
            counts &= counts - 1;
        }
        for (measure, number) in contribution.sums.iter().filter(|(_, number)| *number != 0) {
            let sum = &mut words[self.counts + usize::from(*measure) * 2..][..2];
            let before = i128::from(sum[1]) << 64 | i128::from(sum[0] as u64);
            let after = before + i128::from(sign) * i128::from(*number);
            (sum[0], sum[1]) = (after as i64, (after >> 64) as i64);
        }
        if let Some(bucket) = contribution.sample {
            if self.samples.len() <= at {
                self.samples.resize_with(at + 1, Samples::default);
            }
            self.samples[at].add(bucket, sign);
        }
        sign < 0 && self.is_zero(at)
    }

    fn is_zero(&self, at: usize) -> bool {
        let words = &self.words[at * self.width..][..self.width];
        words.iter().all(|word| *word == 0) && self.samples.get(at).is_none_or(|s| s.0.is_empty())
    }

    fn cell(&self, at: usize) -> CellRef<'_> {
        let words = &self.words[at * self.width..][..self.width];
        let (counts, sums) = words.split_at(self.counts);
        CellRef {
            counts,
            sums,
            samples: self.samples.get(at),
        }
    }

    /// Drops a cell in which nothing is left.
    fn release(&mut self, at: usize) {
        let Pool { index, keys, .. } = self;
        if let Ok(entry) = index.find_entry(keys[at].hash(), |other| *other as usize == at) {
            entry.remove();
        }
        keys[at].state = State::Free;
        self.free.push(at as u32);
    }

    fn live(&self) -> impl Iterator<Item = (&Key, CellRef<'_>)> {
        let cells = self.keys.iter().enumerate();
        cells
            .filter(|(_, key)| key.state != State::Free)
            .map(|(at, key)| (key, self.cell(at)))
    }

    fn bytes(&self) -> usize {
        let samples = self
            .samples
            .iter()
            .map(|s| s.0.capacity() * 8)
            .sum::<usize>();
        self.keys.capacity() * size_of::<Key>()
            + self.words.capacity() * 8
            + self.samples.capacity() * size_of::<Samples>()
            + samples
            + self.index.capacity() * 5
            + (self.touched.capacity() + self.free.capacity()) * 4
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
            width: rollup.counts.len() + 2 * rollup.sums.len(),
            ..Pool::default()
        });
        Cells {
            pools: pools.collect(),
        }
    }

    /// Adds a contribution to every cell it goes to, or takes it back. Says in how many nothing is left.
    pub fn add(&mut self, contribution: &Contribution, sign: i64, catalogue: &Catalogue) -> usize {
        let pool = &mut self.pools[usize::from(contribution.rollup)];
        let mut panes = [None; 4];
        let mut zeros = 0;
        for (set, grains) in catalogue.placements(contribution.rollup) {
            let mut values = [Symbol::BLANK; MAX_CROSS];
            let dimensions = &catalogue.sets[usize::from(*set)].dimensions;
            for (value, dimension) in values.iter_mut().zip(dimensions) {
                *value = contribution.dims[usize::from(dimension.0)];
            }
            for grain in grains {
                let pane = *panes[*grain as usize - 1]
                    .get_or_insert_with(|| Pane::of(contribution.at, *grain, &catalogue.calendar));
                let key = Key {
                    start: pane.start as u32,
                    currency: contribution.currency,
                    values,
                    set: *set,
                    grain: pane.grain,
                    state: State::Clean,
                };
                zeros += usize::from(pool.add(key, contribution, sign));
                if pane == Pane::UNDATED {
                    break; // one undated cell serves all grains
                }
            }
        }
        zeros
    }

    /// Every cell, zeros included until they are taken.
    pub fn iter(&self) -> impl Iterator<Item = (CellKey, Cell)> {
        let pools = self.pools.iter().enumerate();
        pools.flat_map(|(rollup, pool)| {
            pool.live()
                .map(move |(key, cell)| (cell_key(rollup, key), cell.to_cell()))
        })
    }

    /// How many cells are to be written.
    pub fn touched(&self) -> usize {
        self.pools.iter().map(|pool| pool.touched.len()).sum()
    }

    /// Hands over every cell to be written, zeros too, after which none is; a cell in which nothing is left is dropped.
    pub fn take_touched(&mut self, mut take: impl FnMut(CellKey, CellRef<'_>)) {
        for (rollup, pool) in self.pools.iter_mut().enumerate() {
            for at in std::mem::take(&mut pool.touched) {
                let at = at as usize;
                take(cell_key(rollup, &pool.keys[at]), pool.cell(at));
                pool.keys[at].state = State::Clean;
                if pool.is_zero(at) {
                    pool.release(at); // its row says zero; the next contribution starts from there
                }
            }
        }
    }

    /// Nothing is to be written.
    pub fn forget_touched(&mut self) {
        self.take_touched(|_, _| {});
    }

    /// How many cells there are.
    pub fn count(&self) -> usize {
        self.pools.iter().map(|p| p.keys.len() - p.free.len()).sum()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.pools.iter().map(Pool::bytes).sum()
    }
}

fn cell_key(rollup: usize, key: &Key) -> CellKey {
    CellKey {
        rollup: rollup as u8,
        set: key.set,
        pane: key.pane(),
        currency: key.currency,
        values: key.values,
    }
}
