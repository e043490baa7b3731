//! Properties of the graph: reachability, degrees, publication, determinism, files; over random and clustered data, one
//! and several shards, with edges delivered at once, late, in batches, and from several threads.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use super::*;
use crate::batch::samples::Random;
use crate::error::Error;

const DIMENSION: usize = 8;
const ROW_BITS: u32 = 12;

/// Vectors of f32 under squared l2, by shard and slot.
struct Points {
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Uniform,
    /// Tight clusters far apart, inserted one after the other.
    Clusters,
    /// A handful of points, each many times over.
    Duplicates,
    /// One centre that is everybody's nearest.
    Star,
}

const SHAPES: [Shape; 4] = [Shape::Uniform, Shape::Clusters, Shape::Duplicates, Shape::Star];

impl Points {
    fn new(shape: Shape, shards: usize, slots: usize, seed: u64) -> Points {
        let mut random = Random(seed);
        let mut bytes = vec![0; (shards << ROW_BITS) * DIMENSION * 4];
        for slot in 0..slots {
            for shard in 0..shards {
                let mut vector = [0f32; DIMENSION];
                vector.iter_mut().for_each(|x| *x = random.unit() / 2.0);
                let group = match shape {
                    Shape::Clusters => slot * 12 / slots,
                    _ => random.below(7) as usize,
                } as f32;
                match shape {
                    Shape::Uniform => {}
                    Shape::Clusters => vector.iter_mut().enumerate().for_each(|(i, x)| {
                        *x = *x * 0.01 + ((group as usize * 2_654_435_761) >> (i * 3) & 7) as f32;
                    }),
                    Shape::Duplicates => vector = [group; DIMENSION],
                    Shape::Star => {
                        let axis = random.below(DIMENSION as u64) as usize;
                        let length = 1.0 + random.unit().abs() * 0.0005;
                        vector.iter_mut().enumerate().for_each(|(i, x)| *x *= if i == axis { 0.0 } else { 1e-3 });
                        vector[axis] = if slot == 0 && shard == 0 { 0.0 } else { length };
                    }
                }
                let at = ((shard << ROW_BITS) + slot) * DIMENSION * 4;
                for (bytes, x) in bytes[at..].chunks_exact_mut(4).zip(vector) {
                    bytes.copy_from_slice(&x.to_le_bytes());
                }
            }
        }
        Points { bytes }
    }
}

impl Space for Points {
    fn row(&self, row: u32) -> &[u8] {
        &self.bytes[row as usize * DIMENSION * 4..][..DIMENSION * 4]
    }

    fn distance(&self, a: &[u8], b: &[u8]) -> f32 {
        let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
        a.chunks_exact(4).zip(b.chunks_exact(4)).map(|(a, b)| (float(a) - float(b)).powi(2)).sum()
    }

    fn distances(&self, query: &[u8], rows: &[u32], out: &mut [f32]) {
        assert_eq!(rows.len(), out.len());
        for (distance, &row) in out.iter_mut().zip(rows) {
            *distance = self.distance(query, self.row(row));
        }
    }

    fn prefetch(&self, _row: u32) {}

    fn tile(&self) -> Option<Tile> {
        kernels::detect().tile(kernels::ElementKind::F32, kernels::Metric::L2)
    }

    fn pack(&self, rows: &[u32], panel: &mut Panel) {
        (self.tile().unwrap().pack)(kernels::Rows::from_slice(&self.bytes, DIMENSION * 4), rows, panel);
    }
}

fn params(m: usize) -> GraphParams {
    GraphParams { m, ef_construction: 40.max(m), seed: 3 }
}

