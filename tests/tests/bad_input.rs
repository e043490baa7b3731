//! Vectors that nobody would choose: all the same, zeros, two clusters, one dimension or thousands, and fewer than are asked for.

use tests::bed::{Bed, Vectors, recall_of};
use tests::random::Random;

const QUERIES: usize = 50;
/// Enough rows for a graph.
const ROWS: usize = 3_000;
const ALL: [&str; 3] = ["l2", "dot", "cosine"];
/// Metrics that know lengths.
const LENGTHS: [&str; 2] = ["l2", "dot"];

/// Each of these metrics reaches `least`; all of them are tried before one is found wanting.
#[track_caller]
fn assert_recall(metrics: &[&'static str], least: f64, recall: impl Fn(&'static str) -> f64) {
    let recalls: Vec<(&str, f64)> = metrics.iter().map(|metric| (*metric, recall(metric))).collect();
    assert!(recalls.iter().all(|(_, recall)| *recall >= least), "recall {recalls:?}, and at least {least} is wanted");
}

#[test]
fn identical_rows_are_one_answer() {
    assert_recall(&ALL, 1.0, |metric| {
        let queries = Vectors::random(5, 24, &mut Random::new(1), |_| 1.0);
        let rows = if metric == "cosine" { 10_000 } else { ROWS };
        recall_of(metric, "identical", Vectors::new(rows, 24, |_| 0.25), &queries)
    });
}

#[test]
fn zeros_are_rows_where_they_have_a_distance() {
    assert_recall(&LENGTHS, 1.0, |metric| {
        let queries = Vectors::random(5, 24, &mut Random::new(2), |_| 1.0);
        recall_of(metric, "zeros", Vectors::new(ROWS, 24, |_| 0.0), &queries)
    });
}

#[test]
fn one_row_is_the_answer_to_everything() {
    assert_recall(&ALL, 1.0, |metric| {
        let mut random = Random::new(3);
        let row = Vectors::random(1, 24, &mut random, |_| 1.0);
        recall_of(metric, "one row", row, &Vectors::random(5, 24, &mut random, |_| 1.0))
    });
}

#[test]
fn more_results_than_rows_are_all_rows() {
    // Without a graph, and with one.
    for rows in [7, 1_500] {
        let mut random = Random::new(4);
        let bed = Bed::of("l2", Vectors::random(rows, 24, &mut random, |_| 1.0));
        let queries = Vectors::random(3, 24, &mut random, |_| 1.0);
        for k in [rows, rows + 1, 5_000] {
            assert_eq!(bed.recall("more than there are", &queries, k), 1.0);
        }
        bed.stop();
    }
}

/// Half of the rows around a point, then the other half around the opposite one.
fn recall_of_clusters(metric: &'static str, centre: f32) -> f64 {
    let mut random = Random::new(5);
    let mut around = |rows: usize, centre: f32| Vectors::new(rows, 24, |_| centre + random.unit());
    let rows = around(ROWS / 2, centre).then(around(ROWS / 2, -centre));
    let queries = around(QUERIES / 2, centre).then(around(QUERIES / 2, -centre));
    recall_of(metric, &format!("clusters at {centre}"), rows, &queries)
}

#[test]
fn far_clusters_are_both_found() {
    assert_recall(&ALL, 0.95, |metric| recall_of_clusters(metric, 3.0));
}

fn recall_of_one_dimension(metric: &'static str) -> f64 {
    let mut random = Random::new(6);
    let rows = Vectors::random(2_000, 1, &mut random, |_| 1.0);
    recall_of(metric, "one dimension", rows, &Vectors::random(QUERIES, 1, &mut random, |_| 1.0))
}

#[test]
fn one_dimension_is_enough() {
    assert_recall(&ALL, 0.95, recall_of_one_dimension);
}

#[test]
fn thousands_of_dimensions_are_not_too_many() {
    assert_recall(&["l2", "cosine"], 0.95, |metric| {
        let mut random = Random::new(8);
        let centres = Vectors::random(30, 4_096, &mut random, |_| 1.0);
        let mut near = |rows: usize| {
            let of_row = |row: usize| centres.iter().nth(row % 30).expect("a centre").to_vec();
            let values = (0..rows).flat_map(of_row).map(|x| x + 0.7 * random.unit()).collect();
            Vectors { values, dimension: 4_096 }
        };
        let (rows, queries) = (near(1_200), near(20));
        recall_of(metric, "thousands", rows, &queries)
    });
}
