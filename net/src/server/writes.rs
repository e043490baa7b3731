//! Writes and deletes: from a frame to the log, and back to whoever waits.
//!
//! A frame whose rows all live here is staged and logged as it is. Any other is checked as a whole, split by home, and its
//! parts are sent over the mesh; each part is atomic, and the client hears when all are durable.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use engine::batch::BatchView;
use engine::buffers::Buffer;
use engine::collection::memory_in_use;
use engine::ids::IdList;
use engine::placement;
use engine::probes;
use engine::region;
use engine::schema::Schema;
use engine::shard::update::Skipped;
use engine::shard::{Ack, Admission, Message, Operation, Outcome, Pressure, Staged};
use engine::wal::{HEADROOM, Lsn, Payload};

use super::reactor::Reactor;
use super::session::{Frame, Held, SessionId};
use super::updates;
use crate::codec::{self, Deleted, HEADER_BYTES, Header, Opcode, Request, Status, Updated, Written};

/// Frames up to this are copied into the log's group buffer; longer ones are written from where they lie.
pub(super) const COPY_BYTES_MAX: usize = 256 << 10;

/// Who waits for an operation.
#[derive(Clone)]
pub enum Ticket {
    /// A client.
    Client {
        /// Its connection.
        session: SessionId,
        /// The request.
        header: Header,
        /// What held it back.
        pressure: Pressure,
        /// What was left out of an update.
        skipped: Skipped,
    },
    /// A shard that forwarded a part to us.
    Peer {
        /// Its index.
        from: usize,
        /// Its number for it.
        ticket: u64,
        /// What held it back here.
        pressure: Pressure,
        /// What was left out of an update.
        skipped: Skipped,
    },
    /// A task of this shard that deletes rows piece by piece.
    Task {
        /// Its number for the piece.
        ticket: u64,
    },
}

impl Ticket {
    /// What was left out of the update that it is for.
    pub(super) fn skipped_mut(&mut self) -> &mut Skipped {
        match self {
            Ticket::Client { skipped, .. } | Ticket::Peer { skipped, .. } => skipped,
            Ticket::Task { .. } => unreachable!("a task updates nothing"),
        }
    }
}

/// A part of an operation that another shard forwarded, before there was room for it.
struct Forwarded {
    from: usize,
    ticket: u64,
    frame: Box<[u8]>,
    pressure: Pressure,
    /// Bytes that it had no room for as whole rows, if it is an update.
    whole_bytes: usize,
}

/// A request whose parts are on their way on several shards.
struct Scattered {
    session: SessionId,
    header: Header,
    missing: usize,
    pressure: Pressure,
    outcome: Outcome,
    lsn: Lsn,
    error: Option<engine::Error>,
}

/// Parts of operations that travel over the mesh.
#[derive(Default)]
pub struct Forwards {
    waiting: HashMap<u64, Scattered>,
    inbox: VecDeque<Forwarded>,
    last_ticket: u64,
}

impl Forwards {
    /// True when nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.inbox.is_empty()
    }
}

/// What went wrong with a frame.
pub enum Refusal {
    /// Its bytes.
    Frame(codec::FrameError),
    /// What it asks for.
    Engine(engine::Error),
}

impl From<codec::FrameError> for Refusal {
    fn from(error: codec::FrameError) -> Refusal {
        Refusal::Frame(error)
    }
}

impl From<engine::Error> for Refusal {
    fn from(error: engine::Error) -> Refusal {
        Refusal::Engine(error)
    }
}

impl Refusal {
    /// Code and words for the client.
    pub fn describe(&self) -> (Status, String) {
        match self {
            Refusal::Frame(error) => (error.status(), error.to_string()),
            Refusal::Engine(error) => (Status::from(error), error.to_string()),
        }
    }
}

/// The operation that a log record holds: the frame as it came. What it demanded of its ids was decided before it was logged.
pub fn operation_of(payload: &[u8]) -> engine::Result<Operation<'_>> {
    let malformed = |_| engine::Error::MalformedBatch { problem: "the log record is not a frame of this version" };
    let head = payload.first_chunk::<HEADER_BYTES>().ok_or(()).map_err(malformed)?;
    let header = Header::decode(head).map_err(|_| ()).map_err(malformed)?;
    operation(&header, &payload[HEADER_BYTES..]).map_err(|_| ()).map_err(malformed)
}

