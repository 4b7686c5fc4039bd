//! A record as bytes: everything it holds, in one canonical form, so that equal records are equal
//! bytes in the facts.

use smallvec::SmallVec;

use super::{Cut, Full, Held, Record};
use crate::codec::{Damaged, Reader, Writer};
use crate::event::{EntitySpec, Field, Origin, Stamp, Value};
use crate::symbol::Symbols;

const VERSION: u8 = 2;
/// Of what was cut off a history it has no origins.
const FIRST_VERSION: u8 = 1;
/// Written in place of a field number when a custom field's name follows.
const CUSTOM: u8 = u8::MAX;
const NOT_HELD: u16 = u16::MAX;

/// A record that can't be read back from its bytes.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// Written by another version.
    #[error("a record of format {0}; this version reads format {VERSION}: upgrade dealpulse")]
    Version(u8),
    /// More values than a record holds.
    #[error(transparent)]
    Full(#[from] Full),
}

impl Record {
    /// All of the record as canonical bytes.
    pub fn write_bytes(&self, customs: &CustomFields, symbols: &Symbols, writer: &mut Writer) {
        writer.byte(VERSION);
        writer.byte(u8::from(self.first().is_some()));
        if let Some(first) = self.first() {
            writer.clock(first);
        }
        let (elements, words) = (self.elements(), self.word_count());
        // The rank of each stamp by where it is held.
        let mut ranks: SmallVec<[u16; 96]> = SmallVec::from_elem(NOT_HELD, words);
        let mut stamps: SmallVec<[(Stamp, u16); 12]> = SmallVec::new();
        for (i, element) in elements.iter().enumerate() {
            let rank = &mut ranks[usize::from(element.stamp)];
            if *rank == NOT_HELD {
                *rank = 0;
                stamps.push((self.stamp(i, symbols), element.stamp));
            }
        }
        stamps.sort_unstable_by_key(|(stamp, _)| *stamp);
        let mut distinct = 0;
        for i in 0..stamps.len() {
            distinct += usize::from(i == 0 || stamps[i].0 != stamps[i - 1].0);
            ranks[usize::from(stamps[i].1)] = (distinct - 1) as u16;
        }
        writer.number(distinct as u64);
        stamps.dedup_by_key(|(stamp, _)| *stamp);
        stamps.iter().for_each(|(stamp, _)| writer.stamp(stamp));

        writer.number(elements.len() as u64);
        let mut element = |i: usize| {
            let element = elements[i];
            write_field(writer, element.field(), customs);
            writer.number(u64::from(ranks[usize::from(element.stamp)]));
            writer.value(&self.held(i).show(symbols));
        };
        match self.custom_order(customs) {
            Some(order) => order.into_iter().for_each(element),
            None => (0..elements.len()).for_each(&mut element),
        }
        let mut cuts = self.cuts().to_vec();
        cuts.sort_by(|a, b| {
            a.field
                .cmp(&b.field)
                .then_with(|| a.held.order(b.held, symbols))
        });
        writer.number(cuts.len() as u64);
        for cut in &cuts {
            write_field(writer, cut.field, customs);
            writer.value(&cut.held.show(symbols));
            writer.stamp(&cut.earliest);
            writer.stamp(&cut.latest);
        }
    }

