//! Work that takes longer than a turn: reads of rows, waiting, and (in `searches`) searches. Each runs as a task of the shard's thread, lets
//! others run between its steps, and leaves its reply in the mailbox.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::batch;
use engine::collection::Collection;
use engine::filter::Filter;
use engine::ids::IdList;
use engine::limits;
use engine::namespace::{Namespace, Usage};
use engine::placement;
use engine::region::View;
use engine::schema::IdRef;
use engine::selection::Selecting;
use engine::shard::Message;
use engine::shard::executor::{self, Class};
use engine::shard::message::{ControlReply, ControlRequest};

use super::context::Context;
use super::mailbox::Reply;
use super::session::SessionId;
use super::writes::Refusal;
use crate::codec::{
    self, CollectionInfo, Columns, Cursor, Get, GotPrefix, HEADER_BYTES, Header, IndexStatus, List, NamespaceInfo,
    Scan, ScannedPrefix, SnapshotDone,
};

/// Bytes of a text, as long as nothing is known of it.
const TEXT_BYTES_GUESS: usize = 64;
/// How often a wait for the index looks.
const WAIT_STEP: Duration = Duration::from_millis(5);

pub(super) type Outcome = Result<Vec<u8>, Refusal>;

/// Runs `work` as a task and replies with what it gives.
pub(super) fn spawn(
    context: &Rc<Context>,
    session: SessionId,
    header: Header,
    work: impl Future<Output = Outcome> + 'static,
) {
    let context = context.clone();
    executor::spawn(Class::Serve, async move {
        let (frame, is_error) = match work.await {
            Ok(frame) => (frame, false),
            Err(refusal) => {
                let (status, message) = refusal.describe();
                let mut frame = Vec::new();
                codec::encode_error(Some(&header), status, &message, &mut frame);
                (frame, true)
            }
        };
        context.mailbox.reply(Reply { session, request: header, frame, is_error });
    });
}

// ---- rows ----

/// Checks a read by ids and starts it.
pub fn spawn_get(context: &Rc<Context>, session: SessionId, header: Header, get: Get<'_>) -> Result<(), Refusal> {
    let collection = context.collection(header.collection)?;
    let kind = collection.spec.schema.id_kind();
    get.ids.check(kind)?;
    let columns = chosen(&collection, get.columns)?;
    let ids = IdList::from_view(get.ids);
    let task = context.clone();
    spawn(context, session, header, async move { run_get(&task, header, collection, ids, columns).await });
    Ok(())
}

async fn run_get(
    context: &Rc<Context>,
    header: Header,
    collection: Arc<Collection>,
    ids: IdList,
    columns: Vec<usize>,
) -> Outcome {
    let pin = collection.region.pin();
    let found = find_rows(context, header.collection, &ids).await?;
    let positions: Vec<u32> =
        (0..found.len()).filter(|&place| found[place].is_some()).map(|place| place as u32).collect();
    let rows: Vec<u32> = found.into_iter().flatten().collect();
    let message = batch::encode(&collection.region.take(&rows, &columns)?)?;
    drop(pin);
    check_reply(message.len())?;
    let mut frame = Vec::new();
    codec::encode_frame(header.reply(), &mut frame, |out| {
        GotPrefix { positions: &positions, message_len: message.len() as u64 }.encode(out);
        out.extend_from_slice(&message);
    });
    Ok(frame)
}

/// The newest row of each id, looked up on the shards that are their homes. The caller holds a pin from before.
pub(super) async fn find_rows(context: &Context, collection: u32, ids: &IdList) -> engine::Result<Vec<Option<u32>>> {
    let view = ids.view();
    let kind = view.kind();
    let mut homes: Vec<Vec<usize>> = vec![Vec::new(); context.shards];
    for (place, id) in view.iter().enumerate() {
        homes[placement::home(id, context.shards)].push(place);
    }
    let mut found: Vec<Option<u32>> = vec![None; view.len()];
    for (shard, places) in homes.iter().enumerate().filter(|(_, places)| !places.is_empty()) {
        let ticket = context.mailbox.expect(1);
        let ids: Vec<IdRef<'_>> = places.iter().map(|&place| view.get(place)).collect();
        let ids = IdList::from_ids(kind, ids.into_iter());
        context.find(shard, ticket, collection, ids);
        let answer = context.mailbox.answers(ticket).await.pop();
        let Some(Message::Found { rows, .. }) = answer else { unreachable!("answers a lookup") };
        for (&place, row) in places.iter().zip(rows?) {
            found[place] = row;
        }
    }
    Ok(found)
}

/// Checks a scan of rows and starts it.
pub fn spawn_scan_rows(
    context: &Rc<Context>,
    session: SessionId,
    header: Header,
    scan: Scan<'_>,
) -> Result<(), Refusal> {
    let collection = context.collection(header.collection)?;
    let columns = chosen(&collection, scan.columns)?;
    let filter = filter(&collection, scan.filter)?;
    let (from, rows_max) = (scan.cursor, scan.rows_max);
    let page = Page { collection, columns, filter, from, rows_max };
    let task = context.clone();
    spawn(context, session, header, async move { page.read(&task, &header).await });
    Ok(())
}

