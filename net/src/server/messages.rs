//! What comes over the mesh and what goes there, and what tasks of the thread left to be sent.

use std::sync::Arc;

use engine::collection::Collection;
use engine::limits;
use engine::probes;
use engine::shard::Message;
use engine::shard::message::EdgeBatch;
use engine::uring::Op;

use super::deletions;
use super::reactor::{Reactor, TOKEN_ACCEPT, TOKEN_CANCEL};
use super::searches;
use super::session::Session;
use super::tasks;
use super::texts;
use crate::codec::{Header, Opcode};

impl Reactor {
    pub(super) fn take_messages(&mut self) -> bool {
        let mut messages = std::mem::take(&mut self.messages);
        self.port.drain(limits::MESH_DRAIN_MAX, |from, message| messages.push((from, message)));
        let moved = !messages.is_empty();
        if moved {
            probes::mesh_taken(self.context.index, messages.len());
        }
        for (from, message) in messages.drain(..) {
            self.message(from, message);
        }
        self.messages = messages;
        moved
    }

    fn message(&mut self, from: usize, message: Message) {
        match message {
            Message::Edges { batch, edges } => {
                self.context.indexing.borrow_mut().receive(from, batch, edges);
                self.context.index_wake();
            }
            Message::EdgesApplied(batch) => self.edges_applied(batch),
            Message::Bulk { round, message } => {
                let outbound = &mut self.outbound;
                let mut indexing = self.context.indexing.borrow_mut();
                indexing.receive_bulk(from, round, message, |to, message| outbound[to].push_back(message));
                drop(indexing);
                self.context.index_wake();
            }
            Message::Sweep(batch) => {
                let answer = self.context.indexing.borrow_mut().receive_sweep(from, batch);
                if let Some((to, message)) = answer {
                    self.outbound[to].push_back(message);
                }
                self.context.index_wake();
            }
            Message::Scan(job) => searches::spawn_scan(&self.context, job),
            Message::Traverse(job) => searches::spawn_traverse(&self.context, job),
            Message::Scanned { ticket, slices, .. } => self.context.mailbox.answer(ticket, slices, message),
            Message::Traversed { ticket, ref found } => self.context.mailbox.answer(ticket, found.len(), message),
            Message::TextStatistics { ticket, request } => {
                texts::spawn_statistics(&self.context, from, ticket, request)
            }
            Message::TextSearch { ticket, request, statistics } => {
                texts::spawn_text_search(&self.context, from, ticket, request, statistics);
            }
            Message::TextCounted { ticket, .. }
            | Message::TextFound { ticket, .. }
            | Message::Found { ticket, .. }
            | Message::Reply { ticket, .. } => {
                self.context.mailbox.answer(ticket, 1, message);
            }
            Message::DeleteWhere { ticket, collection, filter } => {
                deletions::spawn_part(&self.context, from, ticket, collection, filter);
            }
            Message::DeletedWhere { ticket, .. } => self.context.mailbox.answer(ticket, 1, message),
            Message::Find { ticket, collection, ids } => {
                let rows = self.shard.partition.borrow().find(collection, ids.view());
                self.outbound[from].push_back(Message::Found { ticket, rows });
            }
            Message::Adopt { socket, request, rest } => {
                let slot = self.open(socket, &rest);
                let header = Header::request(Opcode::Hello, request, 0);
                self.welcome(slot, &header);
            }
            Message::Forward { ticket, frame } => self.forwarded_in(from, ticket, frame),
            Message::Forwarded { ticket, pressure, result } => self.forwarded_back(ticket, pressure, result),
            Message::Install(collection) => self.install(collection, from),
            Message::PrepareColumns(extended) => {
                let prepared = self.shard.partition.borrow_mut().prepare_columns(&extended);
                self.outbound[from].push_back(Message::Prepared(prepared));
            }
            Message::GiveColumnsUp(collection) => {
                self.shard.partition.borrow_mut().give_columns_up(collection);
                self.outbound[from].push_back(Message::Changed);
            }
            Message::AddColumns(extended) => {
                self.context.add_columns(&extended);
                self.outbound[from].push_back(Message::Changed);
            }
            Message::ShowColumns(extended) => {
                self.context.show_columns(&extended);
                self.outbound[from].push_back(Message::Changed);
            }
            Message::Remove(collection) => {
                self.shard.partition.borrow_mut().remove(collection);
                self.context.indexing.borrow_mut().remove(collection);
                self.context.collections.borrow_mut().remove(&collection);
                self.context.sampler.borrow_mut().remove(collection);
                self.context.scratch.borrow_mut().masks().remove(collection);
                self.outbound[from].push_back(Message::Changed);
            }
            Message::SnapshotBegin => {
                self.context.indexing.borrow_mut().pause(true);
                self.context.index_wake();
                tasks::spawn_stand_still(&self.context, from);
            }
            Message::SnapshotEnd(lsn) => {
                self.context.indexing.borrow_mut().pause(false);
                self.context.index_wake();
                self.shard.partition.borrow_mut().end_snapshot(lsn);
                if let Some((lsn, wal)) = lsn.zip(self.shard.wal_mut()) {
                    wal.release_before(lsn + 1);
                }
            }
            Message::Trimmed(lsn) => {
                self.trimming = false;
                if let Some(wal) = self.shard.wal_mut() {
                    wal.release_before(lsn);
                }
            }
            Message::Heartbeat => self.heartbeat(),
            Message::Stop => self.stop(),
            Message::Request { .. }
            | Message::Changed
            | Message::Prepared(_)
            | Message::SnapshotReady { .. }
            | Message::Recovered
            | Message::Trim(_) => {
                unreachable!("a message for the control thread")
            }
        }
    }

