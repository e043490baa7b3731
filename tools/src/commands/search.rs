//! `broadhead search`: the nearest rows to a row, a vector, or each vector of a file.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float64Array};
use arrow::datatypes::{DataType, Field};
use engine::search::SpreadOptions;
use net::client::{Collection, Examples, GroupBy, Hit, Id, Ids, Queries, SearchReply, SearchRequest, Within};
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::commands::search_text::{self, TextArguments};
use crate::commands::{IdTexts, json_row, parse_ids};
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
    /// Rows like this one, or like all of these, which are left out: `a,b`, or a JSON array where ids have commas in them
    #[arg(long, group = "query", value_name = "ID,…")]
    like: Vec<IdTexts>,
    /// And unlike these.
    #[arg(long, requires = "like", value_name = "ID,…")]
    unlike: Vec<IdTexts>,
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
    /// Pass over so many of the nearest rows, or groups.
    #[arg(long, default_value_t = 0, value_name = "N")]
    offset: u32,
    /// Only rows no farther than this: all of them, up to -k.
    #[arg(long, conflicts_with = "score_min", value_name = "DISTANCE", allow_hyphen_values = true)]
    distance_max: Option<f32>,
    /// Only rows no less similar than this: all of them, up to -k.
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    score_min: Option<f32>,
    /// Show the similarity as well: cosine: 1 − distance, dot: the product, l2: 1 / (1 + distance), hamming: the share of equal bits.
    #[arg(long)]
    score: bool,
    /// The nearest groups of rows that have the same value in this column, -k of them.
    #[arg(long, value_name = "NAME")]
    group_by: Option<String>,
    /// Rows of each group, at most.
    #[arg(long, requires = "group_by", default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    group_size: u32,
    /// Order results anew, by similarity and by what they pass on to each other along edges: {"edges": "links", "hops": 2, "decay": 0.5,
    /// "weight": 1, "types": ["depends"], "neighbours": true}; the collection of the edges is needed, all else has a default
    #[arg(long, value_name = "JSON")]
    spread: Option<String>,
    /// Tell how the search was answered: the plan, what was looked at, the time by phase.
    #[arg(long)]
    explain: bool,
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
    /// Results that are passed over.
    pub offset: usize,
    /// How near a row must be.
    pub within: Option<Within>,
    /// Whether the similarity is asked for.
    pub score: bool,
    /// Rows that the results are to be like, in place of queries; empty: none.
    pub like: Vec<Id>,
    /// Rows that they are to be unlike.
    pub unlike: Vec<Id>,
    /// Column of groups, and rows of each.
    pub group: Option<(String, usize)>,
    /// How results activate their neighbours.
    pub spread: Option<SpreadOptions>,
    /// Tell how it was answered.
    pub explain: bool,
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
    if words.is_some() && arguments.like.is_empty() && arguments.vector.is_none() {
        let options = arguments.options(&collection)?;
        let columns: Vec<&str> = options.columns.iter().map(String::as_str).collect();
        let request = arguments.words.apply(&words, request(None, &[], &options, &columns));
        let reply = search_text::search(&collection, &request)?;
        search_text::show(&reply, &options.columns, arguments.remote.json);
        warn_of_recovery(&reply);
        return Ok(());
    }
    let target = target(&collection, &arguments.collection, arguments.column.as_deref())?;
    let options = arguments.options(&collection)?;
    let queries = if let Some(text) = &arguments.vector {
        encode(&parse_vector(text, &target)?, &target)?
    } else if let Some(path) = &arguments.npy {
        let vectors = sources::read_npy_queries(path)?;
        if vectors.is_empty() {
            return Err(Error::file(path)(FileProblem::Empty));
        }
        encode(&vectors, &target)?
    } else {
        // The rows that the results are to be like are in the options.
        Vec::new()
    };
    if words.is_some() {
        let columns: Vec<&str> = options.columns.iter().map(String::as_str).collect();
        let request = arguments.words.apply(&words, request(Some(&target), &queries, &options, &columns));
        let reply = search_text::search(&collection, &request)?;
        search_text::show(&reply, &options.columns, arguments.remote.json);
        warn_of_recovery(&reply);
        return Ok(());
    }
    let reply = search(&collection, &target, &queries, &options)?;
    show(&reply, &options.columns, arguments.remote.json);
    warn_of_recovery(&reply);
    Ok(())
}

fn warn_of_recovery(reply: &SearchReply) {
    if reply.is_recovering {
        eprintln!("the server is replaying its log after a start: the newest rows may be missing");
    }
}

