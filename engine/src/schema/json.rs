//! A schema as JSON, to be written by hand and to be shown.
//!
//! ```text
//! schema = {"columns": [column, …]}                  what else stands there is not looked at
//! column = {"name": text, "type": type, …}
//! ```
//!
//! | key | of | meaning |
//! |---|---|---|
//! | `type` | all | as in the fingerprint (`u64`, `utf8`, `list[utf8]`, `json`, `timestamp[us]`, `timestamp[us,UTC]` …), or `vector` |
//! | `nullable` | data | true (default) or false |
//! | `role` | the id | `id`; a column named `id` is it without |
//! | `element` | vectors | `f32` (default), `f16`, `bf16`, `i8`, `u8`, `i32`, `bits` |
//! | `dimension` | vectors | elements; of bits, bits: a multiple of 8 |
//! | `metric`, `index`, `m`, `ef_construction`, `codes`, `rerank`, `vectors` | vectors | as in the metadata of a field |
//! | `ttl` | dates and timestamps | seconds that a row lives after the time in the column |
//! | `metadata` | all | what else the metadata of the field says, as an object of texts |
//!
//! What is read is an Arrow schema, which [`Schema::from_arrow`] checks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, TimeUnit};
use kernels::ElementKind;
use serde::{Deserialize, Serialize};

use super::column::{element_name, metric_name, type_name};
use super::{
    CODES_KEY, EF_CONSTRUCTION_KEY, ELEMENT_KEY, INDEX_KEY, M_KEY, METRIC_KEY, PLACE_KEY, RERANK_KEY, ROLE_KEY, Role,
    Schema, TTL_KEY, TYPE_KEY, VectorColumn,
};
use crate::error::{Error, Result};

/// A schema.
#[derive(Debug, Serialize, Deserialize)]
struct Columns {
    columns: Vec<Column>,
}

/// A column. Keys that it does not have are not written, and any other key is refused.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nullable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimension: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ef_construction: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    codes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vectors: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// Keys of the metadata that have keys of their own here.
const NAMED_KEYS: [&str; 11] = [
    ROLE_KEY,
    METRIC_KEY,
    CODES_KEY,
    RERANK_KEY,
    PLACE_KEY,
    INDEX_KEY,
    M_KEY,
    EF_CONSTRUCTION_KEY,
    ELEMENT_KEY,
    TYPE_KEY,
    TTL_KEY,
];

/// Reads a schema.
///
/// # Errors
/// `SchemaJson` for what is no JSON of this form; `InvalidSchema`, naming the column, for a type that there is not. Whether the schema
/// can be served [`Schema::from_arrow`] says.
pub fn parse(text: &str) -> Result<ArrowSchema> {
    let schema: Columns = serde_json::from_str(text).map_err(|source| Error::SchemaJson { source: source.into() })?;
    Ok(ArrowSchema::new(fields(schema.columns)?))
}

/// Reads one column, or a list of them.
///
/// # Errors
/// As [`parse`].
pub fn parse_columns(text: &str) -> Result<Vec<Field>> {
    let columns: Vec<Column> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|source| Error::SchemaJson { source: source.into() })?
    } else {
        vec![serde_json::from_str(text).map_err(|source| Error::SchemaJson { source: source.into() })?]
    };
    fields(columns)
}

fn fields(columns: Vec<Column>) -> Result<Vec<Field>> {
    columns.into_iter().map(Column::field).collect()
}

/// The columns of a schema as JSON: what [`parse`] makes the same schema of, with what is implied written out.
pub fn columns(schema: &Schema) -> serde_json::Value {
    let mut vectors = schema.vectors().iter();
    let columns = schema.columns().iter().enumerate().map(|(index, column)| {
        let field = schema.arrow().field(index);
        let vector = (column.role == Role::Vector).then(|| vectors.next().expect("one for each"));
        let ttl = schema.ttl().filter(|ttl| ttl.column == index).map(|ttl| ttl.seconds);
        let others = field.metadata().iter().filter(|(key, _)| !NAMED_KEYS.contains(&key.as_str()));
        let metadata = others.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Column { ttl, metadata, ..Column::of(field, column, vector) }
    });
    serde_json::to_value(columns.collect::<Vec<_>>()).expect("a list of flat objects")
}

/// A schema as JSON; see [`columns`].
pub fn write(schema: &Schema) -> String {
    serde_json::json!({ "columns": columns(schema) }).to_string()
}

