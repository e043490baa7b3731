//! One connection: the bytes that came and are not used up, the bytes that wait to be sent, and what may happen next.
//!
//! Small frames are gathered in a staging buffer, several at a time. A frame that does not fit there is received into one
//! aligned buffer of the shard's arena, behind headroom for the log's header, so that it goes to disk from where it lies.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use engine::batch::Arriving;
use engine::buffers::{Arena, Buffer};
use engine::limits;
use engine::shard::Pressure;
use engine::uring::{Memory, Op};
use engine::wal::HEADROOM;

use crate::codec::{self, FrameError, HEADER_BYTES, Header, Opcode};

/// Bytes of the staging buffer of a connection.
pub const STAGING_BYTES: usize = 16 << 10;

/// Bytes of a frame that are received into the arena at once. Their checksum is made while they are in the cache of the core that
/// copied them: a second pass over the whole frame reads it from memory again.
const PIECE_BYTES: usize = 256 << 10;

/// Most memory of a send that is kept for the next one: replies to writes and small searches fit.
const SPARE_BYTES_MAX: usize = 4 << 10;

/// Heartbeats (seconds) within which a frame that is received into the arena has to arrive whole.
const FRAME_BEATS_MAX: u32 = 60;

/// Names a session of a shard; a slot that is used again has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// Slot.
    pub slot: u32,
    /// Use of the slot.
    pub generation: u32,
}

/// Why no more is read from a session for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The arena has no room for its frame.
    Buffers,
    /// The log has no room for its operation.
    Log,
    /// The log is being replayed.
    Recovery,
    /// Too many rows of this collection wait for the indexer.
    IndexLag(u32),
    /// Too many of its requests are being worked on, or too many bytes of replies wait for it.
    Credits,
}

impl Held {
    /// What tracers are told.
    pub fn number(self) -> u32 {
        match self {
            Held::Buffers => 0,
            Held::Log => 1,
            Held::Credits => 2,
            Held::Recovery => 3,
            Held::IndexLag(_) => 4,
        }
    }

    /// What a client is told.
    pub fn pressure(self) -> Pressure {
        match self {
            Held::Buffers => Pressure::BUFFERS,
            Held::Log => Pressure::DISK,
            Held::Recovery => Pressure::RECOVERY,
            Held::IndexLag(_) => Pressure::INDEX_LAG,
            Held::Credits => Pressure::NONE,
        }
    }
}

/// A frame that is being received into the arena.
struct Large {
    buffer: Option<Buffer>,
    header: Header,
    filled: usize,
    end: usize,
    /// Checksum of the bytes of the body that are there.
    body_crc: u32,
    beats: u32,
}

/// A frame that is there as a whole.
pub enum Frame<'a> {
    /// In the staging buffer.
    Small(&'a [u8]),
    /// In the arena, behind the log's headroom: `len` bytes, and the checksum of the body.
    Large { buffer: Buffer, len: usize, body_crc: u32 },
}

/// What the bytes that are there amount to.
pub enum Next {
    /// A whole frame, with its header, is there.
    Frame(Header),
    /// More has to come.
    More,
    /// There is no memory for the frame that comes.
    NoMemory,
    /// The stream cannot be trusted any more.
    Broken(FrameError),
}

/// A connection.
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// True once HELLO was answered.
    pub greeted: bool,
    /// False once it has sent rows of other shards.
    pub knows_shards: bool,
    /// Why it is not read from.
    pub held: Option<Held>,
    /// Since when, but for credits.
    pub held_since: Instant,
    /// What has held it back since its last write.
    pub pressure: Pressure,
    /// Bytes that the update at its front had no room for; 0 where there is none.
    pub whole_bytes: usize,
    /// Closed as soon as everything is sent.
    pub closing: bool,
    /// Closed for good; it only waits for the kernel to let go.
    pub dead: bool,
    /// A receive is in the ring.
    pub receiving: bool,
    /// A send is in the ring.
    pub sending: bool,
    /// Requests that are being worked on.
    in_flight: usize,
    /// Those of them whose replies hold rows.
    reads_in_flight: usize,
    /// Their bytes, with headers.
    bytes_in_flight: u64,
    socket: Rc<OwnedFd>,
    staging: Option<Box<[u8]>>,
    used: usize,
    filled: usize,
    large: Option<Large>,
    output: Vec<u8>,
    /// Memory of the last send, for the next.
    spare: Vec<u8>,
    /// Bytes of the send in flight that are not sent, which ends at `send_end` of its memory.
    sent: usize,
    send_end: usize,
    /// Bytes of frames copied since they were last asked for.
    copied_bytes: u64,
}

