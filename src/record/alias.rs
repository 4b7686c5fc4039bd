//! The alias: what a merged record became. A side input of every shard, so that each finds the root
//! of a link's target itself. Its id is `entity:id` of the record merged away.

use rustc_hash::FxHashMap;

use super::declaration::fields;
use super::{Declaration, Key, Record, SCHEMA};
use crate::event::{Entity, EntitySpec, Field, Placement, SideInput};
use crate::symbol::{Symbol, Symbols};

fields!(FIELDS {});

/// The entity.
pub static DECLARATION: Declaration = Declaration::of(EntitySpec {
    entity: Entity::ALIAS,
    name: "alias",
    table: "aliases",
    placement: Placement::Everywhere(SideInput::Alias),
    fields: FIELDS,
});

/// The id of the alias record of `entity`'s record `id`.
pub fn alias_id(entity: Entity, id: &str) -> String {
    format!("{}:{id}", entity.name())
}

/// The merged record an alias record is about.
pub fn merged(alias_id: &str) -> Option<(Entity, &str)> {
    let (entity, id) = alias_id.split_once(':')?;
    Some((SCHEMA.of_name(entity)?.entity, id))
}

/// Which record each merged record was merged into, as this shard knows it.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    into: FxHashMap<Key, Symbol>,
}

impl Aliases {
    /// Takes over the present value of an alias record. Returns the merged record if that changed
    /// something.
    pub fn learn(
        &mut self,
        alias_id: Symbol,
        alias: &Record,
        symbols: &mut Symbols,
    ) -> Option<Key> {
        let (entity, id) =
            merged(symbols.text(alias_id)).map(|(entity, id)| (entity, id.to_owned()))?;
        let merged = Key {
            entity,
            id: symbols.intern(&id),
        };
        let into = alias.text(Field::MERGED_INTO);
        let before = if into.is_blank() {
            self.into.remove(&merged)
        } else {
            self.into.insert(merged, into)
        };
        (before.unwrap_or_default() != into).then_some(merged)
    }

    /// The record that stands for `key` today: the end of its chain of merges. A cycle is cut at
    /// the smallest id.
    pub fn root(&self, key: Key, symbols: &Symbols) -> Key {
        let Some(&first) = self.into.get(&key) else {
            return key;
        };
        let mut seen = vec![key.id];
        let mut id = first;
        loop {
            if let Some(start) = seen.iter().position(|s| *s == id) {
                let smallest = seen[start..]
                    .iter()
                    .copied()
                    .min_by_key(|s| symbols.text(*s));
                return Key {
                    id: smallest.unwrap_or(id),
                    ..key
                };
            }
            seen.push(id);
            match self.into.get(&Key { id, ..key }) {
                Some(&next) => id = next,
                None => return Key { id, ..key },
            }
        }
    }

    /// The records whose root is another one now. A root can only be another's if the record is
    /// merged, before or now.
    pub fn moved(&self, now: &Aliases, symbols: &Symbols) -> Vec<Key> {
        let merged = self
            .into
            .keys()
            .chain(now.into.keys().filter(|key| !self.into.contains_key(key)));
        merged
            .copied()
            .filter(|key| self.root(*key, symbols) != now.root(*key, symbols))
            .collect()
    }
}
