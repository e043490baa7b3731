//! Searches by words, and by words and vector together.

use std::collections::{BTreeMap, BTreeSet};

use net::client::{Fusion, FusionMethod, Hit, Id, Queries, SearchRequest, Text, TextQuery, Within};
use net::codec::Status;
use serde_json::Value as Json;
use tests::model::Passing;
use tests::model::hybrid::{Side, Standing};
use tests::model::text::{SCORE_SLACK, WordQuery};
use tests::random::Random;
use tests::wait_until;

use super::searches::Rows;
use super::{NODES, World, json};

/// The columns of texts.
const COLUMNS: [&str; 2] = ["text", "prose"];

fn random_column(random: &mut Random) -> &'static str {
    COLUMNS[random.below(COLUMNS.len() as u64) as usize]
}

/// A query as it is asked.
fn text_query(query: &Json) -> TextQuery<'_> {
    query.as_str().map_or(TextQuery::Json(query), TextQuery::Words)
}

impl World<'_> {
    /// The rows that have the words that are asked for, by BM25 over all rows that live.
    pub fn search_words(&mut self) {
        let is_settled = self.is_settled();
        let (column, asked) = (random_column(&mut self.random), WordQuery::random(&mut self.random));
        let query = asked.to_json();
        let condition = self.nodes.condition(&mut self.random);
        let filter = json(condition.as_ref());
        let (k, offset) = (1 + self.random.below(40) as usize, self.random.below(3) as usize * 4);
        let passing = Passing { condition: condition.as_ref(), left_out: &[] };
        let expected = self.nodes.model.by_words(column, &asked, passing);
        // The score of one of the best, which is not known to the last bit.
        let row = expected.get(self.random.below(120) as usize).filter(|_| is_settled);
        let least = row.map(|(score, _)| *score as f32);
        let text = Text { column: Some(column), query: text_query(&query), candidates: None };
        let within = least.map(Within::ScoreMin);
        let request = SearchRequest { text: Some(text), k, offset, filter: &filter, within, ..Default::default() };
        let reply = self.nodes.collection.search(&request).expect("it is sent").wait();
        let hits = reply.unwrap_or_else(|error| panic!("{column}, {query}, {filter}: {error}")).hits.remove(0);
        let scores: BTreeMap<&Id, f64> = expected.iter().map(|(score, id)| (*id, *score)).collect();
        let [least, most] = [SCORE_SLACK, -SCORE_SLACK].map(|slack| {
            let count = match least {
                Some(least) => expected.partition_point(|row| row.0 >= f64::from(least) + slack),
                None => expected.len(),
            };
            k.min(count.saturating_sub(offset))
        });
        assert!((least..=most).contains(&hits.len()), "{column}, {query}, {filter}, {within:?}: {} hits", hits.len());
        let distinct: BTreeSet<&Id> = hits.iter().map(|hit| &hit.id).collect();
        assert_eq!(distinct.len(), hits.len(), "{column}, {query}, {filter}: each row once");
        for (hit, (best, _)) in hits.iter().zip(expected.iter().skip(offset)) {
            let got = f64::from(hit.score.expect("a search by words has scores"));
            let of_row =
                scores.get(&hit.id).unwrap_or_else(|| panic!("{column}, {query}, {filter}: {} does not pass", hit.id));
            if !is_settled {
                continue;
            }
            assert!((got - of_row).abs() <= SCORE_SLACK, "{column}, {query}: {got}, by the formula {of_row}");
            assert!((got - best).abs() <= SCORE_SLACK, "{column}, {query}, {filter}: {got} in the place of {best}");
        }
    }

    /// Rows near a vector or examples, and rows that have some words, as one list.
    pub fn search_both(&mut self) {
        if !self.is_settled() {
            return self.search_words();
        }
        let (place, kind) = self.vector_column();
        let (model, random) = (&self.nodes.model, &mut self.random);
        let (column, asked) = (random_column(random), WordQuery::random(random));
        let words = asked.to_json();
        let rows = (random.below(4) == 0).then(|| Rows::random(model, random));
        let is_incomplete = rows.as_ref().is_some_and(|rows| rows.is_incomplete(model));
        let query = match &rows {
            Some(rows) if !is_incomplete => rows.query(model, place, &kind),
            _ => kind.random(random),
        };
        let (condition, left_out) =
            (self.nodes.condition(random), rows.as_ref().map(Rows::left_out).unwrap_or_default());
        let filter = json(condition.as_ref());
        let (k, offset) = (1 + random.below(30) as usize, random.below(2) as usize * 5);
        let [of_words, of_vector] = [(); 2].map(|()| [5, 60, 10_000][random.below(3) as usize]);
        let method = random_method(random);
        let request = SearchRequest {
            column: Some(model.columns[place].name()),
            queries: Queries::Bytes(if rows.is_some() { &[] } else { &query }),
            examples: rows.as_ref().map(Rows::examples),
            text: Some(Text { column: Some(column), query: text_query(&words), candidates: Some(of_words) }),
            fusion: Some(Fusion { method, candidates: Some(of_vector) }),
            exact: true,
            k,
            offset,
            filter: &filter,
            ..Default::default()
        };
        let what = format!(
            "{kind:?}, {column}, {words}, {k} after {offset}, {of_words} and {of_vector}, {method:?}, {filter}"
        );
        let hits = match self.nodes.collection.search(&request).expect("it is sent").wait() {
            Ok(mut reply) => reply.hits.remove(0),
            Err(error) => {
                return assert!(is_incomplete && error.status() == Some(Status::RowMissing), "{what}: {error}");
            }
        };
        assert!(!is_incomplete, "{what}: an example is missing");
        let passing = Passing { condition: condition.as_ref(), left_out: &left_out };
        let nearest = model.nearest(place, &query, passing);
        let slack = |id: &Id| kind.slack(&query, model.rows[id][place].vector());
        let dense = Side {
            candidates: of_vector.max(k + offset),
            sign: -1.0,
            slack: nearest.iter().map(|(_, id)| slack(id)).fold(0.0, f64::max),
            plain: &|distance| kind.similarity(distance),
            rows: nearest,
        };
        let text = Side {
            candidates: of_words.max(k + offset),
            sign: 1.0,
            slack: SCORE_SLACK,
            plain: &|score| score,
            rows: model.by_words(column, &asked, passing),
        };
        check(&hits, &dense, &text, method, (k, offset), &what);
    }

    /// Whether scores of words are known: rows whose time is over count for them until they are deleted, which is waited for at times.
    fn is_settled(&mut self) -> bool {
        let model = &mut self.nodes.model;
        if !model.expired.is_empty() && self.random.below(6) == 0 {
            let living = model.rows.len() as u64;
            wait_until("what has expired is deleted", || {
                self.client.describe(NODES).expect("it is there").rows == living
            });
            model.expired.clear();
        }
        model.expired.is_empty()
    }
}

