//! The cells of the windows in memory: the newest row of every key, and the sums of the windows,
//! kept as rows come and as windows move.
//!
//! A sum is changed by the difference that a row makes, never rebuilt from history: amounts are
//! whole numbers and sketches can be subtracted from, so the sums are exactly those that would be
//! read from ClickHouse.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::reach::Reach;
use super::rows::{Held, PaneRows};
use crate::clickhouse::RollupRow;
use crate::metric::{Catalogue, Converted, QueryPlan, SideInputs, Sums};
use crate::window::rolling::PaneRange;
use crate::window::{Calendar, Cell, Day, Grain, Pane};

/// A line of cells: everything of a key but the pane and the shard. Few, so their texts are stored
/// once.
struct Line {
    rollup: u8,
    set: u8,
    values: Vec<String>,
    currency: String,
}

/// One range of panes summed, by line.
struct RangeSums {
    range: PaneRange,
    rollups: Vec<u8>,
    sums: FxHashMap<u32, Cell>,
    /// In the reporting currency, of lines that have one.
    converted: FxHashMap<u32, Converted>,
}

/// The rows within a reach, and the sums over the ranges of the last plan.
pub struct Cells {
    reach: Reach,
    /// The same by rollup.
    reach_of: Vec<Vec<PaneRange>>,
    /// Numbers of rollups and grouping sets by name.
    rollups: HashMap<String, u8>,
    sets: HashMap<String, u8>,
    side: Arc<SideInputs>,
    calendar: Calendar,
    /// By rollup, whether its amounts can be converted by day.
    convertible: Vec<bool>,
    /// By rollup, whether the owner in its cells is that of today.
    of_today: Vec<bool>,
    /// The set by owner, and the first of those that are derived from it.
    owners: Option<u8>,
    derived: u8,
    lines: Vec<Line>,
    /// Of a line by owner the lines that its cells count in too, from one day up to before another.
    above: FxHashMap<u32, Vec<(Range<Day>, u32)>>,
    numbers_of_lines: FxHashMap<Box<[u8]>, u32>,
    derived_lines: HashMap<(u8, u8, String, String), u32>,
    /// A line's name in bytes, kept to be used again.
    name: Vec<u8>,
    panes: BTreeMap<(u8, Grain, i64), PaneRows>,
    ranges: Vec<RangeSums>,
    /// By rollup, the positions of the ranges that sum it.
    ranges_of: Vec<Vec<usize>>,
    has_changed: bool,
}

impl Cells {
    /// No rows yet. Amounts are converted by the rates beside them, and summed up the hierarchy.
    pub fn new(catalogue: &Catalogue, reach: Reach, side: Arc<SideInputs>) -> Cells {
        let rollups = 0..catalogue.rollups().len() as u8;
        Cells {
            reach_of: catalogue
                .rollups()
                .iter()
                .map(|rollup| reach.ranges_of(&rollup.name))
                .collect(),
            reach,
            rollups: catalogue.numbers_of_rollups(),
            convertible: rollups
                .clone()
                .map(|number| {
                    !side.rates.reporting().is_empty() && catalogue.converted(number).is_some()
                })
                .collect(),
            of_today: rollups
                .map(|number| catalogue.owner_is_todays(number))
                .collect(),
            owners: catalogue.owners().filter(|_| !side.hierarchy.is_empty()),
            derived: catalogue.sets.len() as u8,
            side,
            calendar: catalogue.calendar.clone(),
            sets: (0..catalogue.sets.len())
                .map(|set| (catalogue.set_name(set), set as u8))
                .collect(),
            lines: Vec::new(),
            above: FxHashMap::default(),
            numbers_of_lines: FxHashMap::default(),
            derived_lines: HashMap::new(),
            name: Vec::new(),
            panes: BTreeMap::new(),
            ranges: Vec::new(),
            ranges_of: vec![Vec::new(); catalogue.rollups().len()],
            has_changed: false,
        }
    }

    /// What is held.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// How many rows are held.
    pub fn len(&self) -> usize {
        self.panes.values().map(PaneRows::len).sum()
    }

    /// True if no row is held.
    pub fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    /// Takes a row, unless a newer one of its key is held. Rows of metrics or groups unknown to
    /// this program are another version's.
    pub fn put(&mut self, row: &RollupRow<'_>) {
        let Some(line) = self.line(row) else { return };
        let rollup = self.lines[line as usize].rollup;
        if !self.reaches(rollup, row.pane) {
            return;
        }
        let pane = self
            .panes
            .entry((rollup, row.pane.grain, row.pane.start))
            .or_default();
        let held = pane.get_mut(line, row.shard);
        // Of equal versions the values are equal: every row is a function of its log up to its
        // version.
        if (held.as_ref()).is_some_and(|held| held.version() >= row.version) {
            return;
        }
        // Before the first sums there is nothing to change.
        let ranges_of = self.ranges_of[usize::from(rollup)].iter().copied();
        let summed: SmallVec<[usize; 16]> = ranges_of
            .filter(|at| self.ranges[*at].range.holds(row.pane))
            .collect();
        let mut difference = (!summed.is_empty()).then(|| row.cell.clone());
        let (version, written_at) = (row.version, row.written_at);
        let new = Held::new(line, row.shard, version, written_at, &row.cell);
        match held {
            Some(held) => {
                if let Some(difference) = &mut difference {
                    held.numbers().subtract_from(difference);
                }
                *held = new;
            }
            None => pane.push(new),
        }
        let Some(difference) = difference.filter(|difference| !difference.is_zero()) else {
            return;
        };
        let factor = self.factor(line, row.pane);
        let mut ranges = std::mem::take(&mut self.ranges);
        for at in summed {
            let range = &mut ranges[at];
            for line in self.counted_in(line, row.pane) {
                range.sums.entry(line).or_default().merge(&difference);
                if let Some(factor) = factor {
                    let converted = range.converted.entry(line).or_default();
                    converted.add(&difference, factor, 1);
                }
            }
        }
        self.ranges = ranges;
        self.has_changed = true;
    }

