use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, UInt64Type};

use super::*;
use crate::batch::samples::{self, Random};
use crate::collection::{Collection, CollectionOptions, CollectionSpec};
use crate::ids::IdList;
use crate::schema::IdKind;
use crate::shard::{Operation, Partition, Staged};

const COLLECTION: u32 = 1;

fn partition(schema: &Arc<Schema>) -> Partition {
    let (name, options) = ("rows".into(), CollectionOptions::default());
    let spec = CollectionSpec { id: COLLECTION, name, schema: schema.clone(), options };
    let mut partition = Partition::new(0);
    partition.install(Member::new(Collection::new(spec, 1).unwrap(), 0));
    partition
}

fn stage(partition: &mut Partition, schema: &Schema, message: &[u8]) -> Staged {
    let fingerprint = schema.fingerprint();
    partition.stage(Operation::Write { collection: COLLECTION, fingerprint, batch: message }, None).unwrap()
}

fn encoded(schema: &Schema, batch: &RecordBatch) -> Vec<u8> {
    BatchView::from_arrow(schema, batch).unwrap().encode(0).unwrap()
}

/// An update with the columns of a batch.
fn update_of<'a>(schema: &Schema, batch: &RecordBatch, message: &'a mut Vec<u8>) -> Update<'a> {
    let place = |field: &Arc<Field>| schema.column_index(field.name()).unwrap();
    let columns: Vec<usize> = batch.schema_ref().fields().iter().map(place).collect();
    *message = encoded(&schema.partial(&columns).unwrap(), batch);
    Update {
        collection: COLLECTION,
        fingerprint: schema.fingerprint(),
        columns,
        batch: message,
        missing: Missing::Refuse,
        condition: Condition::default(),
    }
}

/// The rows of the ids of a batch, in their order.
fn found(partition: &Partition, schema: &Schema, batch: &BatchView<'_>) -> RecordBatch {
    let ids = IdList::from_ids(schema.id_kind(), (0..batch.rows()).map(|row| batch.id(row)));
    let rows: Vec<u32> = partition.find(COLLECTION, ids.view()).unwrap().into_iter().map(Option::unwrap).collect();
    let columns: Vec<usize> = (0..schema.columns().len()).collect();
    partition.member(COLLECTION).unwrap().collection.region.take(&rows, &columns).unwrap()
}

/// Every type of column, rows that are published and rows that are staged, any choice of columns in any order.
#[test]
fn an_update_changes_its_columns_of_the_newest_rows_and_no_others() {
    for (seed, text_ids) in (1..9).flat_map(|seed| [(seed, false), (seed, true)]) {
        let (schema, mut random) = (samples::schema(text_ids), Random(seed));
        let mut partition = partition(&schema);
        let old = samples::batch(&schema, 200, 0, 3, &mut random);
        let staged = stage(&mut partition, &schema, &encoded(&schema, &old));
        partition.publish(staged, 1);
        let newer = samples::batch(&schema, 100, 100, 3, &mut random);
        let waiting = stage(&mut partition, &schema, &encoded(&schema, &newer));
        let values = samples::batch(&schema, 100, 50, 3, &mut random);
        let mut columns: Vec<usize> = (1..schema.columns().len()).filter(|_| random.below(3) == 0).collect();
        columns.insert(random.below(columns.len() as u64 + 1) as usize, 0);
        columns.rotate_left(random.below(3) as usize % 2);
        let mut message = Vec::new();
        let update = update_of(&schema, &values.project(&columns).unwrap(), &mut message);
        let merged = partition.merge(&update, 0).unwrap();
        assert_eq!(merged.skipped, Skipped::default());
        let again = stage(&mut partition, &schema, &merged.message.unwrap());
        partition.publish(waiting, 2);
        assert_eq!(partition.publish(again, 3).replaced, 100);
        let before = concat_batches(schema.arrow(), [&old.slice(50, 50), &newer.slice(0, 50)]).unwrap();
        let expected =
            before.columns().iter().enumerate().map(|(index, array)| {
                if columns.contains(&index) { values.column(index).clone() } else { array.clone() }
            });
        let expected = RecordBatch::try_new(schema.arrow().clone(), expected.collect()).unwrap();
        let view = BatchView::from_arrow(&schema, &values).unwrap();
        assert_eq!(found(&partition, &schema, &view), expected, "seed {seed}, columns {columns:?}");
        assert_eq!(partition.member(COLLECTION).unwrap().collection.live_rows(), 200);
    }
}

