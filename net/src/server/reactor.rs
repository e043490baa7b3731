//! The data plane of one shard: one bounded turn after the other, until there is nothing to do, then sleep.
//!
//! A turn reaps completions, takes messages from the mesh, lets the shard publish what became durable, sends what tasks
//! left in the mailbox, works on sessions that have bytes, and submits. Nothing in it waits.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::buffers::Arena;
use engine::collection::Collection;
use engine::limits;
use engine::mesh::Port;
use engine::shard::message::EdgeBatch;
use engine::shard::{Done, Message, Shard};
use engine::uring::{Completion, Memory, Op};
use engine::wal::{DiskStorage, TOKEN_WAL};

use super::context::Context;
use super::session::{Held, Next, Session, SessionId};
use super::writes::{Forwards, Ticket};
use super::{mailbox::Reply, tasks};
use crate::codec::{self, Header, Opcode, Status};

/// Completions taken in one turn.
const REAP_MAX: usize = 256;
/// Frames of one session worked on in one turn.
const FRAMES_MAX: usize = 64;

const TOKEN_ACCEPT: u64 = 2 << 56;
const TOKEN_RECEIVE: u64 = 3 << 56;
const TOKEN_SEND: u64 = 4 << 56;
const TOKEN_CANCEL: u64 = 5 << 56;
const TOKEN_BELL: u64 = 6 << 56;
const TAG: u64 = 0xff << 56;
const SLOT_BITS: u32 = 24;

/// The data plane of one shard.
pub struct Reactor {
    pub(super) context: Rc<Context>,
    pub(super) shard: Shard<DiskStorage, Ticket>,
    pub(super) arena: Arena,
    pub(super) forwards: Forwards,
    port: Port<Message>,
    /// The eventfd that peers ring while this shard sleeps, and what is read from it.
    bell: Rc<OwnedFd>,
    bell_count: Option<Memory>,
    outbound: Vec<VecDeque<Message>>,
    listener: Option<Rc<OwnedFd>>,
    accepting: bool,
    accept_failed: bool,
    next_shard: usize,
    pub(super) sessions: Vec<Option<Session>>,
    free_slots: Vec<u32>,
    generation: u32,
    /// Sessions that may have something to be worked on, received, sent or closed.
    active: VecDeque<u32>,
    is_active: Vec<bool>,
    /// Sessions that wait for memory or for the log.
    held: Vec<u32>,
    completions: Vec<Completion>,
    stopping: bool,
    sealed: bool,
    connections_max: usize,
}

impl Reactor {
    /// A data plane; `listener` is given to the shard that accepts.
    pub fn new(
        context: Rc<Context>,
        shard: Shard<DiskStorage, Ticket>,
        arena: Arena,
        port: Port<Message>,
        listener: Option<OwnedFd>,
        connections_max: usize,
    ) -> engine::Result<Reactor> {
        let participants = port.participants();
        let bell = port.doorbell().as_fd().try_clone_to_owned();
        let bell = bell.map_err(|source| engine::Error::System { operation: "duplicate an eventfd", source })?;
        Ok(Reactor {
            bell: Rc::new(bell),
            bell_count: Some(Memory::Heap(vec![0; size_of::<u64>()].into_boxed_slice())),
            context,
            shard,
            arena,
            forwards: Forwards::default(),
            port,
            outbound: (0..participants).map(|_| VecDeque::new()).collect(),
            listener: listener.map(Rc::new),
            accepting: false,
            accept_failed: false,
            next_shard: 0,
            sessions: Vec::new(),
            free_slots: Vec::new(),
            generation: 0,
            active: VecDeque::new(),
            is_active: Vec::new(),
            held: Vec::new(),
            completions: Vec::with_capacity(REAP_MAX),
            stopping: false,
            sealed: false,
            connections_max,
        })
    }

