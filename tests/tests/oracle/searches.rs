//! Searches by vectors and by examples.

use std::collections::BTreeSet;

use net::client::{Examples, GroupBy, Hit, Id, Queries, SearchReply, SearchRequest, Within};
use net::codec::Status;
use tests::model::condition::Condition;
use tests::model::groups::groups;
use tests::model::value::cell;
use tests::model::vector::{Index, VectorKind};
use tests::model::{Kind, Model, Passing};
use tests::random::Random;

use super::{World, json};

/// Candidates of a search by graph, and of one for what lies between rows.
const EF: usize = 128;
const EF_BETWEEN: usize = 250;
/// At most so many where they are no more than the results: so few that the graph is asked, filter or not, and that rows may be missed.
const EF_FEW: usize = 8;
/// What the graph has to find of what is nearest, over all plain searches of a vector column, and over those with more options.
const RECALL_MIN: f64 = 0.95;
const RECALL_MIN_OPTIONS: f64 = 0.9;
/// Recall of fewer rows than this says nothing.
const WANTED_MIN: usize = 500;

/// How many rows were found of those that should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    found: usize,
    wanted: usize,
}

impl Share {
    #[track_caller]
    fn check(&self, name: &str, least: f64) {
        let recall = self.found as f64 / self.wanted.max(1) as f64;
        println!("{name}: recall {recall:.4} of {}", self.wanted);
        assert!(self.wanted < WANTED_MIN || recall >= least, "{name}: recall {recall:.4} of {}", self.wanted);
    }
}

/// What the graph found in a column.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recall {
    plain: Share,
    options: Share,
}

impl Recall {
    #[track_caller]
    pub fn check(&self, kind: &VectorKind) {
        let name = format!("{}, {:?}", kind.name(), kind.index);
        self.plain.check(&name, RECALL_MIN);
        self.options.check(&format!("{name} with options"), RECALL_MIN_OPTIONS);
    }
}

/// Rows that a query is made of.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    like: Vec<Id>,
    unlike: Vec<Id>,
    include: bool,
}

impl Rows {
    /// Some rows, of which one may not be there.
    pub fn random(model: &Model, random: &mut Random) -> Rows {
        let (liked, all) = (1 + random.below(3) as usize, 1 + random.below(5) as usize);
        let mut ids: Vec<Id> = Vec::new();
        for _ in 0..all.max(liked) {
            let mut id = model.random_id(random);
            // Mostly one that is.
            if random.below(20) > 0 && !model.rows.contains_key(&id) {
                let next = model.rows.range(&id..).next().or_else(|| model.rows.iter().next());
                id = next.map_or(id, |(id, _)| id.clone());
            }
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let unlike = ids.split_off(liked.min(ids.len()));
        Rows { like: ids, unlike, include: random.below(3) == 0 }
    }

    fn all(&self) -> impl Iterator<Item = &Id> {
        self.like.iter().chain(&self.unlike)
    }

    /// Whether one is missing.
    pub fn is_incomplete(&self, model: &Model) -> bool {
        self.all().any(|id| !model.rows.contains_key(id))
    }

    /// Those that are no results.
    pub fn left_out(&self) -> Vec<Id> {
        if self.include { Vec::new() } else { self.all().cloned().collect() }
    }

    /// As they are asked for.
    pub fn examples(&self) -> Examples<'_> {
        Examples { like: &self.like, unlike: &self.unlike, include: self.include }
    }

    /// The query that they make.
    pub fn query(&self, model: &Model, place: usize, kind: &VectorKind) -> Vec<u8> {
        let vectors = |ids: &[Id]| -> Vec<Vec<f64>> {
            ids.iter().map(|id| kind.decode(model.rows[id][place].vector())).collect()
        };
        kind.store(&kind.blend(&vectors(&self.like), &vectors(&self.unlike)))
    }
}

/// A search by vectors.
struct Asked {
    place: usize,
    kind: VectorKind,
    exact: bool,
    ef: usize,
    k: usize,
    offset: usize,
    within: Option<Within>,
    /// Column whose values make groups, and rows of each.
    grouping: Option<(usize, usize)>,
    scores: bool,
    /// For messages.
    filter: String,
}