/// `id`, `version` u64 or null, `name`, `v`.
fn versioned() -> Arc<Schema> {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let fields = vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("version", DataType::UInt64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("v", DataType::FixedSizeList(item, 2), false),
    ];
    Arc::new(Schema::from_arrow(&ArrowSchema::new(fields)).unwrap())
}

fn column(schema: &Schema, name: &str, rows: &[(u64, Option<u64>)]) -> ArrayRef {
    match name {
        "id" => Arc::new(rows.iter().map(|row| Some(row.0)).collect::<UInt64Array>()),
        "version" => Arc::new(rows.iter().map(|row| row.1).collect::<UInt64Array>()),
        "name" => Arc::new(rows.iter().map(|row| row.1.map(|version| format!("{version}"))).collect::<StringArray>()),
        _ => {
            let DataType::FixedSizeList(item, 2) = schema.arrow().field(3).data_type() else { unreachable!() };
            let values = Float32Array::from_iter_values(rows.iter().flat_map(|row| [row.0 as f32 + 1.0, 1.0]));
            Arc::new(FixedSizeListArray::new(item.clone(), 2, Arc::new(values), None))
        }
    }
}

fn rows_of(schema: &Schema, names: &[&str], rows: &[(u64, Option<u64>)]) -> RecordBatch {
    let places: Vec<usize> = names.iter().map(|name| schema.column_index(name).unwrap()).collect();
    let arrays = names.iter().map(|name| column(schema, name, rows)).collect();
    RecordBatch::try_new(schema.project(&places), arrays).unwrap()
}

struct Scene {
    schema: Arc<Schema>,
    partition: Partition,
    lsn: u64,
}

impl Scene {
    /// Rows 0 to 9, with their id as version; 9 has none.
    fn new() -> Scene {
        let schema = versioned();
        let mut scene = Scene { partition: partition(&schema), schema, lsn: 0 };
        let rows: Vec<(u64, Option<u64>)> = (0..10).map(|id| (id, Some(id).filter(|&id| id < 9))).collect();
        let batch = rows_of(&scene.schema, &["id", "version", "name", "v"], &rows);
        let staged = stage(&mut scene.partition, &scene.schema, &encoded(&scene.schema, &batch));
        scene.publish(staged);
        scene
    }

    fn publish(&mut self, staged: Staged) {
        self.lsn += 1;
        self.partition.publish(staged, self.lsn);
    }

