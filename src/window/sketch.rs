//! Quantiles that can be added and subtracted: a DDSketch of fixed accuracy.
//!
//! Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees", VLDB 2019. Buckets never collapse, so that subtracting a value takes back exactly
//! what adding it gave.

use std::sync::LazyLock;

/// The greatest relative error of a quantile: 1 %.
pub const ACCURACY: f64 = 0.01;
/// The ratio of a bucket's bounds, (1 + α) ÷ (1 − α).
pub const GAMMA: f64 = (1.0 + ACCURACY) / (1.0 - ACCURACY);

/// Upper bounds of the buckets: γ⁰, γ¹, … by repeated multiplication, which every machine rounds
/// alike; a logarithm is not.
static BOUNDS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let mut bounds = vec![1.0];
    while bounds[bounds.len() - 1] < i64::MAX as f64 {
        bounds.push(bounds[bounds.len() - 1] * GAMMA);
    }
    bounds
});

/// Counts by bucket. Bucket 0 holds zeros; bucket b > 0 holds the values in (γ^(b−2), γ^(b−1)],
/// bucket −b their negatives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    buckets: Vec<(i16, i64)>,
}

/// The bucket of a value.
pub fn bucket(value: i64) -> i16 {
    if value == 0 {
        return 0;
    }
    let size = value.unsigned_abs() as f64;
    let number = BOUNDS.partition_point(|bound| *bound < size) as i16 + 1;
    if value < 0 { -number } else { number }
}

/// The value that represents a bucket: off by at most [`ACCURACY`] from any value in it.
pub fn middle(bucket: i16) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let upper = BOUNDS[(usize::from(bucket.unsigned_abs()) - 1).min(BOUNDS.len() - 1)];
    (2.0 * upper / (GAMMA + 1.0)).copysign(f64::from(bucket))
}

/// SQL for the quantile of a sketch held as a map of buckets to counts; NULL for an empty one. What
/// [`Sketch::quantile`] does.
pub fn quantile_sql(map: &str, q: f64) -> String {
    let rank = format!("floor({q} * (arraySum(mapValues({map})) - 1))");
    let bucket = format!(
        "mapKeys(mapSort({map}))[arrayFirstIndex(n -> n > {rank}, arrayCumSum(mapValues(mapSort({map}))))]"
    );
    format!(
        "if(empty({map}), NULL, if({bucket} = 0, 0, sign({bucket}) * 2 * pow({GAMMA}, abs({bucket}) - 1) / {}))",
        GAMMA + 1.0
    )
}

impl Sketch {
    /// Adds `count` values to a bucket, or subtracts them.
    pub fn add(&mut self, bucket: i16, count: i64) {
        match self.buckets.binary_search_by_key(&bucket, |b| b.0) {
            Ok(at) => {
                self.buckets[at].1 += count;
                if self.buckets[at].1 == 0 {
                    self.buckets.remove(at);
                }
            }
            Err(at) if count != 0 => self.buckets.insert(at, (bucket, count)),
            Err(_) => {}
        }
    }

    /// Adds another sketch.
    pub fn merge(&mut self, other: &Sketch) {
        other
            .buckets
            .iter()
            .for_each(|&(bucket, count)| self.add(bucket, count));
    }

    /// The buckets that hold something, in order of value.
    pub fn buckets(&self) -> &[(i16, i64)] {
        &self.buckets
    }

    /// How many values are in it.
    pub fn count(&self) -> i64 {
        self.buckets.iter().map(|b| b.1).sum()
    }

    /// The value at rank ⌊q·(n−1)⌋ of the n values in order, within [`ACCURACY`]; `None` where
    /// there are none.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * (self.count() - 1) as f64).floor() as i64;
        let mut seen = 0;
        self.buckets
            .iter()
            .find(|&&(_, count)| {
                seen += count;
                seen > rank
            })
            .map(|&(bucket, _)| middle(bucket))
    }
}

impl FromIterator<(i16, i64)> for Sketch {
    fn from_iter<T: IntoIterator<Item = (i16, i64)>>(buckets: T) -> Self {
        let mut sketch = Sketch::default();
        buckets
            .into_iter()
            .for_each(|(bucket, count)| sketch.add(bucket, count));
        sketch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_sketch_has_no_quantile() {
        assert_eq!(Sketch::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn every_quantile_is_within_one_percent(mut values in prop::collection::vec(any::<i64>().prop_map(|v| v >> (v & 63)), 1..200), q in 0.0f64..=1.0) {
            let sketch: Sketch = values.iter().map(|v| (bucket(*v), 1)).collect();
            values.sort_unstable();
            let exact = values[(q * (values.len() - 1) as f64).floor() as usize] as f64;
            let estimate = sketch.quantile(q).unwrap();
            prop_assert!((estimate - exact).abs() <= exact.abs() * ACCURACY * 1.000_001, "{estimate} for {exact}");
        }

        #[test]
        fn subtracting_what_was_added_leaves_what_was_there(kept in prop::collection::vec(-1_000i64..1_000, 0..50), gone in prop::collection::vec(-1_000i64..1_000, 0..50)) {
            let expected: Sketch = kept.iter().map(|v| (bucket(*v), 1)).collect();
            let mut sketch: Sketch = gone.iter().chain(&kept).map(|v| (bucket(*v), 1)).collect();
            gone.iter().for_each(|v| sketch.add(bucket(*v), -1));
            prop_assert_eq!(sketch, expected);
        }
    }
}
