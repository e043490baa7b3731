//! `broadhead search`: the nearest rows to a row, a vector, or each vector of a file.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float64Array};
use arrow::datatypes::{DataType, Field};
use net::client::{Collection, Id, Queries, SearchReply, SearchRequest};
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::commands::search_text::{self, TextArguments};
use crate::commands::{json_row, parse_ids};
use crate::error::{Error, FileProblem, RequestProblem, Result};
use crate::output::{self, Table, text_cell};
use crate::sources::{self, ElementType};

/// Arguments of `search`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("query"))]
#[command(group = clap::ArgGroup::new("asked").args(["like", "vector", "npy", "text"]).multiple(true).required(true))]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Rows like this one; the row itself is left out.
    #[arg(long, group = "query", value_name = "ID")]
    like: Option<String>,
    /// Rows near this vector.
    #[arg(long, group = "query", value_name = "[X,…]", allow_hyphen_values = true)]
    vector: Option<String>,
    /// Rows near each vector of a NumPy file.
    #[arg(long, group = "query", value_name = "FILE", conflicts_with = "text")]
    npy: Option<PathBuf>,
    #[command(flatten)]
    words: TextArguments,
    /// How many.
    #[arg(short, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    k: u32,
    /// Candidates that the search keeps: more find more, and take longer [default: the server's choice]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ef: Option<u32>,
    /// Compare with every row.
    #[arg(long)]
    exact: bool,
    /// Only rows that this is true of: {"column": "kib", "<": 10}, {"and": […]}, {"or": […]}, {"not": …}
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Columns to show beside id and distance.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    columns: Vec<String>,
    /// Vector column to search [default: the only one there is]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// A search as the command line has it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Results of a query.
    pub k: usize,
    /// Candidates; none: the server's choice.
    pub ef: Option<usize>,
    /// Compare with every row.
    pub exact: bool,
    /// Columns beside id and distance.
    pub columns: Vec<String>,
    /// What must be true of a row; empty: nothing.
    pub filter: String,
}

/// A vector column of a collection.
pub struct Target {
    /// Its name.
    pub column: String,
    /// Its type.
    pub data_type: DataType,
}

/// Searches and shows.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    let words = arguments.words.query()?;
    if words.is_some() && arguments.like.is_none() && arguments.vector.is_none() {
        let columns: Vec<&str> = arguments.columns.iter().map(String::as_str).collect();
        let filter = arguments.filter.as_deref().unwrap_or_default();
        let request = SearchRequest { k: arguments.k as usize, columns: &columns, filter, ..SearchRequest::default() };
        let reply = search_text::search(&collection, &arguments.words.apply(&words, request))?;
        search_text::show(&reply, &arguments.columns, arguments.k as usize, None, arguments.remote.json);
        warn_of_recovery(&reply);
        return Ok(());
    }
    let target = target(&collection, &arguments.collection, arguments.column.as_deref())?;
    let mut options = Options {
        k: arguments.k as usize,
        ef: arguments.ef.map(|ef| ef as usize),
        exact: arguments.exact,
        columns: arguments.columns.clone(),
        filter: arguments.filter.clone().unwrap_or_default(),
    };
    let mut leave_out = None;
    let queries = if let Some(id) = &arguments.like {
        leave_out = Some(id.clone());
        options.k += 1;
        // With the row itself among the results there is one more to keep; an ef below k stays one, for the server to refuse.
        options.ef = options.ef.map(|ef| if ef + 1 == options.k { options.k } else { ef });
        like(&collection, &arguments.collection, &target, id)?
    } else if let Some(text) = &arguments.vector {
        encode(&parse_vector(text, &target)?, &target)?
    } else if let Some(path) = &arguments.npy {
        let vectors = sources::read_npy_queries(path)?;
        if vectors.is_empty() {
            return Err(Error::file(path)(FileProblem::Empty));
        }
        encode(&vectors, &target)?
    } else {
        unreachable!("one of the three is required");
    };
    if words.is_some() {
        let columns: Vec<&str> = options.columns.iter().map(String::as_str).collect();
        let request = arguments.words.apply(&words, request(&target, &queries, &options, &columns));
        let reply = search_text::search(&collection, &request)?;
        let (k, as_json) = (arguments.k as usize, arguments.remote.json);
        search_text::show(&reply, &arguments.columns, k, leave_out.as_deref(), as_json);
        warn_of_recovery(&reply);
        return Ok(());
    }
    let reply = search(&collection, &target, &queries, &options)?;
    show(arguments, &reply, leave_out.as_deref());
    warn_of_recovery(&reply);
    Ok(())
}

