//! One connection: whoever sends writes the socket under a lock, one thread reads it and hands out the replies.
//!
//! The reader thread never waits for anything but the socket, so replies drain even while every sender waits for credit.
//! Order of the locks: none is taken while another is held, but for a slot's while the state is locked to fill it.

use std::io::{BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::{ClientOptions, ServerInfo};
use crate::codec::handshake::{LABEL_BYTES_MAX, PLACEMENT};
use crate::codec::{self, FrameError, HEADER_BYTES, Header, Hello, Opcode, Status, Welcome};
use crate::error::{Error, Result};

/// Buffer of the reader; longer bodies are read past it.
const READ_BYTES: usize = 64 << 10;
/// How long a connection that closes waits for answers that are still due.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A reply with its request's id, checked against its checksum, and not an error.
#[derive(Debug)]
pub(super) struct Reply {
    /// Its body.
    pub body: Vec<u8>,
    /// The server had not yet all its rows back.
    pub is_recovering: bool,
    /// When its last byte was read.
    pub at: Instant,
}

/// Body of a request with its checksum.
#[derive(Clone, Copy)]
pub(super) struct Body<'a> {
    pub bytes: &'a [u8],
    pub crc: u32,
}

/// A connection that was welcomed.
pub(super) struct Connection {
    shared: Arc<Shared>,
    writer: Mutex<Writer>,
    /// Whether the writer keeps small frames back.
    gathers: bool,
    reader: Option<JoinHandle<()>>,
    timeout: Duration,
    credits: Credits,
}

struct Writer {
    stream: TcpStream,
    /// Whole frames that are not sent yet.
    gathered: Vec<u8>,
    gather_bytes: usize,
}

#[derive(Clone, Copy)]
struct Credits {
    requests: usize,
    bytes: u64,
}

struct Shared {
    peer: SocketAddr,
    state: Mutex<State>,
    /// Told whenever something left flight, and when the connection ends.
    freed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, InFlight>,
    bytes: u64,
    last_id: u64,
    end: Option<Error>,
}

struct InFlight {
    slot: Arc<Slot>,
    opcode: u16,
    bytes: u64,
}

/// Where one reply is put down.
#[derive(Default)]
struct Slot {
    reply: Mutex<Option<Result<Reply>>>,
    filled: Condvar,
}

impl Slot {
    fn fill(&self, reply: Result<Reply>) {
        *lock(&self.reply) = Some(reply);
        self.filled.notify_all();
    }
}

/// The right to one reply.
pub(super) struct Ticket {
    connection: Arc<Connection>,
    slot: Arc<Slot>,
}

impl Ticket {
    /// Waits for the reply, as long as the options allow.
    pub fn wait(self) -> Result<Reply> {
        let deadline = Instant::now() + self.connection.timeout;
        self.wait_until(deadline)
    }

    pub fn wait_until(self, deadline: Instant) -> Result<Reply> {
        let start = Instant::now();
        if !self.is_there() {
            self.connection.flush();
        }
        let mut reply = lock(&self.slot.reply);
        loop {
            if let Some(reply) = reply.take() {
                return reply;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout { peer: self.connection.shared.peer, waited: start.elapsed() });
            }
            reply = wait(&self.slot.filled, reply, left);
        }
    }

    /// Whether the reply is there.
    pub fn is_ready(&self) -> bool {
        if self.is_there() {
            return true;
        }
        self.connection.flush();
        self.is_there()
    }

    fn is_there(&self) -> bool {
        lock(&self.slot.reply).is_some()
    }

    pub fn timeout(&self) -> Duration {
        self.connection.timeout
    }
}

impl Connection {
    /// Connects, says hello for `wanted_shard` and starts the reader.
    pub fn open(address: SocketAddr, wanted_shard: u16, options: &ClientOptions) -> Result<(Self, ServerInfo, usize)> {
        let stream =
            TcpStream::connect_timeout(&address, options.connect_timeout).map_err(Error::io("connect to", address))?;
        let set_up = |stream: &TcpStream| {
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(options.timeout))?;
            stream.set_read_timeout(Some(options.connect_timeout))
        };
        set_up(&stream).map_err(Error::io("set up the connection to", address))?;
        let (server, shard) = welcome(&stream, address, wanted_shard, options)?;
        stream.set_read_timeout(None).map_err(Error::io("set up the connection to", address))?;

