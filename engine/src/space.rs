//! What the graph sees of a vector column: codes where there are codes, the vectors themselves elsewhere.

use std::sync::Arc;

use kernels::{Distance, ElementKind, Kernels, Panel, Tile};

use crate::hnsw::Space;
use crate::quant::{CodeEncoder, CodeScale};
use crate::region::{CodeTally, Region, RowEncoder, SealedRows};
use crate::schema::VectorColumn;

/// Of so many rows of a batch the code of one is compared with its vector.
const CHECK_EVERY: u64 = 64;

impl RowEncoder for CodeEncoder {
    fn is_ready(&self) -> bool {
        self.scale().is_trained()
    }

    fn encode(&self, vector: &[u8], norm_squared: f32, code: &mut [u8], tally: &mut CodeTally) {
        tally.saturated += u64::from(CodeEncoder::encode(self, vector, norm_squared, code));
        if tally.rows.is_multiple_of(CHECK_EVERY) {
            tally.checked += 1;
            tally.misfits += u64::from(!self.resembles(vector, norm_squared, code));
        }
        tally.rows += 1;
    }

    fn count(&self, tally: &CodeTally) {
        let scale = self.scale();
        scale.count(tally.rows * self.dimension() as u64, tally.saturated);
        if scale.check(tally.checked, tally.misfits) {
            tracing::warn!(
                dimension = self.dimension(),
                "the codes of a vector column fit its vectors no longer: its graph is traversed on the vectors themselves"
            );
        }
    }
}

/// One vector column of a region, for traversal (see [`Space`]) and for exact distances. Cheap to clone.
#[derive(Clone)]
pub struct VectorSpace {
    region: Arc<Region>,
    vector_index: usize,
    /// None where vectors are traversed themselves.
    encoder: Option<CodeEncoder>,
    traversal: Distance,
    traversal_kind: ElementKind,
    tile: Option<Tile>,
    exact: Distance,
}

impl VectorSpace {
    /// Space of a vector column. `scale` is used where the column has codes.
    pub fn new(
        region: Arc<Region>,
        vector_index: usize,
        scale: Arc<CodeScale>,
        kernels: &'static Kernels,
    ) -> VectorSpace {
        let vector = &region.schema().vectors()[vector_index];
        let encoder = vector.has_codes().then(|| CodeEncoder::new(kernels, vector, scale));
        VectorSpace::over(region, vector_index, encoder, kernels)
    }

    /// The same column, where the vectors themselves are traversed whether or not they have codes.
    pub fn without_codes(&self, kernels: &'static Kernels) -> VectorSpace {
        VectorSpace::over(self.region.clone(), self.vector_index, None, kernels)
    }

    fn over(
        region: Arc<Region>,
        vector_index: usize,
        encoder: Option<CodeEncoder>,
        kernels: &'static Kernels,
    ) -> VectorSpace {
        let vector = &region.schema().vectors()[vector_index];
        let exact =
            kernels.distance(vector.kind, vector.metric).expect("the schema allows only pairs that have a kernel");
        let metric = encoder.as_ref().map_or(vector.metric, CodeEncoder::code_metric);
        let traversal_kind = vector.codes.kind().filter(|_| encoder.is_some()).unwrap_or(vector.kind);
        let traversal = kernels.distance(traversal_kind, metric).expect("what has a distance has one of codes");
        let tile = kernels.tile(traversal_kind, metric);
        VectorSpace { region, vector_index, encoder, traversal, traversal_kind, tile, exact }
    }

    /// The region it looks at.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The column it looks at.
    pub fn vector(&self) -> &VectorColumn {
        &self.region.schema().vectors()[self.vector_index]
    }

    /// Index of the column among the vector columns.
    pub fn vector_index(&self) -> usize {
        self.vector_index
    }

    /// Maker of the codes; None where the column has none.
    pub fn encoder(&self) -> Option<&CodeEncoder> {
        self.encoder.as_ref()
    }

    /// Candidates of a search that are ranked again by their full vectors for `k` results.
    pub fn rerank_depth(&self, k: usize) -> usize {
        if self.uses_codes() { self.vector().rerank_depth(k) } else { k }
    }

    /// Whether codes are traversed, not the vectors themselves.
    pub fn uses_codes(&self) -> bool {
        self.encoder.is_some()
    }

    /// Trains the scale on the first published rows of every shard, `rows_max` in all. Returns whether this call did it: false where
    /// another was first, where there are no codes, and for no rows.
    pub fn train(&self, rows_max: u64) -> bool {
        let Some(encoder) = &self.encoder else { return false };
        let region = &self.region;
        let view = region.view();
        let vectors = region.vectors(self.vector_index);
        let each = rows_max / region.shards() as u64;
        let mut rows = Vec::new();
        for shard in 0..region.shards() {
            let runs = region.runs(shard, 0..view.len(shard));
            let of_shard = runs.iter().flat_map(|run| run.slots()).map(|slot| region.row(shard, slot));
            rows.extend(of_shard.filter(|&row| region.visible(&view, row)).take(each as usize));
        }
        let sample: Vec<&[u8]> = rows.into_iter().map(|row| vectors.get(row)).collect();
        encoder.train(&sample)
    }

