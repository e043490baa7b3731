//! Recall of a collection of the packages, by the truth that they come with.

use net::client::{Collection, Queries, SearchRequest};

use crate::packages;

/// Results of each query.
pub const K: usize = 10;

/// Recall@10 of all test queries, asked in requests of so many, from one of them on.
pub fn recall_from(collection: &Collection, ef: usize, batch: usize, first: usize) -> f64 {
    let truth = packages::truth();
    let order: Vec<usize> = (0..truth.queries.len()).map(|at| (first + at) % truth.queries.len()).collect();
    let mut hits = 0;
    for some in order.chunks(batch) {
        let bytes: Vec<u8> = some.iter().flat_map(|&query| packages::bytes_of(&truth.queries[query])).collect();
        let request = SearchRequest { queries: Queries::Bytes(&bytes), k: K, ef: Some(ef), ..Default::default() };
        let reply = collection.search(&request).expect("a good request").wait().expect("an answer");
        for (found, &query) in reply.hits.iter().zip(some) {
            let farthest = truth.cosines[query][K - 1] - 1e-4;
            hits += found.iter().filter(|hit| 1.0 - hit.distance >= farthest).count();
        }
    }
    hits as f64 / (truth.queries.len() * K) as f64
}

/// Recall@10 of all test queries, asked in one request.
pub fn recall(collection: &Collection, ef: usize) -> f64 {
    recall_from(collection, ef, usize::MAX, 0)
}
