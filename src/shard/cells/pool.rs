//! The cells of one rollup: rows that don't move, found by key, with notes of which were touched.

use super::index::Index;
use super::place::{Lookup, Place, Placed};
use super::row::{Added, CellRef, Delta, Key, Layout, state};
use super::samples::Samples;
use crate::metric::Catalogue;
use crate::shard::difference::{Change, Part};
use crate::window::{Calendar, CellKey, HoursKept};

/// So many cells are allocated at once, so that growing copies none.
const CHUNK: usize = 128;

/// The cells of one rollup.
#[derive(Default)]
pub(super) struct Pool {
    layout: Layout,
    /// Words a row takes.
    width: usize,
    places: Vec<Place>,
    index: Index,
    chunks: Vec<Box<[u32]>>,
    /// Rows in use or free.
    rows: usize,
    /// Only of rollups whose contributions have samples; then one a cell.
    samples: Vec<Samples>,
    touched: Vec<u32>,
    /// Those touched since their state of the hour was taken, of a rollup whose state is kept of
    /// every hour.
    this_hour: Option<Vec<u32>>,
    free: Vec<u32>,
    /// The start (s) of the first hour that is kept.
    first_hour: i64,
    /// The cells of hours, where these are not kept for ever; some were dropped since.
    hours: Vec<u32>,
    forgets_hours: bool,
}

/// The row of a number, to be changed.
fn row_mut(chunks: &mut [Box<[u32]>], width: usize, at: usize) -> &mut [u32] {
    &mut chunks[at / CHUNK][at % CHUNK * width..][..width]
}

/// The row of a number.
fn row(chunks: &[Box<[u32]>], width: usize, at: usize) -> &[u32] {
    &chunks[at / CHUNK][at % CHUNK * width..][..width]
}

impl Pool {
    /// No cells of a rollup yet.
    pub fn new(rollup: u8, catalogue: &Catalogue, is_kept_hourly: bool) -> Pool {
        let places = Place::all(rollup, catalogue);
        let measures = &catalogue.rollups()[usize::from(rollup)];
        let layout = Layout {
            values: places.iter().map(Place::dimensions).max().unwrap_or(0),
            counts: measures.counts.len(),
            sums: measures.sums.len(),
            is_wide: false,
        };
        Pool {
            width: layout.width(),
            layout,
            places,
            this_hour: is_kept_hourly.then(Vec::new),
            first_hour: i64::MIN,
            forgets_hours: catalogue.spec.hours_kept != HoursKept::All,
            ..Pool::default()
        }
    }

    fn row(&self, at: usize) -> &[u32] {
        row(&self.chunks, self.width, at)
    }

    fn row_mut(&mut self, at: usize) -> &mut [u32] {
        row_mut(&mut self.chunks, self.width, at)
    }

    fn find(&self, lookup: &Lookup) -> Option<u32> {
        let is_it = |at: u32| {
            let row = row(&self.chunks, self.width, at as usize);
            self.layout.is_of(row, &lookup.key)
        };
        self.index.find(lookup.hash, lookup.first, is_it)
    }

    /// A new row for a key that has none.
    fn insert(&mut self, key: &Key, hash: u32) -> usize {
        let at = self.free.pop().map_or(self.rows, |at| at as usize);
        let layout = self.layout;
        if at == self.rows {
            self.rows += 1;
            if at / CHUNK == self.chunks.len() {
                let chunk = vec![0; CHUNK * self.width];
                self.chunks.push(chunk.into_boxed_slice());
            }
        }
        layout.begin(self.row_mut(at), key);
        self.index.insert(hash, at as u32);
        if self.forgets_hours && Layout::hour(self.row(at)).is_some() {
            self.hours.push(at as u32);
        }
        at
    }

