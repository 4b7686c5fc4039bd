//! Time in stage: how long deals stay in each stage of the organisation's order.

use super::contribution::HOURS_AND_DAYS;
use super::cycle_length::{distribution, span};
use super::display::column;
use super::{CellView, Contributions, CutBy, Display, Figures, Metric, Rollup, Subject, View};
use crate::event::{Entity, When};
use crate::window::calendar::DAY;
use crate::window::rolling::Span;
use crate::window::{Dimension, sketch};

/// The metric.
pub struct TimeInStage;

impl Metric for TimeInStage {
    fn name(&self) -> &'static str {
        "time_in_stage"
    }

    fn version(&self) -> u32 {
        2
    }

    fn definition(&self) -> &'static str {
        "How long deals were in a stage of definitions.stage_order, by the time they left it: mean, median and 90th percentile. From the first \
         time a deal was in the stage to the first time it was in any later one of the order, or to its close if it was in none; the times are \
         those of the events that said so. A deal that goes back to an earlier stage does not enter it again: the first entry counts. A stage \
         that was skipped has no time, and one that a deal is still in has none yet. Negative spans are counted apart and are in no mean. Whole \
         days of the organisation's calendar where the close is only a date. By stage only: spans of several stages added together mean \
         nothing. Quantiles are within 1 % (DDSketch)."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Time in stage",
            headline: "median_days",
            unit: "days",
            made_of: "median of {count} deals",
            remarks: &["left before they were entered, left out: {negative}"],
            columns: &[
                column("Days in the stage", "Deals", "count"),
                column("Days in the stage", "Median", "median_days"),
                column("Days in the stage", "Mean", "mean_days"),
                column("Days in the stage", "90 %", "p90_days"),
                column("Left out", "Negative", "negative"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::DEAL]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![Rollup {
            name: "time_in_stage.left".into(),
            cut_by: CutBy::STAGES,
            grains: HOURS_AND_DAYS,
            counts: &["count", "negative"],
            sums: &["seconds"],
        }]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let Some((deal, passage)) = subject
            .deal()
            .and_then(|deal| Some((deal, deal.passage.as_ref()?)))
        else {
            return;
        };
        for (stage, entered, later) in passage.stages() {
            if let Some(left) = later.map(When::Instant).or(deal.closed_at) {
                let mut dims = deal.dims;
                dims[usize::from(Dimension::STAGE.0)] = subject.context.compiled.stage_order[stage];
                span(0, When::Instant(entered), left, &dims, subject, out);
            }
        }
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(0, Span::Window)]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        if cells.is_total() {
            return Figures::new(); // no cells are kept of it
        }
        distribution(&cells.cell(0, Span::Window))
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["count", "median_days", "mean_days", "p90_days"]
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "time_in_stage_daily",
            format!(
                "SELECT day, dimension, value, counts[1] AS count, counts[2] AS negative, sums[1] / {DAY} AS days, {} / {DAY} AS median_days,
                    {} / {DAY} AS p90_days, sketch AS seconds
                FROM cells_by_day WHERE series = 'time_in_stage.left'",
                sketch::quantile_sql("sketch", 0.5),
                sketch::quantile_sql("sketch", 0.9)
            ),
        )]
    }
}
