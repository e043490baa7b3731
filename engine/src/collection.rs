//! One collection as every core sees it: schema, region, graphs and scales, all readable without a lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;

use crate::error::{Error, Result};
use crate::eviction::LastUse;
use crate::expiry::Expiry;
use crate::hnsw::{Graph, GraphLoader, GraphParams};
use crate::limits;
use crate::namespace::Namespace;
use crate::paging::Paging;
use crate::quant::CodeScale;
use crate::region::{Region, View};
use crate::schema::{Schema, VectorColumn};
use crate::search::RecallEstimate;
use crate::space::VectorSpace;
use crate::traversal::EdgeIndex;

/// Choices made when a collection is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CollectionOptions {
    /// Links of a node on the upper layers; twice as many on layer 0.
    pub m: u16,
    /// Candidates held while a node is inserted.
    pub ef_construction: u16,
    /// Whether the collection may be dropped when memory is short; see [`crate::eviction`].
    #[serde(default)]
    pub evictable: bool,
}

impl Default for CollectionOptions {
    fn default() -> Self {
        CollectionOptions { m: 16, ef_construction: 140, evictable: false }
    }
}

impl CollectionOptions {
    /// Refuses what the graph cannot be built with.
    pub fn check(&self) -> Result<()> {
        let range = |what, value: u16, least: usize, limit: usize| {
            let value = value as usize;
            if value < least || value > limit {
                return Err(Error::LimitExceeded { what, value: value as u64, limit: limit as u64 });
            }
            Ok(())
        };
        range("m", self.m, 2, limits::M_MAX)?;
        range("ef_construction", self.ef_construction, usize::from(self.m), limits::EF_CONSTRUCTION_MAX)
    }
}

/// What a collection is called and made of; what the manifest keeps of it.
#[derive(Clone, Debug)]
pub struct CollectionSpec {
    /// Number, never used again after a drop.
    pub id: u32,
    /// Name, unique on the server.
    pub name: String,
    /// Columns.
    pub schema: Arc<Schema>,
    /// Choices of the graph.
    pub options: CollectionOptions,
}

impl CollectionSpec {
    /// Shape of the graph of a vector column: what the column says, else what the options of the collection do.
    fn options_of(&self, vector: &VectorColumn) -> CollectionOptions {
        let (m, ef_construction) = (vector.index.m, vector.index.ef_construction);
        let CollectionOptions { evictable, .. } = self.options;
        CollectionOptions {
            m: m.unwrap_or(self.options.m),
            ef_construction: ef_construction.unwrap_or(self.options.ef_construction),
            evictable,
        }
    }

    /// Refuses what graphs cannot be built with.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub fn check(&self) -> Result<()> {
        self.options.check()?;
        self.schema.vectors().iter().try_for_each(|vector| self.options_of(vector).check())
    }
}

/// One vector column: its graph, the scale of its codes and the space that both live in.
pub struct VectorIndex {
    /// Graph over the rows of all shards; set once, when it is made or loaded.
    graph: OnceLock<Arc<Graph>>,
    /// Scale of the codes; not used by columns that have none.
    pub scale: Arc<CodeScale>,
    /// Distances of codes, where the column has some.
    pub coded: VectorSpace,
    /// Distances of the vectors themselves.
    plain: VectorSpace,
    /// Recall that its queries got of late.
    pub recall: RecallEstimate,
}

impl VectorIndex {
    /// The graph. Rows are served only once there is one.
    #[inline]
    pub fn graph(&self) -> &Arc<Graph> {
        self.graph.get().expect("graphs are complete before rows are served")
    }

    /// Gives the memory back that the graph has for a chunk of a shard without rows. The shard's own thread only.
    pub fn discard(&self, shard: usize, chunk: u32) {
        if let Some(graph) = self.graph.get() {
            graph.discard(shard, chunk);
        }
    }

    /// Whether the graph is traversed on codes: where there are some, and they fit the vectors.
    #[inline]
    pub fn traverses_codes(&self) -> bool {
        self.coded.uses_codes() && self.scale.fits()
    }

    /// The distances that the graph is traversed on, from now on. They may change while rows come, so whoever compares two distances
    /// must have them from one call.
    #[inline]
    pub fn space(&self) -> &VectorSpace {
        self.space_of(self.traverses_codes())
    }

    /// Distances of codes where there are some, or those of the vectors themselves.
    #[inline]
    pub fn space_of(&self, codes: bool) -> &VectorSpace {
        if codes { &self.coded } else { &self.plain }
    }

