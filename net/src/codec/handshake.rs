//! HELLO: the first request of every connection.

use super::fields::{Reader, Writer};
use super::header::FrameError;

/// [`Hello::wanted_shard`] when any shard will do.
pub const ANY_SHARD: u16 = u16::MAX;
/// Placement hash number 1: see `engine::placement` and PROTOCOL.md.
pub const PLACEMENT: u16 = 1;
/// Bytes of a version or a client's name.
pub const LABEL_BYTES_MAX: usize = 256;

/// What a client says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Shard that this connection is for, or [`ANY_SHARD`].
    pub wanted_shard: u16,
    /// Version of the client's program, for logs.
    pub client_version: &'a str,
    /// Name of the client, for logs.
    pub client_name: &'a str,
}

impl<'a> Hello<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u16(self.wanted_shard).u16(0).text(self.client_version).text(self.client_name);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let wanted_shard = reader.u16("wanted shard")?;
        reader.zeros(2, "reserved")?;
        let client_version = reader.text(LABEL_BYTES_MAX, "client version")?;
        let client_name = reader.text(LABEL_BYTES_MAX, "client name")?;
        reader.finish()?;
        Ok(Self { wanted_shard, client_version, client_name })
    }
}

/// What the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// Protocol version of the server.
    pub protocol_version: u16,
    /// Number of shards.
    pub shards: u16,
    /// The shard that serves this connection.
    pub shard: u16,
    /// Hash that places ids, see [`PLACEMENT`].
    pub placement: u16,
    /// Longest body that the server takes.
    pub frame_body_bytes_max: u64,
    /// Requests that this connection may have in flight.
    pub requests_max: u32,
    /// Bytes of requests, with their headers, that this connection may have in flight; one request alone may be larger.
    pub bytes_max: u64,
    /// Version of the server's program.
    pub server_version: &'a str,
}

impl<'a> Welcome<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u16(self.protocol_version).u16(self.shards).u16(self.shard).u16(self.placement);
        writer.u64(self.frame_body_bytes_max).u32(self.requests_max).u32(0).u64(self.bytes_max);
        writer.text(self.server_version);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let protocol_version = reader.u16("protocol version")?;
        let shards = reader.u16("shards")?;
        let shard = reader.u16("shard")?;
        let placement = reader.u16("placement")?;
        let frame_body_bytes_max = reader.u64("longest body")?;
        let requests_max = reader.u32("requests in flight")?;
        reader.zeros(4, "reserved")?;
        let bytes_max = reader.u64("bytes in flight")?;
        let server_version = reader.text(LABEL_BYTES_MAX, "server version")?;
        reader.finish()?;
        if shard >= shards {
            return Err(FrameError::Field { field: "shard", problem: "not below the number of shards" });
        }
        if requests_max == 0 {
            return Err(FrameError::Field { field: "requests in flight", problem: "must be at least 1" });
        }
        Ok(Self {
            protocol_version,
            shards,
            shard,
            placement,
            frame_body_bytes_max,
            requests_max,
            bytes_max,
            server_version,
        })
    }
}
