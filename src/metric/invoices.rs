//! Invoices: what is billed, what is paid and how soon, and what is still open.

use super::contribution::{DAYS, HOURS_AND_DAYS, of_owner};
use super::cycle_length::{distribution, span};
use super::display::column;
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, Rollup, Sent, Subject, View,
};
use crate::event::{Entity, When};
use crate::record::payment::Paid;
use crate::symbol::Symbol;
use crate::window::calendar::DAY;
use crate::window::rolling::Span;
use crate::window::{Dimension, Dims, sketch};

/// The metric.
pub struct Invoices;

const ISSUED: usize = 0;
const PAID: usize = 1;
const TIME_TO_PAY: usize = 2;
const OPEN: usize = 3;
const COLLECTED: usize = 4;

/// Measures of amounts: how many records, and how many of them have none.
const RECORDS: usize = 0;
const WITHOUT_AMOUNT: usize = 1;

impl Metric for Invoices {
    fn name(&self) -> &'static str {
        "invoices"
    }

    fn version(&self) -> u32 {
        2
    }

    fn definition(&self) -> &'static str {
        "Invoices issued and paid in the window, each by its own time: how many, and their amounts. Drafts and cancelled invoices are not issued. \
         Time to pay is paid_at − issued_at of those paid in the window, as in the sales cycle. Open are those that are issued and not paid, \
         overdue those of them whose due day is before today: both as of today, the same in every window. Collected is what payments that name \
         an invoice add up to, less what was given back, by the time of the payment and whatever became of the invoice. Records without an \
         amount are counted, apart too, and are in no amount. The owner is the invoice's."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Invoices",
            headline: "issued.invoices",
            unit: "",
            made_of: "issued for {issued.amount}, {paid.invoices} paid with {paid.amount}",
            remarks: &[
                "open: {open.invoices} with {open.amount}",
                "overdue: {overdue.invoices} with {overdue.amount}",
                "paid after {time_to_pay.median_days} days in the median, nine in ten within {time_to_pay.p90_days}",
                "issued without an amount: {issued.without_amount}",
            ],
            columns: &[
                column("Issued", "Invoices", "issued.invoices"),
                column("Issued", "Amount", "issued.amount"),
                column("Paid", "Invoices", "paid.invoices"),
                column("Paid", "Amount", "paid.amount"),
                column("Time to pay, days", "Median", "time_to_pay.median_days"),
                column("Time to pay, days", "Mean", "time_to_pay.mean_days"),
                column("Time to pay, days", "90 %", "time_to_pay.p90_days"),
                column("Open", "Invoices", "open.invoices"),
                column("Open", "Amount", "open.amount"),
                column("Overdue", "Invoices", "overdue.invoices"),
                column("Overdue", "Amount", "overdue.amount"),
                column("Collected", "Payments", "collected.payments"),
                column("Collected", "Amount", "collected.amount"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::INVOICE]
    }

    fn rollups(&self) -> Vec<Rollup> {
        let amounts = |name: &'static str, counts, grains| Rollup {
            name: name.into(),
            cut_by: CutBy::only(&[Dimension::OWNER]),
            grains,
            counts,
            sums: &["amount"],
        };
        const INVOICES: &[&str] = &["invoices", "without_amount"];
        vec![
            amounts("invoices.issued", INVOICES, HOURS_AND_DAYS),
            amounts("invoices.paid", INVOICES, HOURS_AND_DAYS),
            Rollup {
                name: "invoices.time_to_pay".into(),
                cut_by: CutBy::only(&[Dimension::OWNER]),
                grains: HOURS_AND_DAYS,
                counts: &["count", "negative"],
                sums: &["seconds"],
            },
            Rollup {
                cut_by: CutBy::only(&[Dimension::OWNER]).of_today(),
                ..amounts("invoices.open", INVOICES, DAYS)
            },
            amounts(
                "invoices.collected",
                &["payments", "without_amount"],
                HOURS_AND_DAYS,
            ),
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        let invoice = subject.reading.invoice();
        let Some(invoice) = invoice.filter(|invoice| invoice.live && invoice.is_issued) else {
            return;
        };
        let dims = of_owner(invoice.owner);
        let (amount, currency) = (invoice.amount, invoice.currency);
        add(ISSUED, invoice.issued_at, &dims, amount, currency, out);
        if let Some(paid_at) = invoice.paid_at {
            add(PAID, paid_at, &dims, amount, currency, out);
            span(TIME_TO_PAY, invoice.issued_at, paid_at, &dims, subject, out);
        } else {
            let due_at = invoice.due_at.unwrap_or(When::UNDATED);
            add(OPEN, due_at, &dims, amount, currency, out);
        }
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        let (Some(invoice), Some(paid)) = (subject.reading.invoice(), sent.read::<Paid>()) else {
            return;
        };
        if let Some(at) = paid.at
            && subject.counts(paid.excluded)
        {
            // An invoice that was deleted, or never seen, has no owner.
            let owner = if invoice.live {
                invoice.owner
            } else {
                Symbol::BLANK
            };
            let dims = of_owner(owner);
            add(COLLECTED, at, &dims, paid.amount, paid.currency, out);
        }
    }

    fn links_read_target(&self) -> bool {
        true
    }

    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        &[
            (ISSUED, &[RECORDS]),
            (PAID, &[RECORDS]),
            (OPEN, &[RECORDS]),
            (COLLECTED, &[RECORDS]),
        ]
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[
            (ISSUED, Span::Window),
            (PAID, Span::Window),
            (TIME_TO_PAY, Span::Window),
            (OPEN, Span::Ever),
            (OPEN, Span::BeforeToday),
            (COLLECTED, Span::Window),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let amounts = |what, rollup, span| Figure::Group(amounts(what, cells, rollup, span));
        vec![
            ("issued", amounts("invoices", ISSUED, Span::Window)),
            ("paid", amounts("invoices", PAID, Span::Window)),
            (
                "time_to_pay",
                Figure::Group(distribution(&cells.cell(TIME_TO_PAY, Span::Window))),
            ),
            ("open", amounts("invoices", OPEN, Span::Ever)),
            ("overdue", amounts("invoices", OPEN, Span::BeforeToday)),
            ("collected", amounts("payments", COLLECTED, Span::Window)),
        ]
    }

    fn gauges(&self) -> &'static [&'static str] {
        &[
            "issued.amount",
            "paid.amount",
            "overdue.invoices",
            "overdue.amount",
        ]
    }

    fn views(&self) -> Vec<View> {
        vec![
            View::new(
                "invoices_daily",
                "SELECT day, splitByChar('.', cells_by_day.series)[2] AS step, dimension, value, currency, counts[1] AS records,
                    counts[2] AS without_amount, sums[1] AS amount
                FROM cells_by_day WHERE cells_by_day.series IN ('invoices.issued', 'invoices.paid', 'invoices.open', 'invoices.collected')",
            ),
            View::new(
                "time_to_pay_daily",
                format!(
                    "SELECT day, dimension, value, counts[1] AS count, counts[2] AS negative, sums[1] / {DAY} AS days,
                        {} / {DAY} AS median_days, {} / {DAY} AS p90_days, sketch AS seconds
                    FROM cells_by_day WHERE series = 'invoices.time_to_pay'",
                    sketch::quantile_sql("sketch", 0.5),
                    sketch::quantile_sql("sketch", 0.9)
                ),
            ),
            // From the facts: accounts are too many to keep cells of each. A date is stored as
            // midnight UTC and is a day of no time zone; what was merged is followed to its
            // survivor, and merges that go in a circle are not followed for ever.
            View::new(
                "invoices_by_account",
                "WITH RECURSIVE merged AS
                (
                    SELECT id, merged_into AS into, 1 AS step FROM accounts FINAL
                    WHERE generation = (SELECT generation FROM current_epoch) AND merged_into != ''
                    UNION ALL
                    SELECT merged.id, next.merged_into, merged.step + 1 FROM merged
                    INNER JOIN (SELECT id, merged_into FROM accounts FINAL
                        WHERE generation = (SELECT generation FROM current_epoch) AND merged_into != '') AS next ON next.id = merged.into
                    WHERE merged.step < 32
                )
                SELECT account, code AS currency, count() AS issued, sum(amount) AS issued_amount,
                    countIf(is_paid) AS paid, sumIf(amount, is_paid) AS paid_amount,
                    countIf(NOT is_paid) AS open, sumIf(amount, NOT is_paid) AS open_amount,
                    countIf(NOT is_paid AND due < today) AS overdue, sumIf(amount, NOT is_paid AND due < today) AS overdue_amount,
                    countIf(amount IS NULL) AS without_amount
                FROM
                (
                    SELECT if(survivor.id = '', account_id, survivor.account) AS account, if(currency = '', 'XXX', currency) AS code, amount,
                        status = 'paid' OR status = '' AND paid_at IS NOT NULL AS is_paid,
                        if(due_at = toStartOfDay(due_at), toDate(due_at), toDate(due_at, '{time_zone}')) AS due, toDate(now(), '{time_zone}') AS today
                    FROM (SELECT * FROM invoices FINAL WHERE generation = (SELECT generation FROM current_epoch)
                        AND deleted = 0 AND merged_into = '' AND status NOT IN ('draft', 'cancelled')) AS invoice
                    LEFT JOIN (SELECT id, argMax(into, step) AS account FROM merged GROUP BY id) AS survivor ON survivor.id = invoice.account_id
                )
                GROUP BY account, code",
            ),
        ]
    }
}

/// A record with its amount.
fn add(
    rollup: usize,
    at: When,
    dims: &Dims,
    amount: Option<i64>,
    currency: Symbol,
    out: &mut Contributions,
) {
    out.add(rollup, at, dims)
        .count(RECORDS)
        .count_if(amount.is_none(), WITHOUT_AMOUNT)
        .money(0, amount, currency);
}

/// How many records, and what they add up to in each currency in which one has an amount.
fn amounts(records: &'static str, cells: &CellView<'_>, rollup: usize, span: Span) -> Figures {
    let all = cells.cell(rollup, span);
    let by_currency = cells.by_currency(rollup, span).iter();
    let known =
        by_currency.filter(|(_, cell)| cell.counted(RECORDS) > cell.counted(WITHOUT_AMOUNT));
    let amounts = known.map(|(code, cell)| (code.clone(), Figure::Money(cell.summed(0))));
    vec![
        (records, Figure::Count(all.counted(RECORDS))),
        ("without_amount", Figure::Count(all.counted(WITHOUT_AMOUNT))),
        ("amount", Figure::ByCurrency(amounts.collect())),
    ]
}
