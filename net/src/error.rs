//! The one error type of this crate. It can be cloned, because the end of a connection fails every request that waits on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{FrameError, Status};

/// What can go wrong between a client and a server.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused the request, or failed at it.
    #[error("{message}")]
    Remote {
        /// Which kind of refusal.
        status: Status,
        /// What the server says.
        message: String,
    },
    /// The connection ended before the answer came: whether the request was carried out is not known.
    #[error("the connection to {peer} ended before the answer came")]
    Disconnected {
        /// The server.
        peer: SocketAddr,
        /// Why; none where the server closed it in an orderly way.
        source: Option<Arc<Error>>,
    },
    /// No answer, or no room for the request, within the time allowed.
    #[error("no answer from {peer} within {} ms", waited.as_millis())]
    Timeout {
        /// The server.
        peer: SocketAddr,
        /// How long was waited.
        waited: Duration,
    },
    /// Bytes that are not a frame, or not the frame that was due.
    #[error("protocol: {0}")]
    Protocol(#[from] FrameError),
    /// A reply that is well formed and makes no sense.
    #[error("a reply that does not answer the request: {problem}")]
    UnexpectedReply {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The request was refused before it was sent.
    #[error(transparent)]
    Engine(Arc<engine::Error>),
    /// The Arrow library refused a batch that the server sent.
    #[error("a batch of the server: {0}")]
    Arrow(Arc<arrow::error::ArrowError>),
    /// The name of the server gives no address.
    #[error("`{name}` is not the address of a server")]
    NoAddress {
        /// What was given.
        name: String,
    },
    /// The operating system refused something.
    #[error("{operation} {address}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With whom.
        address: String,
        /// What it said.
        source: Arc<std::io::Error>,
    },
}

/// Result of a network operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Io`], for `map_err`.
    pub fn io(operation: &'static str, address: impl ToString) -> impl FnOnce(std::io::Error) -> Error {
        let address = address.to_string();
        move |source| Error::Io { operation, address, source: Arc::new(source) }
    }

    /// The server's code, where the server refused the request.
    pub fn status(&self) -> Option<Status> {
        match self {
            Error::Remote { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Error::Engine(Arc::new(error))
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::Arrow(Arc::new(error))
    }
}
