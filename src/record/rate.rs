//! The exchange rate: what one unit of a currency is worth in another on a day.

use super::Declaration;
use super::declaration::fields;
use crate::event::{Entity, EntitySpec, Placement};

fields!(FIELDS {
    /// The currency of which one unit is meant.
    BASE = "base" Latest crate::event::Kind::Currency;
    /// The currency that unit is counted in.
    CURRENCY = "currency" Latest crate::event::Kind::Currency;
    /// How many units of `currency` one unit of `base` is.
    RATE = "rate" Latest crate::event::Kind::Rate;
    /// The day from which it holds, until the next one.
    DAY = "day" Latest crate::event::Kind::When;
});

/// The entity. Nothing is counted of a rate: amounts by day are converted where they are read.
pub static DECLARATION: Declaration = Declaration::of(EntitySpec {
    entity: Entity::RATE,
    name: "rate",
    table: "rates",
    placement: Placement::Home,
    fields: FIELDS,
});
