//! Operations by number, and a whole request at once.

use engine::ids::IdsView;

use super::collection::{Alter, Create, WaitIndexed, decode_name};
use super::delete_where::DeleteWhere;
use super::fields::expect_empty;
use super::handshake::Hello;
use super::header::{FrameError, Header};
use super::namespace::PutNamespace;
use super::rows::{Get, Scan, decode_delete};
use super::search::Search;
use super::tally::{Count, Facets};
use super::traverse::Traverse;
use super::update::Update;

/// Longest body of PING.
pub const PING_BYTES_MAX: usize = 1_024;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Opcode {
    /// Open a connection.
    Hello = 1,
    /// Create a collection.
    CreateCollection = 2,
    /// Drop a collection.
    DropCollection = 3,
    /// All collections.
    List = 4,
    /// One collection, with its schema.
    Describe = 5,
    /// Insert rows, or replace those of the same id.
    Write = 6,
    /// Delete rows by id.
    Delete = 7,
    /// Rows by id.
    Get = 8,
    /// All rows, a batch at a time.
    Scan = 9,
    /// Nearest rows.
    Search = 10,
    /// Wait until the graph holds all rows.
    WaitIndexed = 11,
    /// Write a snapshot.
    Snapshot = 12,
    /// Counters of the server, as JSON.
    Stats = 13,
    /// Send the body back.
    Ping = 14,
    /// New values for some columns of rows.
    Update = 15,
    /// Delete the rows that a filter is true of.
    DeleteWhere = 16,
    /// Add columns to a collection.
    AlterCollection = 19,
    /// Nodes that edges lead to.
    Traverse = 20,
    /// Make a namespace, or give it other quotas.
    PutNamespace = 21,
    /// Drop a namespace with its collections.
    DropNamespace = 22,
    /// All namespaces.
    ListNamespaces = 23,
    /// Number of rows that a filter is true of.
    Count = 17,
    /// Values of a column, with how often each is there.
    Facets = 18,
}

impl Opcode {
    /// Every operation, in the order of the numbers.
    pub const ALL: &'static [Opcode] = &[
        Self::Hello,
        Self::CreateCollection,
        Self::DropCollection,
        Self::List,
        Self::Describe,
        Self::Write,
        Self::Delete,
        Self::Get,
        Self::Scan,
        Self::Search,
        Self::WaitIndexed,
        Self::Snapshot,
        Self::Stats,
        Self::Ping,
        Self::Update,
        Self::DeleteWhere,
        Self::AlterCollection,
        Self::Traverse,
        Self::PutNamespace,
        Self::DropNamespace,
        Self::ListNamespaces,
        Self::Count,
        Self::Facets,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The operation of a number.
    pub fn from_code(code: u16) -> Result<Self, FrameError> {
        let found = Self::ALL.iter().copied().find(|opcode| opcode.code() == code);
        found.ok_or(FrameError::UnknownOpcode { opcode: code })
    }
}

/// A request whose body fits its layout. Collection, fingerprint and acknowledgement are in the header.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Request<'a> {
    /// Open a connection.
    Hello(Hello<'a>),
    /// Create a collection.
    CreateCollection(Create<'a>),
    /// Drop the collection of this name.
    DropCollection(&'a str),
    /// All collections.
    List,
    /// The collection of this name.
    Describe(&'a str),
    /// An Arrow IPC record batch message; the codec does not look into it.
    Write(&'a [u8]),
    /// Delete these.
    Delete(IdsView<'a>),
    /// Rows by id.
    Get(Get<'a>),
    /// All rows, a batch at a time.
    Scan(Scan<'a>),
    /// Nearest rows.
    Search(Search<'a>),
    /// Wait until the graph holds all rows.
    WaitIndexed(WaitIndexed),
    /// Write a snapshot of the header's collection, or of all when it is 0.
    Snapshot,
    /// Counters of the server.
    Stats,
    /// Send this back.
    Ping(&'a [u8]),
    /// New values for some columns of rows.
    Update(Update<'a>),
    /// Delete the rows that a filter is true of.
    DeleteWhere(DeleteWhere<'a>),
    /// Add columns to a collection.
    AlterCollection(Alter<'a>),
    /// Make a namespace, or give it other quotas.
    PutNamespace(PutNamespace<'a>),
    /// Drop the namespace of this name with its collections.
    DropNamespace(&'a str),
    /// All namespaces.
    ListNamespaces,
    /// Nodes that edges lead to.
    Traverse(Traverse<'a>),
    /// Number of rows that a filter is true of.
    Count(Count<'a>),
    /// Values of a column, with how often each is there.
    Facets(Facets<'a>),
}

impl<'a> Request<'a> {
    /// Reads the body of a request. The checksum of the body was checked before, see [`super::check_body`].
    pub fn decode(header: &Header, body: &'a [u8]) -> Result<Self, FrameError> {
        if header.is_reply() {
            return Err(FrameError::Field { field: "flags", problem: "a reply where a request is expected" });
        }
        let opcode = Opcode::from_code(header.opcode)?;
        header.presence()?;
        Ok(match opcode {
            Opcode::Hello => Self::Hello(Hello::decode(body)?),
            Opcode::CreateCollection => Self::CreateCollection(Create::decode(body)?),
            Opcode::AlterCollection => Self::AlterCollection(Alter::decode(body)?),
            Opcode::PutNamespace => Self::PutNamespace(PutNamespace::decode(body)?),
            Opcode::DropNamespace => Self::DropNamespace(decode_name(body)?),
            Opcode::ListNamespaces => expect_empty(body).map(|()| Self::ListNamespaces)?,
            Opcode::DropCollection => Self::DropCollection(decode_name(body)?),
            Opcode::List => expect_empty(body).map(|()| Self::List)?,
            Opcode::Describe => Self::Describe(decode_name(body)?),
            Opcode::Write => Self::Write(body),
            Opcode::Delete => Self::Delete(decode_delete(body)?),
            Opcode::Get => Self::Get(Get::decode(body)?),
            Opcode::Scan => Self::Scan(Scan::decode(body)?),
            Opcode::Search => Self::Search(Search::decode(body)?),
            Opcode::WaitIndexed => Self::WaitIndexed(WaitIndexed::decode(body)?),
            Opcode::Snapshot => expect_empty(body).map(|()| Self::Snapshot)?,
            Opcode::Stats => expect_empty(body).map(|()| Self::Stats)?,
            Opcode::Update => Self::Update(Update::decode(body)?),
            Opcode::DeleteWhere => Self::DeleteWhere(DeleteWhere::decode(body)?),
            Opcode::Traverse => Self::Traverse(Traverse::decode(body)?),
            Opcode::Count => Self::Count(Count::decode(body)?),
            Opcode::Facets => Self::Facets(Facets::decode(body)?),
            Opcode::Ping => {
                if body.len() > PING_BYTES_MAX {
                    let (value, limit) = (body.len() as u64, PING_BYTES_MAX as u64);
                    return Err(FrameError::Limit { what: "bytes of a ping", value, limit });
                }
                Self::Ping(body)
            }
        })
    }
}
