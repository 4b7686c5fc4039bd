//! References: which record names which, so that a merge finds the records whose links it moves
//! without looking at all of them.

use std::collections::BTreeSet;

use crate::event::Entity;
use crate::record::Key;
use crate::symbol::Symbol;

/// Pairs of a record named and the record of this shard that names it.
#[derive(Debug, Clone, Default)]
pub(super) struct References {
    stated: BTreeSet<(Key, Key)>,
    /// Of links received: the sender, and the record that is read by the sender's root. Kept for
    /// good: a look too many changes nothing.
    received: BTreeSet<(Key, Key)>,
    /// Pairs of both kinds of records that are being restored, until all are.
    restored: [Vec<(Key, Key)>; 2],
}

impl References {
    pub fn add(&mut self, named: Key, by: Key) {
        self.stated.insert((named, by));
    }

    pub fn remove(&mut self, named: Key, by: Key) {
        self.stated.remove(&(named, by));
    }

    pub fn add_received(&mut self, sender: Key, by: Key) {
        self.received.insert((sender, by));
    }

    /// As [`References::add`], while a shard is restored. A tree that is built of all pairs at once
    /// takes a fraction of the time.
    pub fn restore(&mut self, named: Key, by: Key) {
        self.restored[0].push((named, by));
    }

    /// As [`References::add_received`], while a shard is restored.
    pub fn restore_received(&mut self, sender: Key, by: Key) {
        self.restored[1].push((sender, by));
    }

    /// All records and links are restored.
    pub fn finish_restore(&mut self) {
        let [stated, received] = std::mem::take(&mut self.restored);
        self.stated.append(&mut stated.into_iter().collect());
        self.received.append(&mut received.into_iter().collect());
    }

    /// The records that may say something else when the root of `key` is another: those that name
    /// it, and it itself.
    pub fn senders(&self, key: Key) -> Vec<Key> {
        let least = Key {
            entity: Entity::LEAD,
            id: Symbol::BLANK,
        };
        let naming = |pairs: &BTreeSet<(Key, Key)>| {
            let range = pairs.range((key, least)..);
            let naming = range.take_while(|(named, _)| *named == key);
            naming.map(|(_, by)| *by).collect::<Vec<_>>()
        };
        let mut senders = naming(&self.stated);
        senders.extend(naming(&self.received));
        senders.push(key);
        senders
    }

    pub fn bytes(&self) -> usize {
        // A B-tree's nodes are about three quarters full.
        (self.stated.len() + self.received.len()) * size_of::<(Key, Key)>() * 4 / 3
    }
}
