//! Candidates whose full vectors are on disk: they are read, each by an operation of its own and all at a time, and ranked as they
//! come.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::{Hit, SearchRequest, Top};
use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::uring::{Completion, Memory, Op, Ring};

/// Bits of a token for the place of a row among those of a query.
const PLACE_BITS: u32 = 16;
/// Memories of rows that are kept for the reads to come.
const MEMORIES_MAX: usize = 1_024;
/// Entries of a ring of a thread's own.
const RING_ENTRIES: u32 = 256;
/// How long a thread sleeps at most before it looks again.
const WAIT: Duration = Duration::from_secs(1);

/// A query whose best candidates are ranked by their full vectors, but for some that are to be read.
///
/// Whoever searches holds a view until it is done, so the rows stay where they are.
pub struct Ranking {
    pub(super) collection: Arc<Collection>,
    pub(super) request: SearchRequest,
    pub(super) query: usize,
    /// The nearest of those whose vectors were in memory.
    pub(super) top: Top,
    /// The others.
    pub(super) rows: Vec<u32>,
}

impl Ranking {
    fn file_and_offset(&self, row: u32) -> (Arc<OwnedFd>, u64) {
        let place = self.collection.region.on_disk(self.request.vector, row);
        let (file, offset) = place.expect("what was moved out stays there while a view is held");
        (file.clone(), offset)
    }

    fn rank(&mut self, row: u32, vector: &[u8]) {
        let space = &self.collection.vectors[self.request.vector].coded;
        let distance = space.exact_pair(self.request.query(self.query), vector);
        self.top.push(Hit { distance, row });
    }
}

/// The rankings of one thread that wait for the disk. The ring is the caller's, and so is everything above the low 48 bits of a token.
#[derive(Default)]
pub struct VectorReads {
    pending: Vec<Option<Pending>>,
    free: Vec<u32>,
    memories: Vec<Box<[u8]>>,
}

struct Pending {
    ranking: Ranking,
    /// Reads under way.
    left: usize,
    error: Option<io::Error>,
    waker: Option<Waker>,
}

impl VectorReads {
    /// Queues the reads of a ranking, with `tag` in their tokens, and gives the number that the ranking is known by. Their
    /// completions are to be given to `complete`.
    pub fn begin(&mut self, ranking: Ranking, ring: &mut Ring, tag: u64) -> u32 {
        let ticket = self.free.pop().unwrap_or_else(|| {
            self.pending.push(None);
            u32::try_from(self.pending.len() - 1).expect("fewer than 2^32 searches at a time")
        });
        let bytes = ranking.collection.spec.schema.vectors()[ranking.request.vector].row_bytes();
        assert!(ranking.rows.len() <= 1 << PLACE_BITS, "no more candidates than a search holds");
        for (place, &row) in ranking.rows.iter().enumerate() {
            let (file, offset) = ranking.file_and_offset(row);
            let memory = self.memories.pop().filter(|memory| memory.len() == bytes);
            let memory = Memory::Heap(memory.unwrap_or_else(|| vec![0; bytes].into_boxed_slice()));
            let token = tag | u64::from(ticket) << PLACE_BITS | place as u64;
            ring.push(Op::ReadAt { file, offset, memory, start: 0, end: bytes }, token);
        }
        let left = ranking.rows.len();
        self.pending[ticket as usize] = Some(Pending { ranking, left, error: None, waker: None });
        ticket
    }

    /// Takes in a completion, whose token is without its tag.
    pub fn complete(&mut self, completion: Completion) {
        let (ticket, place) =
            ((completion.token >> PLACE_BITS) as usize, completion.token as usize & ((1 << PLACE_BITS) - 1));
        let pending = self.pending[ticket].as_mut().expect("a ranking waits for its reads");
        let Some(Memory::Heap(memory)) = completion.memory else { unreachable!("what was read to comes back") };
        match completion.result {
            Ok(bytes) if bytes as usize == memory.len() => {
                let row = pending.ranking.rows[place];
                pending.ranking.rank(row, &memory);
            }
            Ok(_) => pending.error = Some(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => pending.error = Some(error),
        }
        if self.memories.len() < MEMORIES_MAX {
            self.memories.push(memory);
        }
        pending.left -= 1;
        if pending.left == 0
            && let Some(waker) = pending.waker.take()
        {
            waker.wake();
        }
    }

    /// The nearest rows of a ranking, once all its vectors were read; `waker` is woken then. To be called until it is ready.
    ///
    /// # Errors
    /// `System` where a vector could not be read.
    pub fn poll(&mut self, ticket: u32, waker: Option<&Waker>) -> Poll<Result<Top>> {
        let slot = &mut self.pending[ticket as usize];
        let pending = slot.as_mut().expect("a ranking that was begun and not taken");
        if pending.left > 0 {
            pending.waker = waker.cloned();
            return Poll::Pending;
        }
        let Pending { ranking, error, .. } = slot.take().expect("looked at");
        self.free.push(ticket);
        Poll::Ready(match error {
            None => Ok(ranking.top),
            Some(source) => Err(Error::System { operation: "read vectors from their file", source }),
        })
    }
}

/// Reads on a ring of a thread's own, which waits for them.
#[derive(Default)]
pub(super) struct BlockingReads {
    ring: Option<Ring>,
    reads: VectorReads,
    completions: Vec<Completion>,
}

impl BlockingReads {
    /// Reads what is left of a ranking.
    pub fn finish(&mut self, ranking: Ranking) -> Result<Top> {
        let ring = match &mut self.ring {
            Some(ring) => ring,
            none => none.insert(Ring::new(RING_ENTRIES)?),
        };
        let ticket = self.reads.begin(ranking, ring, 0);
        loop {
            if let Poll::Ready(found) = self.reads.poll(ticket, None) {
                return found;
            }
            ring.wait(WAIT).map_err(|source| Error::System { operation: "wait on io_uring", source })?;
            ring.reap(usize::MAX, &mut self.completions);
            self.completions.drain(..).for_each(|completion| self.reads.complete(completion));
        }
    }
}