    /// Once a second: what failed for want of something is tried again, and memory that is held without use is given back.
    fn heartbeat(&mut self) {
        self.accepting &= !std::mem::take(&mut self.accept_failed);
        self.arena.trim();
        self.shard.partition.borrow_mut().tidy();
        self.context.indexing.borrow_mut().look_for_sparse();
        // Readers that held dead rows up may have gone.
        self.context.index_wake();
        if let Some(wal) = self.shard.wal_mut().filter(|wal| wal.is_full()) {
            wal.retry_full();
        }
        for slot in 0..self.sessions.len() {
            if self.sessions[slot].as_mut().is_some_and(Session::is_too_slow) {
                tracing::warn!("a connection was closed: a frame that it began did not arrive in time");
                self.session_mut(slot as u32).kill();
                self.activate(slot as u32);
            }
        }
    }

    fn edges_applied(&mut self, batch: EdgeBatch) {
        let outbound = &mut self.outbound;
        self.context.indexing.borrow_mut().applied(batch, |to, message| outbound[to].push_back(message));
        self.context.index_wake();
    }

    fn install(&mut self, collection: Arc<Collection>, from: usize) {
        self.context.install(&collection);
        self.outbound[from].push_back(Message::Changed);
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.context.stop();
        if self.accepting {
            self.push(Op::Cancel { token: TOKEN_ACCEPT }, TOKEN_CANCEL);
        }
        self.listener = None;
        for slot in 0..self.sessions.len() as u32 {
            if self.sessions[slot as usize].is_some() {
                self.activate(slot);
            }
        }
    }

    /// Takes what tasks left in the mailbox.
    pub(super) fn empty_mailbox(&mut self) -> bool {
        let replies = self.context.mailbox.take_replies();
        let moved = !replies.is_empty();
        for reply in replies {
            self.reply(reply);
        }
        self.empty_out_tray() || moved
    }

    /// Takes the messages out of the mailbox.
    pub(super) fn empty_out_tray(&mut self) -> bool {
        let messages = self.context.mailbox.take_messages();
        let moved = !messages.is_empty();
        for (to, message) in messages {
            let message = match message {
                // The task cannot know it: it is fixed here, between two publications.
                Message::SnapshotReady { .. } => self.snapshot_ready(),
                other => other,
            };
            self.outbound[to].push_back(message);
        }
        moved
    }

    fn snapshot_ready(&self) -> Message {
        let mut partition = self.shard.partition.borrow_mut();
        partition.begin_snapshot();
        let shard = partition.shard();
        let length = |collection: &Arc<Collection>| (collection.spec.id, collection.region.published(shard));
        let published = partition.members().map(|member| length(&member.collection)).collect();
        Message::SnapshotReady { lsn: self.shard.published_lsn(), published }
    }

    pub(super) fn send_messages(&mut self) -> bool {
        let mut moved = false;
        for (to, messages) in self.outbound.iter_mut().enumerate() {
            if messages.is_empty() {
                continue;
            }
            let (index, port) = (self.context.index, &mut self.port);
            let sent = port.send_batch(to, messages);
            moved |= sent > 0;
            probes::mesh_sent(index, to, sent, || limits::MESH_RING_SLOTS - port.free(to));
            if port.is_gone(to) {
                messages.clear();
            }
            if !messages.is_empty() {
                probes::mesh_ring_full(index, to, messages.len());
            }
        }
        moved
    }

    pub(super) fn post(&mut self, to: usize, message: Message) {
        self.outbound[to].push_back(message);
    }
}
