//! Customer lifetime value: what customers have brought in so far, and what one is worth while they
//! stay as they do now.

use super::contribution::{DAYS, HOURS_AND_DAYS};
use super::display::column;
use super::figure::{by_currency, holding};
use super::{
    CellView, Contributions, CutBy, Display, Figure, Figures, Metric, REPORTING, Rollup, Sent,
    Subject, View,
};
use crate::event::{Entity, When, rounded};
use crate::record::Status;
use crate::record::account::Account;
use crate::record::deal::DealOutcome;
use crate::record::payment::Paid;
use crate::window::rolling::Span;
use crate::window::{Cell, DIMENSIONS, sketch};

/// The metric.
pub struct Clv;

const PAYMENTS: usize = 0;
const BOOKINGS: usize = 1;
const CUSTOMERS: usize = 2;
const REVENUE: usize = 3;

/// Measures of a customer's value: customers in each of their currencies, and in the first of them
/// by its code alone.
const VALUED: usize = 0;
const ONCE: usize = 1;

/// Measures of customers.
const ACQUIRED: usize = 0;
const LOST: usize = 1;

/// Measures of revenue: counts, then sums.
const PAID: usize = 0;
const REFUNDED: usize = 1;
const RECEIVED: usize = 0;
const RETURNED: usize = 1;
const EARNED: usize = 2;

/// Totals of an account, over all time.
const EARNED_OF: u16 = 0;
const BOOKED_OF: u16 = 1;
const ALL_TIME: i64 = 0;

/// Marks of payments: the days they were made on.
const PAID_ON: u16 = 0;

