//! The links that records received, by record: kept without moving, since a table with free room
//! for them would take half as much again.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::record::{Inbox, Key};

/// So many are allocated at once, so that growing copies none.
const CHUNK: usize = 1 << 9;

/// Inboxes by the key of their record.
#[derive(Default)]
pub(super) struct Inboxes {
    index: HashTable<u32>,
    keys: Vec<Key>,
    chunks: Vec<Vec<Inbox>>,
}

impl Inboxes {
    fn number(&self, key: Key) -> Option<usize> {
        let is_it = |number: &u32| self.keys[*number as usize] == key;
        let found = self.index.find(hash(key), is_it);
        found.map(|number| *number as usize)
    }

    /// The inbox of a record, if it received any link.
    pub fn get(&self, key: Key) -> Option<&Inbox> {
        let number = self.number(key)?;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Inbox> {
        let number = self.number(key)?;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }

    /// The inbox of a record, new or known.
    pub fn get_or_insert(&mut self, key: Key) -> &mut Inbox {
        let number = self.number(key).unwrap_or_else(|| {
            let Inboxes {
                index,
                keys,
                chunks,
            } = self;
            let number = keys.len();
            keys.push(key);
            index.insert_unique(hash(key), number as u32, |n| hash(keys[*n as usize]));
            if number.is_multiple_of(CHUNK) {
                chunks.push(Vec::with_capacity(CHUNK));
            }
            chunks[number / CHUNK].push(Inbox::default());
            number
        });
        &mut self.chunks[number / CHUNK][number % CHUNK]
    }

    /// Forgets the record that was inserted last.
    pub fn remove_last(&mut self) {
        let Some(key) = self.keys.pop() else { return };
        let number = self.keys.len() as u32;
        if let Ok(entry) = self.index.find_entry(hash(key), |n| *n == number) {
            entry.remove();
        }
        let chunk = self.chunks.last_mut();
        let is_empty = chunk.is_some_and(|chunk| {
            chunk.pop();
            chunk.is_empty()
        });
        if is_empty {
            self.chunks.pop();
        }
    }

    /// The records with an inbox.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.keys.iter().copied()
    }

    /// How many links there are, withdrawn ones included.
    pub fn links(&self) -> usize {
        let inboxes = self.chunks.iter().flatten();
        inboxes.map(|inbox| inbox.received().len()).sum()
    }

    /// Bytes the links and the table of them take.
    pub fn link_bytes(&self) -> usize {
        self.index.capacity() * (size_of::<u32>() + 1)
            + self.keys.capacity() * size_of::<Key>()
            + self.chunks.len() * CHUNK * size_of::<Inbox>()
            + self.sum(Inbox::link_bytes)
    }

    /// Bytes taken by what is kept of the links.
    pub fn kept_bytes(&self) -> usize {
        self.sum(Inbox::kept_bytes)
    }

    fn sum(&self, bytes: fn(&Inbox) -> usize) -> usize {
        self.chunks.iter().flatten().map(bytes).sum()
    }
}

fn hash(key: Key) -> u64 {
    FxBuildHasher.hash_one(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Entity;
    use crate::symbol::Symbol;

    #[test]
    fn the_one_inserted_last_can_be_taken_out_again() {
        let key = |id| Key {
            entity: Entity::LEAD,
            id: Symbol(id),
        };
        let mut inboxes = Inboxes::default();
        for id in 0..CHUNK as u32 {
            inboxes.get_or_insert(key(id));
        }
        for id in [9_000, 9_001] {
            assert!(inboxes.get(key(id)).is_none());
            inboxes.get_or_insert(key(id));
            assert!(inboxes.get(key(id)).is_some());
            inboxes.remove_last();
            assert!(inboxes.get(key(id)).is_none());
        }
        assert_eq!(inboxes.keys().count(), CHUNK);
        assert!(inboxes.get(key(0)).is_some());
    }
}
