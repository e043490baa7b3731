//! Searches by text, and by text and vector together.
//!
//! Each shard has the index of its own rows. The shard that got the query gathers the statistics of all first, so that a score is the same
//! wherever a row lives, and then the best rows of each by them. An index is brought up to date before it says anything.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::batch;
use engine::collection::{Collection, memory_in_use};
use engine::search::{Fused, Search, SearchOptions, SearchRequest, Side, Sides, TextExplain, Threshold, similarity};
use engine::shard::executor::{self, Class};
use engine::shard::text::text_column;
use engine::shard::{Message, Progress, TextRequest, TextSearch};
use engine::text::{Query, Statistics, TextHit};
use engine::{Error, limits};
use serde_json::{Value, json};

use super::context::Context;
use super::examples;
use super::searches;
use super::session::SessionId;
use super::tasks::{self, Outcome};
use super::writes::Refusal;
use crate::codec::{self, Extras, FoundPrefix, Header};

/// How often idle time looks at indexes that had nothing to do, and whether there are any.
const IDLE_WAIT: Duration = Duration::from_millis(20);
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// How often words are looked for anew where rows were replaced or moved between this and the search by vector.
const ATTEMPTS: usize = 3;
/// Steps of an index after which it is looked whether there is memory for more.
const STEPS_A_LOOK: usize = 16;

/// Checks a search by text alone and starts it.
pub fn spawn_search(
    context: &Rc<Context>,
    session: SessionId,
    header: Header,
    asked: &codec::Search<'_>,
    options: &SearchOptions,
) -> Result<(), Refusal> {
    let collection = context.collection(header.collection)?;
    let k = asked.k as usize;
    let held = check(options, k)?;
    if options.fusion.is_some() {
        return Err(refused("fusion", "there is nothing to fuse: the search has no vectors").into());
    }
    let request = request_of(&collection, asked, options, held)?;
    let (offset, least, explain) = (options.offset, least_score(options), options.explain);
    let columns = tasks::chosen(&collection, asked.columns)?;
    let task = context.clone();
    tasks::spawn(context, session, header, async move {
        // What is found stays where it is until the reply is made.
        let _pin = collection.region.pin();
        let Found { mut hits, told } = find(&task, request, explain).await?;
        task.metrics.queries.add(1);
        hits.retain(|hit| hit.score >= least);
        let fused = |(hit, rank): (&TextHit, u32)| {
            let text = Some(Side { rank, value: hit.score });
            Fused { row: hit.row, score: hit.score, sides: Sides { dense: None, text } }
        };
        let rows: Vec<Fused> = hits.iter().zip(1..).skip(offset).map(fused).collect();
        let report = told.map(|told| json!({ "explain": told }));
        encode(&header, &collection, &rows, &columns, k, report)
    });
    Ok(())
}