impl Metric for Clv {
    fn name(&self) -> &'static str {
        "clv"
    }

    fn version(&self) -> u32 {
        3
    }

    fn definition(&self) -> &'static str {
        "What a customer has brought in so far, in two series that are never mixed: Σ (payments − refunds and credits) × margin, and Σ won \
         amounts. Mean, median and 90 % over the customers that have such a payment, or such a won deal, in the currency; by the day they were \
         acquired: as stated, else their first won deal or payment, whichever came first. A payment without a margin counts whole, one without \
         an account in revenue only. Predicted: revenue earned in the window ÷ customers served (those at its start and those acquired in it) \
         ÷ churn (customers lost in the window ÷ customers at its start). No prediction where nobody was lost, where there were no customers \
         at the start, and where the window's payments have several currencies that are not converted into one. A customer that churned and bought \
         or paid later is not lost. In the reporting currency: payments at the rate of their day; what customers are worth at the rate of the \
         day they were acquired, each customer once, in the mean only."
    }

    fn display(&self) -> Display {
        const DISPLAY: Display = Display {
            title: "Customer lifetime value",
            headline: "lifetime.payments.mean",
            unit: "",
            made_of: "paid by a customer in the mean, {lifetime.payments.median} in the median, of {lifetime.customers} customers so far",
            remarks: &[
                "predicted {predicted.value}, of {predicted.served} customers served {predicted.lost} were lost",
                "{revenue.earned} earned",
            ],
            columns: &[
                column("Customers", "Acquired", "customers"),
                column("Customers", "Lost", "lost"),
                column("Paid by those acquired", "Customers", "payments.customers"),
                column("Paid by those acquired", "Mean", "payments.mean"),
                column("Paid by those acquired", "Median", "payments.median"),
                column("Paid by those acquired", "90 %", "payments.p90"),
                column("Won with those acquired", "Customers", "bookings.customers"),
                column("Won with those acquired", "Mean", "bookings.mean"),
                column("Won with those acquired", "Median", "bookings.median"),
                column("Won with those acquired", "90 %", "bookings.p90"),
                column("By all so far", "Paid, mean", "lifetime.payments.mean"),
                column("By all so far", "Won, mean", "lifetime.bookings.mean"),
            ],
        };
        DISPLAY
    }

    fn entities(&self) -> &'static [Entity] {
        &[Entity::PAYMENT, Entity::ACCOUNT]
    }

    fn rollups(&self) -> Vec<Rollup> {
        let value = |name: &'static str| Rollup {
            name: name.into(),
            cut_by: CutBy::ACCOUNT,
            grains: DAYS,
            counts: &["customers", "customers_once"],
            sums: &["value"],
        };
        vec![
            value("clv.payments"),
            value("clv.bookings"),
            Rollup {
                name: "clv.customers".into(),
                cut_by: CutBy::ACCOUNT,
                grains: DAYS,
                counts: &["acquired", "lost"],
                sums: &[],
            },
            Rollup {
                name: "clv.revenue".into(),
                cut_by: CutBy::NOTHING,
                grains: HOURS_AND_DAYS,
                counts: &["payments", "refunds"],
                sums: &["received", "returned", "earned"],
            },
        ]
    }

    fn contribute(&self, subject: &Subject<'_>, out: &mut Contributions) {
        if let Some(payment) = subject.reading.payment().filter(|payment| payment.live) {
            revenue(&payment.paid, out);
        }
        let Some(account) = subject.account() else {
            return;
        };
        let Some(acquired) = acquired(account, subject) else {
            return;
        };
        out.add(CUSTOMERS, acquired, &account.dims).count(ACQUIRED);
        if let Some(lost) = lost(account, subject) {
            out.add(CUSTOMERS, lost, &account.dims).count(LOST);
        }
        for (rollup, tag) in [(PAYMENTS, EARNED_OF), (BOOKINGS, BOOKED_OF)] {
            let totals = subject.totals(tag, ALL_TIME);
            // Shards number their symbols each in its own way; the codes are the same everywhere.
            let symbols = subject.context.symbols;
            let first = totals
                .clone()
                .map(|(code, _)| code)
                .min_by_key(|code| symbols.text(*code));
            for (currency, total) in totals {
                // More than an amount can be is shown as the most it can be.
                let total = total.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
                let value = out.add(rollup, acquired, &account.dims).count(VALUED);
                value
                    .count_if(Some(currency) == first, ONCE)
                    .sampled_money(0, total, currency);
            }
        }
    }

    fn contribute_link(&self, subject: &Subject<'_>, sent: &Sent<'_>, out: &mut Contributions) {
        if subject.account().is_none() {
            return;
        }
        if let Some(paid) = sent.read::<Paid>() {
            if let (Some(at), Some(earned), true) =
                (paid.at, paid.earned, subject.counts(paid.excluded))
            {
                out.total(EARNED_OF, ALL_TIME, paid.currency, earned);
                out.mark(PAID_ON, i64::from(subject.calendar().day(at)));
            }
        } else if let Some(deal) = sent.read::<DealOutcome>()
            && let (Status::Won, Some(amount)) = (deal.status, deal.amount)
            && subject.counts(deal.excluded)
        {
            out.total(BOOKED_OF, ALL_TIME, deal.currency, amount);
        }
    }

    fn converted(&self) -> &'static [(usize, &'static [usize])] {
        &[
            (REVENUE, &[PAID, REFUNDED]),
            (PAYMENTS, &[VALUED]),
            (BOOKINGS, &[VALUED]),
        ]
    }

    fn spans(&self) -> &'static [(usize, Span)] {
        &[
            // The total says how many payments have no rate, a group how many of its customers.
            (REVENUE, Span::Window),
            (PAYMENTS, Span::LocalDays),
            (PAYMENTS, Span::UpToEnd),
            (BOOKINGS, Span::LocalDays),
            (BOOKINGS, Span::UpToEnd),
            (CUSTOMERS, Span::LocalDays),
            (CUSTOMERS, Span::UpToStart),
            (CUSTOMERS, Span::UpToEnd),
        ]
    }

    fn read(&self, cells: &CellView<'_>) -> Figures {
        let mut figures = Figures::new();
        let values = |rollup, span| {
            let cells = holding(cells.by_currency(rollup, span));
            let values = cells.map(|(code, cell)| {
                let count = if code == REPORTING { ONCE } else { VALUED };
                (code.clone(), Figure::Group(distribution(cell, count)))
            });
            Figure::ByCurrency(values.collect())
        };
        let customers = |span| cells.cell(CUSTOMERS, span);
        if cells.has_panes(Span::LocalDays) {
            let window = customers(Span::LocalDays);
            figures.extend([
                ("customers", Figure::Count(window.counted(ACQUIRED))),
                ("lost", Figure::Count(window.counted(LOST))),
                ("payments", values(PAYMENTS, Span::LocalDays)),
                ("bookings", values(BOOKINGS, Span::LocalDays)),
            ]);
        }
        let lifetime = vec![
            (
                "customers",
                Figure::Count(customers(Span::UpToEnd).counted(ACQUIRED)),
            ),
            ("payments", values(PAYMENTS, Span::UpToEnd)),
            ("bookings", values(BOOKINGS, Span::UpToEnd)),
        ];
        figures.push(("lifetime", Figure::Group(lifetime)));
        if cells.is_total() {
            let revenue = cells.by_currency(REVENUE, Span::Window);
            figures.push(("revenue", by_currency(revenue, earned)));
            if cells.has_panes(Span::UpToStart) {
                let before = customers(Span::UpToStart);
                let at_start = before.counted(ACQUIRED) - before.counted(LOST);
                let window = customers(Span::LocalDays);
                let (acquired, lost) = (window.counted(ACQUIRED), window.counted(LOST));
                let served = at_start + acquired;
                // Customers are not counted by currency, so revenue in one of several can't be
                // divided by them.
                let (all, own): (Vec<_>, Vec<_>) =
                    holding(revenue).partition(|(code, _)| *code == REPORTING);
                let whole = if own.len() > 1 {
                    all
                } else {
                    [own, all].concat()
                };
                let value = whole.into_iter().filter_map(|(code, cell)| {
                    let value = predict(cell.summed(EARNED), served, lost, at_start)?;
                    Some((code.clone(), Figure::Money(value)))
                });
                let predicted = vec![
                    ("at_start", Figure::Count(at_start)),
                    ("served", Figure::Count(served)),
                    ("lost", Figure::Count(lost)),
                    ("value", Figure::ByCurrency(value.collect())),
                ];
                figures.push(("predicted", Figure::Group(predicted)));
            }
        }
        figures
    }

    fn gauges(&self) -> &'static [&'static str] {
        &[
            "payments.customers",
            "payments.mean",
            "bookings.customers",
            "bookings.mean",
        ]
    }

    fn views(&self) -> Vec<View> {
        let quantile = |q| sketch::quantile_sql("sketch", q);
        vec![
            View::new(
                "clv_cohort",
                format!(
                    "SELECT month, basis, dimension, value, currency, customers, total, total / customers AS mean,
                        {} / 10000 AS median, {} / 10000 AS p90
                    FROM (SELECT toStartOfMonth(day) AS month, splitByChar('.', cells_by_day.series)[2] AS basis, dimension, value, currency,
                            sum(counts[1]) AS customers, sum(sums[1]) AS total, sumMap(cells_by_day.sketch) AS sketch
                        FROM cells_by_day WHERE cells_by_day.series IN ('clv.payments', 'clv.bookings') GROUP BY ALL HAVING customers != 0)",
                    quantile(0.5),
                    quantile(0.9)
                ),
            ),
            View::new(
                "customers_daily",
                "SELECT day, dimension, value, counts[1] AS acquired, counts[2] AS lost FROM cells_by_day WHERE series = 'clv.customers'",
            ),
            View::new(
                "revenue_daily",
                "SELECT day, currency, counts[1] AS payments, counts[2] AS refunds, sums[1] AS received, sums[2] AS returned, sums[3] AS earned
                FROM cells_by_day WHERE series = 'clv.revenue'",
            ),
        ]
    }
}

