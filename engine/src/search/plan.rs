//! The way of a search with a filter: through the graph, or over all rows that pass.
//!
//! The scan takes time for each row that passes. The graph takes as long as without a filter where most rows pass, and the longer the fewer
//! do: of every `1 / share` rows that it meets one counts.

use super::SearchRequest;
use crate::collection::Collection;
use crate::region::View;
use crate::selection::Selection;

/// How the queries of a request are answered, but for rows that no graph holds: those are always scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// All rows that pass are compared.
    Scan,
    /// The graph is walked from one row that passes to others that are its neighbours, or neighbours of a neighbour that does not pass.
    TwoHops,
    /// The graph is walked through whatever rows there are.
    Walk,
}

/// So many rows are scanned whatever part of all they are, and so many for each candidate: where few candidates are wanted the graph has
/// found them earlier.
const SCAN_ROWS_MAX: f64 = 20_000.0;
const SCAN_ROWS_OF_EF: f64 = 140.0;
/// What share of the rows is scanned, however many they are.
const SCAN_SHARE: f64 = 0.01;
/// Up to what share the graph is walked over two hops.
const TWO_HOPS_SHARE: f64 = 0.4;

impl Plan {
    /// The quickest one, by how many rows pass.
    pub fn choose(collection: &Collection, request: &SearchRequest, view: &View, selection: &Selection) -> Plan {
        let rows = rows_in(collection, view) as f64;
        let passing = passing_rows(collection, view, selection) as f64;
        let ef = request.ef as f64;
        if passing <= SCAN_ROWS_MAX.min(SCAN_ROWS_OF_EF * ef) || passing <= SCAN_SHARE * rows {
            Plan::Scan
        } else if passing <= TWO_HOPS_SHARE * rows {
            Plan::TwoHops
        } else {
            Plan::Walk
        }
    }

    /// As people are told.
    pub fn name(self) -> &'static str {
        match self {
            Plan::Scan => "scan",
            Plan::TwoHops => "two hops",
            Plan::Walk => "graph",
        }
    }
}

/// Live rows that pass, as far as it can be known without a look at each: those of the masks, less the share of dead rows.
pub(super) fn passing_rows(collection: &Collection, view: &View, selection: &Selection) -> u64 {
    let region = &collection.region;
    let all: u64 = (0..region.shards()).map(|shard| region.rows_of(shard)).sum();
    let live = rows_in(collection, view).min(all);
    (u128::from(selection.count()) * u128::from(live) / u128::from(all.max(1))) as u64
}

fn rows_in(collection: &Collection, view: &View) -> u64 {
    let region = &collection.region;
    (0..region.shards()).map(|shard| region.live_rows_in(shard, 0..view.len(shard))).sum()
}
