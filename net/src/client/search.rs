//! Searches: one query or a batch of them per request.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use engine::limits::{FILTER_BYTES_MAX, OPTIONS_BYTES_MAX};
use engine::schema::{IdRef, VectorColumn};
use engine::search::{Sides, SpreadOptions};
use half::{bf16, f16};
use kernels::ElementKind;
use serde_json::{Map, Value};

use super::batch::read_batch;
use super::{Collection, Id, Pending};
use crate::codec::{self, Columns, Found, FrameError, Opcode};
use crate::error::{Error, Result};

/// The vectors to search for, one behind the other.
#[derive(Debug, Clone, Copy)]
pub enum Queries<'a> {
    /// As f32: converted to the element type of the column (rounded and saturated for integers). Not for bits.
    F32(&'a [f32]),
    /// In the column's own representation, little endian.
    Bytes(&'a [u8]),
}

impl Queries<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Queries::F32(values) => values.is_empty(),
            Queries::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

/// A search. `..Default::default()` fills in what is not set: the first vector column, 10 results, the server's `ef`.
#[derive(Debug, Clone, Copy)]
pub struct SearchRequest<'a> {
    /// Vector column; none for the first.
    pub column: Option<&'a str>,
    /// One or more queries.
    pub queries: Queries<'a>,
    /// Elements of a query; none for the column's.
    pub dimension: Option<usize>,
    /// Results per query.
    pub k: usize,
    /// Candidates per query, at least `k`; none for the server's default.
    pub ef: Option<usize>,
    /// Scan all rows instead of asking the graph.
    pub exact: bool,
    /// Columns to return with the results.
    pub columns: &'a [&'a str],
    /// Only rows that it is true of are found: JSON, as `engine::filter` describes it. Empty for all rows.
    pub filter: &'a str,
    /// Each hit comes with its similarity.
    pub score: bool,
    /// The reply's report says how the search was answered.
    pub explain: bool,
    /// Hits, or groups, that are passed over, nearest first.
    pub offset: usize,
    /// What a row must be to be found.
    pub within: Option<Within>,
    /// In place of queries: rows that the hits are to be like.
    pub examples: Option<Examples<'a>>,
    /// Finds the `k` nearest groups of rows.
    pub grouping: Option<GroupBy<'a>>,
    /// Rows are found by their words: alone where there are no queries, else beside those found by the one query.
    pub text: Option<Text<'a>>,
    /// How rows found by vector and by words are put together; none for reciprocal ranks.
    pub fusion: Option<Fusion>,
    /// Results activate their neighbours along the edges of a graph, and are ordered anew; `score` of each hit then is what they are
    /// ordered by.
    pub spread: Option<&'a SpreadOptions>,
}

/// A threshold: all rows within it are found, up to `k`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Within {
    /// No farther than this.
    DistanceMax(f32),
    /// No less similar than this; [`Hit::score`] says what that is.
    ScoreMin(f32),
}

/// Rows that a query is made of, and are left out of the results.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    /// At least one id: of one row the query is its vector, of several their mean.
    pub like: &'a [Id],
    /// The query moves away from their mean, by as much as lies between the two.
    pub unlike: &'a [Id],
    /// Whether these rows may be results themselves.
    pub include: bool,
}

/// A grouping of the results.
#[derive(Debug, Clone, Copy)]
pub struct GroupBy<'a> {
    /// Column whose values make the groups; a null is one as well.
    pub column: &'a str,
    /// Rows of each group, at most.
    pub size: usize,
}

/// Words to look for in a column of text.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// Column; none for the only one there is.
    pub column: Option<&'a str>,
    /// The words.
    pub query: TextQuery<'a>,
    /// Rows that are found by them; none for the server's choice.
    pub candidates: Option<usize>,
}

/// What is looked for in texts.
#[derive(Debug, Clone, Copy)]
pub enum TextQuery<'a> {
    /// Rows with any of the words, those with more and rarer ones first.
    Words(&'a str),
    /// `{"must": …, "should": …, "must_not": …, "phrase": …}`, as `engine::text::Query` reads it.
    Json(&'a Value),
}

/// How two lists of rows are made one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// By ranks, or by values.
    pub method: FusionMethod,
    /// Rows that are found by the vector; none for the server's choice.
    pub candidates: Option<usize>,
}

/// What the score of a row is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FusionMethod {
    /// Σ 1 / (k + rank).
    Rrf {
        /// 60, unless there is a reason.
        k: f32,
    },
    /// Σ weight × value.
    Weighted {
        /// Of the vector, and of the words.
        weights: [f32; 2],
        /// Whether values are brought to 0 … 1 on each list first.
        normalise: bool,
    },
}

