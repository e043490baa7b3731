//! Edges that are written, replaced, deleted and moved, in chunks that are used again, against a plain map.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};

use super::*;
use crate::batch::BatchView;
use crate::batch::samples::Random;
use crate::collection::{CollectionOptions, CollectionSpec};
use crate::ids::IdList;
use crate::schema::{ROLE_KEY, Schema};
use crate::shard::{Member, Operation, Partition};

const COLLECTION: u32 = 1;
const EDGES: u64 = 3_000;
const NODES: u64 = 40;

fn schema() -> Arc<Schema> {
    let end =
        |role: &str| Field::new(role, DataType::UInt64, false).with_metadata([(ROLE_KEY.to_owned(), role.to_owned())]);
    let fields = vec![Field::new("id", DataType::UInt64, false), end("edge_from"), end("edge_to")];
    Arc::new(Schema::from_arrow(&ArrowSchema::new(fields)).unwrap())
}

/// One shard, and what it is to hold: the ends of each edge.
struct Model {
    schema: Arc<Schema>,
    collection: Arc<Collection>,
    partition: Partition,
    edges: BTreeMap<u64, (u64, u64)>,
    lsn: u64,
}

impl Model {
    fn new() -> Model {
        let (schema, name, options) = (schema(), "edges".into(), CollectionOptions::default());
        let spec = CollectionSpec { id: COLLECTION, name, schema: schema.clone(), options };
        let collection = Collection::new(spec, 1).unwrap();
        let mut partition = Partition::new(0);
        partition.install(Member::new(collection.clone(), 0));
        Model { schema, collection, partition, edges: BTreeMap::new(), lsn: 0 }
    }

    fn publish(&mut self, operation: Operation<'_>) {
        let staged = self.partition.stage(operation, None).unwrap();
        self.lsn += 1;
        self.partition.publish(staged, self.lsn);
    }

    fn write(&mut self, edges: &[(u64, u64, u64)]) {
        let column = |value: fn(&(u64, u64, u64)) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(edges.iter().map(value)))
        };
        let columns = vec![column(|edge| edge.0), column(|edge| edge.1), column(|edge| edge.2)];
        let batch = RecordBatch::try_new(self.schema.arrow().clone(), columns).unwrap();
        let batch = BatchView::from_arrow(&self.schema, &batch).unwrap().encode(0).unwrap();
        let fingerprint = self.schema.fingerprint();
        self.publish(Operation::Write { collection: COLLECTION, fingerprint, batch: &batch });
        self.edges.extend(edges.iter().map(|&(id, from, to)| (id, (from, to))));
    }

    fn delete(&mut self, ids: &[u64]) {
        let list = IdList::from_ids(IdKind::U64, ids.iter().map(|&id| IdRef::U64(id)));
        self.publish(Operation::Delete { collection: COLLECTION, ids: list.view() });
        ids.iter().for_each(|id| _ = self.edges.remove(id));
    }

    /// Moves some rows of a chunk, and uses chunks again whose rows have all died.
    fn tidy(&mut self) -> usize {
        let writer = &self.partition.member(COLLECTION).unwrap().writer;
        let mut slots = Vec::new();
        if let Some(chunk) = writer.living_chunks().next() {
            writer.living_slots(chunk, 0, 50, &mut slots);
        }
        if !slots.is_empty() {
            self.partition.move_rows(COLLECTION, &slots, false).unwrap();
        }
        let writer = &mut self.partition.member_mut(COLLECTION).unwrap().writer;
        writer.take_dead().into_iter().for_each(|chunk| writer.retire(chunk));
        std::iter::from_fn(|| writer.recycle()).count()
    }

    /// The edges as they are now, and whether some had to be brought in first.
    fn visible(&self) -> (VisibleEdges, bool) {
        match VisibleEdges::of(&self.collection).unwrap() {
            Access::Ready(edges) => (*edges, false),
            Access::Behind(mut build) => {
                while build.step().unwrap() {}
                (build.finish(), true)
            }
            Access::Busy => panic!("nobody else brings edges in"),
        }
    }

    fn check(&self, context: &str) {
        let (edges, _) = self.visible();
        let request = TraversalRequest { follow: Follow::default(), ..TraversalRequest::default() };
        for node in 0..NODES {
            let mut walk = edges.walk(&request);
            walk.seed(IdRef::U64(node), 1.0);
            while walk.step(|place| edges.sees(place)) {}
            let reached = walk.finish(1);
            let found: BTreeSet<String> = reached.nodes().iter().map(|node| reached.id(node).to_string()).collect();
            let leads = self.edges.values().filter(|(from, to)| *from == node && *to != node);
            let expected: BTreeSet<String> = leads.map(|(_, to)| to.to_string()).collect();
            assert_eq!(found, expected, "{context}: from {node}");
        }
    }
}

#[test]
fn what_is_visible_is_followed_and_nothing_else() {
    let mut random = Random(11);
    let mut model = Model::new();
    let mut used_again = 0;
    for step in 0..60 {
        let edges: Vec<(u64, u64, u64)> = (0..1 + random.below(1_500))
            .map(|_| (random.below(EDGES), random.below(NODES), random.below(NODES)))
            .collect();
        model.write(&edges);
        if random.below(3) == 0 {
            let ids: Vec<u64> = (0..1 + random.below(300)).map(|_| random.below(EDGES)).collect();
            model.delete(&ids);
        }
        used_again += model.tidy();
        // Not every time, so that places are used again that the adjacency knows as something else.
        if random.below(3) == 0 {
            model.check(&format!("step {step}"));
        }
    }
    assert!(used_again > 0, "no chunk was used again");
    model.check("at the end");
    let held = model.visible().0.len() as u64;
    let (live, dead_max) = (model.collection.live_rows(), limits::EDGES_DEAD_MIN + EDGES / limits::EDGES_DEAD_PART);
    assert_eq!(live, model.edges.len() as u64);
    assert!(held <= live + dead_max, "{held} edges are held, {live} live");
}

#[test]
fn edges_are_brought_in_once_by_one_at_a_time() {
    let mut model = Model::new();
    let index = model.collection.edges.clone().expect("the rows are edges");
    model.write(&[(1, 1, 2), (2, 2, 3)]);
    assert_eq!((index.bytes(), index.len()), (0, 0), "nobody has asked");
    let of = |model: &Model| VisibleEdges::of(&model.collection).unwrap();
    let Access::Behind(build) = of(&model) else { panic!("no edge is there yet") };
    assert!(matches!(of(&model), Access::Busy));
    drop(build);
    assert!(model.visible().1 && !model.visible().1, "once it is given up another does it, and then it is done");
    assert!(index.len() == 2 && index.bytes() > 0);
    assert!(model.collection.bytes_committed() > model.collection.region.bytes_committed(), "it is counted");
    assert!(model.visible().0.is_clean);
    model.delete(&[1]);
    assert!(!model.visible().0.is_clean);
    model.check("one is deleted");
    // It is no more than what is new, so both become one, and what is dead is left out.
    model.write(&[(3, 1, 3), (4, 3, 3)]);
    let (edges, was_behind) = model.visible();
    assert!(was_behind && edges.is_clean && edges.len() == 3);
    model.check("two are new");
}
