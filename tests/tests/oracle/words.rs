//! Searches by words, and by words and vector together.

use std::collections::{BTreeMap, BTreeSet};

use net::client::{Fusion, FusionMethod, GroupBy, Hit, Id, Queries, SearchRequest, Text, TextQuery, Within};
use net::codec::Status;
use serde_json::Value as Json;
use tests::model::Passing;
use tests::model::groups::groups;
use tests::model::hybrid::{Side, Standing};
use tests::model::text::{SCORE_SLACK, WordQuery};
use tests::random::Random;
use tests::wait_until;

use super::searches::{Rows, random_grouping};
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

/// What a search by words may find.
struct Expected<'a> {
    /// Rows that pass, best first.
    rows: &'a [(f64, &'a Id)],
    /// The score that a result has at least, if that is asked for.
    least: Option<f64>,
    /// Whether scores are known.
    is_settled: bool,
    /// For messages.
    what: &'a str,
}

impl Expected<'_> {
    /// Of rows, best first, how many surely have the least score, and how many may.
    fn counts(&self, rows: &[(f64, &Id)]) -> (usize, usize) {
        let count = |slack: f64| match self.least {
            Some(least) => rows.partition_point(|row| row.0 >= least + slack),
            None => rows.len(),
        };
        (count(SCORE_SLACK), count(-SCORE_SLACK))
    }

    /// So many of these rows behind an offset come, each with its score, in their order.
    #[track_caller]
    fn check_rows(&self, hits: &[Hit], rows: &[(f64, &Id)], k: usize, offset: usize) {
        let (surely, perhaps) = self.counts(rows);
        let [least, most] = [surely, perhaps].map(|count| k.min(count.saturating_sub(offset)));
        assert!((least..=most).contains(&hits.len()), "{}: {} hits of {surely} to {perhaps}", self.what, hits.len());
        let scores: BTreeMap<&Id, f64> = rows.iter().map(|(score, id)| (*id, *score)).collect();
        for (hit, (best, _)) in hits.iter().zip(rows.iter().skip(offset)) {
            let got = f64::from(hit.score.expect("a search by words has scores"));
            let of_row = scores.get(&hit.id).unwrap_or_else(|| panic!("{}: {} does not pass", self.what, hit.id));
            if self.is_settled {
                assert!((got - of_row).abs() <= SCORE_SLACK, "{}: {got}, by the formula {of_row}", self.what);
                assert!((got - best).abs() <= SCORE_SLACK, "{}: {got} in the place of {best}", self.what);
            }
        }
    }

    /// The best groups come, and of each the best rows.
    #[track_caller]
    fn check_groups(&self, hits: &[Hit], (k, size): (usize, usize), offset: usize, value: impl Fn(&Id) -> String) {
        let groups = groups(self.rows, &value);
        let leaders: Vec<(f64, &Id)> = groups.iter().map(|rows| rows[0]).collect();
        let came: Vec<&[Hit]> = hits.chunk_by(|a, b| a.group == b.group).collect();
        let (surely, perhaps) = self.counts(&leaders);
        let [least, most] = [surely, perhaps].map(|count| k.min(count.saturating_sub(offset)));
        assert!((least..=most).contains(&came.len()), "{}: {} groups of {surely} to {perhaps}", self.what, came.len());
        let mut seen = BTreeSet::new();
        for (number, hits) in came.into_iter().enumerate() {
            let of_group = value(&hits[0].id);
            assert!(hits.iter().all(|hit| hit.group == Some(number as u32)), "{}: group after group", self.what);
            let rows = groups.iter().find(|rows| value(rows[0].1) == of_group);
            let rows = rows.unwrap_or_else(|| panic!("{}: {of_group} is no group", self.what));
            self.check_rows(hits, rows, size, 0);
            let (got, best) = (hits[0].score.map_or(0.0, f64::from), leaders[offset + number].0);
            assert!(
                !self.is_settled || (got - best).abs() <= SCORE_SLACK,
                "{}: a group at {got} in the place of {best}",
                self.what
            );
            assert!(seen.insert(of_group), "{}: a group comes twice", self.what);
        }
    }
}