impl Column {
    fn of(field: &Field, column: &super::Column, vector: Option<&VectorColumn>) -> Column {
        let mut data_type = String::new();
        match vector {
            Some(_) => data_type.push_str("vector"),
            None if column.is_json => data_type.push_str("json"),
            None => type_name(field.data_type(), &mut data_type),
        }
        let name = column.name.clone();
        let plain = Column { name, data_type: shown(data_type), ..Column::default() };
        match (column.role, vector) {
            (Role::Id, _) => Column { role: Some("id".into()), ..plain },
            (Role::Data, _) => Column { nullable: Some(column.nullable), ..plain },
            (Role::Vector, None) => unreachable!("a vector column is given"),
            (Role::Vector, Some(vector)) => Column {
                element: Some(element_name(vector.kind).into()),
                dimension: Some(vector.dimension),
                metric: Some(metric_name(vector.metric).into()),
                index: Some(if vector.index.flat { "flat" } else { "hnsw" }.into()),
                m: vector.index.m,
                ef_construction: vector.index.ef_construction,
                codes: Some(vector.codes.name().into()),
                rerank: vector.has_codes().then_some(vector.rerank),
                vectors: vector.has_codes().then(|| if vector.on_disk { "disk" } else { "memory" }.into()),
                ..plain
            },
        }
    }

    fn field(self) -> Result<Field> {
        let fail = |problem| Err(Error::InvalidSchema { column: self.name.clone(), problem });
        let mut metadata: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        let mut set = |key: &str, value: Option<String>| {
            value.map(|value| metadata.insert(key.to_owned(), value));
        };
        let is_vector = self.data_type == "vector";
        set(ROLE_KEY, self.role.clone());
        set(METRIC_KEY, self.metric.clone());
        set(INDEX_KEY, self.index.clone());
        set(M_KEY, self.m.map(|m| m.to_string()));
        set(EF_CONSTRUCTION_KEY, self.ef_construction.map(|ef| ef.to_string()));
        set(CODES_KEY, self.codes.clone());
        set(RERANK_KEY, self.rerank.map(|rerank| rerank.to_string()));
        set(PLACE_KEY, self.vectors.clone());
        set(TTL_KEY, self.ttl.map(|seconds| seconds.to_string()));
        let data_type = if is_vector {
            let Some(dimension) = self.dimension else { return fail("a vector has a dimension") };
            let Some(element) = element_of(self.element.as_deref().unwrap_or("f32")) else {
                return fail("the element is none of f32, f16, bf16, i8, u8, i32, bits");
            };
            set(ROLE_KEY, Some("vector".into()));
            set(ELEMENT_KEY, Some(element_name(element).into()));
            let Some(data_type) = vector_type(element, dimension) else {
                return fail("the dimension is out of range, or one of bits that is not a multiple of 8");
            };
            data_type
        } else {
            if self.element.is_some() || self.dimension.is_some() {
                return fail("only a vector has an element and a dimension");
            }
            if self.data_type == "json" {
                set(TYPE_KEY, Some("json".into()));
            }
            let Some(data_type) = data_type_of(&self.data_type) else { return fail("there is no such type") };
            data_type
        };
        let is_id = self.role.as_deref() == Some("id");
        let nullable = self.nullable.unwrap_or(!is_vector && !is_id);
        Ok(Field::new(self.name, data_type, nullable).with_metadata(metadata))
    }
}

/// A type as it is shown: without the length of a time zone's name, which the fingerprint has.
fn shown(data_type: String) -> String {
    match data_type.split_once(':') {
        Some((unit, zone)) => {
            let unit = unit.trim_end_matches(|character: char| character.is_ascii_digit());
            format!("{unit}{zone}")
        }
        None => data_type,
    }
}

fn element_of(name: &str) -> Option<ElementKind> {
    use ElementKind::{Bf16, Bits, F16, F32, I8, I32, U8};
    [F32, F16, Bf16, I8, U8, I32, Bits].into_iter().find(|&kind| element_name(kind) == name)
}

fn vector_type(element: ElementKind, dimension: usize) -> Option<DataType> {
    let item = match element {
        ElementKind::Bits => {
            let bytes = i32::try_from(dimension / 8).ok()?;
            return dimension.is_multiple_of(8).then_some(DataType::FixedSizeBinary(bytes));
        }
        ElementKind::F32 => DataType::Float32,
        ElementKind::F16 => DataType::Float16,
        ElementKind::Bf16 => DataType::UInt16,
        ElementKind::I8 => DataType::Int8,
        ElementKind::U8 => DataType::UInt8,
        ElementKind::I32 => DataType::Int32,
        ElementKind::Code8 | ElementKind::Code4 | ElementKind::Code1 => return None,
    };
    Some(DataType::FixedSizeList(Arc::new(Field::new_list_field(item, true)), i32::try_from(dimension).ok()?))
}

