//! A connection on which a test sends whatever bytes it wants, and reads replies frame by frame.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use net::codec::handshake::ANY_SHARD;
use net::codec::{self, HEADER_BYTES, Header, Hello, Opcode, Status, Welcome};

use crate::PATIENCE;

/// A connection. Reads give up after [`PATIENCE`].
pub struct Raw {
    /// The socket, for tests that need more than the methods here.
    pub stream: TcpStream,
    last_id: u64,
}

/// A reply as it came; its checksums held.
#[derive(Debug)]
pub struct Reply {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Why the request was refused; none when it was not.
    pub fn status(&self) -> Option<Status> {
        (self.header.status != 0).then(|| Status::from_code(self.header.status))
    }

    /// The words of a refusal.
    pub fn message(&self) -> &str {
        std::str::from_utf8(&self.body).expect("messages are UTF-8")
    }

    /// Checks that it is a refusal with this status whose message holds all these words.
    #[track_caller]
    pub fn expect_refusal(&self, what: &str, status: Status, words: &[&str]) {
        assert_eq!(self.status(), Some(status), "{what}: {}", String::from_utf8_lossy(&self.body));
        for word in words {
            assert!(self.message().contains(word), "{what}: the message `{}` lacks `{word}`", self.message());
        }
    }

    /// Checks that it is no refusal.
    #[track_caller]
    pub fn expect_done(self, what: &str) -> Reply {
        assert_eq!(self.status(), None, "{what}: {}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Raw {
    /// Connects and says nothing.
    pub fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        Raw { stream, last_id: 0 }
    }

    /// Connects and says HELLO for any shard.
    pub fn greeted(address: SocketAddr) -> Raw {
        Raw::greeted_by(address, ANY_SHARD)
    }

    /// Connects and says HELLO for one shard.
    pub fn greeted_by(address: SocketAddr, shard: u16) -> Raw {
        let mut raw = Raw::connect(address);
        let reply = raw.request(Opcode::Hello, 0, &hello(shard)).expect_done("HELLO");
        let welcome = Welcome::decode(&reply.body).expect("a welcome");
        assert!(shard == ANY_SHARD || welcome.shard == shard, "another shard answers: {}", welcome.shard);
        raw
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
    }

    /// The next reply; none when the server closed the connection.
    pub fn receive(&mut self) -> Option<Reply> {
        let mut head = [0; HEADER_BYTES];
        if !self.fill(&mut head) {
            return None;
        }
        let header = Header::decode(&head).expect("the server sends frames");
        let mut body = vec![0; header.body_len as usize];
        assert!(self.fill(&mut body), "the server closed inside a frame");
        codec::check_body(&header, &body).expect("the checksum holds");
        assert!(header.is_reply(), "a request from the server");
        Some(Reply { header, body })
    }

    /// False when the connection was closed before the first byte.
    fn fill(&mut self, bytes: &mut [u8]) -> bool {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("no reply: {error}"),
            }
        }
        assert!(filled == 0 || filled == bytes.len(), "the server closed inside a frame");
        filled == bytes.len()
    }

    /// Sends a request and waits for its reply.
    pub fn request(&mut self, opcode: Opcode, collection: u32, body: &[u8]) -> Reply {
        self.request_with(Header::request(opcode, 0, collection), body)
    }

    /// Sends a WRITE of an Arrow message and waits for its reply.
    pub fn write(&mut self, collection: u32, fingerprint: u64, message: &[u8]) -> Reply {
        let header = Header { fingerprint, ..Header::request(Opcode::Write, 0, collection) };
        self.request_with(header, message)
    }

    /// As [`Raw::request`], with a header of the caller's; id, length and checksums are filled in.
    pub fn request_with(&mut self, mut header: Header, body: &[u8]) -> Reply {
        self.last_id += 1;
        header.request_id = self.last_id;
        self.send(&frame(header, body));
        let reply = self.receive().expect("the server answers");
        assert_eq!(reply.header.request_id, self.last_id, "the reply to another request");
        assert_eq!(reply.header.opcode, header.opcode, "the reply to another operation");
        reply
    }

    /// Checks that the connection works.
    #[track_caller]
    pub fn check_alive(&mut self, what: &str) {
        let reply = self.request(Opcode::Ping, 0, b"alive?").expect_done(what);
        assert_eq!(reply.body, b"alive?", "{what}");
    }

    /// Checks that the server has closed the connection, with nothing more to say.
    #[track_caller]
    pub fn check_closed(&mut self, what: &str) {
        assert!(self.receive().is_none(), "{what}: the connection goes on");
    }
}

/// A whole frame; length and checksums are filled in.
pub fn frame(header: Header, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    codec::encode_frame(header, &mut frame, |out| out.extend_from_slice(body));
    frame
}

/// The body of HELLO.
pub fn hello(wanted_shard: u16) -> Vec<u8> {
    let mut body = Vec::new();
    Hello { wanted_shard, client_version: "0", client_name: "test" }.encode(&mut body);
    body
}

/// Puts the right checksum into the bytes of a header, whatever they say.
pub fn reseal(header: &mut [u8]) {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &header[..60]) as u32;
    header[60..64].copy_from_slice(&crc.to_le_bytes());
}