impl Session {
    /// A connection that `rest` was received from already.
    pub fn new(id: SessionId, socket: OwnedFd, rest: &[u8]) -> Session {
        assert!(rest.len() <= STAGING_BYTES);
        let mut staging = vec![0; STAGING_BYTES].into_boxed_slice();
        staging[..rest.len()].copy_from_slice(rest);
        Session {
            id,
            greeted: false,
            knows_shards: true,
            held: None,
            held_since: Instant::now(),
            pressure: Pressure::NONE,
            whole_bytes: 0,
            closing: false,
            dead: false,
            receiving: false,
            sending: false,
            in_flight: 0,
            reads_in_flight: 0,
            bytes_in_flight: 0,
            socket: Rc::new(socket),
            staging: Some(staging),
            used: 0,
            filled: rest.len(),
            large: None,
            output: Vec::new(),
            spare: Vec::new(),
            sent: 0,
            send_end: 0,
            copied_bytes: rest.len() as u64,
        }
    }

    /// What is there to be worked on.
    pub fn next(&mut self, arena: &Arena) -> Next {
        if let Some(large) = &self.large {
            return if large.filled == large.end { Next::Frame(large.header) } else { Next::More };
        }
        let staging = self.staging.as_ref().expect("no receive in flight");
        let there = &staging[self.used..self.filled];
        let Some(head) = there.first_chunk::<HEADER_BYTES>() else { return Next::More };
        let header = match Header::decode(head) {
            Ok(header) => header,
            Err(error) => return Next::Broken(error),
        };
        let frame_bytes = HEADER_BYTES + header.body_len as usize;
        if frame_bytes <= there.len() {
            return Next::Frame(header);
        }
        if frame_bytes <= STAGING_BYTES {
            return Next::More;
        }
        let Some(mut buffer) = arena.take(HEADROOM + frame_bytes) else { return Next::NoMemory };
        let filled = HEADROOM + there.len();
        buffer[HEADROOM..filled].copy_from_slice(there);
        self.copied_bytes += there.len() as u64;
        (self.used, self.filled) = (0, 0);
        let body_crc = codec::extend_crc(0, &buffer[HEADROOM + HEADER_BYTES..filled]);
        let end = HEADROOM + frame_bytes;
        self.large = Some(Large { buffer: Some(buffer), header, filled, end, body_crc, beats: 0 });
        Next::More
    }

