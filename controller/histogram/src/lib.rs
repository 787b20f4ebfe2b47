//! Histograms of `u64` values with four buckets for each power of two, as far as openraft uses them.
//!
//! Invariant: memory follows the largest value recorded (8 bytes for each bucket up to its own, 2 KiB at most); there are no tables.

use std::fmt;
use std::marker::PhantomData;

/// Values below this have a bucket of their own.
const EXACT: u64 = 4;
/// Bits after the highest one that tell buckets of the same power of two apart.
const BITS: u32 = 2;
/// Buckets of all of `u64`.
const BUCKETS: usize = (64 - BITS as usize) * (1 << BITS) + EXACT as usize;

/// How often which values came up. `T` stands for what the original keeps of each time slot; nothing is kept of it here.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// Counts by bucket, up to the highest one in use.
    counts: Vec<u64>,
    total: u64,
    slot: PhantomData<fn() -> T>,
}

impl<T> Histogram<T> {
    pub fn new() -> Self {
        Self { counts: Vec::new(), total: 0, slot: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// `value` came up `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        if count == 0 {
            return;
        }
        let bucket = bucket_of(value);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(before) = self.counts.get_mut(bucket) {
            *before = before.saturating_add(count);
        }
        self.total = self.total.saturating_add(count);
    }

    /// How many values were recorded.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// A value that a share `p` (0 to 1) of all values does not exceed, as exact as its bucket; 0 when there are none.
    pub fn percentile(&self, p: f64) -> u64 {
        if self.total == 0 {
            return 0;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank"
        )]
        let rank = ((self.total as f64 * p).ceil() as u64).clamp(1, self.total);
        let mut before = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            if rank <= before.saturating_add(*count) {
                return within(bucket, rank - before, *count);
            }
            before = before.saturating_add(*count);
        }
        u64::MAX
    }

    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Histogram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({})", self.percentile_stats())
    }
}

/// Where `value` is counted.
fn bucket_of(value: u64) -> usize {
    if value < EXACT {
        return usize::try_from(value).unwrap_or(0);
    }
    let highest = value.ilog2();
    let within = (value >> (highest - BITS)) & (EXACT - 1);
    (highest - BITS) as usize * (1 << BITS) + EXACT as usize + usize::try_from(within).unwrap_or(0)
}

/// The smallest value of a bucket, and how many values it stands for.
fn span(bucket: usize) -> (u64, u64) {
    let bucket = bucket.min(BUCKETS - 1) as u64;
    if bucket < EXACT {
        return (bucket, 1);
    }
    let (power, within) = ((bucket - EXACT) >> BITS, (bucket - EXACT) & (EXACT - 1));
    ((EXACT + within) << power, 1 << power)
}

/// The value of rank `rank` of `count` values that are spread evenly over a bucket.
fn within(bucket: usize, rank: u64, count: u64) -> u64 {
    let (first, width) = span(bucket);
    let offset = u128::from(width - 1) * u128::from(rank) / u128::from(count.max(1));
    first + u64::try_from(offset).unwrap_or(width - 1)
}

/// The usual percentiles of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p0_1, p1, p5, p10, p50, p90, p99, p99_9 } = self;
        write!(
            f,
            "{samples} samples, p0.1 {p0_1}, p1 {p1}, p5 {p5}, p10 {p10}, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}"
        )
    }
}

/// Several histograms to be shown together: one line of percentiles for each.
#[derive(Debug, Clone)]
pub struct AsciiChart<T = ()> {
    series: Vec<(String, Histogram<T>)>,
}

impl<T> AsciiChart<T> {
    pub fn new() -> Self {
        Self { series: Vec::new() }
    }

    #[must_use]
    pub fn add(mut self, name: &str, histogram: Histogram<T>) -> Self {
        self.series.push((name.to_owned(), histogram));
        self
    }

    /// What to print.
    pub fn detailed(&self) -> &Self {
        self
    }
}

impl<T> Default for AsciiChart<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Display for AsciiChart<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series.iter().try_for_each(|(name, histogram)| writeln!(f, "{name}: {}", histogram.percentile_stats()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps_from_0_to_the_largest_value() {
        let mut next = 0_u64;
        for bucket in 0..BUCKETS {
            let (first, width) = span(bucket);
            assert_eq!(first, next, "bucket {bucket}");
            assert_eq!((bucket_of(first), bucket_of(first + (width - 1))), (bucket, bucket));
            next = first.wrapping_add(width);
        }
        assert_eq!(next, 0, "the last bucket ends with the largest value");
    }

    #[test]
    fn percentiles_are_as_exact_as_a_bucket() {
        let mut histogram = Histogram::<()>::new();
        (1..=10_000).for_each(|value| histogram.record(value));
        assert_eq!(histogram.total(), 10_000);
        for (p, exact) in [(0.001, 10_u64), (0.5, 5_000), (0.99, 9_900), (1.0, 10_000)] {
            let found = histogram.percentile(p);
            assert!(found.abs_diff(exact) <= exact / 4, "p{p}: {found}, exactly {exact}");
        }
        let stats = histogram.percentile_stats();
        assert!(stats.p0_1 <= stats.p1 && stats.p10 <= stats.p50 && stats.p99 <= stats.p99_9);
    }

    #[test]
    fn an_empty_histogram_takes_no_memory_and_the_extremes_fit() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!((histogram.percentile(0.5), histogram.counts.capacity()), (0, 0));
        histogram.record_n(7, 0);
        assert_eq!(histogram.total(), 0);
        histogram.record_n(u64::MAX, 2);
        histogram.record(0);
        assert_eq!((histogram.percentile(0.0), histogram.counts.len()), (0, BUCKETS));
        assert!(histogram.percentile(1.0) >= 7 << 61);
    }
}
