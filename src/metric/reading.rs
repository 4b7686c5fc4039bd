//! Readings: the sums of cells a metric is read from, and what all metrics read out of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::LazyLock;

use super::{Catalogue, Converted, Figure, Group, Metric, MetricValues, REPORTING, WindowedValues};
use crate::window::rolling::{Now, PaneRange, Span, Window};
use crate::window::{Calendar, Cell, Day, Grain, Pane, When};

static NOTHING: LazyLock<BTreeMap<String, Cell>> = LazyLock::new(BTreeMap::new);

/// Which pane ranges have to be summed to read all metrics for some windows.
#[derive(Debug, Clone)]
pub struct QueryPlan {
    /// The windows.
    pub windows: Vec<Window>,
    /// The ranges, each once.
    pub ranges: Vec<PaneRange>,
    /// Names of the rollups that are read over each range.
    pub rollups: Vec<BTreeSet<String>>,
    /// The stages of the organisation's order.
    stage_order: Vec<String>,
    /// The numbers of rollups by name.
    numbers: HashMap<String, u8>,
    /// The day windows end with.
    today: Day,
    calendar: Calendar,
    /// The range of a window as a span looks at it.
    index: HashMap<(usize, Span), usize>,
}

impl QueryPlan {
    /// What is needed for `windows`, cut at `now`.
    pub fn new(windows: Vec<Window>, now: Now, catalogue: &Catalogue) -> Self {
        Self::of_hours_from(i64::MIN, windows, now, catalogue)
    }

    /// The same where hours are kept from `first_hour` (s) on only, and the longer the older what is
    /// read. A window that would need others is left out, and so is the part of one that would: what
    /// is kept of them is not all.
    pub fn of_hours_from(
        first_hour: i64,
        mut windows: Vec<Window>,
        now: Now,
        catalogue: &Catalogue,
    ) -> Self {
        let panes = |window: &Window, span: Span| {
            let range = window.panes(span, now, &catalogue.calendar)?;
            let is_kept =
                range.grain != Grain::Hour || range.from >= first_hour.saturating_sub(span.lag());
            is_kept.then_some(range)
        };
        windows.retain(|window| panes(window, Span::Window).is_some());
        let mut plan = QueryPlan {
            windows: Vec::new(),
            ranges: Vec::new(),
            rollups: Vec::new(),
            stage_order: catalogue.spec.stage_order.clone(),
            numbers: catalogue.numbers_of_rollups(),
            today: catalogue.calendar.day(When::Instant(now.now)),
            calendar: catalogue.calendar.clone(),
            index: HashMap::new(),
        };
        let mut spans: Vec<(&str, Span)> = Vec::new();
        for (position, metric) in catalogue.metrics().enumerate() {
            let base = usize::from(catalogue.base(position));
            let of_metric = metric.spans().iter();
            spans.extend(
                of_metric.map(|(rollup, span)| (&*catalogue.rollups()[base + rollup].name, *span)),
            );
            spans.extend(metric.reads());
        }
        for (number, window) in windows.iter().enumerate() {
            for &(rollup, span) in &spans {
                let Some(panes) = panes(window, span) else {
                    continue;
                };
                let at = plan
                    .ranges
                    .iter()
                    .position(|r| *r == panes)
                    .unwrap_or_else(|| {
                        plan.ranges.push(panes);
                        plan.rollups.push(BTreeSet::new());
                        plan.ranges.len() - 1
                    });
                plan.rollups[at].insert(rollup.to_owned());
                plan.index.insert((number, span), at);
            }
        }
        plan.windows = windows;
        plan
    }

    /// The ranges a pane lies in.
    pub fn ranges_of(&self, pane: Pane) -> impl Iterator<Item = usize> {
        self.ranges
            .iter()
            .enumerate()
            .filter(move |(_, range)| range.holds(pane))
            .map(|(i, _)| i)
    }
}

impl PaneRange {
    /// True if the pane is one of those to be summed.
    pub fn holds(&self, pane: Pane) -> bool {
        if pane == Pane::UNDATED {
            self.undated
        } else {
            pane.grain == self.grain && (self.from..self.to).contains(&pane.start)
        }
    }
}

/// Cells summed over shards and panes: by range, rollup and grouping set, then by values, then by
/// currency.
#[derive(Debug, Default)]
pub struct Sums {
    cells: HashMap<(usize, u8, u8), ByValues>,
    /// The same in the reporting currency, until they are read.
    converted: HashMap<(usize, u8, u8), HashMap<Vec<String>, Converted>>,
}

/// Cells by the values of a grouping set, then by currency.
type ByValues = HashMap<Vec<String>, BTreeMap<String, Cell>>;

impl Sums {
    /// Adds a cell, or a sum of cells, to a range.
    pub fn add(
        &mut self,
        range: usize,
        rollup: u8,
        set: u8,
        values: Vec<String>,
        currency: String,
        cell: &Cell,
    ) {
        // `XXX` is ISO 4217's code for no currency; amounts that name none and amounts that name it
        // are the same.
        let currency = if currency.is_empty() {
            "XXX".to_owned()
        } else {
            currency
        };
        self.cells
            .entry((range, rollup, set))
            .or_default()
            .entry(values)
            .or_default()
            .entry(currency)
            .or_default()
            .merge(cell);
    }

