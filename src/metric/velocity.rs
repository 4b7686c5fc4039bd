//! Sales velocity: how much the pipeline earns a day, and the rates a period is judged by at a
//! glance.

use super::display::column;
use super::figure::{ratio, share};
use super::forecast::{self, CELLS as OPEN};
use super::reading::merged;
use super::win_rate::{CELLS as CLOSED, LOST, WON, WON_WITH_AMOUNT, average};
use super::{CellView, Display, Figure, Figures, Metric, View};
use crate::event::{DECIMAL_ONE, Entity, rounded};
use crate::window::calendar::DAY;
use crate::window::rolling::Span;

/// The metric.
pub struct Velocity;

const CYCLE: &str = "cycle_length.won";
const LEADS: &str = "lead_source.cohort";

impl Metric for Velocity {
    fn name(&self) -> &'static str {
        "velocity"
    }

    fn version(&self) -> u32 {
        1
    }

    fn definition(&self) -> &'static str {
        "Sales velocity, money a day: deals open now (omitted ones left out) × win rate by count × average size of won deals ÷ mean cycle length of \
         won deals in days; all but the first of the window, by the time deals closed, in one currency each but for the cycle length. No number \
         where one of the four is missing. Period close ratio: deals won in the window ÷ leads created in the window, which are not the same \
         deals: for the share of leads that become won deals see the close rate."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Sales velocity",
            headline: "amount.velocity",
            unit: "a day",
            made_of: "{amount.open} open deals × {amount.win_rate} × {amount.average} ÷ {cycle_days} days",
            remarks: &["period close ratio {close_ratio}: {won} won, {leads} leads created"],
            columns: &[
                column("Velocity", "Open deals", "amount.open"),
                column("Velocity", "Win rate", "amount.win_rate"),
                column("Velocity", "Average size", "amount.average"),
                column("Velocity", "Cycle, days", "cycle_days"),
                column("Velocity", "A day", "amount.velocity"),
                column("Period", "Won", "won"),
                column("Period", "Leads", "leads"),
                column("Period", "Close ratio", "close_ratio"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[]
    }

    fn reads(&self) -> &'static [(&'static str, Span)] {
        &[
            (CLOSED, Span::Window),
            (OPEN, Span::Ever),
            (CYCLE, Span::Window),
            (LEADS, Span::Window),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let (closed, open) = (
            cells.named(CLOSED, Span::Window),
            cells.named(OPEN, Span::Ever),
        );
        let cycle = merged(cells.named(CYCLE, Span::Window));
        let (spans, seconds) = (cycle.counted(0), cycle.summed(0));
        let days =
            (spans > 0).then(|| seconds as f64 / DECIMAL_ONE as f64 / DAY as f64 / spans as f64);
        let won = merged(closed).counted(WON);
        let leads = merged(cells.named(LEADS, Span::Window)).counted(0);
        let amounts = closed.iter().filter_map(|(code, cell)| {
            let (won, lost) = (cell.counted(WON), cell.counted(LOST));
            let open = open.get(code).map_or(0, forecast::deals);
            let average = average(cell).filter(|_| open > 0 && won + lost > 0)?;
            let (sum, sized) = (cell.summed(WON), cell.counted(WON_WITH_AMOUNT));
            let mut figures = vec![
                ("open", Figure::Count(open)),
                ("win_rate", share(won, won + lost)),
                ("average", Figure::Money(average)),
            ];
            // In whole numbers up to the last division, so that nothing is lost on the way.
            let top = sum
                .checked_mul(i128::from(open) * i128::from(won) * i128::from(spans))
                .and_then(|top| top.checked_mul(i128::from(DAY) * i128::from(DECIMAL_ONE)));
            let bottom = seconds.checked_mul(i128::from(won + lost) * i128::from(sized));
            if let (Some(top), Some(bottom)) = (top, bottom.filter(|bottom| *bottom > 0)) {
                figures.push(("velocity", Figure::Money(rounded(top, bottom))));
            }
            Some((code.clone(), Figure::Group(figures)))
        });
        vec![
            ("won", Figure::Count(won)),
            ("leads", Figure::Count(leads)),
            ("close_ratio", ratio(won, leads)),
            ("cycle_days", Figure::Days(days)),
            ("amount", Figure::ByCurrency(amounts.collect())),
        ]
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["amount.velocity"]
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "period_close_ratio_monthly",
            "SELECT toStartOfMonth(day) AS month, dimension, value, sumIf(counts[1], series = 'win_rate.closed') AS won,
                sumIf(counts[1], series = 'lead_source.cohort') AS leads, if(leads > 0, won / leads, NULL) AS close_ratio
            FROM cells_by_day WHERE series IN ('win_rate.closed', 'lead_source.cohort') GROUP BY month, dimension, value",
        )]
    }
}