    /// Nodes of the graph that came since all were last linked anew.
    pub fn unrefined_rows(&self) -> u64 {
        let graph = self.graph();
        (0..graph.shards()).map(|shard| u64::from(graph.unrefined(shard))).sum()
    }

    /// Whether idle time links rows anew, or will.
    pub fn is_to_be_refined(&self) -> bool {
        let graph = self.graph();
        (0..graph.shards()).any(|shard| graph.is_to_be_refined(shard))
    }

    /// Puts the graph in its place.
    pub fn set_graph(&self, graph: Arc<Graph>) {
        assert!(self.graph.set(graph).is_ok(), "a graph is set once");
    }
}

/// Memory that these collections take, in bytes: what a memory budget is held against.
pub fn memory_in_use<'a>(collections: impl IntoIterator<Item = &'a Arc<Collection>>) -> u64 {
    collections.into_iter().map(|collection| collection.bytes_committed()).sum()
}

/// A collection, shared by all threads. Writers are held apart: one `RegionWriter` and one `Indexer` a shard.
pub struct Collection {
    /// What it is.
    pub spec: CollectionSpec,
    /// Rows.
    pub region: Arc<Region>,
    /// One per vector column, in the order of `schema.vectors()`.
    pub vectors: Vec<Arc<VectorIndex>>,
    /// Times of its rows, where they live by one.
    pub expiry: Option<Arc<Expiry>>,
    /// Scans of its rows, which come before moves of them.
    pub paging: Arc<Paging>,
    /// When a client last wrote to it or read from it; kept where the collection may be evicted.
    pub last_use: Arc<LastUse>,
    /// What its text indexes take.
    pub text: Arc<TextMemory>,
    /// Set once, where its name has one.
    namespace: OnceLock<Arc<Namespace>>,
    /// Where its rows are edges: these by their nodes, as far as somebody has walked along them.
    pub edges: Option<Arc<EdgeIndex>>,
}

/// Memory of the text indexes of a collection, in bytes; each shard counts its own.
#[derive(Debug)]
pub struct TextMemory {
    shards: Box<[CachePadded<AtomicU64>]>,
}

impl TextMemory {
    fn new(shards: usize) -> TextMemory {
        TextMemory { shards: (0..shards).map(|_| CachePadded::default()).collect() }
    }

    /// A shard takes more.
    pub fn add(&self, shard: usize, bytes: u64) {
        self.shards[shard].fetch_add(bytes, Ordering::Relaxed);
    }

    /// A shard takes less.
    pub fn sub(&self, shard: usize, bytes: u64) {
        self.shards[shard].fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Of all shards.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }
}

impl Collection {
    /// Reserves the address space of a collection over `shards` shards; commits nothing.
    pub fn new(spec: CollectionSpec, shards: usize) -> Result<Arc<Collection>> {
        let collection = Collection::without_graphs(spec, shards)?;
        collection.complete_graphs()?;
        Ok(collection)
    }

    /// As [`Collection::new`], for rows and graphs that are still to be loaded.
    pub fn without_graphs(spec: CollectionSpec, shards: usize) -> Result<Arc<Collection>> {
        spec.check()?;
        let region = Region::new(spec.schema.clone(), shards)?;
        let kernels = kernels::detect();
        let vectors = (0..spec.schema.vectors().len())
            .map(|index| {
                let scale = Arc::new(CodeScale::new());
                let coded = VectorSpace::new(region.clone(), index, scale.clone(), kernels);
                let plain = coded.without_codes(kernels);
                let recall = RecallEstimate::new(shards);
                Ok(Arc::new(VectorIndex { graph: OnceLock::new(), scale, coded, plain, recall }))
            })
            .collect::<Result<Vec<_>>>()?;
        let expiry = spec.schema.ttl().map(|&ttl| Arc::new(Expiry::new(ttl, shards)));
        let edges = spec.schema.edges().map(|_| Arc::new(EdgeIndex::new(shards)));
        let (paging, last_use, namespace) = Default::default();
        let text = Arc::new(TextMemory::new(shards));
        Ok(Arc::new(Collection { spec, region, vectors, expiry, paging, last_use, text, namespace, edges }))
    }

