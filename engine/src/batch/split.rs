//! One batch cut by home shard.

use super::BatchView;
use crate::error::Result;
use crate::placement;

/// What one shard gets of a batch.
#[derive(Clone, Debug)]
pub struct ShardBatch {
    /// Home of all its rows.
    pub shard: usize,
    /// Number of rows, at least one.
    pub rows: usize,
    /// Headroom, then the message.
    pub message: Vec<u8>,
}

impl BatchView<'_> {
    /// Home shard of every row, if it is one and the same.
    pub fn single_home(&self, shards: usize) -> Option<usize> {
        let first = placement::home(self.id(0), shards);
        (1..self.rows()).all(|row| placement::home(self.id(row), shards) == first).then_some(first)
    }

    /// Cuts the batch by home shard, each part as a message behind `headroom` zero bytes: one copy of every row, rows in the order
    /// of the batch, shards without rows left out.
    ///
    /// # Errors
    /// `LimitExceeded` where a text column has 2 GiB or more.
    pub fn split(&self, shards: usize, headroom: usize) -> Result<Vec<ShardBatch>> {
        if shards == 1 {
            return Ok(vec![ShardBatch { shard: 0, rows: self.rows(), message: self.encode(headroom)? }]);
        }
        let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); shards];
        for row in 0..self.rows() {
            rows_of[placement::home(self.id(row), shards)].push(row as u32);
        }
        let mut parts = Vec::with_capacity(shards.min(self.rows()));
        for (shard, rows) in rows_of.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            parts.push(ShardBatch { shard, rows: rows.len(), message: self.take(&rows, headroom)? });
        }
        Ok(parts)
    }
}
