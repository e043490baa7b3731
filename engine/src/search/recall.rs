//! The recall that queries get: a query that was answered is searched for anew and compared with the exact answer.
//!
//! Both answers are of one view, taken when the comparison begins, whatever is written meanwhile: so what was added or deleted since
//! the query was first asked neither hides a miss nor makes one. Only a delete reaches into a view; a sample that it has touched is
//! dropped. A row at least as near as the exact k-th is right, whichever of
//! several equally near ones it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::{Hit, ScanJob, ScanScratch, Scratch, Search, SearchRequest, Top};
use crate::collection::Collection;
use crate::error::Result;
use crate::limits;

/// A comparison, taken step by step. It holds a view until it is dropped.
pub struct RecallSample {
    search: Search,
    /// Once it is known what the filter is true of.
    scans: Option<Scans>,
    graph_left: bool,
    has_failed: bool,
}

/// What is scanned: rows that no graph holds, and all rows.
struct Scans {
    tail: Scan,
    exact: Scan,
}

/// A scan under way.
struct Scan {
    job: ScanJob,
    tops: Vec<Top>,
    scratch: ScanScratch,
}

impl Scan {
    fn new(job: ScanJob) -> Scan {
        Scan { tops: job.tops(), scratch: ScanScratch::default(), job }
    }

    fn step(&mut self) -> bool {
        self.job.run_slice(&mut self.tops, &mut self.scratch)
    }

    fn finish(mut self) -> Vec<Top> {
        self.job.rerank(&mut self.tops, &mut self.scratch);
        self.tops
    }
}

impl RecallSample {
    /// Begins with one query, as it was asked.
    pub fn begin(collection: Arc<Collection>, request: SearchRequest) -> Result<RecallSample> {
        assert!(request.count == 1 && !request.exact, "one query that was not answered exactly");
        let search = Search::begin(collection, request)?;
        Ok(RecallSample { search, scans: None, graph_left: false, has_failed: false })
    }

    /// What it is a sample of.
    pub fn collection(&self) -> &Arc<Collection> {
        &self.search.collection
    }

    /// Index of the vector column.
    pub fn vector(&self) -> usize {
        self.search.request.vector
    }

    /// Takes one step: a look at the filter, the way through the graph, or a slice of a scan. False when none was left.
    pub fn step(&mut self, scratch: &mut Scratch) -> bool {
        let Some(scans) = &mut self.scans else {
            if !self.search.select(scratch) {
                let tail = Scan::new(self.search.tail_job(limits::RECALL_SLICE_ROWS));
                let exact = Scan::new(self.search.exact_job(limits::RECALL_SLICE_ROWS));
                self.graph_left = self.search.uses_graph();
                self.scans = Some(Scans { tail, exact });
            }
            return true;
        };
        if std::mem::take(&mut self.graph_left) {
            self.has_failed = self.search.search_graph(0, scratch).is_err();
            return true;
        }
        scans.tail.step() || scans.exact.step()
    }

    /// Share of the exact results that the search found, once no step is left; None where there is nothing to find, or where a row
    /// of either answer was deleted meanwhile, or could not be read.
    pub fn finish(mut self) -> Option<f64> {
        if self.has_failed {
            return None;
        }
        let Scans { tail, exact } = self.scans?;
        self.search.merge(tail.finish());
        let exact = exact.finish().pop().expect("one query").into_sorted();
        let found = self.search.take_hits().pop().expect("one query");
        let region = &self.search.collection.region;
        let is_there = |hit: &Hit| region.visible(&self.search.view, hit.row);
        found.iter().chain(&exact).all(is_there).then(|| share_found(&found, &exact)).flatten()
    }
}

/// Share of the `exact` results that are `found`; both nearest first.
fn share_found(found: &[Hit], exact: &[Hit]) -> Option<f64> {
    let last = exact.last()?;
    let right = found.iter().filter(|hit| hit.distance <= last.distance).count();
    Some(right.min(exact.len()) as f64 / exact.len() as f64)
}

/// A running mean of the recall of one vector column, over about the last [`limits::RECALL_MEMORY_SAMPLES`] samples of each shard.
/// Each shard writes its own part; anybody reads the whole.
#[derive(Debug)]
pub struct RecallEstimate {
    parts: Box<[CachePadded<Part>]>,
}

/// Sum and weight of the samples of one shard, both fading; and their number, which does not.
#[derive(Debug, Default)]
struct Part {
    sum: AtomicU64,
    weight: AtomicU64,
    samples: AtomicU64,
}

impl RecallEstimate {
    /// No samples yet.
    pub fn new(shards: usize) -> RecallEstimate {
        RecallEstimate { parts: (0..shards).map(|_| CachePadded::default()).collect() }
    }