/// Builds with several shards on one thread; edges stay in transit for a random time, in random portions.
fn build(points: &Points, m: usize, shards: usize, slots: usize, lateness: u64, seed: u64) -> Arc<Graph> {
    let graph = Graph::new(params(m), shards, ROW_BITS).unwrap();
    let mut indexers: Vec<_> = (0..shards).map(|shard| Indexer::new(graph.clone(), shard)).collect();
    let mut random = Random(seed);
    let mut transit: Vec<VecDeque<Edge>> = vec![VecDeque::new(); shards];
    let mut outbox = EdgeOutbox::new(shards);
    let mut next = vec![0; shards];
    while next.iter().any(|&slot| slot < slots) || transit.iter().any(|edges| !edges.is_empty()) {
        let shard = random.below(shards as u64) as usize;
        if next[shard] < slots {
            indexers[shard].insert(points, graph.row(shard, next[shard] as u32), &mut outbox);
            next[shard] += 1;
        }
        let receiver = random.below(shards as u64) as usize;
        if random.below(lateness + 1) == 0 || next.iter().all(|&slot| slot == slots) {
            let portion = random.below(transit[receiver].len() as u64 + 1) as usize;
            let edges: Vec<_> = transit[receiver].drain(..portion).collect();
            indexers[receiver].apply(points, &edges, &mut outbox);
        }
        for (shard, transit) in transit.iter_mut().enumerate() {
            transit.extend(outbox.take(shard));
        }
    }
    indexers.iter_mut().for_each(|indexer| indexer.set_indexed(slots as u64));
    graph
}

/// Takes the slots in from `from` on in a bulk round, of which shards get to know in a random order; before it, those that reach
/// higher, one by one.
fn build_bulk(graph: &Arc<Graph>, points: &Points, slots: std::ops::Range<usize>, seed: u64) {
    let shards = graph.shards();
    let mut indexers: Vec<_> = (0..shards).map(|shard| Indexer::new(graph.clone(), shard)).collect();
    let mut outbox = EdgeOutbox::new(shards);
    let deliver = |indexers: &mut Vec<Indexer>, outbox: &mut EdgeOutbox| {
        while !outbox.is_empty() {
            for (shard, indexer) in indexers.iter_mut().enumerate() {
                let edges = outbox.take(shard);
                indexer.apply(points, &edges, outbox);
            }
        }
    };
    let mut random = Random(seed);
    // What is on the way from one shard to another arrives in its order.
    let mut transit: Vec<VecDeque<BulkPart>> = vec![VecDeque::new(); shards * shards];
    let mut bulks = Vec::new();
    for shard in 0..shards {
        let (higher, new): (Vec<u32>, Vec<u32>) = slots
            .clone()
            .map(|slot| graph.row(shard, slot as u32))
            .partition(|&row| indexers[shard].reaches_higher(row) || graph.entry().is_none());
        for row in higher {
            indexers[shard].insert(points, row, &mut outbox);
            deliver(&mut indexers, &mut outbox);
        }
        bulks.push(new);
    }
    let begin = |(shard, new): (usize, Vec<u32>)| {
        let nodes = rows(graph).into_iter().filter(|&row| graph.owner(row) == shard).collect();
        let mut say = |to: usize, part: BulkPart| transit[shard * shards + to].push_back(part);
        Bulk::begin(points, shards, shard, BulkRows { new, nodes }, &mut say).unwrap()
    };
    let mut bulks: Vec<Bulk> = bulks.into_iter().enumerate().map(begin).collect();
    let mut done = vec![false; shards];
    while done.contains(&false) {
        let lane = random.below((shards * shards) as u64) as usize;
        if let Some(part) = transit[lane].pop_front() {
            bulks[lane % shards].receive(lane / shards, part);
        }
        let shard = random.below(shards as u64) as usize;
        let mut say = |to: usize, part: BulkPart| transit[shard * shards + to].push_back(part);
        match bulks[shard].step(&mut indexers[shard], points, &mut outbox, &mut say) {
            BulkStep::Flush => {
                deliver(&mut indexers, &mut outbox);
                bulks[shard].flushed(&mut say);
            }
            BulkStep::Done => done[shard] = true,
            BulkStep::Worked | BulkStep::Waits => (),
        }
    }
    indexers.iter_mut().for_each(|indexer| indexer.set_indexed(slots.end as u64));
}