impl Default for SearchRequest<'_> {
    fn default() -> Self {
        let queries = Queries::F32(&[]);
        Self {
            column: None,
            queries,
            dimension: None,
            k: 10,
            ef: None,
            exact: false,
            columns: &[],
            filter: "",
            score: false,
            explain: false,
            offset: 0,
            within: None,
            examples: None,
            grouping: None,
            text: None,
            fusion: None,
            spread: None,
        }
    }
}

impl SearchRequest<'_> {
    /// What is asked besides, as JSON; nothing for a plain search.
    fn options(&self) -> Result<Vec<u8>> {
        let mut options = Map::new();
        let mut set = |name: &str, value: Value| drop(options.insert(name.to_owned(), value));
        if self.score {
            set("score", true.into());
        }
        if self.offset > 0 {
            set("offset", self.offset.into());
        }
        match self.within {
            Some(Within::DistanceMax(most)) => set("distance_max", finite(most, "the threshold is no number")?),
            Some(Within::ScoreMin(least)) => set("score_min", finite(least, "the threshold is no number")?),
            None => {}
        }
        if let Some(spread) = self.spread {
            set("spread", spread.json());
        }
        if let Some(examples) = &self.examples {
            set("like", examples.like.iter().map(json_of).collect());
            if !examples.unlike.is_empty() {
                set("unlike", examples.unlike.iter().map(json_of).collect());
            }
            if examples.include {
                set("include_examples", true.into());
            }
        }
        if let Some(grouping) = &self.grouping {
            set("group_by", grouping.column.into());
            set("group_size", grouping.size.into());
        }
        if self.explain {
            set("explain", true.into());
        }
        if let Some(text) = &self.text {
            options.insert("text".to_owned(), text.json());
        }
        if let Some(fusion) = &self.fusion {
            options.insert("fusion".to_owned(), fusion.json());
        }
        if options.is_empty() {
            return Ok(Vec::new());
        }
        let json = Value::Object(options).to_string().into_bytes();
        let (value, limit) = (json.len() as u64, OPTIONS_BYTES_MAX as u64);
        if value > limit {
            return Err(engine::Error::LimitExceeded { what: "size of the options in bytes", value, limit }.into());
        }
        Ok(json)
    }
}

fn finite(value: f32, problem: &'static str) -> Result<Value> {
    if value.is_finite() { Ok(f64::from(value).into()) } else { Err(invalid(problem)) }
}

fn json_of(id: &Id) -> Value {
    match id {
        Id::U64(id) => (*id).into(),
        Id::I64(id) => (*id).into(),
        Id::Utf8(id) => id.as_str().into(),
    }
}

impl Text<'_> {
    fn json(&self) -> Value {
        let query = match self.query {
            TextQuery::Words(words) => Value::from(words),
            TextQuery::Json(query) => query.clone(),
        };
        let mut object = Map::from_iter([("query".to_owned(), query)]);
        object.extend(self.column.map(|column| ("column".to_owned(), Value::from(column))));
        object.extend(self.candidates.map(|candidates| ("candidates".to_owned(), Value::from(candidates))));
        Value::Object(object)
    }
}

impl Fusion {
    fn json(&self) -> Value {
        let mut object = Map::new();
        let mut set = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
        match self.method {
            FusionMethod::Rrf { k } => {
                set("method", "rrf".into());
                set("k", k.into());
            }
            FusionMethod::Weighted { weights, normalise } => {
                set("method", "weighted".into());
                set("weights", weights.to_vec().into());
                set("normalise", if normalise { "minmax" } else { "none" }.into());
            }
        }
        if let Some(candidates) = self.candidates {
            set("candidates", candidates.into());
        }
        Value::Object(object)
    }
}

/// A row that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its id.
    pub id: Id,
    /// Its distance; smaller is nearer. l2 is squared, dot is negated, cosine is 1 − cos, hamming counts bits. Of a search by text it is the
    /// negated score.
    pub distance: f32,
    /// Its similarity, which grows with nearness, where it was asked for: cosine: 1 − distance; dot: the product; l2: 1 / (1 + distance);
    /// hamming: 1 − distance / dimension. A search by text always gives its score.
    pub score: Option<f32>,
    /// Where it stands on both sides of a hybrid search.
    pub sides: Option<Sides>,
    /// Where results were grouped: the place of its group among those of the query, from 0.
    pub group: Option<u32>,
}

