//! The judgement of a long load: whether it is as quick in the end as in the beginning, every second, and stays within its means.

use serde::Serialize;

use super::{Ingested, Latencies, Moment};

/// Standard deviation of the seconds' MB/s beside their mean, at most.
const VARIATION_MAX: f64 = 0.10;
/// The slowest second beside the median, at least.
const SLOWEST_MIN: f64 = 0.7;
/// 99th percentile of the searches beside the load, at most.
const SEARCH_P99_MAX_US: f64 = 25_000.0;
/// Mean of memory and disk in the last third beside that of the second, at most.
const GROWTH_MAX: f64 = 1.1;

/// What a long load was like.
#[derive(Debug, Clone, Serialize)]
pub struct Soak {
    /// Whole seconds.
    pub seconds: usize,
    /// Standard deviation of their MB/s divided by the mean.
    pub variation: f64,
    /// The slowest second divided by the median one.
    pub slowest: f64,
    /// Median second.
    pub median_mb_per_s: f64,
    /// How memory grows once every id was written once, in bytes a second; none where that took too long.
    pub resident_slope: Option<f64>,
    /// How the data directory grows, likewise.
    pub disk_slope: Option<f64>,
    /// Mean memory of the last third beside that of the second.
    pub resident_growth: f64,
    /// Mean disk space, likewise.
    pub disk_growth: f64,
    /// Searches beside the load: median, 99th percentile and longest in µs, and how many.
    pub search_p50_us: Option<f64>,
    /// See `search_p50_us`.
    pub search_p99_us: Option<f64>,
    /// See `search_p50_us`.
    pub search_max_us: Option<f64>,
    /// See `search_p50_us`.
    pub searches: u64,
}

/// One goal, and whether it is met.
#[derive(Debug, Clone, Serialize)]
pub struct Goal {
    /// What it is about.
    pub name: &'static str,
    /// What was measured.
    pub value: f64,
    /// What it has to be.
    pub bound: String,
    /// Whether it is.
    pub met: bool,
}

impl Soak {
    /// Looks at a load of at least three whole seconds; `ids` is the number of rows after which ids come again.
    pub fn new(ingested: &Ingested, ids: u64) -> Option<Soak> {
        let series = &ingested.series;
        if series.len() < 3 {
            return None;
        }
        let speeds: Vec<f64> = series.iter().map(|moment| moment.mb_per_s).collect();
        let median_mb_per_s = median(&speeds);
        let slowest = speeds.iter().copied().fold(f64::INFINITY, f64::min);
        let later = after_first_round(series, ids);
        let resident = |moment: &Moment| moment.resident_bytes as f64;
        let disk = |moment: &Moment| moment.disk_bytes as f64;
        let searches = ingested.searches.as_ref().filter(|searches| searches.count() > 0);
        Some(Soak {
            seconds: series.len(),
            variation: deviation(&speeds) / mean(&speeds).max(f64::MIN_POSITIVE),
            slowest: slowest / median_mb_per_s.max(f64::MIN_POSITIVE),
            median_mb_per_s,
            resident_slope: slope(later.iter().map(resident)),
            disk_slope: slope(later.iter().map(disk)),
            resident_growth: growth(series, resident),
            disk_growth: growth(series, disk),
            search_p50_us: searches.map(|searches| searches.quantile_us(0.50)),
            search_p99_us: searches.map(|searches| searches.quantile_us(0.99)),
            search_max_us: searches.map(Latencies::max_us),
            searches: searches.map_or(0, Latencies::count),
        })
    }

    /// Judges it.
    pub fn goals(&self) -> Vec<Goal> {
        let at_most = |name, value: f64, most: f64, unit: &str| {
            let bound = format!("at most {most}{unit}");
            Goal { name, value, bound, met: value <= most }
        };
        let slowest = Goal {
            name: "slowest second / median",
            value: self.slowest,
            bound: format!("at least {SLOWEST_MIN}"),
            met: self.slowest >= SLOWEST_MIN,
        };
        let mut goals = vec![
            at_most("variation of MB/s", self.variation, VARIATION_MAX, ""),
            slowest,
            at_most("memory, last third / second third", self.resident_growth, GROWTH_MAX, ""),
            at_most("disk, last third / second third", self.disk_growth, GROWTH_MAX, ""),
        ];
        if let Some(p99_us) = self.search_p99_us {
            goals.push(at_most("search p99 beside the load", p99_us / 1e3, SEARCH_P99_MAX_US / 1e3, " ms"));
        }
        goals
    }
}

