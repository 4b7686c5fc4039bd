//! Forecast: what is open, what of it is expected when and how surely, and what is overdue.

use std::collections::BTreeMap;
use std::ops::Range;

use super::contribution::DAYS;
use super::display::column;
use super::figure::{by_currency, money_by_currency};
use super::reading::merged;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Subject, View,
};
use crate::event::{Entity, When, share};
use crate::record::ForecastCategory;
use crate::window::rolling::Span;
use crate::window::{Cell, Dimension};

/// The metric.
pub struct Forecast;

/// Its cells, for metrics that read them.
pub(super) const CELLS: &str = "forecast.open";

/// The categories, by the number of their measure. The weighted amounts have the same numbers after
/// those of the amounts.
const CATEGORIES: usize = ForecastCategory::ALL.len();
/// The categories that are forecast: all but what is omitted.
const FORECAST: usize = CATEGORIES - 1;

/// Counts after those of the categories.
const WITHOUT_AMOUNT: usize = CATEGORIES;
const WITHOUT_PROBABILITY: usize = CATEGORIES + 1;
const UNDATED: usize = CATEGORIES + 2;
const UNMAPPED: usize = CATEGORIES + 3;

impl Metric for Forecast {
    fn name(&self) -> &'static str {
        "forecast"
    }

    fn version(&self) -> u32 {
        2
    }

    fn definition(&self) -> &'static str {
        "Deals open now, by the day they are expected to close. Weighted: Σ amount × probability, the deal's own or its stage's, whichever was \
         said last; a deal with an amount and no probability is in no weighted amount and counted beside, one without an amount in no amount. \
         Period: expected in the month of a window that is a month, else in the present fiscal quarter. Overdue: expected before today. \
         Categories: commit, best case and pipeline, each alone and with the surer ones (cumulative); omitted deals are in none of these \
         figures but their own. A category that is none of the four and not mapped is pipeline, and counted beside."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Forecast",
            headline: "amount.weighted",
            unit: "",
            made_of: "of {amount.amount} open in {deals} deals, weighted by probability",
            remarks: &[
                "in the period {period.amount.weighted} of {period.amount.amount}",
                "{overdue.deals} deals are overdue",
            ],
            columns: &[
                column("Open", "Deals", "deals"),
                column("Open", "Amount", "amount.amount"),
                column("Open", "Weighted", "amount.weighted"),
                column("Expected in the period", "Deals", "period.deals"),
                column("Expected in the period", "Commit", "period.amount.commit"),
                column(
                    "Expected in the period",
                    "Best case",
                    "period.amount.best_case",
                ),
                column(
                    "Expected in the period",
                    "Pipeline",
                    "period.amount.pipeline",
                ),
                column("Expected in the period", "Amount", "period.amount.amount"),
                column(
                    "Expected in the period",
                    "Weighted",
                    "period.amount.weighted",
                ),
                column("Overdue", "Deals", "overdue.deals"),
                column("Overdue", "Amount", "overdue.amount"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::DEAL]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![Rollup {
            name: CELLS.into(),
            cut_by: CutBy::FORECAST,
            grains: DAYS,
            counts: &[
                "commit",
                "best_case",
                "pipeline",
                "omitted",
                "without_amount",
                "without_probability",
                "undated",
                "unmapped",
            ],
            sums: &[
                "commit",
                "best_case",
                "pipeline",
                "omitted",
                "commit_weighted",
                "best_case_weighted",
                "pipeline_weighted",
                "omitted_weighted",
            ],
        }]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let Some((deal, outlook)) = subject.deal().and_then(|deal| Some((deal, deal.outlook?)))
        else {
            return;
        };
        let mapped = subject.context.forecast_category(outlook.category);
        let category = mapped.unwrap_or(ForecastCategory::Pipeline) as usize;
        let mut dims = deal.dims;
        dims[usize::from(Dimension::STAGE.0)] = deal.stage;
        dims[usize::from(Dimension::FORECAST_CATEGORY.0)] = outlook.category;
        let weighted = deal.amount.zip(outlook.probability);
        let weighted = weighted.map(|(amount, probability)| share(amount, probability));
        out.add(0, outlook.expected_close.unwrap_or(When::UNDATED), &dims)
            .count(category)
            .count_if(deal.amount.is_none(), WITHOUT_AMOUNT)
            .count_if(
                deal.amount.is_some() && outlook.probability.is_none(),
                WITHOUT_PROBABILITY,
            )
            .count_if(outlook.expected_close.is_none(), UNDATED)
            .count_if(mapped.is_none(), UNMAPPED)
            .money(category, deal.amount, deal.currency)
            .money(CATEGORIES + category, weighted, deal.currency);
    }

    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        &[(0, &[0, 1, 2])]
    }

    fn kept_hourly(&self) -> &'static [usize] {
        &[0]
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(0, Span::Ever), (0, Span::Period), (0, Span::BeforeToday)]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let ever = cells.by_currency(0, Span::Ever);
        let all = merged(ever);
        let of_period = cells.by_currency(0, Span::Period);
        let mut period = open(of_period);
        period.push(("cumulative", by_currency(of_period, cumulative)));
        let overdue = cells.by_currency(0, Span::BeforeToday);
        let mut figures = open(ever);
        figures.extend([
            ("undated", Figure::Count(all.counted(UNDATED))),
            ("unmapped", Figure::Count(all.counted(UNMAPPED))),
            ("omitted", of_categories(ever, FORECAST..CATEGORIES)),
            ("period", Figure::Group(period)),
            ("overdue", of_categories(overdue, 0..FORECAST)),
        ]);
        figures
    }

    fn depends_on_window(&self) -> bool {
        false
    }

    fn gauges(&self) -> &'static [&'static str] {
        &[
            "deals",
            "amount.amount",
            "amount.weighted",
            "undated",
            "overdue.deals",
            "period.amount.weighted",
            "period.cumulative.commit",
            "period.cumulative.best_case",
            "period.cumulative.pipeline",
        ]
    }

    fn views(&self) -> Vec<View> {
        vec![
            View::new(
                "forecast",
                format!(
                    "SELECT {EXPECTED}, dimension, value, currency, {FIGURES}
                    FROM cells WHERE series = 'forecast.open' AND arrayExists(c -> c != 0, counts)"
                ),
            ),
            View::new(
                "forecast_states",
                format!(
                    "SELECT greatest(h.hour + toIntervalHour(1), e.since) AS since, least(h.next_hour, e.until) AS until,
                        {EXPECTED}, dimension, value, currency, {FIGURES}
                    FROM (SELECT *, addHours(leadInFrame(hour, 1, toDateTime('2106-01-01 00:00:00', 'UTC')) OVER (
                            PARTITION BY epoch, shard, grain, dimension, pane, value, currency
                            ORDER BY hour ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING), 1) AS next_hour
                        FROM hourly FINAL WHERE series = 'forecast.open') AS h
                    INNER JOIN (SELECT epoch, since, leadInFrame(since, 1, toDateTime('2106-01-01 00:00:00', 'UTC'))
                            OVER (ORDER BY since, epoch ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS until
                        FROM (SELECT epoch, toDateTime(ifNull(live_since, toDateTime64(0, 6, 'UTC')), 'UTC') AS since FROM epochs FINAL
                            WHERE live > 0 AND (isNotNull(live_since) OR epoch = 1))) AS e ON e.epoch = h.epoch
                    WHERE since < until AND arrayExists(c -> c != 0, counts)"
                ),
            ),
            View::new(
                "forecast_daily",
                "SELECT day, expected_close, line.1 AS dimension, line.2 AS value, currency, sum(d.commit_deals) AS commit_deals,
                    sum(d.best_case_deals) AS best_case_deals, sum(d.pipeline_deals) AS pipeline_deals, sum(d.omitted_deals) AS omitted_deals,
                    sum(d.commit) AS commit, sum(d.best_case) AS best_case, sum(d.pipeline) AS pipeline, sum(d.omitted) AS omitted,
                    sum(d.best_case_cumulative) AS best_case_cumulative, sum(d.pipeline_cumulative) AS pipeline_cumulative,
                    sum(d.weighted) AS weighted
                FROM (SELECT s.*, day,
                        arrayFilter(l -> l.3 <= toInt32(day) AND toInt32(day) < l.4, o.lines) AS known,
                        arrayConcat(known, arrayFilter(l -> NOT has(known.1, l.1), [('manager', '', 0, 0), ('org_unit', '', 0, 0)])) AS all_known,
                        arrayPushFront(
                            arrayMap(l -> (l.1, [l.2]), if(s.dimension = 'owner' AND has_hierarchy, all_known, [])),
                            (toString(s.dimension), s.value)) AS lines
                    FROM (SELECT *, toUInt32(toDate32(since - 1, '{time_zone}')) AS from_day,
                            toUInt32(toDate32(least(until, now('UTC')) - 1, '{time_zone}')) AS to_day,
                            (SELECT count() FROM reporting_lines_by_minute) > 0 AS has_hierarchy
                        FROM forecast_states) AS s
                    ARRAY JOIN arrayMap(d -> toDate(d), range(from_day, greatest(from_day, to_day))) AS day
                    LEFT JOIN (SELECT owner, groupArray((dimension, value, from_day, to_day)) AS lines
                        FROM reporting_lines_by_minute GROUP BY owner) AS o ON o.owner = s.value[1]) AS d
                ARRAY JOIN lines AS line
                GROUP BY day, expected_close, dimension, value, currency",
            ),
        ]
    }
}