    /// One turn. True when something moved.
    pub fn turn(&mut self) -> engine::Result<bool> {
        self.context.metrics.turns.add(1);
        self.accept_more();
        self.listen_to_bell();
        let mut moved = self.reap();
        moved |= self.take_messages();
        moved |= self.advance_shard()?;
        moved |= self.empty_mailbox();
        self.retry_forwards();
        self.release_held();
        moved |= self.work_on_sessions();
        moved |= self.send_messages();
        self.submit()?;
        Ok(moved)
    }

    /// Sleeps until a completion comes (socket, log, doorbell) or `timeout` is over; not at all if a peer has something.
    pub fn sleep(&mut self, timeout: Duration) -> engine::Result<()> {
        // Announced first, then looked once more: a peer that comes later rings, and the ring's wait sees that.
        if !self.port.prepare_sleep() {
            return Ok(());
        }
        self.context.metrics.sleeps.add(1);
        let slept = self.context.ring.borrow_mut().wait(timeout);
        self.port.awake();
        slept.map_err(|source| engine::Error::System { operation: "wait on io_uring", source })
    }

    /// True when the server stops and everything that was begun is finished.
    pub fn is_finished(&self) -> bool {
        self.stopping
            && self.shard.is_idle()
            && self.context.mailbox.is_empty()
            && self.forwards.is_empty()
            && self.outbound.iter().all(VecDeque::is_empty)
            && self
                .sessions
                .iter()
                .flatten()
                .all(|session| session.in_flight() == 0 && !session.sending && session.output_len() == 0)
    }

    /// To be called once everything is finished: begins to write down that all of the log was durable by now, so that damage
    /// to its last record is told from a torn tail. False when there is nothing more to wait for.
    pub fn seal(&mut self) -> bool {
        !std::mem::replace(&mut self.sealed, true) && self.shard.wal_mut().seal()
    }

    /// True while a record is on its way to the disk.
    pub fn waits_for_disk(&self) -> bool {
        !self.shard.is_idle()
    }

    /// True once the server stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    // ---- completions ----

