//! The field value: what one field of another record is, as a record of its own. A row of a table
//! of custom fields is one.
//!
//! It tells the record it is about by assertions, so that everything that follows from that
//! record's own fields follows from these, too: its facts, its history, what it tells others, the
//! metrics.

use super::declaration::fields;
use super::value::Stamped;
use super::{Declaration, Held, Record, SCHEMA};
use crate::event::field_value::{Assignment, FieldValues};
use crate::event::{Assertion, Clock, Entity, EntitySpec, FieldName, Placement, Stamp, Value};
use crate::symbol::Symbols;

fields!(FIELDS {
    /// What kind of record it is about.
    ENTITY = "entity" Latest crate::event::Kind::Text;
    /// Which record of that kind.
    RECORD_ID = "record_id" Latest crate::event::Kind::Reference;
    /// Which field of it.
    FIELD = "field" Latest crate::event::Kind::Text;
    /// The value as a text.
    VALUE = "value" Latest crate::event::Kind::Text;
    /// All four in one text. Only this one is a history: in four of them nothing would say which of
    /// the values of one clock belong together.
    ASSIGNMENT = "assignment" History crate::event::Kind::Text;
});

/// What the decoder needs to know of it.
pub const FIELD_VALUES: FieldValues = FieldValues {
    entity: Entity::FIELD_VALUE,
    target: ENTITY,
    record_id: RECORD_ID,
    field: FIELD,
    value: VALUE,
    assignment: ASSIGNMENT,
};

/// The entity. Nothing is counted of it.
pub static DECLARATION: Declaration = Declaration {
    derive: Some(derive),
    ..Declaration::of(EntitySpec {
        entity: Entity::FIELD_VALUE,
        name: "field_value",
        table: "field_values",
        placement: Placement::Home,
        fields: FIELDS,
    })
};

/// What was assigned, and as of when.
struct Said {
    stamp: Stamp,
    /// None since it was deleted.
    assignment: Option<Assignment<'static>>,
}

impl Said {
    fn is_of(&self, other: &Assignment<'_>) -> bool {
        let own = self.assignment.as_ref();
        own.is_some_and(|own| is_same_field(own, other))
    }
}

fn is_same_field(one: &Assignment<'_>, other: &Assignment<'_>) -> bool {
    (one.entity, &one.id, &one.field) == (other.entity, &other.id, &other.field)
}

/// Each value assigned, as of its own clock and by its own origin; and at the clock of each
/// assignment, or delete, null for every other field that is assigned by then. Of assignments of
/// one clock, too, of which the one that counts thus clears the fields of the others.
///
/// An assignment more only adds to this, so it doesn't matter in which order they came, or how
/// often this was sent and to whom: it is the same set in the end, and the records it is about take
/// in sets.
///
/// What is said of three fields or more at one clock may leave the value of one that doesn't count:
/// then nothing says which of them is the later.
///
/// Of a history that is cut: as many later clocks as a history keeps are left, and at each of them
/// every field of what was cut off has a value again, or null. So what was cut off lies before the
/// cut there, too, and is sent only to be known as cut, and as the beginning of the record. Of the
/// nulls that were cut off only the earliest may be noted later than it was.
fn derive(record: &Record, symbols: &Symbols, out: &mut Vec<Assertion<'static>>) {
    let read = |held: Held| match held {
        Held::Text(text) => Assignment::unpack(symbols.text(text), &SCHEMA),
        _ => None,
    };
    let mut said: Vec<Said> = Vec::new();
    for cut in record.cuts().iter().filter(|cut| cut.field == ASSIGNMENT) {
        for stamp in [cut.earliest, cut.latest] {
            said.push(Said {
                stamp,
                assignment: read(cut.held),
            });
        }
    }
    said.extend(
        record
            .stamped(ASSIGNMENT, symbols)
            .map(|Stamped { stamp, held }| Said {
                stamp,
                assignment: read(held),
            }),
    );
    // Each field once, with the first clock it was assigned at.
    let mut fields: Vec<(&Assignment<'static>, Clock)> = Vec::new();
    for said in &said {
        let Some(assignment) = &said.assignment else {
            continue;
        };
        let clock = said.stamp.clock;
        let mut known = fields.iter_mut();
        match known.find(|(known, _)| is_same_field(known, assignment)) {
            Some((_, first)) => *first = clock.min(*first),
            None => fields.push((assignment, clock)),
        }
    }
    for said in &said {
        let own = said.assignment.iter();
        out.extend(own.map(|own| assertion(own, said.stamp, own.value.clone())));
        let others = fields
            .iter()
            .filter(|(of, first)| *first <= said.stamp.clock && !said.is_of(of));
        out.extend(others.map(|(of, _)| assertion(of, said.stamp, Value::Null)));
    }
}

fn assertion(of: &Assignment<'static>, stamp: Stamp, value: Value<'static>) -> Assertion<'static> {
    let field: FieldName<'static> = of.field.clone();
    Assertion {
        entity: of.entity,
        id: of.id.clone(),
        stamp,
        values: vec![(field, value)],
    }
}