/// Links all nodes anew, shards in a random order; what one says to another is on the way for a random time.
fn refine(graph: &Arc<Graph>, points: &Points, lateness: u64, seed: u64) {
    let shards = graph.shards();
    let mut indexers: Vec<_> = (0..shards).map(|shard| Indexer::new(graph.clone(), shard)).collect();
    let mut random = Random(seed);
    let mut outbox = EdgeOutbox::new(shards);
    let mut left = rows(graph);
    while !left.is_empty() || !outbox.is_empty() {
        if !left.is_empty() {
            let row = left.swap_remove(random.below(left.len() as u64) as usize);
            indexers[graph.owner(row)].refine(points, row, &mut outbox);
        }
        if random.below(lateness + 1) == 0 || left.is_empty() {
            let receiver = random.below(shards as u64) as usize;
            let edges = outbox.take(receiver);
            indexers[receiver].apply(points, &edges, &mut outbox);
        }
    }
    for (shard, indexer) in indexers.iter_mut().enumerate() {
        indexer.set_refined(graph.unrefined(shard));
    }
}

fn rows(graph: &Graph) -> Vec<u32> {
    let all = (0..graph.shards()).flat_map(|shard| (0..graph.used(shard)).map(move |slot| (shard, slot)));
    all.map(|(shard, slot)| graph.row(shard, slot)).filter(|&row| graph.contains(row)).collect()
}

/// Degree bound, nobody linked twice, to itself, or to a row that is not in the graph.
fn check_lists(graph: &Graph) {
    for row in rows(graph) {
        for layer in 0..=graph.level(row).unwrap() {
            let links = graph.links(row, layer);
            assert!(links.len() <= graph.degree_max(layer));
            assert_eq!(links.iter().collect::<HashSet<_>>().len(), links.len(), "row {row} links twice: {links:?}");
            assert!(!links.contains(&row));
            assert!(links.iter().all(|&other| graph.level(other).is_some_and(|level| level >= layer)));
        }
        assert!(graph.kept(row).0 <= graph.params().m + 1);
    }
    assert_eq!(graph.nodes(), rows(graph).len() as u64);
}

/// Every node can be reached from `start` on layer 0.
fn check_reachable(graph: &Graph, start: u32) {
    let mut seen = HashSet::from([start]);
    let mut queue = vec![start];
    while let Some(row) = queue.pop() {
        queue.extend(graph.links(row, 0).into_iter().filter(|&other| seen.insert(other)));
    }
    let lost: Vec<_> = rows(graph).into_iter().filter(|row| !seen.contains(row)).collect();
    assert!(lost.is_empty(), "{} of {} rows are lost: {:?}", lost.len(), rows(graph).len(), &lost[..lost.len().min(9)]);
}

/// The above, from the entry point and from some other nodes.
fn check(graph: &Graph) {
    check_lists(graph);
    check_reachable(graph, graph.entry().unwrap().1);
    for &row in rows(graph).iter().step_by(97) {
        check_reachable(graph, row);
    }
}

#[test]
fn every_node_is_reachable_whatever_the_data_and_the_delivery() {
    let mut seed = 0;
    for shape in SHAPES {
        for (shards, m) in [(1, 2), (1, 8), (2, 4), (3, 2), (4, 8)] {
            for lateness in [0, 3, 100] {
                seed += 1;
                println!("{shape:?}, {shards} shards, m {m}, lateness {lateness}, seed {seed}");
                let slots = 900 / shards;
                let points = Points::new(shape, shards, slots, seed);
                let graph = build(&points, m, shards, slots, lateness, seed);
                assert_eq!(rows(&graph).len(), slots * shards);
                check(&graph);
            }
        }
    }
}

#[test]
fn every_node_of_a_bulk_build_is_reachable_whatever_the_data() {
    for (case, shape) in SHAPES.into_iter().enumerate() {
        for (shards, before) in [(1, 0), (2, 0), (3, 250), (2, 1)] {
            let (slots, seed) = (700, 50 + case as u64);
            let points = Points::new(shape, shards, slots, seed);
            let graph = if before > 0 {
                build(&points, 4, shards, before, 0, seed)
            } else {
                Graph::new(params(4), shards, ROW_BITS).unwrap()
            };
            build_bulk(&graph, &points, before..slots, seed);
            assert_eq!(graph.nodes(), (shards * slots) as u64, "{shape:?}, {shards} shards, seed {seed}");
            check(&graph);
        }
    }
}