    /// Applies a change to every cell it goes to. Says in how many nothing is left. `lookups` is
    /// memory to be used again.
    pub fn apply(
        &mut self,
        change: Change<'_>,
        calendar: &Calendar,
        lookups: &mut Vec<Lookup>,
    ) -> usize {
        lookups.clear();
        // Step by step for all cells, not cell by cell: so their waits for memory overlap.
        self.look_up(change, calendar, lookups);
        for lookup in &mut *lookups {
            lookup.row = self.find(lookup);
        }
        let deltas = [Part::Minus, Part::Plus, Part::Both].map(|part| {
            let is_used = lookups.iter().any(|lookup| lookup.part == part);
            is_used.then(|| Delta::of(change.part(part)))
        });
        let mut zeros = 0;
        for lookup in &*lookups {
            let at = match lookup.row {
                Some(at) => at as usize,
                None => self.insert(&lookup.key, lookup.hash),
            };
            let Some(delta) = &deltas[lookup.part as usize] else {
                continue;
            };
            let is_left = self.add(at, delta);
            zeros += usize::from(!is_left && lookup.part != Part::Plus && self.is_zero(at));
        }
        zeros
    }

    /// The first half of finding the cells a change goes to.
    fn look_up(&self, change: Change<'_>, calendar: &Calendar, lookups: &mut Vec<Lookup>) {
        let mut add = |key: Key, part: Part| {
            let hash = self.layout.hash(&key);
            lookups.push(Lookup {
                key,
                hash,
                first: self.index.first(hash),
                row: None,
                part,
            });
        };
        let placed = |contribution| Placed::new(contribution, calendar, self.first_hour);
        match (change.minus.map(placed), change.plus.map(placed)) {
            (Some(mut minus), Some(mut plus)) if !minus.is_beside(&plus) => {
                for place in &self.places {
                    let (old, new) = (minus.key(place), plus.key(place));
                    match (old, new) {
                        (Some(old), Some(new)) if old == new => add(new, Part::Both),
                        (old, new) => {
                            old.into_iter().for_each(|key| add(key, Part::Minus));
                            new.into_iter().for_each(|key| add(key, Part::Plus));
                        }
                    }
                }
            }
            (minus, plus) => {
                let part = match (&minus, &plus) {
                    (Some(_), Some(_)) => Part::Both,
                    (Some(_), None) => Part::Minus,
                    (None, _) => Part::Plus,
                };
                let Some(mut placed) = plus.or(minus) else {
                    return;
                };
                for place in &self.places {
                    if let Some(key) = placed.key(place) {
                        add(key, part);
                    }
                }
            }
        }
    }

    /// Adds to a cell, and notes that it was touched. True if something is left in it; else it has
    /// to be looked at.
    fn add(&mut self, at: usize, delta: &Delta) -> bool {
        let row = row_mut(&mut self.chunks, self.width, at);
        if Layout::set(row, state::TOUCHED) {
            self.touched.push(at as u32);
        }
        if let Some(this_hour) = &mut self.this_hour
            && Layout::set(row, state::THIS_HOUR)
        {
            this_hour.push(at as u32);
        }
        let mut added = self.layout.add(row, delta);
        if added == Added::TooWide {
            self.widen();
            added = self.layout.add(self.row_mut(at), delta);
        }
        for (bucket, by) in &delta.samples {
            if self.samples.len() <= at {
                self.samples.resize_with(at + 1, Samples::default);
            }
            self.samples[at].add(*bucket, *by);
        }
        added == Added::SomethingIsLeft
    }

    /// Holds all numbers in twice as many words.
    fn widen(&mut self) {
        let narrow = self.layout;
        self.layout.is_wide = true;
        self.width = self.layout.width();
        for chunk in &mut self.chunks {
            let mut rows = vec![0; CHUNK * self.width];
            let wide = rows.chunks_exact_mut(self.width);
            for (row, wide) in chunk.chunks_exact(narrow.width()).zip(wide) {
                narrow.widen(row, wide);
            }
            *chunk = rows.into_boxed_slice();
        }
    }

    fn is_zero(&self, at: usize) -> bool {
        self.layout.is_zero(self.row(at)) && self.samples(at).is_empty()
    }

