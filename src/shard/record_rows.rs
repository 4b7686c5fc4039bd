//! Rows of records in the bytes they are inserted from.

use bytes::Bytes;

use super::columns::{self, Column, Columns, SHOWN};
use crate::codec::{Reader, Writer};
use crate::event::{Clock, Decimal, Entity, Field, FieldSpec, Kind, Value, When, rate};
use crate::record::{CustomFields, Held, Key, Record, declared};
use crate::symbol::Symbols;

/// One record: its id, its fields as columns for whoever asks the facts, and all of it as bytes,
/// which a restart reads.
#[derive(Clone, PartialEq)]
pub struct RecordRow {
    /// What kind of record.
    pub entity: Entity,
    /// The columns [`RecordRow::columns`], in memory shared with other rows.
    bytes: Bytes,
    /// Where the record begins.
    state: u32,
}

/// Rows are written side by side into so many bytes. An allocation a row would leave holes among
/// the records when the rows are gone.
const BLOCK: usize = 1 << 18;

/// Collects rows.
#[derive(Default)]
pub(super) struct RecordRows {
    rows: Vec<RecordRow>,
    /// The rows that are not among them yet: what kind of record, where the row ends, and how long
    /// the record in it is.
    written: Vec<(Entity, usize, usize)>,
    block: Writer,
    state: Writer,
}

impl RecordRows {
    pub fn push(&mut self, key: Key, record: &Record, customs: &CustomFields, symbols: &Symbols) {
        let (counting, fields) = (record.counting(), 0..key.entity.fields().len() as u16);
        let shown = fields.map(|field| counting.latest(Field(field)).show(symbols));
        let custom = record.custom_fields().filter_map(|field| {
            let Held::Text(text) = record.latest(field) else {
                return None; // cleared
            };
            Some((customs.name(field)?, symbols.text(text)))
        });
        let mut custom: Vec<(&str, &str)> = custom.collect();
        custom.sort_unstable();
        let (row, state) = (&mut self.block, &mut self.state);
        state.bytes.clear();
        record.write_bytes(customs, symbols, state);
        RecordRow::begin(row, key.entity, symbols.text(key.id), shown, &custom);
        for field in declared(key.entity).dated {
            history(row, record, *field, symbols);
        }
        row.blob(&state.bytes);
        let (end, length) = (row.bytes.len(), state.bytes.len());
        self.written.push((key.entity, end, length));
        if end >= BLOCK {
            self.seal();
        }
    }

    fn seal(&mut self) {
        let block = Bytes::from(std::mem::take(&mut self.block.bytes));
        let mut from = 0;
        for (entity, end, length) in self.written.drain(..) {
            let bytes = block.slice(from..end);
            from = end;
            self.rows.push(RecordRow::of_bytes(entity, bytes, length));
        }
    }

    /// All that were pushed.
    pub fn finish(mut self) -> Vec<RecordRow> {
        self.seal();
        self.rows
    }
}

