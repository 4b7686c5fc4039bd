//! Sales results: what was won, against the time before and the same time a year ago.

use std::collections::BTreeMap;

use super::display::column;
use super::figure::ratio_of;
use super::reading::merged;
use super::win_rate::{CELLS as CLOSED, WON, average};
use super::{CellView, Display, Figure, Figures, Metric, View};
use crate::event::Entity;
use crate::window::Cell;
use crate::window::rolling::Span;

/// The metric.
pub struct SalesResults;

impl Metric for SalesResults {
    fn name(&self) -> &'static str {
        "sales_results"
    }

    fn version(&self) -> u32 {
        1
    }

    fn definition(&self) -> &'static str {
        "Deals won, by the time they closed, and their amounts. Average deal size: won amount ÷ won deals that have an amount. Previous: as many \
         days before the window; of a month or a quarter so far, as many days of the one before. A year ago: the same dates a year before. Change: \
         (this − that) ÷ that, no number where that is 0. Windows of hours are compared with nothing."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Sales results",
            headline: "amount.won",
            unit: "",
            made_of: "won in {won} deals, {amount.average} in the mean",
            remarks: &[
                "{amount.change} against {amount.previous} before",
                "{amount.change_of_year} against {amount.year_before} a year ago",
            ],
            columns: &[
                column("Deals won", "Won", "won"),
                column("Deals won", "Before", "previous"),
                column("Deals won", "A year ago", "year_before"),
                column("Amount won", "Won", "amount.won"),
                column("Amount won", "Average", "amount.average"),
                column("Amount won", "Before", "amount.previous"),
                column("Amount won", "Change", "amount.change"),
                column("Amount won", "A year ago", "amount.year_before"),
                column("Amount won", "Change", "amount.change_of_year"),
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
            (CLOSED, Span::Previous),
            (CLOSED, Span::YearBefore),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let now = cells.named(CLOSED, Span::Window);
        let earlier = [Span::Previous, Span::YearBefore]
            .map(|span| cells.has_panes(span).then(|| cells.named(CLOSED, span)));
        let count = |cells: &BTreeMap<String, Cell>| Figure::Count(merged(cells).counted(WON));
        let won = |cells: &BTreeMap<String, Cell>, code: &str| {
            cells.get(code).map_or(0, |cell| cell.summed(WON))
        };
        let mut figures = vec![("won", count(now))];
        for (name, cells) in ["previous", "year_before"].into_iter().zip(earlier) {
            figures.extend(cells.map(|cells| (name, count(cells))));
        }
        let mut codes: Vec<&String> = earlier
            .into_iter()
            .flatten()
            .flat_map(|c| c.keys())
            .collect();
        codes.extend(now.keys());
        codes.sort_unstable();
        codes.dedup();
        let has_won = |code: &&String| {
            let all = earlier.into_iter().flatten().chain([now]);
            all.into_iter().any(|cells| won(cells, code) != 0)
        };
        let amounts = codes.into_iter().filter(has_won).map(|code| {
            let this = won(now, code);
            let mut figures = vec![("won", Figure::Money(this))];
            let average = now.get(code).and_then(average);
            figures.extend(average.map(|average| ("average", Figure::Money(average))));
            let names = [("previous", "change"), ("year_before", "change_of_year")];
            for ((name, change), cells) in names.into_iter().zip(earlier) {
                let Some(cells) = cells else { continue };
                let that = won(cells, code);
                figures.push((name, Figure::Money(that)));
                figures.push((change, ratio_of(this - that, that)));
            }
            (code.clone(), Figure::Group(figures))
        });
        figures.push(("amount", Figure::ByCurrency(amounts.collect())));
        figures
    }

    fn gauges(&self) -> &'static [&'static str] {
        &[
            "won",
            "previous",
            "year_before",
            "amount.won",
            "amount.average",
            "amount.previous",
            "amount.change",
            "amount.change_of_year",
        ]
    }

    fn views(&self) -> Vec<View> {
        Vec::new()
    }
}
