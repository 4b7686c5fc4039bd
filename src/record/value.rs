//! How a record holds a value: twelve bytes that name the field, the stamp and the value itself.

use super::{Field, Stamp, Symbol, Symbols};
use crate::event::{Decimal, Value, When};

/// A value as a record of this shard holds it: small, and meaningful with the shard's [`Symbols`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// Explicitly nothing.
    Null,
    /// Text, a keyword or a reference.
    Text(Symbol),
    /// An instant or a date.
    When(When),
    /// Ten-thousandths.
    Decimal(Decimal),
    /// True or false.
    Flag(bool),
}

impl Held {
    /// Takes a value in, interning its text.
    pub fn hold(value: &Value<'_>, symbols: &mut Symbols) -> Held {
        match value {
            Value::Null => Held::Null,
            Value::Text(text) => Held::Text(symbols.intern(text)),
            Value::When(when) => Held::When(*when),
            Value::Decimal(decimal) => Held::Decimal(*decimal),
            Value::Flag(flag) => Held::Flag(*flag),
        }
    }

    /// The value with its text.
    pub fn show<'s>(self, symbols: &'s Symbols) -> Value<'s> {
        match self {
            Held::Null => Value::Null,
            Held::Text(symbol) => Value::Text(symbols.text(symbol).into()),
            Held::When(when) => Value::When(when),
            Held::Decimal(decimal) => Value::Decimal(decimal),
            Held::Flag(flag) => Value::Flag(flag),
        }
    }

    fn pack(self) -> (u16, u64) {
        match self {
            Held::Null => (0, 0),
            Held::Text(symbol) => (1, u64::from(symbol.0)),
            Held::When(When::Instant(t)) => (2, t as u64),
            Held::When(When::Date(d)) => (3, d as u32 as u64),
            Held::Decimal(d) => (4, d.0 as u64),
            Held::Flag(f) => (5, u64::from(f)),
        }
    }

    fn unpack(tag: u16, bits: u64) -> Held {
        match tag {
            1 => Held::Text(Symbol(bits as u32)),
            2 => Held::When(When::Instant(bits as i64)),
            3 => Held::When(When::Date(bits as u32 as i32)),
            4 => Held::Decimal(Decimal(bits as i64)),
            5 => Held::Flag(bits != 0),
            _ => Held::Null,
        }
    }

    /// An order of values that is the same in every shard: by kind, then by text or number.
    pub fn order(self, other: Held, symbols: &Symbols) -> std::cmp::Ordering {
        match (self, other) {
            (Held::Text(a), Held::Text(b)) => symbols.text(a).cmp(symbols.text(b)),
            _ => self.pack().cmp(&other.pack()),
        }
    }
}

/// One value of one field, with the index of its stamp in the record. Twelve bytes, since there are twenty to a deal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    /// The field in the low thirteen bits, the kind of value above them.
    field_and_tag: u16,
    pub stamp: u16,
    bits: [u32; 2],
}

impl Element {
    pub fn new(field: Field, stamp: u16, held: Held) -> Element {
        let (tag, bits) = held.pack();
        Element {
            field_and_tag: field.0 | tag << 13,
            stamp,
            bits: [bits as u32, (bits >> 32) as u32],
        }
    }

    pub fn field(&self) -> Field {
        Field(self.field_and_tag & (Field::LIMIT - 1))
    }

    pub fn held(&self) -> Held {
        Held::unpack(
            self.field_and_tag >> 13,
            u64::from(self.bits[0]) | u64::from(self.bits[1]) << 32,
        )
    }
}

/// One value of a history, read out with its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamped {
    /// When and where it was said.
    pub stamp: Stamp,
    /// What was said.
    pub held: Held,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_twelve_bytes_and_gives_back_what_it_took() {
        assert_eq!(size_of::<Element>(), 12);
        for held in [
            Held::Null,
            Held::Text(Symbol(u32::MAX)),
            Held::When(When::Instant(i64::MIN)),
            Held::When(When::Date(-1)),
            Held::Decimal(Decimal(i64::MAX)),
            Held::Flag(true),
            Held::Flag(false),
        ] {
            let element = Element::new(Field(Field::LIMIT - 1), 7, held);
            assert_eq!(
                (element.field(), element.stamp, element.held()),
                (Field(Field::LIMIT - 1), 7, held)
            );
        }
    }
}
