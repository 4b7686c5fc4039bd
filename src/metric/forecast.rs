//! Forecast: what is open, what of it is expected when and how surely, and what is overdue.

use std::collections::BTreeMap;

use super::contribution::DAYS;
use super::display::column;
use super::figure::{by_currency, holding};
use super::reading::merged;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Subject, View,
};
use crate::event::{DECIMAL_ONE, Entity, When};
use crate::record::ForecastCategory;
use crate::window::rolling::Span;
use crate::window::{Cell, Dimension};

/// The metric.
pub struct Forecast;

/// The categories, by the number of their measure. The weighted amounts have the same numbers after those of the amounts.
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
        1
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
                column("Overdue", "Amount", "overdue.amount.amount"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::DEAL]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![Rollup {
            name: "forecast.open".into(),
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
        let weighted = weighted.map(|(amount, probability)| {
            let product = i128::from(amount) * i128::from(probability);
            super::figure::rounded(product, DECIMAL_ONE.into()) as i64
        });
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

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(0, Span::Ever), (0, Span::Period), (0, Span::BeforeToday)]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let ever = cells.by_currency(0, Span::Ever);
        let all = merged(ever);
        let mut figures = open(ever);
        figures.extend([
            ("undated", Figure::Count(all.counted(UNDATED))),
            ("unmapped", Figure::Count(all.counted(UNMAPPED))),
            ("omitted", omitted(ever)),
            (
                "period",
                Figure::Group(open(cells.by_currency(0, Span::Period))),
            ),
            (
                "overdue",
                Figure::Group(open(cells.by_currency(0, Span::BeforeToday))),
            ),
        ]);
        figures
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "forecast",
            "SELECT if(grain = 'undated', NULL, toDate(pane)) AS expected_close, dimension, value, currency,
                counts[1] AS commit_deals, counts[2] AS best_case_deals, counts[3] AS pipeline_deals, counts[4] AS omitted_deals,
                sums[1] AS commit, sums[2] AS best_case, sums[3] AS pipeline, sums[4] AS omitted,
                sums[1] + sums[2] AS best_case_cumulative, sums[1] + sums[2] + sums[3] AS pipeline_cumulative,
                sums[5] + sums[6] + sums[7] AS weighted
            FROM cells WHERE series = 'forecast.open' AND arrayExists(c -> c != 0, counts)",
        )]
    }
}

/// Open deals that are forecast.
fn open(cells: &BTreeMap<String, Cell>) -> Figures {
    let all = merged(cells);
    vec![
        (
            "deals",
            Figure::Count((0..FORECAST).map(|c| all.counted(c)).sum()),
        ),
        ("without_amount", Figure::Count(all.counted(WITHOUT_AMOUNT))),
        (
            "without_probability",
            Figure::Count(all.counted(WITHOUT_PROBABILITY)),
        ),
        ("amount", by_currency(cells, amounts)),
    ]
}

fn amounts(cell: &Cell) -> Figures {
    let sum = |category: ForecastCategory| cell.summed(category as usize);
    let [commit, best_case, pipeline] = [
        ForecastCategory::Commit,
        ForecastCategory::BestCase,
        ForecastCategory::Pipeline,
    ]
    .map(sum);
    let weighted = (0..FORECAST).map(|category| cell.summed(CATEGORIES + category));
    vec![
        ("amount", Figure::Money(commit + best_case + pipeline)),
        ("weighted", Figure::Money(weighted.sum())),
        ("commit", Figure::Money(commit)),
        ("best_case", Figure::Money(best_case)),
        ("pipeline", Figure::Money(pipeline)),
        (
            "cumulative",
            Figure::Group(vec![
                ("commit", Figure::Money(commit)),
                ("best_case", Figure::Money(commit + best_case)),
                ("pipeline", Figure::Money(commit + best_case + pipeline)),
            ]),
        ),
    ]
}

/// Open deals that are left out of the forecast.
fn omitted(cells: &BTreeMap<String, Cell>) -> Figure {
    let category = ForecastCategory::Omitted as usize;
    let amounts = holding(cells).filter(|(_, cell)| cell.summed(category) != 0);
    let amounts = amounts.map(|(code, cell)| (code.clone(), Figure::Money(cell.summed(category))));
    Figure::Group(vec![
        ("deals", Figure::Count(merged(cells).counted(category))),
        ("amount", Figure::ByCurrency(amounts.collect())),
    ])
}