    fn reap(&mut self) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        self.context.ring.borrow_mut().reap(REAP_MAX, &mut completions);
        let moved = !completions.is_empty();
        for completion in completions.drain(..) {
            match completion.token & TAG {
                TOKEN_WAL => self.shard.wal_mut().storage_mut().complete(completion),
                TOKEN_ACCEPT => self.accepted(completion),
                TOKEN_RECEIVE => self.received(completion),
                TOKEN_SEND => self.sent(completion),
                TOKEN_BELL => self.bell_count = completion.memory,
                TOKEN_CANCEL => {}
                tag => unreachable!("a completion of nobody: {tag:x}"),
            }
        }
        self.completions = completions;
        moved
    }

    fn submit(&mut self) -> engine::Result<()> {
        self.context
            .ring
            .borrow_mut()
            .submit()
            .map_err(|source| engine::Error::System { operation: "submit to io_uring", source })
    }

    fn push(&mut self, op: Op, token: u64) {
        self.context.ring.borrow_mut().push(op, token);
    }

    /// Keeps a read of the doorbell in the ring, so that a ring of it ends the sleep there.
    fn listen_to_bell(&mut self) {
        if let Some(memory) = self.bell_count.take() {
            let op = Op::Read { file: self.bell.clone(), memory, start: 0, end: size_of::<u64>() };
            self.push(op, TOKEN_BELL);
        }
    }

    // ---- connections ----

    fn accept_more(&mut self) {
        if let Some(listener) = &self.listener
            && !self.accepting
            && !self.stopping
        {
            let op = Op::Accept { listener: listener.clone() };
            self.accepting = true;
            self.push(op, TOKEN_ACCEPT);
        }
    }

    fn accepted(&mut self, completion: Completion) {
        match completion.accepted {
            Some(socket) => {
                self.accepting = false;
                if self.stopping {
                    return;
                }
                if self.context.server.connections() >= self.connections_max {
                    tracing::warn!(limit = self.connections_max, "a connection was refused: the limit is reached");
                    return;
                }
                self.open(socket, &[]);
            }
            // Out of descriptors, most likely. The next heartbeat tries again.
            None if !self.stopping => {
                self.accept_failed = true;
                let error = completion.result.err();
                tracing::warn!(error = error.map(tracing::field::display), "a connection could not be accepted");
            }
            None => {}
        }
    }

    fn open(&mut self, socket: OwnedFd, rest: &[u8]) -> u32 {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.is_active.push(false);
            self.sessions.len() as u32 - 1
        });
        assert!(slot < 1 << SLOT_BITS);
        self.generation = self.generation.wrapping_add(1);
        let id = SessionId { slot, generation: self.generation };
        // Replies are small and one behind the other: without this, each would wait for the last one's acknowledgement.
        if let Err(error) = rustix::net::sockopt::set_tcp_nodelay(&socket, true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        self.sessions[slot as usize] = Some(Session::new(id, socket, rest));
        self.context.metrics.connections.set(self.context.metrics.connections.get() + 1);
        self.activate(slot);
        slot
    }

    fn close(&mut self, slot: u32) -> Session {
        let session = self.sessions[slot as usize].take().expect("open");
        self.free_slots.push(slot);
        self.held.retain(|&held| held != slot);
        self.context.metrics.connections.set(self.context.metrics.connections.get() - 1);
        session
    }

    fn activate(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.is_active[slot as usize], true) {
            self.active.push_back(slot);
        }
    }

    /// The session of a completion. It is there: a session is forgotten only when nothing of it is in the ring.
    fn session_of(&mut self, token: u64) -> &mut Session {
        let slot = (token & ((1 << SLOT_BITS) - 1)) as usize;
        self.sessions[slot].as_mut().expect("a session outlives its operations")
    }

    fn received(&mut self, completion: Completion) {
        let token = completion.token;
        let session = self.session_of(token);
        let slot = session.id.slot;
        let count = *completion.result.as_ref().unwrap_or(&0) as usize;
        session.received(completion.memory, count);
        let interrupted = matches!(&completion.result, Err(error) if error.kind() == std::io::ErrorKind::Interrupted);
        if count == 0 && !interrupted {
            session.kill(); // end of stream, or an error: what was acknowledged stands, the rest never was
        }
        self.context.metrics.received_bytes.add(count as u64);
        self.activate(slot);
    }

    fn sent(&mut self, completion: Completion) {
        let token = completion.token;
        let session = self.session_of(token);
        let slot = session.id.slot;
        let count = *completion.result.as_ref().unwrap_or(&0) as usize;
        if completion.result.is_err() {
            session.sending = false;
            session.kill();
        } else if let Some(rest) = session.sent(completion.memory, count) {
            self.push(rest, token);
        }
        self.context.metrics.sent_bytes.add(count as u64);
        let session = self.session_of(token);
        if session.held == Some(Held::Credits) && !session.is_out_of_credits() {
            session.held = None;
        }
        self.activate(slot);
    }

    // ---- sessions ----

    fn work_on_sessions(&mut self) -> bool {
        let mut moved = false;
        for _ in 0..self.active.len() {
            let Some(slot) = self.active.pop_front() else { break };
            self.is_active[slot as usize] = false;
            moved |= self.work_on(slot);
        }
        moved
    }

    fn work_on(&mut self, slot: u32) -> bool {
        let mut moved = false;
        for frame in 0.. {
            let Some(session) = self.sessions[slot as usize].as_mut() else { return true };
            if session.receiving || session.dead || session.closing || session.held.is_some() {
                break;
            }
            if session.is_out_of_credits() {
                session.held = Some(Held::Credits);
                break;
            }
            if frame == FRAMES_MAX {
                self.activate(slot);
                break;
            }
            match session.next(&self.arena) {
                Next::Frame(header) => {
                    moved = true;
                    self.frame(slot, header);
                }
                Next::More => break,
                Next::NoMemory => {
                    self.hold(slot, Held::Memory);
                    break;
                }
                Next::Broken(error) => {
                    codec::encode_error(None, error.status(), &error.to_string(), session.output());
                    session.closing = true;
                    self.context.metrics.errors.add(1);
                    break;
                }
            }
        }
        self.start_io(slot);
        moved
    }

    pub(super) fn hold(&mut self, slot: u32, why: Held) {
        let session = self.sessions[slot as usize].as_mut().expect("open");
        session.held = Some(why);
        self.context.metrics.backpressure.add(1);
        self.held.push(slot);
    }

    /// Lets sessions that waited for memory or the log try again.
    fn release_held(&mut self) {
        // A log that refuses everything has no room either; who waits for it is to be told.
        let may_go_on =
            |shard: &Shard<DiskStorage, Ticket>| shard.has_room(codec::HEADER_BYTES) || shard.refusal().is_some();
        if self.held.is_empty() || !may_go_on(&self.shard) {
            return;
        }
        for slot in std::mem::take(&mut self.held) {
            if let Some(session) = self.sessions[slot as usize].as_mut() {
                session.held = None;
                self.activate(slot);
            }
        }
    }

    fn start_io(&mut self, slot: u32) {
        let Some(session) = self.sessions[slot as usize].as_mut() else { return };
        let name = u64::from(slot);
        if session.closing && session.output_len() == 0 && !session.sending {
            session.kill();
        }
        if session.is_over() {
            if session.in_flight() == 0 {
                drop(self.close(slot));
            }
            return;
        }
        let send = session.wants_send().then(|| session.send());
        // While the server stops, nothing new is read; a client that has all its answers is closed.
        let receive = (session.wants_receive() && !self.stopping).then(|| session.receive());
        if let Some(op) = send {
            self.push(op, TOKEN_SEND | name);
        }
        if let Some(op) = receive {
            self.push(op, TOKEN_RECEIVE | name);
        }
    }

    pub(super) fn session_mut(&mut self, slot: u32) -> &mut Session {
        self.sessions[slot as usize].as_mut().expect("open")
    }

    /// Gives a connection that asked for it to another shard.
    pub(super) fn pass_on(&mut self, slot: u32, to: usize, request: u64) {
        let session = self.close(slot);
        let rest = session.rest().into();
        let socket = session.into_socket().expect("nothing is in flight while its frame is worked on");
        self.outbound[to].push_back(Message::Adopt { socket, request, rest });
    }

    /// Which shard serves a connection that does not mind.
    pub(super) fn next_shard(&mut self) -> usize {
        self.next_shard = (self.next_shard + 1) % self.context.shards;
        self.next_shard
    }

    /// Sends a reply to whoever asked, if the connection is still there.
    pub(super) fn reply(&mut self, reply: Reply) {
        let metrics = &self.context.metrics;
        metrics.requests.add(1);
        metrics.errors.add(u64::from(reply.is_error));
        let Some(session) = self.sessions.get_mut(reply.session.slot as usize).and_then(Option::as_mut) else { return };
        if session.id != reply.session {
            return;
        }
        session.end(&reply.request);
        if !session.dead {
            session.push_output(&reply.frame);
        }
        if session.held == Some(Held::Credits) && !session.is_out_of_credits() {
            session.held = None;
        }
        self.activate(reply.session.slot);
    }

    /// Answers a request with what went wrong.
    pub(super) fn refuse(&mut self, session: SessionId, header: &Header, status: Status, message: &str) {
        let mut frame = Vec::new();
        codec::encode_error(Some(header), status, message, &mut frame);
        self.reply(Reply { session, request: *header, frame, is_error: true });
    }

    // ---- messages ----

    fn take_messages(&mut self) -> bool {
        let mut messages = Vec::new();
        self.port.drain(limits::MESH_DRAIN_MAX, |from, message| messages.push((from, message)));
        let moved = !messages.is_empty();
        for (from, message) in messages {
            self.message(from, message);
        }
        moved
    }

    fn message(&mut self, from: usize, message: Message) {
        match message {
            Message::Edges { batch, edges } => {
                self.context.indexing.borrow_mut().receive(from, batch, edges);
                self.context.index_wake();
            }
            Message::EdgesApplied(batch) => self.edges_applied(batch),
            Message::Scan(job) => tasks::spawn_scan(&self.context, job),
            Message::Scanned { ticket, .. } | Message::Found { ticket, .. } | Message::Reply { ticket, .. } => {
                self.context.mailbox.answer(ticket, message);
            }
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
            Message::Forwarded { ticket, result } => self.forwarded_back(ticket, result),
            Message::Install(collection) => self.install(collection, from),
            Message::Remove(collection) => {
                self.shard.partition.borrow_mut().remove(collection);
                self.context.indexing.borrow_mut().remove(collection);
                self.context.collections.borrow_mut().remove(&collection);
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
                if let Some(lsn) = lsn {
                    self.shard.wal_mut().release_before(lsn + 1);
                }
            }
            Message::Heartbeat => self.heartbeat(),
            Message::Stop => self.stop(),
            Message::Request { .. } | Message::Changed | Message::SnapshotReady { .. } => {
                unreachable!("a message for the control thread")
            }
        }
    }

    /// Once a second: what failed for want of something is tried again, and memory that is held without use is given back.
    fn heartbeat(&mut self) {
        self.accepting &= !std::mem::take(&mut self.accept_failed);
        self.arena.trim();
        if self.shard.wal().is_full() {
            self.shard.wal_mut().retry_full();
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
        let answer = self.context.indexing.borrow_mut().applied(batch);
        if let Some((to, message)) = answer {
            self.outbound[to].push_back(message);
        }
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

    fn empty_mailbox(&mut self) -> bool {
        let replies = self.context.mailbox.take_replies();
        let messages = self.context.mailbox.take_messages();
        let moved = !replies.is_empty() || !messages.is_empty();
        for reply in replies {
            self.reply(reply);
        }
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
        let partition = self.shard.partition.borrow();
        let shard = partition.shard();
        let length = |collection: &Arc<Collection>| (collection.spec.id, collection.region.published(shard));
        let published = partition.members().map(|member| length(&member.collection)).collect();
        Message::SnapshotReady { lsn: self.shard.published_lsn(), published }
    }

    fn send_messages(&mut self) -> bool {
        let mut moved = false;
        for (to, messages) in self.outbound.iter_mut().enumerate() {
            if messages.is_empty() {
                continue;
            }
            moved |= self.port.send_batch(to, messages) > 0;
            if self.port.is_gone(to) {
                messages.clear();
            }
        }
        moved
    }

    pub(super) fn post(&mut self, to: usize, message: Message) {
        self.outbound[to].push_back(message);
    }

    // ---- the shard ----

    fn advance_shard(&mut self) -> engine::Result<bool> {
        let mut done: Vec<Done<Ticket>> = Vec::new();
        let moved = self.shard.advance(|finished| done.push(finished))?;
        if moved {
            self.context.index_wake();
        }
        for Done { ticket, result } in done {
            self.finish_write(ticket, result);
        }
        let metrics = &self.context.metrics;
        let wal = self.shard.wal();
        metrics.wal_bytes.set(wal.size_bytes());
        metrics.wal_live_bytes.set(wal.live_bytes());
        metrics.wal_appended_bytes.set(wal.metrics().payload_bytes);
        metrics.wal_writes.set(wal.metrics().writes);
        metrics.poisoned.set(u64::from(wal.poisoned().is_some()));
        Ok(moved)
    }
}
