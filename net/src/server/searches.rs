//! Searches, and helping other shards with theirs.
//!
//! A single query stays on the shard that got it. The queries of a batch, and the slices of a long scan, are taken from a counter
//! that the shards have in common: each takes as much as it has time for, and the one that got the search waits only for what
//! others have taken.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use engine::batch;
use engine::limits;
use engine::probes;
use engine::search::{
    Examples, GraphJob, GroupedSearch, Hit, Nearest, Phase, ScanJob, ScanScratch, Search, SearchOptions, SearchRequest,
    Top,
};
use engine::shard::Message;
use engine::shard::executor::{self, Class};
use serde_json::json;

use super::context::Context;
use super::examples;
use super::reactor::TOKEN_VECTORS;
use super::session::SessionId;
use super::spread::Spreading;
use super::tasks::{self, Outcome};
use super::texts;
use super::writes::Refusal;
use crate::codec::{self, Extras, FoundPrefix, Header};

/// Candidates of a search that does not say how many.
const EF_DEFAULT: usize = 64;

/// Checks a search and starts it.
pub fn spawn_search(
    context: &Rc<Context>,
    session: SessionId,
    header: Header,
    asked: codec::Search<'_>,
) -> Result<(), Refusal> {
    let collection = context.collection(header.collection)?;
    let schema = &collection.spec.schema;
    let options = SearchOptions::parse(asked.options, schema)?;
    if options.text.is_some() && asked.queries == 0 && options.examples.is_none() {
        return texts::spawn_search(context, session, header, &asked, &options);
    }
    let place = usize::from(asked.column);
    let invalid = |problem| engine::Error::InvalidSearch { problem };
    let vector = schema.vectors().iter().position(|vector| vector.column == place);
    let vector = vector.ok_or_else(|| match schema.vectors() {
        [] => invalid("the collection has no vector column"),
        _ => invalid("the column searched is not a vector column"),
    })?;
    let column = &schema.vectors()[vector];
    if asked.kind != column.kind {
        return Err(invalid("the element type of the query vectors is not the column's").into());
    }
    if asked.dimension as usize != column.dimension {
        return Err(invalid("the dimension of the query vectors is not the column's").into());
    }
    let mut request = SearchRequest {
        vector,
        queries: asked.vectors.into(),
        count: asked.queries as usize,
        k: asked.k as usize,
        exact: asked.exact,
        filter: tasks::filter(&collection, asked.filter)?,
        offset: options.offset,
        threshold: options.threshold,
        grouping: options.grouping,
        ..SearchRequest::default()
    };
    if options.text.is_some() {
        return texts::spawn_hybrid(context, session, header, &asked, request, options);
    }
    let spreading = options.spread.map(|spread| Spreading::new(context, &collection, spread)).transpose()?;
    let (columns, score, k) = (tasks::chosen(&collection, asked.columns)?, options.score, request.k);
    // Of more than are wanted the best are left in the end.
    request.k = spreading.as_ref().map_or(k, |spreading| spreading.candidates(k));
    let told = Told { columns, score, k, spreading, explain: options.explain };
    let task = context.clone();
    let Some(examples) = options.examples else {
        choose_ef(&mut request, asked.ef as usize);
        let search = Search::begin(collection, request)?;
        // Which rows a filter is true of takes its time to find out; only then it is known whether the graph is asked.
        let shared = if search.request().filter.is_none() { share_out(context, &search) } else { None };
        tasks::spawn(context, session, header, async move {
            run_search(&task, session, &header, search, shared, told).await
        });
        return Ok(());
    };
    ask_by(&examples, &mut request)?;
    choose_ef(&mut request, asked.ef as usize);
    tasks::spawn(context, session, header, async move {
        request.queries = examples::query(&task, &collection, vector, &examples).await?;
        let search = Search::begin(collection, request)?;
        run_search(&task, session, &header, search, None, told).await
    });
    Ok(())
}

/// Makes a search one whose query is made of rows.
pub(super) fn ask_by(examples: &Examples, request: &mut SearchRequest) -> engine::Result<()> {
    if request.count > 0 {
        let problem = "it takes the place of query vectors, and there are some";
        return Err(engine::Error::InvalidOption { option: "like".to_owned(), problem });
    }
    request.count = 1;
    request.left_out = (!examples.are_results).then(|| Arc::new(examples.ids.clone()));
    Ok(())
}