/// A page of a scan: what is asked for.
struct Page {
    collection: Arc<Collection>,
    columns: Vec<usize>,
    filter: Option<Arc<Filter>>,
    from: Cursor,
    rows_max: u32,
}

impl Page {
    async fn read(&self, context: &Context, header: &Header) -> Outcome {
        let (collection, region) = (&self.collection, &self.collection.region);
        collection.paging.begin_page();
        let view = region.view();
        // Text is guessed; what turns out longer is cut below.
        let column_bytes =
            |&column: &usize| collection.spec.schema.columns()[column].layout.row_bytes().unwrap_or(TEXT_BYTES_GUESS);
        let row_bytes: usize = self.columns.iter().map(column_bytes).sum();
        let fit = (limits::SCAN_PAGE_BYTES / row_bytes.max(1)).max(1);
        let mut selecting = self.filter.clone().map(Selecting::new);
        let mut wanted = fit.min(if self.rows_max == 0 { usize::MAX } else { self.rows_max as usize });
        loop {
            let (mut cursor, mut rows, mut left) = (self.from, Vec::new(), limits::SCAN_PAGE_ROWS_MAX);
            while (cursor.shard as usize) < collection.shards() && rows.len() < wanted && left > 0 {
                let shard = cursor.shard as usize;
                let selecting = selecting.as_mut();
                cursor.ordinal = self.rows_from(context, &view, selecting, cursor, wanted, &mut left, &mut rows).await;
                if cursor.ordinal >= view.len(shard) {
                    cursor = Cursor { shard: cursor.shard + 1, ordinal: 0 };
                }
            }
            let done = cursor.shard as usize >= collection.shards();
            // The message is written where it is sent from, behind the room for what comes before it.
            let headroom = HEADER_BYTES + ScannedPrefix::BYTES;
            let mut frame = batch::encode_with_headroom(&region.rows_batch(&view, &rows, &self.columns)?, headroom)?;
            let message_len = frame.len() - headroom;
            // Text can make rows longer than expected: fewer of them, then.
            if message_len > limits::REPLY_ROWS_BYTES_MAX && rows.len() > 1 {
                wanted = rows.len() / 2;
                continue;
            }
            check_reply(message_len)?;
            let mut prefix = Vec::with_capacity(ScannedPrefix::BYTES);
            let (rows, message_len) = (rows.len() as u32, message_len as u64);
            ScannedPrefix { next: cursor, rows, done, message_len }.encode(&mut prefix);
            frame[HEADER_BYTES..headroom].copy_from_slice(&prefix);
            codec::seal_frame(&mut frame, header.reply());
            return Ok(frame);
        }
    }

    /// Gathers rows of a shard from an ordinal on, until there are `wanted` or it has looked at `left`; returns the ordinal to go on
    /// from.
    #[allow(clippy::too_many_arguments, reason = "what the loop of `read` goes on with")]
    async fn rows_from(
        &self,
        context: &Context,
        view: &View,
        mut selecting: Option<&mut Selecting>,
        from: Cursor,
        wanted: usize,
        left: &mut u64,
        rows: &mut Vec<u32>,
    ) -> u64 {
        let (region, shard) = (&self.collection.region, from.shard as usize);
        for run in region.runs(shard, from.ordinal..view.len(shard)) {
            if rows.len() >= wanted || *left == 0 {
                return run.ordinal;
            }
            let first = region.row(shard, run.slot);
            match &mut selecting {
                Some(selecting) => {
                    let mut scratch = context.scratch.borrow_mut();
                    selecting.rows_in(&self.collection, view, scratch.masks(), &(first..first + run.len), rows);
                }
                None => region.visible_in_chunk(view, first..first + run.len, rows),
            }
            *left = left.saturating_sub(u64::from(run.len));
            if rows.len() > wanted {
                let next = rows[wanted];
                rows.truncate(wanted);
                return run.ordinal + u64::from(next - first);
            }
            executor::yield_if_needed().await;
        }
        view.len(shard).max(from.ordinal)
    }
}

/// The filter of a request, joined with that rows are not expired; none where every row passes.
pub(super) fn filter(collection: &Collection, json: &[u8]) -> Result<Option<Arc<Filter>>, Refusal> {
    let asked = if json.is_empty() { None } else { Some(Filter::parse(json, &collection.spec.schema)?) };
    Ok(collection.living(asked).map(Arc::new))
}

