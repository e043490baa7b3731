//! The way of a batch of queries through the graph, one by one, on any core that has time.
//!
//! One query runs on one core. The queries of a batch are taken from a common counter, by the shard that got the batch and by those
//! that it told of it. A shard that is busy takes few or none, and nobody waits for it: the batch is done when every query that was
//! taken has been answered for.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::plan::Plan;
use super::{Ranking, ScanJob, Scratch, Target, Top, explain};
use crate::limits;
use crate::probes;
use crate::selection::Selection;
use crate::space::VectorSpace;

/// A search with a filter is given up in favour of a scan when it has met one in so many of the rows, and this many at least: what the
/// filter passes is then not where the query is.
const GRAPH_ROWS_PART: u64 = 4;
const GRAPH_ROWS_MIN: u64 = 4_096;

/// The queries of one search, each to be taken by one core.
pub struct GraphJob {
    target: Target,
    next: AtomicUsize,
    /// Shard that waits for the answers.
    pub owner: usize,
    /// Number that the owner knows the search by.
    pub ticket: u64,
}

impl GraphJob {
    /// All queries of a request, none of them taken.
    pub(super) fn new(target: Target, owner: usize, ticket: u64) -> GraphJob {
        GraphJob { target, next: AtomicUsize::new(0), owner, ticket }
    }

    /// Takes a query. Whoever has taken one has to search for it.
    pub fn take(&self) -> Option<usize> {
        // Relaxed: the queries were there before the job was shared, and taking one orders nothing else.
        let query = self.next.fetch_add(1, Ordering::Relaxed);
        (query < self.target.request.count).then_some(query)
    }

    /// The nearest rows of a query that was taken.
    pub fn search(&self, query: usize, scratch: &mut Scratch) -> Nearest {
        nearest(&self.target, query, scratch)
    }
}

/// What the graph gave for a query.
pub enum Nearest {
    /// The nearest rows.
    Found(Top),
    /// The same, once some vectors have been read.
    Unread(Box<Ranking>),
}

/// Searches the graph for one query and ranks the best candidates by their full vectors, as far as they are in memory.
///
/// Of a search within a threshold it is not known before how many candidates it takes: it begins with few, and takes more for as long as
/// most of those that it has are within. Where vectors are on disk it takes all at once.
pub(super) fn nearest(target: &Target, query: usize, scratch: &mut Scratch) -> Nearest {
    let Target { collection, request, counters, .. } = target;
    let space = collection.vectors[request.vector].space();
    let (vector, held) = (request.query(query), request.held());
    let ef_of = |wanted: usize| if space.uses_codes() { space.vector().ef_min(wanted) } else { wanted };
    let ef_max = request.ef.max(ef_of(held));
    let mut ef = if space.vector().on_disk { ef_max } else { request.ef_first(ef_max) };
    space.encode_query(vector, &mut scratch.code);
    loop {
        if !walk(target, space, ef, space.rerank_depth(held), scratch) {
            return Nearest::Found(scan_one(target, query));
        }
        let depth = scratch.rows.len();
        explain::count(counters, |all| &all.ranked_rows, depth);
        scratch.unread.clear();
        if space.vector().on_disk {
            let is_on_disk = |row: &mut u32| collection.region.on_disk(request.vector, *row).is_some();
            scratch.unread.extend(scratch.rows.extract_if(.., is_on_disk));
        }
        scratch.distances.resize(scratch.rows.len(), 0.0);
        space.exact(vector, &scratch.rows, &mut scratch.distances);
        probes::query_ranked(collection.spec.id, depth);
        let within = request.count_within(space.vector(), &scratch.distances);
        let is_enough = 2 * within <= depth && ef_of(within) <= ef;
        if ef >= ef_max || is_enough || scratch.found.len() < ef {
            break;
        }
        ef = ef_max.min(ef * limits::EF_WIDENING);
    }
    let mut top = Top::new(held);
    top.push_all(&scratch.rows, &scratch.distances);
    if scratch.unread.is_empty() {
        return Nearest::Found(top);
    }
    let (collection, request, rows) = (collection.clone(), request.clone(), scratch.unread.clone());
    Nearest::Unread(Box::new(Ranking { collection, request, query, top, rows }))
}

/// Searches the graph for `ef` candidates to the query whose code is in the scratch, and leaves the rows of the nearest `depth` of them
/// there, all visible and passed by the filter. False where the search was cut off: few rows pass near the query.
pub(super) fn walk(target: &Target, space: &VectorSpace, ef: usize, depth: usize, scratch: &mut Scratch) -> bool {
    let Target { collection, request, view, selection, plan, counters } = target;
    let region = &collection.region;
    let graph = collection.vectors[request.vector].graph();
    probes::query_begin(collection.spec.id, ef);
    // Where no row is dead, next to all that are found are visible, and only those that are wanted are looked at.
    let is_clean = (0..region.shards()).all(|shard| region.dead_rows(shard) == 0);
    let passes = |row: u32| selection.as_ref().is_none_or(|selection| selection.contains(row));
    for looks_at_all in [!is_clean, true] {
        let accept = |row: u32| passes(row) && (!looks_at_all || region.visible(view, row));
        let passing = selection.as_ref().map_or(u64::MAX, Selection::count);
        let distances_max = passing / GRAPH_ROWS_PART;
        scratch.graph.set_distances_max(distances_max.max(GRAPH_ROWS_MIN));
        let (code, search, found) = (&scratch.code, &mut scratch.graph, &mut scratch.found);
        let before = search.distances_computed();
        match plan {
            Plan::TwoHops => graph.search_within(space, code, ef, accept, search, found),
            _ => graph.search(space, code, ef, accept, search, found),
        }
        explain::count(counters, |all| &all.graph_rows, (search.distances_computed() - before) as usize);
        // What passes may be where the graph does not lead to through others that do.
        let is_lost = *plan == Plan::TwoHops && (found.len() as u64) < passing.min(ef as u64);
        if scratch.graph.was_cut_off() || is_lost {
            explain::count(counters, |all| &all.graph_given_up, 1);
            return false;
        }
        let rows = scratch.found.iter().map(|&(_, row)| row);
        scratch.rows.clear();
        scratch.rows.extend(rows.filter(|&row| looks_at_all || region.visible(view, row)).take(depth));
        // Else rows that have come or gone meanwhile were in the way.
        if looks_at_all || scratch.rows.len() == depth.min(scratch.found.len()) {
            break;
        }
    }
    probes::query_traversed(collection.spec.id, scratch.found.len());
    true
}

/// Compares one query with all rows that its filter passes.
fn scan_one(target: &Target, query: usize) -> Top {
    let target = Target { request: target.request.one(query), ..target.clone() };
    let from = vec![0; target.collection.shards()];
    ScanJob::new(target, &from, limits::SCAN_SLICE_ROWS).run_all().pop().expect("one query")
}
