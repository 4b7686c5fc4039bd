//! What payments add: revenue, what customers are worth, and what comes again month after month.

use std::collections::{BTreeMap, BTreeSet};

use dealpulse::event::When;
use dealpulse::window::{Grain, sketch};

use super::cells::{By, HOURS_AND_DAYS, Table};
use super::{Deal, Dims, Oracle};

/// A live payment, worked out.
pub struct Payment {
    pub account: Option<String>,
    pub invoice: Option<String>,
    pub at: When,
    /// With its sign; none if the source doesn't say.
    pub amount: Option<i128>,
    earned: i128,
    pub currency: String,
    is_recurring: bool,
}

impl<'e> Oracle<'e> {
    pub(super) fn payments(&self) -> Vec<Payment> {
        let ids = self.ids("payment").into_iter();
        ids.filter(|id| self.is_live("payment", id))
            .map(|id| {
                let kind = self.text("payment", id, "kind");
                let stated = self.decimal("payment", id, "amount");
                let amount = match kind.as_str() {
                    "refund" | "credit" => stated.map(|amount| -amount.abs()),
                    _ => stated,
                };
                let margin = self.decimal("payment", id, "margin").unwrap_or(10_000);
                let product = amount.unwrap_or_default() * margin;
                Payment {
                    account: self
                        .latest("payment", id, "account_id")
                        .map(|account| self.root("account", account).to_owned()),
                    invoice: self
                        .latest("payment", id, "invoice_id")
                        .map(|invoice| self.root("invoice", invoice).to_owned()),
                    at: self
                        .when("payment", id, "paid_at")
                        .unwrap_or(self.first("payment", id)),
                    amount,
                    earned: product.signum() * ((2 * product.abs() + 10_000) / 20_000),
                    currency: self.text("payment", id, "currency"),
                    is_recurring: kind == "recurring",
                }
            })
            .collect()
    }

    pub(super) fn of_payment(&self, payment: &Payment, table: &mut Table) {
        let Some(amount) = payment.amount else { return };
        let given_back = usize::from(amount < 0);
        self.add(
            table,
            ("clv.revenue", By::Nothing, HOURS_AND_DAYS),
            payment.at,
            &Dims::new(),
            &payment.currency,
            |cell| {
                cell.count(given_back);
                cell.sum(given_back, amount.abs());
                cell.sum(2, payment.earned);
            },
        );
    }

    /// What an account adds to the numbers of customers.
    pub(super) fn of_customer(
        &self,
        account: &str,
        stated: Option<When>,
        churned: Option<When>,
        wins: &[(i64, &str, &Deal)],
        payments: &[&Payment],
        table: &mut Table,
    ) {
        let calendar = &self.definitions.calendar;
        let dims = match self.ids("account").into_iter().find(|id| *id == account) {
            Some(id) => {
                let mut dims = self.dims("account", id);
                dims.insert("segment".into(), self.text("account", id, "segment"));
                dims
            }
            None => Dims::new(),
        };
        let paid: Vec<&&Payment> = payments.iter().filter(|p| p.amount.is_some()).collect();
        let by_day = |when: &When| calendar.day(*when);
        let first_win = wins.first().map(|(_, _, deal)| deal.closed.expect("won"));
        let first_paid = paid.iter().map(|payment| payment.at).min_by_key(by_day);
        let first = [first_win, first_paid].into_iter().flatten();
        if let Some(acquired) = stated.or(first.min_by_key(by_day)) {
            let customers = ("clv.customers", By::Account, &[Grain::Day][..]);
            self.add(table, customers, acquired, &dims, "", |cell| cell.count(0));
            let is_lost = |churned: &When| {
                let at = calendar.instant(*churned);
                wins.iter().all(|(won, _, _)| *won <= at)
                    && paid.iter().all(|p| by_day(&p.at) <= by_day(churned))
            };
            if let Some(lost) = churned.filter(is_lost) {
                self.add(table, customers, lost, &dims, "", |cell| cell.count(1));
            }
            let of_payments = paid.iter().map(|p| (&p.currency, p.earned));
            let of_wins = wins.iter().filter(|(_, _, deal)| deal.has_amount);
            let of_wins = of_wins.map(|(_, _, deal)| (&deal.currency, deal.amount));
            let mut value = |rollup: &str, amounts: Vec<(&String, i128)>| {
                let currencies: BTreeSet<&String> = amounts.iter().map(|(code, _)| *code).collect();
                for (number, currency) in currencies.into_iter().enumerate() {
                    let of_currency = amounts.iter().filter(|(code, _)| *code == currency);
                    let total: i128 = of_currency.map(|(_, amount)| amount).sum();
                    let rollup = (rollup, By::Account, &[Grain::Day][..]);
                    self.add(table, rollup, acquired, &dims, currency, |cell| {
                        cell.count(0);
                        if number == 0 {
                            cell.count(1);
                        }
                        cell.sum(0, total);
                        *cell.sketch.entry(sketch::bucket(total as i64)).or_default() += 1;
                    });
                }
            };
            value("clv.payments", of_payments.collect());
            value("clv.bookings", of_wins.collect());
        }
        self.of_months(&paid, &dims, table);
    }

    /// What comes again from one month to the next.
    fn of_months(&self, paid: &[&&Payment], dims: &Dims, table: &mut Table) {
        let calendar = &self.definitions.calendar;
        let mut totals: BTreeMap<(&String, i32), i128> = BTreeMap::new();
        for payment in paid.iter().filter(|p| p.is_recurring) {
            let month = calendar.month_start(calendar.day(payment.at));
            *totals.entry((&payment.currency, month)).or_default() += payment.amount.unwrap_or(0);
        }
        let rollup = ("retention.recurring", By::Account, &[Grain::Month][..]);
        for (&(currency, month), &total) in totals.iter().filter(|(_, total)| **total > 0) {
            let next = calendar.next_month(month);
            let again = totals.get(&(currency, next)).copied().unwrap_or(0).max(0);
            self.add(table, rollup, When::Date(next), dims, currency, |cell| {
                cell.count(0);
                if again > 0 {
                    cell.count(1);
                }
                cell.sum(0, total);
                cell.sum(1, again);
                cell.sum(2, again.min(total));
            });
            let before = calendar.month_start(month - 1);
            if totals
                .get(&(currency, before))
                .is_none_or(|before| *before <= 0)
            {
                self.add(table, rollup, When::Date(month), dims, currency, |cell| {
                    cell.count(2);
                    cell.sum(3, total);
                });
            }
        }
    }
}
