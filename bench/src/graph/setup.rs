//! The vectors as shards hold them, without the rest of the engine: codes for traversal, f32 for the final rank.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use arrow::datatypes::ToByteSlice;
use engine::hnsw::Space;
use engine::quant::{CodeEncoder, CodeScale};
use engine::schema::{Codes, VectorColumn};
use kernels::{Distance, ElementKind, Metric, Panel, Rows, Tile};

use super::data::Vectors;

/// Shards, one thread each.
pub const SHARDS: usize = 2;
/// Slots of a shard, as a power of two.
pub const ROW_BITS: u32 = 20;
/// Rows that the scale of the codes is trained on.
const TRAIN_ROWS: usize = 10_000;

/// Codes and full vectors in the row id space of the shards, under cosine.
pub struct CodeSpace {
    codes_kind: Codes,
    codes: Zeroed,
    code_bytes: usize,
    full: Zeroed,
    dimension: usize,
    encoder: CodeEncoder,
    on_codes: Distance,
    tile: Tile,
    on_full: Distance,
}

/// Row id of the `index`-th vector: vectors go to the shards in turn.
fn row_of(index: usize) -> u32 {
    (((index % SHARDS) << ROW_BITS) + index / SHARDS) as u32
}

/// Row ids of a shard's vectors among the first `rows`.
pub fn rows_of_shard(rows: usize, shard: usize) -> impl Iterator<Item = u32> {
    (shard..rows).step_by(SHARDS).map(row_of)
}

impl CodeSpace {
    /// Encodes unit vectors with the codes that a column of them has by default.
    pub fn new(vectors: &Vectors) -> CodeSpace {
        let (kernels, kind, dimension) = (kernels::detect(), ElementKind::F32, vectors.dimension());
        assert!(vectors.len() <= SHARDS << ROW_BITS);
        let codes = Codes::default_of(kind, dimension);
        let (name, metric, rerank) = ("embedding".into(), Metric::Cosine, codes.default_rerank());
        let column = VectorColumn {
            column: 0,
            name,
            kind,
            dimension,
            metric,
            codes,
            rerank,
            on_disk: false,
            index: Default::default(),
        };
        let encoder = CodeEncoder::new(kernels, &column, Arc::new(CodeScale::new()));
        let span = SHARDS << ROW_BITS;
        let (code_bytes, row_bytes) = (column.code_bytes(), column.row_bytes());
        let mut full = Zeroed::new(span * row_bytes);
        for (index, vector) in vectors.iter().enumerate() {
            full[row_of(index) as usize * row_bytes..][..row_bytes].copy_from_slice(vector.to_byte_slice());
        }
        let row = |index: usize| &full[row_of(index) as usize * row_bytes..][..row_bytes];
        encoder.train(&(0..vectors.len().min(TRAIN_ROWS)).map(row).collect::<Vec<_>>());
        let mut codes = Zeroed::new(span * code_bytes);
        for index in 0..vectors.len() {
            let code = &mut codes[row_of(index) as usize * code_bytes..][..code_bytes];
            encoder.encode(row(index), encoder.norm_squared(row(index)), code);
        }
        let code_kind = column.codes.kind().expect("floats have codes");
        let on_codes = kernels.distance(code_kind, encoder.code_metric()).expect("codes have dot");
        let tile = kernels.tile(code_kind, encoder.code_metric()).expect("codes have tiles of dot");
        let on_full = kernels.distance(kind, Metric::Dot).expect("dot of f32");
        CodeSpace { codes_kind: column.codes, codes, code_bytes, full, dimension, encoder, on_codes, tile, on_full }
    }

    /// Encodes a query.
    pub fn encode(&self, query: &[f32], code: &mut Vec<u8>) {
        self.encoder.encode_query(query.to_byte_slice(), code);
    }

    /// Orders the best candidates, as many as the engine takes for `k` results, by their exact distance.
    pub fn rerank(&self, query: &[f32], candidates: &[(f32, u32)], k: usize, out: &mut Vec<(f32, u32)>) {
        let candidates =
            &candidates[..self.codes_kind.rerank_depth(self.codes_kind.default_rerank(), k).min(candidates.len())];
        let rows: Vec<u32> = candidates.iter().map(|candidate| candidate.1).collect();
        let mut distances = vec![0.0; rows.len()];
        (self.on_full.rows)(query.to_byte_slice(), self.full_rows(), &rows, &mut distances);
        out.clear();
        out.extend(distances.into_iter().zip(rows));
        out.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    }

    #[inline(always)]
    fn code_rows(&self) -> Rows<'_> {
        Rows::from_slice(&self.codes, self.code_bytes)
    }

    fn full_rows(&self) -> Rows<'_> {
        Rows::from_slice(&self.full, self.dimension * 4)
    }
}

impl Space for CodeSpace {
    #[inline(always)]
    fn row(&self, row: u32) -> &[u8] {
        &self.codes[row as usize * self.code_bytes..][..self.code_bytes]
    }

    fn row_as_query(&self, row: u32, query: &mut Vec<u8>) {
        let kind = self.codes_kind.kind().expect("floats have codes");
        kind.row_as_query(self.row(row), query);
    }

    #[inline(always)]
    fn distance(&self, a: &[u8], b: &[u8]) -> f32 {
        (self.on_codes.pair)(a, b)
    }

    #[inline(always)]
    fn distances(&self, query: &[u8], rows: &[u32], out: &mut [f32]) {
        (self.on_codes.rows)(query, self.code_rows(), rows, out);
    }

    #[inline(always)]
    fn prefetch(&self, row: u32) {
        self.code_rows().prefetch(row);
    }

    fn tile(&self) -> Option<Tile> {
        Some(self.tile)
    }

    fn pack(&self, rows: &[u32], panel: &mut Panel) {
        (self.tile.pack)(self.code_rows(), rows, panel);
    }
}

/// Zeroed memory that starts with a huge page, as the engine's columns do.
struct Zeroed {
    memory: Vec<u8>,
    padding: usize,
}

impl Zeroed {
    /// So many bytes; none of them is touched.
    fn new(bytes: usize) -> Zeroed {
        const HUGE_BYTES: usize = 2 << 20;
        let mut memory = vec![0u8; bytes + HUGE_BYTES];
        let padding = memory.as_ptr().align_offset(HUGE_BYTES);
        let start = memory[padding..][..bytes].as_mut_ptr();
        // SAFETY: the range lies inside `memory`, and this advice never changes contents.
        let _ = unsafe { libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE) };
        memory.truncate(padding + bytes);
        Zeroed { memory, padding }
    }
}

impl Deref for Zeroed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.padding..]
    }
}

impl DerefMut for Zeroed {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.padding..]
    }
}
