//! Traversals along edges, and results that activate each other.

use std::collections::BTreeMap;

use net::client::{Id, Queries, SearchRequest, TraverseRequest};
use tests::model::edges::{Edge, check, random_request, random_spread, scores, traverse};
use tests::model::value::TEXTS;
use tests::model::{Passing, ids};

use super::{EDGES, World, json};

/// Seeds of a traversal, at most.
const SEEDS_MAX: u64 = 4;

impl World<'_> {
    /// Nodes that are reached from some, whether these are there or not.
    pub fn traverse(&mut self) {
        // Edges that are new, and of which some expire before anything has deleted them.
        if self.random.below(2) == 0 {
            self.edges.write(&mut self.random);
        }
        let (nodes, random) = (&self.nodes.model, &mut self.random);
        let request = random_request(&TEXTS[..5], random);
        let edges = self.edges.model.all_edges();
        let mut seeds: BTreeMap<Id, f64> = BTreeMap::new();
        for _ in 0..1 + random.below(SEEDS_MAX) {
            // Mostly where an edge begins.
            let edge = edges.get(random.below(edges.len().max(1) as u64) as usize);
            let id =
                edge.filter(|_| random.below(4) > 0).map_or_else(|| nodes.random_id(random), |edge| edge.from.clone());
            seeds.insert(id, [1.0, 0.5, 0.0][random.below(3) as usize]);
        }
        let seeds: Vec<(Id, f64)> = seeds.into_iter().collect();
        let mut expected = traverse(&edges, &request, &seeds);
        expected.retain(|id, _| request.missing || nodes.rows.contains_key(id));
        let (list, activations): (Vec<Id>, Vec<f32>) =
            seeds.iter().map(|(id, activation)| (id.clone(), *activation as f32)).unzip();
        let list = ids(&list);
        let sent =
            TraverseRequest { activations: &activations, options: request.clone(), ..TraverseRequest::from(&list) };
        let what = format!("{request:?} from {seeds:?}");
        let reply = self.edges.collection.traverse(&sent).expect("a good request").wait();
        let reply = reply.unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&reply, &expected, &request, &what);
    }

    /// An exact search whose results activate their neighbours.
    pub fn spread(&mut self) {
        let (place, kind) = self.vector_column();
        let (model, random) = (&self.nodes.model, &mut self.random);
        let queries: Vec<Vec<u8>> = (0..1 + random.below(2)).map(|_| kind.random(random)).collect();
        let condition = self.nodes.condition(random);
        let filter = json(condition.as_ref());
        let passing = Passing { condition: condition.as_ref(), left_out: &[] };
        let k = 1 + random.below(12) as usize;
        let nearest: Vec<Vec<(f64, &Id)>> = queries.iter().map(|query| model.nearest(place, query, passing)).collect();
        let mut spread = random_spread(EDGES, random);
        let slack = |query: &[u8], id: &Id| 2.0 * kind.slack(query, model.rows[id][place].vector());
        // So many candidates that rounding does not decide which they are.
        let mut candidates = k + random.below(60) as usize;
        let is_open = |candidates: usize| {
            queries.iter().zip(&nearest).any(|(query, rows)| match (rows.get(candidates - 1), rows.get(candidates)) {
                (Some(last), Some(next)) => next.0 - last.0 <= slack(query, last.1) + slack(query, next.1),
                _ => false,
            })
        };
        while is_open(candidates) {
            candidates += 1;
        }
        spread.candidates = Some(candidates);
        let request = SearchRequest {
            column: Some(model.columns[place].name()),
            queries: Queries::Bytes(&queries.concat()),
            k,
            exact: true,
            filter: &filter,
            spread: Some(&spread),
            ..Default::default()
        };
        let what = format!("{kind:?}, {k} by {spread:?}, {filter}");
        let reply = self.nodes.collection.search(&request).expect("it is sent").wait();
        let reply = reply.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(reply.hits.len(), queries.len(), "{what}");
        let edges: Vec<Edge> = self.edges.model.all_edges();
        for ((query, nearest), hits) in queries.iter().zip(&nearest).zip(&reply.hits) {
            let similarity = |distance: f64| kind.similarity(distance);
            let found = nearest.iter().take(candidates);
            let found: Vec<(Id, f64)> = found.map(|(distance, id)| ((*id).clone(), similarity(*distance))).collect();
            let admitted = |id: &Id| {
                let row = model.rows.get(id).filter(|row| passing.admits(id, row))?;
                Some(similarity(kind.distance(query, row[place].vector())))
            };
            let Some(wanted) = scores(&edges, &spread, k, &found, admitted) else { continue };
            wanted.check(hits, k, &what);
            for hit in hits {
                let distance = kind.distance(query, model.rows[&hit.id][place].vector());
                let is_near = (f64::from(hit.distance) - distance).abs() <= slack(query, &hit.id);
                assert!(is_near, "{what}: {hit:?}, by the formula {distance}");
            }
        }
    }
}
