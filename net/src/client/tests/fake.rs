//! A server of a few lines: a script per connection, on threads of its own, speaking the codec.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::codec::{self, CollectionInfo, HEADER_BYTES, Header, Hello, Opcode, Status, VERSION, Welcome, handshake};

/// What the fake server says in its welcome.
#[derive(Clone, Copy)]
pub struct Terms {
    pub shards: u16,
    pub requests_max: u32,
    pub bytes_max: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { shards: 1, requests_max: 100, bytes_max: 1 << 20 }
    }
}

/// Serves one script per connection, in the order of the connections; then accepts no more.
pub struct Fake {
    pub address: SocketAddr,
    pub accepted: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

pub type Script = Box<dyn FnOnce(Peer) + Send>;

impl Fake {
    pub fn start(scripts: Vec<Script>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let thread = std::thread::spawn(move || {
            let mut running = Vec::new();
            for script in scripts {
                let (stream, _) = listener.accept().unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                running.push(std::thread::spawn(move || script(Peer { stream })));
            }
            drop(listener);
            for script in running {
                script.join().unwrap();
            }
        });
        Fake { address, accepted, thread: Some(thread) }
    }

    /// Waits for the scripts, so that their asserts count.
    pub fn finish(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The fake server's end of one connection.
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// The next frame; none at the end of the stream.
    pub fn read(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut head = [0; HEADER_BYTES];
        match self.stream.read_exact(&mut head) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            other => other.unwrap(),
        }
        let header = Header::decode(&head).unwrap();
        let mut body = vec![0; header.body_len as usize];
        self.stream.read_exact(&mut body).unwrap();
        codec::check_body(&header, &body).unwrap();
        Some((header, body))
    }

    /// The next frame, which is there and is of this kind.
    pub fn expect(&mut self, opcode: Opcode) -> (Header, Vec<u8>) {
        let (header, body) = self.read().expect("a request");
        assert_eq!(Opcode::from_code(header.opcode), Ok(opcode));
        (header, body)
    }

    /// Whether nothing comes for a while.
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
        let silent = match self.stream.peek(&mut [0]) {
            Ok(_) => false,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.stream.set_read_timeout(None).unwrap();
        silent
    }

    /// Answers HELLO; gives the shard that was wanted.
    pub fn welcome(&mut self, terms: Terms) -> u16 {
        let (header, body) = self.expect(Opcode::Hello);
        let wanted = Hello::decode(&body).unwrap().wanted_shard;
        if wanted != handshake::ANY_SHARD && wanted >= terms.shards {
            self.refuse(&header, Status::LimitExceeded, "no such shard");
            return wanted;
        }
        let shard = if wanted == handshake::ANY_SHARD { 0 } else { wanted };
        let welcome = Welcome {
            protocol_version: VERSION,
            shards: terms.shards,
            shard,
            placement: handshake::PLACEMENT,
            frame_body_bytes_max: engine::limits::FRAME_BODY_BYTES_MAX,
            requests_max: terms.requests_max,
            bytes_max: terms.bytes_max,
            server_version: "fake",
        };
        self.answer(&header, |body| welcome.encode(body));
        shard
    }

    /// Answers DESCRIBE with the test's collection.
    pub fn describe(&mut self) {
        let (header, _) = self.expect(Opcode::Describe);
        let schema = super::schema();
        let info = CollectionInfo {
            id: 5,
            m: 16,
            ef_construction: 200,
            fingerprint: schema.fingerprint(),
            rows: 0,
            deleted: 0,
            indexed: 0,
            name: "books",
            schema: &schema.to_bytes(),
        };
        self.answer(&header, |body| info.encode(body));
    }

    pub fn answer(&mut self, request: &Header, body: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = Vec::new();
        codec::encode_frame(request.reply(), &mut frame, body);
        self.raw(&frame);
    }

    pub fn refuse(&mut self, request: &Header, status: Status, message: &str) {
        let mut frame = Vec::new();
        codec::encode_error(Some(request), status, message, &mut frame);
        self.raw(&frame);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }
}