        let shared = Arc::new(Shared { peer: address, state: Mutex::default(), freed: Condvar::new() });
        let input = stream.try_clone().map_err(Error::io("set up the connection to", address))?;
        let reader_shared = shared.clone();
        let reader = std::thread::Builder::new()
            .name(format!("broadhead-{shard}"))
            .spawn(move || {
                let end = reader_shared.read_replies(input);
                reader_shared.end(end);
            })
            .map_err(Error::io("start a thread for", address))?;
        let credits = Credits {
            requests: options.requests_in_flight_max.min(server.requests_max as usize).max(1),
            bytes: options.bytes_in_flight_max.min(server.bytes_max),
        };
        let timeout = options.timeout;
        let writer = Mutex::new(Writer { stream, gathered: Vec::new(), gather_bytes: options.gather_bytes });
        let gathers = options.gather_bytes > 0;
        let connection = Self { shared, writer, gathers, reader: Some(reader), timeout, credits };
        Ok((connection, server, shard))
    }

    /// Whether requests can be sent.
    pub fn is_alive(&self) -> bool {
        lock(&self.shared.state).end.is_none()
    }

    /// Sends one request; waits while its credits are used up.
    pub fn send(self: &Arc<Self>, mut header: Header, body: Body<'_>) -> Result<Ticket> {
        header.body_len = body.bytes.len() as u64;
        header.body_crc = body.crc;
        let bytes = HEADER_BYTES as u64 + header.body_len;
        let slot = Arc::new(Slot::default());
        header.request_id = self.enter(InFlight { slot: slot.clone(), opcode: header.opcode, bytes })?;
        self.write(|writer| writer.send(&header.encode(), body.bytes));
        Ok(Ticket { connection: self.clone(), slot })
    }

    /// Sends what was gathered. Where nothing is, nobody waits for another thread's write.
    pub fn flush(&self) {
        if self.gathers {
            self.write(Writer::flush);
        }
    }

    fn write(&self, write: impl FnOnce(&mut Writer) -> std::io::Result<()>) {
        let mut writer = lock(&self.writer);
        if let Err(error) = write(&mut writer) {
            // The stream may end inside a frame now. The reader fails all that wait, this request too.
            let _ = writer.stream.shutdown(Shutdown::Both);
            drop(writer);
            self.shared.end(Error::io("write to", self.shared.peer)(error));
        }
    }

    /// Takes credit and an id.
    fn enter(&self, request: InFlight) -> Result<u64> {
        let start = Instant::now();
        let mut flushed = false;
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(end) = &state.end {
                return Err(self.shared.disconnected(end));
            }
            let fits = state.bytes + request.bytes <= self.credits.bytes || state.waiting.is_empty();
            if fits && state.waiting.len() < self.credits.requests {
                break;
            }
            let left = self.timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(Error::Timeout { peer: self.shared.peer, waited: start.elapsed() });
            }
            if !std::mem::replace(&mut flushed, true) {
                drop(state);
                self.flush();
                state = lock(&self.shared.state);
                continue;
            }
            state = wait(&self.shared.freed, state, left);
        }
        state.last_id += 1;
        state.bytes += request.bytes;
        let id = state.last_id;
        let before = state.waiting.insert(id, request);
        assert!(before.is_none(), "ids are used once");
        Ok(id)
    }
}

