//! Sales-cycle length: how long a deal takes from its opening to its close.

use super::contribution::HOURS_AND_DAYS;
use super::display::column;
use super::lead_source::won_deal;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Sent, Subject, View,
};
use crate::event::{DECIMAL_ONE, Entity, When};
use crate::record::Status;
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
        2
    }

    fn definition(&self) -> &'static str {
        "closed_at − created_at of deals, by the time they closed: mean, median and 90th percentile, for won, lost and both. Lead to close \
         starts at the created_at of the lead a won deal is credited to. Whole days of the organisation's calendar when either end is only a \
         date (a same-day win is 0 days). Negative spans are counted apart and are in no mean. Quantiles are within 1 % (DDSketch)."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Sales cycle",
            headline: "won.median_days",
            unit: "days",
            made_of: "median of {won.count} won deals",
            remarks: &[
                "mean {won.mean_days}, nine in ten within {won.p90_days} days",
                "closed before they began, left out: {both.negative}",
            ],
            columns: &[
                column("Won, days", "Deals", "won.count"),
                column("Won, days", "Median", "won.median_days"),
                column("Won, days", "Mean", "won.mean_days"),
                column("Won, days", "90 %", "won.p90_days"),
                column("Lost, days", "Deals", "lost.count"),
                column("Lost, days", "Median", "lost.median_days"),
                column("Lost, days", "Mean", "lost.mean_days"),
                column("Lost, days", "90 %", "lost.p90_days"),
                column("Lead to close, days", "Deals", "lead_to_close.count"),
                column("Lead to close, days", "Median", "lead_to_close.median_days"),
                column("Lead to close, days", "Mean", "lead_to_close.mean_days"),
                column("Lead to close, days", "90 %", "lead_to_close.p90_days"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::DEAL, Entity::LEAD]
    }

    fn rollups(&self) -> Vec<Rollup> {
        let series = |name: &'static str| Rollup {
            name: name.into(),
            cut_by: CutBy::DEAL,
            grains: HOURS_AND_DAYS,
            counts: &["count", "negative"],
            sums: &["seconds"],
        };
        vec![
            series("cycle_length.won"),
            series("cycle_length.lost"),
            series("cycle_length.lead_to_close"),
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let Some(deal) = subject.deal() else { return };
        if let Some(closed_at) = deal.closed_at {
            let rollup = if deal.status == Status::Won {
                WON
            } else {
                LOST
            };
            span(rollup, deal.created_at, closed_at, &deal.dims, subject, out);
        }
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        let lead = subject.lead().filter(|lead| lead.live);
        if let (Some(lead), Some(deal)) = (lead, won_deal(subject, sent))
            && let Some(closed_at) = deal.closed_at
        {
            span(
                LEAD_TO_CLOSE,
                lead.created_at,
                closed_at,
                &deal.dims,
                subject,
                out,
            );
        }
    }

    fn links_read_target(&self) -> bool {
        true
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
            ("won", Figure::Group(distribution(&won))),
            ("lost", Figure::Group(distribution(&lost))),
            ("both", Figure::Group(distribution(&both))),
            (
                "lead_to_close",
                Figure::Group(distribution(&cells.cell(LEAD_TO_CLOSE, Span::Window))),
            ),
        ]
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["won.count", "won.median_days"]
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

/// How long from one time to another, by the second; a negative span is counted apart.
pub(super) fn span(
    rollup: usize,
    from: When,
    to: When,
    dims: &Dims,
    subject: &Subject<'_>,
    out: &mut Contributions,
) {
    let seconds = subject.calendar().span(from, to);
    let contribution = out.add(rollup, to, dims);
    if seconds < 0 {
        contribution.count(NEGATIVE);
    } else {
        contribution.count(COUNT).span(0, seconds);
    }
}

/// Mean and quantiles of spans, in days.
pub(super) fn distribution(cell: &Cell) -> Figures {
    let days = |seconds: f64| seconds / DAY as f64;
    let count = cell.counted(COUNT);
    let mean = (count > 0).then(|| days(cell.summed(0) as f64 / DECIMAL_ONE as f64) / count as f64);
    vec![
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
    ]
}
