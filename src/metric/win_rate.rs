//! Win rate: of the deals that were decided, the share that was won.

use std::collections::BTreeMap;

use super::contribution::HOURS_AND_DAYS;
use super::display::column;
use super::figure::{counted, ratio_of, share};
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Subject, View,
};
use crate::event::{Entity, rounded};
use crate::record::Status;
use crate::window::Cell;
use crate::window::rolling::Span;

/// The metric.
pub struct WinRate;

const CLOSED: usize = 0;
const OPENED: usize = 1;

/// The cells of closed deals, for metrics that read them, with their measures: counts and sums of
/// won and lost deals have the same numbers.
pub(super) const CELLS: &str = "win_rate.closed";
pub(super) const WON: usize = 0;
pub(super) const LOST: usize = 1;

/// Of the won ones, those whose amount is known: what an average is taken over.
pub(super) const WON_WITH_AMOUNT: usize = 2;

/// Of the opened deals: those for which a clock is used as a date, and of them those whose history
/// no longer reaches back to the close.
const DATED_BY_CLOCK: usize = 3;
const HISTORY_CUT: usize = 4;

impl Metric for WinRate {
    fn name(&self) -> &'static str {
        "win_rate"
    }

    fn version(&self) -> u32 {
        3
    }

    fn definition(&self) -> &'static str {
        "Won deals ÷ (won + lost deals), both by the time they closed; by count, and by amount as a second series per currency. Beside it, \
         the deals opened in the same time and what became of them so far."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Win rate",
            headline: "rate",
            unit: "",
            made_of: "{won} won, {lost} lost",
            remarks: &["{amount.won} won"],
            columns: &[
                column("Deals closed", "Won", "won"),
                column("Deals closed", "Lost", "lost"),
                column("Deals closed", "Win rate", "rate"),
                column("By amount", "Won", "amount.won"),
                column("By amount", "Lost", "amount.lost"),
                column("By amount", "Win rate", "amount.rate"),
                column("Deals opened", "Deals", "opened.deals"),
                column("Deals opened", "Open", "opened.open"),
                column("Deals opened", "Won", "opened.won"),
                column("Deals opened", "Lost", "opened.lost"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::DEAL]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![
            Rollup {
                name: CELLS.into(),
                cut_by: CutBy::DEAL,
                grains: HOURS_AND_DAYS,
                counts: &["won", "lost", "won_with_amount"],
                sums: &["won", "lost"],
            },
            Rollup {
                name: "win_rate.opened".into(),
                cut_by: CutBy::DEAL,
                grains: HOURS_AND_DAYS,
                counts: &["open", "won", "lost", "dated_by_clock", "history_cut"],
                sums: &[],
            },
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let Some(deal) = subject.deal() else { return };
        let opened = out
            .add(OPENED, deal.created_at, &deal.dims)
            .count(deal.status as usize);
        opened
            .count_if(deal.dated_by_clock, DATED_BY_CLOCK)
            .count_if(deal.history_cut, HISTORY_CUT);
        if let Some(closed_at) = deal.closed_at {
            let measure = if deal.status == Status::Won {
                WON
            } else {
                LOST
            };
            out.add(CLOSED, closed_at, &deal.dims)
                .count(measure)
                .count_if(measure == WON && deal.amount.is_some(), WON_WITH_AMOUNT)
                .money(measure, deal.amount, deal.currency);
        }
    }

    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        &[(CLOSED, &[WON, LOST])]
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(CLOSED, Span::Window), (OPENED, Span::Window)]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let closed = cells.cell(CLOSED, Span::Window);
        let (won, lost) = (closed.counted(WON), closed.counted(LOST));
        let money = cells
            .by_currency(CLOSED, Span::Window)
            .iter()
            .filter(|(_, c)| c.summed(WON) != 0 || c.summed(LOST) != 0);
        let amounts = money.map(|(code, cell)| {
            let (won, lost) = (cell.summed(WON), cell.summed(LOST));
            let figures = vec![
                ("won", Figure::Money(won)),
                ("lost", Figure::Money(lost)),
                ("rate", ratio_of(won, won + lost)),
            ];
            (code.clone(), Figure::Group(figures))
        });
        let opened = cells.cell(OPENED, Span::Window);
        let count = |status: Status| opened.counted(status as usize);
        vec![
            ("won", Figure::Count(won)),
            ("lost", Figure::Count(lost)),
            ("rate", share(won, won + lost)),
            (
                "amount",
                Figure::ByCurrency(amounts.collect::<BTreeMap<_, _>>()),
            ),
            (
                "opened",
                Figure::Group(vec![
                    (
                        "deals",
                        Figure::Count(
                            [Status::Open, Status::Won, Status::Lost]
                                .map(count)
                                .iter()
                                .sum(),
                        ),
                    ),
                    ("open", Figure::Count(count(Status::Open))),
                    ("won", Figure::Count(count(Status::Won))),
                    ("lost", Figure::Count(count(Status::Lost))),
                ]),
            ),
        ]
    }

    fn weight(&self, figures: &Figures) -> i64 {
        counted(figures, &["won", "lost"])
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["won", "lost", "rate", "amount.rate"]
    }

    fn views(&self) -> Vec<View> {
        vec![
            View::new(
                "win_rate_daily",
                "SELECT day, dimension, value, currency, counts[1] AS won, counts[2] AS lost, sums[1] AS won_amount, sums[2] AS lost_amount
                FROM cells_by_day WHERE series = 'win_rate.closed'",
            ),
            View::new(
                "deals_opened_daily",
                "SELECT day, dimension, value, counts[1] AS open, counts[2] AS won, counts[3] AS lost,
                    counts[4] AS dated_by_clock, counts[5] AS history_cut
                FROM cells_by_day WHERE series = 'win_rate.opened'",
            ),
        ]
    }
}

/// The average size of won deals, over those whose amount is known.
pub(super) fn average(closed: &Cell) -> Option<i128> {
    let known = closed.counted(WON_WITH_AMOUNT);
    (known > 0).then(|| rounded(closed.summed(WON), known.into()))
}