fn operation<'a>(header: &Header, body: &'a [u8]) -> Result<Operation<'a>, codec::FrameError> {
    match Request::decode(header, body)? {
        Request::Write(batch) => {
            Ok(Operation::Write { collection: header.collection, fingerprint: header.fingerprint, batch })
        }
        Request::Delete(ids) => Ok(Operation::Delete { collection: header.collection, ids }),
        _ => Err(codec::FrameError::UnknownOpcode { opcode: header.opcode }),
    }
}

/// Whether a frame writes rows; otherwise it deletes some.
fn is_write(header: &Header) -> bool {
    header.opcode != Opcode::Delete.code()
}

pub(super) fn ack_of(header: &Header) -> Ack {
    if header.acknowledges_from_memory() { Ack::Memory } else { Ack::Durable }
}

impl Reactor {
    /// Works on a write or delete of a client.
    pub(super) fn write_frame(&mut self, slot: u32, header: Header) {
        let frame_bytes = HEADER_BYTES + header.body_len as usize;
        let refusal = self.shard.refusal();
        if refusal.is_none()
            && let Some(why) = self.has_to_wait(&header, frame_bytes)
        {
            return self.hold(slot, why);
        }
        let admitted = refusal.map_or_else(|| self.admit(&header, frame_bytes), Err);
        let session = self.session_mut(slot);
        session.begin(&header);
        let id = session.id;
        let pressure = match admitted {
            Ok(memory) => std::mem::take(&mut session.pressure) | memory,
            Err(error) => {
                self.drop_frame(slot, &header);
                return self.refuse(id, &header, Status::from(&error), &error.to_string());
            }
        };
        let ticket = Ticket::Client { session: id, header, pressure, skipped: Skipped::default() };
        // The arms differ in who owns the bytes while they are staged; what happens to them is the same.
        let session = self.sessions[slot as usize].as_mut().expect("open");
        let admitted = match session.frame(&header) {
            Frame::Small(frame) => match stage(&mut self.shard, &header, frame, body_crc(frame), None) {
                Ok((staged, crc)) => self.shard.submit(staged, Payload::Copy(frame), crc, ack_of(&header), ticket),
                Err(refusal) => return self.refuse_or_scatter(slot, ticket, None, refusal),
            },
            Frame::Large { buffer, len, body_crc } => {
                let frame = &buffer[HEADROOM..HEADROOM + len];
                match stage(&mut self.shard, &header, frame, body_crc, Some(buffer.number())) {
                    Ok((staged, crc)) => {
                        let payload = match len <= COPY_BYTES_MAX {
                            true => Payload::Copy(frame),
                            false => Payload::Whole { buffer, len },
                        };
                        self.shard.submit(staged, payload, crc, ack_of(&header), ticket)
                    }
                    Err(refusal) => return self.refuse_or_scatter(slot, ticket, Some((buffer, len)), refusal),
                }
            }
        };
        self.session_mut(slot).consume(&header);
        match admitted {
            Ok(Admission::Waiting) => {}
            Ok(Admission::Acknowledged(ticket, rows, lsn)) => {
                self.finish_write(ticket, Ok((accepted(&header, rows), lsn)));
            }
            Err(error) => self.refuse(id, &header, Status::from(&error), &error.to_string()),
        }
    }

    /// What a write or delete has to wait for.
    pub(super) fn has_to_wait(&self, header: &Header, frame_bytes: usize) -> Option<Held> {
        if self.is_replaying() {
            return Some(Held::Recovery);
        }
        if is_write(header) && self.is_index_behind(header.collection) {
            return Some(Held::IndexLag(header.collection));
        }
        (!self.shard.has_room(frame_bytes)).then_some(Held::Log)
    }

    /// Checks a write against the memory budget; deletes take none.
    pub(super) fn admit(&mut self, header: &Header, frame_bytes: usize) -> engine::Result<Pressure> {
        if !is_write(header) {
            return Ok(Pressure::NONE);
        }
        self.context.touch(header.collection);
        let collections = &self.context.collections;
        let admitted = self.memory.admit(frame_bytes as u64, || memory_in_use(collections.borrow().values()));
        admitted.inspect_err(|_| self.context.metrics.refused_for_memory.add(1))
    }

