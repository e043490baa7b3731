//! A search for groups of rows, one query after the other, in steps that a shard takes beside its other work.
//!
//! ```text
//! graph     candidates, more and more of them, until they are of as many groups as are wanted
//! leaders   these, and the rows that no graph holds: which groups are nearest?
//! members   the same rows once more: the nearest of each of these groups
//! ```
//!
//! Where all rows are compared both passes are over all of them, and the answer is exact. Through the graph a group has those of its rows that
//! the search came by. Where the graph leads to too few groups, all rows are compared for this query.
//!
//! Vectors on disk are read through their mapping, as an exact search does.

use std::ops::Range;

use super::graph::walk;
use super::groups::{Key, KeyReader, Leaders, Members};
use super::{Hit, Scratch, Search};
use crate::limits;

/// What was found for a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupedHits {
    /// The rows, group by group, the nearest group first, and in each the nearest row.
    pub hits: Vec<Hit>,
    /// The group of each, from 0.
    pub groups: Vec<u32>,
}

/// A search for groups under way.
pub struct GroupedSearch {
    search: Search,
    stage: Stage,
    /// Rows that are compared one by one for the query.
    slices: Vec<Range<u32>>,
    /// What the graph gave for it.
    candidates: Vec<Hit>,
    found: Vec<GroupedHits>,
}

enum Stage {
    /// So many candidates are to be taken from the graph.
    Graph { ef: usize },
    /// The groups so far, and the slice that is next.
    Leaders { leaders: Leaders, slice: usize },
    /// Their rows so far, and the slice that is next.
    Members { members: Members, slice: usize },
}

impl GroupedSearch {
    /// A search that was begun, with a grouping.
    ///
    /// # Panics
    /// Without one.
    pub fn new(search: Search) -> GroupedSearch {
        assert!(search.request.grouping.is_some(), "a search for groups");
        let stage = Stage::Graph { ef: search.request.ef_first(search.request.ef) };
        GroupedSearch { stage, slices: Vec::new(), candidates: Vec::new(), found: Vec::new(), search }
    }

    /// The search: it keeps the rows where they are.
    pub fn search(&self) -> &Search {
        &self.search
    }

    /// What was found for each query, once no step is left.
    pub fn take_found(&mut self) -> Vec<GroupedHits> {
        assert_eq!(self.found.len(), self.search.request.count, "all queries were answered");
        std::mem::take(&mut self.found)
    }

    /// Takes one step, of which the first find out which rows the filter is true of. False when none was left.
    pub fn step(&mut self, scratch: &mut Scratch) -> bool {
        if self.search.select(scratch) {
            return true;
        }
        if self.found.len() == self.search.request.count {
            return false;
        }
        let ef = self.ef_first();
        let stage = std::mem::replace(&mut self.stage, Stage::Graph { ef });
        self.stage = match stage {
            Stage::Graph { ef } => self.traverse(ef, scratch),
            Stage::Leaders { leaders, slice } if slice < self.slices.len() => self.lead(leaders, slice, scratch),
            Stage::Leaders { leaders, .. } => self.choose(leaders),
            Stage::Members { members, slice } if slice < self.slices.len() => self.gather(members, slice, scratch),
            Stage::Members { members, .. } => {
                let groups = members.into_sorted();
                self.finish(groups);
                return true;
            }
        };
        true
    }

    /// Groups that are held, and rows of each: beside those that are wanted, as many as may be left out.
    fn held(&self) -> (usize, usize) {
        let request = &self.search.request;
        (request.held(), request.grouping.expect("checked").size + request.left_out_len())
    }

    fn ef_first(&self) -> usize {
        self.search.request.ef_first(self.search.request.ef)
    }

