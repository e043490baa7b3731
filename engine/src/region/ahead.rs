//! Vectors that are copied while the rest of their batch is still arriving.
//!
//! A batch of 10 MB takes milliseconds to copy, check and encode. Done as its bytes come in, that is a little of each turn instead
//! of one long one, and what is copied is in the cache. Nothing depends on it: it goes where `fill` would put it, above what is filled,
//! and `fill` passes over what it finds done. Whatever comes between (another batch that is filled first, an encoder that became
//! ready) only makes it void.

use super::RegionWriter;
use super::chunks::Run;
use super::column::CodeWriter;
use crate::batch::Arriving;

/// A batch is only begun while no more of it than this is there: one that was overtaken does not begin again.
const BEGIN_BYTES_MAX: usize = 1 << 20;

/// What was copied ahead.
#[derive(Default)]
pub(super) struct Ahead {
    /// Number of the batch; None where there is none.
    number: Option<u64>,
    /// Where `fill` would begin.
    first: u64,
    /// Where the values came from, rows copied, and how codes are made, per vector column.
    sources: Vec<usize>,
    rows: Vec<usize>,
    codes: Vec<Coding>,
}

/// Whether codes are made in the pass: at all, and in the chunk that the batch begins in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Coding {
    is_encoding: bool,
    in_first_chunk: bool,
}

fn coding(codes: &Option<CodeWriter>, slot: u32) -> Coding {
    let codes = codes.as_ref();
    Coding {
        is_encoding: codes.is_some_and(|codes| codes.is_encoding),
        in_first_chunk: codes.is_some_and(|codes| codes.takes(slot)),
    }
}

impl Ahead {
    /// Whether it is of this batch, which would go to these runs.
    fn is_of(&self, number: u64, runs: &[Run], codes: &[Option<CodeWriter>]) -> bool {
        self.number == Some(number)
            && self.first == runs[0].ordinal
            && codes.iter().zip(&self.codes).all(|(codes, before)| coding(codes, runs[0].slot) == *before)
    }

    /// Whether a batch is on its way that would go behind the `filled` rows.
    pub fn is_under_way(&self, filled: u64) -> bool {
        self.number.is_some() && self.first == filled
    }

    fn begin(&mut self, number: u64, runs: &[Run], codes: &[Option<CodeWriter>]) {
        (self.number, self.first) = (Some(number), runs[0].ordinal);
        self.sources.clear();
        self.sources.resize(codes.len(), 0);
        self.rows.clear();
        self.rows.resize(codes.len(), 0);
        self.codes.clear();
        self.codes.extend(codes.iter().map(|codes| coding(codes, runs[0].slot)));
    }

    /// Ends it, and keeps what is done where it is of the batch with this number, which goes to these runs.
    pub fn finish(&mut self, number: Option<u64>, runs: &[Run], codes: &[Option<CodeWriter>]) {
        if !number.is_some_and(|number| self.is_of(number, runs, codes)) {
            self.rows.clear();
        }
        self.number = None;
    }

    /// Rows of a vector column that are done, of the batch that it was finished for. `values` are the column's: those that were
    /// copied are the same, if they lay at the same place.
    pub fn done(&self, vector_index: usize, values: &[u8]) -> usize {
        let rows = self.rows.get(vector_index).copied().unwrap_or(0);
        if rows > 0 && self.sources[vector_index] == values.as_ptr().addr() { rows } else { 0 }
    }
}

impl RegionWriter {
    /// Copies, checks and encodes the vectors of a batch that have arrived since the last call. Best effort: a batch that cannot be
    /// taken is refused by [`RegionWriter::fill`], and one batch at a time is taken in this way.
    pub fn fill_ahead(&mut self, arriving: &Arriving<'_>) {
        if self.codes.is_empty() {
            return; // no vectors
        }
        let Some((rows, _)) = arriving.vectors(&self.region.schema, 0) else { return };
        let is_begun = self.ahead.number == Some(arriving.number);
        let is_other_under_way = !is_begun && self.ahead.is_under_way(self.filled);
        if is_other_under_way || (!is_begun && arriving.arrived > BEGIN_BYTES_MAX) {
            return;
        }
        if self.prepare(rows).is_err() {
            return;
        }
        let runs = std::mem::take(&mut self.runs);
        let mut ahead = std::mem::take(&mut self.ahead);
        if !is_begun {
            ahead.begin(arriving.number, &runs, &self.codes);
        }
        if !ahead.is_of(arriving.number, &runs, &self.codes)
            || self.continue_ahead(arriving, rows, &runs, &mut ahead).is_none()
        {
            ahead.number = None;
        }
        self.ahead = ahead;
        self.runs = runs;
    }

    /// None where the batch is going to be refused.
    fn continue_ahead(&mut self, arriving: &Arriving<'_>, rows: usize, runs: &[Run], ahead: &mut Ahead) -> Option<()> {
        let schema = self.region.schema.clone();
        for (vector_index, vector) in schema.vectors().iter().enumerate() {
            let (rows_too, values) = arriving.vectors(&schema, vector_index)?;
            let done = ahead.rows[vector_index];
            let there = values.len() / vector.row_bytes();
            if rows_too != rows || there < done {
                return None;
            }
            for run in runs {
                self.fill_vectors(vector_index, values, done..there, run, runs[0].ordinal).ok()?;
            }
            (ahead.rows[vector_index], ahead.sources[vector_index]) = (there, values.as_ptr().addr());
        }
        Some(())
    }
}
