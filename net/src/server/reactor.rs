//! The data plane of one shard: one bounded turn after the other, until there is nothing to do, then sleep.
//!
//! A turn reaps completions, takes messages from the mesh, lets the shard publish what became durable, sends what tasks
//! left in the mailbox, works on sessions that have bytes, and submits. Nothing in it waits. Parts of it are in
//! `connections`, `messages`, `replaying`, `requests` and `writes`.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use engine::buffers::Arena;
use engine::mesh::Port;
use engine::probes;
use engine::shard::{Done, Message, Shard};
use engine::uring::{Completion, Memory, Op};
use engine::wal::{DiskStorage, TOKEN_WAL, Wal};

use super::ServerOptions;
use super::context::Context;
use super::mailbox::Reply;
use super::memory::MemoryBudget;
use super::replaying::Replaying;
use super::session::{Held, Next, Session, SessionId};
use super::writes::{Forwards, Ticket};
use crate::codec::{self, Header, Status};

/// Completions taken in one turn.
const REAP_MAX: usize = 256;
/// Bytes of a reply from which on it is not copied behind others, if there are none.
const LONG_REPLY_BYTES: usize = 64 << 10;
/// Time after which a turn begins no other frame.
const WORK_MAX: Duration = Duration::from_millis(1);
/// Bytes appended to the log between two looks at whether its front can go.
const TRIM_LOOK_BYTES: u64 = 16 << 20;
/// Frames of one session worked on in one turn.
const FRAMES_MAX: usize = 64;

pub(super) const TOKEN_ACCEPT: u64 = 2 << 56;
const TOKEN_RECEIVE: u64 = 3 << 56;
const TOKEN_SEND: u64 = 4 << 56;
pub(super) const TOKEN_CANCEL: u64 = 5 << 56;
const TOKEN_BELL: u64 = 6 << 56;
pub(super) const TOKEN_VECTORS: u64 = 7 << 56;
const TAG: u64 = 0xff << 56;
pub(super) const SLOT_BITS: u32 = 24;

/// The data plane of one shard.
pub struct Reactor {
    pub(super) context: Rc<Context>,
    pub(super) shard: Shard<DiskStorage, Ticket>,
    /// `None` once the shard has all its rows.
    pub(super) replaying: Option<Replaying>,
    pub(super) arena: Arena,
    pub(super) forwards: Forwards,
    pub(super) port: Port<Message>,
    /// The eventfd that peers ring while this shard sleeps, and what is read from it.
    pub(super) bell: Rc<OwnedFd>,
    pub(super) bell_count: Option<Memory>,
    pub(super) outbound: Vec<VecDeque<Message>>,
    pub(super) listener: Option<Rc<OwnedFd>>,
    pub(super) accepting: bool,
    pub(super) accept_failed: bool,
    pub(super) next_shard: usize,
    pub(super) sessions: Vec<Option<Session>>,
    pub(super) free_slots: Vec<u32>,
    pub(super) generation: u32,
    /// Sessions that may have something to be worked on, received, sent or closed.
    pub(super) active: VecDeque<u32>,
    pub(super) is_active: Vec<bool>,
    /// Sessions that wait for anything but credits.
    pub(super) held: Vec<u32>,
    pub(super) memory: MemoryBudget,
    pub(super) index_lag_max: Option<u64>,
    // These three are empty between two turns; they keep their memory.
    pub(super) completions: Vec<Completion>,
    pub(super) messages: Vec<(usize, Message)>,
    pub(super) done: Vec<Done<Ticket>>,
    /// Bytes of frames that the data plane has copied; see the metric of that name.
    pub(super) copied_bytes: u64,
    /// The control thread was asked to let the front of the log go.
    pub(super) trimming: bool,
    /// Bytes appended to the log at which it is looked at whether its front can go.
    trim_due: u64,
    pub(super) stopping: bool,
    pub(super) sealed: bool,
    pub(super) connections_max: usize,
    pub(super) peer_timeout: Duration,
}

