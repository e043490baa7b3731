//! A bounded queue from one thread to one other.
//!
//! ```text
//!            head (consumer writes)      tail (producer writes)
//!              v                           v
//!   slots  . . # # # # # # # # # # # # # # . . . .      #: initialised, the consumer's to read
//!                                                       .: free, the producer's to write
//! ```
//!
//! - `head` and `tail` count messages since the start and never go back; a slot is a count modulo the capacity.
//! - `head <= tail <= head + capacity`, by wrapping difference.
//! - Each end keeps its own count and the last value it saw of the other's, so a push or pop touches the other end's
//!   cache line only when the cached value says full or empty.
//! - The ends are not `Clone` and take `&mut self`: one producer and one consumer are what the compiler checks.
//! - Full is backpressure: the value comes back, nothing is dropped and nothing waits.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::mem::MaybeUninit;

use crossbeam_utils::CachePadded;

use super::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};

struct Shared<T> {
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    /// One of the ends is gone; the one that reads this is not, so it means the other.
    closed: AtomicBool,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is reached by one end at a time. The producer hands it over with the Release store of `tail`, the
// consumer hands it back with the Release store of `head`, and each loads the other's count with Acquire before it
// touches the slot. Values cross threads, hence `T: Send`; no `&T` is ever shared, so `T: Sync` is not needed.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, count: usize) -> &UnsafeCell<MaybeUninit<T>> {
        // The capacity is a power of two, so the mask is both the modulo and the proof that the index is in bounds.
        &self.slots[count & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        while head != tail {
            // SAFETY: both ends are gone (this is the last reference), and what lies between `head` and `tail` was
            // written by `Producer` and not yet read by `Consumer`.
            self.slot(head).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

/// The writing end of a [`ring`].
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

/// The reading end of a [`ring`].
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

/// Makes a queue of `capacity` messages.
///
/// # Panics
/// If `capacity` is not a power of two.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two(), "the capacity of a ring is a power of two, not {capacity}");
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        closed: AtomicBool::new(false),
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let producer = Producer { shared: shared.clone(), tail: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

impl<T> Producer<T> {
    /// Messages the ring can hold.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Free slots now; the consumer can only make it more.
    pub fn free(&self) -> usize {
        self.capacity() - self.tail.wrapping_sub(self.shared.head.load(Ordering::Acquire))
    }

    /// The consumer is gone: nothing that is pushed will be read.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Appends one message.
    ///
    /// # Errors
    /// Gives the message back when the ring is full or the consumer is gone.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.is_closed() || self.free_at_least(1) == 0 {
            return Err(value);
        }
        self.write(value);
        self.publish();
        Ok(())
    }

    /// Moves messages from the front of `values` until it is empty or the ring is full; the consumer sees them at
    /// once. Returns how many moved: none when the consumer is gone.
    pub fn push_batch(&mut self, values: &mut VecDeque<T>) -> usize {
        if self.is_closed() {
            return 0;
        }
        let count = values.len().min(self.free_at_least(values.len()));
        for value in values.drain(..count) {
            self.write(value);
        }
        self.publish();
        count
    }

    /// Free slots as far as is known, asking the consumer's count only when that is less than `wanted`.
    #[inline]
    fn free_at_least(&mut self, wanted: usize) -> usize {
        let free = self.capacity() - self.tail.wrapping_sub(self.head_seen);
        if free >= wanted {
            return free;
        }
        self.head_seen = self.shared.head.load(Ordering::Acquire);
        let used = self.tail.wrapping_sub(self.head_seen);
        assert!(used <= self.capacity(), "the consumer's count is ahead of the producer's");
        self.capacity() - used
    }

    /// Writes into the next slot, which the caller has seen to be free; [`Self::publish`] hands it over.
    #[inline]
    fn write(&mut self, value: T) {
        debug_assert!(self.tail.wrapping_sub(self.head_seen) < self.capacity());
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: `push` and `push_batch` counted the free slots by an Acquire load of `head`, so the consumer is
            // done with this one, and it will not look at it before `publish` stores `tail`.
            unsafe { (*slot).write(value) };
        });
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    fn publish(&mut self) {
        self.shared.tail.store(self.tail, Ordering::Release);
    }
}

impl<T> Consumer<T> {
    /// Messages the ring can hold.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// No message is waiting. Asks the producer's count, not the cached one.
    pub fn is_empty(&self) -> bool {
        self.shared.tail.load(Ordering::Acquire) == self.head
    }

    /// The producer is gone: what is in the ring can still be taken, nothing will follow.
    pub fn is_closed(&self) -> bool {
        // Acquire: who sees the flag also sees everything that was pushed before it.
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Takes the oldest message.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.ready_at_least(1) == 0 {
            return None;
        }
        let value = self.read();
        self.release();
        Some(value)
    }

    /// Hands up to `max` messages to `each`, oldest first, and gives their slots back together. Returns how many.
    #[inline]
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) -> usize {
        let count = self.ready_at_least(max).min(max);
        if count == 0 {
            return 0;
        }
        let reader = ReleaseOnDrop(self);
        for _ in 0..count {
            each(reader.0.read());
        }
        count
    }