    /// The record as [`Record::write_bytes`] writes it.
    pub fn to_bytes(&self, customs: &CustomFields, symbols: &Symbols) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write_bytes(customs, symbols, &mut writer);
        writer.bytes
    }

    /// The record that [`Record::write_bytes`] wrote, of this version or an earlier one.
    ///
    /// # Errors
    /// If the bytes are damaged or of another version.
    pub fn from_bytes(
        spec: &EntitySpec,
        bytes: &[u8],
        customs: &mut CustomFields,
        symbols: &mut Symbols,
    ) -> Result<Record, BlobError> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if !(FIRST_VERSION..=VERSION).contains(&version) {
            return Err(BlobError::Version(version));
        }
        let mut record = Record::default();
        if reader.byte()? == 1 {
            record.witness(reader.clock()?);
        }
        let mut stamps: SmallVec<[Stamp; 12]> = SmallVec::new();
        for _ in 0..reader.count()? {
            stamps.push(reader.stamp()?);
        }
        let mut values: SmallVec<[(Option<Field>, u16, Value<'_>); 48]> = SmallVec::new();
        for _ in 0..reader.count()? {
            let field = read_field(&mut reader, customs)?;
            let stamp: u16 = reader.narrow()?;
            if usize::from(stamp) >= stamps.len() {
                return Err(BlobError::Damaged(Damaged {
                    at: 0,
                    what: "the index of a stamp",
                }));
            }
            values.push((field, stamp, reader.value()?));
        }
        let held = Held::hold_all(values.iter().map(|(.., value)| value), symbols);
        let elements = values.iter().zip(held);
        let elements =
            elements.filter_map(|((field, stamp, _), held)| Some(((*field)?, *stamp, held)));
        let elements: SmallVec<[(Field, u16, Held); 48]> = elements.collect();
        // Written in order, except that custom fields are numbered otherwise here.
        if !record.fill(&stamps, &elements, symbols)? {
            for (field, stamp, held) in elements {
                let stamp = stamps[usize::from(stamp)];
                record.assert(field, spec.spec(field).keep, stamp, held, symbols)?;
            }
        }
        for _ in 0..reader.count()? {
            let field = read_field(&mut reader, customs)?;
            let held = Held::hold(&reader.value()?, symbols);
            let mut end = || match version {
                FIRST_VERSION => Ok(Stamp {
                    clock: reader.clock()?,
                    origin: Origin::default(),
                }),
                _ => reader.stamp(),
            };
            let (earliest, latest) = (end()?, end()?);
            if let Some(field) = field {
                record.cut(Cut {
                    field,
                    held,
                    earliest,
                    latest,
                });
            }
        }
        Ok(record)
    }

    /// The order of the elements, if it is not the one they are held in: custom fields are numbered
    /// as the shard met them, and their names put them in an order all shards share.
    fn custom_order(&self, customs: &CustomFields) -> Option<Vec<usize>> {
        let elements = self.elements();
        let last = elements.last().map_or(0, |e| e.field().0);
        (last >= Field::FIRST_CUSTOM).then(|| {
            let mut order: Vec<usize> = (0..elements.len()).collect();
            order.sort_by(|a, b| {
                let (a, b) = (elements[*a].field(), elements[*b].field());
                customs.name(a).cmp(&customs.name(b)).then(a.cmp(&b))
            });
            order
        })
    }
}

fn write_field(writer: &mut Writer, field: Field, customs: &CustomFields) {
    match customs.name(field) {
        Some(name) => {
            writer.byte(CUSTOM);
            writer.text(name);
        }
        None => writer.byte(field.0 as u8),
    }
}

fn read_field(
    reader: &mut Reader<'_>,
    customs: &mut CustomFields,
) -> Result<Option<Field>, Damaged> {
    match reader.byte()? {
        CUSTOM => Ok(customs.number(reader.text()?)),
        number => Ok(Some(Field(u16::from(number)))),
    }
}

/// The custom fields a shard has met: their names by number.
#[derive(Debug, Clone, Default)]
pub struct CustomFields {
    names: Vec<String>,
    numbers: rustc_hash::FxHashMap<String, u16>,
}

impl CustomFields {
    /// The number of a custom field, new or known; `None` past 8,128 distinct names, more than any
    /// CRM allows.
    pub fn number(&mut self, name: &str) -> Option<Field> {
        if let Some(number) = self.numbers.get(name) {
            return Some(Field(*number));
        }
        let number = Field::FIRST_CUSTOM + u16::try_from(self.names.len()).ok()?;
        if number >= Field::LIMIT {
            return None;
        }
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Some(Field(number))
    }

    /// The number of a custom field that was met before.
    pub fn find(&self, name: &str) -> Option<Field> {
        self.numbers.get(name).map(|number| Field(*number))
    }

    /// The name of a custom field; `None` for a canonical one.
    pub fn name(&self, field: Field) -> Option<&str> {
        self.names
            .get(field.0.checked_sub(Field::FIRST_CUSTOM)? as usize)
            .map(String::as_str)
    }
}