fn random_method(random: &mut Random) -> FusionMethod {
    match random.below(3) {
        0 => FusionMethod::Rrf { k: [60.0, 0.0, 5.0][random.below(3) as usize] },
        one => {
            let weights = [[0.5, 0.5], [1.0, 0.0], [0.25, 2.0]][random.below(3) as usize];
            FusionMethod::Weighted { weights, normalise: one == 1 }
        }
    }
}

/// Each hit is where it says it is on both sides, and has the score that follows; no row that is surely better is left out.
#[track_caller]
fn check(
    hits: &[Hit],
    dense: &Side<'_>,
    text: &Side<'_>,
    method: FusionMethod,
    (k, offset): (usize, usize),
    what: &str,
) {
    let weights = match method {
        FusionMethod::Rrf { .. } => [1.0, 1.0],
        FusionMethod::Weighted { weights, .. } => weights.map(f64::from),
    };
    let standings = [dense.standings(), text.standings()];
    let union: BTreeSet<&Id> = standings.iter().flat_map(|standings| standings.keys().copied()).collect();
    let (least, most) = (dense.taken().max(text.taken()), (dense.taken() + text.taken()).min(union.len()));
    let bounds = [least, most].map(|rows| k.min(rows.saturating_sub(offset)));
    assert!((bounds[0]..=bounds[1]).contains(&hits.len()), "{what}: {} hits, and not {bounds:?}", hits.len());
    let mut ranks = [BTreeSet::new(), BTreeSet::new()];
    let mut found: BTreeSet<&Id> = BTreeSet::new();
    for hit in hits {
        assert!(found.insert(&hit.id), "{what}: {} comes twice", hit.id);
        let sides = hit.sides.expect("a hybrid search tells them");
        let (mut least, mut most) = (0.0, 0.0);
        for (number, (side, came)) in [(dense, sides.dense), (text, sides.text)].into_iter().enumerate() {
            let standing = standings[number].get(&hit.id);
            let Some(came) = came else {
                assert!(is_left_out(standing, side), "{what}: {hit:?} is missing on side {number}: {standing:?}");
                continue;
            };
            let standing = standing.unwrap_or_else(|| panic!("{what}: {hit:?} is not on side {number}"));
            let (rank, value) = (came.rank as usize, f64::from(came.value));
            assert!((standing.ranks.0..=standing.ranks.1).contains(&rank), "{what}: {hit:?} stands at {standing:?}");
            assert!(rank <= side.taken() && ranks[number].insert(rank), "{what}: {hit:?} takes another's rank");
            assert!((value - standing.value).abs() <= side.slack, "{what}: {hit:?} has {standing:?}");
            let part = side.part(rank, standing.value, method, weights[number]);
            (least, most) = (least + part.0, most + part.1);
        }
        let score = f64::from(hit.score.expect("a hybrid search has scores"));
        let slack = rounding(score);
        assert!(score >= least - slack && score <= most + slack, "{what}: {hit:?} gets {least} to {most}");
        assert!(sides.dense.is_some() || sides.text.is_some(), "{what}: {hit:?} is nowhere");
    }
    let key =
        |hit: &Hit| hit.sides.map(|sides| [sides.dense, sides.text].map(|side| side.map_or(u32::MAX, |s| s.rank)));
    for pair in hits.windows(2) {
        let order = pair[1].score.partial_cmp(&pair[0].score).expect("numbers").then(key(&pair[0]).cmp(&key(&pair[1])));
        assert!(order.is_lt(), "{what}: {:?} before {:?}", pair[0], pair[1]);
    }
    let Some(last) = hits.last().and_then(|hit| hit.score).map(f64::from) else { return };
    // A row that is surely on a side is a result unless others are better.
    let sides = || standings.iter().zip([dense, text]).zip(weights);
    let is_candidate = |id: &&&Id| sides().any(|((standings, side), _)| !is_left_out(standings.get(**id), side));
    let least = |id: &Id| -> f64 {
        sides().map(|((standings, side), weight)| side.bounds(standings.get(id), method, weight).0).sum()
    };
    let others = union.iter().filter(|id| !found.contains(*id)).filter(is_candidate);
    let better = others.filter(|id| least(id) > last + rounding(last)).count();
    assert!(better <= offset, "{what}: {better} rows are better than the last");
}

/// Whether a row may be beyond the candidates of a side.
fn is_left_out(standing: Option<&Standing>, side: &Side<'_>) -> bool {
    standing.is_none_or(|standing| standing.ranks.1 > side.taken())
}

/// How far a sum of a few `f32` may be off.
fn rounding(score: f64) -> f64 {
    1e-6 * score.abs() + 1e-6
}
