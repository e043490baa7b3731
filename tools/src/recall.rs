//! Recall: how many of the nearest rows a search finds, against the exact truth.
//!
//! Rows at the same distance as the k-th are all right: where the truth's scores are known, every row that ties with the k-th
//! counts as one of the k nearest.

use std::collections::HashSet;

use net::client::{Collection, Id};

use crate::commands::search::{self, Options, Target};
use crate::error::Result;
use crate::progress::Progress;

/// Scores closer than this are one score: the truth is rounded to f32.
const TIE: f32 = 2e-6;

/// Neighbours beyond k that the exact search is asked for, to know the ties.
const TIES: usize = 16;
/// Queries of one exact search.
const EXACT_QUERIES: usize = 16;

/// The exact nearest rows of one query.
#[derive(Debug, Clone)]
pub struct Truth {
    /// Ids, nearest first.
    pub ids: Vec<Id>,
    /// Distance or similarity of each, monotone along the list; empty where it is not known.
    pub scores: Vec<f32>,
}

impl Truth {
    /// How many of the `k` nearest are in `found`, and how many there are to find.
    pub fn hits(&self, found: &[Id], k: usize) -> (usize, usize) {
        let k = k.min(self.ids.len());
        let mut right = k;
        if let Some(&last) = k.checked_sub(1).and_then(|last| self.scores.get(last)) {
            right += self.scores[k..].iter().take_while(|score| (*score - last).abs() <= TIE).count();
        }
        let right: HashSet<&Id> = self.ids[..right.min(self.ids.len())].iter().collect();
        let found: HashSet<&Id> = found.iter().filter(|id| right.contains(id)).collect();
        (found.len().min(k), k)
    }
}

/// The truth of each query, as the server finds it when it compares with every row.
pub fn exact_truths(
    collection: &Collection,
    target: &Target,
    queries: &[u8],
    query_bytes: usize,
    k: usize,
    quiet: bool,
) -> Result<Vec<Truth>> {
    let k = (k + TIES).min(engine::limits::K_MAX);
    let options = Options { k, exact: true, ..Options::default() };
    let mut progress = Progress::start_queries("exact answers", (queries.len() / query_bytes) as u64, quiet);
    let mut truths = Vec::new();
    for some in queries.chunks(query_bytes * EXACT_QUERIES) {
        let reply = search::search(collection, target, some, &options)?;
        progress.add(reply.hits.len() as u64, 0);
        truths.extend(reply.hits.into_iter().map(|hits| Truth {
            scores: hits.iter().map(|hit| hit.distance).collect(),
            ids: hits.into_iter().map(|hit| hit.id).collect(),
        }));
    }
    progress.finish();
    Ok(truths)
}

/// Recall over all queries, each with its truth: hits over what there was to find.
pub fn recall<'a>(answers: impl IntoIterator<Item = (&'a [Id], &'a Truth)>, k: usize) -> f64 {
    let (mut hits, mut possible) = (0, 0);
    for (found, truth) in answers {
        let (hit, of) = truth.hits(&found[..found.len().min(k)], k);
        hits += hit;
        possible += of;
    }
    if possible == 0 { 1.0 } else { hits as f64 / possible as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<Id> {
        ids.iter().copied().map(Id::U64).collect()
    }

    fn truth(of: &[u64], scores: &[f32]) -> Truth {
        Truth { ids: ids(of), scores: scores.to_vec() }
    }

    #[test]
    fn hits_are_counted_among_the_first_k() {
        let truth = truth(&[1, 2, 3, 4], &[]);
        assert_eq!(truth.hits(&ids(&[1, 2]), 2), (2, 2));
        assert_eq!(truth.hits(&ids(&[2, 1]), 2), (2, 2), "order does not matter");
        assert_eq!(truth.hits(&ids(&[1, 3]), 2), (1, 2), "3 is not among the first 2");
        assert_eq!(truth.hits(&ids(&[1, 1]), 2), (1, 2), "an id twice is one hit");
        assert_eq!(truth.hits(&ids(&[]), 2), (0, 2));
        assert_eq!(truth.hits(&ids(&[1, 2, 3, 4]), 10), (4, 4), "there are only 4 rows");
    }

    #[test]
    fn ties_with_the_last_count() {
        let truth = truth(&[1, 2, 3, 4], &[0.9, 0.8, 0.8, 0.7]);
        assert_eq!(truth.hits(&ids(&[1, 3]), 2), (2, 2), "3 is as near as 2");
        assert_eq!(truth.hits(&ids(&[2, 3]), 2), (2, 2), "never more than k");
        assert_eq!(truth.hits(&ids(&[1, 4]), 2), (1, 2));
        assert_eq!(truth.hits(&ids(&[1, 4]), 0), (0, 0));
    }

    #[test]
    fn recall_is_over_all_queries() {
        let truths = [truth(&[1, 2], &[]), truth(&[3, 4], &[])];
        let found = [ids(&[1, 2]), ids(&[9, 4])];
        let answers = || found.iter().map(Vec::as_slice).zip(&truths);
        assert_eq!(recall(answers(), 2), 0.75);
        assert_eq!(recall(answers(), 1), 0.5, "only the first result of each counts");
        assert_eq!(recall(std::iter::empty(), 10), 1.0);
    }
}