/// Candidates of a search that asks for so many, or leaves it to the server with 0: at least as many as hits are held, in the end.
pub(super) fn choose_ef(request: &mut SearchRequest, asked: usize) {
    let held = request.held();
    request.ef_first = if asked == 0 { EF_DEFAULT } else { asked };
    request.ef = match &request.grouping {
        // Of each group there may be several rows before the next group comes.
        Some(grouping) => {
            let several = held.saturating_mul(grouping.size.saturating_mul(2));
            request.ef_first = request.ef_first.max(several.min(limits::EF_MAX));
            request.ef_first.max(limits::GROUPS_EF_MAX)
        }
        // One that is below `k` and no more is refused.
        None if request.threshold.is_none() && asked != 0 && asked < request.k => asked,
        None => request.ef_first.max(held),
    };
}

/// What is told of the rows that are found.
struct Told {
    columns: Vec<usize>,
    score: bool,
    /// Results of each query that were asked for.
    k: usize,
    /// What orders results anew.
    spreading: Option<Spreading>,
    explain: bool,
}

/// What a search finds that is part of another.
pub(super) async fn find_nearest(context: &Rc<Context>, search: &mut Search) -> engine::Result<Vec<Vec<Hit>>> {
    while search.select(&mut context.scratch.borrow_mut()) {
        executor::yield_if_needed().await;
    }
    search.mark(Phase::Filter);
    if search.uses_graph() {
        traverse(context, search).await?;
        search.mark(Phase::Graph);
    }
    let scan_rows = search.scan_rows();
    if scan_rows > 0 {
        scan(context, search, scan_rows > limits::SCAN_LOCAL_ROWS).await;
        search.mark(Phase::Scan);
    }
    Ok(search.take_hits())
}

/// Tells other shards of a batch of queries, where there is one. The message leaves with this turn, before any query is begun here.
fn share_out(context: &Context, search: &Search) -> Option<Arc<GraphJob>> {
    let helpers = (context.shards - 1).min(search.queries() - 1);
    if helpers == 0 || search.queries() < limits::SPREAD_QUERIES_MIN || !search.uses_graph() {
        return None;
    }
    let ticket = context.mailbox.expect(search.queries());
    let job = Arc::new(search.graph_job(context.index, ticket));
    for step in 1..=helpers {
        context.mailbox.send((context.index + step) % context.shards, Message::Traverse(job.clone()));
    }
    Some(job)
}

/// Finds out which rows the filter is true of, and then tells other shards of the queries.
async fn select(context: &Rc<Context>, search: &mut Search) -> Option<Arc<GraphJob>> {
    while search.select(&mut context.scratch.borrow_mut()) {
        executor::yield_if_needed().await;
    }
    search.mark(Phase::Filter);
    context.metrics.filter_mask_bytes.set(context.scratch.borrow_mut().masks().bytes() as u64);
    let shared = share_out(context, search);
    if shared.is_some() {
        executor::yield_now().await;
    }
    shared
}

async fn run_search(
    context: &Rc<Context>,
    session: SessionId,
    header: &Header,
    mut search: Search,
    shared: Option<Arc<GraphJob>>,
    told: Told,
) -> Outcome {
    let (shard, connection, request) = (context.index, session.slot, header.request_id);
    if told.explain {
        search.explain();
    }
    probes::search_begin(shard, connection, request, search.queries(), search.ef());
    if search.request().grouping.is_some() {
        let mut grouped = GroupedSearch::new(search);
        while grouped.step(&mut context.scratch.borrow_mut()) {
            executor::yield_if_needed().await;
        }
        context.metrics.queries.add(grouped.search().queries() as u64);
        let found = grouped.take_found();
        let groups: Vec<u32> = found.iter().flat_map(|found| &found.groups).copied().collect();
        let hits: Vec<Vec<Hit>> = found.into_iter().map(|found| found.hits).collect();
        probes::search_end(shard, connection, request, hits.iter().map(Vec::len).sum());
        let (search, groups) = (grouped.search(), Some(groups.as_slice()));
        return Results { search, hits: &hits, groups, scores: None, told: &told }.encode(header);
    }
    let shared = if search.request().filter.is_some() { select(context, &mut search).await } else { shared };
    if search.uses_graph() {
        match shared {
            Some(job) => traverse_shared(context, &mut search, &job).await?,
            None => traverse(context, &mut search).await?,
        }
        search.mark(Phase::Graph);
        probes::search_graph_done(shard, connection, request, search.queries());
    }
    let scan_rows = search.scan_rows();
    if scan_rows > 0 {
        scan(context, &mut search, scan_rows > limits::SCAN_LOCAL_ROWS).await;
        search.mark(Phase::Scan);
        probes::search_scan_done(shard, connection, request, scan_rows);
    }
    context.metrics.queries.add(search.queries() as u64);
    context.sampler.borrow_mut().note(search.collection(), search.request());
    // The search is held until the reply is made: it keeps the rows where they are.
    let hits = search.take_hits();
    let (hits, scores) = match &told.spreading {
        Some(spreading) => spreading.rank_all(context, &search, hits, told.k).await?,
        None => (hits, None),
    };
    probes::search_end(shard, connection, request, hits.iter().map(Vec::len).sum());
    Results { search: &search, hits: &hits, groups: None, scores, told: &told }.encode(header)
}

