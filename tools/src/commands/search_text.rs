//! The part of `broadhead search` that is about words: searches by text, alone or beside a vector.

use arrow::array::RecordBatch;
use net::client::{Collection, Fusion, FusionMethod, Hit, Id, SearchReply, SearchRequest, Text, TextQuery};
use serde_json::{Map, Value, json};

use crate::commands::json_row;
use crate::error::{RequestProblem, Result};
use crate::output::{self, Table, text_cell};

/// Arguments of a search by words.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TextArguments {
    /// Rows with these words, or what {"must": …, "should": …, "must_not": …, "phrase": …} says; with --like or --vector: rows of both lists
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,
    /// Column of text to look in [default: the only one there is]
    #[arg(long, value_name = "NAME", requires = "text")]
    pub text_column: Option<String>,
    /// How rows found by words and by vector are put together [default: rrf]
    #[arg(long, value_name = "METHOD", requires = "text")]
    pub fusion: Option<FusionName>,
    /// Of a weighted fusion: the weights of the vector and of the words [default: 0.5,0.5]
    #[arg(long, value_name = "DENSE,TEXT", requires = "fusion", value_delimiter = ',')]
    pub weights: Vec<f32>,
}

/// A method of fusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FusionName {
    /// Sum of reciprocal ranks.
    Rrf,
    /// Weighted sum of values between 0 and 1.
    Weighted,
}

impl TextArguments {
    /// The query: an object where it is one, else words.
    pub fn query(&self) -> Result<Option<Value>> {
        let Some(text) = &self.text else { return Ok(None) };
        if !matches!(self.weights.len(), 0 | 2) {
            return Err(RequestProblem::Weights { found: self.weights.len() }.into());
        }
        if !text.trim_start().starts_with('{') {
            return Ok(Some(Value::from(text.as_str())));
        }
        let query = serde_json::from_str(text).map_err(|error| RequestProblem::Text(error.to_string()))?;
        Ok(Some(query))
    }

    /// A search with what is asked here.
    pub fn apply<'a>(&'a self, query: &'a Option<Value>, request: SearchRequest<'a>) -> SearchRequest<'a> {
        let query = query.as_ref();
        let text = query.map(|query| Text {
            column: self.text_column.as_deref(),
            query: TextQuery::Json(query),
            candidates: None,
        });
        let method = self.fusion.map(|name| match (name, &self.weights[..]) {
            (FusionName::Rrf, _) => FusionMethod::Rrf { k: 60.0 },
            (FusionName::Weighted, &[dense, text]) => {
                FusionMethod::Weighted { weights: [dense, text], normalise: true }
            }
            (FusionName::Weighted, _) => FusionMethod::Weighted { weights: [0.5, 0.5], normalise: true },
        });
        let fusion = method.map(|method| Fusion { method, candidates: None });
        SearchRequest { text, fusion, ..request }
    }
}

/// Searches by words alone.
pub fn search(collection: &Collection, request: &SearchRequest<'_>) -> Result<SearchReply> {
    Ok(collection.search(request)?.wait()?)
}

/// Shows what was found.
pub fn show(reply: &SearchReply, columns: &[String], as_json: bool) {
    let hits: Vec<(usize, &Hit)> = reply.hits.iter().flatten().enumerate().collect();
    if as_json {
        let results: Vec<Value> =
            hits.iter().map(|&(place, hit)| json_of(hit, reply.columns.as_ref(), place)).collect();
        output::line(
            json!({ "query": 0, "results": results, "index_lag": reply.index_lag, "recovering": reply.is_recovering }),
        );
        reply.report.iter().for_each(output::line);
        return;
    }
    let is_hybrid = hits.iter().any(|(_, hit)| hit.sides.is_some_and(|sides| sides.dense.is_some()));
    let sides: &[&str] = if is_hybrid { &["by vector", "by words"] } else { &[] };
    let heads = ["id", "score"].into_iter().chain(sides.iter().copied());
    let mut table = Table::new(heads.chain(columns.iter().map(String::as_str)));
    for (place, hit) in hits {
        let mut cells = vec![hit.id.to_string(), hit.score.map(|score| format!("{score:.4}")).unwrap_or_default()];
        if is_hybrid {
            let sides = hit.sides.unwrap_or_default();
            let cell = |side: Option<net::client::Side>| {
                side.map_or("-".to_owned(), |side| format!("{} ({:.4})", side.rank, side.value))
            };
            cells.extend([cell(sides.dense), cell(sides.text)]);
        }
        for name in columns {
            let column = reply.columns.as_ref().and_then(|rows| rows.column_by_name(name));
            cells.push(column.map(|column| text_cell(column, place)).unwrap_or_default());
        }
        table.row(cells);
    }
    table.print();
    reply.report.iter().for_each(output::line);
}

fn json_of(hit: &Hit, rows: Option<&RecordBatch>, place: usize) -> Value {
    let mut object = Map::new();
    let id = match &hit.id {
        Id::U64(id) => Value::from(*id),
        Id::I64(id) => Value::from(*id),
        Id::Utf8(id) => Value::from(id.as_str()),
    };
    object.insert("id".to_owned(), id);
    if let Some(score) = hit.score {
        object.insert("score".to_owned(), json!(output::shortest(score)));
    }
    let sides = hit.sides.unwrap_or_default();
    for (name, value, side) in [("dense", "distance", sides.dense), ("text", "score", sides.text)] {
        if let Some(side) = side {
            object.insert(name.to_owned(), json!({ "rank": side.rank, value: output::shortest(side.value) }));
        }
    }
    if let Some(rows) = rows {
        // A column of such a name does not hide what the search found.
        json_row(rows, place).into_iter().for_each(|(name, value)| {
            object.entry(name).or_insert(value);
        });
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_words_or_an_object() {
        let query = |text: &str| TextArguments { text: Some(text.to_owned()), ..TextArguments::default() }.query();
        assert_eq!(query("a library").unwrap(), Some(json!("a library")));
        assert_eq!(query(r#" {"must": "a"}"#).unwrap(), Some(json!({"must": "a"})));
        assert!(query("{must").unwrap_err().to_string().starts_with("--text: "));
        assert_eq!(TextArguments::default().query().unwrap(), None);
        let text = Some("a".to_owned());
        let weighted = |weights: &[f32]| TextArguments {
            text: text.clone(),
            weights: weights.to_vec(),
            ..TextArguments::default()
        };
        assert!(weighted(&[0.7, 0.3]).query().is_ok());
        assert!(weighted(&[0.7]).query().unwrap_err().to_string().starts_with("--weights: "));
    }

    #[test]
    fn results_say_where_they_were_found() {
        let side = |rank, value| Some(net::client::Side { rank, value });
        let sides = Some(net::client::Sides { dense: side(3, 0.25), text: None });
        let hit = Hit { id: Id::U64(7), distance: -0.5, score: Some(0.5), sides, group: None };
        assert_eq!(json_of(&hit, None, 0), json!({"id": 7, "score": 0.5, "dense": {"rank": 3, "distance": 0.25}}));
    }
}
