//! Ours and the indexes of other projects on the same rows, in one go: one table, with hnswlib as the measure of the ratios.
//!
//! Each engine runs in a fresh process, one after the other. Ours and hnswlib run at the start and at the end; their values
//! are the means of both, and the spread says how far apart those were: differences below it mean nothing.

use std::path::Path;

use crate::engines::{self, Work};
use crate::graph::{Figures, K, K_WIDE, OURS, SWEEPS, Truth, Vectors};
use crate::report::{ComparedEngine, Comparison};

/// What ratios are to.
const MEASURE: &str = "hnswlib";
/// The others, by the names of `peers/index_peer.py`.
const OTHERS: [&str; 7] =
    ["usearch-f32", "usearch-i8", "faiss-hnsw", "faiss-hnsw-sq8", "faiss-ivf-pq", "svs-lvq8", "vsag-sq8"];
const QUICK_ROWS: usize = 5_000;
const QUICK_QUERIES: usize = 200;
const COLUMNS: [(&str, &str); 12] = [
    ("build_rows_per_s", "build rows/s"),
    ("build_ratio", "ratio"),
    ("build_spread", "spread"),
    ("qps_at_090", "QPS at 0.90"),
    ("qps_at_095", "at 0.95"),
    ("qps_at_098", "at 0.98"),
    ("qps_at_099", "at 0.99"),
    ("ratio_at_095", "ratio at 0.95"),
    ("ratio_at_099", "ratio at 0.99"),
    ("spread_at_095", "spread at 0.95"),
    ("qps_of_100_at_095", "k 100, at 0.95"),
    ("bytes_per_row", "bytes/row"),
];

/// What is known of an engine: a [`Figures`] a run, or why it did not run.
type Runs = (String, Result<Vec<Figures>, String>);

/// Measures on the `embedding` columns of two Parquet files; with `quick` on few rows. `program` is that of this crate.
pub fn run(quick: bool, program: &Path, scratch: &Path, base: &Path, queries: &Path) -> Comparison {
    let (rows_max, queries_max) = if quick { (QUICK_ROWS, QUICK_QUERIES) } else { (usize::MAX, usize::MAX) };
    let (base, queries) = (Vectors::read(base, rows_max), Vectors::read(queries, queries_max));
    compare(program, scratch, &base, &queries, &OTHERS, true)
}

/// Measures ours, hnswlib and `others`; with `twice`, ours and hnswlib at the end once more.
pub fn compare(
    program: &Path,
    scratch: &Path,
    base: &Vectors,
    queries: &Vectors,
    others: &[&str],
    twice: bool,
) -> Comparison {
    eprintln!("exact answers to {} queries over {} rows …", queries.len(), base.len());
    let truth = Truth::new(base, queries, &SWEEPS.map(|(k, _)| k));
    let work = Work::new(scratch, base, queries, &truth);
    let ours = || OURS.map(|(name, _)| name);
    let own: Vec<&str> = ours().into_iter().chain([MEASURE]).collect();
    let again = own.iter().copied().filter(|_| twice);
    let order: Vec<&str> = own.iter().copied().chain(others.iter().copied()).chain(again).collect();
    let mut engines: Vec<Runs> = Vec::new();
    for name in order {
        let known = engines.iter().position(|(of, _)| of == name);
        // What could not run at the start is not asked again at the end.
        if known.is_some_and(|known| engines[known].1.is_err()) {
            continue;
        }
        let figures = match ours().contains(&name) {
            true => engines::run_ours(program, name, &work),
            false => engines::run_peer(name, &work),
        };
        let figures = figures.inspect_err(|why| eprintln!("{name}: {why}"));
        match (known, figures) {
            (None, figures) => engines.push((name.to_owned(), figures.map(|figures| vec![figures]))),
            (Some(known), Ok(figures)) => engines[known].1.as_mut().expect("it ran before").push(figures),
            (Some(known), Err(why)) => engines[known].1 = Err(why),
        }
    }
    table(format!("{} rows of {} f32, {} queries", work.rows(), base.dimension(), queries.len()), &engines)
}

fn table(title: String, engines: &[Runs]) -> Comparison {
    let measure = engines.iter().find(|(name, _)| name == MEASURE).and_then(|(_, runs)| runs.as_deref().ok());
    let row = |(name, runs): &Runs| {
        let values = runs.as_ref().map(|runs| values(runs, measure)).map_err(Clone::clone);
        ComparedEngine { name: name.clone(), values }
    };
    Comparison { title, columns: COLUMNS.into(), rows: engines.iter().map(row).collect() }
}

/// Values of the columns.
fn values(runs: &[Figures], measure: Option<&[Figures]>) -> Vec<Option<f64>> {
    let build = |figures: &Figures| Some(figures.build_rows_per_s);
    let qps = |k, recall| move |figures: &Figures| figures.qps_at(k, recall);
    let ratio = |value: &dyn Fn(&Figures) -> Option<f64>| Some(mean(runs, value)? / mean(measure?, value)?);
    vec![
        mean(runs, &build),
        ratio(&build),
        spread(runs, &build),
        mean(runs, &qps(K, 0.90)),
        mean(runs, &qps(K, 0.95)),
        mean(runs, &qps(K, 0.98)),
        mean(runs, &qps(K, 0.99)),
        ratio(&qps(K, 0.95)),
        ratio(&qps(K, 0.99)),
        spread(runs, &qps(K, 0.95)),
        mean(runs, &qps(K_WIDE, 0.95)),
        mean(runs, &|figures| Some(figures.bytes_per_row)),
    ]
}

/// Mean of the runs; None where one has no value.
fn mean(runs: &[Figures], value: &dyn Fn(&Figures) -> Option<f64>) -> Option<f64> {
    Some(runs.iter().map(value).sum::<Option<f64>>()? / runs.len() as f64)
}

/// How far apart the runs are, as a share of their mean; None of a single one.
fn spread(runs: &[Figures], value: &dyn Fn(&Figures) -> Option<f64>) -> Option<f64> {
    let values = runs.iter().map(value).collect::<Option<Vec<f64>>>().filter(|values| values.len() > 1)?;
    let (least, most) =
        (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max));
    Some((most - least) / mean(runs, value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Point;

    #[test]
    fn ratios_are_to_the_mean_of_hnswlib() {
        let run = |rate, qps| {
            let point = Point { k: K, ef: 10, recall: 0.96, qps };
            Figures { build_rows_per_s: rate, bytes_per_row: 2_000.0, points: vec![point] }
        };
        let engines = [
            ("ours".to_owned(), Ok(vec![run(8.0, 90.0)])),
            (MEASURE.to_owned(), Ok(vec![run(3.0, 20.0), run(5.0, 40.0)])),
            ("other".to_owned(), Err("it is not there".to_owned())),
        ];
        let table = table("test".into(), &engines);
        let of = |row: usize, key: &str| {
            let column = COLUMNS.iter().position(|(column, _)| *column == key).expect("a column");
            table.rows[row].values.as_ref().expect("it ran")[column]
        };
        assert_eq!((of(0, "build_ratio"), of(0, "ratio_at_095"), of(0, "build_spread")), (Some(2.0), Some(3.0), None));
        assert_eq!((of(1, "build_rows_per_s"), of(1, "build_spread")), (Some(4.0), Some(0.5)));
        assert_eq!((of(0, "qps_at_099"), of(0, "ratio_at_099"), of(0, "qps_of_100_at_095")), (None, None, None));
        assert_eq!(table.rows[2].values, Err("it is not there".to_owned()));
    }
}