    /// Takes a sample in; only the shard itself does.
    pub fn add(&self, shard: usize, recall: f64) {
        const KEPT: f64 = 1.0 - 1.0 / limits::RECALL_MEMORY_SAMPLES as f64;
        let part = &self.parts[shard];
        let fade = |value: &AtomicU64, new: f64| {
            let faded = f64::from_bits(value.load(Ordering::Relaxed)) * KEPT + new;
            value.store(faded.to_bits(), Ordering::Relaxed);
        };
        fade(&part.sum, recall);
        fade(&part.weight, 1.0);
        part.samples.store(part.samples.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The mean; None before the first sample.
    pub fn get(&self) -> Option<f64> {
        let sum = |value: fn(&Part) -> &AtomicU64| -> f64 {
            self.parts.iter().map(|part| f64::from_bits(value(part).load(Ordering::Relaxed))).sum()
        };
        let weight = sum(|part| &part.weight);
        // A sample may be taken in between the two sums.
        (weight > 0.0).then(|| (sum(|part| &part.sum) / weight).min(1.0))
    }

    /// Samples so far.
    pub fn samples(&self) -> u64 {
        self.parts.iter().map(|part| part.samples.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchView;
    use crate::batch::samples::{Random, narrow, narrow_batch};
    use crate::collection::{CollectionOptions, CollectionSpec};
    use crate::region::RegionWriter;

    fn hits(distances: &[f32]) -> Vec<Hit> {
        distances.iter().enumerate().map(|(row, &distance)| Hit { distance, row: row as u32 }).collect()
    }

    #[test]
    fn what_is_as_near_as_the_last_is_right() {
        let exact = hits(&[0.1, 0.2, 0.2]);
        assert_eq!(share_found(&hits(&[0.1, 0.2, 0.2]), &exact), Some(1.0));
        assert_eq!(share_found(&hits(&[0.2, 0.2, 0.3]), &exact), Some(2.0 / 3.0));
        assert_eq!(share_found(&hits(&[0.2, 0.2, 0.2, 0.2]), &exact), Some(1.0), "never more than all");
        assert_eq!(share_found(&[], &exact), Some(0.0));
        assert_eq!(share_found(&[], &[]), None);
    }

    #[test]
    fn the_estimate_is_a_mean_that_forgets() {
        let estimate = RecallEstimate::new(2);
        assert_eq!((estimate.get(), estimate.samples()), (None, 0));
        estimate.add(0, 1.0);
        estimate.add(1, 0.5);
        assert_eq!((estimate.get(), estimate.samples()), (Some(0.75), 2));
        for _ in 0..10 * limits::RECALL_MEMORY_SAMPLES {
            estimate.add(0, 0.8);
            estimate.add(1, 0.9);
        }
        let mean = estimate.get().unwrap();
        assert!((mean - 0.85).abs() < 1e-3, "{mean}");
    }

    const ROWS: u64 = 600;

    /// Rows of random directions, and what writes more of them.
    fn filled() -> (Arc<Collection>, RegionWriter) {
        let spec =
            CollectionSpec { id: 1, name: "rows".into(), schema: narrow(8), options: CollectionOptions::default() };
        let collection = Collection::new(spec, 1).unwrap();
        let mut writer = RegionWriter::new(collection.region.clone(), 0);
        let ids: Vec<u64> = (0..ROWS).collect();
        write(&mut writer, &ids, |id, element| Random(id * 8 + element as u64).unit());
        (collection, writer)
    }

    fn write(writer: &mut RegionWriter, ids: &[u64], value: impl Fn(u64, usize) -> f32) {
        let schema = writer.region().schema().clone();
        let batch = narrow_batch(&schema, ids, value);
        let slots = writer.fill(&BatchView::from_arrow(&schema, &batch).unwrap()).unwrap();
        writer.publish(slots.end);
    }

    /// A sample of the query that is the first row, with `meanwhile` between what the search finds and what there is to find.
    fn sample(collection: &Arc<Collection>, meanwhile: impl FnOnce()) -> Option<f64> {
        let query = collection.region.vectors(0).get(collection.region.row(0, 0)).into();
        let request = SearchRequest { queries: query, count: 1, k: 10, ef: 10, ..SearchRequest::default() };
        let mut sample = RecallSample::begin(collection.clone(), request).unwrap();
        let mut scratch = Scratch::default();
        // What the filter is true of comes first, though there is none.
        for _ in 0..1 + ROWS.div_ceil(u64::from(limits::RECALL_SLICE_ROWS)) {
            assert!(sample.step(&mut scratch));
        }
        meanwhile();
        let mut left = 0;
        while sample.step(&mut scratch) {
            left += 1;
        }
        assert!(left > 0, "the exact answer was still to be found");
        sample.finish()
    }

    #[test]
    fn rows_that_come_meanwhile_are_nothing_to_find() {
        let (collection, mut writer) = filled();
        assert_eq!(sample(&collection, || ()), Some(1.0));
        // The query's own vector under twenty other ids: nothing is nearer.
        let ids: Vec<u64> = (ROWS..ROWS + 20).collect();
        let own = |_, element| Random(element as u64).unit();
        assert_eq!(sample(&collection, || write(&mut writer, &ids, own)), Some(1.0));
        assert_eq!(sample(&collection, || ()), Some(1.0), "now they are there for both");
    }

    #[test]
    fn a_row_that_was_found_and_deleted_spoils_the_sample() {
        let (collection, mut writer) = filled();
        assert_eq!(sample(&collection, || writer.delete(0)), None);
    }
}