#[test]
fn a_bulk_build_leads_to_the_nearest() {
    let points = Points::new(Shape::Uniform, 2, 2_000, 77);
    let graph = Graph::new(params(8), 2, ROW_BITS).unwrap();
    build_bulk(&graph, &points, 0..500, 1);
    build_bulk(&graph, &points, 500..2_000, 2);
    check(&graph);
    let hits = hits_of_500(&graph, &points, 40);
    assert!(hits >= 490, "{hits} of 500");
}

/// How many of the 10 nearest of 50 rows are found.
fn hits_of_500(graph: &Graph, points: &Points, ef: usize) -> usize {
    let all = rows(graph);
    let (mut scratch, mut found, mut hits) = (SearchScratch::new(), Vec::new(), 0);
    for slot in (0..2_000).step_by(40) {
        let query = points.row(graph.row(1, slot));
        graph.search(points, query, ef, |_| true, &mut scratch, &mut found);
        let nearest = brute_force(points, &all, query, 10);
        hits += found[..10].iter().filter(|found| nearest.iter().any(|near| near.1 == found.1)).count();
    }
    hits
}

#[test]
fn every_node_that_is_linked_anew_stays_reachable_whatever_the_data() {
    for (case, shape) in SHAPES.into_iter().enumerate() {
        for (shards, m, lateness) in [(1, 2, 0), (2, 4, 3), (3, 2, 100), (4, 8, 20)] {
            let (slots, seed) = (900 / shards, 90 + case as u64);
            println!("{shape:?}, {shards} shards, m {m}, lateness {lateness}, seed {seed}");
            let points = Points::new(shape, shards, slots, seed);
            let graph = build(&points, m, shards, slots / 2, lateness, seed);
            refine(&graph, &points, lateness, seed);
            check(&graph);
            build_bulk(&graph, &points, slots / 2..slots, seed);
            refine(&graph, &points, lateness, seed);
            assert_eq!(graph.nodes(), (shards * slots) as u64);
            check(&graph);
        }
    }
}

#[test]
fn linking_anew_leads_to_more_of_the_nearest() {
    let points = Points::new(Shape::Uniform, 2, 2_000, 77);
    for is_bulk in [false, true] {
        let graph = if is_bulk {
            let graph = Graph::new(params(4), 2, ROW_BITS).unwrap();
            build_bulk(&graph, &points, 0..2_000, 1);
            graph
        } else {
            build(&points, 4, 2, 2_000, 0, 1)
        };
        let before = hits_of_500(&graph, &points, 10);
        assert_eq!([0, 1].map(|shard| graph.unrefined(shard)), [2_000; 2]);
        refine(&graph, &points, 0, 1);
        assert_eq!([0, 1].map(|shard| graph.unrefined(shard)), [0; 2]);
        let after = hits_of_500(&graph, &points, 10);
        println!("in bulk: {is_bulk}, found before and after: {before}, {after} of 500");
        assert!(after > before, "in bulk: {is_bulk}, {before} before and {after} after");
    }
}