/// Starts a search by vector and text. Of `request` what is left to do is what the text and the examples say.
pub fn spawn_hybrid(
    context: &Rc<Context>,
    session: SessionId,
    header: Header,
    asked: &codec::Search<'_>,
    mut request: SearchRequest,
    options: SearchOptions,
) -> Result<(), Refusal> {
    let collection = context.collection(header.collection)?;
    let (k, offset) = (asked.k as usize, options.offset);
    let held = check(&options, k)?;
    match &options.examples {
        Some(examples) => searches::ask_by(examples, &mut request)?,
        None if request.count == 1 => {}
        None => return Err(refused("text", "it goes with one vector").into()),
    }
    let candidates = options.text.as_ref().map_or(held, |text| text.candidates(held));
    // Those that are left out take no place of another.
    let left_out = request.left_out.as_ref().map_or(0, |ids| ids.view().len());
    let text = request_of(&collection, asked, &options, candidates + left_out)?;
    let fusion = options.fusion.clone().unwrap_or_default();
    // A threshold is one of the scores that the fusion gives.
    (request.k, request.offset, request.threshold) = (fusion.candidates(held), 0, None);
    searches::choose_ef(&mut request, asked.ef as usize);
    request.ef = request.ef.max(request.k);
    let columns = tasks::chosen(&collection, asked.columns)?;
    if options.examples.is_none() {
        request.check(&collection)?;
    }
    let task = context.clone();
    tasks::spawn(context, session, header, async move {
        let _pin = collection.region.pin();
        if let Some(examples) = &options.examples {
            request.queries = examples::query(&task, &collection, request.vector, examples).await?;
        }
        let (Found { hits: text, told }, mut search) =
            find_both(&task, &collection, &request, text, candidates, options.explain).await?;
        if options.explain {
            search.explain();
        }
        let dense = searches::find_nearest(&task, &mut search).await?.pop().unwrap_or_default();
        task.metrics.queries.add(1);
        let column = &collection.spec.schema.vectors()[request.vector];
        let similarity = |distance| similarity(column.metric, column.dimension, distance);
        let mut rows = fusion.fuse(&dense, &text, held, similarity);
        let least = least_score(&options);
        rows.retain(|row| row.score >= least);
        let report = search.explanation().map(|dense| {
            let mut explain = json!(dense);
            explain["text"] = json!(told);
            json!({ "explain": explain })
        });
        encode(&header, &collection, rows.get(offset..).unwrap_or_default(), &columns, k, report)
    });
    Ok(())
}

/// The `candidates` best rows by their words, and a search by vector that sees all of them.
async fn find_both(
    context: &Rc<Context>,
    collection: &Arc<Collection>,
    request: &SearchRequest,
    text: Arc<TextRequest>,
    candidates: usize,
    explain: bool,
) -> engine::Result<(Found, Search)> {
    let region = &collection.region;
    let mut attempts_left = ATTEMPTS;
    loop {
        let Found { hits: mut found, told } = find(context, text.clone(), explain).await?;
        let search = Search::begin(collection.clone(), request.clone())?;
        attempts_left -= 1;
        // Rows that were replaced or moved meanwhile are found by their vectors as they are now: no id is to come twice.
        if attempts_left == 0 {
            found.retain(|hit| search.sees(hit.row));
        }
        if !found.iter().all(|hit| search.sees(hit.row)) {
            continue;
        }
        if let Some(left_out) = &request.left_out {
            found.retain(|hit| !left_out.view().iter().any(|id| id == region.id(hit.row)));
        }
        found.truncate(candidates);
        return Ok((Found { hits: found, told }, search));
    }
}

/// Refuses what does not go with a search by words; gives how many rows are held for the answer.
fn check(options: &SearchOptions, k: usize) -> Result<usize, Error> {
    if matches!(options.threshold, Some(Threshold::DistanceMax(_))) {
        return Err(refused("distance_max", "it does not go with `text`, which `score_min` does"));
    }
    if options.grouping.is_some() {
        return Err(refused("text", "it goes with no grouping"));
    }
    let held = k.saturating_add(options.offset);
    match k {
        0 => Err(Error::InvalidSearch { problem: "k is 0" }),
        _ if held <= limits::K_MAX => Ok(held),
        _ => {
            let (value, limit) = (held as u64, limits::K_MAX as u64);
            Err(Error::LimitExceeded { what: "offset and k together", value, limit })
        }
    }
}

/// The least score that a row is to have.
fn least_score(options: &SearchOptions) -> f32 {
    match options.threshold {
        Some(Threshold::ScoreMin(least)) => least,
        _ => f32::NEG_INFINITY,
    }
}

fn refused(option: &str, problem: &'static str) -> Error {
    Error::InvalidOption { option: option.to_owned(), problem }
}

