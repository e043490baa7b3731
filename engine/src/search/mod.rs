//! Search of one collection: the graph, plus an exact scan of the rows that no graph holds yet.
//!
//! A query sees one view (the published length of every shard at one moment). The watermark of what each graph holds is
//! read before the graph is searched, so a row that moves from the tail into the graph meanwhile is found by both, never
//! by neither; hits are made unique by row.

mod examples;
mod explain;
mod graph;
mod grouped;
mod groups;
mod hybrid;
mod options;
mod plan;
mod reads;
mod recall;
mod results;
mod scan;
mod score;
mod sides;
mod spread;
mod top;

use std::ops::Range;
use std::sync::Arc;

use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::filter::{Filter, MaskCache};
use crate::hnsw::SearchScratch;
use crate::ids::IdList;
use crate::limits;
use crate::region::{View, check_vector};
use crate::schema::VectorColumn;
use crate::selection::{Selecting, Selection};
use explain::{Counters, Explaining};
use plan::Plan;
use reads::BlockingReads;

pub use examples::{Examples, query_of};
pub use explain::{Explain, Phase, Phases, TextExplain, TextPhases, TextVisits, Visits};
pub use graph::{GraphJob, Nearest};
pub use grouped::{GroupedHits, GroupedSearch};
pub use groups::Grouping;
pub use hybrid::{Fused, Fusion, Method, TextOption};
pub use options::SearchOptions;
pub use reads::{Ranking, VectorReads};
pub use recall::{RecallEstimate, RecallSample};
pub use scan::{ScanJob, ScanScratch};
pub use score::{Threshold, similarity};
pub use sides::{Side, Sides};
pub use spread::SpreadOptions;
pub use top::{Hit, Top};

/// One or more queries of one vector column. `..Default::default()` fills in what a plain search has nothing of.
#[derive(Clone, Debug, Default)]
pub struct SearchRequest {
    /// Index of the vector column among the collection's vectors.
    pub vector: usize,
    /// Query vectors, packed, in the column's element type.
    pub queries: Arc<[u8]>,
    /// Number of queries.
    pub count: usize,
    /// Hits wanted for each; with a grouping, groups.
    pub k: usize,
    /// Candidates held during the graph search; at least as many as hits are held ([`SearchRequest::held`]).
    pub ef: usize,
    /// Candidates to begin with where a threshold or a grouping leaves open how many it takes; `ef` is the most then. Elsewhere without a meaning.
    pub ef_first: usize,
    /// Scan everything instead.
    pub exact: bool,
    /// Only rows that this is true of are found.
    pub filter: Option<Arc<Filter>>,
    /// Hits, or groups, that are passed over, nearest first.
    pub offset: usize,
    /// Only hits that it admits are wanted.
    pub threshold: Option<Threshold>,
    /// Ids of rows that are not wanted.
    pub left_out: Option<Arc<IdList>>,
    /// The nearest groups are wanted, and the nearest rows of each.
    pub grouping: Option<Grouping>,
}

impl SearchRequest {
    /// Checks everything that does not depend on the rows.
    pub fn check(&self, collection: &Collection) -> Result<()> {
        let invalid = |problem| Err(Error::InvalidSearch { problem });
        let Some(column) = collection.spec.schema.vectors().get(self.vector) else {
            return invalid("no such vector column");
        };
        let above = |what, value: usize, limit: usize| {
            Err(Error::LimitExceeded { what, value: value as u64, limit: limit as u64 })
        };
        if self.count == 0 {
            return Err(Error::Empty { what: "query list" });
        }
        if self.k == 0 {
            return invalid("k is 0");
        }
        if self.count > limits::QUERIES_MAX {
            return above("number of queries", self.count, limits::QUERIES_MAX);
        }
        if self.k > limits::K_MAX {
            return above("k", self.k, limits::K_MAX);
        }
        let wanted = self.k.saturating_add(self.offset);
        if wanted > limits::K_MAX {
            return above("offset and k together", wanted, limits::K_MAX);
        }
        if self.ef > limits::EF_MAX {
            return above("ef", self.ef, limits::EF_MAX);
        }
        if let Some(threshold) = &self.threshold {
            threshold.check(column)?;
        }
        if let Some(grouping) = &self.grouping {
            groups::check(&collection.spec.schema, grouping, wanted)?;
        }
        if !self.exact && self.ef < self.held() {
            return invalid("ef is below k");
        }
        if self.queries.len() != self.count * column.kind.bytes(column.dimension) {
            return invalid("the query vectors are not of the column's dimension and element type");
        }
        for query in self.queries.chunks_exact(column.kind.bytes(column.dimension)) {
            check_query(column, query)?;
        }
        Ok(())
    }

