//! Links: what one record says to another's home. A link is a projection of its sender's fields,
//! with a kind; it is the whole of what its sender says to its target.
//!
//! All kinds have one form, a list of slots and values, so that a new kind needs no reader and
//! writer of its own.

use super::Held;
use crate::codec::{Damaged, Reader, Writer};
use crate::event::{Decimal, Value, When};
use crate::symbol::{Symbol, Symbols};
use crate::window::{Dimension, Dims};

/// A link as a shard holds it: its kind, then slots and values in the shard's own symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link(Box<[u8]>);

/// A kind of link: a struct whose fields are the slots.
pub trait Projection: Sized + Default {
    /// The number of the kind in logs and facts: never reused.
    const KIND: u8;

    /// Writes the slots.
    fn pack(&self, out: &mut Slots);

    /// Takes one slot.
    fn unpack(&mut self, slot: u8, held: Held);
}

/// How many slots a link has.
const SLOTS: u8 = 32;
/// The first slot of a link's dimensions.
const FIRST_DIMENSION: u8 = 16;
/// Marks the generic form in logs and facts, so that a kind of the old forms is never taken for it.
const GENERIC: u8 = 0x80;

/// Collects the slots of a link.
#[derive(Debug, Default)]
pub struct Slots {
    writer: Writer,
}

impl Slots {
    /// A value in a slot; nothing is written for none.
    pub fn put(&mut self, slot: u8, held: Held) {
        let (tag, number) = match held {
            Held::Null => return,
            Held::Text(symbol) => (1, u64::from(symbol.0)),
            Held::When(When::Instant(time)) => (2, zigzag(time)),
            Held::When(When::Date(day)) => (3, zigzag(i64::from(day))),
            Held::Decimal(Decimal(number)) => (4, zigzag(number)),
            Held::Flag(flag) => (5 + u8::from(flag), 0),
        };
        self.writer.byte((slot & (SLOTS - 1)) << 3 | tag);
        if tag < 5 {
            self.writer.number(number);
        }
    }

    /// A text; nothing is written for a blank one.
    pub fn text(&mut self, slot: u8, symbol: Symbol) {
        if !symbol.is_blank() {
            self.put(slot, Held::Text(symbol));
        }
    }

    /// A number; nothing is written for none.
    pub fn number(&mut self, slot: u8, number: Option<i64>) {
        if let Some(number) = number {
            self.put(slot, Held::Decimal(Decimal(number)));
        }
    }

    /// An instant or a date, if there is one.
    pub fn when(&mut self, slot: u8, when: Option<When>) {
        if let Some(when) = when {
            self.put(slot, Held::When(when));
        }
    }

    /// The dimensions that have a value.
    pub fn dims(&mut self, dims: &Dims) {
        // Those of a few metrics only are no part of any link.
        for (number, symbol) in dims[..Dimension::FIRST_SPECIAL].iter().enumerate() {
            self.text(FIRST_DIMENSION + number as u8, *symbol);
        }
    }
}

/// Takes a slot that is a dimension.
pub fn unpack_dims(dims: &mut Dims, slot: u8, held: Held) {
    let dimension = usize::from(slot.wrapping_sub(FIRST_DIMENSION));
    if let (Some(place), Held::Text(symbol)) = (dims.get_mut(dimension), held) {
        *place = symbol;
    }
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

impl Link {
    /// A link of a projection.
    pub fn of<P: Projection>(projection: &P) -> Link {
        let mut slots = Slots::default();
        slots.writer.bytes.reserve(64);
        slots.writer.byte(P::KIND);
        projection.pack(&mut slots);
        Link(slots.writer.bytes.into_boxed_slice())
    }

    /// Its kind.
    pub fn kind(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    /// What it says, if it is of the projection's kind.
    pub fn read<P: Projection>(&self) -> Option<P> {
        (self.kind() == P::KIND).then(|| {
            let mut projection = P::default();
            self.slots()
                .for_each(|(slot, held)| projection.unpack(slot, held));
            projection
        })
    }

    fn slots(&self) -> impl Iterator<Item = (u8, Held)> {
        // Made by `Slots` in this shard, so that reading can't fail.
        let mut reader = Reader::new(self.0.get(1..).unwrap_or_default());
        std::iter::from_fn(move || {
            let byte = reader.byte().ok()?;
            let held = match byte & 7 {
                1 => Held::Text(Symbol(reader.number().ok()? as u32)),
                2 => Held::When(When::Instant(unzigzag(reader.number().ok()?))),
                3 => Held::When(When::Date(unzigzag(reader.number().ok()?) as i32)),
                4 => Held::Decimal(Decimal(unzigzag(reader.number().ok()?))),
                tag @ (5 | 6) => Held::Flag(tag == 6),
                _ => Held::Null,
            };
            Some((byte >> 3, held))
        })
    }

    /// Bytes it holds outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        self.0.len()
    }
}

/// Writes a link, or its withdrawal, for logs and facts.
pub fn write(link: Option<&Link>, symbols: &Symbols, writer: &mut Writer) {
    let Some(link) = link else {
        return writer.byte(0);
    };
    writer.byte(GENERIC | link.kind());
    writer.number(link.slots().count() as u64);
    for (slot, held) in link.slots() {
        writer.byte(slot);
        writer.value(&held.show(symbols));
    }
}

/// Reads what [`write`] wrote. `old` reads what versions before the generic form did, by its first
/// byte.
///
/// # Errors
/// If the bytes are damaged.
pub(super) fn read_with(
    reader: &mut Reader<'_>,
    symbols: &mut Symbols,
    old: impl FnOnce(u8, &mut Reader<'_>, &mut Symbols) -> Result<Link, Damaged>,
) -> Result<Option<Link>, Damaged> {
    let kind = match reader.byte()? {
        0 => return Ok(None),
        kind if kind & GENERIC == 0 => return old(kind, reader, symbols).map(Some),
        kind => kind & !GENERIC,
    };
    let mut slots = Slots::default();
    slots.writer.byte(kind);
    for _ in 0..reader.count()? {
        let slot = reader.byte()?;
        let held = Held::hold(&reader.value()?, symbols);
        if slot >= SLOTS {
            return Err(reader.damaged("a slot of a link"));
        }
        slots.put(slot, held);
    }
    Ok(Some(Link(slots.writer.bytes.into_boxed_slice())))
}

/// The same for a value that is read apart, as the old forms had it.
pub(super) fn value_as_number(value: &Value<'_>) -> Result<Option<i64>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::Decimal(decimal) => Ok(Some(decimal.0)),
        _ => Err("a decimal"),
    }
}
