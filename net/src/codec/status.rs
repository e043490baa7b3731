//! Error codes of replies. A number, once given, keeps its meaning.

/// Code of an error reply. Below 100: the frame; 100s: the request; 200s: the data on the server; 300s: the server's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Status {
    /// The stream does not hold a frame; the connection is closed.
    BadMagic = 1,
    /// Unknown protocol version; the connection is closed.
    UnsupportedVersion = 2,
    /// The header does not fit its checksum; the connection is closed.
    HeaderChecksum = 3,
    /// A bit without a meaning is set in the header; the connection is closed.
    ReservedBits = 4,
    /// The body is above the limit; the connection is closed.
    BodyTooLong = 5,
    /// The body does not fit its checksum.
    BodyChecksum = 6,
    /// The body does not fit its layout.
    MalformedBody = 7,
    /// No such operation.
    UnknownOpcode = 8,
    /// A request before HELLO, or a second HELLO.
    UnexpectedFrame = 9,

    /// A schema that cannot be served.
    InvalidSchema = 100,
    /// The batch was made for another schema.
    SchemaMismatch = 101,
    /// The Arrow message does not hold together.
    MalformedBatch = 102,
    /// A column of the batch does not match the schema or its own buffers.
    MalformedColumn = 103,
    /// A vector holds NaN or infinity.
    NonFinite = 104,
    /// A zero vector under cosine.
    ZeroVector = 105,
    /// No rows, ids or queries.
    Empty = 106,
    /// A search that cannot be run.
    InvalidSearch = 107,
    /// A number above its limit.
    LimitExceeded = 108,
    /// No such collection.
    UnknownCollection = 109,
    /// A collection of that name is there already.
    CollectionExists = 110,
    /// No such column.
    UnknownColumn = 111,
    /// A row was brought to a shard that is not its home.
    Misplaced = 112,
    /// A filter that is none, or does not fit the columns.
    InvalidFilter = 113,
    /// A row that was to be inserted is there.
    RowExists = 114,
    /// A row that was to be replaced, updated or searched by is not there.
    RowMissing = 115,
    /// A row does not meet the condition of an update.
    ConditionFailed = 116,
    /// A text query that is none.
    InvalidTextQuery = 117,
    /// No such namespace.
    UnknownNamespace = 118,
    /// A namespace of that name is there already.
    NamespaceExists = 119,
    /// A traversal that cannot be run.
    InvalidTraversal = 120,

    /// The shard's part of the collection is full.
    RegionFull = 200,
    /// The operating system refused something.
    Io = 201,
    /// Another server uses the data directory.
    DirectoryInUse = 202,
    /// A file of a newer format.
    NewerFormat = 203,
    /// A file is damaged.
    Damaged = 204,
    /// io_uring is forbidden.
    IoUringForbidden = 205,
    /// The limit on locked memory is too small.
    MemlockTooSmall = 206,
    /// The kernel gave no memory.
    OutOfMemory = 207,
    /// The disk has no room for the log; reads go on.
    DiskFull = 208,
    /// The memory budget is used up; deletes, reads and searches go on.
    MemoryBudget = 209,
    /// A namespace would have more than its quota; deletes, reads and searches go on.
    QuotaExceeded = 210,

    /// More in flight than the server takes; try again later.
    Overloaded = 300,
    /// The server stops.
    ShuttingDown = 301,
    /// The server gave up waiting.
    Timeout = 302,
    /// The operation is known and not offered here.
    Unsupported = 303,
    /// A write to disk failed earlier: the shard serves reads only until the server is started again.
    ReadOnly = 304,
    /// A fault of the server.
    Internal = 305,

    /// A code that this version does not know.
    Unrecognised = u32::MAX,
}