    /// One of the queries, as a request of its own.
    pub fn one(&self, query: usize) -> SearchRequest {
        SearchRequest { queries: self.query(query).into(), count: 1, ..self.clone() }
    }

    /// Vector of one query.
    fn query(&self, query: usize) -> &[u8] {
        let bytes = self.queries.len() / self.count;
        &self.queries[query * bytes..][..bytes]
    }
}

/// Refuses a query vector that has no distance to anything.
fn check_query(column: &VectorColumn, query: &[u8]) -> Result<()> {
    check_vector(kernels::detect(), column, query, 0).map_err(|error| match error {
        Error::ZeroVector { .. } => Error::InvalidSearch { problem: "a zero query vector has no cosine" },
        _ => Error::InvalidSearch { problem: "a query vector holds NaN or infinity" },
    })
}

/// A search under way.
pub struct Search {
    collection: Arc<Collection>,
    request: SearchRequest,
    view: View,
    /// Ordinals of each shard that the graph held before the view was taken.
    indexed: Vec<u64>,
    /// What is to be known of the filter before anything can be searched for.
    selecting: Option<Selecting>,
    /// The rows that the filter is true of.
    selection: Option<Selection>,
    plan: Plan,
    tops: Vec<Top>,
    /// Where it is to be told how the search was answered.
    explaining: Option<Explaining>,
}

impl Search {
    /// Checks the request and fixes what it will see. With a filter, [`Search::select`] comes next.
    pub fn begin(collection: Arc<Collection>, request: SearchRequest) -> Result<Search> {
        request.check(&collection)?;
        let index = &collection.vectors[request.vector];
        let shards = collection.shards();
        let indexed: Vec<u64> = (0..shards).map(|shard| index.graph().indexed(shard)).collect();
        let view = collection.region.view();
        let has_graph = !request.exact && indexed.iter().any(|&ordinals| ordinals > 0);
        let plan = if has_graph { Plan::Walk } else { Plan::Scan };
        let tops = (0..request.count).map(|_| Top::new(request.held())).collect();
        let selecting = request.filter.clone().map(Selecting::new);
        Ok(Search { collection, request, view, indexed, selecting, selection: None, plan, tops, explaining: None })
    }

    /// Goes on to find out which rows the filter is true of, for about half a millisecond. False when nothing is left to find out, as
    /// it is without a filter.
    pub fn select(&mut self, scratch: &mut Scratch) -> bool {
        let Some(selecting) = &mut self.selecting else { return false };
        let Some(selection) = selecting.step(&self.collection, &self.view, &mut scratch.masks) else { return true };
        if self.plan != Plan::Scan {
            self.plan = Plan::choose(&self.collection, &self.request, &self.view, &selection);
        }
        self.selection = Some(selection);
        self.selecting = None;
        false
    }

    /// Keeps in mind from now on how the search is answered.
    pub fn explain(&mut self) {
        self.explaining = Some(Explaining::begin());
    }

    /// Says that a phase has ended.
    pub fn mark(&mut self, phase: Phase) {
        if let Some(explaining) = &mut self.explaining {
            explaining.mark(phase);
        }
    }

