//! How a record holds a value, and the eight bytes of an element that keep it.

use smallvec::SmallVec;

use crate::event::{Decimal, Field, Stamp, Value, When};
use crate::symbol::{Symbol, Symbols};

/// A value as a record of this shard holds it: small, and meaningful with the shard's [`Symbols`]
/// only.
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
        Held::of(value, |text| symbols.intern(text))
    }

    /// Takes values in, in their order, interning their texts.
    pub fn hold_all<'v>(
        values: impl Iterator<Item = &'v Value<'v>> + Clone,
        symbols: &mut Symbols,
    ) -> impl Iterator<Item = Held> {
        let texts = values.clone().filter_map(|value| match value {
            Value::Text(text) => Some(text.as_ref()),
            _ => None,
        });
        let texts: SmallVec<[Symbol; 16]> = symbols.intern_all(texts).collect();
        let mut texts = texts.into_iter();
        values.map(move |value| Held::of(value, |_| texts.next().unwrap_or_default()))
    }

    fn of(value: &Value<'_>, symbol: impl FnOnce(&str) -> Symbol) -> Held {
        match value {
            Value::Null => Held::Null,
            Value::Text(text) => Held::Text(symbol(text)),
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

    /// The text; blank for anything else.
    pub fn text(self) -> Symbol {
        if let Held::Text(symbol) = self {
            symbol
        } else {
            Symbol::BLANK
        }
    }

    /// The instant or date.
    pub fn when(self) -> Option<When> {
        if let Held::When(when) = self {
            Some(when)
        } else {
            None
        }
    }

    /// The number, in ten-thousandths.
    pub fn number(self) -> Option<i64> {
        if let Held::Decimal(Decimal(number)) = self {
            Some(number)
        } else {
            None
        }
    }

    /// An order of values that is the same in every shard: by kind, then by text or number.
    pub fn order(self, other: Held, symbols: &Symbols) -> std::cmp::Ordering {
        match (self, other) {
            (Held::Text(a), Held::Text(b)) => symbols.text(a).cmp(symbols.text(b)),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(self) -> (u8, u64) {
        match self {
            Held::Null => (0, 0),
            Held::Text(symbol) => (1, u64::from(symbol.0)),
            Held::When(When::Instant(time)) => (2, time as u64),
            Held::When(When::Date(day)) => (3, day as u32 as u64),
            Held::Decimal(Decimal(number)) => (4, number as u64),
            Held::Flag(flag) => (5, u64::from(flag)),
        }
    }
}

/// What an element keeps of a value: all of it, or its position among the record's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    /// Tag and bits hold the value.
    Inline(u16, u32),
    /// The tag; the value is a word of its own.
    Wide(u16, u64),
}

const INSTANT: u16 = 2;
const SECOND: u16 = 6;
const WIDE_DECIMAL: u16 = 7;

/// µs
const A_SECOND: i64 = 1_000_000;

impl Packed {
    #[inline]
    pub fn of(held: Held) -> Packed {
        match held {
            Held::Null => Packed::Inline(0, 0),
            Held::Text(symbol) => Packed::Inline(1, symbol.0),
            // Most sources say when to the second, or are asked for no more.
            Held::When(When::Instant(time)) => match u32::try_from(time.div_euclid(A_SECOND)) {
                Ok(second) if time.rem_euclid(A_SECOND) == 0 => Packed::Inline(SECOND, second),
                _ => Packed::Wide(INSTANT, time as u64),
            },
            Held::When(When::Date(day)) => Packed::Inline(3, day as u32),
            Held::Decimal(Decimal(number)) => match i32::try_from(number) {
                Ok(small) => Packed::Inline(4, small as u32),
                Err(_) => Packed::Wide(WIDE_DECIMAL, number as u64),
            },
            Held::Flag(flag) => Packed::Inline(5, u32::from(flag)),
        }
    }
}

/// One value of one field: eight bytes, since there are twenty to a deal and a history of each
/// change of some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    /// The field in the low thirteen bits, the kind of value above them.
    field_and_tag: u16,
    /// The position of its stamp among the record's words.
    pub stamp: u16,
    /// The value, or its position among the words.
    pub bits: u32,
}

impl Element {
    #[inline]
    pub fn new(field: Field, stamp: u16, tag: u16, bits: u32) -> Element {
        Element {
            field_and_tag: field.0 | tag << 13,
            stamp,
            bits,
        }
    }

    #[inline]
    pub fn field(&self) -> Field {
        Field(self.field_and_tag & (Field::LIMIT - 1))
    }

    /// True if field, kind and bits are the same, whatever the stamps.
    pub fn is_alike(self, other: Element) -> bool {
        (self.field_and_tag, self.bits) == (other.field_and_tag, other.bits)
    }

    /// True if `bits` is the position of a word.
    #[inline]
    pub fn is_wide(&self) -> bool {
        matches!(self.field_and_tag >> 13, INSTANT | WIDE_DECIMAL)
    }

    #[inline]
    pub fn held(&self, words: &[u64]) -> Held {
        let word = || words.get(self.bits as usize).copied().unwrap_or_default();
        match self.field_and_tag >> 13 {
            1 => Held::Text(Symbol(self.bits)),
            INSTANT => Held::When(When::Instant(word() as i64)),
            SECOND => Held::When(When::Instant(i64::from(self.bits) * A_SECOND)),
            3 => Held::When(When::Date(self.bits as i32)),
            4 => Held::Decimal(Decimal(i64::from(self.bits as i32))),
            5 => Held::Flag(self.bits != 0),
            WIDE_DECIMAL => Held::Decimal(Decimal(word() as i64)),
            _ => Held::Null,
        }
    }
}

/// One value of a history, read out with its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamped {
    /// When and where it was asserted.
    pub stamp: Stamp,
    /// The value.
    pub held: Held,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_eight_bytes_and_gives_back_what_it_took() {
        assert_eq!(size_of::<Element>(), 8);
        for held in [
            Held::Null,
            Held::Text(Symbol(u32::MAX)),
            Held::When(When::Instant(i64::MIN)),
            Held::When(When::Instant(0)),
            Held::When(When::Instant(1)),
            Held::When(When::Instant(-A_SECOND)),
            Held::When(When::Instant(1_772_618_400 * A_SECOND)),
            Held::When(When::Instant(i64::from(u32::MAX) * A_SECOND)),
            Held::When(When::Instant((i64::from(u32::MAX) + 1) * A_SECOND)),
            Held::When(When::Date(-1)),
            Held::Decimal(Decimal(i64::MAX)),
            Held::Decimal(Decimal(-1)),
            Held::Decimal(Decimal(i64::from(i32::MIN))),
            Held::Decimal(Decimal(i64::from(i32::MAX) + 1)),
            Held::Flag(true),
            Held::Flag(false),
        ] {
            let mut words = Vec::new();
            let (tag, bits) = match Packed::of(held) {
                Packed::Inline(tag, bits) => (tag, bits),
                Packed::Wide(tag, word) => {
                    words.push(word);
                    (tag, 0)
                }
            };
            let element = Element::new(Field(Field::LIMIT - 1), 7, tag, bits);
            assert_eq!(
                (element.field(), element.stamp, element.held(&words)),
                (Field(Field::LIMIT - 1), 7, held)
            );
        }
    }
}
