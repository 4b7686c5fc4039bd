//! Symbols: every distinct text of a shard is stored once under a number; so is every source of its
//! assertions.
//!
//! A symbol means something only inside its own shard and run; whatever leaves the shard carries
//! the text.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;

/// The number of a text within one shard. [`Symbol::BLANK`] is the empty text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Symbol(pub u32);

/// The words the metrics reason with, at the same number in every shard.
macro_rules! words {
    ($($name:ident = $text:literal),* $(,)?) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(usize)]
        enum Word { $($name),* }
        impl Symbol {
            $(#[doc = concat!("`", $text, "`")] pub const $name: Symbol = place(Word::$name as usize);)*
        }
        const WORDS: &[&str] = &[$($text),*];
    };
}
words! {
    BLANK = "", OPEN = "open", WON = "won", LOST = "lost",
    QUALIFIED = "qualified", DISQUALIFIED = "disqualified", CONVERTED = "converted",
    NEW = "new", UPSELL = "upsell", CROSS_SELL = "cross_sell", RENEWAL = "renewal",
}

/// Where a word of the list is, as every shard interns them first and in their order.
const fn place(word: usize) -> Symbol {
    let (mut at, mut before) = (0, 0);
    while before < word {
        at += (1 + WORDS[before].len()).div_ceil(STEP);
        before += 1;
    }
    Symbol(at as u32)
}

impl Symbol {
    /// True for the empty text: no value was given.
    pub fn is_blank(self) -> bool {
        self == Self::BLANK
    }
}

/// Texts begin at multiples of so many bytes, so that four bytes number 16 GiB of them.
const STEP: usize = 4;
/// The first byte before a text whose length follows in [`LONG_DIGITS`] bytes; a smaller one is the
/// length itself.
const LONG: u8 = 0x7f;
const LONG_DIGITS: usize = 5;

/// The texts of one shard. Texts are never forgotten: their number is bounded by the distinct ids
/// and values of the records.
#[derive(Clone)]
pub struct Symbols {
    /// Every text after its length. A symbol is where they begin: of most texts nothing is in the
    /// caches, and so one is waited for once.
    text: String,
    /// Symbols with the hashes of their texts, so that growing reads no text.
    index: HashTable<(u32, u32)>,
    sources: Vec<Source>,
}

/// Where assertions come from, apart from the offset: topic number, partition, replay attempt. A
/// shard sees few of them.
pub type Source = (u32, u32, u32);

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Symbols {
            text: String::new(),
            index: HashTable::new(),
            sources: Vec::new(),
        };
        for word in WORDS {
            symbols.intern(word);
        }
        symbols
    }
}

impl Symbols {
    /// The symbol of `text`, new or existing.
    pub fn intern(&mut self, text: &str) -> Symbol {
        self.intern_hashed(text, hash(text))
    }

    fn intern_hashed(&mut self, text: &str, hash: u32) -> Symbol {
        if let Some(known) = self.find_hashed(text, hash) {
            return known;
        }
        let symbol = (self.text.len() / STEP) as u32;
        self.push(text);
        self.index
            .insert_unique(spread(hash), (symbol, hash), |(_, hash)| spread(*hash));
        Symbol(symbol)
    }

    /// The symbol of `text` if it was ever interned.
    pub fn find(&self, text: &str) -> Option<Symbol> {
        self.find_hashed(text, hash(text))
    }

    /// The symbols of texts, in their order. All are looked for before any is compared, so that the
    /// waits for memory overlap.
    pub fn intern_all<'t, T>(&mut self, texts: T) -> impl Iterator<Item = Symbol>
    where
        T: Iterator<Item = &'t str>,
    {
        let alike = |text| {
            let hash = hash(text);
            (text, hash, self.alike(hash))
        };
        let texts: SmallVec<[(&str, u32, Option<Symbol>); 16]> = texts.map(alike).collect();
        texts.into_iter().map(|(text, hash, alike)| match alike {
            Some(known) if self.text(known) == text => known,
            // It is new, new since it was looked for, or shares its hash with another.
            _ => self.intern_hashed(text, hash),
        })
    }

    /// A text of the same hash: the same text but for an accident.
    #[inline]
    fn alike(&self, hash: u32) -> Option<Symbol> {
        let found = self.index.find(spread(hash), |(_, other)| *other == hash);
        found.map(|(symbol, _)| Symbol(*symbol))
    }

