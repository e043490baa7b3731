//! Deletes by filter, and the sweep of rows whose time is over: a task of each shard selects in slices, and the data plane logs the
//! deletes of ids piece by piece.
//!
//! Between the two a row may have been moved, replaced or deleted: what is logged are the ids whose newest row, staged ones included, the
//! filter is true of when the piece has its turn.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::collection::Collection;
use engine::filter::Filter;
use engine::ids::IdList;
use engine::limits;
use engine::schema::IdRef;
use engine::shard::executor::{self, Class};
use engine::shard::{Ack, Admission, Message, Operation, Outcome, Presence};
use engine::wal::Payload;

use super::context::Context;
use super::reactor::Reactor;
use super::session::SessionId;
use super::tasks;
use super::writes::{Refusal, Ticket};
use crate::codec::{self, DeleteWhere, DeletedWhere, HEADER_BYTES, Header, Opcode, flags};

/// How often it is looked whether what was staged before is published, and whether the log has been replayed.
const LOOK: Duration = Duration::from_millis(1);
/// How often it is looked whether rows have expired.
const SWEEP_LOOK: Duration = Duration::from_secs(1);
/// Bytes of a piece in the log, about, and with one id of the longest.
const PIECE_BYTES_MAX: usize = limits::DELETE_PIECE_BYTES_MAX + limits::ID_BYTES_MAX + HEADER_BYTES + 64;

/// A piece of a delete by filter that waits for the log.
pub struct Deletion {
    /// Number that the task knows it by.
    ticket: u64,
    collection: u32,
    filter: Option<Arc<Filter>>,
    ids: IdList,
}

/// Checks a delete by filter and starts it on every shard.
pub fn spawn_delete_where(
    context: &Rc<Context>,
    session: SessionId,
    mut header: Header,
    asked: DeleteWhere<'_>,
) -> Result<(), Refusal> {
    let collection = context.collection(header.collection)?;
    let filter = tasks::filter(&collection, asked.filter)?;
    // It waits until all rows are there.
    header.flags &= !flags::RECOVERING;
    let task = context.clone();
    tasks::spawn(context, session, header, async move {
        while !task.server.progress.is_complete() {
            if task.is_stopping() {
                return Err(engine::Error::Stopping.into());
            }
            executor::sleep(LOOK).await;
        }
        let ticket = task.mailbox.expect(task.shards);
        for shard in 0..task.shards {
            let (collection, filter) = (header.collection, filter.clone());
            if shard == task.index {
                spawn_part(&task, shard, ticket, collection, filter);
            } else {
                task.mailbox.send(shard, Message::DeleteWhere { ticket, collection, filter });
            }
        }
        let mut deleted = 0;
        for answer in task.mailbox.answers(ticket).await {
            let Message::DeletedWhere { result, .. } = answer else { unreachable!("answers a delete") };
            deleted += result?;
        }
        let mut frame = Vec::new();
        codec::encode_frame(header.reply(), &mut frame, |out| DeletedWhere { deleted }.encode(out));
        Ok(frame)
    });
    Ok(())
}

/// Deletes the rows of this shard for another, or for itself.
pub fn spawn_part(context: &Rc<Context>, from: usize, ticket: u64, collection: u32, filter: Option<Arc<Filter>>) {
    let context = context.clone();
    context.begin_help();
    executor::spawn(Class::Serve, async move {
        let result = match context.collection(collection) {
            Ok(collection) => delete_matching(&context, &collection, &filter).await,
            Err(error) => Err(error),
        };
        let answer = Message::DeletedWhere { ticket, result };
        if from == context.index {
            context.mailbox.answer(ticket, 1, answer);
        } else {
            context.mailbox.send(from, answer);
        }
        context.end_help();
    });
}

/// Deletes the rows of this shard that a filter is true of; returns how many. All that was accepted before it is looked at.
async fn delete_matching(
    context: &Rc<Context>,
    collection: &Arc<Collection>,
    filter: &Option<Arc<Filter>>,
) -> engine::Result<u64> {
    let (number, shard) = (collection.spec.id, context.index);
    let staged = context.partition.borrow().staged(number)?;
    while context.partition.borrow().waits_for(number, staged)? {
        executor::sleep(LOOK).await;
    }
    let region = &collection.region;
    let view = region.view();
    let (mut rows, mut deleted) = (Vec::new(), 0);
    for run in region.runs(shard, 0..view.len(shard)) {
        let first = region.row(shard, run.slot);
        for at in (0..run.len).step_by(limits::SCAN_SLICE_ROWS as usize) {
            let end = run.len.min(at + limits::SCAN_SLICE_ROWS);
            collection.select(&view, filter.as_deref(), first + at..first + end, &mut rows);
            if rows.len() >= limits::DELETE_PIECE_ROWS {
                deleted += delete_rows(context, collection, filter, &rows).await?;
                rows.clear();
            }
            executor::yield_if_needed().await;
        }
    }
    Ok(deleted + delete_rows(context, collection, filter, &rows).await?)
}

