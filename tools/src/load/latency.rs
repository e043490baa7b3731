//! Latencies, in a histogram of fixed size.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value};

/// Longest latency that is told apart: an hour.
const NANOSECONDS_MAX: u64 = 3_600_000_000_000;
/// Significant digits that are kept.
const DIGITS: u8 = 3;

/// Quantiles that are told, with their names.
const QUANTILES: [(&str, f64); 4] = [("p50_us", 0.50), ("p95_us", 0.95), ("p99_us", 0.99), ("p999_us", 0.999)];

/// Points of the curve of percentiles for each halving of the distance to 100 %.
const CURVE_STEPS_PER_HALVING: u32 = 5;

/// A set of latencies.
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    /// An empty set.
    pub fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, NANOSECONDS_MAX, DIGITS).expect("the bounds are constants");
        Latencies { histogram }
    }

    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanoseconds.max(1));
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.histogram.reset();
    }

    /// The curve of percentiles up to the maximum: each with its latency in µs. It ends where as many latencies cannot tell more.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let last = 1.0 - 0.5 / self.count().max(1) as f64;
        let steps = self.histogram.iter_quantiles(CURVE_STEPS_PER_HALVING);
        steps.map(|step| (step.quantile_iterated_to().min(last), step.value_iterated_to() as f64 / 1e3)).collect()
    }

    /// The longest, in µs.
    pub fn max_us(&self) -> f64 {
        (self.histogram.max() as f64 / 100.0).round() / 10.0
    }

    /// Number of latencies.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// A quantile, in µs with one decimal.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        (self.histogram.value_at_quantile(quantile) as f64 / 100.0).round() / 10.0
    }

    /// Puts the quantiles and the maximum into a JSON object.
    pub fn describe(&self, object: &mut Map<String, Value>) {
        for (name, quantile) in QUANTILES {
            object.insert(name.to_owned(), Value::from(self.quantile_us(quantile)));
        }
        object.insert("max_us".to_owned(), Value::from(self.max_us()));
    }
}

/// The quantiles in words.
impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = |quantile: f64| crate::output::rate(self.quantile_us(quantile));
        write!(f, "p50 {} µs, p95 {} µs, p99 {} µs", us(0.50), us(0.95), us(0.99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_from_all_sets() {
        let (mut low, mut high) = (Latencies::new(), Latencies::new());
        (1..=50).for_each(|us| low.record(Duration::from_micros(us)));
        (51..=100).for_each(|us| high.record(Duration::from_micros(us)));
        low.merge(&high);
        assert_eq!(low.count(), 100);
        assert!((low.quantile_us(0.5) - 50.0).abs() < 0.2, "{}", low.quantile_us(0.5));
        assert!((low.quantile_us(0.99) - 99.0).abs() < 0.2);
        let curve = low.curve();
        assert!(curve.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{curve:?}");
        let (quantile, us) = *curve.last().unwrap();
        assert!(quantile == 0.995 && (us - 100.0).abs() < 0.2, "{quantile} {us}");
        let mut object = Map::new();
        low.describe(&mut object);
        assert_eq!(
            object.keys().map(String::as_str).collect::<Vec<_>>(),
            ["max_us", "p50_us", "p95_us", "p999_us", "p99_us"]
        );
    }
}