    /// Waiting messages as far as is known, asking the producer's count only when that is less than `wanted`.
    #[inline]
    fn ready_at_least(&mut self, wanted: usize) -> usize {
        let ready = self.tail_seen.wrapping_sub(self.head);
        if ready >= wanted {
            return ready;
        }
        self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        let ready = self.tail_seen.wrapping_sub(self.head);
        assert!(ready <= self.capacity(), "the producer's count ran past the capacity");
        ready
    }

    /// Reads the next slot, which the caller has seen to be filled; [`Self::release`] gives it back.
    #[inline]
    fn read(&mut self) -> T {
        debug_assert!(self.head != self.tail_seen);
        // SAFETY: `pop` and `drain` counted the filled slots by an Acquire load of `tail`, so the producer's write is
        // visible and it will not write here before `release` stores `head`. `head` moves on at once, so no value
        // is read twice, even if a caller's closure panics.
        let value = self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        value
    }

    #[inline]
    fn release(&mut self) {
        self.shared.head.store(self.head, Ordering::Release);
    }
}

/// Stores `head` when a drain ends, also by a panic of the caller's closure: a slot that was read must not be read
/// again by whoever drops the ring.
struct ReleaseOnDrop<'a, T>(&'a mut Consumer<T>);

impl<T> Drop for ReleaseOnDrop<'_, T> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl<T> std::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("capacity", &self.capacity()).field("free", &self.free()).finish()
    }
}

impl<T> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("capacity", &self.capacity()).field("empty", &self.is_empty()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn a_million_messages_arrive_in_order() {
        const MESSAGES: u64 = 1_000_000;
        let (mut producer, mut consumer) = ring::<u64>(1024);
        let writer = thread::spawn(move || {
            for number in 0..MESSAGES {
                let mut value = number;
                while let Err(back) = producer.push(value) {
                    assert!(!producer.is_closed(), "the reader gave up at {number}");
                    value = back;
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < MESSAGES {
            let taken = consumer.drain(100, |number| {
                assert_eq!(number, expected);
                expected += 1;
            });
            if taken == 0 {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
        assert_eq!(consumer.pop(), None);
        assert!(consumer.is_closed());
    }

    #[test]
    fn a_full_ring_gives_the_value_back() {
        let (mut producer, mut consumer) = ring::<String>(2);
        producer.push("a".to_string()).unwrap();
        producer.push("b".to_string()).unwrap();
        assert_eq!(producer.push("c".to_string()), Err("c".to_string()));
        assert_eq!(producer.free(), 0);
        assert_eq!(consumer.pop().as_deref(), Some("a"));
        assert_eq!(producer.free(), 1);
        producer.push("c".to_string()).unwrap();
        assert_eq!(consumer.pop().as_deref(), Some("b"));
        assert_eq!(consumer.pop().as_deref(), Some("c"));
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn batches_move_what_fits_and_keep_the_rest() {
        let (mut producer, mut consumer) = ring::<u32>(4);
        let mut waiting: VecDeque<u32> = (0..7).collect();
        assert_eq!(producer.push_batch(&mut waiting), 4);
        assert_eq!(waiting, [4, 5, 6]);
        let mut seen = Vec::new();
        assert_eq!(consumer.drain(3, |value| seen.push(value)), 3);
        assert_eq!(producer.push_batch(&mut waiting), 3);
        assert_eq!(consumer.drain(usize::MAX, |value| seen.push(value)), 4);
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(producer.push_batch(&mut waiting), 0);
        assert_eq!(consumer.drain(0, |_| unreachable!()), 0);
    }

    #[test]
    fn either_end_sees_that_the_other_is_gone() {
        let (mut producer, mut consumer) = ring::<u32>(4);
        producer.push(7).unwrap();
        drop(producer);
        assert!(consumer.is_closed());
        assert_eq!(consumer.pop(), Some(7));
        assert_eq!(consumer.pop(), None);

        let (mut producer, consumer) = ring::<u32>(4);
        drop(consumer);
        assert!(producer.is_closed());
        assert_eq!(producer.push(8), Err(8));
        assert_eq!(producer.push_batch(&mut VecDeque::from([9])), 0);
    }

    #[test]
    fn every_message_is_dropped_once() {
        let counted = std::sync::Arc::new(());
        let (mut producer, mut consumer) = ring(8);
        for _ in 0..6 {
            producer.push(counted.clone()).unwrap();
        }
        drop(consumer.pop());
        let panicked = catch_unwind(AssertUnwindSafe(|| consumer.drain(3, |_| panic!("the closure gives up"))));
        assert!(panicked.is_err());
        // One popped, one taken by the closure that panicked, four still in the ring.
        assert_eq!(std::sync::Arc::strong_count(&counted), 1 + 4);
        assert_eq!(producer.free(), 4);
        drop(producer);
        assert_eq!(std::sync::Arc::strong_count(&counted), 1 + 4);
        drop(consumer);
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }

    #[test]
    #[should_panic(expected = "power of two")]
    fn an_odd_capacity_is_a_bug() {
        let _ = ring::<u8>(3);
    }
}