impl Reactor {
    /// A data plane; `listener` is given to the shard that accepts.
    pub fn new(
        context: Rc<Context>,
        shard: Shard<DiskStorage, Ticket>,
        replaying: Replaying,
        arena: Arena,
        port: Port<Message>,
        listener: Option<OwnedFd>,
        options: &ServerOptions,
    ) -> engine::Result<Reactor> {
        let participants = port.participants();
        let bell = port.doorbell().as_fd().try_clone_to_owned();
        let bell = bell.map_err(|source| engine::Error::System { operation: "duplicate an eventfd", source })?;
        Ok(Reactor {
            bell: Rc::new(bell),
            bell_count: Some(Memory::Heap(vec![0; size_of::<u64>()].into_boxed_slice())),
            context,
            shard,
            replaying: Some(replaying),
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
            memory: MemoryBudget::new(options.memory_budget.unwrap_or(0)),
            index_lag_max: options.index_lag_max,
            completions: Vec::with_capacity(REAP_MAX),
            messages: Vec::new(),
            done: Vec::new(),
            copied_bytes: 0,
            trimming: false,
            trim_due: 0,
            stopping: false,
            sealed: false,
            connections_max: options.connections_max,
            peer_timeout: options.peer_timeout,
        })
    }

    /// One turn. True when something moved.
    pub fn turn(&mut self) -> engine::Result<bool> {
        self.context.metrics.turns.add(1);
        self.accept_more();
        self.listen_to_bell();
        let mut moved = self.reap();
        moved |= self.take_messages();
        moved |= self.replay()?;
        moved |= self.advance_shard()?;
        moved |= self.empty_mailbox();
        self.retry_forwards();
        self.retry_deletions();
        self.release_held();
        moved |= self.work_on_sessions();
        self.empty_out_tray();
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
        probes::shard_parked(self.context.index);
        let slept = self.context.ring.borrow_mut().wait(timeout);
        probes::shard_awake(self.context.index);
        self.port.awake();
        slept.map_err(|source| engine::Error::System { operation: "wait on io_uring", source })
    }