    /// The frame that [`Session::next`] told of. A small one stays until [`Session::consume`].
    pub fn frame(&mut self, header: &Header) -> Frame<'_> {
        let frame_bytes = HEADER_BYTES + header.body_len as usize;
        if let Some(large) = &mut self.large {
            let buffer = large.buffer.take().expect("a frame is taken once");
            return Frame::Large { buffer, len: frame_bytes, body_crc: large.body_crc };
        }
        let staging = self.staging.as_ref().expect("no receive in flight");
        Frame::Small(&staging[self.used..self.used + frame_bytes])
    }

    /// Gives a large frame back that was taken and is to be worked on later.
    pub fn put_back(&mut self, buffer: Buffer) {
        let before = self.large.as_mut().expect("it was taken").buffer.replace(buffer);
        assert!(before.is_none(), "a frame is put back once");
    }

    /// The frame that [`Session::next`] told of is done with.
    pub fn consume(&mut self, header: &Header) {
        if self.large.take().is_none() {
            self.used += HEADER_BYTES + header.body_len as usize;
        }
    }

    /// Work on a request begins: it counts against the credits of the connection until [`Session::end`].
    pub fn begin(&mut self, request: &Header) {
        self.in_flight += 1;
        self.reads_in_flight += usize::from(is_read(request));
        self.bytes_in_flight += frame_bytes(request);
    }

    /// Work on a request is over.
    pub fn end(&mut self, request: &Header) {
        self.in_flight -= 1;
        self.reads_in_flight -= usize::from(is_read(request));
        self.bytes_in_flight -= frame_bytes(request);
    }

    /// Requests that are being worked on.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes that came behind the frames used up so far.
    pub fn rest(&self) -> &[u8] {
        &self.staging.as_ref().expect("no receive in flight")[self.used..self.filled]
    }

    /// The socket, to be passed to another shard. Fails while an operation is in flight.
    pub fn into_socket(self) -> Option<OwnedFd> {
        Rc::try_unwrap(self.socket).ok()
    }

    /// Bytes of frames that were copied since the last call.
    pub fn take_copied_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.copied_bytes)
    }

    /// True when a receive may be started.
    pub fn wants_receive(&self) -> bool {
        !self.receiving && self.held.is_none() && !self.closing && !self.dead
    }

    /// The receive that comes next.
    pub fn receive(&mut self) -> Op {
        self.receiving = true;
        let socket = self.socket.clone();
        if let Some(large) = &mut self.large {
            let memory = Memory::Arena(large.buffer.take().expect("not in flight"));
            let end = large.end.min(large.filled + PIECE_BYTES);
            return Op::Recv { socket, memory, start: large.filled, end, wait_all: true };
        }
        let mut staging = self.staging.take().expect("not in flight");
        if self.used > 0 {
            staging.copy_within(self.used..self.filled, 0);
            self.copied_bytes += (self.filled - self.used) as u64;
            (self.used, self.filled) = (0, self.filled - self.used);
        }
        Op::Recv { socket, memory: Memory::Heap(staging), start: self.filled, end: STAGING_BYTES, wait_all: false }
    }

    /// A receive has ended with `count` bytes.
    pub fn received(&mut self, memory: Option<Memory>, count: usize) {
        self.receiving = false;
        match memory {
            Some(Memory::Heap(staging)) => {
                self.staging = Some(staging);
                self.filled += count;
            }
            Some(Memory::Arena(buffer)) => {
                let large = self.large.as_mut().expect("a large frame was being received");
                let filled = large.filled + count;
                large.body_crc = codec::extend_crc(large.body_crc, &buffer[large.filled..filled]);
                large.filled = filled;
                large.buffer = Some(buffer);
            }
            Some(Memory::Shared(_)) | None => unreachable!("a receive owns its memory"),
        }
    }

    /// A write that is being received into the arena, as far as it is there.
    pub fn arriving(&self) -> Option<(&Header, Arriving<'_>)> {
        let large = self.large.as_ref().filter(|large| large.header.opcode == Opcode::Write.code())?;
        let (buffer, start) = (large.buffer.as_ref()?, HEADROOM + HEADER_BYTES);
        let arrived = large.filled - start;
        Some((&large.header, Arriving { message: &buffer[start..large.end], arrived, number: buffer.number() }))
    }

    /// Where frames may be encoded to, to be sent.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Bytes that wait to be sent.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// True when a send may be started.
    pub fn wants_send(&self) -> bool {
        !self.sending && !self.dead && !self.output.is_empty()
    }

    /// The send of everything that waits.
    pub fn send(&mut self) -> Op {
        self.sending = true;
        let mut memory = std::mem::replace(&mut self.output, std::mem::take(&mut self.spare));
        let end = memory.len();
        (self.sent, self.send_end) = (end, end);
        if memory.capacity() <= SPARE_BYTES_MAX {
            // A box of the whole capacity is made without moving anything, and is as good the next time.
            memory.resize(memory.capacity(), 0);
        }
        let memory = memory.into_boxed_slice();
        Op::Send { socket: self.socket.clone(), memory: Memory::Heap(memory), start: 0, end }
    }

    /// A send has ended with `count` bytes; what is left of it is sent again. Returns the operation for that.
    pub fn sent(&mut self, memory: Option<Memory>, count: usize) -> Option<Op> {
        let left = self.sent - count;
        if left == 0 {
            self.sending = false;
            if let Some(Memory::Heap(memory)) = memory
                && memory.len() <= SPARE_BYTES_MAX
            {
                self.spare = memory.into_vec();
                self.spare.clear();
            }
            return None;
        }
        let memory = memory.expect("a send owns its memory");
        let end = self.send_end;
        let start = end - left;
        self.sent = left;
        Some(Op::Send { socket: self.socket.clone(), memory, start, end })
    }

    /// Ends the connection at once; operations in flight come back with an error.
    pub fn kill(&mut self) {
        if !self.dead {
            self.dead = true;
            self.output = Vec::new();
            // A peer that is gone already has nothing to be told.
            let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Both);
        }
    }

    /// True when nothing of it is in the ring any more and it can be forgotten.
    pub fn is_over(&self) -> bool {
        !self.receiving && !self.sending && (self.dead || (self.closing && self.output.is_empty()))
    }

    /// To be asked once a heartbeat: true when a large frame takes too long to arrive. It holds memory that others need.
    pub fn is_too_slow(&mut self) -> bool {
        let Some(large) = &mut self.large else { return false };
        large.beats += 1;
        !self.dead && large.filled < large.end && large.beats > FRAME_BEATS_MAX
    }

    /// True when it has used up what one connection may have in flight.
    pub fn is_out_of_credits(&self) -> bool {
        let sending = if self.sending { self.sent } else { 0 };
        self.in_flight >= limits::REQUESTS_IN_FLIGHT_MAX
            || self.reads_in_flight >= limits::READS_IN_FLIGHT_MAX
            || self.bytes_in_flight >= limits::REQUEST_BYTES_IN_FLIGHT_MAX
            || self.output.len() + sending >= limits::REPLY_BYTES_WAITING_MAX
    }
}