    /// The same collection with the columns of a newer version of its schema. Rows, graphs and all else are shared; see
    /// [`Region::extended`].
    ///
    /// # Errors
    /// Where there is no address space for more columns.
    pub fn extended(&self, schema: Arc<Schema>) -> Result<Arc<Collection>> {
        let region = self.region.extended(schema.clone())?;
        let spec = CollectionSpec { schema, ..self.spec.clone() };
        Ok(Arc::new(Collection {
            spec,
            region,
            vectors: self.vectors.clone(),
            expiry: self.expiry.clone(),
            paging: self.paging.clone(),
            last_use: self.last_use.clone(),
            text: self.text.clone(),
            namespace: self.namespace.clone(),
            edges: self.edges.clone(),
        }))
    }

    /// The namespace that it belongs to.
    pub fn namespace(&self) -> Option<&Arc<Namespace>> {
        self.namespace.get()
    }

    /// Makes it one of a namespace, before it is served.
    ///
    /// # Panics
    /// If it belongs to one.
    pub fn join(&self, namespace: Arc<Namespace>) {
        assert!(self.namespace.set(namespace).is_ok(), "a collection belongs to one namespace");
    }

    /// Makes an empty graph for every vector column that has none yet.
    pub fn complete_graphs(&self) -> Result<()> {
        for (vector, index) in self.vectors.iter().enumerate().filter(|(_, index)| index.graph.get().is_none()) {
            index.set_graph(Graph::new(self.graph_params(vector), self.shards(), self.region.row_bits())?);
        }
        Ok(())
    }

    /// What the graph of a vector column is read from files with.
    pub fn graph_loader(&self, vector: usize) -> Result<GraphLoader> {
        GraphLoader::new(self.graph_params(vector), self.shards(), self.region.row_bits())
    }

    fn graph_params(&self, vector: usize) -> GraphParams {
        let options = self.spec.options_of(&self.spec.schema.vectors()[vector]);
        GraphParams {
            m: usize::from(options.m),
            ef_construction: usize::from(options.ef_construction),
            seed: u64::from(self.spec.id),
        }
    }

    /// Memory committed for rows, graphs, text indexes and edges, in bytes.
    pub fn bytes_committed(&self) -> u64 {
        let graphs = self.vectors.iter().filter_map(|index| index.graph.get()).map(|graph| graph.bytes_committed());
        let edges = self.edges.as_ref().map_or(0, |edges| edges.bytes());
        self.region.bytes_committed() + graphs.sum::<u64>() + self.text.bytes() + edges
    }

    /// Bytes of the rows that a search can find, without their texts.
    pub fn live_bytes(&self) -> u64 {
        self.live_rows() * self.region.row_bytes()
    }

    /// A client uses it now.
    pub fn touch(&self) {
        if self.spec.options.evictable {
            self.last_use.touch();
        }
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.region.shards()
    }

    /// Below this many rows a collection has no graph: the exact scan is quicker than a search of it would be. Without vectors that want
    /// one it never has any.
    pub fn is_flat(&self) -> bool {
        self.with_graphs().next().is_none() || self.region.rows() < limits::GRAPH_ROWS_MIN
    }

    /// The vector columns that are to have graphs, by number.
    pub fn with_graphs(&self) -> impl Iterator<Item = (usize, &Arc<VectorIndex>)> {
        self.vectors.iter().enumerate().filter(|&(vector, _)| !self.spec.schema.vectors()[vector].index.flat)
    }

    /// Rows that are searchable only by the exact scan and that a graph is still to take in, over all vector columns the
    /// most behind. Zero for a flat collection.
    pub fn index_backlog(&self) -> u64 {
        if self.is_flat() {
            return 0;
        }
        let region = &self.region;
        let behind = |index: &Arc<VectorIndex>| {
            let of_shard = |shard| region.live_rows_in(shard, index.graph().indexed(shard)..region.published(shard));
            (0..self.shards()).map(of_shard).sum()
        };
        self.with_graphs().map(|(_, index)| behind(index)).max().unwrap_or(0)
    }

    /// Rows deleted or replaced whose memory is not used again yet.
    pub fn dead_rows(&self) -> u64 {
        (0..self.shards()).map(|shard| self.region.dead_rows(shard)).sum()
    }

    /// Rows that a search can find.
    pub fn live_rows(&self) -> u64 {
        self.region.rows().saturating_sub(self.dead_rows())
    }

    /// True when every row of `view` is in every graph (or the collection is flat).
    pub fn is_indexed(&self, view: &View) -> bool {
        self.is_flat()
            || self
                .with_graphs()
                .all(|(_, index)| (0..self.shards()).all(|shard| index.graph().indexed(shard) >= view.len(shard)))
    }
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("spec", &self.spec).finish_non_exhaustive()
    }
}