    /// How the search was answered, where that was kept in mind.
    pub fn explanation(&self) -> Option<Explain> {
        let live = self.collection.live_rows();
        let filtered = self
            .selection
            .as_ref()
            .map(|selection| (selection.count(), plan::passing_rows(&self.collection, &self.view, selection)));
        Some(self.explaining.as_ref()?.finish(self.plan, live, filtered))
    }

    /// First ordinal of a shard that the scan looks at.
    fn scan_from(&self, shard: usize) -> u64 {
        if self.uses_graph() { self.indexed[shard] } else { 0 }
    }

    /// Whether it sees a row that its caller holds.
    pub fn sees(&self, row: u32) -> bool {
        self.collection.region.visible(&self.view, row)
    }

    /// What is searched.
    pub fn collection(&self) -> &Arc<Collection> {
        &self.collection
    }

    /// What was asked.
    pub fn request(&self) -> &SearchRequest {
        &self.request
    }

    /// The similarity that a distance of this search stands for.
    pub fn similarity(&self, distance: f32) -> f32 {
        let vector = &self.collection.spec.schema.vectors()[self.request.vector];
        similarity(vector.metric, vector.dimension, distance)
    }

    /// Whether a row that its caller holds is among those that this search could find.
    pub fn admits(&self, row: u32) -> bool {
        let filter = self.request.filter.as_deref();
        self.sees(row) && filter.is_none_or(|filter| self.collection.accepts(filter, row))
    }

    /// Distances of a query to rows that this search sees, by their full vectors.
    pub fn distances(&self, query: usize, rows: &[u32]) -> Vec<f32> {
        let mut distances = vec![0.0; rows.len()];
        let space = &self.collection.vectors[self.request.vector].coded;
        space.exact(self.request.query(query), rows, &mut distances);
        distances
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.request.count
    }

    /// Candidates held for each of them during the graph search.
    pub fn ef(&self) -> usize {
        self.request.ef
    }

    /// True when the graph takes part.
    ///
    /// # Panics
    /// If it is not known yet, see [`Search::select`].
    pub fn uses_graph(&self) -> bool {
        assert!(self.selecting.is_none(), "what the filter is true of comes first");
        self.plan != Plan::Scan
    }

    /// Rows that no graph holds and that the scan must look at, as far as whole chunks are counted.
    pub fn scan_rows(&self) -> u64 {
        let region = &self.collection.region;
        let behind = |shard: usize| self.scan_from(shard)..self.view.len(shard);
        let rows = (0..self.indexed.len()).map(|shard| region.live_rows_in(shard, behind(shard))).sum();
        self.selection.as_ref().map_or(rows, |selection| selection.count().min(rows))
    }

    /// Searches the graph for one query and ranks the best candidates by their full vectors. Those that are on disk are left to
    /// be read.
    pub fn traverse(&self, query: usize, scratch: &mut Scratch) -> Nearest {
        debug_assert!(self.uses_graph() && query < self.request.count);
        graph::nearest(&self.target(), query, scratch)
    }

    /// Searches the graph for one query, ranks the best candidates by their full vectors, and takes the nearest in. The thread
    /// waits where vectors have to be read.
    ///
    /// # Errors
    /// `System` where vectors could not be read from their file.
    pub fn search_graph(&mut self, query: usize, scratch: &mut Scratch) -> Result<()> {
        let found = match self.traverse(query, scratch) {
            Nearest::Found(found) => found,
            Nearest::Unread(ranking) => scratch.reads.finish(*ranking)?,
        };
        self.merge_query(query, found);
        Ok(())
    }

    /// The queries, to be taken one by one here and elsewhere; `owner` and `ticket` say who waits for them.
    pub fn graph_job(&self, owner: usize, ticket: u64) -> GraphJob {
        debug_assert!(self.uses_graph());
        GraphJob::new(self.target(), owner, ticket)
    }

    /// What is searched for, and where.
    fn target(&self) -> Target {
        let (collection, request, view) = (self.collection.clone(), self.request.clone(), self.view.clone());
        let counters = self.explaining.as_ref().map(|explaining| explaining.counters.clone());
        Target { collection, request, view, selection: self.selection.clone(), plan: self.plan, counters }
    }