fn data_type_of(name: &str) -> Option<DataType> {
    Some(match name {
        "bool" => DataType::Boolean,
        "i8" => DataType::Int8,
        "i16" => DataType::Int16,
        "i32" => DataType::Int32,
        "i64" => DataType::Int64,
        "u8" => DataType::UInt8,
        "u16" => DataType::UInt16,
        "u32" => DataType::UInt32,
        "u64" => DataType::UInt64,
        "f32" => DataType::Float32,
        "f64" => DataType::Float64,
        "date32" => DataType::Date32,
        "utf8" | "json" => DataType::Utf8,
        "list[utf8]" => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        _ => {
            let inner = name.strip_prefix("timestamp[")?.strip_suffix(']')?;
            let (unit, zone) = match inner.split_once(',') {
                Some((unit, zone)) => (unit, Some(zone.trim().into())),
                None => (inner, None),
            };
            let unit = match unit {
                "s" => TimeUnit::Second,
                "ms" => TimeUnit::Millisecond,
                "us" => TimeUnit::Microsecond,
                "ns" => TimeUnit::Nanosecond,
                _ => return None,
            };
            DataType::Timestamp(unit, zone)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::samples;

    fn schema(text: &str) -> Result<Schema> {
        Schema::from_arrow(&parse(text)?)
    }

    #[test]
    fn every_type_goes_round() {
        let of_samples = [samples::schema(false), samples::schema(true)];
        let by_hand = schema(
            r#"{"columns": [
                {"name": "key", "type": "i64", "role": "id"},
                {"name": "v", "type": "vector", "dimension": 384, "metric": "dot", "codes": "int8", "rerank": 7, "vectors": "disk", "m": 8, "ef_construction": 60},
                {"name": "b", "type": "vector", "element": "bits", "dimension": 64, "index": "flat"},
                {"name": "when", "type": "timestamp[ns,Europe/Berlin]"},
                {"name": "then", "type": "timestamp[s]", "nullable": false, "ttl": 60, "metadata": {"unit": "kept"}},
                {"name": "more", "type": "json"}, {"name": "tags", "type": "list[utf8]"}], "rows": 7}"#,
        );
        for schema in of_samples.iter().map(|schema| schema.as_ref()).chain([&by_hand.unwrap()]) {
            let text = write(schema);
            let again = super::tests::schema(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(&again, schema, "{text}");
            assert_eq!(write(&again), text);
        }
    }

    #[test]
    fn what_is_implied_need_not_be_said() {
        let short = schema(
            r#"{"columns": [{"name": "id", "type": "u64"}, {"name": "t", "type": "utf8"},
            {"name": "v", "type": "vector", "dimension": 3}]}"#,
        );
        let short = short.unwrap();
        assert!(short.columns()[1].nullable && !short.columns()[2].nullable);
        assert_eq!((short.id_column(), short.vectors()[0].kind), (0, ElementKind::F32));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let column = |column: &str| schema(&format!(r#"{{"columns": [{{"name": "id", "type": "u64"}}, {column}]}}"#));
        for bad in [
            r#"{"name": "x", "type": "decimal"}"#,
            r#"{"name": "x", "type": "timestamp[h]"}"#,
            r#"{"name": "x", "type": "vector"}"#,
            r#"{"name": "x", "type": "vector", "dimension": 0}"#,
            r#"{"name": "x", "type": "vector", "element": "bits", "dimension": 9}"#,
            r#"{"name": "x", "type": "vector", "element": "f64", "dimension": 9}"#,
            r#"{"name": "x", "type": "vector", "dimension": 9, "metric": "near"}"#,
            r#"{"name": "x", "type": "utf8", "dimension": 9}"#,
            r#"{"name": "x", "type": "utf8", "metric": "l2"}"#,
            r#"{"name": "x", "type": "utf8", "m": 8}"#,
            r#"{"name": "x", "type": "vector", "dimension": 9, "index": "ivf"}"#,
            r#"{"name": "x", "type": "vector", "dimension": 9, "m": 33}"#,
            r#"{"name": "x", "type": "vector", "dimension": 9, "ef_construction": 1}"#,
            r#"{"name": "x", "type": "vector", "dimension": 9, "index": "flat", "m": 8}"#,
            r#"{"name": "x", "type": "vector", "dimension": 9, "index": "flat", "codes": "int8"}"#,
        ] {
            match column(bad) {
                Err(Error::InvalidSchema { column, .. }) => assert_eq!(column, "x", "{bad}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
        for bad in [r#"{"name": "x"}"#, r#"{"name": "x", "type": "u8", "nulable": true}"#, "7", "{"] {
            assert!(matches!(column(bad), Err(Error::SchemaJson { .. })), "{bad}");
        }
        assert!(matches!(schema("[]"), Err(Error::SchemaJson { .. })));
        assert!(matches!(schema("{}"), Err(Error::SchemaJson { .. })));
    }

    #[test]
    fn columns_alone_are_read_one_or_several() {
        assert_eq!(parse_columns(r#" {"name": "a", "type": "u8"}"#).unwrap().len(), 1);
        let two = parse_columns(r#"[{"name": "a", "type": "u8"}, {"name": "b", "type": "json"}]"#).unwrap();
        assert_eq!(two[1].metadata()[TYPE_KEY], "json");
    }
}