fn warn_of_recovery(reply: &SearchReply) {
    if reply.is_recovering {
        eprintln!("the server is replaying its log after a start: the newest rows may be missing");
    }
}

/// The vector column to search: the named one, or the only one.
pub fn target(collection: &Collection, name: &str, column: Option<&str>) -> Result<Target> {
    let schema = collection.schema();
    let vectors = sources::vector_columns(schema);
    if vectors.is_empty() {
        return Err(RequestProblem::NoVectors { collection: name.to_owned() }.into());
    }
    let chosen = match column {
        Some(column) => vectors.iter().copied().find(|&index| schema.field(index).name() == column),
        None if vectors.len() == 1 => Some(vectors[0]),
        None => None,
    };
    let Some(index) = chosen else {
        let available: Vec<&str> = vectors.iter().map(|&index| schema.field(index).name().as_str()).collect();
        return Err(
            RequestProblem::VectorColumn { collection: name.to_owned(), available: available.join(", ") }.into()
        );
    };
    let field = schema.field(index);
    Ok(Target { column: field.name().clone(), data_type: field.data_type().clone() })
}

/// The bytes of queries in the element type of the column.
pub fn encode(vectors: &ArrayRef, target: &Target) -> Result<Vec<u8>> {
    let length = |data_type: &DataType| match data_type {
        DataType::FixedSizeList(_, length) | DataType::FixedSizeBinary(length) => *length as usize,
        _ => 0,
    };
    let (found, expected) = (length(vectors.data_type()), length(&target.data_type));
    if found != expected {
        return Err(RequestProblem::VectorLength { column: target.column.clone(), found, expected }.into());
    }
    let misfit = || {
        let stored = match &target.data_type {
            DataType::FixedSizeList(item, _) => ElementType::of(item.data_type()).map_or("vector", ElementType::name),
            _ => "bits",
        };
        RequestProblem::Vector(format!("a number of it is no {stored}, which column `{}` has", target.column))
    };
    sources::query_bytes(vectors, &target.data_type).ok_or_else(|| misfit().into())
}

/// The vector of a row, as a query.
pub fn like(collection: &Collection, name: &str, target: &Target, id: &str) -> Result<Vec<u8>> {
    let ids = parse_ids(collection, &[id.to_owned()])?;
    let rows = collection.get(&ids, &[target.column.as_str()])?;
    let vector = rows.column_by_name(&target.column).filter(|column| column.len() == 1);
    match vector {
        Some(vector) => encode(vector, target),
        None => Err(RequestProblem::NoRow { collection: name.to_owned(), id: id.to_owned() }.into()),
    }
}

/// One request, and its answer.
pub fn search(collection: &Collection, target: &Target, queries: &[u8], options: &Options) -> Result<SearchReply> {
    let columns: Vec<&str> = options.columns.iter().map(String::as_str).collect();
    Ok(collection.search(&request(target, queries, options, &columns))?.wait()?)
}

/// The request of a search.
pub fn request<'a>(
    target: &'a Target,
    queries: &'a [u8],
    options: &'a Options,
    columns: &'a [&'a str],
) -> SearchRequest<'a> {
    SearchRequest {
        column: Some(&target.column),
        queries: Queries::Bytes(queries),
        k: options.k,
        ef: options.ef,
        exact: options.exact,
        columns,
        filter: &options.filter,
        ..SearchRequest::default()
    }
}

