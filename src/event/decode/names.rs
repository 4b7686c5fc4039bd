//! Finds a field by its name with one look: a hash table per entity, built once from the fields it declares.

use std::sync::LazyLock;

use crate::record::{Entity, Field, FieldSpec};

/// The fields of every entity, in the order of [`Entity::ALL`].
static NAMES: LazyLock<Vec<Names>> =
    LazyLock::new(|| Entity::ALL.into_iter().map(Names::new).collect());

/// Four times as many slots as an entity may have fields, so that most names are found at the first.
const SLOTS: usize = 4 * Field::FIRST_CUSTOM as usize;

/// The field of a name, as [`Entity::field`] finds it.
pub(super) fn field(entity: Entity, name: &str) -> Option<(Field, &'static FieldSpec)> {
    NAMES.get(entity as usize)?.find(name)
}

struct Names {
    slots: [Option<(Field, &'static FieldSpec)>; SLOTS],
}

impl Names {
    fn new(entity: Entity) -> Self {
        let mut slots = [None; SLOTS];
        for (number, spec) in entity.fields().iter().enumerate() {
            let mut slot = first_slot(spec.name);
            // Ends: there are more slots than fields.
            while slots[slot].is_some() {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = Some((Field(number as u16), spec));
        }
        Names { slots }
    }

    fn find(&self, name: &str) -> Option<(Field, &'static FieldSpec)> {
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

/// Of a name its length and three of its bytes, which tell the fields of today's entities apart almost always.
fn first_slot(name: &str) -> usize {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return 0;
    };
    let middle = usize::from(bytes[bytes.len() / 2]);
    let sum = bytes.len() + usize::from(*first) * 7 + middle * 31 + usize::from(*last) * 113;
    sum % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_and_nothing_else() {
        for entity in Entity::ALL {
            assert!(entity.fields().len() < usize::from(Field::FIRST_CUSTOM));
            for spec in entity.fields() {
                let found = field(entity, spec.name).map(|(field, _)| field);
                assert_eq!(found, entity.field(spec.name), "{}", spec.name);
                assert!(field(entity, &spec.name.to_uppercase()).is_none());
                assert!(field(entity, &spec.name[1..]).is_none());
            }
            assert!(field(entity, "").is_none());
        }
    }
}