#[test]
fn threads_build_while_a_reader_searches() {
    for (round, shape) in SHAPES.into_iter().enumerate() {
        let (shards, slots) = (3, 500);
        let points = Points::new(shape, shards, slots, round as u64);
        let graph = Graph::new(params(4), shards, ROW_BITS).unwrap();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel::<Vec<Edge>>()).unzip();
        let in_flight = std::sync::atomic::AtomicUsize::new(shards);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (shard, receiver) in receivers.into_iter().enumerate() {
                let (graph, senders, points, in_flight) = (graph.clone(), senders.clone(), &points, &in_flight);
                scope.spawn(move || {
                    let mut indexer = Indexer::new(graph.clone(), shard);
                    let mut outbox = EdgeOutbox::new(shards);
                    let mut slot = 0;
                    // What counts as in flight: a shard that has rows left, and every batch that is not applied.
                    while in_flight.load(Ordering::SeqCst) > 0 {
                        if slot < slots {
                            indexer.insert(points, graph.row(shard, slot as u32), &mut outbox);
                            slot += 1;
                        }
                        let mut finished = 0;
                        if slot % 16 == 0 || slot >= slots {
                            for edges in receiver.try_iter() {
                                indexer.apply(points, &edges, &mut outbox);
                                finished += 1;
                            }
                            for (owner, sender) in senders.iter().enumerate() {
                                let edges = outbox.take(owner);
                                if !edges.is_empty() {
                                    in_flight.fetch_add(1, Ordering::SeqCst);
                                    sender.send(edges).unwrap();
                                }
                            }
                        }
                        if slot == slots {
                            finished += 1;
                            slot += 1;
                        }
                        in_flight.fetch_sub(finished, Ordering::SeqCst);
                    }
                });
            }
            let (graph, points, done) = (&graph, &points, &done);
            let reader = scope.spawn(move || {
                let (mut scratch, mut out, mut searches) = (SearchScratch::new(), Vec::new(), 0);
                while !done.load(Ordering::Acquire) || searches == 0 {
                    let query = points.row((searches * 7 % slots) as u32).to_vec();
                    graph.search(points, &query, 20, |_| true, &mut scratch, &mut out);
                    assert!(out.iter().all(|&(_, row)| graph.contains(row)));
                    assert!(out.is_sorted_by(|a, b| a.0 <= b.0) && out.len() <= 20);
                    searches += 1;
                }
            });
            while (0..shards).any(|shard| graph.used(shard) < slots as u32) && !reader.is_finished() {
                std::thread::yield_now();
            }
            done.store(true, Ordering::Release);
        });
        assert_eq!(rows(&graph).len(), slots * shards);
        check(&graph);
    }
}

#[test]
fn a_build_is_the_same_again() {
    let points = Points::new(Shape::Uniform, 2, 400, 5);
    let links = |seed| {
        let graph = build(&points, 6, 2, 400, 5, seed);
        rows(&graph).into_iter().map(|row| graph.links(row, 0)).collect::<Vec<_>>()
    };
    assert_eq!(links(9), links(9));
    assert_ne!(links(9), links(10), "another order of delivery gives another graph");
}

fn brute_force(points: &Points, rows: &[u32], query: &[u8], count: usize) -> Vec<(f32, u32)> {
    let mut all: Vec<_> = rows.iter().map(|&row| (points.distance(query, points.row(row)), row)).collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all.truncate(count);
    all
}

#[test]
fn search_finds_the_nearest_and_never_what_is_not_accepted() {
    let (shards, slots) = (2, 700);
    let points = Points::new(Shape::Uniform, shards, slots, 11);
    let graph = build(&points, 8, shards, slots, 2, 11);
    let queries = Points::new(Shape::Uniform, 1, 50, 99);
    let (mut scratch, mut out) = (SearchScratch::new(), Vec::new());
    for accept in [(|_| true) as fn(u32) -> bool, |row| row % 3 > 0, |row| row % 10 == 0] {
        let accepted: Vec<_> = rows(&graph).into_iter().filter(|&row| accept(row)).collect();
        let mut hits = 0;
        for query in 0..50 {
            let query = queries.row(query);
            graph.search(&points, query, 40, accept, &mut scratch, &mut out);
            assert_eq!(out.len(), 40, "ef counts what is accepted");
            assert!(out.iter().all(|&(_, row)| accept(row)));
            let truth = brute_force(&points, &accepted, query, 10);
            hits += truth.iter().filter(|hit| out.contains(hit)).count();
        }
        assert!(hits >= 495, "{hits} of 500");
    }
}

#[test]
fn an_empty_graph_finds_nothing_and_one_row_finds_itself() {
    let points = Points::new(Shape::Uniform, 1, 2, 1);
    let graph = Graph::new(params(4), 1, ROW_BITS).unwrap();
    let (mut scratch, mut out) = (SearchScratch::new(), vec![(0.0, 1)]);
    graph.search(&points, points.row(0), 10, |_| true, &mut scratch, &mut out);
    assert!(out.is_empty() && graph.entry().is_none() && !graph.contains(0));
    let mut indexer = Indexer::new(graph.clone(), 0);
    indexer.insert(&points, 0, &mut EdgeOutbox::new(1));
    graph.search(&points, points.row(0), 10, |_| true, &mut scratch, &mut out);
    assert_eq!(out, [(0.0, 0)]);
    assert_eq!((graph.stats().rows, graph.stats().links), (1, 0));
}

