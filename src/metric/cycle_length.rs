//! Sales-cycle length: how long a deal takes from its opening to its close.

use super::contribution::HOURS_AND_DAYS;
use super::{Contributions, CutBy, Figure, Figures, Metric, Place, Rollup, CellView, View};
use crate::event::{DECIMAL_ONE, When};
use crate::record::Status;
use crate::record::{deal::DealReading, lead::LeadReading};
use crate::window::calendar::DAY;
use crate::window::rolling::Span;
use crate::window::{Cell, Dims, sketch};

/// The metric.
pub struct CycleLength;

const WON: usize = 0;
const LOST: usize = 1;
const LEAD_TO_CLOSE: usize = 2;

const COUNT: usize = 0;
const NEGATIVE: usize = 1;

impl Metric for CycleLength {
    fn name(&self) -> &'static str {
        "cycle_length"
    }

    fn version(&self) -> u32 {
        1
    }

    fn definition(&self) -> &'static str {
        "closed_at − created_at of deals, by the time they closed: mean, median and 90th percentile, for won, lost and both. Lead to close \
         starts at the created_at of the lead a won deal is credited to. Whole days of the organisation's calendar when either end is only a \
         date (a same-day win is 0 days). Negative spans are counted apart and are in no mean. Quantiles are within 1 % (DDSketch)."
    }

    fn rollups(&self) -> &'static [Rollup] {
        const fn series(name: &'static str) -> Rollup {
            Rollup {
                name,
                cut_by: CutBy::Deal,
                grains: HOURS_AND_DAYS,
                counts: &["count", "negative"],
                sums: &["seconds"],
            }
        }
        const ROLLUPS: &[Rollup] = &[
            series("cycle_length.won"),
            series("cycle_length.lost"),
            series("cycle_length.lead_to_close"),
        ];
        ROLLUPS
    }

    fn deal(&self, deal: &DealReading, at: &Place<'_>, out: &mut Contributions) {
        if let Some(closed_at) = deal.closed_at {
            let rollup = if deal.status == Status::Won {
                WON
            } else {
                LOST
            };
            span(rollup, deal.created_at, closed_at, &deal.dims, at, out);
        }
    }

    fn lead(&self, lead: &LeadReading<'_>, at: &Place<'_>, out: &mut Contributions) {
        if !lead.live {
            return;
        }
        for (_, deal) in lead
            .deals
            .iter()
            .filter(|(_, deal)| deal.status == Status::Won && at.counts(deal.excluded))
        {
            if let Some(closed_at) = deal.closed_at {
                span(
                    LEAD_TO_CLOSE,
                    lead.created_at,
                    closed_at,
                    &deal.dims,
                    at,
                    out,
                );
            }
        }
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[
            (WON, Span::Window),
            (LOST, Span::Window),
            (LEAD_TO_CLOSE, Span::Window),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let (won, lost) = (
            cells.cell(WON, Span::Window),
            cells.cell(LOST, Span::Window),
        );
        let mut both = won.clone();
        both.merge(&lost);
        vec![
            ("won", distribution(&won)),
            ("lost", distribution(&lost)),
            ("both", distribution(&both)),
            (
                "lead_to_close",
                distribution(&cells.cell(LEAD_TO_CLOSE, Span::Window)),
            ),
        ]
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "cycle_length_daily",
            format!(
                "SELECT day, splitByChar('.', cells_by_day.series)[2] AS outcome, dimension, value, counts[1] AS count, counts[2] AS negative,
                    sums[1] / {DAY} AS days, {} / {DAY} AS median_days, {} / {DAY} AS p90_days, sketch AS seconds
                FROM cells_by_day WHERE startsWith(cells_by_day.series, 'cycle_length.')",
                sketch::quantile_sql("sketch", 0.5),
                sketch::quantile_sql("sketch", 0.9)
            ),
        )]
    }
}

fn span(rollup: usize, from: When, to: When, dims: &Dims, at: &Place<'_>, out: &mut Contributions) {
    let seconds = at.view.compiled.definitions.calendar.span(from, to);
    let contribution = out.add(rollup, to, dims);
    if seconds < 0 {
        contribution.count(NEGATIVE);
    } else {
        contribution.count(COUNT).span(0, seconds);
    }
}

fn distribution(cell: &Cell) -> Figure {
    let days = |seconds: f64| seconds / DAY as f64;
    let count = cell.counted(COUNT);
    let mean = (count > 0).then(|| days(cell.summed(0) as f64 / DECIMAL_ONE as f64) / count as f64);
    Figure::Group(vec![
        ("count", Figure::Count(count)),
        ("mean_days", Figure::Days(mean)),
        (
            "median_days",
            Figure::Days(cell.sketch.quantile(0.5).map(days)),
        ),
        (
            "p90_days",
            Figure::Days(cell.sketch.quantile(0.9).map(days)),
        ),
        ("negative", Figure::Count(cell.counted(NEGATIVE))),
    ])
}
