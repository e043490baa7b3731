//! An index that follows while rows come, are replaced and die: each id is found once, as of one moment.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field};
use serde_json::json;

use super::*;
use crate::batch::BatchView;
use crate::batch::samples::Random;
use crate::collection::{CollectionOptions, CollectionSpec};
use crate::ids::IdList;
use crate::schema::{IdKind, IdRef};
use crate::shard::{Member, Operation, Partition};

const COLLECTION: u32 = 1;

/// A shard with a collection of texts.
struct Bed {
    collection: Arc<Collection>,
    partition: Partition,
    lsn: u64,
}

impl Bed {
    fn new() -> Bed {
        let fields = vec![Field::new("id", DataType::UInt64, false), Field::new("text", DataType::Utf8, true)];
        let schema = Arc::new(Schema::from_arrow(&arrow::datatypes::Schema::new(fields)).unwrap());
        let (name, options) = ("rows".into(), CollectionOptions::default());
        let collection = Collection::new(CollectionSpec { id: COLLECTION, name, schema, options }, 1).unwrap();
        let mut partition = Partition::new(0);
        partition.install(Member::new(collection.clone(), 0));
        Bed { collection, partition, lsn: 0 }
    }

    fn apply(&mut self, operation: Operation<'_>) {
        let staged = self.partition.stage(operation, None).unwrap();
        self.lsn += 1;
        self.partition.publish(staged, self.lsn);
    }

    fn write(&mut self, ids: impl Iterator<Item = u64> + Clone, text: impl Fn(u64) -> Option<String>) {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(ids.clone())),
            Arc::new(ids.map(text).collect::<StringArray>()),
        ];
        let schema = self.collection.spec.schema.clone();
        let batch = RecordBatch::try_new(schema.arrow().clone(), columns).unwrap();
        let batch = BatchView::from_arrow(&schema, &batch).unwrap().encode(0).unwrap();
        let fingerprint = schema.fingerprint();
        self.apply(Operation::Write { collection: COLLECTION, fingerprint, batch: &batch });
    }

    fn delete(&mut self, ids: impl Iterator<Item = u64>) {
        let ids: Vec<IdRef<'_>> = ids.map(IdRef::U64).collect();
        let ids = IdList::from_ids(IdKind::U64, ids.into_iter());
        self.apply(Operation::Delete { collection: COLLECTION, ids: ids.view() });
    }

    fn text(&mut self) -> &mut TextColumn {
        self.partition.member_mut(COLLECTION).unwrap().text_mut(1)
    }

    fn request(&self, words: &str) -> Arc<TextRequest> {
        let query = Query::parse(&json!(words), &crate::analyser::Analyser::default()).unwrap();
        Arc::new(TextRequest { collection: self.collection.clone(), column: 1, query, k: 100_000, filter: None })
    }

    /// Ids that are found where the index stands now.
    fn find(&mut self, words: &str) -> Vec<u64> {
        let request = self.request(words);
        let statistics = self.text().statistics(&request.query);
        let mut search = self.text().search(request);
        while search.step(&statistics) {}
        let region = &self.collection.region;
        let id = |hit: TextHit| match region.id(hit.row) {
            IdRef::U64(id) => id,
            _ => unreachable!("ids are numbers"),
        };
        let mut ids: Vec<u64> = search.into_hits().0.into_iter().map(id).collect();
        ids.sort_unstable();
        ids
    }

    fn step_to_the_end(&mut self) {
        let to = self.collection.region.published(0);
        while self.text().step(to) == Progress::More {}
    }
}

#[test]
fn each_id_is_found_once_whatever_happens_between_the_steps() {
    const IDS: u64 = 30_000;
    let (mut bed, mut random) = (Bed::new(), Random(11));
    let text = |id: u64| (!id.is_multiple_of(10)).then(|| format!("common word{}", id % 3));
    for first in (0..IDS).step_by(6_000) {
        bed.write(first..first + 6_000, text);
    }
    assert_eq!(bed.collection.text.bytes(), 0, "nobody has asked");
    let with_text = |ids: &BTreeSet<u64>| ids.iter().copied().filter(|id| !id.is_multiple_of(10)).collect::<Vec<_>>();
    let mut living: BTreeSet<u64> = (0..IDS).collect();
    // Ids that live when so many rows are published.
    let mut history = BTreeMap::from([(IDS, living.clone())]);
    let mut deleted: BTreeSet<u64> = BTreeSet::new();
    for round in 0..6 {
        let to = bed.collection.region.published(0);
        while bed.text().step(to) == Progress::More {
            let start = random.below(IDS - 500);
            bed.write((start..start + 500).filter(|id| living.contains(id)).collect::<Vec<_>>().into_iter(), text);
            let start = random.below(IDS - 50);
            let gone: Vec<u64> = (start..start + 50).filter(|id| living.remove(id)).collect();
            bed.delete(start..start + 50);
            deleted.extend(gone);
            history.insert(bed.collection.region.published(0), living.clone());
            if round % 2 == 0 {
                bed.partition.tend_texts();
            }
        }
        let complete = bed.text().complete;
        let found = bed.find("common");
        assert!(found.is_sorted_by(|a, b| a < b), "an id is found twice");
        let found: BTreeSet<u64> = found.into_iter().collect();
        let wanted: BTreeSet<u64> = with_text(&history[&complete]).into_iter().collect();
        assert!(wanted.difference(&found).all(|id| deleted.contains(id)), "round {round}: one that lives is missing");
        assert!(found.difference(&wanted).all(|id| deleted.contains(id)), "round {round}: one too many is found");
    }
    bed.step_to_the_end();
    assert_eq!(bed.find("common"), with_text(&living));
    let request = bed.request("common");
    assert_eq!(bed.text().statistics(&request.query).documents, with_text(&living).len() as u64);
    while bed.partition.tend_texts() == Some(true) {}
    assert_eq!(bed.find("common"), with_text(&living), "after merges");
    bed.partition.remove(COLLECTION);
    assert_eq!(bed.collection.text.bytes(), 0, "a collection that is dropped takes its indexes with it");
}

#[test]
fn an_index_of_terms_that_have_gone_is_built_anew() {
    let mut bed = Bed::new();
    bed.write(0..20, |id| Some((0..5_000).map(|word| format!("w{id}x{word} ")).collect()));
    bed.step_to_the_end();
    bed.write(0..20, |id| Some(format!("short{id} text")));
    bed.step_to_the_end();
    let before = bed.collection.text.bytes();
    assert!(bed.text().index.is_worn_out());
    while bed.partition.tend_texts() == Some(true) {}
    assert!(!bed.text().index.is_worn_out() && bed.collection.text.bytes() < before / 2);
    assert_eq!(bed.find("text").len(), 20);
    // The new one takes its part in what dies.
    bed.write(5..6, |_| None);
    bed.step_to_the_end();
    assert_eq!((bed.find("text").len(), bed.find("short5").len()), (19, 0));
}