#[test]
#[should_panic(expected = "has an indexer")]
fn a_shard_has_one_writer() {
    let graph = Graph::new(params(4), 1, ROW_BITS).unwrap();
    let _first = Indexer::new(graph.clone(), 0);
    let _second = Indexer::new(graph, 0);
}

fn save(graph: &Graph) -> Vec<Vec<u8>> {
    let save = |shard| {
        let mut file = Vec::new();
        let written = graph.save(shard, Path::new("graph"), &mut file).unwrap();
        assert_eq!(written, file.len() as u64);
        file
    };
    (0..graph.shards()).map(save).collect()
}

fn load(files: &[Vec<u8>], slots: &[u32], points: &Points, m: usize) -> crate::error::Result<Arc<Graph>> {
    let mut loader = GraphLoader::new(params(m), files.len(), ROW_BITS)?;
    for (shard, file) in files.iter().enumerate() {
        let exists = |row: u32| row & ((1 << ROW_BITS) - 1) < slots[shard];
        loader.read(shard, u64::from(slots[shard]), exists, Path::new("graph"), &mut &file[..])?;
    }
    Ok(loader.finish(points))
}

#[test]
fn a_loaded_graph_answers_as_the_saved_one() {
    for shape in SHAPES {
        let points = Points::new(shape, 2, 600, 21);
        let graph = build(&points, 6, 2, 600, 4, 21);
        Indexer::new(graph.clone(), 1).set_refined(100);
        let loaded = load(&save(&graph), &[600, 600], &points, 6).unwrap();
        assert_eq!(loaded.entry(), graph.entry());
        assert_eq!(loaded.indexed(1), 600);
        assert_eq!([0, 1].map(|shard| loaded.unrefined(shard)), [600, 500]);
        for row in rows(&graph) {
            assert_eq!(loaded.level(row), graph.level(row));
            for layer in 0..=graph.level(row).unwrap() {
                assert_eq!(loaded.links(row, layer), graph.links(row, layer), "{shape:?} row {row} layer {layer}");
            }
        }
        let (mut scratch, mut a, mut b) = (SearchScratch::new(), Vec::new(), Vec::new());
        for slot in 0..50 {
            graph.search(&points, points.row(slot), 30, |_| true, &mut scratch, &mut a);
            loaded.search(&points, points.row(slot), 30, |_| true, &mut scratch, &mut b);
            assert_eq!(a, b);
        }
        check(&loaded);
    }
}

#[test]
fn links_to_rows_that_are_gone_are_dropped_and_the_rest_is_whole() {
    for (round, shape) in SHAPES.into_iter().enumerate() {
        for m in [2, 6] {
            let points = Points::new(shape, 2, 600, round as u64);
            let graph = build(&points, m, 2, 600, 4, 31);
            let loaded = load(&save(&graph), &[600, 100], &points, m).unwrap();
            assert_eq!((loaded.indexed(0), loaded.indexed(1)), (600, 100));
            assert_eq!(rows(&loaded).len(), 700);
            check(&loaded);
            // It goes on from there.
            let mut indexer = Indexer::new(loaded.clone(), 1);
            let mut other = Indexer::new(loaded.clone(), 0);
            let mut outbox = EdgeOutbox::new(2);
            for slot in 100..400 {
                indexer.insert(&points, loaded.row(1, slot), &mut outbox);
                while !outbox.is_empty() {
                    let (to_other, to_self) = (outbox.take(0), outbox.take(1));
                    other.apply(&points, &to_other, &mut outbox);
                    indexer.apply(&points, &to_self, &mut outbox);
                }
            }
            check(&loaded);
        }
    }
}