/// The answer to a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchReply {
    /// The results of each query, nearest first; where they are grouped, group by group.
    pub hits: Vec<Vec<Hit>>,
    /// Live rows that the graph did not hold yet; they were scanned, so nothing is missing.
    pub index_lag: u64,
    /// The server had just been started and not yet all its rows back: the newest may be missing, and those that they
    /// replaced or that were deleted may be there.
    pub is_recovering: bool,
    /// The asked columns, a row for each hit, query by query; none when no columns were asked for.
    pub columns: Option<RecordBatch>,
    /// What the server says of the search as a whole, as JSON, where it was asked for.
    pub report: Option<String>,
}

impl Collection {
    /// Sends a search to the shard whose turn it is.
    ///
    /// # Errors
    /// `Engine` for an unknown column and for queries that are none. What depends on limits the server judges.
    pub fn search(&self, request: &SearchRequest<'_>) -> Result<Pending<SearchReply>> {
        let by_text_alone = request.text.is_some() && request.queries.is_empty() && request.examples.is_none();
        let target = if by_text_alone { None } else { Some(self.schema.vector_index(request.column)?) };
        let target = target.map(|index| &self.schema.vectors()[index]);
        let (mut column, mut kind, mut dimension) = (0, ElementKind::F32, 1);
        let (mut vectors, mut queries) = (Cow::Borrowed(&[][..]), 0);
        if let Some(vector) = target {
            (column, kind) = (vector.column, vector.kind);
            dimension = request.dimension.unwrap_or(vector.dimension);
            vectors = encode_queries(request.queries, vector)?;
            queries = match request.examples {
                Some(_) if vectors.is_empty() => 0,
                Some(_) => return Err(invalid("examples are given in place of queries, not beside them")),
                None => count_queries(vector.kind, dimension, vectors.len())?,
            };
        }
        // Examples are one query, and so are words without a vector.
        let answers = queries.max(1) as usize;
        let chosen = match request.columns {
            [] => None,
            names => Some(self.choose(names)?),
        };
        let options = request.options()?;
        let wire = codec::Search {
            column: u16::try_from(column).expect("bounded by COLUMNS_MAX"),
            kind,
            exact: request.exact,
            k: number(request.k),
            ef: request.ef.map_or(0, number),
            queries,
            dimension: number(dimension),
            columns: chosen.as_ref().map_or(Columns::NONE, |chosen| chosen.columns()),
            vectors: &vectors,
            filter: checked(request.filter)?,
            options: &options,
        };
        if request.ef == Some(0) {
            return Err(invalid("ef is 0"));
        }
        let ticket = self.request(None, Opcode::Search, |body| wire.encode(body))?;
        let schema = chosen.map(|chosen| chosen.schema);
        Ok(Pending::new(vec![ticket], move |mut replies| {
            let reply = replies.pop().expect("one part");
            let is_recovering = reply.is_recovering;
            let found = Found::decode(&reply.body)?;
            if found.counts().len() != answers {
                return Err(Error::UnexpectedReply { problem: "not a result for each query" });
            }
            let (hits, index_lag, message_len) = (hits_of(&found), found.index_lag, found.message.len());
            let report = report_of(&found)?;
            let columns = schema.map(|schema| read_batch(reply.body, message_len, schema)).transpose()?;
            let total: usize = hits.iter().map(Vec::len).sum();
            if columns.as_ref().is_some_and(|columns| columns.num_rows() != total) {
                return Err(Error::UnexpectedReply { problem: "not a row for each hit" });
            }
            Ok(SearchReply { hits, index_lag, is_recovering, columns, report })
        }))
    }
}

/// A filter that is not too long for a frame; all else the server says.
pub(super) fn checked(filter: &str) -> Result<&[u8]> {
    let (value, limit) = (filter.len() as u64, FILTER_BYTES_MAX as u64);
    if value > limit {
        return Err(engine::Error::LimitExceeded { what: "size of the filter in bytes", value, limit }.into());
    }
    Ok(filter.as_bytes())
}

fn hits_of(found: &Found<'_>) -> Vec<Vec<Hit>> {
    let (mut scores, mut sides, mut groups) = (found.scores(), found.sides(), found.groups());
    let mut each = found.ids.iter().zip(found.distances()).map(|(id, distance)| {
        let id = match id {
            IdRef::U64(id) => Id::U64(id),
            IdRef::I64(id) => Id::I64(id),
            IdRef::Utf8(id) => Id::Utf8(id.to_owned()),
        };
        let score = scores.as_mut().and_then(Iterator::next);
        let sides = sides.as_mut().and_then(Iterator::next);
        let group = groups.as_mut().and_then(Iterator::next);
        Hit { id, distance, score, sides, group }
    });
    found.counts().map(|count| each.by_ref().take(count as usize).collect()).collect()
}