/// Numbers from `[1, 2]` or `1,2`; bytes of a bit vector likewise.
fn parse_vector(text: &str, target: &Target) -> Result<ArrayRef> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    let mut json = format!("[{bare}]").into_bytes();
    let values: Vec<f64> =
        simd_json::from_slice(&mut json).map_err(|error| RequestProblem::Vector(error.to_string()))?;
    let length = values.len() as i32;
    if let DataType::FixedSizeBinary(_) = target.data_type {
        let bytes: Vec<u8> = values.iter().map(|value| *value as u8).collect();
        let bits = FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes))
            .map_err(|error| RequestProblem::Vector(error.to_string()))?;
        return Ok(Arc::new(bits));
    }
    let is_integer = |item: &DataType| ElementType::of(item).is_some_and(ElementType::is_integer);
    let integral = matches!(&target.data_type, DataType::FixedSizeList(item, _) if is_integer(item.data_type()));
    if integral && values.iter().any(|value| value.fract() != 0.0) {
        return Err(RequestProblem::Vector("this collection's vectors are whole numbers".to_owned()).into());
    }
    let item = Arc::new(Field::new("item", DataType::Float64, false));
    let list = FixedSizeListArray::try_new(item, length, Arc::new(Float64Array::from(values)), None);
    Ok(Arc::new(list.map_err(|error| RequestProblem::Vector(error.to_string()))?))
}

/// A result: its place among all results of the reply, its id, its distance.
pub type Found<'a> = (usize, &'a Id, f32);

/// The results of each query, without the row `leave_out`, no more than `k`.
pub fn results<'a>(reply: &'a SearchReply, k: usize, leave_out: Option<&str>) -> Vec<Vec<Found<'a>>> {
    let mut place = 0;
    let mut all = Vec::with_capacity(reply.hits.len());
    for hits in &reply.hits {
        let found = hits.iter().enumerate().map(|(index, hit)| (place + index, &hit.id, hit.distance));
        all.push(found.filter(|(_, id, _)| leave_out.is_none_or(|text| id.to_string() != text)).take(k).collect());
        place += hits.len();
    }
    all
}

fn show(arguments: &Arguments, reply: &SearchReply, leave_out: Option<&str>) {
    let queries = results(reply, arguments.k as usize, leave_out);
    for (query, found) in queries.iter().enumerate() {
        if arguments.remote.json {
            output::line(json_results(reply, query, found));
            continue;
        }
        if queries.len() > 1 {
            output::line(format_args!("{}query {query}", if query > 0 { "\n" } else { "" }));
        }
        table(reply, found, &arguments.columns).print();
    }
    if reply.index_lag > 0 && !arguments.remote.json {
        output::line(format_args!(
            "{} rows are not in the index yet; they were searched one by one",
            output::grouped(reply.index_lag)
        ));
    }
}

fn json_results(reply: &SearchReply, query: usize, found: &[Found<'_>]) -> Value {
    let result = |&(place, id, distance): &Found<'_>| {
        let mut object = serde_json::Map::new();
        let id = match id {
            Id::U64(id) => Value::from(*id),
            Id::Utf8(id) => Value::from(id.as_str()),
        };
        object.insert("id".to_owned(), id);
        object.insert("distance".to_owned(), json!(output::shortest(distance)));
        if let Some(rows) = &reply.columns {
            // A column named `id` or `distance` does not hide what the search found.
            json_row(rows, place).into_iter().for_each(|(name, value)| {
                object.entry(name).or_insert(value);
            });
        }
        Value::Object(object)
    };
    json!({ "query": query, "results": found.iter().map(result).collect::<Vec<_>>(), "index_lag": reply.index_lag, "recovering": reply.is_recovering })
}

