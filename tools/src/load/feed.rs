//! Prepared batches: encoded before the clock starts, kept in bounded memory, and given new ids and rounds each time they are sent.

use std::collections::VecDeque;
use std::ops::Range;

use arrow::array::ArrayRef;
use engine::limits::BATCH_ROWS_MAX;
use engine::placement::home;
use engine::schema::IdRef;
use net::client::{Collection, RewritableWrite, ServerInfo};

use super::data::{ID_COLUMN, ROUND_COLUMN};
use super::wheel::{Span, Wheel};
use super::{Data, Routing};
use crate::error::{RequestProblem, Result};
use crate::sources;

/// Bytes of prepared batches, about, over all connections; one batch a connection there is at least.
pub const PREPARED_BYTES: usize = 256 << 20;
/// Bytes of a row besides its vector.
const ROW_EXTRA_BYTES: usize = 12;
/// A frame is planned to be so full, on average: a shard gets a few rows more or less than its share.
const FRAME_FILL: f64 = 0.95;

/// Vectors that all batches are made of.
pub struct Pool {
    data: Data,
    vectors: ArrayRef,
}

impl Pool {
    /// Makes as many as `ids` ids need, within the bound.
    pub fn new(data: Data, ids: u64, batch_rows: usize) -> Pool {
        let most = (PREPARED_BYTES / (data.vector_bytes() + ROW_EXTRA_BYTES)).max(batch_rows) as u64;
        let rows = ids.min(most) as usize;
        Pool { data, vectors: data.vectors(0, rows) }
    }

    /// Rows in it.
    pub fn rows(&self) -> usize {
        self.vectors.len()
    }

    /// Bytes of a vector.
    pub fn vector_bytes(&self) -> usize {
        self.data.vector_bytes()
    }

    /// A vector in the representation of its column.
    pub fn vector(&self, row: usize) -> Vec<u8> {
        let one = self.vectors.slice(row, 1);
        sources::query_bytes(&one, one.data_type()).expect("vectors of a type that is stored")
    }
}

/// Rows that a batch may have, about, to go out as one frame a shard.
pub fn frame_rows_max(data: &Data, server: &ServerInfo, routing: Routing) -> usize {
    let limit = server.frame_body_bytes_max.min(engine::limits::FRAME_BODY_BYTES_MAX);
    let shards = match routing {
        Routing::Aware => server.shards,
        Routing::Unaware => 1,
    };
    let rows = limit as f64 * FRAME_FILL / (data.vector_bytes() + ROW_EXTRA_BYTES) as f64 * shards as f64;
    (rows as usize).min(BATCH_ROWS_MAX)
}

/// What one connection sends, without end.
pub struct Feed {
    batches: Vec<Batch>,
    wheels: Vec<Wheel>,
    next: usize,
}

/// A batch: one write, or several where it is too large for one frame a shard.
struct Batch {
    writes: Vec<RewritableWrite<2>>,
    /// A row of the pool, and the shard whose first row of this batch it is.
    first: (usize, usize),
    rows: usize,
}

/// What a batch holds this time.
pub struct Content {
    /// Its rows.
    pub rows: usize,
    /// Their ids and rounds.
    pub spans: Vec<Span>,
    /// One of them: id, round and place of its vector in the pool.
    pub sample: (u64, u32, usize),
}

/// How a feed is made.
#[derive(Clone)]
pub struct Plan {
    /// Ids of this connection.
    pub ids: Range<u64>,
    /// Which connection, of how many.
    pub connection: usize,
    /// See `connection`.
    pub connections: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Where batches go.
    pub routing: Routing,
    /// The first round.
    pub round: u32,
}

impl Feed {
    /// Prepares the batches of a connection.
    pub fn prepare(collection: &Collection, server: &ServerInfo, pool: &Pool, plan: &Plan) -> Result<Feed> {
        let own_ids = plan.ids.end - plan.ids.start;
        if own_ids < plan.batch_rows as u64 {
            let (ids, needed) = (own_ids, plan.batch_rows as u64);
            return Err(RequestProblem::TooFewIds { ids, needed, connections: plan.connections as u64 }.into());
        }
        let shards = match plan.routing {
            Routing::Aware => server.shards,
            Routing::Unaware => 1,
        };
        let pieces = plan.batch_rows.div_ceil(frame_rows_max(&pool.data, server, plan.routing).max(1));
        let count = (pool.rows() / plan.connections / plan.batch_rows).max(1);
        let mut batches = Vec::with_capacity(count);
        for number in 0..count {
            let first_row = (plan.connection * count + number) * plan.batch_rows;
            let first_row = first_row % (pool.rows() - plan.batch_rows + 1);
            // Whatever ids a batch gets at first, they are different ones of this connection.
            let span = own_ids - plan.batch_rows as u64 + 1;
            let first_id = plan.ids.start + (number * plan.batch_rows) as u64 % span;
            batches.push(Batch::prepare(collection, pool, plan, pieces, first_row, first_id, shards)?);
        }
        let wheels = (0..shards).map(|shard| Wheel::new(shard, shards, plan.ids.clone(), plan.round)).collect();
        Ok(Feed { batches, wheels, next: 0 })
    }

    /// Fills in the next batch.
    pub fn next(&mut self) -> (impl Iterator<Item = &net::client::PreparedWrite>, Content) {
        let number = self.next;
        self.next = (self.next + 1) % self.batches.len();
        let batch = &mut self.batches[number];
        let (shard, row) = batch.first;
        let mut spans = Vec::with_capacity(self.wheels.len());
        let mut sample = None;
        let shards = self.wheels.len();
        for write in &mut batch.writes {
            write.rewrite(|to, rows, [ids, rounds]| {
                let wheel = if shards == 1 { 0 } else { to };
                let mut places = ids.chunks_exact_mut(8).zip(rounds.chunks_exact_mut(4));
                let told = self.wheels[wheel].turn(rows, |id, round| {
                    let (id_place, round_place) = places.next().expect("a place for each row");
                    id_place.copy_from_slice(&id.to_le_bytes());
                    round_place.copy_from_slice(&round.to_le_bytes());
                });
                if wheel == shard && sample.is_none() {
                    sample = told.first().map(|span| (span.first, span.round, row));
                }
                spans.extend(told);
            });
        }
        let sample = sample.expect("the shard of the first row has a part");
        let content = Content { rows: batch.rows, spans, sample };
        (batch.writes.iter().map(RewritableWrite::write), content)
    }
}

impl Batch {
    fn prepare(
        collection: &Collection,
        pool: &Pool,
        plan: &Plan,
        pieces: usize,
        first_row: usize,
        first_id: u64,
        shards: usize,
    ) -> Result<Batch> {
        let mut writes = Vec::with_capacity(pieces);
        let mut cuts: VecDeque<usize> = (0..=pieces).map(|piece| plan.batch_rows * piece / pieces).collect();
        while let (Some(from), Some(&to)) = (cuts.pop_front(), cuts.front()) {
            let rows = pool.vectors.slice(first_row + from, to - from);
            let batch = pool.data.with_vectors(first_id + from as u64, rows);
            let write = match plan.routing {
                Routing::Aware => collection.prepare(&batch)?,
                Routing::Unaware => collection.prepare_whole(&batch, plan.connection)?,
            };
            writes.push(collection.rewritable(write, [ID_COLUMN, ROUND_COLUMN])?);
        }
        Ok(Batch { writes, first: (home(IdRef::U64(first_id), shards), first_row), rows: plan.batch_rows })
    }
}
