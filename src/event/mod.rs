//! Events: what sources say, decoded into assertions about records.

mod batch;
mod bytes;
pub mod decode;
pub mod feed;
pub mod field_value;
pub mod mapping;
mod names;
mod schema;
mod stamp;
mod value;
pub mod wire;

use std::borrow::Cow;

pub use batch::{Batch, BatchField, BatchValue, Entry};
pub use names::{EntityRef, Schema};
pub use schema::{Entity, EntitySpec, Field, FieldSpec, Keep, Kind, Placement, SideInput};
pub use stamp::{Clock, Origin, Stamp, topic_number};
pub use value::{
    DECIMAL_ONE, Decimal, RATE_ONE, Value, is_currency, rate, rounded, scaled, share,
    without_exponent, write_decimal,
};

pub use crate::window::{When, date};

/// What one event says of one record: some of its fields, as of a clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion<'a> {
    /// What kind of record.
    pub entity: Entity,
    /// Its id, qualified by the topic's namespace.
    pub id: Cow<'a, str>,
    /// When it was so, and where it was said.
    pub stamp: Stamp,
    /// The fields asserted; none at all still witnesses that the record exists.
    pub values: Vec<(FieldName<'a>, Value<'a>)>,
}

impl Assertion<'_> {
    /// The same, no longer borrowed.
    pub fn into_owned(self) -> Assertion<'static> {
        let values = self.values.into_iter();
        let values = values.map(|(name, value)| (name.into_owned(), value.into_owned()));
        Assertion {
            entity: self.entity,
            id: self.id.into_owned().into(),
            stamp: self.stamp,
            values: values.collect(),
        }
    }
}

impl FieldName<'_> {
    /// The same, no longer borrowed.
    pub fn into_owned(self) -> FieldName<'static> {
        match self {
            FieldName::Known(field) => FieldName::Known(field),
            FieldName::Custom(name) => FieldName::Custom(name.into_owned().into()),
        }
    }
}

/// A field as an event names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FieldName<'a> {
    /// One of the entity's own.
    Known(Field),
    /// One the organisation added.
    Custom(Cow<'a, str>),
}
