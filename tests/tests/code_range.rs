//! Vectors that one scale of 8-bit codes for the whole collection suits badly: lengths from next to nothing to next to too much, rows of
//! another size than those that the scale was trained on, queries longer or shorter than the rows, and rows that differ by less
//! than a step of the codes.
//!
//! hnswlib (M 16, efConstruction 200, ef 64, f32) finds 0.95 or more in data made in the same way, but under l2 less where lengths
//! span many powers of ten (0.73 of extreme lengths; 0.43 where later rows are a thousand times as long). What is wanted here is 0.95, or a little
//! less than what was seen.

use tests::bed::{Bed, Vectors, recall_of};
use tests::random::Random;

const K: usize = 10;
const QUERIES: usize = 50;
/// Enough rows for a graph.
const ROWS: usize = 3_000;

/// Each of these metrics reaches its recall; all of them are tried before one is found wanting.
#[track_caller]
fn assert_recalls(wanted: &[(&'static str, f64)], recall: impl Fn(&'static str) -> f64) {
    let recalls: Vec<(&str, f64, f64)> =
        wanted.iter().map(|&(metric, least)| (metric, least, recall(metric))).collect();
    assert!(recalls.iter().all(|(_, least, recall)| recall >= least), "metric, recall wanted and found: {recalls:?}");
}

#[test]
fn rows_on_a_line_closer_than_a_step() {
    // Under l2 some 24 rows have the same code, which a sample of them does not show.
    assert_recalls(&[("l2", 0.85), ("dot", 0.95), ("cosine", 0.95)], |metric| {
        // Each vector is one number, over and over; a different one in each row.
        let rows = Vectors::new(ROWS, 24, |row| (row as f32 + 1.0) / ROWS as f32);
        let queries = Vectors::new(QUERIES, 24, |query| (query as f32 + 0.5) / QUERIES as f32);
        recall_of(metric, "line", rows, &queries)
    });
}

#[test]
fn numbers_closer_than_a_step() {
    assert_recalls(&[("l2", 0.95)], |metric| {
        let mut random = Random::new(6);
        let rows = Vectors::random(10_000, 1, &mut random, |_| 1.0);
        recall_of(metric, "one dimension", rows, &Vectors::random(QUERIES, 1, &mut random, |_| 1.0))
    });
}

#[test]
fn clusters_of_the_width_of_a_step() {
    assert_recalls(&[("l2", 0.95)], |metric| {
        let mut random = Random::new(5);
        let mut around = |rows: usize, centre: f32| Vectors::new(rows, 24, |_| centre + random.unit());
        let rows = around(ROWS / 2, 1_000.0).then(around(ROWS / 2, -1_000.0));
        let queries = around(QUERIES / 2, 1_000.0).then(around(QUERIES / 2, -1_000.0));
        recall_of(metric, "clusters at ±1000", rows, &queries)
    });
}

/// Rows and queries of lengths from 1e-20 to 1e18, as many of each power of ten.
fn recall_of_extreme_lengths(metric: &'static str) -> f64 {
    let length = |row: usize| 10f32.powi((row % 39) as i32 - 20);
    let mut random = Random::new(9);
    let rows = Vectors::random(ROWS, 24, &mut random, length);
    recall_of(metric, "extreme lengths", rows, &Vectors::random(QUERIES, 24, &mut random, length))
}

#[test]
fn extreme_lengths_under_cosine() {
    assert_recalls(&[("cosine", 0.95)], recall_of_extreme_lengths);
}

#[test]
fn extreme_lengths_under_dot() {
    assert_recalls(&[("dot", 0.95)], recall_of_extreme_lengths);
}

#[test]
fn extreme_lengths_under_l2() {
    assert_recalls(&[("l2", 0.9)], recall_of_extreme_lengths);
}

/// Rows of ordinary length under dot, which no query's length may disturb.
#[test]
fn lengths_of_queries_do_not_matter_under_dot() {
    let recall = |length: f32| {
        let mut random = Random::new(13);
        let rows = Vectors::random(ROWS, 24, &mut random, |_| 1.0);
        let queries = Vectors::random(QUERIES, 24, &mut random, |_| length);
        (length, recall_of("dot", &format!("queries × {length:e}"), rows, &queries))
    };
    let recalls = [1e-20, 1e-3, 1.0, 1e3, 1e18].map(recall);
    assert!(recalls.iter().all(|(_, recall)| *recall >= 0.95), "recall by length {recalls:?}");
}

/// The codes are made to measure for the first rows; those that come later are `factor` times as long, and so are the queries.
fn recall_of_later_rows(metric: &'static str, factor: f32) -> f64 {
    let mut random = Random::new(12);
    let mut bed = Bed::new(metric, 24);
    bed.write(Vectors::random(1_200, 24, &mut random, |_| 1.0));
    bed.wait_indexed();
    bed.write(Vectors::random(ROWS, 24, &mut random, |_| factor));
    bed.wait_indexed();
    let queries = Vectors::random(QUERIES, 24, &mut random, |_| factor);
    let recall = bed.recall(&format!("later rows × {factor}"), &queries, K);
    bed.stop();
    recall
}

#[test]
fn later_rows_are_twice_as_long() {
    assert_recalls(&[("l2", 0.95), ("dot", 0.95)], |metric| recall_of_later_rows(metric, 2.0));
}

#[test]
fn later_rows_are_a_thousand_times_as_long() {
    assert_recalls(&[("l2", 0.9), ("dot", 0.95), ("cosine", 0.95)], |metric| recall_of_later_rows(metric, 1e3));
}

#[test]
fn later_rows_are_a_thousandth_as_long() {
    assert_recalls(&[("l2", 0.95), ("dot", 0.95), ("cosine", 0.95)], |metric| recall_of_later_rows(metric, 1e-3));
}
