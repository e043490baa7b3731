//! A plain model of a collection: what is held against the real one, operation by operation.
//!
//! Rows are values in a map, filters are read one row at a time, distances are sums of `f64`. Nothing here shares code with the engine
//! but the names of element types and metrics.

pub mod condition;
pub mod edges;
pub mod groups;
pub mod hybrid;
pub mod text;
pub mod value;
pub mod vector;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use engine::analyser::ANALYSER_KEY;
use engine::schema::{IdRef, NODES_KEY, ROLE_KEY, TTL_KEY};
use net::client::{Id, Ids};

use crate::random::Random;
use condition::Condition;
use value::Value;
use vector::VectorKind;

/// What a column holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The ids.
    Id,
    /// One value a row.
    Scalar,
    /// The id of a node, which some row may have: an end of an edge.
    End {
        /// Ids that there are of it.
        ids: u64,
    },
    /// A vector.
    Vector(VectorKind),
}

/// A column of a model.
#[derive(Clone, Debug)]
pub struct Column {
    /// As Arrow has it, with the metadata that the collection is made with.
    pub field: Field,
    /// What it holds.
    pub kind: Kind,
}

impl Column {
    /// Its name.
    pub fn name(&self) -> &str {
        self.field.name()
    }
}

/// A row: a value for each column.
pub type Row = Vec<Value>;

/// What was there before a row was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// No row.
    Nothing,
    /// A row that lives.
    Living,
    /// A row whose time is over: gone for every reader, and deleted some time.
    Expired,
}

/// Which rows may be found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passing<'a> {
    /// Those that it is true of.
    pub condition: Option<&'a Condition>,
    /// But not these.
    pub left_out: &'a [Id],
}

impl Passing<'_> {
    /// Whether a row is one of them.
    pub fn admits(&self, id: &Id, row: &Row) -> bool {
        self.condition.is_none_or(|condition| condition.holds(row)) && !self.left_out.contains(id)
    }
}

/// Milliseconds since 1970 that are past, whenever a test runs: times before are over.
const PRESENT_MS: i128 = 1_700_000_000_000;

/// A collection of values.
#[derive(Clone, Debug)]
pub struct Model {
    /// Columns; the first is the id.
    pub columns: Vec<Column>,
    /// Rows that live, by id.
    pub rows: BTreeMap<Id, Row>,
    /// Rows whose time is over, and which a sweep may have deleted or not.
    pub expired: BTreeSet<Id>,
    /// Ids that operations choose from: few enough that most are there most of the time.
    pub ids: u64,
    /// Metadata of the schema.
    metadata: HashMap<String, String>,
}