/// What may be found for a query.
struct Expected<'a> {
    query: &'a [u8],
    /// Rows that pass and may be within the threshold, nearest first.
    perhaps: Vec<(f64, &'a Id)>,
    /// Those of them that surely are.
    surely: Vec<(f64, &'a Id)>,
}

impl World<'_> {
    /// A random vector column.
    pub fn vector_column(&mut self) -> (usize, VectorKind) {
        let vectors: Vec<(usize, VectorKind)> =
            self.nodes.model.vectors().map(|(place, kind)| (place, *kind)).collect();
        vectors[self.random.below(vectors.len() as u64) as usize]
    }

    /// A search with some options, exact or by graph.
    pub fn search(&mut self, exact: bool) {
        let (place, kind) = self.vector_column();
        let (model, random) = (&self.nodes.model, &mut self.random);
        let rows = (random.below(5) == 0).then(|| Rows::random(model, random));
        let queries: Vec<Vec<u8>> = match &rows {
            Some(rows) if rows.is_incomplete(model) => Vec::new(),
            Some(rows) => vec![rows.query(model, place, &kind)],
            None => (0..1 + random.below(6)).map(|_| kind.random(random)).collect(),
        };
        let (condition, left_out) =
            (self.nodes.condition(random), rows.as_ref().map(Rows::left_out).unwrap_or_default());
        let passing = Passing { condition: condition.as_ref(), left_out: &left_out };
        let grouping = (random.below(4) == 0).then(|| random_grouping(model, random));
        let within = match queries.first() {
            Some(query) if random.below(3) == 0 => {
                random_threshold(&kind, &model.nearest(place, query, passing), random)
            }
            _ => None,
        };
        let is_few = random.below(3) == 0;
        let (few, most) = if is_few { (EF_FEW as u64, 1) } else { (20, 3) };
        let k = 1 + random.below(if grouping.is_some() { 6 } else { few }) as usize;
        let ef = match rows {
            _ if is_few => k,
            Some(_) => EF_BETWEEN,
            None => EF,
        };
        let asked = Asked {
            place,
            kind,
            exact,
            ef,
            k,
            offset: random.below(most) as usize * 4,
            within,
            grouping,
            scores: random.below(2) == 0,
            filter: json(condition.as_ref()),
        };
        let columns: Vec<usize> = (0..random.below(3)).map(|_| random.below(place as u64) as usize).collect();
        match self.ask(&asked, rows.as_ref(), &queries, &columns) {
            Ok(reply) => {
                self.check_columns(&reply, &columns);
                let is_scan = |report: &String| report.contains(r#""plan":"scan""#);
                assert_eq!(reply.report.as_ref().map(is_scan), (kind.index == Index::Flat).then_some(true));
                self.check_reply(&asked, &reply.hits, &queries, condition.as_ref(), &left_out, rows.is_none());
            }
            Err(error) => {
                assert_eq!(error.status(), Some(Status::RowMissing), "{}, {}: {error}", asked.name(self), asked.filter);
                assert!(queries.is_empty(), "{error}");
            }
        }
    }

    fn ask(
        &self,
        asked: &Asked,
        rows: Option<&Rows>,
        queries: &[Vec<u8>],
        columns: &[usize],
    ) -> net::Result<SearchReply> {
        let column = |place: &usize| self.nodes.model.columns[*place].name();
        let columns: BTreeSet<&str> = columns.iter().map(column).collect();
        let columns: Vec<&str> = columns.into_iter().collect();
        let queries = if rows.is_some() { Vec::new() } else { queries.concat() };
        let request = SearchRequest {
            column: Some(column(&asked.place)),
            queries: Queries::Bytes(&queries),
            examples: rows.map(Rows::examples),
            k: asked.k,
            ef: (!asked.exact).then_some(asked.ef),
            exact: asked.exact,
            columns: &columns,
            filter: &asked.filter,
            offset: asked.offset,
            within: asked.within,
            grouping: asked.grouping.as_ref().map(|(place, size)| GroupBy { column: column(place), size: *size }),
            score: asked.scores,
            explain: asked.kind.index == Index::Flat,
            ..Default::default()
        };
        self.nodes.collection.search(&request).expect("it is sent").wait()
    }

    /// Columns that came with the hits are those of the rows.
    fn check_columns(&self, reply: &SearchReply, columns: &[usize]) {
        let Some(batch) = &reply.columns else { return assert!(columns.is_empty()) };
        for (row, hit) in reply.hits.iter().flatten().enumerate() {
            for &place in columns {
                let (name, expected) = (self.nodes.model.columns[place].name(), &self.nodes.model.rows[&hit.id][place]);
                assert_eq!(cell(&batch[name], row), *expected, "{name} of {}", hit.id);
            }
        }
    }

    fn check_reply(
        &mut self,
        asked: &Asked,
        hits: &[Vec<Hit>],
        queries: &[Vec<u8>],
        condition: Option<&Condition>,
        left_out: &[Id],
        is_plain: bool,
    ) {
        assert_eq!(hits.len(), queries.len(), "{}", asked.filter);
        let recall = self.recall.entry(asked.place).or_default();
        let is_plain = is_plain && asked.within.is_none() && asked.grouping.is_none();
        let share = match (asked.ef, is_plain) {
            (..=EF_FEW, _) => &mut Share::default(),
            (_, true) => &mut recall.plain,
            (_, false) => &mut recall.options,
        };
        for (query, hits) in queries.iter().zip(hits) {
            let model = &self.nodes.model;
            let perhaps = model.nearest(asked.place, query, Passing { condition, left_out });
            let mut expected = Expected { query, surely: perhaps.clone(), perhaps };
            asked.cut(&mut expected, model);
            match asked.grouping {
                None => asked.check_hits(hits, &expected, model, share),
                Some((column, size)) => asked.check_groups(hits, &expected, (column, size), model, share),
            }
        }
    }
}

/// A column that has groups, and a number of rows of each.
pub fn random_grouping(model: &Model, random: &mut Random) -> (usize, usize) {
    let has_groups =
        |&place: &usize| model.columns[place].kind == Kind::Scalar && model.columns[place].name() != "tags";
    let columns: Vec<usize> = (0..model.columns.len()).filter(has_groups).collect();
    (columns[random.below(columns.len() as u64) as usize], 1 + random.below(4) as usize)
}

/// A threshold where one of the nearer rows is, so that it counts itself, or at some distance of its own.
fn random_threshold(kind: &VectorKind, nearest: &[(f64, &Id)], random: &mut Random) -> Option<Within> {
    let rows = nearest.len().min(40) as u64;
    let (distance, _) = nearest[random.below(rows.max(1)).min(rows.checked_sub(1)?) as usize];
    let distance = if kind.metric == "dot" { distance } else { distance.max(0.0) };
    Some(match random.below(2) {
        0 => Within::DistanceMax(distance as f32),
        _ => Within::ScoreMin(kind.similarity(distance) as f32),
    })
}

impl Asked {
    fn name<'a>(&self, world: &'a World<'_>) -> &'a str {
        world.nodes.model.columns[self.place].name()
    }

    fn what(&self) -> String {
        let Asked { kind, exact, ef, k, offset, within, grouping, filter, .. } = self;
        format!("{kind:?}, exact {exact}, ef {ef}, {k} after {offset}, {within:?}, {grouping:?}, {filter}")
    }

    /// Whether nothing may be missed: it is asked for, or there is no graph.
    fn is_exact(&self) -> bool {
        self.exact || self.kind.index == Index::Flat
    }

    fn slack(&self, query: &[u8], id: &Id, model: &Model) -> f64 {
        self.kind.slack(query, model.rows[id][self.place].vector())
    }

    /// Leaves those within the threshold.
    fn cut(&self, expected: &mut Expected<'_>, model: &Model) {
        let Some(within) = self.within else { return };
        // How far within a row is, if its distance is off by so much and so is the threshold.
        let margin = |&(distance, id): &(f64, &Id), sign: f64| {
            let distance = distance + sign * self.slack(expected.query, id, model);
            match within {
                Within::DistanceMax(most) => f64::from(most) - distance,
                Within::ScoreMin(least) => {
                    let blur = if self.kind.element == "bits" { 0.0 } else { 1e-6 * f64::from(least).abs() };
                    self.kind.similarity(distance) - f64::from(least) - sign * blur
                }
            }
        };
        expected.surely.retain(|row| margin(row, 1.0) >= 0.0);
        expected.perhaps.retain(|row| margin(row, -1.0) >= 0.0);
    }

    /// Whether so many came as may, of rows or groups that surely or perhaps count.
    #[track_caller]
    fn check_count(&self, came: usize, most: usize, (surely, perhaps): (usize, usize), offset: usize) {
        let bounds = [surely, perhaps].map(|count| most.min(count.saturating_sub(offset)));
        // Through the graph nothing promises that all within a threshold are found.
        let least = if self.is_exact() || self.within.is_none() { bounds[0] } else { 0 };
        assert!((least..=bounds[1]).contains(&came), "{}: {came}, of {surely} to {perhaps}", self.what());
    }

    #[track_caller]
    fn check_hits(&self, hits: &[Hit], expected: &Expected<'_>, model: &Model, share: &mut Share) {
        let counts = (expected.surely.len(), expected.perhaps.len());
        self.check_count(hits.len(), self.k, counts, self.offset);
        let end = (self.offset + hits.len()).min(expected.perhaps.len());
        let hits: Vec<&Hit> = hits.iter().collect();
        self.check_passing(&hits, expected);
        self.hold(&hits, &expected.perhaps[self.offset.min(end)..end], expected.query, model, share);
    }

    /// Every hit may be found, and comes once.
    #[track_caller]
    fn check_passing(&self, hits: &[&Hit], expected: &Expected<'_>) {
        let passing: BTreeSet<&Id> = expected.perhaps.iter().map(|row| row.1).collect();
        let mut seen = BTreeSet::new();
        for hit in hits {
            assert!(passing.contains(&hit.id), "{}: {} is gone, or does not pass", self.what(), hit.id);
            assert!(seen.insert(&hit.id), "{}: {} comes twice", self.what(), hit.id);
        }
    }

    /// The nearest groups, and of each the nearest rows.
    #[track_caller]
    fn check_groups(
        &self,
        hits: &[Hit],
        expected: &Expected<'_>,
        (column, size): (usize, usize),
        model: &Model,
        share: &mut Share,
    ) {
        let value = |id: &Id| model.rows[id][column].group();
        let [surely, perhaps] = [&expected.surely, &expected.perhaps].map(|rows| groups(rows, value));
        self.check_passing(&hits.iter().collect::<Vec<_>>(), expected);
        let came: Vec<Vec<&Hit>> = hits.chunk_by(|a, b| a.group == b.group).map(|hits| hits.iter().collect()).collect();
        self.check_count(came.len(), self.k, (surely.len(), perhaps.len()), self.offset);
        let first: Vec<&Hit> = came.iter().map(|hits| hits[0]).collect();
        let leaders: Vec<(f64, &Id)> = perhaps.iter().skip(self.offset).take(came.len()).map(|rows| rows[0]).collect();
        self.hold(&first, &leaders, expected.query, model, share);
        let mut seen = BTreeSet::new();
        for (number, hits) in came.iter().enumerate() {
            let of_group = value(&hits[0].id);
            assert!(hits.iter().all(|hit| hit.group == Some(number as u32)), "{}: group after group", self.what());
            assert!(hits.iter().all(|hit| value(&hit.id) == of_group), "{}: not all are {of_group}", self.what());
            let is_it = |rows: &&Vec<(f64, &Id)>| value(rows[0].1) == of_group;
            let rows = perhaps.iter().find(is_it).expect("its hits pass");
            let sure = surely.iter().find(is_it).map_or(0, Vec::len);
            let least = if self.is_exact() { size.min(sure) } else { 1 };
            assert!((least..=size.min(rows.len())).contains(&hits.len()), "{}: {} rows", self.what(), hits.len());
            self.hold(hits, &rows[..hits.len()], expected.query, model, share);
            assert!(seen.insert(of_group), "{}: a group comes twice", self.what());
        }
    }

    /// Hits come in order, at the distance of the formula and with its similarity; exact ones are those that should be, but for rounding.
    #[track_caller]
    fn hold(&self, hits: &[&Hit], expected: &[(f64, &Id)], query: &[u8], model: &Model, share: &mut Share) {
        assert!(hits.is_sorted_by(|a, b| a.distance <= b.distance), "{}: hits in order", self.what());
        share.wanted += if self.is_exact() { 0 } else { expected.len() };
        for (hit, &(wanted, id)) in hits.iter().zip(expected) {
            let got = f64::from(hit.distance);
            let slack = self.slack(query, &hit.id, model);
            let distance = self.kind.distance(query, model.rows[&hit.id][self.place].vector());
            assert!((got - distance).abs() <= slack, "{}: {hit:?}, by the formula {distance}", self.what());
            let slack = 2.0 * (slack + self.slack(query, id, model));
            assert!(
                !self.is_exact() || (got - wanted).abs() <= slack,
                "{}: {hit:?} in place of {id} at {wanted}",
                self.what()
            );
            let similarity = self.kind.similarity(got);
            let is_right = |score: f32| (f64::from(score) - similarity).abs() <= 1e-6 * similarity.abs() + 1e-7;
            assert_eq!(hit.score.map(is_right), self.scores.then_some(true), "{}: {hit:?}", self.what());
        }
        if let (Some((farthest, id)), false) = (expected.last(), self.is_exact()) {
            let farthest = farthest + 2.0 * self.slack(query, id, model);
            share.found += hits.iter().filter(|hit| f64::from(hit.distance) <= farthest).count();
        }
    }
}