    /// The lines that a line's cell counts in: itself, and those of the managers and teams of its
    /// owner as of its day.
    fn counted_in(&self, line: u32, pane: Pane) -> impl Iterator<Item = u32> {
        let above = self.above.get(&line).map(Vec::as_slice).unwrap_or_default();
        let is_todays = || self.of_today[usize::from(self.lines[line as usize].rollup)];
        // The last day there is has what holds today.
        let day = match above {
            [] => Day::MAX,
            _ if is_todays() => Day::MAX - 1,
            _ => pane.local_day(&self.calendar).min(Day::MAX - 1),
        };
        let of_day = above.iter().filter(move |(days, _)| days.contains(&day));
        std::iter::once(line).chain(of_day.map(|(_, line)| *line))
    }

    /// By what the amounts of a line's cell are converted; none of a line whose amounts are not.
    fn factor(&self, line: u32, pane: Pane) -> Option<Option<i128>> {
        let line = &self.lines[line as usize];
        let is_converted = self.convertible[usize::from(line.rollup)];
        is_converted.then(|| {
            let day = pane.local_day(&self.calendar);
            self.side.rates.factor(&line.currency, day)
        })
    }

    fn line(&mut self, row: &RollupRow<'_>) -> Option<u32> {
        let texts = [row.series, row.dimension, row.currency];
        self.name.clear();
        for text in texts.iter().chain(&row.values) {
            self.name.extend((text.len() as u32).to_le_bytes());
            self.name.extend(text.as_bytes());
        }
        if let Some(line) = self.numbers_of_lines.get(self.name.as_slice()) {
            return Some(*line);
        }
        let line = Line {
            rollup: *self.rollups.get(row.series)?,
            set: *self.sets.get(row.dimension)?,
            values: row.values.iter().map(|value| (*value).to_owned()).collect(),
            currency: row.currency.to_owned(),
        };
        let is_by_owner = self.owners == Some(line.set);
        let number = u32::try_from(self.lines.len()).ok()?;
        self.lines.push(line);
        self.numbers_of_lines
            .insert(self.name.as_slice().into(), number);
        if is_by_owner {
            self.look_up(number, row);
        }
        Some(number)
    }

    /// Makes the lines that the cells of an owner's line count in too.
    fn look_up(&mut self, number: u32, row: &RollupRow<'_>) {
        let rollup = self.lines[number as usize].rollup;
        let side = self.side.clone();
        let owner = row.values.first().copied().unwrap_or_default();
        let above = side.hierarchy.of(owner).into_iter();
        let above = above.map(|(dimension, value, days)| {
            let set = self.derived + dimension as u8;
            (days, self.derived_line(rollup, set, value, row.currency))
        });
        let above = above.collect();
        self.above.insert(number, above);
    }

    fn derived_line(&mut self, rollup: u8, set: u8, value: &str, currency: &str) -> u32 {
        let key = (rollup, set, value.to_owned(), currency.to_owned());
        let next = self.lines.len() as u32;
        let number = *self.derived_lines.entry(key).or_insert(next);
        if number == next {
            self.lines.push(Line {
                rollup,
                set,
                values: vec![value.to_owned()],
                currency: currency.to_owned(),
            });
        }
        number
    }

    /// Moves the sums to the ranges of `plan`; true if any number may differ from those after the
    /// last call.
    pub fn move_to(&mut self, plan: &QueryPlan) -> bool {
        let mut has_changed = std::mem::take(&mut self.has_changed);
        let mut before = std::mem::take(&mut self.ranges);
        for (range, rollups) in plan.ranges.iter().zip(&plan.rollups) {
            let mut rollups: Vec<u8> = rollups.iter().map(|name| self.rollups[name]).collect();
            rollups.sort_unstable();
            // The nearest range of the same kind; from any, and from none, the way leads to the
            // same sums.
            let nearest = (0..before.len())
                .filter(|&i| {
                    let known = &before[i];
                    known.rollups == rollups
                        && known.range.grain == range.grain
                        && known.range.undated == range.undated
                })
                .min_by_key(|&i| distance(&before[i].range, range));
            let mut moved = match nearest {
                Some(i) => before.swap_remove(i),
                None => {
                    let mut empty = RangeSums {
                        range: PaneRange {
                            to: range.from,
                            ..*range
                        },
                        rollups,
                        sums: FxHashMap::default(),
                        converted: FxHashMap::default(),
                    };
                    has_changed = true;
                    if range.undated {
                        self.add_panes(&mut empty, Grain::Undated, 0..1, true);
                    }
                    empty
                }
            };
            has_changed |= moved.range != *range;
            self.move_range(&mut moved, *range);
            self.ranges.push(moved);
        }
        for (rollup, ranges_of) in self.ranges_of.iter_mut().enumerate() {
            let sums_it = |at: &usize| self.ranges[*at].rollups.contains(&(rollup as u8));
            *ranges_of = (0..self.ranges.len()).filter(sums_it).collect();
        }
        has_changed | !before.is_empty()
    }