impl Model {
    /// A model with some of `ids` ids of a type, a nullable column of every scalar type, and these vector columns; of rows that expire, if they do.
    pub fn new(id: DataType, ids: u64, vectors: &[VectorKind], expires: bool) -> Model {
        let mut columns = vec![
            Column { field: Field::new("id", id, false), kind: Kind::Id },
            scalar("flag", DataType::Boolean),
            scalar("i8", DataType::Int8),
            scalar("i16", DataType::Int16),
            scalar("i32", DataType::Int32),
            scalar("i64", DataType::Int64),
            scalar("u8", DataType::UInt8),
            scalar("u16", DataType::UInt16),
            scalar("u32", DataType::UInt32),
            scalar("u64", DataType::UInt64),
            scalar("f32", DataType::Float32),
            scalar("f64", DataType::Float64),
            scalar("day", DataType::Date32),
            scalar("time", DataType::Timestamp(TimeUnit::Millisecond, None)),
            scalar("text", DataType::Utf8),
            english_column("prose"),
            scalar("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))),
            json_column("json"),
        ];
        columns.extend(expires.then(until_column));
        columns.extend(vectors.iter().map(VectorKind::column));
        Model::of(columns, ids, HashMap::new())
    }

    /// A model of edges between rows of a collection, `nodes`; they expire.
    pub fn edges(nodes: &Model, name: &str, ids: u64) -> Model {
        let column = |name: &str, data_type: &DataType, role: &str, kind| {
            let metadata = [(ROLE_KEY.to_owned(), role.to_owned())];
            let is_end = matches!(kind, Kind::End { .. });
            Column { field: Field::new(name, data_type.clone(), !is_end).with_metadata(metadata), kind }
        };
        let (end, node) = (Kind::End { ids: nodes.ids }, nodes.columns[0].field.data_type());
        let columns = vec![
            Column { field: Field::new("id", DataType::Utf8, false), kind: Kind::Id },
            column("from", node, "edge_from", end.clone()),
            column("to", node, "edge_to", end),
            column("type", &DataType::Utf8, "edge_type", Kind::Scalar),
            column("weight", &DataType::Float32, "edge_weight", Kind::Scalar),
            scalar("u8", DataType::UInt8),
            until_column(),
        ];
        Model::of(columns, ids, HashMap::from([(NODES_KEY.to_owned(), name.to_owned())]))
    }

    fn of(columns: Vec<Column>, ids: u64, metadata: HashMap<String, String>) -> Model {
        Model { columns, rows: BTreeMap::new(), expired: BTreeSet::new(), ids, metadata }
    }

    /// The Arrow schema that the collection is made with.
    pub fn schema(&self) -> Schema {
        let fields = self.columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>();
        Schema::new_with_metadata(fields, self.metadata.clone())
    }

    /// Index of a column.
    pub fn column(&self, name: &str) -> usize {
        self.columns.iter().position(|column| column.name() == name).expect("a column of the model")
    }

    /// Vector columns by their place.
    pub fn vectors(&self) -> impl Iterator<Item = (usize, &VectorKind)> {
        self.columns.iter().enumerate().filter_map(|(place, column)| match &column.kind {
            Kind::Vector(kind) => Some((place, kind)),
            _ => None,
        })
    }

    /// A random id.
    pub fn random_id(&self, random: &mut Random) -> Id {
        numbered_id(self.columns[0].field.data_type(), random.below(self.ids))
    }

    /// Random values for every column but the id.
    pub fn random_row(&self, id: &Id, random: &mut Random) -> Row {
        let value = |column: &Column, random: &mut Random| match &column.kind {
            Kind::Id => Value::of_id(id),
            Kind::Scalar => Value::random(&column.field, random),
            Kind::End { ids } => {
                // Some nodes have many edges.
                let ids = if random.below(3) == 0 { ids / 50 } else { *ids };
                Value::of_id(&numbered_id(column.field.data_type(), random.below(ids)))
            }
            Kind::Vector(kind) => Value::Vector(kind.random(random)),
        };
        self.columns.iter().map(|column| value(column, random)).collect()
    }

    /// Rows as a batch of all columns.
    pub fn batch(&self, rows: &[&Row]) -> RecordBatch {
        let places: Vec<usize> = (0..self.columns.len()).collect();
        self.batch_of(&places, rows)
    }

    /// Some columns of rows as a batch.
    pub fn batch_of(&self, places: &[usize], rows: &[&Row]) -> RecordBatch {
        let field = |&place: &usize| self.columns[place].field.clone();
        let schema = Schema::new(places.iter().map(field).collect::<Vec<_>>());
        let array = |&place: &usize| {
            let values: Vec<&Value> = rows.iter().map(|row| &row[place]).collect();
            value::array(self.columns[place].field.data_type(), &values)
        };
        RecordBatch::try_new(Arc::new(schema), places.iter().map(array).collect()).expect("columns of the schema")
    }

    /// The rows of a batch that has all columns, in its order.
    pub fn read(&self, batch: &RecordBatch) -> Vec<Row> {
        assert_eq!(batch.num_columns(), self.columns.len(), "a batch of all columns");
        let cell = |column: &Column, row| value::cell(&batch[column.name()], row);
        (0..batch.num_rows()).map(|row| self.columns.iter().map(|column| cell(column, row)).collect()).collect()
    }

    /// Writes a row; gives what it takes the place of.
    pub fn upsert(&mut self, row: Row) -> Before {
        let id = self.id_of(&row);
        let before = self.remove(&id);
        if self.is_over(&row) {
            self.expired.insert(id);
        } else {
            self.rows.insert(id, row);
        }
        before
    }

    /// Deletes a row; gives what it was.
    pub fn remove(&mut self, id: &Id) -> Before {
        match (self.rows.remove(id), self.expired.remove(id)) {
            (Some(_), _) => Before::Living,
            (None, true) => Before::Expired,
            (None, false) => Before::Nothing,
        }
    }

    /// Gives some columns of a row the values of another; where it is not there, null to all others.
    pub fn update(&mut self, id: &Id, places: &[usize], values: &Row) {
        let mut row = self.rows.get(id).cloned().unwrap_or_else(|| vec![Value::Null; self.columns.len()]);
        places.iter().for_each(|&place| row[place] = values[place].clone());
        self.upsert(row);
    }

    /// Whether the time of a row is over.
    fn is_over(&self, row: &Row) -> bool {
        let times = self.columns.iter().zip(row).filter(|(column, _)| column.field.metadata().contains_key(TTL_KEY));
        times.into_iter().any(|(_, time)| matches!(time, Value::Int(time) if *time < PRESENT_MS))
    }

    /// The id of a row.
    pub fn id_of(&self, row: &Row) -> Id {
        row[0].to_id(self.columns[0].field.data_type())
    }

    /// Adds a column, null in all rows.
    pub fn add_column(&mut self, field: Field) {
        self.columns.push(Column { field, kind: Kind::Scalar });
        self.rows.values_mut().for_each(|row| row.push(Value::Null));
    }

    /// Ids of rows that a condition is true of.
    pub fn matching(&self, condition: Option<&Condition>) -> Vec<Id> {
        let holds = |row: &Row| condition.is_none_or(|condition| condition.holds(row));
        self.rows.iter().filter(|(_, row)| holds(row)).map(|(id, _)| id.clone()).collect()
    }

    /// How far each row that may be found is from a vector, nearest first.
    pub fn nearest(&self, place: usize, query: &[u8], passing: Passing<'_>) -> Vec<(f64, &Id)> {
        let Kind::Vector(kind) = &self.columns[place].kind else { panic!("a vector column") };
        let rows = self.rows.iter().filter(|(id, row)| passing.admits(id, row));
        let mut distances: Vec<(f64, &Id)> =
            rows.map(|(id, row)| (kind.distance(query, row[place].vector()), id)).collect();
        distances.sort_by(|a, b| a.0.total_cmp(&b.0));
        distances
    }
}

/// An id as the engine takes it.
pub fn borrowed(id: &Id) -> IdRef<'_> {
    match id {
        Id::U64(id) => IdRef::U64(*id),
        Id::I64(id) => IdRef::I64(*id),
        Id::Utf8(id) => IdRef::Utf8(id),
    }
}