// ---- the graph ----

/// A query, and what was found for it.
type Answer = (usize, engine::Result<Top>);

/// Queries whose last candidates are being read from disk, oldest first.
struct Reading<'a> {
    context: &'a Context,
    tickets: VecDeque<(usize, u32)>,
}

impl Reading<'_> {
    fn new(context: &Context) -> Reading<'_> {
        Reading { context, tickets: VecDeque::new() }
    }

    /// Takes in what the graph gave for a query; gives a query that is done, if that is this one, or if too many others wait.
    async fn take(&mut self, query: usize, nearest: Nearest) -> Option<Answer> {
        match nearest {
            Nearest::Found(found) => return Some((query, Ok(found))),
            Nearest::Unread(ranking) => {
                let mut ring = self.context.ring.borrow_mut();
                let ticket = self.context.reads.borrow_mut().begin(*ranking, &mut ring, TOKEN_VECTORS);
                self.tickets.push_back((query, ticket));
            }
        }
        if self.tickets.len() > limits::READING_QUERIES_MAX { self.next().await } else { None }
    }

    /// The oldest query that was not done; None where there is none.
    async fn next(&mut self) -> Option<Answer> {
        let (query, ticket) = self.tickets.pop_front()?;
        let reads = &self.context.reads;
        Some((query, std::future::poll_fn(|task| reads.borrow_mut().poll(ticket, Some(task.waker()))).await))
    }
}

/// Takes in what was found for queries. Of several errors the last is told.
fn merge_answers(search: &mut Search, failed: &mut Option<engine::Error>, answers: impl IntoIterator<Item = Answer>) {
    for (query, found) in answers {
        match found {
            Ok(found) => search.merge_query(query, found),
            Err(error) => *failed = Some(error),
        }
    }
}

async fn traverse(context: &Context, search: &mut Search) -> engine::Result<()> {
    let (mut reading, mut failed) = (Reading::new(context), None);
    for query in 0..search.queries() {
        let nearest = search.traverse(query, &mut context.scratch.borrow_mut());
        merge_answers(search, &mut failed, reading.take(query, nearest).await);
        executor::yield_if_needed().await;
    }
    while let Some(answer) = reading.next().await {
        merge_answers(search, &mut failed, Some(answer));
    }
    failed.map_or(Ok(()), Err)
}

async fn traverse_shared(context: &Rc<Context>, search: &mut Search, job: &GraphJob) -> engine::Result<()> {
    let (mut reading, mut failed) = (Reading::new(context), None);
    let mut taken = 0;
    while let Some(query) = job.take() {
        let nearest = job.search(query, &mut context.scratch.borrow_mut());
        merge_answers(search, &mut failed, reading.take(query, nearest).await);
        taken += 1;
        executor::yield_if_needed().await;
    }
    while let Some(answer) = reading.next().await {
        merge_answers(search, &mut failed, Some(answer));
    }
    context.mailbox.forgo(job.ticket, taken);
    for answer in context.mailbox.answers(job.ticket).await {
        let Message::Traversed { found, .. } = answer else { unreachable!("answers a batch of queries") };
        merge_answers(search, &mut failed, found);
    }
    failed.map_or(Ok(()), Err)
}

