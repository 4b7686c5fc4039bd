//! Losses: why deals are lost, and which were closed and opened again.

use super::contribution::HOURS_AND_DAYS;
use super::display::column;
use super::figure::{money_by_currency, share};
use super::reading::merged;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Subject, View,
};
use crate::event::{Entity, When};
use crate::record::Status;
use crate::window::Dimension;
use crate::window::rolling::Span;

/// The metric.
pub struct Losses;

const LOST: usize = 0;
const REOPENED: usize = 1;

/// Measures of lost deals.
const DEALS: usize = 0;
const WITHOUT_REASON: usize = 1;
const AMOUNT: usize = 0;

impl Metric for Losses {
    fn name(&self) -> &'static str {
        "losses"
    }

    fn version(&self) -> u32 {
        4
    }

    fn definition(&self) -> &'static str {
        "Lost deals and their amounts, by the time they closed and by the reason stated. The share of a group is of all deals lost in the window; \
         a deal without a reason is in a group of its own, apart from any reason that is stated. Reopened: deals that were won or lost and open \
         again later, whatever became of them, by the time they were first closed; once each."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Losses",
            headline: "lost",
            unit: "",
            made_of: "lost, {without_reason} without a reason",
            remarks: &["{amount} lost", "{reopened} deals were opened again"],
            columns: &[
                column("Deals lost", "Lost", "lost"),
                column("Deals lost", "Share", "share"),
                column("Deals lost", "Without a reason", "without_reason"),
                column("Amount", "Lost", "amount"),
                column("Opened again", "Deals", "reopened"),
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
                name: "losses.lost".into(),
                cut_by: CutBy::LOSSES,
                grains: HOURS_AND_DAYS,
                counts: &["lost", "without_reason"],
                sums: &["lost"],
            },
            Rollup {
                name: "losses.reopened".into(),
                cut_by: CutBy::LOSSES,
                grains: HOURS_AND_DAYS,
                counts: &["reopened"],
                sums: &[],
            },
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let deal = subject.deal();
        let Some(deal) = deal.filter(|d| d.status == Status::Lost || d.reopened.is_some()) else {
            return;
        };
        let mut dims = deal.dims;
        dims[usize::from(Dimension::LOST_REASON.0)] = deal.lost_reason;
        if let (Status::Lost, Some(closed_at)) = (deal.status, deal.closed_at) {
            out.add(LOST, closed_at, &dims)
                .count(DEALS)
                .count_if(deal.lost_reason.is_blank(), WITHOUT_REASON)
                .money(AMOUNT, deal.amount, deal.currency);
        }
        if let Some(reopened) = deal.reopened {
            out.add(REOPENED, When::Instant(reopened), &dims).count(0);
        }
    }

    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        &[(LOST, &[DEALS])]
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(LOST, Span::Window), (REOPENED, Span::Window)]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let by_currency = cells.by_currency(LOST, Span::Window);
        let lost = merged(by_currency);
        let all = cells.total(LOST, Span::Window).counted(DEALS);
        vec![
            ("lost", Figure::Count(lost.counted(DEALS))),
            ("share", share(lost.counted(DEALS), all)),
            (
                "without_reason",
                Figure::Count(lost.counted(WITHOUT_REASON)),
            ),
            (
                "amount",
                money_by_currency(by_currency, |cell| cell.summed(AMOUNT)),
            ),
            (
                "reopened",
                Figure::Count(cells.cell(REOPENED, Span::Window).counted(0)),
            ),
        ]
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["lost", "share"]
    }

    fn views(&self) -> Vec<View> {
        vec![
            View::new(
                "losses_daily",
                "SELECT day, dimension, value, currency, counts[1] AS lost, counts[2] AS without_reason, sums[1] AS lost_amount
                FROM cells_by_day WHERE series = 'losses.lost'",
            ),
            View::new(
                "reopened_daily",
                "SELECT day, dimension, value, counts[1] AS reopened FROM cells_by_day WHERE series = 'losses.reopened'",
            ),
        ]
    }
}