    fn drop_frame(&mut self, slot: u32, header: &Header) {
        let session = self.session_mut(slot);
        drop(session.frame(header));
        session.consume(header);
    }

    /// A frame that could not be staged here: split it if its rows live elsewhere, refuse it otherwise.
    fn refuse_or_scatter(&mut self, slot: u32, ticket: Ticket, large: Option<(Buffer, usize)>, refusal: Refusal) {
        let Ticket::Client { session: id, header, pressure, .. } = ticket else { unreachable!("a client's frame") };
        let small: Option<Box<[u8]>> = match (&large, &refusal) {
            (None, Refusal::Engine(engine::Error::Misplaced { .. })) => match self.session_mut(slot).frame(&header) {
                Frame::Small(frame) => Some(frame.into()),
                Frame::Large { .. } => unreachable!("a large frame was given"),
            },
            _ => None,
        };
        self.session_mut(slot).consume(&header);
        let refusal = match refusal {
            Refusal::Engine(engine::Error::Misplaced { .. }) => {
                let frame = match (&small, &large) {
                    (Some(frame), _) => frame,
                    (None, Some((buffer, len))) => &buffer[HEADROOM..HEADROOM + len],
                    (None, None) => unreachable!("copied above"),
                };
                match self.scatter(id, &header, pressure, frame) {
                    Ok(()) => {
                        self.session_mut(slot).knows_shards = false;
                        return;
                    }
                    Err(refusal) => refusal,
                }
            }
            refusal => refusal,
        };
        let (status, message) = refusal.describe();
        self.refuse(id, &header, status, &message);
    }

    /// Sends each part of an operation to the shard where its rows live.
    pub(super) fn scatter(
        &mut self,
        session: SessionId,
        header: &Header,
        pressure: Pressure,
        frame: &[u8],
    ) -> Result<(), Refusal> {
        let shards = self.context.shards;
        // The one that batches are taken for, which may have a column more than the one that is shown.
        let collection = self.shard.partition.borrow().member(header.collection)?.collection.clone();
        let parts = split(header, &frame[HEADER_BYTES..], &collection.spec.schema, shards)?;
        self.forwards.last_ticket += 1;
        let ticket = self.forwards.last_ticket;
        let missing = parts.len();
        let scattered =
            Scattered { session, header: *header, missing, pressure, outcome: Outcome::default(), lsn: 0, error: None };
        self.forwards.waiting.insert(ticket, scattered);
        for (home, mut frame) in parts {
            self.copied_bytes += frame.len() as u64;
            codec::seal_frame(&mut frame, *header);
            let frame = frame.into_boxed_slice();
            if home == self.context.index {
                self.forwarded_in(home, ticket, frame);
            } else {
                self.post(home, Message::Forward { ticket, frame });
            }
        }
        Ok(())
    }

    /// A part of an operation has come in whose rows live here.
    pub(super) fn forwarded_in(&mut self, from: usize, ticket: u64, frame: Box<[u8]>) {
        self.forwards.inbox.push_back(Forwarded { from, ticket, frame, pressure: Pressure::NONE, whole_bytes: 0 });
    }

