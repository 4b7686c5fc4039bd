//! The samples of a cell: its sketch, eight bytes a bucket.

/// Buckets with their counts, in order of bucket.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<u64>);

/// The bits of an item that hold its count; those above hold its bucket.
const COUNT_BITS: u32 = 48;

impl Samples {
    /// No samples.
    pub const NONE: Samples = Samples(Vec::new());

    /// Adds so many samples of a bucket, or takes them back.
    pub fn add(&mut self, bucket: i16, by: i64) {
        let ordered = u64::from(bucket as u16 ^ 0x8000);
        match self
            .0
            .binary_search_by_key(&ordered, |item| item >> COUNT_BITS)
        {
            Ok(at) => {
                let count = Self::count(self.0[at]) + by;
                if count == 0 {
                    self.0.remove(at);
                } else {
                    self.0[at] = Self::item(ordered, count);
                }
            }
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(1 + self.0.len() / 2);
                }
                self.0.insert(at, Self::item(ordered, by));
            }
        }
    }

    fn item(ordered: u64, count: i64) -> u64 {
        ordered << COUNT_BITS | count as u64 & ((1 << COUNT_BITS) - 1)
    }

    fn count(item: u64) -> i64 {
        (item << (64 - COUNT_BITS)) as i64 >> (64 - COUNT_BITS)
    }

    /// The buckets with their counts.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (i16, i64)> {
        let bucket = |item: &u64| ((item >> COUNT_BITS) as u16 ^ 0x8000) as i16;
        self.0
            .iter()
            .map(move |item| (bucket(item), Self::count(*item)))
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes held outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }
}