    /// True when the server stops and everything that was begun is finished.
    pub fn is_finished(&self) -> bool {
        self.stopping
            && self.shard.is_idle()
            && self.context.mailbox.is_empty()
            && !self.context.is_helping()
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
        !std::mem::replace(&mut self.sealed, true) && self.shard.wal_mut().is_some_and(Wal::seal)
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
                TOKEN_WAL => {
                    let wal = self.shard.wal_mut().expect("it has written");
                    wal.storage_mut().complete(completion);
                }
                TOKEN_ACCEPT => self.accepted(completion),
                TOKEN_RECEIVE => self.received(completion),
                TOKEN_SEND => self.sent(completion),
                TOKEN_BELL => self.bell_count = completion.memory,
                TOKEN_VECTORS => {
                    let token = completion.token & !TAG;
                    self.context.reads.borrow_mut().complete(Completion { token, ..completion });
                }
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

    pub(super) fn push(&mut self, op: Op, token: u64) {
        self.context.ring.borrow_mut().push(op, token);
    }

    /// Keeps a read of the doorbell in the ring, so that a ring of it ends the sleep there.
    fn listen_to_bell(&mut self) {
        if let Some(memory) = self.bell_count.take() {
            let op = Op::Read { file: self.bell.clone(), memory, start: 0, end: size_of::<u64>() };
            self.push(op, TOKEN_BELL);
        }
    }

    // ---- sessions ----

    pub(super) fn activate(&mut self, slot: u32) {
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
        let session = self.sessions[slot as usize].as_ref().expect("looked at");
        if let Some((header, arriving)) = session.arriving()
            && session.greeted
            && session.knows_shards
        {
            self.shard.partition.borrow_mut().fill_ahead(header.collection, header.fingerprint, &arriving);
        }
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
        let shard = self.context.index;
        give_credits(shard, self.session_of(token));
        self.activate(slot);
    }

    fn work_on_sessions(&mut self) -> bool {
        let mut moved = false;
        let began = Instant::now();
        for _ in 0..self.active.len() {
            let Some(slot) = self.active.pop_front() else { break };
            self.is_active[slot as usize] = false;
            moved |= self.work_on(slot, began);
            // Large frames take milliseconds each. Searches wait for the end of the turn; the other sessions go first in the next.
            if began.elapsed() >= WORK_MAX {
                break;
            }
        }
        moved
    }

    fn work_on(&mut self, slot: u32, began: Instant) -> bool {
        let mut moved = false;
        for frame in 0.. {
            let Some(session) = self.sessions[slot as usize].as_mut() else { return true };
            if session.receiving || session.dead || session.closing || session.held.is_some() {
                break;
            }
            if session.is_out_of_credits() {
                session.held = Some(Held::Credits);
                probes::session_held(self.context.index, slot, Held::Credits.number());
                break;
            }
            if frame == FRAMES_MAX || (frame > 0 && began.elapsed() >= WORK_MAX) {
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
                    self.hold(slot, Held::Buffers);
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
        self.copied_bytes += session.take_copied_bytes();
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

    /// Sends a reply to whoever asked, if the connection is still there.
    pub(super) fn reply(&mut self, reply: Reply) {
        let Reply { session, request, frame, is_error } = reply;
        self.reply_with(session, &request, is_error, |output| {
            match output.is_empty() && frame.len() >= LONG_REPLY_BYTES {
                // It is sent from where it is.
                true => *output = frame,
                false => output.extend_from_slice(&frame),
            }
        });
    }

    /// As [`Reactor::reply`], with a reply that is encoded to where it is sent from.
    pub(super) fn reply_with(
        &mut self,
        id: SessionId,
        request: &Header,
        is_error: bool,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let metrics = &self.context.metrics;
        metrics.requests.add(1);
        metrics.errors.add(u64::from(is_error));
        let Some(session) = self.sessions.get_mut(id.slot as usize).and_then(Option::as_mut) else { return };
        if session.id != id {
            return;
        }
        session.end(request);
        let before = session.output_len();
        if !session.dead {
            encode(session.output());
        }
        let bytes = session.output_len() - before;
        probes::request_answered(self.context.index, id.slot, request.request_id, request.opcode, bytes, is_error);
        give_credits(self.context.index, session);
        self.activate(id.slot);
    }

    /// Answers a request with what went wrong.
    pub(super) fn refuse(&mut self, session: SessionId, header: &Header, status: Status, message: &str) {
        self.reply_with(session, header, true, |output| codec::encode_error(Some(header), status, message, output));
    }

    // ---- the shard ----

    fn advance_shard(&mut self) -> engine::Result<bool> {
        let mut done = std::mem::take(&mut self.done);
        let moved = self.shard.advance(|finished| done.push(finished))?;
        if moved {
            self.context.index_wake();
        }
        for Done { ticket, result } in done.drain(..) {
            self.finish_write(ticket, result);
        }
        self.done = done;
        let metrics = &self.context.metrics;
        let totals = self.shard.totals();
        metrics.rows_written.set(totals.rows);
        metrics.rows_replaced.set(totals.replaced);
        metrics.rows_deleted.set(totals.deleted);
        metrics.rows_moved.set(self.shard.partition.borrow().rows_moved());
        let Some(wal) = self.shard.wal() else { return Ok(moved) };
        metrics.wal_bytes.set(wal.size_bytes());
        metrics.wal_live_bytes.set(wal.live_bytes());
        metrics.wal_appended_bytes.set(wal.metrics().payload_bytes);
        metrics.wal_writes.set(wal.metrics().writes);
        metrics.filled_bytes.set(self.shard.partition.borrow().filled_bytes());
        metrics.copied_bytes.set(self.copied_bytes + wal.metrics().copied_bytes);
        metrics.poisoned.set(u64::from(wal.poisoned().is_some()));
        self.trim_log();
        Ok(moved)
    }

    /// Asks for leave to let the front of the log go where nothing of it lives, after every so many bytes.
    fn trim_log(&mut self) {
        let appended = self.shard.wal().map_or(0, |wal| wal.metrics().payload_bytes);
        if self.trimming || appended < self.trim_due {
            return;
        }
        self.trim_due = appended + TRIM_LOOK_BYTES;
        if let Some(lsn) = self.shard.trim_point() {
            self.trimming = true;
            self.post(self.context.control(), Message::Trim(lsn));
        }
    }
}

/// Reads on from a connection that was out of credits and has some again.
fn give_credits(shard: usize, session: &mut Session) {
    if session.held == Some(Held::Credits) && !session.is_out_of_credits() {
        session.held = None;
        probes::session_released(shard, session.id.slot);
    }
}