    fn move_range(&self, sums: &mut RangeSums, to: PaneRange) {
        let from = sums.range;
        let pieces = |a: PaneRange, b: PaneRange| {
            // What of `a` is not in `b`: at most one piece before it and one after it.
            let end = a.to.min(b.from.max(a.from));
            let start = a.from.max(b.to.min(a.to)).max(end);
            [a.from..end, start..a.to]
        };
        for piece in pieces(from, to) {
            self.add_panes(sums, from.grain, piece, false);
        }
        for piece in pieces(to, from) {
            self.add_panes(sums, from.grain, piece, true);
        }
        sums.range = to;
    }

    /// Adds the rows of some panes to a sum, or subtracts them.
    fn add_panes(
        &self,
        sums: &mut RangeSums,
        grain: Grain,
        panes: std::ops::Range<i64>,
        is_added: bool,
    ) {
        if panes.is_empty() {
            return;
        }
        for &rollup in &sums.rollups {
            let keys = (rollup, grain, panes.start)..(rollup, grain, panes.end);
            for (&(_, grain, start), rows) in self.panes.range(keys) {
                let pane = Pane { grain, start };
                for row in rows.iter() {
                    let numbers = row.numbers();
                    let converted = self.factor(row.line(), pane).map(|factor| {
                        let mut cell = Cell::default();
                        numbers.add_to(&mut cell);
                        (cell, factor)
                    });
                    for line in self.counted_in(row.line(), pane) {
                        let sum = sums.sums.entry(line).or_default();
                        if is_added {
                            numbers.add_to(sum);
                        } else {
                            numbers.subtract_from(sum);
                        }
                        if let Some((cell, factor)) = &converted {
                            let sum = sums.converted.entry(line).or_default();
                            sum.add(cell, *factor, if is_added { 1 } else { -1 });
                        }
                    }
                }
            }
        }
    }

    /// The sums over the ranges of the last plan, as metrics are read from.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for (number, range) in self.ranges.iter().enumerate() {
            for (&line, cell) in range.sums.iter().filter(|(_, cell)| !cell.is_zero()) {
                let line = &self.lines[line as usize];
                sums.add(
                    number,
                    line.rollup,
                    line.set,
                    line.values.clone(),
                    line.currency.clone(),
                    cell,
                );
            }
            for (&line, sum) in range.converted.iter().filter(|(_, sum)| !sum.is_zero()) {
                let line = &self.lines[line as usize];
                sums.add_converted(number, line.rollup, line.set, line.values.clone(), sum);
            }
        }
        sums
    }

    /// How many rows within both reaches differ from those of `other`, not counting what was
    /// written after `since` and so is read again.
    pub fn differences(&self, other: &Cells, since: i64) -> usize {
        let missing_in = |a: &Cells, b: &Cells| {
            // The same line has different values in the two.
            let lines: Vec<Option<u32>> = {
                let mut names: Vec<Option<u32>> = vec![None; a.lines.len()];
                for (name, number) in &a.numbers_of_lines {
                    names[*number as usize] = b.numbers_of_lines.get(name).copied();
                }
                names
            };
            let mut missing = 0;
            for (&(rollup, grain, start), rows) in &a.panes {
                let pane = Pane { grain, start };
                let other_rows = b.panes.get(&(rollup, grain, start));
                for row in rows.iter() {
                    if row.may_be_after(since) || !b.reaches(rollup, pane) {
                        continue;
                    }
                    let there = lines[row.line() as usize]
                        .and_then(|line| other_rows?.get(line, row.shard()));
                    missing += usize::from(match there {
                        None => true,
                        Some(there) if there.version() == row.version() => {
                            std::ptr::eq(a, self) && there.numbers() != row.numbers()
                        }
                        // A late writer's row may say once more what an older version says.
                        Some(there) => {
                            there.version() < row.version() && there.numbers() != row.numbers()
                        }
                    });
                }
            }
            missing
        };
        missing_in(self, other) + missing_in(other, self)
    }

    fn reaches(&self, rollup: u8, pane: Pane) -> bool {
        self.reach_of[usize::from(rollup)]
            .iter()
            .any(|range| range.holds(pane))
    }
}

fn distance(a: &PaneRange, b: &PaneRange) -> u64 {
    a.from.abs_diff(b.from).saturating_add(a.to.abs_diff(b.to))
}
