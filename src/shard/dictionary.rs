//! A column of texts of which few are distinct, such as names of rollups and currencies: each once,
//! and by row its number.

use super::columns::{ColumnBytes, dictionary as format};
use crate::codec::{Damaged, Reader, Writer};

/// The column. It has at most 65,536 distinct texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Dictionary {
    /// What whoever adds texts knows them by; those added last are looked at first.
    keys: Vec<u32>,
    texts: Writer,
    /// By row, in two bytes.
    numbers: Vec<u8>,
}

impl Dictionary {
    /// None yet, with room for so many rows.
    pub fn with_capacity(rows: usize) -> Self {
        Dictionary {
            numbers: Vec::with_capacity(2 * rows),
            ..Dictionary::default()
        }
    }

    /// Adds a row. `key` stands for its text in this column.
    #[inline]
    pub fn push(&mut self, key: u32, text: &str) {
        let known = self.keys.iter().rposition(|known| *known == key);
        let number = known.unwrap_or_else(|| {
            self.keys.push(key);
            self.texts.text(text);
            self.keys.len() - 1
        });
        self.numbers
            .extend_from_slice(&(number as u16).to_le_bytes());
    }

    /// So many rows of it.
    pub fn column(&self, rows: usize) -> ColumnBytes<'_> {
        /// Its texts are in place of all that came before, by numbers of two bytes.
        const IN_PLACE: u64 = 1 << 10;
        const TWO_BYTES: u64 = 1;
        let mut head = Writer::default();
        head.fixed(format::VERSION.to_le_bytes());
        head.fixed((format::OWN_TEXTS | IN_PLACE | TWO_BYTES).to_le_bytes());
        head.fixed((self.keys.len() as u64).to_le_bytes());
        head.bytes.extend_from_slice(&self.texts.bytes);
        head.fixed((rows as u64).to_le_bytes());
        ColumnBytes {
            kind: format::TYPE.into(),
            head: head.bytes,
            pieces: vec![&self.numbers],
        }
    }

    /// The text of every row.
    pub fn texts(&self) -> Result<impl Iterator<Item = &str>, Damaged> {
        let mut reader = Reader::new(&self.texts.bytes);
        let texts = (0..self.keys.len()).map(|_| reader.text());
        let texts = texts.collect::<Result<Vec<&str>, Damaged>>()?;
        let (numbers, _) = self.numbers.as_chunks();
        Ok(numbers
            .iter()
            .map(move |number| texts[usize::from(u16::from_le_bytes(*number))]))
    }
}