    /// Updates and publishes; how many were written, and what was left out.
    fn update(
        &mut self,
        names: &[&str],
        rows: &[(u64, Option<u64>)],
        change: impl FnOnce(&mut Update<'_>),
    ) -> Result<(u32, Skipped)> {
        let mut message = Vec::new();
        let mut update = update_of(&self.schema, &rows_of(&self.schema, names, rows), &mut message);
        change(&mut update);
        let merged = self.partition.merge(&update, 0)?;
        let Some(message) = merged.message else { return Ok((0, merged.skipped)) };
        let staged = stage(&mut self.partition, &self.schema, &message);
        let written = staged.len();
        self.publish(staged);
        Ok((written, merged.skipped))
    }

    fn filter(&self, json: &str) -> Option<Arc<Filter>> {
        Some(Arc::new(Filter::parse(json.as_bytes(), &self.schema).unwrap()))
    }

    /// Version and name of a row; None where there is none.
    fn row(&self, id: u64) -> Option<(Option<u64>, Option<String>)> {
        let ids = IdList::from_ids(IdKind::U64, [IdRef::U64(id)].into_iter());
        let row = self.partition.find(COLLECTION, ids.view()).unwrap()[0]?;
        let row = self.partition.member(COLLECTION).unwrap().collection.region.take(&[row], &[1, 2]).unwrap();
        let (version, name) = (row.column(0).as_primitive::<UInt64Type>(), row.column(1).as_string::<i32>());
        let name = name.is_valid(0).then(|| name.value(0).to_owned());
        Some((version.is_valid(0).then(|| version.value(0)), name))
    }
}

fn skipped(missing: u32, unmet: u32) -> Skipped {
    Skipped { missing, unmet }
}

#[test]
fn ids_that_no_row_has_are_refused_skipped_or_inserted() {
    let mut scene = Scene::new();
    let rows = [(3, Some(33)), (20, Some(33))];
    let refused = scene.update(&["name", "id"], &rows, |_| ());
    assert!(matches!(&refused, Err(Error::RowMissing { id }) if id == "20"), "{refused:?}");
    assert_eq!(scene.row(3), Some((Some(3), Some("3".into()))), "all or nothing");
    let done = scene.update(&["name", "id"], &rows, |update| update.missing = Missing::Skip);
    assert_eq!((done.unwrap(), scene.row(3)), ((1, skipped(1, 0)), Some((Some(3), Some("33".into())))));
    let done = scene.update(&["id", "name"], &rows[1..], |update| update.missing = Missing::Skip);
    assert_eq!((done.unwrap(), scene.row(20)), ((0, skipped(1, 0)), None));
    let insert = |update: &mut Update<'_>| update.missing = Missing::Insert;
    let refused = scene.update(&["id", "name"], &rows, insert);
    assert!(matches!(&refused, Err(Error::MalformedColumn { column, .. }) if column == "v"), "{refused:?}");
    let done = scene.update(&["id", "name", "v"], &rows, insert);
    assert_eq!(done.unwrap(), (2, Skipped::default()));
    assert_eq!(scene.row(20), Some((None, Some("33".into()))), "null where it says nothing");
    assert_eq!(scene.row(3), Some((Some(3), Some("33".into()))), "and what there was where there is a row");
    // Null is a value like others.
    assert_eq!(scene.update(&["id", "name"], &[(3, None)], |_| ()).unwrap().0, 1);
    assert_eq!(scene.row(3), Some((Some(3), None)));
}

#[test]
fn conditions_refuse_the_update_or_leave_rows_out() {
    let mut scene = Scene::new();
    let version = scene.schema.column_index("version").unwrap();
    let newer = |update: &mut Update<'_>| update.condition.newer = Some(version);
    let newer_or_skip = |update: &mut Update<'_>| {
        update.condition = Condition { newer: Some(version), skips: true, filter: None };
    };
    let refused = scene.update(&["id", "version"], &[(1, Some(2)), (2, Some(2))], newer);
    assert!(matches!(&refused, Err(Error::ConditionFailed { id }) if id == "2"), "{refused:?}");
    assert_eq!(scene.row(1), Some((Some(1), Some("1".into()))), "all or nothing");
    assert_eq!(scene.update(&["version", "id"], &[(1, Some(2))], newer).unwrap(), (1, skipped(0, 0)));
    assert_eq!(scene.row(1), Some((Some(2), Some("1".into()))));
    // Null is older than anything, and nothing older than a value.
    let rows = [(9, Some(0)), (3, None), (4, Some(4)), (5, Some(6))];
    assert_eq!(scene.update(&["id", "version", "name"], &rows, newer_or_skip).unwrap(), (2, skipped(0, 2)));
    assert_eq!([9, 3, 4, 5].map(|id| scene.row(id).unwrap().0), [Some(0), Some(3), Some(4), Some(6)]);
    // Where an id comes again, each is compared with what came before it, in whatever order they are.
    let rows = [(6, Some(8)), (6, Some(7)), (6, Some(10)), (6, Some(9))];
    assert_eq!(scene.update(&["id", "version", "name"], &rows, newer_or_skip).unwrap(), (2, skipped(0, 2)));
    assert_eq!(scene.row(6), Some((Some(10), Some("10".into()))));
    // A row that is not there is older than anything.
    let whole = ["id", "version", "name", "v"];
    let if_newer = |update: &mut Update<'_>| {
        update.missing = Missing::Insert;
        update.condition.newer = Some(version);
    };
    assert_eq!(scene.update(&whole, &[(30, Some(5))], if_newer).unwrap().0, 1);
    assert!(matches!(scene.update(&whole, &[(30, Some(5))], if_newer), Err(Error::ConditionFailed { .. })));
    assert_eq!(scene.update(&whole, &[(30, Some(6))], if_newer).unwrap().0, 1);

    let filter = scene.filter(r#"{"column": "name", "in": ["7", "8"]}"#);
    let rows = [(7, Some(70)), (2, Some(70))];
    let refused = scene.update(&["id", "name"], &rows, |update| update.condition.filter = filter.clone());
    assert!(matches!(&refused, Err(Error::ConditionFailed { id }) if id == "2"), "{refused:?}");
    let skip = |update: &mut Update<'_>| {
        update.condition = Condition { filter: filter.clone(), newer: None, skips: true };
    };
    assert_eq!(scene.update(&["id", "name"], &rows, skip).unwrap(), (1, skipped(0, 1)));
    assert_eq!(scene.row(7), Some((Some(7), Some("70".into()))));
    assert_eq!(
        scene.update(&["id", "name"], &rows, skip).unwrap(),
        (0, skipped(0, 2)),
        "it is not true of it any more"
    );
    let twice = scene.update(&["id", "name"], &[(8, Some(1)), (8, Some(2))], skip);
    assert!(matches!(twice, Err(Error::MalformedBatch { .. })), "{twice:?}");
}

