//! References: who names whom, so that a merge finds the records whose links it moves without looking at all of them.

use std::collections::BTreeSet;

use crate::record::{Entity, Key};

/// Pairs of a record named and the record of this shard that names it.
#[derive(Debug, Clone, Default)]
pub(super) struct References {
    pairs: BTreeSet<(Key, Key)>,
}

impl References {
    pub fn add(&mut self, named: Key, by: Key) {
        self.pairs.insert((named, by));
    }

    pub fn remove(&mut self, named: Key, by: Key) {
        // A lead that names a deal is kept: see `Shard::note_lead`.
        if named.entity != Entity::Lead {
            self.pairs.remove(&(named, by));
        }
    }

    /// The records that may say something else when the root of `key` is another: those that name it, and it itself.
    pub fn senders(&self, key: Key) -> Vec<Key> {
        let least = Key {
            entity: Entity::Lead,
            id: crate::record::Symbol(0),
        };
        let naming = self
            .pairs
            .range((key, least)..)
            .take_while(|(named, _)| *named == key)
            .map(|(_, by)| *by);
        naming.chain([key]).collect()
    }

    pub fn bytes(&self) -> usize {
        // A B-tree's nodes are about three quarters full.
        self.pairs.len() * size_of::<(Key, Key)>() * 4 / 3
    }
}
