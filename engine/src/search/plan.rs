//! Whether a search with a filter goes through the graph, or compares all rows that the filter is true of.
//!
//! The graph is walked through rows that do not pass, too: of every `1 / share` rows that it meets one counts. So it takes the longer the
//! fewer rows pass, and the scan the longer the more do. The share is estimated on rows spread evenly over the collection.

use super::SearchRequest;
use crate::collection::Collection;
use crate::region::View;

/// Rows that the filter is tried on.
const SAMPLE_ROWS: u64 = 512;
/// What it takes, in nanoseconds and about: to compare a row in a scan, and to follow the links of a node and look at its neighbours. Only
/// their ratios, and that to what the filter takes, count.
const SCAN_ROW_NS: f64 = 40.0;
const GRAPH_NODE_NS: f64 = 1_000.0;

/// Whether the scan takes less time; never without a filter.
pub(super) fn prefers_scan(collection: &Collection, request: &SearchRequest, view: &View) -> bool {
    let Some(filter) = &request.filter else { return false };
    let region = &collection.region;
    let rows: u64 = (0..region.shards()).map(|shard| region.live_rows_in(shard, 0..view.len(shard))).sum();
    let step = (rows / SAMPLE_ROWS).clamp(1, u64::from(u32::MAX)) as u32;
    let (mut seen, mut accepted, mut at) = (0u32, 0u32, 0);
    for shard in 0..region.shards() {
        for run in region.runs(shard, 0..view.len(shard)) {
            while at < run.len {
                let row = region.row(shard, run.slot + at);
                if region.visible(view, row) {
                    seen += 1;
                    accepted += u32::from(collection.accepts(filter, row));
                }
                at += step;
            }
            at -= run.len;
        }
    }
    if accepted == 0 {
        return true;
    }
    let share = f64::from(accepted) / f64::from(seen);
    let scan = rows as f64 * (f64::from(filter.row_ns()) / request.count as f64 + share * SCAN_ROW_NS);
    let graph = request.ef as f64 / share * GRAPH_NODE_NS;
    scan <= graph
}