    /// Adds a sum in the reporting currency to a range.
    pub fn add_converted(
        &mut self,
        range: usize,
        rollup: u8,
        set: u8,
        values: Vec<String>,
        sum: &Converted,
    ) {
        let of_set = self.converted.entry((range, rollup, set)).or_default();
        of_set.entry(values).or_default().merge(sum);
    }

    /// Puts the sums in the reporting currency beside those by currency.
    fn put_converted(&mut self) {
        for (place, by_values) in &self.converted {
            let cells = self.cells.entry(*place).or_default();
            for (values, sum) in by_values {
                let cell = sum.cell();
                if !cell.is_zero() {
                    let by_currency = cells.entry(values.clone()).or_default();
                    by_currency.insert(REPORTING.to_owned(), cell);
                }
            }
        }
    }

    /// Reads every metric for every window and group. The total is always read: nothing happened is
    /// an answer too.
    pub fn read(&mut self, plan: &QueryPlan, catalogue: &Catalogue) -> MetricValues {
        self.put_converted();
        let sets = catalogue.readable_sets();
        self.read_groups(plan, catalogue, sets, |metric, groups| {
            metric.compare(groups)
        })
    }

    /// Reads the values that are not shown as one group of each set, which has no values of its
    /// own: its cells are summed before anything is read, so that a ratio is that of all of them.
    /// There is none in the sets of a hierarchy, whose groups overlap. Races leave it out.
    pub fn read_others(
        mut self,
        plan: &QueryPlan,
        catalogue: &Catalogue,
        is_shown: impl Fn(usize, &[String]) -> bool,
    ) -> MetricValues {
        let sets = 1..catalogue.sets.len();
        let in_sets = |set: &u8| sets.contains(&usize::from(*set));
        for ((_, _, set), by_values) in &mut self.cells {
            if !in_sets(set) {
                continue;
            }
            let mut others: BTreeMap<String, Cell> = BTreeMap::new();
            for (values, by_currency) in std::mem::take(by_values) {
                if !is_shown(usize::from(*set), &values) {
                    // What is in the reporting currency is rounded once, below.
                    let own = by_currency.into_iter();
                    for (currency, cell) in own.filter(|(code, _)| code != REPORTING) {
                        others.entry(currency).or_default().merge(&cell);
                    }
                }
            }
            if !others.is_empty() {
                by_values.insert(Vec::new(), others);
            }
        }
        for ((_, _, set), by_values) in &mut self.converted {
            if !in_sets(set) {
                continue;
            }
            let mut others = Converted::default();
            for (values, sum) in std::mem::take(by_values) {
                if !is_shown(usize::from(*set), &values) {
                    others.merge(&sum);
                }
            }
            if !others.is_zero() {
                by_values.insert(Vec::new(), others);
            }
        }
        self.put_converted();
        self.read_groups(plan, catalogue, sets, |_, _| {})
    }

    fn read_groups(
        &self,
        plan: &QueryPlan,
        catalogue: &Catalogue,
        sets: Range<usize>,
        compare: impl Fn(&dyn Metric, &mut [Group]),
    ) -> MetricValues {
        let mut metrics = Vec::new();
        for (position, metric) in catalogue.metrics().enumerate() {
            let base = catalogue.base(position);
            let mut windows = Vec::with_capacity(plan.windows.len());
            for window in 0..plan.windows.len() {
                let mut groups = Vec::new();
                for set in sets.clone() {
                    let query = CellQuery {
                        sums: self,
                        plan,
                        window,
                        base,
                        set: set as u8,
                    };
                    let first = groups.len();
                    for values in query.values(metric) {
                        let mut figures = metric.read(&CellView {
                            query,
                            values: &values,
                        });
                        if !self.converted.is_empty()
                            && let Some(count) = query.without_rate(metric, catalogue, &values)
                        {
                            figures.push(("without_rate", Figure::Count(count)));
                        }
                        groups.push(Group {
                            set,
                            values,
                            figures,
                        });
                    }
                    if set != 0 {
                        compare(metric, &mut groups[first..]);
                    }
                }
                windows.push(groups);
            }
            metrics.push(WindowedValues {
                name: metric.name(),
                windows,
            });
        }
        MetricValues {
            windows: plan.windows.clone(),
            metrics,
        }
    }
}

/// Where is looked: the cells of one metric, window and grouping set.
#[derive(Clone, Copy)]
struct CellQuery<'a> {
    sums: &'a Sums,
    plan: &'a QueryPlan,
    window: usize,
    base: u8,
    set: u8,
}

