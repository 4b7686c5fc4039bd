//! Invoices and payments: what a won deal is billed for, how it is paid, and what is given back.

use super::account::account_key;
use super::calendar::{DAY, HOUR, at_work};
use super::company::{Currency, PRODUCTS};
use super::deal::{Deal, deal_key};
use super::event::Event;
use super::plan::Plan;
use super::world::{Task, World};

/// How long a customer has to pay.
const TERM: i64 = 30 * DAY;

/// What an invoice or a payment is for.
#[derive(Clone, Copy)]
pub(super) struct Billed {
    pub(super) account: Option<u32>,
    pub(super) deal: Option<u32>,
    pub(super) currency: Currency,
    /// In the currency's smallest unit.
    pub(super) amount: i64,
}

/// An invoice with events still to come.
pub(super) struct Invoice {
    id: u32,
    billed: Billed,
    plan: Plan<InvoiceStep>,
}

enum InvoiceStep {
    Issue,
    /// The first half comes.
    PayHalf,
    /// What is open comes, after a half or not.
    Pay {
        after_half: bool,
    },
    Cancel,
}

/// A payment that something is still to happen to.
pub(super) struct Payment {
    id: u32,
    invoice: Option<u32>,
    billed: Billed,
    step: PaymentStep,
}

enum PaymentStep {
    /// So much is given back.
    Refund(i64),
    /// So much is credited.
    Credit(i64),
    /// It had been entered with another amount.
    Correct,
    /// It had been entered twice.
    Delete,
}

fn invoice_key(invoice: u32) -> String {
    format!("I-{invoice}")
}

fn payment_key(payment: u32) -> String {
    format!("P-{payment}")
}

impl World {
    /// A won deal is paid for: by the month if the product is subscribed to, else once.
    pub(super) fn bill(&mut self, at: i64, deal: &Deal) {
        let account = deal.account.map(|account| self.root_of(account));
        let billed = Billed {
            account,
            deal: Some(deal.id),
            currency: deal.currency,
            amount: deal.amount,
        };
        match account {
            Some(account) if PRODUCTS[usize::from(deal.product)].is_subscription => {
                self.subscribe(at, account, deal.product, billed, deal.kind);
            }
            _ => self.draft_invoice(at, deal.owner, billed),
        }
    }

    fn draft_invoice(&mut self, at: i64, owner: u8, billed: Billed) {
        self.invoices += 1;
        let invoice = Invoice {
            id: self.invoices,
            billed,
            plan: self.plan_invoice(at, owner),
        };
        let event = self.event("invoice", "upserted", invoice_key(invoice.id), at);
        let event = self
            .bill_to(event, &billed)
            .text("owner_id", &self.reps.get(owner).id)
            .text("number", &format!("INV-{:06}", invoice.id))
            .text("status", "draft");
        self.publish(event);
        self.follow_invoice(invoice);
    }

    fn plan_invoice(&mut self, at: i64, owner: u8) -> Plan<InvoiceStep> {
        let offset = self.offset_of_rep(owner);
        let issued = at + self.random.long_tailed(2 * DAY);
        let issued = at_work(issued, offset, &mut self.random);
        let due = issued + TERM;
        let mut steps = vec![(issued, InvoiceStep::Issue)];
        let paid = match self.random.weighted([620, 250, 70, 60].into_iter()) {
            0 => due - self.random.between(0, 25 * DAY),
            1 => due + self.random.long_tailed(12 * DAY),
            2 => {
                let cancelled = issued + self.random.between(DAY, 40 * DAY);
                steps.push((cancelled, InvoiceStep::Cancel));
                return Plan::of(steps);
            }
            // Overdue for ever.
            _ => return Plan::of(steps),
        };
        let after_half = self.random.chance(100);
        if after_half {
            steps.push((paid, InvoiceStep::PayHalf));
        }
        let rest = if after_half {
            self.random.between(DAY, 30 * DAY)
        } else {
            0
        };
        steps.push((paid + rest, InvoiceStep::Pay { after_half }));
        Plan::of(steps)
    }

    fn bill_to(&self, event: Event, billed: &Billed) -> Event {
        event
            .maybe_text("account_id", billed.account.map(account_key).as_deref())
            .maybe_text("deal_id", billed.deal.map(deal_key).as_deref())
            .money("amount", billed.amount, billed.currency)
            .text("currency", billed.currency.code())
    }