impl Status {
    /// Every code of this version.
    pub const ALL: &'static [Status] = &[
        Self::BadMagic,
        Self::UnsupportedVersion,
        Self::HeaderChecksum,
        Self::ReservedBits,
        Self::BodyTooLong,
        Self::BodyChecksum,
        Self::MalformedBody,
        Self::UnknownOpcode,
        Self::UnexpectedFrame,
        Self::InvalidSchema,
        Self::SchemaMismatch,
        Self::MalformedBatch,
        Self::MalformedColumn,
        Self::NonFinite,
        Self::ZeroVector,
        Self::Empty,
        Self::InvalidSearch,
        Self::LimitExceeded,
        Self::UnknownCollection,
        Self::CollectionExists,
        Self::UnknownColumn,
        Self::Misplaced,
        Self::InvalidFilter,
        Self::RowExists,
        Self::RowMissing,
        Self::ConditionFailed,
        Self::InvalidTextQuery,
        Self::UnknownNamespace,
        Self::NamespaceExists,
        Self::InvalidTraversal,
        Self::RegionFull,
        Self::Io,
        Self::DirectoryInUse,
        Self::NewerFormat,
        Self::Damaged,
        Self::IoUringForbidden,
        Self::MemlockTooSmall,
        Self::OutOfMemory,
        Self::DiskFull,
        Self::MemoryBudget,
        Self::QuotaExceeded,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::Timeout,
        Self::Unsupported,
        Self::ReadOnly,
        Self::Internal,
    ];

    /// The number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The status of a number; [`Status::Unrecognised`] when a newer server gave one.
    pub fn from_code(code: u32) -> Self {
        Self::ALL.iter().copied().find(|status| status.code() == code).unwrap_or(Self::Unrecognised)
    }
}

impl From<&engine::Error> for Status {
    fn from(error: &engine::Error) -> Self {
        use engine::Error;
        match error {
            Error::InvalidSchema { .. } | Error::SchemaJson { .. } => Self::InvalidSchema,
            Error::SchemaMismatch { .. } => Self::SchemaMismatch,
            Error::MalformedBatch { .. } => Self::MalformedBatch,
            Error::MalformedColumn { .. } | Error::NotJson { .. } => Self::MalformedColumn,
            Error::NonFinite { .. } => Self::NonFinite,
            Error::ZeroVector { .. } => Self::ZeroVector,
            Error::Empty { .. } => Self::Empty,
            Error::InvalidSearch { .. } | Error::InvalidOption { .. } => Self::InvalidSearch,
            Error::LimitExceeded { .. } => Self::LimitExceeded,
            Error::UnknownCollection { .. } => Self::UnknownCollection,
            Error::CollectionExists { .. } => Self::CollectionExists,
            Error::UnknownColumn { .. } => Self::UnknownColumn,
            Error::Misplaced { .. } => Self::Misplaced,
            Error::InvalidFilter { .. } => Self::InvalidFilter,
            Error::RowExists { .. } => Self::RowExists,
            Error::RowMissing { .. } => Self::RowMissing,
            Error::ConditionFailed { .. } => Self::ConditionFailed,
            Error::InvalidTextQuery { .. } => Self::InvalidTextQuery,
            Error::InvalidTraversal { .. } => Self::InvalidTraversal,
            Error::RegionFull { .. } => Self::RegionFull,
            Error::Poisoned { .. } => Self::ReadOnly,
            Error::Io { .. } | Error::System { .. } | Error::Listen { .. } => Self::Io,
            Error::DirectoryInUse { .. } => Self::DirectoryInUse,
            Error::NewerFormat { .. } | Error::OlderFormat { .. } => Self::NewerFormat,
            Error::Damaged { .. } | Error::Unreplayable { .. } => Self::Damaged,
            Error::IoUringForbidden { .. } => Self::IoUringForbidden,
            Error::MemlockTooSmall { .. } => Self::MemlockTooSmall,
            Error::OutOfMemory { .. } => Self::OutOfMemory,
            Error::DiskFull { .. } => Self::DiskFull,
            Error::MemoryBudget { .. } => Self::MemoryBudget,
            Error::QuotaExceeded { .. } => Self::QuotaExceeded,
            Error::UnknownNamespace { .. } => Self::UnknownNamespace,
            Error::NamespaceExists { .. } => Self::NamespaceExists,
            Error::LogBusy { .. } | Error::RateExceeded { .. } => Self::Overloaded,
            Error::Stopping => Self::ShuttingDown,
            _ => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_read_back() {
        for (index, &status) in Status::ALL.iter().enumerate() {
            assert_eq!(Status::from_code(status.code()), status);
            assert!(Status::ALL[..index].iter().all(|earlier| earlier.code() < status.code()), "{status:?}");
        }
        assert_eq!(Status::from_code(0), Status::Unrecognised);
        assert_eq!(Status::from_code(12_345), Status::Unrecognised);
    }

    #[test]
    fn engine_errors_have_their_codes() {
        let error = engine::Error::UnknownCollection { name: "books".into() };
        assert_eq!(Status::from(&error), Status::UnknownCollection);
        let error = engine::Error::Poisoned { shard: 1, cause: "disk".into() };
        assert_eq!(Status::from(&error), Status::ReadOnly);
    }
}
