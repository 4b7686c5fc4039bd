//! What invoices add: what was issued and paid, how soon, what is open, and what payments brought
//! in.

use dealpulse::event::When;
use dealpulse::window::Grain;

use super::cells::{By, HOURS_AND_DAYS, Table};
use super::money::Payment;
use super::{Dims, Oracle};

impl<'e> Oracle<'e> {
    pub(super) fn of_invoices(&self, payments: &[Payment], table: &mut Table) {
        for id in self.ids("invoice") {
            if self.is_live("invoice", id) {
                self.of_invoice(id, table);
            }
        }
        for payment in payments {
            let Some(named) = payment.invoice.as_deref() else {
                continue;
            };
            let mut known = self.ids("invoice").into_iter();
            let invoice = known.find(|id| *id == named && self.is_live("invoice", id));
            let owner = invoice.map(|id| self.text("invoice", id, "owner_id"));
            let dims = Dims::from([("owner".into(), owner.unwrap_or_default())]);
            let amount = (payment.amount, &*payment.currency);
            self.add_amount(table, "invoices.collected", payment.at, &dims, amount);
        }
    }

    fn of_invoice(&self, id: &'e str, table: &mut Table) {
        let status = self.text("invoice", id, "status");
        if ["draft", "cancelled"].contains(&&*status) {
            return;
        }
        let when = |field| self.when("invoice", id, field);
        let first = self.first("invoice", id);
        let issued = when("issued_at").unwrap_or(first);
        let dims = Dims::from([("owner".into(), self.text("invoice", id, "owner_id"))]);
        let currency = self.text("invoice", id, "currency");
        let amount = (self.decimal("invoice", id, "amount"), &*currency);
        self.add_amount(table, "invoices.issued", issued, &dims, amount);
        if status == "paid" || status.is_empty() && when("paid_at").is_some() {
            let history = self.history("invoice", id, "status");
            let run = history.iter().rev().take_while(|s| s.value == Some("paid"));
            let since = run.last().map(|said| When::Instant(said.clock.0));
            let paid = when("paid_at").or(since).expect("paid since");
            self.add_amount(table, "invoices.paid", paid, &dims, amount);
            let rollup = ("invoices.time_to_pay", By::Owner);
            self.add_span(table, rollup, issued, paid, &dims);
        } else {
            let due = when("due_at").unwrap_or(When::Date(i32::MAX));
            self.add_amount(table, "invoices.open", due, &dims, amount);
        }
    }

    fn add_amount(
        &self,
        table: &mut Table,
        rollup: &str,
        at: When,
        dims: &Dims,
        (amount, currency): (Option<i128>, &str),
    ) {
        let grains = match rollup {
            "invoices.open" => &[Grain::Day],
            _ => HOURS_AND_DAYS,
        };
        self.add(
            table,
            (rollup, By::Owner, grains),
            at,
            dims,
            currency,
            |cell| {
                cell.count(0);
                match amount {
                    Some(amount) => cell.sum(0, amount),
                    None => cell.count(1),
                }
            },
        );
    }
}