#[test]
fn an_empty_graph_and_one_without_its_entry_load() {
    let points = Points::new(Shape::Uniform, 2, 300, 2);
    let graph = Graph::new(params(4), 2, ROW_BITS).unwrap();
    let loaded = load(&save(&graph), &[0, 0], &points, 4).unwrap();
    assert!(loaded.entry().is_none());
    let graph = build(&points, 4, 2, 300, 1, 2);
    let files = save(&graph);
    let shard = graph.owner(graph.entry().unwrap().1);
    let mut slots = [300, 300];
    slots[shard] = 0;
    check(&load(&files, &slots, &points, 4).unwrap());
    assert!(load(&files, &[0, 0], &points, 4).unwrap().entry().is_none());
}

#[test]
fn damage_is_refused_with_its_place_and_newer_files_by_their_version() {
    let points = Points::new(Shape::Uniform, 1, 200, 41);
    let graph = build(&points, 4, 1, 200, 0, 41);
    let file = save(&graph).remove(0);
    let refused = |file: &[u8]| match load(&[file.to_vec()], &[200], &points, 4) {
        Err(Error::Damaged { path, offset, .. }) => {
            assert_eq!(path, Path::new("graph"));
            offset
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a damaged file was loaded"),
    };
    for at in 0..file.len() {
        if (8..12).contains(&at) {
            continue; // the version
        }
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        let offset = refused(&damaged);
        assert!(offset <= at as u64 || (12..64).contains(&at), "byte {at} was reported at {offset}");
    }
    for length in 0..file.len() {
        assert!(refused(&file[..length]) <= length as u64);
    }
    let mut longer = file.clone();
    longer.push(0);
    assert_eq!(refused(&longer), file.len() as u64);
    let mut newer = file.clone();
    newer[8] = FORMAT_VERSION as u8 + 1;
    let result = load(&[newer], &[200], &points, 4);
    assert!(
        matches!(result, Err(Error::NewerFormat { found, supported: FORMAT_VERSION, .. }) if found == FORMAT_VERSION + 1)
    );
}

/// Of rows that pass by chance, and of those on one side of the query, what is walked over is what is nearest; fewer distances are
/// computed than by a walk over all.
#[test]
fn a_walk_over_rows_that_pass_finds_the_nearest_of_them() {
    const SLOTS: usize = 2_000;
    let points = Points::new(Shape::Uniform, 2, SLOTS, 5);
    let graph = build(&points, 12, 2, SLOTS, 3, 5);
    let mut random = Random(8);
    let rows: Vec<u32> =
        (0..2).flat_map(|shard| (0..SLOTS as u32).map(move |slot| (shard << ROW_BITS) + slot)).collect();
    let (mut scratch, mut found) = (SearchScratch::new(), Vec::new());
    for share in [500, 250, 100] {
        let passing: HashSet<u32> = rows.iter().copied().filter(|_| random.below(1_000) < share).collect();
        let (mut hits, mut wanted, mut computed) = (0, 0, [0; 2]);
        for _ in 0..40 {
            let query = points.row(rows[random.below(rows.len() as u64) as usize]).to_vec();
            let mut exact: Vec<(f32, u32)> =
                passing.iter().map(|&row| (points.distance(&query, points.row(row)), row)).collect();
            exact.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let accept = |row: u32| passing.contains(&row);
            for (within, computed) in [false, true].into_iter().zip(&mut computed) {
                let before = scratch.distances_computed();
                match within {
                    true => graph.search_within(&points, &query, 50, accept, &mut scratch, &mut found),
                    false => graph.search(&points, &query, 50, accept, &mut scratch, &mut found),
                }
                *computed += scratch.distances_computed() - before;
            }
            assert!(found.iter().all(|&(_, row)| passing.contains(&row)), "only what passes is returned");
            assert!(found.is_sorted_by(|a, b| a <= b));
            hits += exact[..10].iter().filter(|exact| found.contains(exact)).count();
            wanted += 10;
        }
        let recall = f64::from(hits as u32) / f64::from(wanted);
        println!("{share} of 1,000 pass: recall {recall}, distances {computed:?}");
        assert!(recall > 0.95, "{share} of 1,000 pass: recall {recall}");
        let is_few = share < 500;
        assert!(!is_few || computed[1] < computed[0], "{share} of 1,000 pass: {computed:?} distances");
    }
    graph.search_within(&points, points.row(0), 50, |_| false, &mut scratch, &mut found);
    assert!(found.is_empty());
}