fn request_of(
    collection: &Arc<Collection>,
    asked: &codec::Search<'_>,
    options: &SearchOptions,
    k: usize,
) -> Result<Arc<TextRequest>, Refusal> {
    let schema = &collection.spec.schema;
    let text = options.text.as_ref().expect("the caller saw it");
    let column = text_column(schema, text.column.as_deref())?;
    let query = Query::parse(&text.query, schema.analyser(column))?;
    let filter = tasks::filter(collection, asked.filter)?;
    Ok(Arc::new(TextRequest { collection: collection.clone(), column, query, k, filter }))
}

// ---- all shards ----

/// What was found by words.
struct Found {
    /// The best rows of all shards, best first.
    hits: Vec<TextHit>,
    /// How, where that is to be told.
    told: Option<TextExplain>,
}

/// Finds the best rows of all shards.
async fn find(context: &Rc<Context>, request: Arc<TextRequest>, explain: bool) -> engine::Result<Found> {
    let began = explain.then(Instant::now);
    if request.query.is_empty() {
        let nothing = Statistics::default();
        let told = began.map(|_| TextExplain::new(&request.collection, &request.query, &nothing, 0));
        return Ok(Found { hits: Vec::new(), told });
    }
    let ticket = context.mailbox.expect(context.shards);
    for shard in (0..context.shards).filter(|&shard| shard != context.index) {
        context.mailbox.send(shard, Message::TextStatistics { ticket, request: request.clone() });
    }
    spawn_statistics(context, context.index, ticket, request.clone());
    let mut sum: Option<Statistics> = None;
    for answer in context.mailbox.answers(ticket).await {
        let Message::TextCounted { statistics, .. } = answer else { unreachable!("answers with statistics") };
        let statistics = statistics?;
        match &mut sum {
            Some(sum) => sum.add(&statistics),
            None => sum = Some(statistics),
        }
    }
    let statistics = Arc::new(sum.expect("there is a shard"));
    let counted = explain.then(Instant::now);
    let ticket = context.mailbox.expect(context.shards);
    for shard in (0..context.shards).filter(|&shard| shard != context.index) {
        let (request, statistics) = (request.clone(), statistics.clone());
        context.mailbox.send(shard, Message::TextSearch { ticket, request, statistics });
    }
    spawn_text_search(context, context.index, ticket, request.clone(), statistics.clone());
    let (mut hits, mut scored_rows) = (Vec::new(), 0);
    for answer in context.mailbox.answers(ticket).await {
        let Message::TextFound { found, .. } = answer else { unreachable!("answers with rows") };
        let (of_shard, scored) = found?;
        hits.extend(of_shard);
        scored_rows += scored;
    }
    hits.sort_unstable_by(|a, b| b.cmp(a));
    hits.truncate(request.k);
    let told = began.zip(counted).map(|(began, counted)| {
        let mut told = TextExplain::new(&request.collection, &request.query, &statistics, scored_rows);
        told.add_time(counted - began, counted.elapsed());
        told
    });
    Ok(Found { hits, told })
}

/// Says what the documents of this shard say to a query.
pub fn spawn_statistics(context: &Rc<Context>, from: usize, ticket: u64, request: Arc<TextRequest>) {
    let task = context.clone();
    context.begin_help();
    executor::spawn(Class::Serve, async move {
        let statistics = up_to_date(&task, &request, |text| text.statistics(&request.query)).await;
        answer(&task, from, ticket, Message::TextCounted { ticket, statistics });
        task.end_help();
    });
}

/// Finds the best rows of this shard, by the statistics of all.
pub fn spawn_text_search(
    context: &Rc<Context>,
    from: usize,
    ticket: u64,
    request: Arc<TextRequest>,
    statistics: Arc<Statistics>,
) {
    let task = context.clone();
    context.begin_help();
    executor::spawn(Class::Serve, async move {
        let search = up_to_date(&task, &request, |text| text.search(request.clone())).await;
        let found = match search {
            Ok(search) => Ok(run(search, &statistics).await),
            Err(error) => Err(error),
        };
        answer(&task, from, ticket, Message::TextFound { ticket, found });
        task.end_help();
    });
}

