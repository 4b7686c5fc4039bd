//! The schema: every entity there is, and its fields by name, found with one look in a table that
//! is built once from what is declared.

use super::field_value::FieldValues;
use super::schema::{Entity, EntitySpec, Field, FieldSpec};

/// Four times as many slots as an entity may have fields, so that most names are found at the
/// first.
const SLOTS: usize = 4 * Field::FIRST_CUSTOM as usize;

/// The fields of an entity by name.
#[derive(Debug)]
pub(super) struct Names {
    slots: Box<[Option<(Field, &'static FieldSpec)>; SLOTS]>,
}

impl Names {
    pub(super) fn new(entity: &EntitySpec) -> Self {
        let mut slots = Box::new([None; SLOTS]);
        for (number, spec) in entity.fields.iter().enumerate() {
            let mut slot = first_slot(spec.name);
            // Ends: there are more slots than fields.
            while slots[slot].is_some() {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = Some((Field(number as u16), spec));
        }
        Names { slots }
    }

    /// The field of a name, as [`EntitySpec::field`] finds it.
    pub(super) fn find(&self, name: &str) -> Option<(Field, &'static FieldSpec)> {
        let mut slot = first_slot(name);
        while let Some((field, spec)) = self.slots[slot] {
            if spec.name == name {
                return Some((field, spec));
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }
}

/// Of a name its length and three of its bytes, which distinguish the fields of today's entities
/// almost always.
fn first_slot(name: &str) -> usize {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return 0;
    };
    let middle = usize::from(bytes[bytes.len() / 2]);
    let sum = bytes.len() + usize::from(*first) * 7 + middle * 31 + usize::from(*last) * 113;
    sum % SLOTS
}

/// Every entity there is, by number.
#[derive(Debug)]
pub struct Schema {
    entities: Vec<&'static EntitySpec>,
    names: Vec<Names>,
    field_values: Option<FieldValues>,
}

/// An entity that an event is about, with its fields by name.
#[derive(Debug, Clone, Copy)]
pub struct EntityRef {
    /// What it is made of.
    pub spec: &'static EntitySpec,
    names: &'static Names,
}

impl EntityRef {
    /// The field of a name.
    pub fn field(self, name: &str) -> Option<(Field, &'static FieldSpec)> {
        self.names.find(name)
    }
}

impl Schema {
    /// The schema of these entities; entity `n` is item `n`.
    pub fn new(entities: Vec<&'static EntitySpec>) -> Schema {
        let names = entities.iter().map(|spec| Names::new(spec)).collect();
        Schema {
            entities,
            names,
            field_values: None,
        }
    }

    /// The same, in which the records of one entity say fields of others.
    pub fn with_field_values(self, fields: FieldValues) -> Schema {
        Schema {
            field_values: Some(fields),
            ..self
        }
    }

    /// The entity whose records say fields of others, if there is one.
    pub fn field_values(&self) -> Option<&FieldValues> {
        self.field_values.as_ref()
    }

    /// The entity of a number read from a log or a fact.
    pub fn of_number(&self, number: u8) -> Option<Entity> {
        self.entities.get(usize::from(number)).map(|e| e.entity)
    }

    /// The entities that sources describe; the others are our own.
    pub fn of_sources(&self) -> impl Iterator<Item = &'static EntitySpec> {
        let specs = self.entities.iter().copied();
        specs.filter(|spec| spec.is_asserted())
    }

    /// The entity an event type or a mapping names.
    pub fn of_name(&self, name: &str) -> Option<&'static EntitySpec> {
        self.of_sources().find(|spec| spec.name == name)
    }

    /// The same, with its fields by name.
    pub fn look_up(&'static self, name: &str) -> Option<EntityRef> {
        let spec = self.of_name(name)?;
        let names = &self.names[usize::from(spec.entity.0)];
        Some(EntityRef { spec, names })
    }

    /// What an entity of this schema is made of.
    pub fn spec(&self, entity: Entity) -> &'static EntitySpec {
        self.entities[usize::from(entity.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SCHEMA;

    #[test]
    fn every_field_is_found_and_nothing_else() {
        for entity in SCHEMA.of_sources() {
            let names = Names::new(entity);
            assert!(entity.fields.len() < usize::from(Field::FIRST_CUSTOM));
            for spec in entity.fields {
                let found = names.find(spec.name).map(|(field, _)| field);
                assert_eq!(found, entity.field(spec.name), "{}", spec.name);
                assert!(names.find(&spec.name.to_uppercase()).is_none());
                assert!(names.find(&spec.name[1..]).is_none());
            }
            assert!(names.find("").is_none());
        }
    }
}
