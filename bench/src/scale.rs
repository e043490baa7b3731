//! More rows than there are data for: build rate, search and memory of ours and two peers as the rows become more.
//!
//! The rows are the real ones and, behind them, rows made from them ([`synthetic`]); how alike those are is measured first
//! ([`shape`]). The queries are the real ones. Every size goes to the engines as in the section `peers`.

pub mod shape;
pub mod synthetic;

use std::path::Path;

use shape::Shape;
use synthetic::Source;

use crate::graph::Vectors;
use crate::peers;
use crate::report::{Comparison, Figure};

/// Sizes of a full run.
pub const ROWS: [usize; 3] = [62_436, 250_000, 1_000_000];
/// Most rows at which ours and hnswlib are measured twice: above, once takes long enough.
const TWICE_ROWS_MAX: usize = 250_000;
/// Sizes of a quick run, of which the second is more than it has real rows.
const QUICK_ROWS: [usize; 2] = [3_000, 5_000];
const QUICK_REAL_ROWS: usize = 4_000;
const QUICK_QUERIES: usize = 200;
/// Besides hnswlib: one whose rows are quantised.
const OTHERS: [&str; 1] = ["faiss-hnsw-sq8"];

/// What a run measured.
pub struct Outcome {
    /// Neighbourhoods of real rows, beside those of made rows.
    pub figures: Vec<Figure>,
    /// A table a size.
    pub comparisons: Vec<Comparison>,
}

/// Measures at each of `sizes`, or at [`ROWS`] when there are none; with `quick` at few. `program` is that of this crate.
pub fn run(quick: bool, sizes: &[usize], program: &Path, scratch: &Path, base: &Path, queries: &Path) -> Outcome {
    let (rows_max, queries_max) = if quick { (QUICK_REAL_ROWS, QUICK_QUERIES) } else { (usize::MAX, usize::MAX) };
    let sizes = match (sizes, quick) {
        ([], false) => &ROWS[..],
        ([], true) => &QUICK_ROWS,
        (sizes, _) => sizes,
    };
    let queries = Vectors::read(queries, queries_max);
    let source = Source::new(Vectors::read(base, rows_max));
    let mut figures = shapes(&source);
    let mut comparisons = Vec::new();
    for &rows in sizes {
        let base = source.rows(rows);
        if rows > source.real().len() {
            figures.extend(Shape::measure(&base).figures(&format!("{rows} rows, real and made"), None));
        }
        comparisons.push(peers::compare(program, scratch, &base, &queries, &OTHERS, rows <= TWICE_ROWS_MAX));
    }
    Outcome { figures, comparisons }
}

/// Made rows only, as many as there are real ones, beside the real ones.
fn shapes(source: &Source) -> Vec<Figure> {
    let count = source.real().len();
    let real = Shape::measure(source.real());
    let made = Shape::measure(&source.made(count..2 * count));
    let mut figures = real.figures(&format!("{count} real rows"), None);
    figures.extend(made.figures(&format!("{count} made rows"), Some(&real)));
    figures
}