    #[inline]
    fn find_hashed(&self, text: &str, hash: u32) -> Option<Symbol> {
        let found = self.index.find(spread(hash), |(symbol, other)| {
            *other == hash && self.text(Symbol(*symbol)) == text
        });
        found.map(|(symbol, _)| Symbol(*symbol))
    }

    /// The text of a symbol of this shard; blank for a number beyond those it gave out.
    #[inline]
    pub fn text(&self, symbol: Symbol) -> &str {
        self.at(symbol.0 as usize * STEP).unwrap_or_default()
    }

    #[inline]
    fn at(&self, at: usize) -> Option<&str> {
        let (mut begin, mut length) = (at + 1, usize::from(*self.text.as_bytes().get(at)?));
        if length == usize::from(LONG) {
            let digits = self.text.as_bytes().get(begin..begin + LONG_DIGITS)?;
            length = digits
                .iter()
                .fold(0, |length, digit| length << 7 | usize::from(*digit));
            begin += LONG_DIGITS;
        }
        self.text.get(begin..begin + length)
    }

    /// Appends a text after its length, in bytes that are characters by themselves.
    fn push(&mut self, text: &str) {
        let length = text.len();
        if length < usize::from(LONG) {
            self.text.push(char::from(length as u8));
        } else {
            self.text.push(char::from(LONG));
            let digits = (0..LONG_DIGITS).rev();
            let digits = digits.map(|digit| (length >> (7 * digit)) as u8 & 0x7f);
            self.text.extend(digits.map(char::from));
        }
        self.text.push_str(text);
        while !self.text.len().is_multiple_of(STEP) {
            self.text.push('\0');
        }
    }

    /// The number of a source, new or existing.
    pub fn source_number(&mut self, source: Source) -> u32 {
        // The newest first: messages of one partition come in runs.
        if let Some(known) = self.sources.iter().rposition(|s| *s == source) {
            return known as u32;
        }
        self.sources.push(source);
        (self.sources.len() - 1) as u32
    }

    /// The source of a number of this shard.
    pub fn source(&self, number: u32) -> Source {
        self.sources
            .get(number as usize)
            .copied()
            .unwrap_or_default()
    }

    /// How many distinct texts are held.
    pub fn count(&self) -> usize {
        self.index.len()
    }

    /// Bytes held, for the state-size gauge and the bench.
    pub fn bytes(&self) -> usize {
        self.text.capacity() + self.index.capacity() * (size_of::<(u32, u32)>() + 1)
    }
}

#[inline]
fn hash(text: &str) -> u32 {
    halve(FxBuildHasher.hash_one(text))
}

/// Half of a hash, to be kept. FxHash has its entropy in neither half alone.
#[inline]
pub(crate) fn halve(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}

/// A kept hash for hashbrown, which asks for one whose upper bits differ as much as its lower ones.
#[inline]
pub(crate) fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_have_fixed_numbers() {
        let symbols = Symbols::default();
        assert_eq!(symbols.text(Symbol::WON), "won");
        assert_eq!(symbols.text(Symbol::CROSS_SELL), "cross_sell");
        assert_eq!(symbols.find(""), Some(Symbol::BLANK));
    }

    #[test]
    fn a_text_gets_one_symbol() {
        let mut symbols = Symbols::default();
        let (a, b) = (symbols.intern("référence"), symbols.intern("x"));
        assert_ne!(a, b);
        assert_eq!(symbols.intern("référence"), a);
        assert_eq!(symbols.text(a), "référence");
        assert_eq!(symbols.text(Symbol(9_999)), "");
    }

    #[test]
    fn texts_looked_for_together_get_the_symbols_they_would_get_one_by_one() {
        let texts: Vec<String> = (0..500).map(|n| format!("t{}", n * n % 211)).collect();
        let (mut together, mut alone) = (Symbols::default(), Symbols::default());
        for block in texts.chunks(60) {
            let texts = || block.iter().map(String::as_str);
            let symbols: Vec<Symbol> = together.intern_all(texts()).collect();
            assert!(symbols.into_iter().eq(texts().map(|t| alone.intern(t))));
        }
    }

    #[test]
    fn texts_of_every_length_come_back() {
        let mut symbols = Symbols::default();
        let lengths = (0..300).chain([16_383, 16_384, 3_000_000]);
        let texts: Vec<String> = lengths.map(|length| "é".repeat(length / 2)).collect();
        let given: Vec<Symbol> = texts.iter().map(|text| symbols.intern(text)).collect();
        for (text, symbol) in texts.iter().zip(given) {
            assert_eq!(symbols.find(text), Some(symbol));
            assert_eq!(symbols.text(symbol), text);
        }
    }
}
