//! Collections whose rows are edges: their rows brought into an [`Adjacency`], and walks along it.
//!
//! The edges of all shards are in one adjacency, since every core reads all rows. It is made when the first traversal comes, and brought up
//! to date by later ones, by whichever thread needs it: of several one does and the others wait. It is never changed, only exchanged
//! for a newer one, so that a traversal runs on one core, without a lock and without a message, however many shards there are.
//!
//! A traversal holds a view, taken after the adjacency: every edge that is visible in the view is in the adjacency, or the adjacency is
//! extended first. Edges that it holds and that are not visible are passed over, and so are those whose time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::collection::Collection;
use crate::edges::{Adjacency, Follow, PLACE_ROWS, Place, SegmentBuilder, Spread, Walk, WalkRequest};
use crate::error::{Error, Result};
use crate::limits;
use crate::region::{CHUNK_ROWS, Run, View};
use crate::schema::{EdgeColumns, IdKind, IdRef, TimeToLive};

const _: () = assert!(PLACE_ROWS == CHUNK_ROWS, "a place is one in a chunk");

/// What is asked of a traversal.
#[derive(Clone, Debug)]
pub struct TraversalRequest {
    /// Hops, at most.
    pub hops: u8,
    /// Nodes at fewer hops are left out of the results; seeds are at none.
    pub hops_min: u8,
    /// Edges that are followed.
    pub follow: Follow,
    /// Whether activation spreads.
    pub spread: Option<Spread>,
    /// Nodes that are reached at most, seeds among them; the traversal is cut off there.
    pub nodes_max: usize,
    /// Results at most.
    pub limit: usize,
    /// Nodes that no row has the id of are results too.
    pub missing: bool,
}

impl Default for TraversalRequest {
    /// One hop along outgoing edges of any type and weight.
    fn default() -> Self {
        TraversalRequest {
            hops: 1,
            hops_min: 1,
            follow: Follow::default(),
            spread: None,
            nodes_max: limits::TRAVERSE_NODES_DEFAULT,
            limit: limits::TRAVERSE_LIMIT_DEFAULT,
            missing: false,
        }
    }
}

impl TraversalRequest {
    /// Checks everything that does not depend on the rows.
    ///
    /// # Errors
    /// `InvalidTraversal`, `LimitExceeded`, `Empty` for no seeds.
    pub fn check(&self, seeds: usize) -> Result<()> {
        let invalid = |problem| Err(Error::InvalidTraversal { problem });
        if seeds == 0 {
            return Err(Error::Empty { what: "list of seeds" });
        }
        if self.hops == 0 {
            return invalid("hops are 0");
        }
        if self.hops_min > self.hops {
            return invalid("the least number of hops is above the greatest");
        }
        let counts = [
            ("number of hops", usize::from(self.hops), usize::from(limits::HOPS_MAX)),
            ("number of seeds", seeds, limits::IDS_MAX),
            ("number of types", self.follow.kinds.len(), limits::TRAVERSE_TYPES_MAX),
            ("number of nodes", self.nodes_max, limits::TRAVERSE_NODES_MAX),
            ("number of results", self.limit, limits::IDS_MAX),
        ];
        for (what, value, limit) in counts {
            if value > limit {
                return Err(Error::LimitExceeded { what, value: value as u64, limit: limit as u64 });
            }
        }
        if self.limit == 0 {
            return invalid("the limit is 0");
        }
        if self.nodes_max < seeds {
            return invalid("there are more seeds than nodes may be reached");
        }
        if !(self.follow.weight_min.is_finite() && self.follow.weight_min >= 0.0) {
            return invalid("the least weight is negative, or not finite");
        }
        if self.spread.is_some_and(|spread| !(spread.decay > 0.0 && spread.decay <= 1.0)) {
            return invalid("decay is above 0 and at most 1");
        }
        Ok(())
    }

    fn walk(&self) -> WalkRequest {
        WalkRequest {
            hops: self.hops,
            follow: self.follow.clone(),
            spread: self.spread,
            nodes_max: self.nodes_max,
            edges_max: limits::TRAVERSE_EDGES_MAX,
        }
    }
}

/// The edges of a collection, as far as traversals have asked for them.
#[derive(Debug)]
pub struct EdgeIndex {
    newest: ArcSwap<Adjacency>,
    /// Somebody is making a newer one.
    is_building: AtomicBool,
}

impl EdgeIndex {
    /// Without edges.
    pub fn new(shards: usize) -> EdgeIndex {
        EdgeIndex { newest: ArcSwap::from_pointee(Adjacency::empty(shards)), is_building: AtomicBool::new(false) }
    }

    /// Memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.newest.load().bytes()
    }

    /// Edges that it holds, of which some may have died.
    pub fn len(&self) -> usize {
        self.newest.load().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.newest.load().is_empty()
    }
}

