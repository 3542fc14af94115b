//! Counts values by their magnitude: the part of base2histogram's interface that openraft's run-time figures use.
//!
//! One counter for each power of two, half a KiB in all and no tables. A percentile is the upper end of its power of
//! two: coarser than the original, for figures that Landbridge does not show.

use std::{fmt, marker::PhantomData};

/// Zero, and one range for each bit.
const RANGES: usize = 1 + u64::BITS as usize;

/// Counts of values by magnitude. `T` is the original's label of time slots, of which there is only one here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; RANGES],
    label: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Nothing counted.
    pub fn new() -> Self {
        Self { counts: [0; RANGES], label: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value so many times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let range = (u64::BITS - value.leading_zeros()) as usize;
        self.counts[range] = self.counts[range].saturating_add(count);
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The greatest value of the range that holds this share of all values, zero if there are none.
    pub fn percentile(&self, share: f64) -> u64 {
        let wanted = (share * self.total() as f64).ceil().max(1.0) as u64;
        let mut seen = 0_u64;
        let range = self.counts.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= wanted
        });
        match range {
            None | Some(0) => 0,
            Some(bits) => u64::MAX >> (u64::BITS as usize - bits),
        }
    }

    /// The usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
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

/// Percentiles of what was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// One in a thousand is not greater.
    pub p0_1: u64,
    /// One in a hundred is not greater.
    pub p1: u64,
    /// One in twenty is not greater.
    pub p5: u64,
    /// One in ten is not greater.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// One in ten is greater.
    pub p90: u64,
    /// One in a hundred is greater.
    pub p99: u64,
    /// One in a thousand is greater.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p50, p90, p99, p99_9, .. } = self;
        write!(f, "{samples} values, half of them up to {p50}, P90 {p90}, P99 {p99}, P99.9 {p99_9}")
    }
}

/// Several histograms under their names, one a line.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart(Vec<(&'static str, Histogram)>);

impl AsciiChart {
    /// An empty chart.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chart with one more line.
    pub fn add(mut self, name: &'static str, histogram: Histogram) -> Self {
        self.0.push((name, histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(name, histogram)| writeln!(f, "{name}: {}", histogram.percentile_stats()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_end_of_its_range() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile(0.5), 0);

        histogram.record_n(5, 98);
        histogram.record(1_000);
        histogram.record(u64::MAX);

        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p50, stats.p99, stats.p99_9), (100, 7, 1_023, u64::MAX));
        let line = "a: 100 values, half of them up to 7, P90 7, P99 1023, P99.9 18446744073709551615\n";
        assert_eq!(AsciiChart::new().add("a", histogram).to_string(), line);
    }
}
