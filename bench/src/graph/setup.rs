//! The vectors as shards hold them, without the rest of the engine: int8 codes for traversal, f32 for the final rank.

use arrow::datatypes::ToByteSlice;
use engine::hnsw::Space;
use kernels::{Distance, ElementKind, Kernels, Metric, Rows};

use super::data::Vectors;

/// Shards, one thread each.
pub const SHARDS: usize = 2;
/// Slots of a shard, as a power of two.
pub const ROW_BITS: u32 = 20;

/// Codes and full vectors in the row id space of the shards, under cosine.
pub struct CodeSpace {
    codes: Vec<u8>,
    full: Vec<u8>,
    dimension: usize,
    inverse_scale: f32,
    kernels: &'static Kernels,
    on_codes: Distance,
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
    /// Encodes unit vectors; the scale takes the largest component.
    pub fn new(vectors: &Vectors) -> CodeSpace {
        let kernels = kernels::detect();
        let dimension = vectors.dimension();
        assert!(vectors.len() <= SHARDS << ROW_BITS);
        let largest = vectors.iter().map(|vector| kernels.abs_max_f32(vector)).fold(0.0, f32::max);
        let inverse_scale = 127.0 / largest;
        let span = SHARDS << ROW_BITS;
        let mut codes = zeroed(span * dimension);
        let mut full = zeroed(span * dimension * 4);
        for (index, vector) in vectors.iter().enumerate() {
            let row = row_of(index) as usize;
            let bytes = vector.to_byte_slice();
            kernels.encode_code8(ElementKind::F32, bytes, inverse_scale, &mut codes[row * dimension..][..dimension]);
            full[row * dimension * 4..][..dimension * 4].copy_from_slice(bytes);
        }
        let on_codes = kernels.distance(ElementKind::Code8, Metric::Dot).expect("dot of codes");
        let on_full = kernels.distance(ElementKind::F32, Metric::Dot).expect("dot of f32");
        CodeSpace { codes, full, dimension, inverse_scale, kernels, on_codes, on_full }
    }

    /// Room for the code of a query.
    pub fn query(&self) -> Vec<u8> {
        vec![0; self.dimension]
    }

    /// Encodes a query.
    pub fn encode(&self, query: &[f32], code: &mut [u8]) {
        self.kernels.encode_code8(ElementKind::F32, query.to_byte_slice(), self.inverse_scale, code);
    }

    /// Orders candidates by their exact distance.
    pub fn rerank(&self, query: &[f32], candidates: &[(f32, u32)], out: &mut Vec<(f32, u32)>) {
        let rows: Vec<u32> = candidates.iter().map(|candidate| candidate.1).collect();
        let mut distances = vec![0.0; rows.len()];
        (self.on_full.rows)(query.to_byte_slice(), self.full_rows(), &rows, &mut distances);
        out.clear();
        out.extend(distances.into_iter().zip(rows));
        out.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    }

    #[inline(always)]
    fn code_rows(&self) -> Rows<'_> {
        Rows::from_slice(&self.codes, self.dimension)
    }

    fn full_rows(&self) -> Rows<'_> {
        Rows::from_slice(&self.full, self.dimension * 4)
    }
}

impl Space for CodeSpace {
    #[inline(always)]
    fn row(&self, row: u32) -> &[u8] {
        &self.codes[row as usize * self.dimension..][..self.dimension]
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
}

/// Zeroed memory that asks for huge pages, as the engine's columns do.
fn zeroed(bytes: usize) -> Vec<u8> {
    const HUGE_BYTES: usize = 2 << 20;
    let memory = vec![0u8; bytes];
    let padding = memory.as_ptr().align_offset(HUGE_BYTES).min(bytes);
    // SAFETY: the range lies inside `memory`, and this advice never changes contents.
    let _ = unsafe { libc::madvise(memory.as_ptr().add(padding) as *mut _, bytes - padding, libc::MADV_HUGEPAGE) };
    memory
}