/// Whether the reply to this request holds rows.
fn is_read(request: &Header) -> bool {
    matches!(
        Opcode::from_code(request.opcode),
        Ok(Opcode::Get | Opcode::Scan | Opcode::Search | Opcode::Count | Opcode::Facets | Opcode::Traverse)
    )
}

fn frame_bytes(request: &Header) -> u64 {
    HEADER_BYTES as u64 + request.body_len
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn session() -> Session {
        let (socket, _peer) = UnixStream::pair().expect("a pair of sockets");
        Session::new(SessionId { slot: 0, generation: 1 }, socket.into(), &[])
    }

    fn request(opcode: Opcode, body_len: u64) -> Header {
        Header { body_len, ..Header::request(opcode, 1, 1) }
    }

    /// Begins requests until the credits are used up, ends one, and returns how many it took.
    fn begun_until_out(request: &Header) -> usize {
        let mut session = session();
        while !session.is_out_of_credits() {
            session.begin(request);
        }
        let begun = session.in_flight();
        session.end(request);
        assert!(!session.is_out_of_credits(), "one that is over gives its credits back");
        begun
    }

    #[test]
    fn credits_count_requests_reads_and_bytes() {
        assert_eq!(begun_until_out(&request(Opcode::Write, 100)), limits::REQUESTS_IN_FLIGHT_MAX);
        assert_eq!(begun_until_out(&request(Opcode::Search, 100)), limits::READS_IN_FLIGHT_MAX);
        let quarter = limits::REQUEST_BYTES_IN_FLIGHT_MAX / 4;
        assert_eq!(begun_until_out(&request(Opcode::Write, quarter)), 4);
        assert_eq!(begun_until_out(&request(Opcode::Write, 2 * limits::REQUEST_BYTES_IN_FLIGHT_MAX)), 1);
    }

    #[test]
    fn a_send_goes_on_where_it_was_cut_and_its_memory_is_used_again() {
        let mut session = session();
        session.output().extend_from_slice(&[7; 100]);
        let Op::Send { memory, start: 0, end: 100, .. } = session.send() else { panic!("a send of all") };
        let place = memory.bytes().as_ptr();
        session.output().extend_from_slice(&[8; 50]);
        assert!(!session.wants_send(), "one send at a time");
        let Some(Op::Send { memory, start: 60, end: 100, .. }) = session.sent(Some(memory), 60) else {
            panic!("a send of what is left")
        };
        assert_eq!(memory.bytes()[60..100], [7; 40]);
        assert!(session.sent(Some(memory), 40).is_none() && session.wants_send());
        let Op::Send { memory, start: 0, end: 50, .. } = session.send() else { panic!("a send of all") };
        assert_eq!(memory.bytes()[..50], [8; 50]);
        session.output().push(9);
        assert_eq!(session.output().as_ptr(), place, "the memory of the first send");
        session.output().resize(SPARE_BYTES_MAX + 1, 0);
        assert!(session.sent(Some(memory), 50).is_none());
        let Op::Send { memory, end, .. } = session.send() else { panic!("a send of all") };
        assert_eq!((memory.bytes().len(), end), (SPARE_BYTES_MAX + 1, SPARE_BYTES_MAX + 1));
    }
}