impl World<'_> {
    /// The rows that have the words that are asked for, by BM25 over all rows that live; in groups at times.
    pub fn search_words(&mut self) {
        let is_settled = self.is_settled();
        let (model, random) = (&self.nodes.model, &mut self.random);
        let (column, query) = (random_column(random), WordQuery::random(random));
        let condition = self.nodes.condition(random);
        let grouping = (random.below(3) == 0).then(|| random_grouping(model, random));
        let passing = Passing { condition: condition.as_ref(), left_out: &[] };
        let rows = model.by_words(column, &query, passing);
        // The score of one of the best, which is not known to the last bit.
        let least = rows.get(random.below(120) as usize).filter(|_| is_settled).map(|(score, _)| *score as f32);
        let (query, filter) = (query.to_json(), json(condition.as_ref()));
        let (k, offset) = (1 + random.below(if grouping.is_some() { 12 } else { 40 }), random.below(3) * 4);
        let (k, offset, within) = (k as usize, offset as usize, least.map(Within::ScoreMin));
        let name = |place: usize| model.columns[place].name();
        let request = SearchRequest {
            text: Some(Text { column: Some(column), query: text_query(&query), candidates: None }),
            k,
            offset,
            filter: &filter,
            within,
            grouping: grouping.map(|(place, size)| GroupBy { column: name(place), size }),
            ..Default::default()
        };
        let what =
            format!("{column}, {query}, {k} after {offset}, {within:?}, {:?}, {filter}", request.grouping.as_ref());
        let reply = self.nodes.collection.search(&request).expect("it is sent").wait();
        let hits = reply.unwrap_or_else(|error| panic!("{what}: {error}")).hits.remove(0);
        let distinct: BTreeSet<&Id> = hits.iter().map(|hit| &hit.id).collect();
        assert_eq!(distinct.len(), hits.len(), "{what}: each row once");
        let expected = Expected { rows: &rows, least: least.map(f64::from), is_settled, what: &what };
        match grouping {
            None => expected.check_rows(&hits, &rows, k, offset),
            Some((place, size)) => {
                let value = |id: &Id| model.rows[id][place].group();
                expected.check_groups(&hits, (k, size), offset, value);
            }
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
        // What some row may get, which is not known to the last bit.
        let ids: BTreeSet<&Id> = dense.rows.iter().chain(&text.rows).map(|row| row.1).collect();
        let id = ids.iter().nth(random.below(3 * ids.len().max(1) as u64) as usize);
        let within = id.map(|id| Within::ScoreMin(middle(id, [&dense, &text], method) as f32));
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
            within,
            ..Default::default()
        };
        let what = format!(
            "{kind:?}, {column}, {words}, {k} after {offset}, {of_words} and {of_vector}, {method:?}, {within:?}, {filter}"
        );
        let hits = match self.nodes.collection.search(&request).expect("it is sent").wait() {
            Ok(mut reply) => reply.hits.remove(0),
            Err(error) => {
                return assert!(is_incomplete && error.status() == Some(Status::RowMissing), "{what}: {error}");
            }
        };
        assert!(!is_incomplete, "{what}: an example is missing");
        check(&hits, &dense, &text, method, (k, offset), within, &what);
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

fn weights_of(method: FusionMethod) -> [f64; 2] {
    match method {
        FusionMethod::Rrf { .. } => [1.0, 1.0],
        FusionMethod::Weighted { weights, .. } => weights.map(f64::from),
    }
}

/// What a row may get of both sides, between the least and the most.
fn middle(id: &Id, sides: [&Side<'_>; 2], method: FusionMethod) -> f64 {
    let of_side = |(side, weight): (&Side<'_>, f64)| {
        let (least, most) = side.bounds(side.standings().get(id), method, weight);
        (least + most) / 2.0
    };
    sides.into_iter().zip(weights_of(method)).map(of_side).sum()
}

/// Each hit is where it says it is on both sides, and has the score that follows; no row that is surely better is left out.
#[track_caller]
fn check(
    hits: &[Hit],
    dense: &Side<'_>,
    text: &Side<'_>,
    method: FusionMethod,
    (k, offset): (usize, usize),
    within: Option<Within>,
    what: &str,
) {
    let weights = weights_of(method);
    let standings = [dense.standings(), text.standings()];
    let union: BTreeSet<&Id> = standings.iter().flat_map(|standings| standings.keys().copied()).collect();
    let sides = || standings.iter().zip([dense, text]).zip(weights);
    let is_candidate = |id: &&&Id| sides().any(|((standings, side), _)| !is_left_out(standings.get(**id), side));
    let bounds_of = |id: &Id| {
        sides().fold((0.0, 0.0), |sum: (f64, f64), ((standings, side), weight)| {
            let part = side.bounds(standings.get(id), method, weight);
            (sum.0 + part.0, sum.1 + part.1)
        })
    };
    let (mut least, mut most) = (dense.taken().max(text.taken()), (dense.taken() + text.taken()).min(union.len()));
    if let Some(Within::ScoreMin(score)) = within {
        assert!(hits.iter().all(|hit| hit.score >= Some(score)), "{what}: {hits:?}");
        let score = f64::from(score);
        let surely = |id: &&&Id| bounds_of(id).0 >= score + rounding(score);
        least = union.iter().filter(is_candidate).filter(surely).count();
        most = most.min(union.iter().filter(|id| bounds_of(id).1 >= score - rounding(score)).count());
    }
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
    let others = union.iter().filter(|id| !found.contains(*id)).filter(is_candidate);
    let better = others.filter(|id| bounds_of(id).0 > last + rounding(last)).count();
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
