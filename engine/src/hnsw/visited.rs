//! Which nodes a search has seen: one byte a row that holds the number of the search that saw it last, so that a new
//! search clears nothing but every 255th time.
//!
//! Row ids have holes between the shards; the bytes have not: shard `s` has a run of them as long as it has rows, and
//! some room to grow.

/// Bytes a shard gets at least.
const ROWS_MIN: u32 = 1_024;

/// Rows seen by the current search.
#[derive(Default)]
pub(super) struct Visited {
    marks: Vec<u8>,
    /// Per shard: where its run starts, and its length.
    runs: Vec<(usize, u32)>,
    row_bits: u32,
    epoch: u8,
}

impl Visited {
    /// Forgets everything. `rows(shard)` is how many rows of a shard can turn up; those of later ones count as seen.
    pub fn reset(&mut self, shards: usize, row_bits: u32, rows: impl Fn(usize) -> u32) {
        let fits = self.runs.len() == shards
            && self.row_bits == row_bits
            && (0..shards).all(|shard| rows(shard) <= self.runs[shard].1);
        if !fits {
            self.lay_out(shards, row_bits, rows);
        }
        if self.epoch == u8::MAX {
            self.marks.fill(0);
            self.epoch = 0;
        }
        self.epoch += 1;
    }

    #[cold]
    fn lay_out(&mut self, shards: usize, row_bits: u32, rows: impl Fn(usize) -> u32) {
        self.runs.clear();
        self.row_bits = row_bits;
        let mut total = 0;
        for shard in 0..shards {
            let rows = rows(shard);
            let len = (rows + rows / 4).max(ROWS_MIN).min(1 << row_bits);
            self.runs.push((total, len));
            total += len as usize;
        }
        self.marks.clear();
        self.marks.resize(total, 0);
        self.epoch = 0;
    }

    /// Marks a row; true when it was not marked before.
    #[inline(always)]
    pub fn insert(&mut self, row: u32) -> bool {
        let (start, len) = self.runs[(row >> self.row_bits) as usize];
        let slot = row & ((1 << self.row_bits) - 1);
        if slot >= len {
            return false;
        }
        let mark = &mut self.marks[start + slot as usize];
        let new = *mark != self.epoch;
        *mark = self.epoch;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_at_every_reset_and_grows() {
        let mut visited = Visited::default();
        for round in 0..1_000u32 {
            visited.reset(2, 12, |_| 100 + round * 4);
            for row in [0, 5, 99, 4_096, 4_195] {
                assert!(visited.insert(row), "round {round} row {row}");
                assert!(!visited.insert(row));
            }
        }
        visited.reset(1, 31, |_| 10);
        assert!(visited.insert(9));
        assert!(!visited.insert(i32::MAX as u32), "a row beyond the run counts as seen");
    }
}