/// Helps another shard with a batch of queries. What was found leaves at the end of each slice: nobody waits for this task to have
/// its turn again.
pub fn spawn_traverse(context: &Rc<Context>, job: Arc<GraphJob>) {
    let context = context.clone();
    context.begin_help();
    executor::spawn(Class::Serve, async move {
        let (mut reading, mut found) = (Reading::new(&context), Vec::new());
        let answer = |found| context.mailbox.send(job.owner, Message::Traversed { ticket: job.ticket, found });
        while let Some(query) = job.take() {
            let nearest = job.search(query, &mut context.scratch.borrow_mut());
            found.extend(reading.take(query, nearest).await);
            context.metrics.queries_helped.add(1);
            if executor::slice_is_over() {
                if !found.is_empty() {
                    answer(std::mem::take(&mut found));
                }
                executor::yield_now().await;
            }
        }
        while let Some(read) = reading.next().await {
            found.push(read);
        }
        if !found.is_empty() {
            answer(found);
        }
        drop(reading);
        context.end_help();
    });
}

// ---- scans ----

async fn scan(context: &Rc<Context>, search: &mut Search, is_long: bool) {
    let mut job = search.scan_job(context.index, 0);
    if !is_long || context.shards == 1 || job.slices() == 0 {
        let (_, found) = run_slices(&job).await;
        search.merge(found);
        return;
    }
    job.ticket = context.mailbox.expect(job.slices());
    let job = Arc::new(job);
    for shard in (0..context.shards).filter(|&shard| shard != context.index) {
        context.mailbox.send(shard, Message::Scan(job.clone()));
    }
    let (taken, found) = run_slices(&job).await;
    search.merge(found);
    context.mailbox.forgo(job.ticket, taken);
    for answer in context.mailbox.answers(job.ticket).await {
        let Message::Scanned { found, .. } = answer else { unreachable!("answers a scan") };
        search.merge(found);
    }
}

/// Scans slices until none is left; gives how many it took, and what they held.
async fn run_slices(job: &ScanJob) -> (usize, Vec<Top>) {
    let (mut tops, mut scratch) = (job.tops(), ScanScratch::default());
    let mut taken = 0;
    while job.run_slice(&mut tops, &mut scratch) {
        taken += 1;
        executor::yield_if_needed().await;
    }
    job.rerank(&mut tops, &mut scratch);
    (taken, tops)
}

/// Helps another shard with an exact scan.
pub fn spawn_scan(context: &Rc<Context>, job: Arc<ScanJob>) {
    let context = context.clone();
    context.begin_help();
    executor::spawn(Class::Serve, async move {
        let (slices, found) = run_slices(&job).await;
        if slices > 0 {
            context.mailbox.send(job.owner, Message::Scanned { ticket: job.ticket, slices, found });
        }
        context.end_help();
    });
}

// ---- the reply ----

/// What a search came to, and what of it is to be told.
struct Results<'a> {
    search: &'a Search,
    /// Of each query, nearest first.
    hits: &'a [Vec<Hit>],
    /// The group of each hit.
    groups: Option<&'a [u32]>,
    /// What the hits are ordered by, where that is not their distance.
    scores: Option<Vec<f32>>,
    told: &'a Told,
}

impl Results<'_> {
    fn encode(&self, header: &Header) -> Outcome {
        let collection = self.search.collection();
        let (region, columns) = (&collection.region, &self.told.columns);
        let index_lag = collection.index_backlog();
        let rows: Vec<u32> = self.hits.iter().flatten().map(|hit| hit.row).collect();
        let message = if columns.is_empty() { Vec::new() } else { batch::encode(&region.take(&rows, columns)?)? };
        tasks::check_reply(message.len())?;
        let counts: Vec<u32> = self.hits.iter().map(|hits| hits.len() as u32).collect();
        let distances: Vec<f32> = self.hits.iter().flatten().map(|hit| hit.distance).collect();
        let score = |&distance: &f32| self.search.similarity(distance);
        let similarities: Option<Vec<f32>> =
            (self.told.score && self.scores.is_none()).then(|| distances.iter().map(score).collect());
        let scores = self.scores.as_deref().or(similarities.as_deref());
        let report = match self.search.explanation() {
            Some(explanation) => json!({ "explain": explanation }).to_string(),
            None => String::new(),
        };
        let prefix = FoundPrefix {
            k: self.told.k as u32,
            index_lag,
            counts: &counts,
            id_kind: collection.spec.schema.id_kind(),
            message_len: message.len() as u64,
            extras: Extras { scores, groups: self.groups, report: report.as_bytes(), ..Extras::default() },
        };
        let mut frame = Vec::new();
        codec::encode_frame(header.reply(), &mut frame, |out| {
            prefix.encode(distances.iter().copied(), rows.iter().map(|&row| region.id(row)), out);
            out.extend_from_slice(&message);
        });
        Ok(frame)
    }
}