impl<'a> CellQuery<'a> {
    fn cells(&self, rollup: usize, span: Span) -> Option<&'a ByValues> {
        self.of_rollup(self.base + rollup as u8, span)
    }

    /// The cells of a rollup by its name.
    fn named(&self, rollup: &str, span: Span) -> Option<&'a ByValues> {
        self.of_rollup(*self.plan.numbers.get(rollup)?, span)
    }

    fn of_rollup(&self, rollup: u8, span: Span) -> Option<&'a ByValues> {
        let range = self.plan.index.get(&(self.window, span))?;
        self.sums.cells.get(&(*range, rollup, self.set))
    }

    /// How many records of those a metric is first read from have no rate, so that no amount in the
    /// reporting currency has them; none for a metric whose amounts can't be converted.
    fn without_rate(
        &self,
        metric: &dyn Metric,
        catalogue: &Catalogue,
        values: &[String],
    ) -> Option<i64> {
        let own = metric.spans().iter();
        let own = own.map(|(rollup, span)| (self.base + *rollup as u8, *span));
        let read = metric.reads().iter();
        let read = read.filter_map(|(name, span)| Some((*self.plan.numbers.get(*name)?, *span)));
        let mut all = own.chain(read);
        // What counts no records says nothing about how many there are, nor does what this set does
        // not have.
        let counts = |rollup| {
            let counts = catalogue.converted(rollup);
            counts.filter(|c| !c.is_empty() && catalogue.keeps(rollup, self.set.into()))
        };
        let (rollup, span, counts) =
            all.find_map(|(rollup, span)| Some((rollup, span, counts(rollup)?)))?;
        let range = self.plan.index.get(&(self.window, span))?;
        let of_set = self.sums.converted.get(&(*range, rollup, self.set));
        let sum = of_set.and_then(|of_set| of_set.get(values));
        let counted = |sum: &Converted| counts.iter().map(|c| sum.without_rate().counted(*c)).sum();
        Some(sum.map_or(0, counted))
    }

    /// The combinations of values there is anything of, in order; for the total, its one empty
    /// combination.
    fn values(&self, metric: &dyn Metric) -> BTreeSet<Vec<String>> {
        if self.set == 0 {
            return BTreeSet::from([Vec::new()]);
        }
        // Of a metric with cells of its own those tell; of any other, and of one that says so, the
        // first that it reads.
        let own = metric.spans().iter();
        let own = own.filter_map(|(rollup, span)| self.cells(*rollup, *span));
        let first = metric.reads().first();
        let first = first.filter(|_| metric.lists_what_it_reads());
        let read = metric.reads().iter();
        let read = read.filter(|(rollup, _)| first.is_some_and(|(first, _)| first == rollup));
        let read = read.filter_map(|(rollup, span)| self.named(rollup, *span));
        let cells = own.chain(read).flatten();
        let holding =
            cells.filter(|(_, by_currency)| by_currency.values().any(|cell| !cell.is_zero()));
        holding.map(|(values, _)| values.clone()).collect()
    }
}

/// The cells of one metric, window and group.
pub struct CellView<'a> {
    query: CellQuery<'a>,
    values: &'a [String],
}

impl CellView<'_> {
    /// The cells of a rollup by currency.
    pub fn by_currency(&self, rollup: usize, span: Span) -> &BTreeMap<String, Cell> {
        at(self.query.cells(rollup, span), self.values)
    }

    /// The cells of another metric's rollup by currency; it is one of [`Metric::reads`].
    pub fn named(&self, rollup: &str, span: Span) -> &BTreeMap<String, Cell> {
        at(self.query.named(rollup, span), self.values)
    }

    /// The stages of the organisation's order.
    pub fn stage_order(&self) -> &[String] {
        &self.query.plan.stage_order
    }

    /// The calendar period of the window, as [`Span::Period`] looks at it: how many of its days are
    /// over or today, and how many it has.
    pub fn period(&self) -> (i64, i64) {
        let plan = self.query.plan;
        let (first, end) = plan.windows[self.query.window].period(plan.today, &plan.calendar);
        let elapsed = (plan.today + 1).clamp(first, end) - first;
        (i64::from(elapsed), i64::from(end - first))
    }

    /// The cell of a rollup, with the counts of all currencies together; its sums mean something
    /// only without currency.
    pub fn cell(&self, rollup: usize, span: Span) -> Cell {
        merged(self.by_currency(rollup, span))
    }

    /// The same for the total, whatever group this is.
    pub fn total(&self, rollup: usize, span: Span) -> Cell {
        merged(at(
            CellQuery {
                set: 0,
                ..self.query
            }
            .cells(rollup, span),
            &[],
        ))
    }

    /// True if the span means something for this window.
    pub fn has_panes(&self, span: Span) -> bool {
        self.query
            .plan
            .index
            .contains_key(&(self.query.window, span))
    }

    /// True for the total itself.
    pub fn is_total(&self) -> bool {
        self.query.set == 0
    }
}

fn at<'a>(cells: Option<&'a ByValues>, values: &[String]) -> &'a BTreeMap<String, Cell> {
    cells
        .and_then(|by_values| by_values.get(values))
        .unwrap_or(&NOTHING)
}

/// The cells of all currencies together: its sums mean something only without currency.
pub fn merged(cells: &BTreeMap<String, Cell>) -> Cell {
    // What is in the reporting currency is in its own, too.
    let own = cells.iter().filter(|(code, _)| *code != REPORTING);
    own.fold(Cell::default(), |mut sum, (_, cell)| {
        sum.merge(cell);
        sum
    })
}