    fn keys(&self) -> KeyReader<'_> {
        KeyReader::new(&self.search.collection.region, self.search.request.grouping.expect("checked").column)
    }

    fn traverse(&mut self, ef: usize, scratch: &mut Scratch) -> Stage {
        let (wanted, _) = self.held();
        let begin = |slices: Vec<Range<u32>>, candidates: Vec<Hit>, this: &mut GroupedSearch| {
            (this.slices, this.candidates) = (slices, candidates);
            let (mut leaders, keys) = (Leaders::new(wanted), this.keys());
            this.candidates.iter().for_each(|&hit| leaders.offer(keys.key(hit.row), hit));
            Stage::Leaders { leaders, slice: 0 }
        };
        let whole = |search: &Search| search.slices(&vec![0; search.indexed.len()]);
        if !self.search.uses_graph() {
            return begin(whole(&self.search), Vec::new(), self);
        }
        let Some(mut candidates) = self.candidates(ef, scratch) else {
            return begin(whole(&self.search), Vec::new(), self);
        };
        let request = &self.search.request;
        let is_all = scratch.found.len() < ef;
        // Most of what was found is beyond the threshold.
        let is_beyond = request.threshold.is_some() && 2 * candidates.len() <= scratch.rows.len();
        let (groups, is_full) = self.count_groups(&candidates);
        let is_enough = is_all || is_beyond || groups >= wanted && (is_full || ef > self.ef_first());
        if !is_enough && ef < request.ef {
            return Stage::Graph { ef: request.ef.min(ef * limits::EF_WIDENING) };
        }
        if !is_enough && groups < wanted {
            return begin(whole(&self.search), Vec::new(), self);
        }
        let tail = self.search.slices(&self.search.scan_starts());
        // A row may have come into the graph since: it is found behind it.
        candidates.retain(|hit| !tail.iter().any(|slice| slice.contains(&hit.row)));
        begin(tail, candidates, self)
    }

    /// The nearest rows that the graph leads to, ordered and within the threshold; None where the search was cut off.
    fn candidates(&self, ef: usize, scratch: &mut Scratch) -> Option<Vec<Hit>> {
        let Search { collection, request, .. } = &self.search;
        let space = collection.vectors[request.vector].space();
        let vector = request.query(self.found.len());
        space.encode_query(vector, &mut scratch.code);
        if !walk(&self.search.target(), space, ef, usize::MAX, scratch) {
            return None;
        }
        scratch.distances.resize(scratch.rows.len(), 0.0);
        space.exact(vector, &scratch.rows, &mut scratch.distances);
        let hits = scratch.rows.iter().zip(&scratch.distances);
        let mut hits: Vec<Hit> = hits.map(|(&row, &distance)| Hit { distance, row }).collect();
        hits.retain(|hit| request.admits(collection, hit.distance));
        hits.sort_unstable();
        Some(hits)
    }

    /// Groups of some hits, and whether the nearest of them, as many as are wanted, have all the rows that are.
    fn count_groups(&self, hits: &[Hit]) -> (usize, bool) {
        let ((wanted, size), keys) = (self.held(), self.keys());
        let mut leaders = Leaders::new(hits.len().max(1));
        hits.iter().for_each(|&hit| leaders.offer(keys.key(hit.row), hit));
        let mut groups = leaders.into_sorted();
        let count = groups.len();
        groups.truncate(wanted);
        let mut members = Members::new(groups, size);
        self.offer_members(&mut members, hits.iter().copied());
        (count, members.into_sorted().iter().all(|rows| rows.len() == size))
    }

    fn offer_members(&self, members: &mut Members, hits: impl Iterator<Item = Hit>) {
        let keys = self.keys();
        for hit in hits {
            if let Some(place) = members.place(keys.key(hit.row)) {
                members.offer(place, hit);
            }
        }
    }

    /// Compares the rows of a slice, to know the groups.
    fn lead(&mut self, mut leaders: Leaders, slice: usize, scratch: &mut Scratch) -> Stage {
        let Search { collection, request, .. } = &self.search;
        self.search.target().rows_in(&self.slices[slice], &mut scratch.rows);
        self.compare(scratch);
        let keys = self.keys();
        for (&row, &distance) in scratch.rows.iter().zip(&scratch.distances) {
            if leaders.admits(distance) && request.admits(collection, distance) {
                leaders.offer(keys.key(row), Hit { distance, row });
            }
        }
        Stage::Leaders { leaders, slice: slice + 1 }
    }

    /// The groups are known.
    fn choose(&mut self, leaders: Leaders) -> Stage {
        let (groups, (_, size)) = (leaders.into_sorted(), self.held());
        if size == 1 {
            self.finish(groups.into_iter().map(|(_, hit): (Key, Hit)| vec![hit]).collect());
            return Stage::Graph { ef: self.ef_first() };
        }
        let mut members = Members::new(groups, size);
        self.offer_members(&mut members, self.candidates.iter().copied());
        Stage::Members { members, slice: 0 }
    }

    /// Compares those rows of a slice that are of the groups.
    fn gather(&mut self, mut members: Members, slice: usize, scratch: &mut Scratch) -> Stage {
        let Search { collection, request, .. } = &self.search;
        let keys = self.keys();
        self.search.target().rows_in(&self.slices[slice], &mut scratch.rows);
        scratch.rows.retain(|&row| members.place(keys.key(row)).is_some());
        self.compare(scratch);
        let hits = scratch.rows.iter().zip(&scratch.distances).map(|(&row, &distance)| Hit { distance, row });
        self.offer_members(&mut members, hits.filter(|hit| request.admits(collection, hit.distance)));
        Stage::Members { members, slice: slice + 1 }
    }

    fn compare(&self, scratch: &mut Scratch) {
        let Search { collection, request, .. } = &self.search;
        scratch.distances.resize(scratch.rows.len(), 0.0);
        let vector = request.query(self.found.len());
        collection.vectors[request.vector].coded.exact(vector, &scratch.rows, &mut scratch.distances);
    }

    /// Takes away what is not wanted, and goes on to the next query.
    fn finish(&mut self, mut groups: Vec<Vec<Hit>>) {
        let Search { collection, request, .. } = &self.search;
        if request.left_out.is_some() {
            groups.iter_mut().for_each(|hits| request.leave_out(collection, hits));
            groups.retain(|hits| !hits.is_empty());
            groups.sort_by_key(|hits| hits[0]);
        }
        let size = request.grouping.expect("checked").size;
        let mut found = GroupedHits::default();
        for (group, mut hits) in groups.into_iter().skip(request.offset).take(request.k).enumerate() {
            hits.truncate(size);
            found.groups.extend(hits.iter().map(|_| group as u32));
            found.hits.append(&mut hits);
        }
        self.found.push(found);
    }
}

impl Search {
    /// The rows of the view from these ordinals on, in slices.
    fn slices(&self, from: &[u64]) -> Vec<Range<u32>> {
        let (region, step) = (&self.collection.region, limits::SCAN_SLICE_ROWS);
        let mut slices = Vec::new();
        for (shard, &start) in from.iter().enumerate() {
            for run in region.runs(shard, start..self.view.len(shard)) {
                let first = region.row(shard, run.slot);
                let parts = (0..run.len).step_by(step as usize);
                slices.extend(parts.map(|at| first + at..first + run.len.min(at + step)));
            }
        }
        slices
    }
}