async fn run(mut search: TextSearch, statistics: &Statistics) -> (Vec<TextHit>, u64) {
    while search.step(statistics) {
        executor::yield_if_needed().await;
    }
    search.into_hits()
}

fn answer(context: &Context, to: usize, ticket: u64, message: Message) {
    if to == context.index {
        context.mailbox.answer(ticket, 1, message);
    } else {
        context.mailbox.send(to, message);
    }
}

/// Brings the index of this shard to where every row is in it that is published now, and asks it, before anything else happens here.
async fn up_to_date<R>(
    context: &Context,
    request: &TextRequest,
    ask: impl FnOnce(&mut engine::shard::TextColumn) -> R,
) -> engine::Result<R> {
    let (collection, region) = (request.collection.spec.id, &request.collection.region);
    let to = region.published(context.index);
    for steps in 0.. {
        let is_there = {
            let partition = context.partition.borrow();
            let member = partition.member(collection)?;
            // A column that is being added may not have come here yet.
            if request.column >= member.collection.spec.schema.columns().len() {
                return Err(Error::UnknownColumn { name: format!("#{}", request.column) });
            }
            member.has_text(request.column)
        };
        if steps % STEPS_A_LOOK == 0 && (!is_there || steps > 0) {
            check_memory(context)?;
        }
        {
            let mut partition = context.partition.borrow_mut();
            let text = partition.member_mut(collection)?.text_mut(request.column);
            if text.step(to) == Progress::Ready {
                return Ok(ask(text));
            }
        }
        executor::yield_if_needed().await;
        if context.is_stopping() {
            return Err(Error::Stopping);
        }
    }
    unreachable!("the loop has no end")
}

/// Refuses to go on with an index where the memory budget is used up.
fn check_memory(context: &Context) -> engine::Result<()> {
    let (in_use, budget) = (memory_in_use(context.collections.borrow().values()), context.server.memory_budget());
    if budget > 0 && in_use >= budget {
        return Err(Error::MemoryBudget { in_use, needed: limits::TEXT_STEP_BYTES as u64, budget });
    }
    Ok(())
}

/// Keeps the indexes near what is published, and merges them, for as long as the server runs.
pub async fn run_idle(context: Rc<Context>) {
    while !context.is_stopping() {
        let worked = context.partition.borrow_mut().tend_texts();
        match worked {
            Some(true) if check_memory(&context).is_ok() => executor::yield_now().await,
            Some(_) => executor::sleep(IDLE_WAIT).await,
            None => executor::sleep(IDLE_LOOK).await,
        }
    }
}

// ---- the reply ----

/// Distances are the scores, negated: what comes first is the nearest.
fn encode(
    header: &Header,
    collection: &Collection,
    found: &[Fused],
    columns: &[usize],
    k: usize,
    report: Option<Value>,
) -> Outcome {
    let report = report.map_or_else(String::new, |report| report.to_string());
    let region = &collection.region;
    let rows: Vec<u32> = found.iter().map(|found| found.row).collect();
    let message = if columns.is_empty() { Vec::new() } else { batch::encode(&region.take(&rows, columns)?)? };
    tasks::check_reply(message.len())?;
    let scores: Vec<f32> = found.iter().map(|found| found.score).collect();
    let sides: Vec<Sides> = found.iter().map(|found| found.sides).collect();
    let prefix = FoundPrefix {
        k: k as u32,
        index_lag: collection.index_backlog(),
        counts: &[rows.len() as u32],
        id_kind: collection.spec.schema.id_kind(),
        message_len: message.len() as u64,
        extras: Extras { scores: Some(&scores), sides: Some(&sides), report: report.as_bytes(), ..Extras::default() },
    };
    let mut frame = Vec::new();
    codec::encode_frame(header.reply(), &mut frame, |out| {
        prefix.encode(scores.iter().map(|score| -score), rows.iter().map(|&row| region.id(row)), out);
        out.extend_from_slice(&message);
    });
    Ok(frame)
}