/// A list of ids, which are all of one kind.
pub fn ids(list: &[Id]) -> Ids {
    match list.first() {
        Some(Id::Utf8(_)) => Ids::Utf8(list.iter().map(Id::to_string).collect()),
        Some(Id::I64(_)) => {
            Ids::I64(list.iter().map(|id| if let Id::I64(id) = id { *id } else { panic!("ids of one kind") }).collect())
        }
        _ => {
            Ids::U64(list.iter().map(|id| if let Id::U64(id) = id { *id } else { panic!("ids of one kind") }).collect())
        }
    }
}

/// The id of a type with a number.
fn numbered_id(data_type: &DataType, number: u64) -> Id {
    match data_type {
        DataType::Utf8 => Id::Utf8(format!("row-{number}")),
        DataType::Int64 => Id::I64(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).cast_signed()),
        _ => Id::U64(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    }
}

fn scalar(name: &str, data_type: DataType) -> Column {
    Column { field: Field::new(name, data_type, true), kind: Kind::Scalar }
}

/// Times that rows live until, a minute longer.
fn until_column() -> Column {
    let metadata = [(TTL_KEY.to_owned(), "60".to_owned())];
    let field = Field::new("until", DataType::Timestamp(TimeUnit::Millisecond, None), true);
    Column { field: field.with_metadata(metadata), kind: Kind::Scalar }
}

fn english_column(name: &str) -> Column {
    let metadata = [(ANALYSER_KEY.to_owned(), "english".to_owned())];
    Column { field: Field::new(name, DataType::Utf8, true).with_metadata(metadata), kind: Kind::Scalar }
}

fn json_column(name: &str) -> Column {
    let metadata = [("broadhead.type".to_owned(), "json".to_owned())];
    Column { field: Field::new(name, DataType::Utf8, true).with_metadata(metadata), kind: Kind::Scalar }
}
