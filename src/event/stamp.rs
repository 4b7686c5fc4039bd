//! When something was said, and where: the two orders that make folding independent of delivery.

/// A clock orders what is said of a record: event time, then the source's own sequence (an LSN, a
/// commit number), else 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Clock {
    /// Event time in µs since the Unix epoch.
    pub time: i64,
    /// The source's own order among events of one instant.
    pub sequence: u64,
}

/// Where an assertion was read: unique to it, and kept when the message is replayed.
/// Its order is total and breaks ties between values of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Origin {
    /// [`topic_number`] of the input topic.
    pub topic: u32,
    /// Partition of the input topic.
    pub partition: u32,
    /// Offset within the partition.
    pub offset: u64,
    /// Index of the item within a batched message.
    pub index: u32,
    /// How often the dead letter holding it was replayed.
    pub attempt: u32,
}

/// Clock and origin together: what each value of a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// When it was so.
    pub clock: Clock,
    /// Where it was said.
    pub origin: Origin,
}

/// A topic's number in origins: a stable hash of its name, so that every shard orders origins
/// alike. The configuration refuses two input topics with one number.
pub fn topic_number(name: &str) -> u32 {
    (xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 32) as u32
}