impl Drop for Connection {
    /// Gives what is in flight a moment to be answered, then closes.
    fn drop(&mut self) {
        self.flush();
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let mut state = lock(&self.shared.state);
        while state.end.is_none() && !state.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = wait(&self.shared.freed, state, left);
        }
        drop(state);
        let _ = lock(&self.writer).stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Shared {
    /// Reads until the connection ends; gives the reason.
    fn read_replies(&self, stream: TcpStream) -> Error {
        let mut input = BufReader::with_capacity(READ_BYTES, stream);
        loop {
            let handed_out = match read_frame(&mut input) {
                Ok(Some((header, body))) => self.hand_out(&header, body),
                Ok(None) => return Error::Disconnected { peer: self.peer, source: None },
                Err(ReadError::Io(error)) => return Error::io("read from", self.peer)(error),
                Err(ReadError::Frame(error)) => return error.into(),
            };
            if let Err(end) = handed_out {
                return end;
            }
        }
    }

    fn hand_out(&self, header: &Header, body: Vec<u8>) -> Result<()> {
        if header.request_id == 0 && header.status != 0 {
            return Err(remote(header, &body));
        }
        let request = {
            let mut state = lock(&self.state);
            let request = state.waiting.remove(&header.request_id);
            if let Some(request) = &request {
                state.bytes -= request.bytes;
            }
            request
        };
        let Some(request) = request else {
            return Err(Error::UnexpectedReply { problem: "no request has its id" });
        };
        self.freed.notify_all();
        let answers = header.is_reply() && header.opcode == request.opcode;
        let reply = if !answers {
            Err(Error::UnexpectedReply { problem: "its opcode is not that of the request" })
        } else if let Err(error) = codec::check_body(header, &body) {
            Err(error.into())
        } else if header.status != 0 {
            Err(remote(header, &body))
        } else {
            Ok(Reply { body, is_recovering: header.is_recovering(), at: Instant::now() })
        };
        request.slot.fill(reply);
        Ok(())
    }

    /// Marks the connection as ended and fails all that wait. The first reason stays.
    fn end(&self, reason: Error) {
        let (waiting, reason) = {
            let mut state = lock(&self.state);
            let reason = state.end.get_or_insert(reason).clone();
            state.bytes = 0;
            (std::mem::take(&mut state.waiting), reason)
        };
        self.freed.notify_all();
        for request in waiting.into_values() {
            request.slot.fill(Err(self.disconnected(&reason)));
        }
    }

    fn disconnected(&self, reason: &Error) -> Error {
        let source = match reason {
            Error::Disconnected { source, .. } => source.clone(),
            other => Some(Arc::new(other.clone())),
        };
        Error::Disconnected { peer: self.peer, source }
    }
}

/// Says hello and reads the answer.
fn welcome(
    mut stream: &TcpStream,
    address: SocketAddr,
    wanted_shard: u16,
    options: &ClientOptions,
) -> Result<(ServerInfo, usize)> {
    let name = &options.name[..options.name.floor_char_boundary(LABEL_BYTES_MAX)];
    let hello = Hello { wanted_shard, client_version: env!("CARGO_PKG_VERSION"), client_name: name };
    let mut frame = Vec::new();
    codec::encode_frame(Header::request(Opcode::Hello, 1, 0), &mut frame, |body| hello.encode(body));
    stream.write_all(&frame).map_err(Error::io("write to", address))?;
    let (header, body) = match read_frame(&mut stream) {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(Error::Disconnected { peer: address, source: None }),
        Err(ReadError::Frame(error)) => return Err(error.into()),
        Err(ReadError::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            return Err(Error::Timeout { peer: address, waited: options.connect_timeout });
        }
        Err(ReadError::Io(error)) => return Err(Error::io("read from", address)(error)),
    };
    codec::check_body(&header, &body)?;
    if header.status != 0 {
        return Err(remote(&header, &body));
    }
    if !header.is_reply() || header.opcode != Opcode::Hello.code() {
        return Err(Error::UnexpectedReply { problem: "no welcome" });
    }
    let welcome = Welcome::decode(&body)?;
    if welcome.placement != PLACEMENT {
        return Err(Error::UnexpectedReply {
            problem: "the server places ids by a hash that this client does not know",
        });
    }
    let server = ServerInfo {
        version: welcome.server_version.to_owned(),
        protocol_version: welcome.protocol_version,
        shards: usize::from(welcome.shards),
        frame_body_bytes_max: welcome.frame_body_bytes_max,
        requests_max: welcome.requests_max,
        bytes_max: welcome.bytes_max,
    };
    Ok((server, usize::from(welcome.shard)))
}

enum ReadError {
    Io(std::io::Error),
    Frame(FrameError),
}

/// The next frame; none where the stream ends between two frames.
fn read_frame(input: &mut impl Read) -> Result<Option<(Header, Vec<u8>)>, ReadError> {
    let mut head = [0; HEADER_BYTES];
    let first = loop {
        match input.read(&mut head) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other.map_err(ReadError::Io)?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[first..]).map_err(ReadError::Io)?;
    // The length is bounded by decode, so this allocation is.
    let header = Header::decode(&head).map_err(ReadError::Frame)?;
    let mut body = Vec::with_capacity(header.body_len as usize);
    input.take(header.body_len).read_to_end(&mut body).map_err(ReadError::Io)?;
    if body.len() as u64 != header.body_len {
        return Err(ReadError::Io(ErrorKind::UnexpectedEof.into()));
    }
    Ok(Some((header, body)))
}

impl Writer {
    /// Sends a frame, or keeps it to be sent with others.
    fn send(&mut self, head: &[u8], body: &[u8]) -> std::io::Result<()> {
        let len = head.len() + body.len();
        if self.gathered.len() + len > self.gather_bytes {
            let Writer { stream, gathered, .. } = self;
            write_all(stream, [&gathered[..], head, body])?;
            self.gathered.clear();
        } else {
            self.gathered.extend_from_slice(head);
            self.gathered.extend_from_slice(body);
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if !self.gathered.is_empty() {
            self.stream.write_all(&self.gathered)?;
            self.gathered.clear();
        }
        Ok(())
    }
}

fn write_all<const N: usize>(stream: &mut TcpStream, pieces: [&[u8]; N]) -> std::io::Result<()> {
    let mut slices = pieces.map(IoSlice::new);
    let mut rest = &mut slices[..];
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match stream.write_vectored(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn remote(header: &Header, body: &[u8]) -> Error {
    Error::Remote { status: Status::from_code(header.status), message: String::from_utf8_lossy(body).into_owned() }
}

/// No code that holds one of these locks can panic half-way through a change, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
    condition.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
}