    /// Whether there is a tile kernel for what is traversed.
    pub fn has_tile(&self) -> bool {
        self.tile.is_some()
    }

    /// Whether queries and rows can be encoded: true once the scale is trained, and always where there are no codes.
    pub fn is_ready(&self) -> bool {
        self.encoder.as_ref().is_none_or(RowEncoder::is_ready)
    }

    /// Turns a query (a vector of the column) into what `distances` takes, in place of what `out` held.
    ///
    /// # Panics
    /// If the space is not ready or the query has the wrong length.
    pub fn encode_query(&self, query: &[u8], out: &mut Vec<u8>) {
        assert_eq!(query.len(), self.vector().row_bytes(), "a query of this column");
        match &self.encoder {
            None => query.clone_into(out),
            Some(encoder) => encoder.encode_query(query, out),
        }
    }

    /// Distance of a query (a vector of the column) to another vector of it.
    #[inline]
    pub fn exact_pair(&self, query: &[u8], vector: &[u8]) -> f32 {
        (self.exact.pair)(query, vector)
    }

    /// Distances of a query (a vector of the column) to the full vectors of published rows, `out[i]` to `rows[i]`.
    ///
    /// # Panics
    /// If a row is not published, or lengths differ.
    pub fn exact(&self, query: &[u8], rows: &[u32], out: &mut [f32]) {
        self.region.vectors(self.vector_index).distances(self.exact, query, rows, out);
    }

    #[inline]
    fn rows(&self) -> SealedRows<'_> {
        match &self.encoder {
            Some(_) => self.region.codes(self.vector_index).expect("a column with codes"),
            None => self.region.vectors(self.vector_index),
        }
    }
}

impl Space for VectorSpace {
    #[inline]
    fn row(&self, row: u32) -> &[u8] {
        self.rows().get(row)
    }

    fn row_as_query(&self, row: u32, query: &mut Vec<u8>) {
        self.traversal_kind.row_as_query(self.row(row), query);
    }

    #[inline]
    fn distance(&self, a: &[u8], b: &[u8]) -> f32 {
        (self.traversal.pair)(a, b)
    }

    #[inline]
    fn distances(&self, query: &[u8], rows: &[u32], out: &mut [f32]) {
        self.rows().distances(self.traversal, query, rows, out);
    }

    #[inline]
    fn prefetch(&self, row: u32) {
        self.rows().prefetch(row);
    }

    fn tile(&self) -> Option<Tile> {
        self.tile
    }

    fn pack(&self, rows: &[u32], panel: &mut Panel) {
        self.rows().pack(&self.tile.expect("a tile kernel"), rows, panel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchView;
    use crate::batch::samples::{self, Random};
    use crate::region::RegionWriter;

    /// For every vector column: distances are those of the representation that is traversed, and order like the exact ones.
    #[test]
    fn traversal_orders_like_exact() {
        let schema = samples::schema(false);
        let region = Region::with_row_bits(schema.clone(), 2, 12).unwrap();
        let mut writer = RegionWriter::new(region.clone(), 1);
        let spaces: Vec<VectorSpace> = (0..schema.vectors().len())
            .map(|index| VectorSpace::new(region.clone(), index, Arc::new(CodeScale::new()), kernels::detect()))
            .collect();
        for space in spaces.iter().filter(|space| space.uses_codes()) {
            assert!(!space.is_ready());
            writer.set_encoder(space.vector_index(), Arc::new(space.encoder().unwrap().clone()));
        }
        let batch = samples::batch(&schema, 200, 0, 0, &mut Random(11));
        let slots = writer.fill(&BatchView::from_arrow(&schema, &batch).unwrap()).unwrap();
        writer.publish(slots.end);
        for space in &spaces {
            let index = space.vector_index();
            assert_eq!(space.train(400), space.uses_codes());
            assert!(space.is_ready());
            if space.uses_codes() {
                writer.encode(index, 0);
            }
            let rows: Vec<u32> = (0..200).map(|slot| region.row(1, slot)).collect();
            let query = region.vectors(index).get(rows[17]);
            let (mut near, mut exact, mut encoded) = (vec![0.0; 200], vec![0.0; 200], Vec::new());
            space.encode_query(query, &mut encoded);
            space.distances(&encoded, &rows, &mut near);
            space.exact(query, &rows, &mut exact);
            let mut of_row = vec![0.0; 200];
            space.row_as_query(rows[17], &mut encoded);
            space.distances(&encoded, &rows, &mut of_row);
            assert_eq!(of_row[3], space.distance(space.row(rows[17]), space.row(rows[3])));
            let order = |distances: &[f32]| {
                let mut order: Vec<usize> = (0..200).collect();
                order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
                order
            };
            let (by_near, by_exact) = (order(&near), order(&exact));
            let common = by_exact[..20].iter().filter(|row| by_near[..25].contains(row)).count();
            assert!(common >= 18, "{}: {common} of 20", space.vector().name);
        }
    }
}