impl RecordRow {
    /// A row by its parts: the value of each field in order, custom fields by name. Its dated
    /// histories are empty.
    pub fn new<'v>(
        entity: Entity,
        id: &str,
        shown: impl IntoIterator<Item = Value<'v>>,
        custom: &[(&str, &str)],
        state: &[u8],
    ) -> Self {
        let mut row = Writer::default();
        Self::begin(&mut row, entity, id, shown, custom);
        declared(entity).dated.iter().for_each(|_| row.number(0));
        row.blob(state);
        Self::of_bytes(entity, row.bytes.into(), state.len())
    }

    /// Writes all columns up to those of the dated histories.
    fn begin<'v>(
        row: &mut Writer,
        entity: Entity,
        id: &str,
        shown: impl IntoIterator<Item = Value<'v>>,
        custom: &[(&str, &str)],
    ) {
        row.text(id);
        for (spec, value) in entity.fields().iter().zip(shown) {
            show(row, spec, &value);
        }
        row.number(custom.len() as u64);
        for (name, text) in custom {
            row.text(name);
            row.text(text);
        }
    }

    fn of_bytes(entity: Entity, bytes: Bytes, state: usize) -> Self {
        RecordRow {
            entity,
            state: (bytes.len() - state) as u32,
            bytes,
        }
    }

    /// The same row in memory of its own: one that is kept would keep all that share its memory.
    pub fn detached(&self) -> RecordRow {
        RecordRow {
            bytes: Bytes::copy_from_slice(&self.bytes),
            ..*self
        }
    }

    /// The columns of the row of an entity, in their order.
    pub fn columns(entity: Entity) -> Vec<Column> {
        let fields = entity.fields();
        let mut columns = vec![Column::new("id", columns::Kind::Text)];
        columns.extend(
            fields
                .iter()
                .map(|field| Column::new(field.name, shown(field))),
        );
        columns.push(Column::new(
            "custom",
            columns::Kind::Map(&[columns::Kind::Text; 2]),
        ));
        columns.extend(declared(entity).dated.iter().map(|field| {
            let name = format!("{}_history", fields[usize::from(field.0)].name);
            Column::new(name, HISTORY)
        }));
        columns.push(Column::new("state", columns::Kind::Text));
        columns
    }

    /// The row as it is inserted.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The record's id.
    pub fn id(&self) -> &str {
        // Written by this very type.
        Reader::new(&self.bytes).text().unwrap_or_default()
    }

    /// The whole record; what a restart reads.
    pub fn state(&self) -> &[u8] {
        &self.bytes[self.state as usize..]
    }
}

impl std::fmt::Debug for RecordRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordRow")
            .field("entity", &self.entity.name())
            .field("id", &self.id())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// What [`history`] writes.
const HISTORY: columns::Kind = columns::Kind::List(&[columns::Kind::INSTANT, columns::Kind::Text]);

/// Writes the texts a field had, each with its time, as Array(Tuple(DateTime64(6), String)): of
/// those of one clock the one that counts.
fn history(row: &mut Writer, record: &Record, field: Field, symbols: &Symbols) {
    let mut dated: Vec<(Clock, Held)> = Vec::new();
    for (clock, held) in record.history(field) {
        match dated.last_mut() {
            Some(last) if last.0 == clock => last.1 = held,
            _ => dated.push((clock, held)),
        }
    }
    row.number(dated.len() as u64);
    for (clock, held) in dated {
        row.fixed(clock.time.clamp(SHOWN.start, SHOWN.end - 1).to_le_bytes());
        match held.show(symbols) {
            Value::Text(text) => row.text(&text),
            _ => row.text(""),
        }
    }
}

/// What [`show`] writes of a field.
fn shown(spec: &FieldSpec) -> columns::Kind {
    match spec.kind {
        Kind::Text | Kind::Keyword(_) | Kind::Reference | Kind::Currency => columns::Kind::Text,
        Kind::When => columns::Kind::WHEN,
        Kind::Money | Kind::Fraction => columns::Kind::DECIMAL,
        Kind::Rate => columns::Kind::RATE,
        Kind::Flag if spec.name == "deleted" => columns::Kind::BYTE,
        Kind::Flag => columns::Kind::FLAG,
    }
}

/// Writes what is shown of a field; nothing for a value of another kind.
fn show(row: &mut Writer, spec: &FieldSpec, value: &Value<'_>) {
    match spec.kind {
        Kind::Text | Kind::Keyword(_) | Kind::Reference | Kind::Currency => match value {
            Value::Text(text) => row.text(text),
            _ => row.text(""),
        },
        Kind::When => {
            let when: Option<When> = match value {
                Value::When(when) => Some(*when),
                _ => None,
            };
            Columns::when(row, when);
        }
        Kind::Money | Kind::Fraction => row.decimal(match value {
            Value::Decimal(Decimal(number)) => Some(*number),
            _ => None,
        }),
        Kind::Rate => row.rate(match value {
            Value::Text(text) => rate(text),
            _ => None,
        }),
        Kind::Flag if spec.name == "deleted" => row.byte(u8::from(*value == Value::Flag(true))),
        Kind::Flag => row.flag(match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }),
    }
}