/// The right to make the next adjacency; there is one at a time.
struct Claim(Arc<EdgeIndex>);

impl Claim {
    fn take(index: &Arc<EdgeIndex>) -> Option<Claim> {
        let taken = index.is_building.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then(|| Claim(index.clone()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.is_building.store(false, Ordering::Release);
    }
}

/// What stands between a traversal and the edges of a collection.
pub enum Access {
    /// Nothing.
    Ready(Box<VisibleEdges>),
    /// Edges that have to be brought in first, by the caller.
    Behind(Box<EdgeBuild>),
    /// Somebody else is doing that: try again.
    Busy,
}

/// The edges of a collection, and the view that says which of them are visible.
pub struct VisibleEdges {
    collection: Arc<Collection>,
    adjacency: Arc<Adjacency>,
    view: View,
    /// All edges are visible.
    is_clean: bool,
    /// Where edges may be expired: the greatest time of those that are.
    gone: Option<(TimeToLive, i64)>,
}

impl VisibleEdges {
    /// The edges of a collection as of now.
    ///
    /// # Errors
    /// `InvalidTraversal` where its rows are no edges.
    pub fn of(collection: &Arc<Collection>) -> Result<Access> {
        let (index, columns) = edges_of(collection)?;
        // The view comes last, so that it sees no less than the adjacency holds.
        let adjacency = index.newest.load_full();
        let view = collection.region.view();
        if !is_behind(collection, &adjacency, &view) {
            let edges = VisibleEdges::new(collection, adjacency, view);
            return Ok(Access::Ready(Box::new(edges)));
        }
        let Some(claim) = Claim::take(index) else { return Ok(Access::Busy) };
        Ok(Access::Behind(Box::new(EdgeBuild::begin(collection.clone(), columns.clone(), claim))))
    }

    fn new(collection: &Arc<Collection>, adjacency: Arc<Adjacency>, view: View) -> VisibleEdges {
        let is_clean = adjacency.deaths() == Some(collection.region.deaths());
        // After the view: the time of each row in it is known by now.
        let gone = collection.last_expired().map(|(ttl, last)| (*ttl, last));
        VisibleEdges { collection: collection.clone(), adjacency, view, is_clean, gone }
    }

    /// Whether the row of an edge is visible, and its time not over.
    #[inline]
    pub fn sees(&self, place: Place) -> bool {
        (self.is_clean || is_visible(&self.collection, &self.view, place))
            && self.gone.is_none_or(|(ttl, last)| !self.collection.is_expired(&ttl, last, place.row))
    }

    /// Type of the ids of its nodes.
    pub fn node_kind(&self) -> IdKind {
        self.collection.spec.schema.edges().expect("the rows are edges").node_kind
    }

    /// Edges that are held, of which some may have died.
    pub fn len(&self) -> usize {
        self.adjacency.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.adjacency.is_empty()
    }

    /// A walk along them that has no seeds yet. The request was checked.
    pub fn walk(&self, request: &TraversalRequest) -> Walk {
        Walk::new(self.adjacency.clone(), request.walk(), self.node_kind())
    }
}

/// The index and the columns of edges.
fn edges_of(collection: &Collection) -> Result<(&Arc<EdgeIndex>, &EdgeColumns)> {
    let none = Error::InvalidTraversal {
        problem: "the rows of the collection are no edges: no columns have the roles edge_from and edge_to",
    };
    collection.edges.as_ref().zip(collection.spec.schema.edges()).ok_or(none)
}

/// Whether edges are visible that an adjacency does not hold, or too many that it holds have died.
fn is_behind(collection: &Collection, adjacency: &Adjacency, view: &View) -> bool {
    (0..collection.shards()).any(|shard| adjacency.covered(shard) < view.len(shard))
        || is_crowded(collection, adjacency)
}

/// Whether too many of the edges of an adjacency have died.
fn is_crowded(collection: &Collection, adjacency: &Adjacency) -> bool {
    let live = collection.live_rows();
    let dead = (adjacency.len() as u64).saturating_sub(live);
    dead > limits::EDGES_DEAD_MIN && dead > live / limits::EDGES_DEAD_PART
}

fn is_visible(collection: &Collection, view: &View, place: Place) -> bool {
    // What is visible stays what it is while the view is held, so the second look finds what the first has.
    collection.region.visible(view, place.row) && collection.region.ordinal(place.row) == Some(place.ordinal)
}

/// The next adjacency of a collection, which is being made in short steps.
pub struct EdgeBuild {
    collection: Arc<Collection>,
    columns: EdgeColumns,
    base: Arc<Adjacency>,
    /// Segments of it that stay as they are.
    kept: usize,
    view: View,
    /// Rows that had died before the view was taken.
    deaths: u64,
    /// No row that it takes in was about to end.
    is_clean: bool,
    builder: SegmentBuilder,
    /// Rows that are to be taken in, the next one last, and segments.
    runs: Vec<(usize, Run)>,
    segments: Vec<usize>,
    rows: Vec<u32>,
    claim: Claim,
}

impl EdgeBuild {
    fn begin(collection: Arc<Collection>, columns: EdgeColumns, claim: Claim) -> EdgeBuild {
        // With the claim nobody else exchanges it.
        let base = claim.0.newest.load_full();
        let deaths = collection.region.deaths();
        let view = collection.region.view();
        let region = &collection.region;
        let mut runs = Vec::new();
        for shard in 0..collection.shards() {
            let tail = region.runs(shard, base.covered(shard)..view.len(shard));
            runs.extend(tail.into_iter().map(|run| (shard, run)));
        }
        runs.reverse();
        let new: usize = runs.iter().map(|(_, run)| run.len as usize).sum();
        let kept = if is_crowded(&collection, &base) { 0 } else { base.kept(new) };
        let segments = (kept..base.segments().len()).rev().collect();
        let builder = SegmentBuilder::new(columns.node_kind);
        let rows = Vec::new();
        EdgeBuild {
            collection,
            columns,
            base,
            kept,
            view,
            deaths,
            is_clean: true,
            builder,
            runs,
            segments,
            rows,
            claim,
        }
    }

    /// Goes on for a while. False once all edges are there and in order.
    ///
    /// # Errors
    /// `LimitExceeded` for too many edges, or types.
    pub fn step(&mut self) -> Result<bool> {
        let (collection, view) = (&self.collection, &self.view);
        if self.builder.copy_step(|place| is_visible(collection, view, place))? {
            return Ok(true);
        }
        if let Some(segment) = self.segments.pop() {
            self.builder.copy(self.base.segments()[segment].clone());
            return Ok(true);
        }
        if let Some((shard, run)) = self.runs.pop() {
            self.take_rows(shard, run)?;
            return Ok(true);
        }
        Ok(self.builder.order_step())
    }

    /// Takes in some rows of a run.
    fn take_rows(&mut self, shard: usize, run: Run) -> Result<()> {
        let len = run.len.min(limits::EDGE_ROWS_STEP as u32);
        let region = &self.collection.region;
        let first = region.row(shard, run.slot);
        self.rows.clear();
        region.visible_in_chunk(&self.view, first..first + len, &mut self.rows);
        let id = |column: usize, slot: u32| match self.columns.node_kind {
            IdKind::Utf8 => {
                let text = region.text_bytes(column, shard, slot);
                IdRef::Utf8(std::str::from_utf8(text).expect("text was checked when it came in"))
            }
            kind @ (IdKind::U64 | IdKind::I64) => {
                let bytes = region.fixed_rows(column, shard, slot..slot + 1);
                let word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
                if kind == IdKind::U64 { IdRef::U64(word) } else { IdRef::I64(word.cast_signed()) }
            }
        };
        for &row in &self.rows {
            let slot = run.slot + (row - first);
            self.is_clean &= region.is_live(row);
            let kind = match self.columns.kind.filter(|&column| region.is_valid(column, row)) {
                Some(column) => std::str::from_utf8(region.text_bytes(column, shard, slot)).expect("checked text"),
                None => "",
            };
            let weight = match self.columns.weight.filter(|weight| region.is_valid(weight.column, row)) {
                Some(weight) => weight.read(region.fixed_rows(weight.column, shard, slot..slot + 1)),
                None => 1.0,
            };
            let place = Place { row, ordinal: run.ordinal + u64::from(row - first) };
            self.builder.add(id(self.columns.from, slot), id(self.columns.to, slot), kind, weight, place)?;
        }
        if run.len > len {
            let rest = Run { ordinal: run.ordinal + u64::from(len), slot: run.slot + len, len: run.len - len };
            self.runs.push((shard, rest));
        }
        Ok(())
    }

    /// Puts the new adjacency in the place of the old one, and gives it.
    pub fn finish(self) -> VisibleEdges {
        let EdgeBuild { collection, base, kept, view, deaths, is_clean, builder, claim, .. } = self;
        let covered = (0..collection.shards()).map(|shard| view.len(shard)).collect();
        // Of the segments that stay, all edges are visible if no row has died since that was so.
        let is_clean = is_clean && (kept == 0 || base.deaths() == Some(deaths));
        let adjacency = Arc::new(base.with(kept, builder.finish(), covered, is_clean.then_some(deaths)));
        claim.0.newest.store(adjacency.clone());
        drop(claim);
        VisibleEdges::new(&collection, adjacency, view)
    }
}

#[cfg(test)]
mod tests;
