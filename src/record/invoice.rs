//! The invoice: what an account was billed.

use super::declaration::fields;
use super::{Declaration, Key, ReadContext, Readable, Reading, Record, TrackedFields};
use crate::event::{Entity, EntitySpec, Placement, When};
use crate::symbol::Symbol;

fields!(FIELDS {
    /// Who is to pay.
    ACCOUNT_ID = "account_id" Latest crate::event::Kind::Reference;
    /// For which deal.
    DEAL_ID = "deal_id" Latest crate::event::Kind::Reference;
    /// Whose sale it is.
    OWNER_ID = "owner_id" Latest crate::event::Kind::Reference;
    /// Its number, as printed.
    NUMBER = "number" Latest crate::event::Kind::Text;
    /// How much.
    AMOUNT = "amount" Latest crate::event::Kind::Money;
    /// In which currency.
    CURRENCY = "currency" Latest crate::event::Kind::Currency;
    /// When it was sent.
    ISSUED_AT = "issued_at" Latest crate::event::Kind::When;
    /// By when it is to be paid.
    DUE_AT = "due_at" Latest crate::event::Kind::When;
    /// When it was paid.
    PAID_AT = "paid_at" Latest crate::event::Kind::When;
    /// How far it got.
    STATUS = "status" History crate::event::Kind::Keyword(&["draft", "issued", "paid", "cancelled"]);
});

/// The entity.
pub static DECLARATION: Declaration = Declaration {
    tracked: TrackedFields {
        status: Some(STATUS),
        owner: Some(OWNER_ID),
        amount: Some(AMOUNT),
        closed_at: Some(PAID_AT),
    },
    reads: &[
        OWNER_ID, AMOUNT, CURRENCY, ISSUED_AT, DUE_AT, PAID_AT, STATUS,
    ],
    read: |key, record, _, context| Reading::Invoice(Invoice::new(key, record, context)),
    ..Declaration::of(EntitySpec {
        entity: Entity::INVOICE,
        name: "invoice",
        table: "invoices",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// An invoice, read through the definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Invoice {
    /// The record exists and counts for itself.
    pub live: bool,
    /// It was sent: neither a draft nor cancelled.
    pub is_issued: bool,
    /// When it was sent: `issued_at`, else the earliest clock.
    pub issued_at: When,
    /// By when it is to be paid.
    pub due_at: Option<When>,
    /// When it was paid, if it is: `paid_at`, else since it has the status `paid`.
    pub paid_at: Option<When>,
    /// How much, in ten-thousandths.
    pub amount: Option<i64>,
    /// In which currency.
    pub currency: Symbol,
    /// Whose sale it is.
    pub owner: Symbol,
    /// The metrics it is left out of, a bit each.
    pub excluded: u32,
}

impl Invoice {
    fn new(key: Key, record: &Record, context: ReadContext<'_>) -> Self {
        let first = When::Instant(record.first().unwrap_or_default().time);
        let status = context.symbols.text(record.text(STATUS));
        let stated = record.when(PAID_AT);
        let since_status = || Some(When::Instant(record.last_run(STATUS)?.since.time));
        // A source without statuses says by the date alone that it was paid.
        let is_paid = status == "paid" || status.is_empty() && stated.is_some();
        Invoice {
            live: context.is_live(key, record),
            is_issued: !matches!(status, "draft" | "cancelled"),
            issued_at: record.when(ISSUED_AT).unwrap_or(first),
            due_at: record.when(DUE_AT),
            paid_at: is_paid.then(|| stated.or_else(since_status).unwrap_or(first)),
            amount: record.decimal(AMOUNT),
            currency: record.text(CURRENCY),
            owner: record.text(OWNER_ID),
            excluded: context.excluded(Entity::INVOICE, record),
        }
    }
}

impl Readable for Invoice {
    fn is_live(&self) -> bool {
        self.live
    }

    fn excluded(&self) -> u32 {
        self.excluded
    }

    fn last_instant(&self, context: ReadContext<'_>) -> Option<i64> {
        let calendar = &context.compiled.calendar;
        let paid = self.paid_at.map(|paid| calendar.instant(paid));
        let issued = calendar.instant(self.issued_at);
        Some(paid.map_or(issued, |paid| paid.max(issued)))
    }
}