    /// Works on forwarded parts as long as the log has room.
    pub(super) fn retry_forwards(&mut self) {
        while let Some(forwarded) = self.forwards.inbox.pop_front() {
            let Forwarded { from, ticket, frame, pressure, whole_bytes } = forwarded;
            let header = header_of(&frame);
            let is_update = header.opcode == Opcode::Update.code();
            let peer = Ticket::Peer { from, ticket, pressure, skipped: Skipped::default() };
            // A shard that stops while it replays takes nothing any more.
            let stops = self.stopping && self.replaying.is_some();
            if let Some(error) = self.shard.refusal().or(stops.then_some(engine::Error::Stopping)) {
                self.finish_write(peer, Err(error));
                continue;
            }
            let needed = frame.len().max(whole_bytes);
            let is_long = !is_update && frame.len() > COPY_BYTES_MAX;
            let buffer = if is_long { self.arena.take(HEADROOM + frame.len()) } else { None };
            let no_memory = is_long && buffer.is_none();
            if no_memory || !self.shard.has_room(needed) {
                let why = match (self.is_replaying(), no_memory) {
                    (true, _) => Held::Recovery,
                    (false, true) => Held::Buffers,
                    (false, false) => Held::Log,
                };
                let pressure = pressure | why.pressure();
                self.forwards.inbox.push_front(Forwarded { from, ticket, frame, pressure, whole_bytes });
                return;
            }
            if is_update {
                let Err((why, whole_bytes)) = self.forwarded_update(&header, &frame, peer) else { continue };
                let pressure = pressure | why.pressure();
                self.forwards.inbox.push_front(Forwarded { from, ticket, frame, pressure, whole_bytes });
                return;
            }
            let staged = stage(&mut self.shard, &header, &frame, body_crc(&frame), None);
            let spare = peer.clone();
            let admitted = match (staged, buffer) {
                (Ok((staged, crc)), Some(mut buffer)) => {
                    buffer[HEADROOM..HEADROOM + frame.len()].copy_from_slice(&frame);
                    self.copied_bytes += frame.len() as u64;
                    let payload = Payload::Whole { buffer, len: frame.len() };
                    self.shard.submit(staged, payload, crc, ack_of(&header), peer)
                }
                (Ok((staged, crc)), None) => {
                    self.shard.submit(staged, Payload::Copy(&frame), crc, ack_of(&header), peer)
                }
                (Err(Refusal::Engine(error)), _) => Err(error),
                (Err(Refusal::Frame(_)), _) => Err(engine::Error::MalformedBatch { problem: "a peer's frame" }),
            };
            match admitted {
                Ok(Admission::Waiting) => {}
                Ok(Admission::Acknowledged(peer, rows, lsn)) => {
                    self.finish_write(peer, Ok((accepted(&header, rows), lsn)));
                }
                Err(error) => self.finish_write(spare, Err(error)),
            }
        }
    }

    /// A part of one of our operations is done.
    pub(super) fn forwarded_back(&mut self, ticket: u64, pressure: Pressure, result: engine::Result<(Outcome, Lsn)>) {
        let scattered = self.forwards.waiting.get_mut(&ticket).expect("answered once a part");
        scattered.missing -= 1;
        scattered.pressure = scattered.pressure | pressure;
        match result {
            Ok((outcome, lsn)) => {
                scattered.outcome.rows += outcome.rows;
                scattered.outcome.replaced += outcome.replaced;
                scattered.outcome.deleted += outcome.deleted;
                scattered.outcome.skipped = scattered.outcome.skipped + outcome.skipped;
                scattered.lsn = scattered.lsn.max(lsn);
            }
            Err(error) => scattered.error = Some(error),
        }
        if scattered.missing > 0 {
            return;
        }
        let Scattered { session, header, pressure, outcome, lsn, error, .. } =
            self.forwards.waiting.remove(&ticket).expect("present");
        let result = error.map_or(Ok((outcome, lsn)), Err);
        self.answer_write(session, &header, pressure, result);
    }

    /// Tells whoever waits what became of an operation.
    pub(super) fn finish_write(&mut self, ticket: Ticket, result: engine::Result<(Outcome, Lsn)>) {
        match ticket {
            Ticket::Peer { from, ticket, pressure, skipped } => {
                let result = result.map(|(outcome, lsn)| (Outcome { skipped, ..outcome }, lsn));
                if from == self.context.index {
                    self.forwarded_back(ticket, pressure, result);
                } else {
                    self.post(from, Message::Forwarded { ticket, pressure, result });
                }
            }
            Ticket::Task { ticket } => {
                let done = Message::Forwarded { ticket, pressure: Pressure::NONE, result };
                self.context.mailbox.answer(ticket, 1, done);
            }
            Ticket::Client { session, header, pressure, skipped } => {
                let result = result.map(|(outcome, lsn)| (Outcome { skipped, ..outcome }, lsn));
                self.answer_write(session, &header, pressure, result);
            }
        }
    }

