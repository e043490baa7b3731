//! `broadhead update`: new values for some columns of rows, by id.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, UInt64Array, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema};
use engine::schema::TYPE_KEY;
use net::client::{Collection, Ids, UpdateOptions};
use serde_json::{Map, Value, json};

use crate::cli::{Acknowledge, Conditions, Remote};
use crate::commands::{IdTexts, parse_ids};
use crate::error::{RequestProblem, Result};
use crate::output::{self, grouped};
use crate::sources;

/// Arguments of `update`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Ids of the rows: `a,b`, or a JSON array where ids have commas in them.
    #[arg(long, required = true, value_name = "ID,…")]
    ids: Vec<IdTexts>,
    /// New values as a JSON object, `{"column": value, …}`; null is one. All rows get the same.
    #[arg(long, value_name = "JSON")]
    set: String,
    #[command(flatten)]
    conditions: Conditions,
    /// When the update counts as done.
    #[arg(long, value_enum, default_value = "durable")]
    ack: Acknowledge,
    #[command(flatten)]
    remote: Remote,
}

/// Updates the rows.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    let ids = parse_ids(&collection, &arguments.ids)?;
    let set: Map<String, Value> =
        serde_json::from_str(&arguments.set).map_err(|error| RequestProblem::Set(error.to_string()))?;
    let batch = batch_of(&collection, &ids, &set)?;
    let options: UpdateOptions<'_> = arguments.conditions.options();
    let report = collection.update(&batch, &options, arguments.ack.into())?.wait()?;
    if arguments.remote.json {
        output::line(json!({
            "collection": arguments.collection, "asked": ids.len(), "updated": report.rows,
            "missing": report.missing, "unmet": report.unmet,
        }));
    } else {
        let asked = grouped(ids.len() as u64);
        output::line(format_args!("updated {} of {asked} rows", grouped(report.rows)));
    }
    Ok(())
}

/// The columns that are set, and the id, with a row for each id.
fn batch_of(collection: &Collection, ids: &Ids, set: &Map<String, Value>) -> Result<RecordBatch> {
    let schema = collection.schema();
    let id = sources::id_column(schema);
    let vectors = sources::vector_columns(schema);
    let (mut fields, mut columns): (Vec<_>, Vec<ArrayRef>) = (vec![schema.fields()[id].clone()], Vec::new());
    columns.push(match ids {
        Ids::U64(ids) => Arc::new(UInt64Array::from(ids.clone())),
        Ids::I64(ids) => Arc::new(Int64Array::from(ids.clone())),
        Ids::Utf8(ids) => Arc::new(StringArray::from(ids.clone())),
    });
    for (name, value) in set {
        let problem = |problem: &str| RequestProblem::Set(format!("column `{name}`: {problem}"));
        let index = schema.index_of(name).map_err(|_| problem("the collection has no such column"))?;
        if index == id || vectors.contains(&index) {
            return Err(
                problem("ids and vectors are not set here; `import --mode update` takes vectors from files").into()
            );
        }
        let field = schema.fields()[index].clone();
        // What a column of JSON is set to is JSON, whatever it is.
        let is_json = field.metadata().contains_key(TYPE_KEY) && !value.is_null();
        let json = is_json.then(|| Value::String(value.to_string()));
        let array = repeated(json.as_ref().unwrap_or(value), field.data_type(), ids.len()).ok_or_else(|| {
            problem(&format!("`{value}` is none of the values that it holds ({})", field.data_type()))
        })?;
        if array.null_count() > 0 && !field.is_nullable() {
            return Err(problem("it holds no null").into());
        }
        fields.push(field);
        columns.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of these fields"))
}

/// A column of one value; None where it is none of that type.
fn repeated(value: &Value, data_type: &DataType, rows: usize) -> Option<ArrayRef> {
    let text = match value {
        Value::Null => return Some(new_null_array(data_type, rows)),
        Value::Array(texts) if matches!(data_type, DataType::List(_)) => return repeated_list(texts, rows),
        _ if matches!(data_type, DataType::List(_)) => return None,
        Value::String(text) => text.clone(),
        Value::Bool(_) if *data_type != DataType::Boolean => return None,
        Value::Number(_) if *data_type == DataType::Boolean => return None,
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => return None,
    };
    if *data_type == DataType::Utf8 && !value.is_string() {
        return None;
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let one = |from: ArrayRef| cast_with_options(&from, data_type, &strict).ok();
    let texts = || Arc::new(StringArray::from(vec![text.as_str(); rows])) as ArrayRef;
    match (data_type, value) {
        // The number that the column holds, as in a filter.
        (DataType::Timestamp(..) | DataType::Date32, Value::Number(number)) => {
            let width = if *data_type == DataType::Date32 { DataType::Int32 } else { DataType::Int64 };
            number.as_i64()?;
            one(cast_with_options(&texts(), &width, &strict).ok()?)
        }
        _ => one(texts()),
    }
    .filter(|array| array.null_count() == 0)
}

/// A column of one list of texts; None where one of them is none.
fn repeated_list(texts: &[Value], rows: usize) -> Option<ArrayRef> {
    let texts: Vec<&str> = texts.iter().map(Value::as_str).collect::<Option<_>>()?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for _ in 0..rows {
        texts.iter().for_each(|text| lists.values().append_value(text));
        lists.append(true);
    }
    Some(Arc::new(lists.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Date32Type, Float64Type, Int8Type, TimeUnit, TimestampMillisecondType};

    use super::*;

    #[test]
    fn values_become_those_of_the_column_or_none() {
        let of = |value: Value, data_type: &DataType| repeated(&value, data_type, 2);
        assert_eq!(of(json!(-7), &DataType::Int8).unwrap().as_primitive::<Int8Type>().value(1), -7);
        assert_eq!(of(json!(2.5), &DataType::Float64).unwrap().as_primitive::<Float64Type>().value(1), 2.5);
        assert_eq!(of(json!("a"), &DataType::Utf8).unwrap().as_string::<i32>().value(1), "a");
        assert!(of(json!(true), &DataType::Boolean).unwrap().as_boolean().value(1));
        let tags = DataType::List(Arc::new(arrow::datatypes::Field::new_list_field(DataType::Utf8, true)));
        let lists = of(json!(["a", "b"]), &tags).unwrap();
        assert_eq!(lists.as_list::<i32>().value(1).as_string::<i32>().value(1), "b");
        assert!(of(json!(["a", 1]), &tags).is_none() && of(json!("a"), &tags).is_none());
        let moment = DataType::Timestamp(TimeUnit::Millisecond, None);
        for value in [json!("1970-01-01T00:00:01.5"), json!(1_500)] {
            assert_eq!(of(value, &moment).unwrap().as_primitive::<TimestampMillisecondType>().value(1), 1_500);
        }
        assert_eq!(of(json!("1970-01-03"), &DataType::Date32).unwrap().as_primitive::<Date32Type>().value(0), 2);
        assert_eq!(of(Value::Null, &DataType::Int8).unwrap().null_count(), 2);
        for (value, data_type) in [
            (json!(300), DataType::Int8),
            (json!(1.5), DataType::Int8),
            (json!("x"), DataType::Int8),
            (json!(1), DataType::Utf8),
            (json!(1), DataType::Boolean),
            (json!(true), DataType::Float64),
            (json!([1]), DataType::Int8),
            (json!("tomorrow"), DataType::Date32),
        ] {
            assert!(of(value.clone(), &data_type).is_none(), "{value} as {data_type}");
        }
    }
}