/// The seconds after every id was written once.
fn after_first_round(series: &[Moment], ids: u64) -> &[Moment] {
    let mut rows = 0;
    let is_first = |moment: &&Moment| {
        rows += moment.rows_per_s;
        rows <= ids
    };
    &series[series.iter().take_while(is_first).count()..]
}

/// Mean of the last third of the seconds beside that of the second.
fn growth(series: &[Moment], value: impl Fn(&Moment) -> f64) -> f64 {
    let third = series.len() / 3;
    let mean_of = |range: std::ops::Range<usize>| mean(&series[range].iter().map(&value).collect::<Vec<_>>());
    let (second, last) = (mean_of(third..2 * third), mean_of(2 * third..series.len()));
    if second > 0.0 { last / second } else { 1.0 }
}

/// Change a second of values that are a second apart, by least squares.
fn slope(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    if values.len() < 3 {
        return None;
    }
    let (middle, height) = ((values.len() - 1) as f64 / 2.0, mean(&values));
    let (mut product, mut square) = (0.0, 0.0);
    for (second, value) in values.iter().enumerate() {
        let distance = second as f64 - middle;
        product += distance * (value - height);
        square += distance * distance;
    }
    Some(product / square)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::sampler::Visibility;

    /// A load with these MB/s and these bytes of memory; 10 rows a MB.
    fn ingested(speeds: &[f64], resident: &[u64]) -> Ingested {
        let moment = |(second, (&mb_per_s, &resident_bytes)): (usize, (&f64, &u64))| Moment {
            second,
            mb_per_s,
            rows_per_s: (mb_per_s * 10.0) as u64,
            p50_us: 1.0,
            p99_us: 2.0,
            resident_bytes,
            disk_bytes: 50,
            backlog_rows: 0,
        };
        let mut searches = Latencies::new();
        searches.record(Duration::from_millis(30));
        Ingested {
            rows: 0,
            replaced: 0,
            seconds: speeds.len() as f64,
            latencies: Latencies::new(),
            series: speeds.iter().zip(resident).enumerate().map(moment).collect(),
            visibility: Visibility::default(),
            searches: Some(searches),
        }
    }

    #[test]
    fn a_load_that_slows_down_and_grows_misses_its_goals() {
        let speeds = [100.0, 100.0, 100.0, 100.0, 100.0, 40.0];
        let soak = Soak::new(&ingested(&speeds, &[10, 10, 10, 20, 30, 40]), 2_500).unwrap();
        assert!((soak.variation - 22.36 / 90.0).abs() < 1e-3, "{}", soak.variation);
        assert_eq!((soak.slowest, soak.median_mb_per_s), (0.4, 100.0));
        // The first round ends in the third second.
        assert!((soak.resident_slope.unwrap() - 10.0).abs() < 1e-9, "{:?}", soak.resident_slope);
        assert!(soak.disk_slope.unwrap().abs() < 1e-9);
        assert!((soak.resident_growth - 35.0 / 15.0).abs() < 1e-9);
        assert_eq!(soak.goals().iter().filter(|goal| !goal.met).count(), 4);
    }

    #[test]
    fn an_even_load_meets_them() {
        let mut load = ingested(&[100.0, 98.0, 101.0], &[10, 11, 11]);
        load.searches = None;
        let soak = Soak::new(&load, 1).unwrap();
        assert!(soak.goals().iter().all(|goal| goal.met), "{:?}", soak.goals());
        assert!(Soak::new(&ingested(&[1.0, 1.0], &[1, 1]), 1).is_none(), "too short to judge");
    }
}
