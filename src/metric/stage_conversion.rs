//! Stage conversion: how far deals get through the stages of the organisation's order.

use super::contribution::HOURS_AND_DAYS;
use super::display::{column, ratio as ratio_column};
use super::figure::ratio;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Subject, View,
};
use crate::event::Entity;
use crate::record::Status;
use crate::record::passage::MOST_STAGES;
use crate::window::Cell;
use crate::window::rolling::Span;

/// The metric.
pub struct StageConversion;

const OPEN: usize = 0;
const DECIDED: usize = 1;
const BESIDE: usize = 2;

/// What is counted of a deal in the order: the stages it reached, by their places, then whether it
/// was won.
const STEPS: &[&str] = &[
    "stage_1", "stage_2", "stage_3", "stage_4", "stage_5", "stage_6", "stage_7", "stage_8",
    "stage_9", "stage_10", "stage_11", "stage_12", "stage_13", "stage_14", "stage_15", "won",
];
const WON: usize = MOST_STAGES;

/// Measures of deals beside the order.
const UNMAPPED: usize = 0;
const UNSTAGED: usize = 1;

impl Metric for StageConversion {
    fn name(&self) -> &'static str {
        "stage_conversion"
    }

    fn version(&self) -> u32 {
        2
    }

    fn definition(&self) -> &'static str {
        "Of the deals that reached a stage, the share that went on to the next one, and from the last one to the win; by the time the deals were \
         created. The stages and their order are definitions.stage_order: without it there are no figures. A deal reached every stage up to the \
         furthest that it ever was in, so that a skipped stage counts as passed; a won deal reached them all. Open deals are in the cohort and \
         may still go on, so the newest rates are immature: those of decided deals only are beside. Deals are those that reached the first \
         stage. Unstaged are those that were in no stage of the order and are not won: they are in no rate. Unmapped are those that were ever in \
         a stage that is not in the order and stands for neither won nor lost, whatever else they reached."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Stage conversion",
            headline: "rate",
            unit: "",
            made_of: "{won} won of {deals} deals, {open} still open",
            remarks: &[
                "of decided deals {decided.rate}",
                "in a stage that is not in the order: {unmapped}",
                "in no stage of the order: {unstaged}",
            ],
            columns: &[
                column("All deals", "Deals", "deals"),
                column("All deals", "Open", "open"),
                column("All deals", "Won", "won"),
                column("All deals", "Rate", "rate"),
                column("By stage", "Reached", "stages.reached"),
                column("By stage", "Went on", "stages.rate"),
                ratio_column(
                    "Decided deals",
                    "Won",
                    "decided.rate",
                    "won",
                    "decided.deals",
                ),
                column("Decided deals", "Went on", "stages.decided.rate"),
                column("Beside", "Unmapped", "unmapped"),
                column("Beside", "Unstaged", "unstaged"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::DEAL]
    }

    fn rollups(&self) -> Vec<Rollup> {
        let series = |name: &'static str, counts: &'static [&'static str]| Rollup {
            name: name.into(),
            cut_by: CutBy::DEAL,
            grains: HOURS_AND_DAYS,
            counts,
            sums: &[],
        };
        vec![
            series("stage_conversion.open", &STEPS[..WON]),
            series("stage_conversion.decided", STEPS),
            series("stage_conversion.beside", &["unmapped", "unstaged"]),
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let Some((deal, passage)) = subject
            .deal()
            .and_then(|deal| Some((deal, deal.passage.as_ref()?)))
        else {
            return;
        };
        let is_won = deal.status == Status::Won;
        let reached = match is_won {
            true => subject.context.compiled.stage_order.len(),
            false => passage.furthest().map_or(0, |furthest| furthest + 1),
        };
        if reached > 0 {
            let rollup = match deal.status {
                Status::Open => OPEN,
                Status::Won | Status::Lost => DECIDED,
            };
            let contribution = out.add(rollup, deal.created_at, &deal.dims);
            (0..reached).for_each(|stage| {
                contribution.count(stage);
            });
            contribution.count_if(is_won, WON);
        }
        if passage.unmapped || reached == 0 {
            out.add(BESIDE, deal.created_at, &deal.dims)
                .count_if(passage.unmapped, UNMAPPED)
                .count_if(reached == 0, UNSTAGED);
        }
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[
            (OPEN, Span::Window),
            (DECIDED, Span::Window),
            (BESIDE, Span::Window),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let order = cells.stage_order();
        if order.is_empty() {
            return Figures::new();
        }
        let (open, decided, beside) = (
            cells.cell(OPEN, Span::Window),
            cells.cell(DECIDED, Span::Window),
            cells.cell(BESIDE, Span::Window),
        );
        let mut all = open.clone();
        all.merge(&decided);
        let stages = order.iter().enumerate().map(|(stage, name)| {
            let next = if stage + 1 == order.len() {
                WON
            } else {
                stage + 1
            };
            let mut figures = passed(&all, stage, next);
            figures.push(("decided", Figure::Group(passed(&decided, stage, next))));
            (name.clone(), Figure::Group(figures))
        });
        let (deals, decided_deals, won) =
            (all.counted(0), decided.counted(0), decided.counted(WON));
        vec![
            ("deals", Figure::Count(deals)),
            ("open", Figure::Count(open.counted(0))),
            ("won", Figure::Count(won)),
            ("rate", ratio(won, deals)),
            (
                "decided",
                Figure::Group(vec![
                    ("deals", Figure::Count(decided_deals)),
                    ("rate", ratio(won, decided_deals)),
                ]),
            ),
            ("stages", Figure::ByStage(stages.collect())),
            ("unmapped", Figure::Count(beside.counted(UNMAPPED))),
            ("unstaged", Figure::Count(beside.counted(UNSTAGED))),
        ]
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["deals", "rate"]
    }

    fn views(&self) -> Vec<View> {
        vec![
            View::new(
                "stage_conversion_daily",
                "SELECT day, dimension, value, position, {stage_order}[position] AS stage, sum(at_least) AS reached, sum(beyond) AS passed,
                    sumIf(at_least, is_decided) AS decided_reached, sumIf(beyond, is_decided) AS decided_passed
                FROM (SELECT day, dimension, value, position, cells_by_day.series = 'stage_conversion.decided' AS is_decided,
                        counts[position] AS at_least, if(position = length({stage_order}), counts[16], counts[position + 1]) AS beyond
                    FROM cells_by_day ARRAY JOIN range(1, length({stage_order}) + 1) AS position
                    WHERE cells_by_day.series IN ('stage_conversion.open', 'stage_conversion.decided'))
                GROUP BY day, dimension, value, position",
            ),
            View::new(
                "stages_beside_daily",
                "SELECT day, dimension, value, counts[1] AS unmapped, counts[2] AS unstaged
                FROM cells_by_day WHERE series = 'stage_conversion.beside'",
            ),
        ]
    }
}

/// How many deals reached a stage, and how many of them the next one or the win.
fn passed(cell: &Cell, stage: usize, next: usize) -> Figures {
    let (reached, passed) = (cell.counted(stage), cell.counted(next));
    vec![
        ("reached", Figure::Count(reached)),
        ("passed", Figure::Count(passed)),
        ("rate", ratio(passed, reached)),
    ]
}
