//! The payment: money that came in or was given back.

use super::declaration::fields;
use super::link::{Link, Projection, Slots};
use super::{Declaration, Held, Key, ReadContext, Readable, Reading, Record, TrackedFields};
use crate::event::{DECIMAL_ONE, Entity, EntitySpec, Placement, When, share};
use crate::symbol::Symbol;

fields!(FIELDS {
    /// Who paid.
    ACCOUNT_ID = "account_id" Latest crate::event::Kind::Reference;
    /// For which deal.
    DEAL_ID = "deal_id" Latest crate::event::Kind::Reference;
    /// For which invoice.
    INVOICE_ID = "invoice_id" Latest crate::event::Kind::Reference;
    /// What kind of payment it is.
    KIND = "kind" Latest crate::event::Kind::Keyword(&["one_off", "recurring", "refund", "credit"]);
    /// How much, of either sign; the kind gives the direction.
    AMOUNT = "amount" Latest crate::event::Kind::Money;
    /// In which currency.
    CURRENCY = "currency" Latest crate::event::Kind::Currency;
    /// When.
    PAID_AT = "paid_at" Latest crate::event::Kind::When;
    /// The share of the amount that is left after its cost.
    MARGIN = "margin" Latest crate::event::Kind::Fraction;
});

/// The entity.
pub static DECLARATION: Declaration = Declaration {
    references: &[(ACCOUNT_ID, Entity::ACCOUNT), (INVOICE_ID, Entity::INVOICE)],
    tracked: TrackedFields {
        status: None,
        owner: None,
        amount: Some(AMOUNT),
        closed_at: Some(PAID_AT),
    },
    reads: &[
        ACCOUNT_ID, INVOICE_ID, KIND, AMOUNT, CURRENCY, PAID_AT, MARGIN,
    ],
    read: |key, record, _, context| Reading::Payment(Payment::new(key, record, context)),
    ..Declaration::of(EntitySpec {
        entity: Entity::PAYMENT,
        name: "payment",
        table: "payments",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// What a payment says to the account that made it and to the invoice it pays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Paid {
    /// When.
    pub at: Option<When>,
    /// How much, in ten-thousandths: below zero if it was given back; none if the source doesn't
    /// say.
    pub amount: Option<i64>,
    /// The part of it that is left after its cost.
    pub earned: Option<i64>,
    /// In which currency.
    pub currency: Symbol,
    /// It comes again every period.
    pub is_recurring: bool,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
}

impl Projection for Paid {
    const KIND: u8 = 6;

    fn pack(&self, out: &mut Slots) {
        out.when(0, self.at);
        out.number(1, self.amount);
        out.number(2, self.earned.filter(|_| self.earned != self.amount));
        out.text(3, self.currency);
        out.number(4, self.is_recurring.then_some(1));
        out.number(5, (self.excluded != 0).then_some(i64::from(self.excluded)));
    }

    fn unpack(&mut self, slot: u8, held: Held) {
        let number = held.number();
        match slot {
            0 => self.at = held.when(),
            // Slots come in order: what is earned is the amount, unless it is said.
            1 => (self.amount, self.earned) = (number, number),
            2 => self.earned = number,
            3 => self.currency = held.text(),
            4 => self.is_recurring = number == Some(1),
            5 => self.excluded = number.unwrap_or_default() as u32,
            _ => {}
        }
    }
}

/// A payment, read through the definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Payment {
    /// The record exists and counts for itself.
    pub live: bool,
    /// What it says: `paid_at`, else the earliest clock, is when.
    pub paid: Paid,
    /// The root of the account that made it.
    pub account: Option<Key>,
    /// The invoice it pays.
    pub invoice: Option<Key>,
}

impl Payment {
    fn new(key: Key, record: &Record, context: ReadContext<'_>) -> Self {
        let first = When::Instant(record.first().unwrap_or_default().time);
        let kind = context.symbols.text(record.text(KIND));
        let stated = record.decimal(AMOUNT);
        let amount = match kind {
            "refund" | "credit" => stated.map(|amount| amount.saturating_abs().saturating_neg()),
            _ => stated,
        };
        let margin = record.decimal(MARGIN).unwrap_or(DECIMAL_ONE);
        Payment {
            live: context.is_live(key, record),
            paid: Paid {
                at: Some(record.when(PAID_AT).unwrap_or(first)),
                amount,
                earned: amount.map(|amount| share(amount, margin)),
                currency: record.text(CURRENCY),
                is_recurring: kind == "recurring",
                excluded: context.excluded(Entity::PAYMENT, record),
            },
            account: context.named(Entity::ACCOUNT, record.text(ACCOUNT_ID)),
            invoice: context.named(Entity::INVOICE, record.text(INVOICE_ID)),
        }
    }
}

impl Readable for Payment {
    fn is_live(&self) -> bool {
        self.live
    }

    fn excluded(&self) -> u32 {
        self.paid.excluded
    }

    /// What was paid, to the account and the invoice.
    fn links_to_send(&self, _key: Key, out: &mut Vec<(Key, Link)>) {
        if self.live {
            let link = Link::of(&self.paid);
            let targets = self.account.into_iter().chain(self.invoice);
            out.extend(targets.map(|target| (target, link.clone())));
        }
    }

    fn last_instant(&self, context: ReadContext<'_>) -> Option<i64> {
        let calendar = &context.compiled.calendar;
        self.paid.at.map(|at| calendar.instant(at))
    }
}