fn report_of(found: &Found<'_>) -> Result<Option<String>> {
    if found.report.is_empty() {
        return Ok(None);
    }
    let text =
        std::str::from_utf8(found.report).map_err(|_| FrameError::Field { field: "report", problem: "not UTF-8" });
    Ok(Some(text?.to_owned()))
}

/// A number of the request; one that does not fit is above every limit, which the server then says.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn invalid(problem: &'static str) -> Error {
    engine::Error::InvalidSearch { problem }.into()
}

fn count_queries(kind: ElementKind, dimension: usize, bytes: usize) -> Result<u32> {
    if dimension == 0 || kind == ElementKind::Bits && !dimension.is_multiple_of(8) {
        return Err(invalid("the dimension is 0, or one of bits that is not a multiple of 8"));
    }
    let each = kind.bytes(dimension);
    if bytes == 0 {
        return Err(engine::Error::Empty { what: "query list" }.into());
    }
    if !bytes.is_multiple_of(each) {
        return Err(invalid("the queries are not a multiple of the dimension"));
    }
    Ok(number(bytes / each))
}

fn encode_queries<'a>(queries: Queries<'a>, vector: &VectorColumn) -> Result<Cow<'a, [u8]>> {
    let values = match queries {
        Queries::Bytes(bytes) => return Ok(Cow::Borrowed(bytes)),
        Queries::F32(values) => values,
    };
    let is_integer = matches!(vector.kind, ElementKind::I8 | ElementKind::U8 | ElementKind::I32);
    if is_integer && !values.iter().all(|value| value.is_finite()) {
        return Err(engine::Error::NonFinite { column: vector.name.clone(), row: 0 }.into());
    }
    // A float that is cast to an integer saturates.
    Ok(Cow::Owned(match vector.kind {
        ElementKind::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ElementKind::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        ElementKind::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        ElementKind::I8 => values.iter().flat_map(|value| (value.round() as i8).to_le_bytes()).collect(),
        ElementKind::U8 => values.iter().map(|value| value.round() as u8).collect(),
        ElementKind::I32 => values.iter().flat_map(|value| (value.round() as i32).to_le_bytes()).collect(),
        ElementKind::Bits => return Err(invalid("queries for a column of bits are given as bytes")),
        ElementKind::Code8 | ElementKind::Code4 | ElementKind::Code1 => unreachable!("codes are no column type"),
    }))
}

#[cfg(test)]
mod tests {
    use engine::schema::Codes;
    use kernels::Metric;

    use super::*;

    fn encoded(kind: ElementKind, values: &[f32]) -> Result<Vec<u8>> {
        let (column, name, metric, codes) = (1, "v".into(), Metric::L2, Codes::default_of(kind, 2));
        let vector = VectorColumn {
            column,
            name,
            kind,
            dimension: 2,
            metric,
            codes,
            rerank: 1,
            on_disk: false,
            index: Default::default(),
        };
        encode_queries(Queries::F32(values), &vector).map(Cow::into_owned)
    }

    #[test]
    fn queries_take_the_type_of_the_column() {
        assert_eq!(encoded(ElementKind::F32, &[1.0]).unwrap(), 1.0_f32.to_le_bytes());
        assert_eq!(encoded(ElementKind::F16, &[1.0, -2.0]).unwrap(), [0x00, 0x3c, 0x00, 0xc0]);
        assert_eq!(encoded(ElementKind::Bf16, &[1.0, -2.0]).unwrap(), [0x80, 0x3f, 0x00, 0xc0]);
        assert_eq!(encoded(ElementKind::I32, &[-1.6, 1e10]).unwrap(), [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(encoded(ElementKind::I8, &[1.6, -300.0]).unwrap(), [2, 0x80]);
        assert_eq!(encoded(ElementKind::U8, &[-3.0, 254.6, 1e9]).unwrap(), [0, 255, 255]);
        assert!(matches!(encoded(ElementKind::I8, &[f32::NAN]), Err(Error::Engine(_))));
        assert!(matches!(encoded(ElementKind::Bits, &[1.0]), Err(Error::Engine(_))));
    }

    #[test]
    fn queries_are_counted() {
        assert_eq!(count_queries(ElementKind::F32, 3, 24).unwrap(), 2);
        assert_eq!(count_queries(ElementKind::Bits, 16, 2).unwrap(), 1);
        for (kind, dimension, bytes) in
            [(ElementKind::F32, 3, 0), (ElementKind::F32, 3, 13), (ElementKind::U8, 0, 3), (ElementKind::Bits, 9, 2)]
        {
            assert!(count_queries(kind, dimension, bytes).is_err(), "{kind:?} {dimension} {bytes}");
        }
    }
}
