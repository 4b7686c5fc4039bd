//! The index of a pool: rows by the hashes of their keys, in one flat table with linear probing.
//!
//! Looking up a cell is waiting for memory, and a change goes to a dozen cells. A look-up is
//! therefore cut in two, where it looks and what it finds there, so that all first halves can be
//! done before any second one: their waits overlap.

use crate::symbol::spread;

/// A place of the table: the hash of a key, and the number of its row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    hash: u32,
    row: u32,
}

impl Slot {
    /// A place without a row.
    pub const FREE: Slot = Slot {
        hash: 0,
        row: u32::MAX,
    };

    fn is_free(self) -> bool {
        self.row == Slot::FREE.row
    }
}

/// Rows by hash.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two, of which at most three quarters are taken; none as long as there is no row.
    slots: Box<[Slot]>,
    rows: usize,
}

impl Index {
    #[inline]
    fn home(&self, hash: u32) -> usize {
        // The upper bits, as many as the table has places.
        let bits = self.slots.len().max(1).trailing_zeros();
        (spread(hash) >> (u64::BITS - 1 - bits) >> 1) as usize
    }

    /// Where a hash is looked for first. Nothing is compared yet.
    #[inline]
    pub fn first(&self, hash: u32) -> Slot {
        let first = self.slots.get(self.home(hash));
        first.copied().unwrap_or(Slot::FREE)
    }

    /// The row of a hash that `is_it`, where `first` is what [`Index::first`] found.
    #[inline]
    pub fn find(&self, hash: u32, first: Slot, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut slot = first;
        let mut at = self.home(hash);
        while !slot.is_free() {
            if slot.hash == hash && is_it(slot.row) {
                return Some(slot.row);
            }
            at = (at + 1) & (self.slots.len() - 1);
            slot = self.slots[at];
        }
        None
    }

    /// Adds a row that is not there.
    pub fn insert(&mut self, hash: u32, row: u32) {
        if (self.rows + 1) * 4 > self.slots.len() * 3 {
            let more = (self.slots.len() * 2).max(16);
            let slots = std::mem::replace(&mut self.slots, vec![Slot::FREE; more].into());
            let taken = slots.iter().filter(|slot| !slot.is_free());
            taken.for_each(|slot| self.put(*slot));
        }
        self.rows += 1;
        self.put(Slot { hash, row });
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot.hash);
        while !self.slots[at].is_free() {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
    }

    /// Takes a row out. Those that only stand behind it because it was there move up, so that no
    /// look-up ends too early.
    pub fn remove(&mut self, hash: u32, row: u32) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut gap = self.home(hash);
        loop {
            match self.slots.get(gap) {
                Some(slot) if slot.row == row => break,
                Some(slot) if !slot.is_free() => gap = (gap + 1) & mask,
                _ => return, // not there
            }
        }
        self.rows -= 1;
        let mut at = (gap + 1) & mask;
        while !self.slots[at].is_free() {
            let from_home = at.wrapping_sub(self.home(self.slots[at].hash)) & mask;
            if from_home >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
            at = (at + 1) & mask;
        }
        self.slots[gap] = Slot::FREE;
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Index;

    fn found(index: &Index, hash: u32, row: u32) -> Option<u32> {
        index.find(hash, index.first(hash), |at| at == row)
    }

    proptest! {
        /// Few hashes, so that many collide and wrap around.
        #[test]
        fn rows_are_found_as_long_as_they_are_there(
            steps in prop::collection::vec((0u32..120, 0u32..9, any::<bool>()), 0..400),
        ) {
            let (mut index, mut known) = (Index::default(), BTreeMap::new());
            for (row, hash, is_added) in steps {
                let hash = hash.wrapping_mul(0x8000_0001);
                if is_added && !known.contains_key(&row) {
                    index.insert(hash, row);
                    known.insert(row, hash);
                } else if let Some(hash) = known.remove(&row) {
                    index.remove(hash, row);
                }
                for (row, hash) in &known {
                    prop_assert_eq!(found(&index, *hash, *row), Some(*row));
                }
                prop_assert_eq!(found(&index, hash, 1_000), None);
            }
        }
    }
}