/// A filter and a version are held against what is staged, not against what is published.
#[test]
fn conditions_are_decided_by_rows_that_are_staged() {
    let mut scene = Scene::new();
    let batch = rows_of(&scene.schema, &["id", "version", "name", "v"], &[(1, Some(50))]);
    let waiting = stage(&mut scene.partition, &scene.schema, &encoded(&scene.schema, &batch));
    let version = scene.schema.column_index("version").unwrap();
    let is_fifty = scene.filter(r#"{"and": [{"column": "version", "=": 50}, {"column": "name", "prefix": "5"}]}"#);
    let mut message = Vec::new();
    let rows = rows_of(&scene.schema, &["id", "version"], &[(1, Some(50))]);
    let mut update = update_of(&scene.schema, &rows, &mut message);
    update.condition.newer = Some(version);
    assert!(matches!(scene.partition.merge(&update, 0), Err(Error::ConditionFailed { .. })));
    update.condition = Condition { filter: is_fifty, newer: None, skips: false };
    let merged = scene.partition.merge(&update, 0).unwrap().message.unwrap();
    let again = stage(&mut scene.partition, &scene.schema, &merged);
    scene.publish(waiting);
    scene.publish(again);
    assert_eq!(scene.row(1), Some((Some(50), Some("50".into()))), "the name is that of the staged row");
}

#[test]
fn what_makes_no_update_is_refused() {
    let scene = Scene::new();
    let schema = &scene.schema;
    let mut message = Vec::new();
    let good = update_of(schema, &rows_of(schema, &["id", "name"], &[(1, None)]), &mut message);
    assert!(check_update(&good, schema).is_ok());
    let refused = |change: &dyn Fn(&mut Update<'_>)| {
        let mut update = good.clone();
        change(&mut update);
        check_update(&update, schema).unwrap_err()
    };
    assert!(matches!(refused(&|update| update.fingerprint += 1), Error::SchemaMismatch { .. }));
    assert!(matches!(refused(&|update| update.columns = vec![0, 9]), Error::UnknownColumn { .. }));
    assert!(matches!(refused(&|update| update.columns = vec![2]), Error::MalformedBatch { .. }), "no id");
    assert!(matches!(refused(&|update| update.columns = vec![0, 2, 2]), Error::MalformedBatch { .. }), "one twice");
    assert!(matches!(refused(&|update| update.columns = vec![]), Error::MalformedBatch { .. }));
    assert!(matches!(refused(&|update| update.condition.newer = Some(1)), Error::UnknownColumn { .. }));
    assert!(matches!(refused(&|update| update.condition.newer = Some(77)), Error::UnknownColumn { .. }));
    assert!(matches!(refused(&|update| update.condition.newer = Some(2)), Error::MalformedColumn { .. }), "text");
    let insert = |update: &mut Update<'_>| update.missing = Missing::Insert;
    assert!(matches!(refused(&insert), Error::MalformedColumn { .. }), "a vector is missing");
    let mut partition = partition(schema);
    let of_others = Update { columns: vec![0, 1], ..good.clone() };
    assert!(partition.merge(&of_others, 0).is_err(), "the batch has other columns");
    assert!(matches!(partition.merge(&Update { collection: 9, ..good }, 0), Err(Error::UnknownCollection { .. })));
}

#[test]
fn whole_rows_that_fit_no_frame_are_refused_before_they_are_made() {
    let schema = samples::narrow(4_096);
    let mut partition = partition(&schema);
    let ids: Vec<u64> = (0..2_000).collect();
    for (lsn, ids) in ids.chunks(1_000).enumerate() {
        let batch = samples::narrow_batch(&schema, ids, |_, _| 1.0);
        let staged = stage(&mut partition, &schema, &encoded(&schema, &batch));
        partition.publish(staged, lsn as u64 + 1);
    }
    let mut message = Vec::new();
    let only_ids = |ids: &[u64]| {
        let array: ArrayRef = Arc::new(UInt64Array::from(ids.to_vec()));
        RecordBatch::try_new(schema.project(&[0]), vec![array]).unwrap()
    };
    let refused = partition.merge(&update_of(&schema, &only_ids(&ids), &mut message), 0);
    assert!(matches!(refused, Err(Error::LimitExceeded { .. })), "{refused:?}");
    let merged = partition.merge(&update_of(&schema, &only_ids(&ids[..1_000]), &mut message), 0).unwrap();
    assert!(merged.message.unwrap().len() > 1_000 * 4_096 * 4);
}