impl Arguments {
    fn options(&self, collection: &Collection) -> Result<Options> {
        let ids = |texts: &[IdTexts]| -> Result<Vec<Id>> {
            Ok(match parse_ids(collection, texts)? {
                Ids::U64(ids) => ids.into_iter().map(Id::U64).collect(),
                Ids::I64(ids) => ids.into_iter().map(Id::I64).collect(),
                Ids::Utf8(ids) => ids.into_iter().map(Id::Utf8).collect(),
            })
        };
        let mut columns = self.columns.clone();
        // What makes a group is shown with it.
        columns.extend(self.group_by.iter().filter(|name| !self.columns.contains(name)).cloned());
        Ok(Options {
            k: self.k as usize,
            ef: self.ef.map(|ef| ef as usize),
            exact: self.exact,
            columns,
            filter: self.filter.clone().unwrap_or_default(),
            offset: self.offset as usize,
            within: self.distance_max.map(Within::DistanceMax).or(self.score_min.map(Within::ScoreMin)),
            score: self.score,
            explain: self.explain,
            like: ids(&self.like)?,
            unlike: ids(&self.unlike)?,
            group: self.group_by.clone().map(|name| (name, self.group_size as usize)),
            spread: self.spread.as_deref().map(SpreadOptions::from_json).transpose().map_err(RequestProblem::Spread)?,
        })
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

/// One request, and its answer.
pub fn search(collection: &Collection, target: &Target, queries: &[u8], options: &Options) -> Result<SearchReply> {
    let columns: Vec<&str> = options.columns.iter().map(String::as_str).collect();
    Ok(collection.search(&request(Some(target), queries, options, &columns))?.wait()?)
}

/// The request of a search; without a target it is one by words alone.
pub fn request<'a>(
    target: Option<&'a Target>,
    queries: &'a [u8],
    options: &'a Options,
    columns: &'a [&'a str],
) -> SearchRequest<'a> {
    SearchRequest {
        column: target.map(|target| &*target.column),
        queries: Queries::Bytes(queries),
        k: options.k,
        ef: options.ef,
        exact: options.exact,
        columns,
        filter: &options.filter,
        offset: options.offset,
        within: options.within,
        score: options.score,
        explain: options.explain,
        examples: (!options.like.is_empty()).then_some(Examples {
            like: &options.like,
            unlike: &options.unlike,
            include: false,
        }),
        grouping: options.group.as_ref().map(|(column, size)| GroupBy { column, size: *size }),
        spread: options.spread.as_ref(),
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

/// A result, with its place among all results of the reply.
pub type Found<'a> = (usize, &'a Hit);

/// The results of each query.
pub fn results(reply: &SearchReply) -> Vec<Vec<Found<'_>>> {
    let mut places = 0..;
    reply.hits.iter().map(|hits| places.by_ref().zip(hits).take(hits.len()).collect()).collect()
}

fn show(reply: &SearchReply, columns: &[String], is_json: bool) {
    let queries = results(reply);
    for (query, found) in queries.iter().enumerate() {
        if is_json {
            output::line(json_results(reply, query, found));
            continue;
        }
        if queries.len() > 1 {
            output::line(format_args!("{}query {query}", if query > 0 { "\n" } else { "" }));
        }
        table(reply, found, columns).print();
    }
    if let Some(report) = &reply.report {
        output::line(report);
    }
    if reply.index_lag > 0 && !is_json {
        output::line(format_args!(
            "{} rows are not in the index yet; they were searched one by one",
            output::grouped(reply.index_lag)
        ));
    }
}

fn json_results(reply: &SearchReply, query: usize, found: &[Found<'_>]) -> Value {
    let result = |&(place, hit): &Found<'_>| {
        let mut object = serde_json::Map::new();
        let id = match &hit.id {
            Id::U64(id) => Value::from(*id),
            Id::I64(id) => Value::from(*id),
            Id::Utf8(id) => Value::from(id.as_str()),
        };
        object.insert("id".to_owned(), id);
        object.insert("distance".to_owned(), json!(output::shortest(hit.distance)));
        if let Some(score) = hit.score {
            object.insert("score".to_owned(), json!(output::shortest(score)));
        }
        if let Some(group) = hit.group {
            object.insert("group".to_owned(), json!(group));
        }
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
    let all = || found.iter().map(|(_, hit)| hit);
    let (has_score, has_group) = (all().any(|hit| hit.score.is_some()), all().any(|hit| hit.group.is_some()));
    let own = [("id", true), ("distance", true), ("score", has_score), ("group", has_group)];
    let own = own.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name);
    let mut table = Table::new(own.chain(columns.iter().map(String::as_str)));
    for &(place, hit) in found {
        let mut cells = vec![hit.id.to_string(), format!("{:.4}", hit.distance)];
        cells.extend(hit.score.map(|score| format!("{score:.4}")));
        cells.extend(hit.group.map(|group| group.to_string()));
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
    fn results_keep_their_place_among_all() {
        let hit = |id: u64, distance: f32| Hit { id: Id::U64(id), distance, score: None, sides: None, group: None };
        let mut hits = vec![vec![hit(1, 0.5), hit(2, 0.625)], vec![], vec![hit(3, 0.125)]];
        (hits[2][0].score, hits[2][0].group) = (Some(0.875), Some(0));
        let reply = SearchReply { hits, index_lag: 0, is_recovering: false, columns: None, report: None };
        let found = results(&reply);
        let places: Vec<Vec<usize>> =
            found.iter().map(|found| found.iter().map(|(place, _)| *place).collect()).collect();
        assert_eq!(places, [vec![0, 1], vec![], vec![2]]);
        let json = |query: usize| json_results(&reply, query, &found[query]).to_string();
        let expected = r#"{"index_lag":0,"query":0,"recovering":false,"results":[{"distance":0.5,"id":1},{"distance":0.625,"id":2}]}"#;
        assert_eq!(json(0), expected);
        let expected = r#"{"index_lag":0,"query":2,"recovering":false,"results":[{"distance":0.125,"group":0,"id":3,"score":0.875}]}"#;
        assert_eq!(json(2), expected);
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