    fn follow_invoice(&mut self, invoice: Invoice) {
        if let Some(at) = invoice.plan.next_at() {
            self.schedule(at, Task::Invoice(Box::new(invoice)));
        }
    }

    pub(super) fn step_invoice(&mut self, at: i64, mut invoice: Invoice) {
        let whole = invoice.billed;
        let half = whole.amount / 2;
        let Some(step) = invoice.plan.take() else {
            return;
        };
        let part = match step {
            InvoiceStep::PayHalf => Some(half),
            InvoiceStep::Pay { after_half: true } => Some(whole.amount - half),
            InvoiceStep::Pay { after_half: false } => Some(whole.amount),
            InvoiceStep::Issue | InvoiceStep::Cancel => None,
        };
        if let Some(amount) = part {
            let billed = Billed { amount, ..whole };
            self.receive(at, "one_off", Some(invoice.id), billed);
        }
        if !matches!(step, InvoiceStep::PayHalf) {
            let event = self.event("invoice", "upserted", invoice_key(invoice.id), at);
            let event = match step {
                InvoiceStep::Issue => event
                    .text("status", "issued")
                    .instant("issued_at", at)
                    .date("due_at", at + TERM, 0),
                InvoiceStep::Cancel => event.text("status", "cancelled"),
                InvoiceStep::Pay { .. } | InvoiceStep::PayHalf => {
                    event.text("status", "paid").instant("paid_at", at)
                }
            };
            self.publish(event);
        }
        self.follow_invoice(invoice);
    }

    /// Money comes in; a little of it is not the end of it.
    pub(super) fn receive(&mut self, at: i64, kind: &str, invoice: Option<u32>, billed: Billed) {
        let fate = self.random.below(1000);
        let is_wrong = self.random.chance(self.config.faults.corrected / 2);
        let entered = Billed {
            amount: match is_wrong {
                true => billed.amount * self.random.between(80, 130) / 100,
                false => billed.amount,
            },
            ..billed
        };
        let id = self.enter_payment(at, kind, invoice, entered);
        let step = match fate {
            _ if is_wrong => PaymentStep::Correct,
            0..35 => PaymentStep::Refund(self.part_of(&billed, 100)),
            35..55 => PaymentStep::Credit(self.part_of(&billed, 15)),
            55..60 => PaymentStep::Delete,
            _ => return,
        };
        // Of one that was entered twice, the second goes.
        let id = match step {
            PaymentStep::Delete => self.enter_payment(at, kind, invoice, billed),
            _ => id,
        };
        let noticed = at + self.random.between(HOUR, 30 * DAY);
        let payment = Payment {
            id,
            invoice,
            billed,
            step,
        };
        self.schedule(noticed, Task::Payment(Box::new(payment)));
    }

    /// Up to that many per cent of what was billed.
    fn part_of(&mut self, billed: &Billed, most: i64) -> i64 {
        (billed.amount * self.random.between(5, most) / 100).max(1)
    }

    fn enter_payment(&mut self, at: i64, kind: &str, invoice: Option<u32>, paid: Billed) -> u32 {
        self.payments += 1;
        let event = self.event("payment", "upserted", payment_key(self.payments), at);
        let mut event = self
            .bill_to(event, &paid)
            .maybe_text("invoice_id", invoice.map(invoice_key).as_deref())
            .text("kind", kind);
        // Some come without a date: then the time of the event has to serve.
        event = match self.random.below(100) {
            0..5 => event,
            5..20 => event.date("paid_at", at, 0),
            _ => event.instant("paid_at", at),
        };
        if self.random.chance(850) {
            let left = self.random.between(55, 90);
            event = event.number("margin", format!("0.{left}"));
        }
        self.publish(event);
        self.payments
    }

    pub(super) fn step_payment(&mut self, at: i64, payment: Payment) {
        let Payment {
            id,
            invoice,
            billed,
            step,
        } = payment;
        match step {
            PaymentStep::Refund(amount) => {
                self.enter_payment(at, "refund", invoice, Billed { amount, ..billed });
            }
            PaymentStep::Credit(amount) => {
                self.enter_payment(at, "credit", invoice, Billed { amount, ..billed });
            }
            PaymentStep::Correct => {
                let event = self
                    .event("payment", "upserted", payment_key(id), at)
                    .money("amount", billed.amount, billed.currency);
                self.publish(event);
            }
            PaymentStep::Delete => {
                let event = self.event("payment", "deleted", payment_key(id), at);
                self.publish(event);
            }
        }
    }
}