/// The day deals are expected to close, and what is read of their cells, in SQL.
const EXPECTED: &str = "if(grain = 'undated', NULL, toDate(pane)) AS expected_close";
const FIGURES: &str = "counts[1] AS commit_deals, counts[2] AS best_case_deals, counts[3] AS pipeline_deals, counts[4] AS omitted_deals,
    sums[1] AS commit, sums[2] AS best_case, sums[3] AS pipeline, sums[4] AS omitted,
    sums[1] + sums[2] AS best_case_cumulative, sums[1] + sums[2] + sums[3] AS pipeline_cumulative,
    sums[5] + sums[6] + sums[7] AS weighted";

/// Open deals that are forecast.
fn open(cells: &BTreeMap<String, Cell>) -> Figures {
    let all = merged(cells);
    vec![
        ("deals", Figure::Count(deals(&all))),
        ("without_amount", Figure::Count(all.counted(WITHOUT_AMOUNT))),
        (
            "without_probability",
            Figure::Count(all.counted(WITHOUT_PROBABILITY)),
        ),
        ("amount", by_currency(cells, amounts)),
    ]
}

fn amounts(cell: &Cell) -> Figures {
    let sum = |category: ForecastCategory| Figure::Money(cell.summed(category as usize));
    vec![
        ("amount", Figure::Money(amount(cell))),
        ("weighted", Figure::Money(weighted(cell))),
        ("commit", sum(ForecastCategory::Commit)),
        ("best_case", sum(ForecastCategory::BestCase)),
        ("pipeline", sum(ForecastCategory::Pipeline)),
    ]
}

