//! Random numbers that are the same on every machine: a seed gives one sequence, in integers only.

/// SplitMix64 (Steele, Lea and Flood, 2014). Its own few lines rather than a crate, since a crate
/// may change its stream with a version, and without floats, since `ln` and `exp` differ between
/// platforms.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

/// The value, in thousandths of the typical one, below which 0, 10, … 100 % of long-tailed
/// durations lie.
const LONG_TAIL: [i64; 11] = [180, 382, 532, 675, 827, 1000, 1209, 1482, 1880, 2615, 5200];

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 if the bound is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// An index into a list of that length, which must not be empty.
    pub(super) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number in `low..=high`.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.index(list.len())]
    }

    /// An index, each as likely as its weight. The weights must not all be 0.
    pub(super) fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let total: u64 = weights.clone().map(u64::from).sum();
        let mut left = self.below(total);
        for (index, weight) in weights.enumerate() {
            match left.checked_sub(u64::from(weight)) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        0
    }

    /// A duration whose median is `typical` and whose tail is long, as waiting for people is.
    pub(super) fn long_tailed(&mut self, typical: i64) -> i64 {
        let at = self.below(1000) as usize;
        let (step, within) = (at / 100, (at % 100) as i64);
        let low = LONG_TAIL[step];
        let factor = low + (LONG_TAIL[step + 1] - low) * within / 100;
        typical * factor / 1000
    }

    /// How many of a Poisson-like number of arrivals come, `expected` in 1/65536 of one.
    pub(super) fn arrivals(&mut self, expected: u64) -> u64 {
        // A binomial of four slots an expected arrival is close to Poisson and needs no
        // exponential.
        let slots = expected / (1 << 14) + 1;
        let threshold = expected / slots;
        (0..slots)
            .filter(|_| self.below(1 << 16) < threshold)
            .count() as u64
    }
}