/// The columns that a request names, by their place; each must be there.
pub(super) fn chosen(collection: &Collection, columns: Columns<'_>) -> Result<Vec<usize>, Refusal> {
    let total = collection.spec.schema.columns().len();
    columns
        .indices(total)
        .map(|column| {
            let unknown = || engine::Error::UnknownColumn { name: format!("#{column}") };
            if column < total { Ok(column) } else { Err(unknown().into()) }
        })
        .collect()
}

pub(super) fn check_reply(bytes: usize) -> Result<(), Refusal> {
    let (value, limit) = (bytes as u64, limits::REPLY_ROWS_BYTES_MAX as u64);
    if value > limit {
        return Err(engine::Error::LimitExceeded { what: "size of the rows asked for in bytes", value, limit }.into());
    }
    Ok(())
}

// ---- collections and the server ----

/// Asks the control thread and replies with its answer.
pub fn spawn_control(context: &Rc<Context>, session: SessionId, header: Header, request: ControlRequest) {
    let task = context.clone();
    spawn(context, session, header, async move {
        let ticket = task.mailbox.expect(1);
        task.mailbox.send(task.control(), Message::Request { ticket, request });
        let answer = task.mailbox.answers(ticket).await.pop();
        let Some(Message::Reply { reply, .. }) = answer else { unreachable!("answers a request") };
        let mut frame = Vec::new();
        let reply = reply?;
        codec::encode_frame(header.reply(), &mut frame, |out| match reply {
            ControlReply::Collection(collection) => describe(&collection, out),
            ControlReply::Done => {}
            ControlReply::Namespaces(all) => namespaces(&all, out),
            ControlReply::Snapshot { bytes, took } => {
                SnapshotDone { bytes, took_us: took.as_micros() as u64 }.encode(out)
            }
        });
        Ok(frame)
    });
}

/// Waits until the graphs hold every row that is visible now.
pub fn spawn_wait_indexed(
    context: &Rc<Context>,
    session: SessionId,
    header: Header,
    collection: Arc<Collection>,
    timeout_ms: u32,
) {
    let task = context.clone();
    spawn(context, session, header, async move {
        let deadline = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
        let view = collection.region.view();
        while !collection.is_indexed(&view) && Instant::now() < deadline && !task.is_stopping() {
            executor::sleep(WAIT_STEP).await;
        }
        let rows = collection.live_rows();
        let indexed = rows.saturating_sub(collection.index_backlog());
        let mut frame = Vec::new();
        let status = IndexStatus { indexed, rows, done: collection.is_indexed(&view) };
        codec::encode_frame(header.reply(), &mut frame, |out| status.encode(out));
        Ok(frame)
    });
}

/// Says that this shard stands still for a snapshot, as soon as it does.
pub fn spawn_stand_still(context: &Rc<Context>, control: usize) {
    let context = context.clone();
    executor::spawn(Class::Serve, async move {
        while !context.indexing.borrow().is_still() && !context.is_stopping() {
            executor::sleep(Duration::from_millis(1)).await;
        }
        // The data plane fills in where the shard stands.
        context.mailbox.send(control, Message::SnapshotReady { lsn: 0, published: Vec::new() });
    });
}

/// Writes the list of namespaces.
fn namespaces(all: &[(Arc<Namespace>, Usage)], out: &mut Vec<u8>) {
    let infos = all.iter().map(|(namespace, usage)| NamespaceInfo {
        name: namespace.name(),
        quota: namespace.quota(),
        collections: u32::try_from(usage.collections).expect("bounded by COLLECTIONS_MAX"),
        rows: usage.rows,
        bytes: usage.bytes,
        refused: namespace.refused(),
    });
    codec::encode_namespaces(infos, out);
}

/// Writes what there is to say of a collection.
pub fn describe(collection: &Collection, out: &mut Vec<u8>) {
    let schema = collection.spec.schema.to_bytes();
    info(collection, &schema).encode(out);
}

/// Writes the list of collections.
pub fn list(context: &Context, out: &mut Vec<u8>) {
    let collections = context.collections.borrow();
    let mut all: Vec<&Arc<Collection>> = collections.values().collect();
    all.sort_unstable_by_key(|collection| collection.spec.id);
    List::encode(all.into_iter().map(|collection| info(collection, &[])), out);
}

/// Writes the figures of the server.
pub fn stats(context: &Context, out: &mut Vec<u8>) {
    let collections = context.collections.borrow();
    let json = context.server.stats(collections.values());
    out.extend_from_slice(json.to_string().as_bytes());
}

fn info<'a>(collection: &'a Collection, schema: &'a [u8]) -> CollectionInfo<'a> {
    let spec = &collection.spec;
    let rows = collection.live_rows();
    CollectionInfo {
        id: spec.id,
        m: spec.options.m,
        ef_construction: spec.options.ef_construction,
        fingerprint: spec.schema.fingerprint(),
        rows,
        deleted: collection.dead_rows(),
        indexed: rows.saturating_sub(collection.index_backlog()),
        name: &spec.name,
        schema,
    }
}