/// A payment, or what was given back.
fn revenue(paid: &Paid, out: &mut Contributions) {
    let (Some(at), Some(amount)) = (paid.at, paid.amount) else {
        return;
    };
    let nothing = [crate::symbol::Symbol::BLANK; DIMENSIONS];
    let (count, sum) = if amount < 0 {
        (REFUNDED, RETURNED)
    } else {
        (PAID, RECEIVED)
    };
    let revenue = out.add(REVENUE, at, &nothing).count(count);
    revenue
        .money(sum, Some(amount.saturating_abs()), paid.currency)
        .money(EARNED, paid.earned, paid.currency);
}

/// When a customer was acquired: as stated, else with the first won deal or the first payment.
fn acquired(account: &Account, subject: &Subject<'_>) -> Option<When> {
    if account.became_customer_at.is_some() {
        return account.became_customer_at;
    }
    let calendar = subject.calendar();
    let won = account.customer_since(subject.inbox);
    let paid = subject.least(PAID_ON).map(|day| When::Date(day as i32));
    let of_each = won.into_iter().chain(paid);
    of_each.min_by_key(|when| calendar.day(*when))
}

/// When a customer was lost: it churned, and neither bought nor paid after that.
fn lost(account: &Account, subject: &Subject<'_>) -> Option<When> {
    let calendar = subject.calendar();
    let last_paid = subject.greatest(PAID_ON);
    let is_last = |at: &When| last_paid.is_none_or(|day| day <= i64::from(calendar.day(*at)));
    let lost = account.lost_at(subject.inbox, calendar);
    lost.filter(is_last)
}

/// What customers are worth, of those valued in one currency, whom a measure counts.
fn distribution(cell: &Cell, count: usize) -> Figures {
    let count = cell.counted(count);
    let mut figures = vec![
        ("customers", Figure::Count(count)),
        ("value", Figure::Money(cell.summed(0))),
    ];
    let mean = (count > 0).then(|| rounded(cell.summed(0), count.into()));
    let quantile = |q| Some(cell.sketch.quantile(q)?.round() as i128);
    let values = [
        ("mean", mean),
        ("median", quantile(0.5)),
        ("p90", quantile(0.9)),
    ];
    let known = values
        .into_iter()
        .filter_map(|(name, value)| Some((name, Figure::Money(value?))));
    figures.extend(known);
    figures
}

fn earned(cell: &Cell) -> Figures {
    vec![
        ("payments", Figure::Count(cell.counted(PAID))),
        ("refunds", Figure::Count(cell.counted(REFUNDED))),
        ("received", Figure::Money(cell.summed(RECEIVED))),
        ("returned", Figure::Money(cell.summed(RETURNED))),
        ("earned", Figure::Money(cell.summed(EARNED))),
    ]
}

/// Revenue a customer ÷ churn; nothing where one of the denominators says nothing.
fn predict(earned: i128, served: i64, lost: i64, at_start: i64) -> Option<i128> {
    let is_known = served > 0 && lost > 0 && at_start > 0;
    let product = earned.checked_mul(i128::from(at_start))?;
    is_known.then(|| rounded(product, i128::from(served) * i128::from(lost)))
}
