//! The alias: what a merged record became. A side input, told to every shard, so that each finds the root of a link's target itself.

use super::schema::fields;
use super::{Entity, Field, Key, Record, Symbol, Symbols};
use rustc_hash::FxHashMap;

fields!(FIELDS {});

/// The id of the alias record of `entity`'s record `id`.
pub fn alias_id(entity: Entity, id: &str) -> String {
    format!("{}:{id}", entity.name())
}

/// The merged record an alias record speaks of.
pub fn merged(alias_id: &str) -> Option<(Entity, &str)> {
    let (entity, id) = alias_id.split_once(':')?;
    Some((Entity::from_name(entity)?, id))
}

/// Which record each merged record was merged into, as this shard knows it.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    into: FxHashMap<Key, Symbol>,
}

impl Aliases {
    /// Takes over what an alias record says now. Returns the merged record if that changed something.
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

    /// The record that stands for `key` today: the end of its chain of merges. A cycle is cut at the smallest id.
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

    /// The records whose root is another one now. A root can only be another's if the record is merged, before or now.
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
