//! The records of a shard: found by key, kept without moving, with a note of which were touched.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::record::{Key, Record};

/// So many records are allocated at once, so that growing copies none.
const CHUNK: usize = 1 << 10;

/// Records by key and by number.
#[derive(Default)]
pub(super) struct Records {
    index: HashTable<u32>,
    keys: Vec<Key>,
    chunks: Vec<Vec<Record>>,
    is_touched: Vec<bool>,
    touched: Vec<u32>,
}

impl Records {
    /// The number of a record, new or known.
    pub fn number(&mut self, key: Key) -> u32 {
        let Records { index, keys, .. } = self;
        let found = index.find(hash(key), |number| keys[*number as usize] == key);
        if let Some(number) = found {
            return *number;
        }
        let number = keys.len() as u32;
        keys.push(key);
        index.insert_unique(hash(key), number, |number| hash(keys[*number as usize]));
        self.is_touched.push(false);
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(Record::default()),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(Record::default());
                self.chunks.push(chunk);
            }
        }
        number
    }

    /// The record of a key, if there is one.
    pub fn get(&self, key: Key) -> Option<&Record> {
        let found = self
            .index
            .find(hash(key), |n| self.keys[*n as usize] == key);
        found.map(|number| self.at(*number))
    }

    /// The record of a number.
    pub fn at(&self, number: u32) -> &Record {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, number: u32) -> &mut Record {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    /// Reads all of these records, for nothing but to have them at hand: of many records none is in
    /// the caches, and so the waits for them overlap.
    pub fn fetch(&self, numbers: impl Iterator<Item = u32>) {
        let read = numbers.fold(0, |read, number| read ^ self.at(number).fetch());
        std::hint::black_box(read);
    }

    /// Notes that a record is to be written.
    pub fn touch(&mut self, number: u32) {
        let is_touched = &mut self.is_touched[number as usize];
        if !*is_touched {
            *is_touched = true;
            self.touched.push(number);
        }
    }

    /// How many are to be written.
    pub fn touched(&self) -> usize {
        self.touched.len()
    }

    /// The numbers of those to be written, which then are none.
    pub fn take_touched(&mut self) -> Vec<u32> {
        let touched = std::mem::take(&mut self.touched);
        for number in &touched {
            self.is_touched[*number as usize] = false;
        }
        touched
    }

    /// The key of a number.
    pub fn key(&self, number: u32) -> Key {
        self.keys[number as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.keys.iter().copied()
    }

    /// Every record.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Record)> {
        self.keys().zip(self.chunks.iter().flatten())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let records = self.chunks.len() * CHUNK * size_of::<Record>();
        let of_each = size_of::<Key>() + size_of::<bool>();
        let heap: usize = self.iter().map(|(_, record)| record.heap_bytes()).sum();
        records + heap + self.keys.capacity() * of_each + self.index.capacity() * 5
    }
}

fn hash(key: Key) -> u64 {
    FxBuildHasher.hash_one(key)
}