/// Results for people.
pub fn table(reply: &SearchReply, found: &[Found<'_>], columns: &[String]) -> Table {
    let mut table = Table::new(["id", "distance"].into_iter().chain(columns.iter().map(String::as_str)));
    for &(place, id, distance) in found {
        let mut cells = vec![id.to_string(), format!("{distance:.4}")];
        for name in columns {
            let column = reply.columns.as_ref().and_then(|rows| rows.column_by_name(name));
            cells.push(column.map(|column| text_cell(column, place)).unwrap_or_default());
        }
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target_of(element: DataType, length: i32) -> Target {
        let item = Arc::new(Field::new("item", element, false));
        Target { column: "v".to_owned(), data_type: DataType::FixedSizeList(item, length) }
    }

    #[test]
    fn vectors_are_read_and_encoded_in_the_element_type() {
        let floats = target_of(DataType::Float32, 2);
        let bytes = |text: &str, target: &Target| parse_vector(text, target).and_then(|vector| encode(&vector, target));
        let expected: Vec<u8> = [0.5f32, -1.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(bytes("[0.5, -1]", &floats).unwrap(), expected);
        assert_eq!(bytes("0.5,-1", &floats).unwrap(), expected);
        assert_eq!(bytes("1,2", &target_of(DataType::Float16, 2)).unwrap(), [0x00, 0x3c, 0x00, 0x40]);
        assert_eq!(bytes("1,2", &target_of(DataType::UInt16, 2)).unwrap(), [0x80, 0x3f, 0x00, 0x40]);
        let largest: Vec<u8> = [i32::MAX, i32::MIN].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(bytes("2147483647,-2147483648", &target_of(DataType::Int32, 2)).unwrap(), largest);
        assert_eq!(bytes("1,200", &target_of(DataType::UInt8, 2)).unwrap(), [1, 200]);
        assert_eq!(bytes("-1,2", &target_of(DataType::Int8, 2)).unwrap(), [255, 2]);
        let bits = Target { column: "b".to_owned(), data_type: DataType::FixedSizeBinary(2) };
        assert_eq!(bytes("[255, 1]", &bits).unwrap(), [255, 1]);
    }

    #[test]
    fn results_keep_their_place_and_leave_out_the_row_itself() {
        let hit = |id: u64, distance: f32| net::client::Hit {
            id: Id::U64(id),
            distance,
            score: None,
            sides: None,
            group: None,
        };
        let hits = vec![vec![hit(7, 0.0), hit(1, 0.5), hit(2, 0.6)], vec![hit(3, 0.1)]];
        let reply = SearchReply { hits, index_lag: 0, is_recovering: false, columns: None, report: None };
        let found = results(&reply, 2, Some("7"));
        assert_eq!(found[0], [(1, &Id::U64(1), 0.5), (2, &Id::U64(2), 0.6)]);
        assert_eq!(found[1], [(3, &Id::U64(3), 0.1)]);
        let json = json_results(&reply, 0, &found[0]).to_string();
        let expected = r#"{"index_lag":0,"query":0,"recovering":false,"results":[{"distance":0.5,"id":1},{"distance":0.6,"id":2}]}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn vectors_that_do_not_fit_are_refused() {
        let floats = target_of(DataType::Float32, 3);
        let fail = |text: &str, target: &Target| {
            parse_vector(text, target).and_then(|vector| encode(&vector, target)).unwrap_err().to_string()
        };
        assert_eq!(fail("1,2", &floats), "the query has 2 elements, column `v` has 3");
        assert!(fail("one", &floats).starts_with("--vector: "));
        assert!(fail("1,2,2147483648", &target_of(DataType::Int32, 3)).contains("is no i32, which column `v` has"));
        assert!(fail("1.5,2,3", &target_of(DataType::Int8, 3)).contains("whole numbers"));
        assert!(parse_vector("", &floats).and_then(|vector| encode(&vector, &floats)).is_err());
    }
}
