//! The connections of a client: by shard, opened when needed, replaced when broken.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use engine::shard::Pressure;

use super::connection::{Body, Connection, Ticket};
use super::{ClientOptions, ServerInfo};
use crate::codec::handshake::ANY_SHARD;
use crate::codec::{Header, Opcode};
use crate::error::{Error, Result};

/// Times that a server may come back with another number of shards while one request looks for a connection.
const LAYOUTS_MAX: usize = 3;

/// See the module.
pub(super) struct Pool {
    address: SocketAddr,
    options: ClientOptions,
    layout: RwLock<Arc<Layout>>,
    /// Counts the requests that any shard may serve.
    turn: AtomicUsize,
    /// Writes and deletes that were held back, for each reason of [`Pressure::ALL`].
    held: [AtomicU64; Pressure::ALL.len()],
}

/// What holds as long as the server keeps its number of shards.
struct Layout {
    server: Arc<ServerInfo>,
    shards: Vec<Shard>,
}

/// The connections to one shard, each used in turn.
struct Shard {
    turn: AtomicUsize,
    places: Vec<Mutex<Option<Arc<Connection>>>>,
}

impl Layout {
    fn new(server: ServerInfo, connections_per_shard: usize) -> Self {
        let shard = |_| Shard {
            turn: AtomicUsize::new(0),
            places: (0..connections_per_shard).map(|_| Mutex::default()).collect(),
        };
        Self { shards: (0..server.shards).map(shard).collect(), server: Arc::new(server) }
    }
}

impl Pool {
    /// Counts a write or delete by what held it back.
    pub fn count_pressure(&self, pressure: Pressure) {
        for ((reason, _), count) in Pressure::ALL.into_iter().zip(&self.held) {
            count.fetch_add(u64::from(pressure.contains(reason)), Ordering::Relaxed);
        }
    }

    /// Writes and deletes that were held back so far, by reason.
    pub fn held(&self) -> [(Pressure, u64); Pressure::ALL.len()] {
        std::array::from_fn(|index| (Pressure::ALL[index].0, self.held[index].load(Ordering::Relaxed)))
    }

    /// Connects to the first address of the name that answers.
    pub fn connect(name: &str, mut options: ClientOptions) -> Result<Pool> {
        options.connections_per_shard = options.connections_per_shard.max(1);
        let addresses = name.to_socket_addrs().map_err(|_| Error::NoAddress { name: name.to_owned() })?;
        let mut failure = Error::NoAddress { name: name.to_owned() };
        for address in addresses {
            match Connection::open(address, ANY_SHARD, &options) {
                Ok((connection, server, shard)) => {
                    let mut layout = Layout::new(server, options.connections_per_shard);
                    layout.shards[shard].places[0] = Mutex::new(Some(Arc::new(connection)));
                    let layout = RwLock::new(Arc::new(layout));
                    return Ok(Pool { address, options, layout, turn: AtomicUsize::new(0), held: Default::default() });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    pub fn server(&self) -> Arc<ServerInfo> {
        self.layout().server.clone()
    }

    /// Sends one request to a shard, or to whichever has its turn.
    pub fn send(
        &self,
        shard: Option<usize>,
        opcode: Opcode,
        collection: u32,
        write_body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Ticket> {
        let mut body = Vec::new();
        write_body(&mut body);
        let mut header = Header::request(opcode, 0, collection);
        self.check_length(body.len())?;
        header.describe_body(&body);
        self.send_prepared(shard, header, Body { bytes: &body, crc: header.body_crc })
    }

    /// Sends a request whose checksum was computed before.
    pub fn send_prepared(&self, shard: Option<usize>, header: Header, body: Body<'_>) -> Result<Ticket> {
        self.check_length(body.bytes.len())?;
        self.connection(shard)?.send(header, body)
    }

    /// Sends what the connections have gathered.
    pub fn flush(&self) {
        for place in self.layout().shards.iter().flat_map(|shard| &shard.places) {
            let connection = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(connection) = connection {
                connection.flush();
            }
        }
    }

    fn check_length(&self, bytes: usize) -> Result<()> {
        let limit = self.server().frame_body_bytes_max.min(engine::limits::FRAME_BODY_BYTES_MAX);
        if bytes as u64 > limit {
            let value = bytes as u64;
            return Err(engine::Error::LimitExceeded { what: "size of a request in bytes", value, limit }.into());
        }
        Ok(())
    }

    /// A live connection to the shard; of several, each in turn.
    fn connection(&self, shard: Option<usize>) -> Result<Arc<Connection>> {
        for _ in 0..LAYOUTS_MAX {
            let layout = self.layout();
            let shards = layout.shards.len();
            // A shard that is not there any more: any other passes the rows on.
            let number = shard.unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed)) % shards;
            let shard = &layout.shards[number];
            let turn = shard.turn.fetch_add(1, Ordering::Relaxed) % shard.places.len();
            let mut place = shard.places[turn].lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(connection) = place.as_ref().filter(|connection| connection.is_alive()) {
                return Ok(connection.clone());
            }
            *place = None;
            let (connection, server, _) = self.open(number)?;
            if server.shards == shards {
                let connection = Arc::new(connection);
                *place = Some(connection.clone());
                return Ok(connection);
            }
            drop(place);
            self.replace(&layout, server);
        }
        Err(Error::UnexpectedReply { problem: "the number of shards keeps changing" })
    }

    /// A connection to the shard, or, where the server refuses because it has fewer shards now, to any.
    fn open(&self, shard: usize) -> Result<(Connection, ServerInfo, usize)> {
        let wanted = u16::try_from(shard).expect("bounded by SHARDS_MAX");
        match Connection::open(self.address, wanted, &self.options) {
            Err(Error::Remote { .. }) => Connection::open(self.address, ANY_SHARD, &self.options),
            other => other,
        }
    }

    fn replace(&self, old: &Arc<Layout>, server: ServerInfo) {
        let mut layout = self.layout.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&layout, old) {
            *layout = Arc::new(Layout::new(server, self.options.connections_per_shard));
        }
    }

    fn layout(&self) -> Arc<Layout> {
        self.layout.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