    fn samples(&self, at: usize) -> &Samples {
        static NONE: Samples = Samples::NONE;
        self.samples.get(at).unwrap_or(&NONE)
    }

    fn cell(&self, at: usize) -> CellRef<'_> {
        self.layout.cell(self.row(at), self.samples(at))
    }

    fn key(&self, at: usize) -> Key {
        self.layout.key_of(self.row(at))
    }

    /// Drops a cell. Its row is used again once it is on no list any more.
    fn release(&mut self, at: usize) {
        let hash = self.layout.hash(&self.key(at));
        self.index.remove(hash, at as u32);
        Layout::set(self.row_mut(at), state::UNUSED);
        self.free_if_unlisted(at);
    }

    fn free_if_unlisted(&mut self, at: usize) {
        if !Layout::is(self.row(at), state::TOUCHED | state::THIS_HOUR) {
            self.free.push(at as u32);
        }
    }

    /// Keeps the hours from `first` (s) on only, from now on.
    pub fn drop_hours_before(&mut self, first: i64) {
        self.first_hour = first;
        let mut hours = std::mem::take(&mut self.hours);
        // A row that was dropped and used again is there twice.
        hours.sort_unstable();
        hours.dedup();
        hours.retain(|at| {
            let row = self.row(*at as usize);
            let hour = Layout::hour(row).filter(|_| !Layout::is(row, state::UNUSED));
            let is_over = hour.is_some_and(|hour| hour < first);
            if is_over {
                if let Some(samples) = self.samples.get_mut(*at as usize) {
                    *samples = Samples::default();
                }
                self.release(*at as usize);
            }
            hour.is_some() && !is_over
        });
        self.hours = hours;
    }

    /// Every cell.
    pub fn live(&self) -> impl Iterator<Item = (Key, CellRef<'_>)> {
        let cells = (0..self.rows).filter(|at| !Layout::is(self.row(*at), state::UNUSED));
        cells.map(|at| (self.key(at), self.cell(at)))
    }

    /// How many cells are to be written.
    pub fn touched(&self) -> usize {
        self.touched.len()
    }

    /// How many cells were touched since their state of the hour was taken, if it is kept.
    pub fn touched_this_hour(&self) -> usize {
        self.this_hour.as_ref().map_or(0, Vec::len)
    }

    /// Hands over the cells touched since the last time, if their state is kept of every hour.
    pub fn take_this_hour(&mut self, rollup: usize, take: &mut impl FnMut(CellKey, CellRef<'_>)) {
        let this_hour = self.this_hour.as_mut().map(std::mem::take);
        for at in this_hour.into_iter().flatten() {
            let at = at as usize;
            Layout::unset(self.row_mut(at), state::THIS_HOUR);
            if Layout::is(self.row(at), state::UNUSED) {
                self.free_if_unlisted(at);
            } else {
                take(self.key(at).cell_key(rollup), self.cell(at));
            }
        }
    }

    /// Hands over the cells to be written, after which none is; one in which nothing is left is
    /// dropped.
    pub fn take_touched(&mut self, rollup: usize, take: &mut impl FnMut(CellKey, CellRef<'_>)) {
        for at in std::mem::take(&mut self.touched) {
            let at = at as usize;
            Layout::unset(self.row_mut(at), state::TOUCHED);
            if Layout::is(self.row(at), state::UNUSED) {
                self.free_if_unlisted(at);
                continue;
            }
            take(self.key(at).cell_key(rollup), self.cell(at));
            if self.is_zero(at) {
                self.release(at); // its row says zero; the next contribution starts from there
            }
        }
    }

    /// How many cells there are.
    pub fn count(&self) -> usize {
        self.rows - self.free.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let samples = self.samples.iter();
        let noted = self.touched.capacity()
            + self.free.capacity()
            + self.hours.capacity()
            + self.this_hour.as_ref().map_or(0, Vec::capacity);
        self.chunks.len() * CHUNK * self.width * size_of::<u32>()
            + self.samples.capacity() * size_of::<Samples>()
            + samples.map(Samples::heap_bytes).sum::<usize>()
            + self.index.bytes()
            + noted * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::{DefinitionsSpec, SetSpec};
    use crate::event::When;
    use crate::metric::Contribution;
    use crate::symbol::Symbol;
    use crate::window::{Cell, DIMENSIONS, Dimension, Grain};

    /// The win rate's closed deals, by day, in all and by product.
    fn pool() -> (Pool, Calendar) {
        let groups = vec![SetSpec {
            by: vec!["product".into()],
            every: vec!["day".into()],
        }];
        let spec = DefinitionsSpec {
            groups,
            ..DefinitionsSpec::default()
        };
        let catalogue = Catalogue::new(spec).unwrap();
        let mut rollups = catalogue.rollups().iter();
        let rollup = rollups.position(|r| r.name == "win_rate.closed").unwrap();
        let pool = Pool::new(rollup as u8, &catalogue, false);
        (pool, catalogue.calendar.clone())
    }

    fn contribution(product: u32, counts: u16, sum: i64) -> Contribution {
        let mut dims = [Symbol::BLANK; DIMENSIONS];
        dims[usize::from(Dimension::PRODUCT.0)] = Symbol(product);
        Contribution {
            rollup: 0,
            at: When::Date(20_000),
            dims,
            currency: Symbol(7),
            counts,
            sums: [(1, sum), (0, 0)],
            sample: None,
        }
    }

    fn apply(
        (pool, calendar): &mut (Pool, Calendar),
        minus: Option<Contribution>,
        plus: Option<Contribution>,
    ) -> usize {
        let change = Change {
            minus: minus.as_ref(),
            plus: plus.as_ref(),
        };
        pool.apply(change, calendar, &mut Vec::new())
    }

    /// The cells by product.
    fn cells((pool, _): &(Pool, Calendar)) -> Vec<(u32, Cell)> {
        let cells = pool.live().map(|(key, cell)| (key.cell_key(0), cell));
        let of_product = cells.filter(|(key, _)| key.set > 0);
        let mut cells: Vec<_> = of_product
            .map(|(key, cell)| (key.values[0].0, cell.to_cell()))
            .collect();
        cells.sort_by_key(|(product, _)| *product);
        cells
    }

    #[test]
    fn numbers_that_outgrow_their_words_are_held_in_twice_as_many() {
        let mut pool = pool();
        // More cells than one chunk holds, of which two get too much.
        for product in 0..300 {
            let sum = -i64::from(product);
            apply(&mut pool, None, Some(contribution(product, 0b101, sum)));
        }
        let narrow = pool.0.bytes();
        for (product, sum) in [(150, i64::MAX), (160, i64::MIN)] {
            for _ in 0..3 {
                apply(&mut pool, None, Some(contribution(product, 0b101, sum)));
            }
        }
        assert!(pool.0.bytes() > narrow);
        let cells = cells(&pool);
        assert_eq!(cells.len(), 300);
        for (product, cell) in cells {
            let (times, more) = match product {
                150 => (4, 3 * i128::from(i64::MAX)),
                160 => (4, 3 * i128::from(i64::MIN)),
                _ => (1, 0),
            };
            assert_eq!(cell.counts, [times, 0, times]);
            assert_eq!(cell.sums, [0, more - i128::from(product)]);
        }
    }

    #[test]
    fn a_change_takes_back_where_it_was_and_adds_where_it_is() {
        let mut pool = pool();
        apply(&mut pool, None, Some(contribution(1, 0b101, 10)));
        let (before, after) = (contribution(1, 0b101, 10), contribution(2, 0b011, 25));
        let zeros = apply(&mut pool, Some(before), Some(after));
        assert_eq!(zeros, 1, "the cell of product 1");
        let cells = cells(&pool);
        assert!(cells[0].1.is_zero());
        assert_eq!(
            (&cells[1].1.counts[..], &cells[1].1.sums[..]),
            (&[1, 1, 0][..], &[0, 25][..])
        );
        let live = pool.0.live().map(|(key, cell)| (key.cell_key(0), cell));
        let total: Vec<_> = live
            .filter(|(key, _)| key.set == 0 && key.pane.grain == Grain::Day)
            .collect();
        assert_eq!(total.len(), 1);
        assert_eq!(total[0].1.to_cell(), cells[1].1);
    }

    #[test]
    fn hours_that_are_over_are_dropped_touched_or_not_and_nothing_is_added_to_them() {
        let catalogue = Catalogue::new(DefinitionsSpec::default()).unwrap();
        let mut rollups = catalogue.rollups().iter();
        let rollup = rollups.position(|r| r.name == "cycle_length.won").unwrap();
        let mut pool = Pool::new(rollup as u8, &catalogue, true);
        let at = |day: i64, hour: i64| Contribution {
            at: When::Instant((day * 86_400 + hour * 3_600) * 1_000_000),
            sums: [(0, 5), (0, 0)],
            sample: Some(3),
            ..contribution(0, 1, 0)
        };
        let add = |pool: &mut Pool, what: Contribution| {
            let change = Change {
                minus: None,
                plus: Some(&what),
            };
            pool.apply(change, &catalogue.calendar, &mut Vec::new())
        };
        let panes = |pool: &Pool| {
            let keys = pool.live().map(|(key, _)| key.cell_key(0));
            let totals = keys.filter(|key| key.set == 0);
            let mut panes: Vec<_> = totals.map(|key| (key.pane.grain, key.pane.start)).collect();
            panes.sort_unstable();
            panes
        };
        let hour = |day: i64, hour: i64| (Grain::Hour, day * 86_400 + hour * 3_600);
        let day = |day: i64| (Grain::Day, day * 86_400);
        for (on, hour) in [(100, 23), (101, 0), (101, 5)] {
            add(&mut pool, at(on, hour));
        }
        pool.take_touched(0, &mut |_, _| {});
        pool.take_this_hour(0, &mut |_, _| {});
        add(&mut pool, at(101, 0));
        add(&mut pool, at(100, 22));
        let bytes = pool.bytes();
        pool.drop_hours_before(101 * 86_400);
        assert_eq!(
            panes(&pool),
            [hour(101, 0), hour(101, 5), day(100), day(101)]
        );
        add(&mut pool, at(100, 23));
        add(&mut pool, at(101, 7));
        assert_eq!(
            panes(&pool)[..3],
            [hour(101, 0), hour(101, 5), hour(101, 7)]
        );
        assert_eq!(pool.bytes(), bytes, "the room is used again");
        let of_hour = |hour: i64| {
            let cells = pool.live().map(|(key, cell)| (key.cell_key(0), cell));
            let mut cells = cells.filter(|(key, _)| (key.pane.start, key.set) == (hour, 0));
            let (_, cell) = cells.next().unwrap();
            cell.to_cell()
        };
        let new = of_hour(hour(101, 7).1);
        assert_eq!((new.counts[0], new.sketch.count()), (1, 1), "of no other");
        // What was touched and dropped is not written: the hours that are kept, and the days, each
        // in all and by a source; the days by five more dimensions.
        let mut written = Vec::new();
        pool.take_this_hour(0, &mut |key, _| written.push(key.pane));
        let this_hour = std::mem::take(&mut written);
        pool.take_touched(0, &mut |key, _| written.push(key.pane));
        assert_eq!(written.len(), this_hour.len());
        let hours = written.iter().filter(|pane| pane.grain == Grain::Hour);
        let mut hours: Vec<i64> = hours.map(|pane| pane.start).collect();
        hours.sort_unstable();
        assert_eq!(hours, [0, 0, 7, 7].map(|at| hour(101, at).1));
        assert_eq!((pool.touched(), pool.touched_this_hour()), (0, 0));
        // The rows of those are used again, too.
        add(&mut pool, at(101, 8));
        assert!(pool.free.is_empty());
        assert_eq!(pool.count(), pool.live().count());
    }
}