    fn answer_write(
        &mut self,
        session: SessionId,
        header: &Header,
        pressure: Pressure,
        result: engine::Result<(Outcome, Lsn)>,
    ) {
        match result {
            Ok((outcome, lsn)) => {
                self.reply_with(session, header, false, |output| written(header, outcome, pressure, lsn, output));
                probes::write_acknowledged(self.context.index, session.slot, header.request_id, lsn);
            }
            Err(error) => self.refuse(session, header, Status::from(&error), &error.to_string()),
        }
    }
}

/// Cuts the body of an operation by the homes of its rows: the shard, and a frame to be sealed, of each part. All of it is checked here,
/// because a part that was accepted elsewhere cannot be taken back.
fn split(header: &Header, body: &[u8], schema: &Arc<Schema>, shards: usize) -> Result<Vec<(usize, Vec<u8>)>, Refusal> {
    if header.opcode == Opcode::Update.code() {
        return updates::split_update(header, body, schema, shards);
    }
    match operation(header, body)? {
        Operation::Write { batch, fingerprint, .. } => {
            let batch = BatchView::parse(schema.known_version(fingerprint)?, batch)?;
            region::check_vectors(&batch)?;
            batch.check_json()?;
            Ok(batch.split(shards, HEADER_BYTES)?.into_iter().map(|part| (part.shard, part.message)).collect())
        }
        Operation::Delete { ids, .. } => {
            let mut homes: Vec<Vec<usize>> = vec![Vec::new(); shards];
            for (place, ident) in ids.iter().enumerate() {
                homes[placement::home(ident, shards)].push(place);
            }
            let kind = schema.id_kind();
            let part = |(home, places): (usize, Vec<usize>)| {
                let list = IdList::from_ids(kind, places.iter().map(|&place| ids.get(place)));
                let mut frame = vec![0; HEADER_BYTES];
                let view = list.view();
                codec::encode_ids(kind, (0..view.len()).map(|place| view.get(place)), &mut frame);
                (home, frame)
            };
            Ok(homes.into_iter().enumerate().filter(|(_, places)| !places.is_empty()).map(part).collect())
        }
    }
}

/// Header of a frame that a shard made.
fn header_of(frame: &[u8]) -> Header {
    let head = frame.first_chunk::<HEADER_BYTES>().expect("made by a peer");
    Header::decode(head).expect("made by a peer")
}

/// Checksum of the body of a whole frame.
fn body_crc(frame: &[u8]) -> u32 {
    codec::extend_crc(0, &frame[HEADER_BYTES..])
}

/// Checks a frame's body, of which `body_crc` is the checksum, and stages its operation. Returns the checksum over the whole frame,
/// for the log.
pub(super) fn stage(
    shard: &mut engine::shard::Shard<engine::wal::DiskStorage, Ticket>,
    header: &Header,
    frame: &[u8],
    body_crc: u32,
    arrival: Option<u64>,
) -> Result<(Staged, u32), Refusal> {
    let (head, body) = frame.split_first_chunk::<HEADER_BYTES>().expect("a whole frame");
    codec::check_body_crc(header, body_crc)?;
    let operation = operation(header, body)?;
    let staged = shard.stage(operation, header.presence()?, arrival)?;
    Ok((staged, codec::frame_crc(head, header.body_crc, header.body_len)))
}

/// What is known of an operation that is acknowledged before it is published: how many rows or ids it names.
fn accepted(header: &Header, count: u32) -> Outcome {
    if !is_write(header) {
        Outcome { deleted: count, ..Outcome::default() }
    } else {
        Outcome { rows: count, ..Outcome::default() }
    }
}

fn written(header: &Header, outcome: Outcome, pressure: Pressure, lsn: Lsn, output: &mut Vec<u8>) {
    let Outcome { rows, replaced, deleted, skipped } = outcome;
    codec::encode_frame(header.reply(), output, |body| {
        if header.opcode == Opcode::Update.code() {
            Updated { rows, missing: skipped.missing, unmet: skipped.unmet, pressure, lsn }.encode(body);
        } else if is_write(header) {
            Written { rows, inserted: rows - replaced, replaced, pressure, lsn }.encode(body);
        } else {
            Deleted { deleted, pressure, lsn }.encode(body);
        }
    });
}