    /// Takes in what was found for one query.
    pub fn merge_query(&mut self, query: usize, found: Top) {
        self.tops[query].merge(found);
    }

    /// The scan that is left to do, to be run here or shared out; `owner` and `ticket` say who waits for it.
    pub fn scan_job(&self, owner: usize, ticket: u64) -> ScanJob {
        let mut job = self.tail_job(limits::SCAN_SLICE_ROWS);
        (job.owner, job.ticket) = (owner, ticket);
        job
    }

    /// The scan that is left to do, in slices of so many rows.
    fn tail_job(&self, slice_rows: u32) -> ScanJob {
        ScanJob::new(self.target(), &self.scan_starts(), slice_rows)
    }

    /// The scan that answers the same queries exactly, in slices of so many rows.
    fn exact_job(&self, slice_rows: u32) -> ScanJob {
        let mut target = self.target();
        target.request.exact = true;
        ScanJob::new(target, &vec![0; self.indexed.len()], slice_rows)
    }

    /// First ordinals of all shards that the scan looks at.
    fn scan_starts(&self) -> Vec<u64> {
        (0..self.indexed.len()).map(|shard| self.scan_from(shard)).collect()
    }

    /// Takes in what a scan found.
    pub fn merge(&mut self, found: Vec<Top>) {
        for (top, other) in self.tops.iter_mut().zip(found) {
            top.merge(other);
        }
    }

    /// The hits of each query, nearest first, once everything is merged. Their rows stay where they are while the search is held.
    pub fn take_hits(&mut self) -> Vec<Vec<Hit>> {
        let mut hits: Vec<Vec<Hit>> = std::mem::take(&mut self.tops).into_iter().map(Top::into_sorted).collect();
        if !self.request.is_plain() {
            hits.iter_mut().for_each(|hits| self.request.trim(&self.collection, hits));
        }
        hits
    }
}

/// What is searched for, and where. Held by whoever works on it: the rows that the view sees stay where they are.
#[derive(Clone)]
struct Target {
    collection: Arc<Collection>,
    request: SearchRequest,
    view: View,
    /// Which rows pass; None where all do.
    selection: Option<Selection>,
    plan: Plan,
    /// Where somebody wants to know what was looked at.
    counters: Option<Arc<Counters>>,
}

impl Target {
    /// Those of a range of rows, all of one chunk, that pass and are visible, in place of what `out` held.
    fn rows_in(&self, rows: &Range<u32>, out: &mut Vec<u32>) {
        let region = &self.collection.region;
        out.clear();
        match &self.selection {
            None => region.visible_in_chunk(&self.view, rows.clone(), out),
            Some(selection) => {
                selection.rows_in(rows, out);
                out.retain(|&row| region.visible(&self.view, row));
            }
        }
    }
}

/// Memory that searches of one thread use again and again.
#[derive(Default)]
pub struct Scratch {
    masks: MaskCache,
    graph: SearchScratch,
    code: Vec<u8>,
    found: Vec<(f32, u32)>,
    rows: Vec<u32>,
    distances: Vec<f32>,
    unread: Vec<u32>,
    reads: BlockingReads,
}

impl Scratch {
    /// What is kept of the filters of this thread.
    pub fn masks(&mut self) -> &mut MaskCache {
        &mut self.masks
    }
}

/// Runs a search on the calling thread alone.
pub fn search(collection: &Arc<Collection>, request: SearchRequest, scratch: &mut Scratch) -> Result<Vec<Vec<Hit>>> {
    assert!(request.grouping.is_none(), "groups are searched for by a `GroupedSearch`");
    let mut search = Search::begin(collection.clone(), request)?;
    while search.select(scratch) {}
    if search.uses_graph() {
        for query in 0..search.queries() {
            search.search_graph(query, scratch)?;
        }
    }
    if search.scan_rows() > 0 {
        let job = search.scan_job(0, 0);
        let found = job.run_all();
        search.merge(found);
    }
    Ok(search.take_hits())
}