/// Each category with the surer ones.
fn cumulative(cell: &Cell) -> Figures {
    let up_to = |category: ForecastCategory| Figure::Money(summed(cell, 0..category as usize + 1));
    vec![
        ("commit", up_to(ForecastCategory::Commit)),
        ("best_case", up_to(ForecastCategory::BestCase)),
        ("pipeline", up_to(ForecastCategory::Pipeline)),
    ]
}

/// How many open deals of some categories there are, and their amounts.
fn of_categories(cells: &BTreeMap<String, Cell>, categories: Range<usize>) -> Figure {
    let deals = counted(&merged(cells), categories.clone());
    let amounts = money_by_currency(cells, |cell| summed(cell, categories.clone()));
    Figure::Group(vec![("deals", Figure::Count(deals)), ("amount", amounts)])
}

fn counted(cell: &Cell, categories: Range<usize>) -> i64 {
    categories.map(|category| cell.counted(category)).sum()
}

fn summed(cell: &Cell, categories: Range<usize>) -> i128 {
    categories.map(|category| cell.summed(category)).sum()
}

/// How many open deals that are forecast are in one of [`CELLS`].
pub(super) fn deals(cell: &Cell) -> i64 {
    counted(cell, 0..FORECAST)
}

/// What they amount to.
pub(super) fn amount(cell: &Cell) -> i128 {
    summed(cell, 0..FORECAST)
}

/// The same, weighted by probability.
pub(super) fn weighted(cell: &Cell) -> i128 {
    summed(cell, CATEGORIES..CATEGORIES + FORECAST)
}
