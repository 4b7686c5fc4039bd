//! Revenue retention: how much of a month's recurring revenue comes again from the same customers
//! in the next month.

use super::display::column;
use super::figure::{by_currency, ratio_of};
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Sent, Subject, View,
};
use crate::event::{Entity, When};
use crate::record::payment::Paid;
use crate::window::rolling::Span;
use crate::window::{Cell, Grain};

/// The metric.
pub struct Retention;

/// Counts.
const CUSTOMERS: usize = 0;
const STAYED: usize = 1;
const CAME: usize = 2;

/// Sums.
const BASE: usize = 0;
const AGAIN: usize = 1;
const KEPT: usize = 2;
const NEW: usize = 3;

/// The total of an account's recurring payments, by month.
const RECURRING: u16 = 0;

impl Metric for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn version(&self) -> u32 {
        2
    }

    fn definition(&self) -> &'static str {
        "Recurring revenue of a full calendar month against the month before, customer by customer. The base is what customers paid in the month \
         before, if it is above 0. Net: what the same customers paid in the month ÷ base. Gross: the same, of each customer no more than in the \
         month before, and no less than 0 ÷ base. Only payments of the kind `recurring` that name an account count, by the time they were paid. \
         A window that is no month shows the last full one. In the reporting currency both months are at the rate of the later one's first day, \
         so that a rate that moves is not taken for customers who do; a customer that pays in several currencies counts in each."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Revenue retention",
            headline: "amount.net",
            unit: "",
            made_of: "{amount.again} of {amount.base} came again, gross {amount.gross}",
            remarks: &["{amount.new} from new customers"],
            columns: &[
                column("Customers", "Month before", "amount.customers"),
                column("Customers", "Stayed", "amount.stayed"),
                column("Customers", "New", "amount.came"),
                column("Recurring revenue", "Month before", "amount.base"),
                column("Recurring revenue", "Again", "amount.again"),
                column("Recurring revenue", "New", "amount.new"),
                column("Recurring revenue", "Net retention", "amount.net"),
                column("Recurring revenue", "Gross retention", "amount.gross"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::ACCOUNT]
    }

    fn rollups(&self) -> Vec<Rollup> {
        vec![Rollup {
            name: "retention.recurring".into(),
            cut_by: CutBy::ACCOUNT,
            grains: &[Grain::Month],
            counts: &["customers", "stayed", "came"],
            sums: &["base", "again", "kept", "new"],
        }]
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        if subject.account().is_none() {
            return;
        }
        if let Some(paid) = sent.read::<Paid>()
            && let (Some(at), Some(amount), true) = (paid.at, paid.amount, paid.is_recurring)
            && subject.counts(paid.excluded)
        {
            let calendar = subject.calendar();
            let month = calendar.month_number(calendar.day(at));
            out.total(RECURRING, month, paid.currency, amount);
        }
    }

    fn totals_by_period(&self) -> Option<u16> {
        Some(RECURRING)
    }

    /// What a month is against the month before it.
    fn contribute_period(&self, subject: &Subject<'_>, month: i64, out: &mut Contributions) {
        let calendar = subject.calendar();
        let (Some(account), Some(first)) = (subject.account(), calendar.month_of(month)) else {
            return;
        };
        let amount = |total: i128| total.clamp(0, i64::MAX.into()) as i64;
        let of_month = |month| subject.totals(RECURRING, month);
        for (currency, before) in of_month(month - 1).filter(|(_, before)| *before > 0) {
            let now = of_month(month).find(|(code, _)| *code == currency);
            let now = now.map_or(0, |(_, now)| now);
            let at = When::Date(first);
            out.add(0, at, &account.dims)
                .count(CUSTOMERS)
                .count_if(now > 0, STAYED)
                .money(BASE, Some(amount(before)), currency)
                .money(KEPT, Some(amount(now.min(before))), currency);
            out.add(0, at, &account.dims)
                .money(AGAIN, Some(amount(now)), currency);
        }
        for (currency, now) in of_month(month).filter(|(_, now)| *now > 0) {
            let before = of_month(month - 1).find(|(code, _)| *code == currency);
            if before.is_none_or(|(_, before)| before <= 0) {
                out.add(0, When::Date(first), &account.dims)
                    .count(CAME)
                    .money(NEW, Some(amount(now)), currency);
            }
        }
    }

    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        &[(0, &[CUSTOMERS, CAME])]
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[(0, Span::FullMonth)]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        if !cells.has_panes(Span::FullMonth) {
            return Figures::new();
        }
        let amounts = by_currency(cells.by_currency(0, Span::FullMonth), retained);
        vec![("amount", amounts)]
    }

    fn depends_on_window(&self) -> bool {
        false
    }

    fn gauges(&self) -> &'static [&'static str] {
        &["amount.net", "amount.gross"]
    }

    fn views(&self) -> Vec<View> {
        vec![View::new(
            "retention_monthly",
            "SELECT toDate(pane) AS month, dimension, value, currency, counts[1] AS customers, counts[2] AS stayed, counts[3] AS came,
                sums[1] AS base, sums[2] AS again, sums[3] AS kept, sums[4] AS new,
                if(sums[1] > 0, toFloat64(sums[2]) / toFloat64(sums[1]), NULL) AS net,
                if(sums[1] > 0, toFloat64(sums[3]) / toFloat64(sums[1]), NULL) AS gross
            FROM cells WHERE series = 'retention.recurring' AND grain = 'month'",
        )]
    }
}

fn retained(cell: &Cell) -> Figures {
    let base = cell.summed(BASE);
    vec![
        ("customers", Figure::Count(cell.counted(CUSTOMERS))),
        ("stayed", Figure::Count(cell.counted(STAYED))),
        ("came", Figure::Count(cell.counted(CAME))),
        ("base", Figure::Money(base)),
        ("again", Figure::Money(cell.summed(AGAIN))),
        ("kept", Figure::Money(cell.summed(KEPT))),
        ("new", Figure::Money(cell.summed(NEW))),
        ("net", ratio_of(cell.summed(AGAIN), base)),
        ("gross", ratio_of(cell.summed(KEPT), base)),
    ]
}
