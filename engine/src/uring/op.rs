//! Operations: what the caller says, what the kernel is told, and what the ring holds meanwhile.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use crate::buffers::{Arena, Buffer};

/// Index under which the arena is registered.
const ARENA_INDEX: u16 = 0;

/// Memory of an operation. The ring owns it while the operation is in flight.
#[derive(Debug)]
pub enum Memory {
    /// Any heap memory.
    Heap(Box<[u8]>),
    /// A run of arena blocks.
    Arena(Buffer),
    /// Arena blocks that others read meanwhile: for `Send` and `Write` only.
    Shared(Rc<Buffer>),
}

impl Memory {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Memory::Heap(heap) => heap,
            Memory::Arena(buffer) => buffer,
            Memory::Shared(buffer) => buffer,
        }
    }
}

/// What the kernel is asked to do. Ranges are `start..end` of the memory and never empty.
#[derive(Debug)]
pub enum Op {
    /// Take one connection; the completion carries it in `accepted`.
    Accept {
        /// Listening socket.
        listener: Rc<OwnedFd>,
    },
    /// Receive. A result of 0 is the end of the stream.
    Recv {
        /// Connected socket.
        socket: Rc<OwnedFd>,
        /// Where to, not [`Memory::Shared`].
        memory: Memory,
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
        /// Complete only when the range is full, or at the end of the stream, or on an error (MSG_WAITALL).
        wait_all: bool,
    },
    /// Send the whole range (MSG_WAITALL); a shorter result means that the connection broke. Raises no SIGPIPE.
    Send {
        /// Connected socket.
        socket: Rc<OwnedFd>,
        /// Where from.
        memory: Memory,
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// Read from where a descriptor stands: for one without positions, such as an eventfd.
    Read {
        /// What to read from.
        file: Rc<OwnedFd>,
        /// Where to, not [`Memory::Shared`].
        memory: Memory,
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// Read from a file at a position. The result may be short.
    ReadAt {
        /// The file.
        file: Arc<OwnedFd>,
        /// Position in the file, in bytes.
        offset: u64,
        /// Where to, not [`Memory::Shared`].
        memory: Memory,
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// Write to a file. The result may be short.
    Write {
        /// The file.
        file: Rc<OwnedFd>,
        /// Position in the file, in bytes.
        offset: u64,
        /// Where from.
        memory: Memory,
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// Cancel an operation in flight that has this token. Its own result is 0, or ENOENT or EALREADY; the
    /// cancelled operation completes as well (ECANCELED, unless it got there first).
    Cancel {
        /// Token the operation was pushed with.
        token: u64,
    },
}

/// Outcome of one operation.
#[derive(Debug)]
pub struct Completion {
    /// Token the operation was pushed with.
    pub token: u64,
    /// Bytes moved; for `Accept` the number of the new descriptor; for `Cancel` 0.
    pub result: io::Result<u32>,
    /// The operation's memory, back; `None` for `Accept` and `Cancel`.
    pub memory: Option<Memory>,
    /// The new connection of a successful `Accept`; dropping it closes it.
    pub accepted: Option<OwnedFd>,
}

/// An operation the kernel may be at work on.
pub(super) struct InFlight {
    pub(super) token: u64,
    pub(super) kind: Kind,
    pub(super) memory: Option<Held>,
    /// Keeps the descriptor open, so that its number cannot come to mean another file.
    _file: Option<Kept>,
}

/// A descriptor of one thread, or of several.
pub(super) enum Kept {
    Own { _file: Rc<OwnedFd> },
    Shared { _file: Arc<OwnedFd> },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Accept,
    Transfer,
    Cancel,
}

/// Memory in flight. A box is held as a raw pointer, because moving a `Box` asserts that nobody else uses its memory.
/// Dropping the `Heap` variant leaks on purpose: see `Ring::drop`.
pub(super) enum Held {
    Heap(*mut [u8]),
    Arena(Buffer),
    Shared(Rc<Buffer>),
}

impl Held {
    fn new(memory: Memory) -> Held {
        match memory {
            Memory::Heap(heap) => Held::Heap(Box::into_raw(heap)),
            Memory::Arena(buffer) => Held::Arena(buffer),
            Memory::Shared(buffer) => Held::Shared(buffer),
        }
    }

    pub(super) fn release(self) -> Memory {
        match self {
            // SAFETY: made by `Box::into_raw` in `new` and released once, as `self` is consumed.
            Held::Heap(heap) => Memory::Heap(unsafe { Box::from_raw(heap) }),
            Held::Arena(buffer) => Memory::Arena(buffer),
            Held::Shared(buffer) => Memory::Shared(buffer),
        }
    }

    /// Address and length of `start..end`.
    fn range(&self, start: usize, end: usize) -> (*mut u8, u32) {
        let (base, len) = match self {
            Held::Heap(heap) => (heap.cast::<u8>(), heap.len()),
            Held::Arena(buffer) => (buffer.address(), buffer.len()),
            Held::Shared(buffer) => (buffer.address(), buffer.len()),
        };
        assert!(start < end && end <= len, "range {start}..{end} of a memory of {len} bytes");
        let bytes = u32::try_from(end - start).expect("one operation moves less than 4 GiB");
        // SAFETY: `start` is within the allocation, as asserted.
        (unsafe { base.add(start) }, bytes)
    }

    fn is_pinned_in(&self, arena: &Arena) -> bool {
        match self {
            Held::Heap(_) => false,
            Held::Arena(buffer) => buffer.is_pinned_in(arena),
            Held::Shared(buffer) => buffer.is_pinned_in(arena),
        }
    }
}

impl InFlight {
    pub(super) fn cancel(token: u64) -> InFlight {
        InFlight { token, kind: Kind::Cancel, memory: None, _file: None }
    }
}

/// The kernel's form of an operation, and what the ring holds while it is in flight.
pub(super) fn prepare(op: Op, token: u64, cancel_target: u64, arena: Option<&Arena>) -> (squeue::Entry, InFlight) {
    let transfer = |memory: Held, file: Rc<OwnedFd>| InFlight {
        token,
        kind: Kind::Transfer,
        memory: Some(memory),
        _file: Some(Kept::Own { _file: file }),
    };
    match op {
        Op::Accept { listener } => {
            let accept = opcode::Accept::new(fd(&listener), std::ptr::null_mut(), std::ptr::null_mut());
            let operation =
                InFlight { token, kind: Kind::Accept, memory: None, _file: Some(Kept::Own { _file: listener }) };
            (accept.flags(libc::SOCK_CLOEXEC).build(), operation)
        }
        Op::Recv { socket, memory, start, end, wait_all } => {
            assert!(!matches!(memory, Memory::Shared(_)), "receive into memory that others read");
            let memory = Held::new(memory);
            let (address, bytes) = memory.range(start, end);
            let flags = if wait_all { libc::MSG_WAITALL } else { 0 };
            (opcode::Recv::new(fd(&socket), address, bytes).flags(flags).build(), transfer(memory, socket))
        }
        Op::Read { file, memory, start, end } => {
            assert!(!matches!(memory, Memory::Shared(_)), "read into memory that others read");
            let memory = Held::new(memory);
            let (address, bytes) = memory.range(start, end);
            (opcode::Read::new(fd(&file), address, bytes).build(), transfer(memory, file))
        }
        Op::ReadAt { file, offset, memory, start, end } => {
            assert!(!matches!(memory, Memory::Shared(_)), "read into memory that others read");
            let memory = Held::new(memory);
            let (address, bytes) = memory.range(start, end);
            let entry = opcode::Read::new(fd(&file), address, bytes).offset(offset).build();
            let kept = Kept::Shared { _file: file };
            (entry, InFlight { token, kind: Kind::Transfer, memory: Some(memory), _file: Some(kept) })
        }
        Op::Send { socket, memory, start, end } => {
            let memory = Held::new(memory);
            let (address, bytes) = memory.range(start, end);
            let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
            (opcode::Send::new(fd(&socket), address, bytes).flags(flags).build(), transfer(memory, socket))
        }
        Op::Write { file, offset, memory, start, end } => {
            let memory = Held::new(memory);
            let (address, bytes) = memory.range(start, end);
            let entry = if arena.is_some_and(|arena| memory.is_pinned_in(arena)) {
                opcode::WriteFixed::new(fd(&file), address, bytes, ARENA_INDEX).offset(offset).build()
            } else {
                opcode::Write::new(fd(&file), address, bytes).offset(offset).build()
            };
            (entry, transfer(memory, file))
        }
        Op::Cancel { .. } => (opcode::AsyncCancel::new(cancel_target).build(), InFlight::cancel(token)),
    }
}

fn fd(file: &OwnedFd) -> Fd {
    Fd(file.as_raw_fd())
}
