//! A plain model of a collection: what is held against the real one, operation by operation.
//!
//! Rows are values in a map, filters are read one row at a time, distances are sums of `f64`. Nothing here shares code with the engine
//! but the names of element types and metrics.

pub mod condition;
pub mod value;
pub mod vector;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use engine::schema::IdRef;
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

/// A collection of values.
#[derive(Clone, Debug)]
pub struct Model {
    /// Columns; the first is the id.
    pub columns: Vec<Column>,
    /// Rows by id.
    pub rows: BTreeMap<Id, Row>,
}

impl Model {
    /// A model with ids of a type, a nullable column of every scalar type, and these vector columns.
    pub fn new(id: DataType, vectors: &[VectorKind]) -> Model {
        let scalar =
            |name: &str, data_type: DataType| Column { field: Field::new(name, data_type, true), kind: Kind::Scalar };
        let mut columns = vec![Column { field: Field::new("id", id, false), kind: Kind::Id }];
        columns.extend([
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
            scalar("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))),
            json_column("json"),
        ]);
        columns.extend(vectors.iter().map(VectorKind::column));
        Model { columns, rows: BTreeMap::new() }
    }

    /// The Arrow schema that the collection is made with.
    pub fn schema(&self) -> Schema {
        Schema::new(self.columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>())
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

    /// A random id among `count`.
    pub fn random_id(&self, count: u64, random: &mut Random) -> Id {
        let number = random.below(count);
        match self.columns[0].field.data_type() {
            DataType::Utf8 => Id::Utf8(format!("row-{number}")),
            DataType::Int64 => Id::I64(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).cast_signed()),
            _ => Id::U64(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    /// Random values for every column but the id.
    pub fn random_row(&self, id: &Id, random: &mut Random) -> Row {
        let value = |column: &Column, random: &mut Random| match &column.kind {
            Kind::Id => Value::of_id(id),
            Kind::Scalar => Value::random(&column.field, random),
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

    /// Writes a row; true where it takes the place of another.
    pub fn upsert(&mut self, row: Row) -> bool {
        self.rows.insert(self.id_of(&row), row).is_some()
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

    /// Rows that a condition is true of and that have one of the words of a query in a column, with their BM25 (k1 = 1.2, b = 0.75, over all
    /// rows that have a word there), best first.
    pub fn by_words(&self, column: &str, query: &str, condition: Option<&Condition>) -> Vec<(f64, &Id)> {
        let place = self.column(column);
        let texts = self.rows.iter().map(|(id, row)| (id, row, words(&row[place])));
        let texts: Vec<(&Id, &Row, Vec<String>)> = texts.filter(|(_, _, words)| !words.is_empty()).collect();
        let average = texts.iter().map(|(_, _, words)| words.len()).sum::<usize>() as f64 / texts.len() as f64;
        let asked = words(&Value::Text(query.to_owned()));
        let idf = |word: &String| {
            let having = texts.iter().filter(|(_, _, words)| words.contains(word)).count() as f64;
            (1.0 + (texts.len() as f64 - having + 0.5) / (having + 0.5)).ln()
        };
        let weights: Vec<(&String, f64)> = asked.iter().map(|word| (word, idf(word))).collect();
        let score = |words: &Vec<String>| -> f64 {
            let part = |(word, idf): &(&String, f64)| {
                let tf = words.iter().filter(|other| other == word).count() as f64;
                idf * tf / (tf + 1.2 * (0.25 + 0.75 * words.len() as f64 / average))
            };
            weights.iter().map(part).sum()
        };
        let passes = |row: &Row| condition.is_none_or(|condition| condition.holds(row));
        let passing = texts.iter().filter(|(_, row, _)| passes(row));
        let mut found: Vec<(f64, &Id)> =
            passing.map(|(id, _, words)| (score(words), *id)).filter(|(score, _)| *score > 0.0).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found
    }

    /// How far each row that a condition is true of is from a vector, nearest first.
    pub fn nearest(&self, place: usize, query: &[u8], condition: Option<&Condition>) -> Vec<(f64, &Id)> {
        let Kind::Vector(kind) = &self.columns[place].kind else { panic!("a vector column") };
        let holds = |row: &&Row| condition.is_none_or(|condition| condition.holds(row));
        let passing = self.rows.values().filter(holds);
        let of_row = |row: &Row| kind.distance(query, row[place].vector());
        let ids = self.rows.iter().filter(|(_, row)| holds(row)).map(|(id, _)| id);
        let mut distances: Vec<(f64, &Id)> = passing.map(of_row).zip(ids).collect();
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

/// The words of a text of the model, in lower case and without their marks.
fn words(text: &Value) -> Vec<String> {
    let Value::Text(text) = text else { return Vec::new() };
    let plain = text.to_lowercase().replace('ö', "o").replace('ü', "u").replace('ß', "ss");
    plain
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn json_column(name: &str) -> Column {
    let metadata = [("broadhead.type".to_owned(), "json".to_owned())];
    Column { field: Field::new(name, DataType::Utf8, true).with_metadata(metadata), kind: Kind::Scalar }
}