/// Has rows deleted that were selected; returns how many were.
async fn delete_rows(
    context: &Rc<Context>,
    collection: &Arc<Collection>,
    filter: &Option<Arc<Filter>>,
    rows: &[u32],
) -> engine::Result<u64> {
    let mut deleted = 0;
    let mut rest = rows;
    while !rest.is_empty() {
        if context.is_stopping() {
            return Err(engine::Error::Stopping);
        }
        let mut bytes = 0;
        let fits = |row: &&u32| {
            bytes += size_of::<u32>() + id_bytes(collection.region.id(**row));
            bytes <= limits::DELETE_PIECE_BYTES_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (piece, left) = rest.split_at(count);
        rest = left;
        let kind = collection.spec.schema.id_kind();
        let ids = IdList::from_ids(kind, piece.iter().map(|&row| collection.region.id(row)));
        let ticket = context.mailbox.expect(1);
        let deletion = Deletion { ticket, collection: collection.spec.id, filter: filter.clone(), ids };
        context.deletions.borrow_mut().push_back(deletion);
        let answer = context.mailbox.answers(ticket).await.pop();
        let Some(Message::Forwarded { result, .. }) = answer else { unreachable!("answers a piece") };
        deleted += u64::from(result?.0.deleted);
    }
    Ok(deleted)
}

fn id_bytes(id: IdRef<'_>) -> usize {
    match id {
        IdRef::U64(_) | IdRef::I64(_) => size_of::<u64>(),
        IdRef::Utf8(id) => id.len(),
    }
}

/// Deletes rows whose time is over, in idle time and for as long as the server runs.
pub async fn run_sweep(context: Rc<Context>) {
    while !context.is_stopping() {
        executor::sleep(SWEEP_LOOK).await;
        if !context.server.progress.is_complete() {
            continue;
        }
        let expiring = |collection: &&Arc<Collection>| collection.expiry.is_some();
        let collections: Vec<_> = context.collections.borrow().values().filter(expiring).cloned().collect();
        for collection in collections {
            if let Err(error) = sweep(&context, &collection).await {
                // What could not be deleted stays invisible, and is tried again.
                tracing::debug!(%error, "expired rows could not be deleted");
            }
        }
    }
}

/// Deletes the rows of a collection that are expired, and finds out when the next of them will be.
async fn sweep(context: &Rc<Context>, collection: &Arc<Collection>) -> engine::Result<()> {
    let (shard, number) = (context.index, collection.spec.id);
    let Some(expired) = collection.expired(shard) else { return Ok(()) };
    // Before what is staged is waited for: a row is seen below, or counts by itself.
    context.partition.borrow_mut().begin_measure(number)?;
    let deleted = delete_matching(context, collection, &Some(Arc::new(expired))).await?;
    context.metrics.rows_expired.add(deleted);
    let region = &collection.region;
    let view = region.view();
    for run in region.runs(shard, 0..view.len(shard)) {
        let first = region.row(shard, run.slot);
        for at in (0..run.len).step_by(limits::SCAN_SLICE_ROWS as usize) {
            let rows = first + at..first + run.len.min(at + limits::SCAN_SLICE_ROWS);
            context.partition.borrow_mut().measure(number, &view, rows)?;
            executor::yield_if_needed().await;
        }
    }
    context.partition.borrow_mut().end_measure(number)
}

impl Reactor {
    /// Logs pieces of deletes by filter, as long as the log has room.
    pub(super) fn retry_deletions(&mut self) {
        loop {
            let refusal = self.shard.refusal();
            if refusal.is_none() && !self.shard.has_room(PIECE_BYTES_MAX) {
                return;
            }
            let Some(deletion) = self.context.deletions.borrow_mut().pop_front() else { return };
            let ticket = Ticket::Task { ticket: deletion.ticket };
            match refusal.map_or_else(|| self.delete(&deletion, ticket.clone()), Err) {
                Ok(()) => {}
                Err(error) => self.finish_write(ticket, Err(error)),
            }
        }
    }

    fn delete(&mut self, deletion: &Deletion, ticket: Ticket) -> engine::Result<()> {
        let Deletion { collection, filter, ids, .. } = deletion;
        let matching = self.shard.partition.borrow_mut().matching(*collection, filter.as_deref(), ids.view())?;
        let Some(matching) = matching else {
            self.finish_write(ticket, Ok((Outcome::default(), 0)));
            return Ok(());
        };
        let ids = matching.view();
        let mut frame = vec![0; HEADER_BYTES];
        codec::encode_ids(ids.kind(), (0..ids.len()).map(|place| ids.get(place)), &mut frame);
        codec::seal_frame(&mut frame, Header::request(Opcode::Delete, 0, *collection));
        let staged = self.shard.stage(Operation::Delete { collection: *collection, ids }, Presence::Any, None)?;
        match self.shard.submit(staged, Payload::Copy(&frame), codec::crc(&frame), Ack::Durable, ticket)? {
            Admission::Waiting => Ok(()),
            Admission::Acknowledged(..) => unreachable!("it is to be durable"),
        }
    }
}
