//! The ends of all rings that belong to one participant.

use std::collections::VecDeque;

use super::doorbell::Doorbell;
use super::ring::{Consumer, Producer, ring};
use super::sync::{Arc, Ordering, fence};
use crate::error::Result;
use crate::limits::MESH_PARTICIPANTS_MAX;

/// A set of participants, one bit each.
type PeerSet = u128;

const _: () = assert!(MESH_PARTICIPANTS_MAX <= PeerSet::BITS as usize);

/// One participant's place in the mesh: a ring to and a ring from every other one, and its doorbell.
///
/// Messages between two participants arrive in the order they were sent; between different pairs there is no order.
#[derive(Debug)]
pub struct Port<T> {
    index: usize,
    outgoing: Box<[Option<Producer<T>>]>,
    incoming: Box<[Option<Consumer<T>>]>,
    doorbells: Box<[Arc<Doorbell>]>,
    /// Peers that have messages they were not rung for.
    unrung: PeerSet,
    /// Peers whose departure this participant has been kept awake for.
    departed: PeerSet,
}

/// Connects `participants` with each other by rings of `capacity` messages; port `i` of the result is for participant
/// `i`. Memory is about `participants * (participants - 1) * capacity * size_of::<T>()`, so messages should be small.
///
/// # Errors
/// When the process or the system has too few file descriptors for one eventfd a participant.
///
/// # Panics
/// If `capacity` is not a power of two, or `participants` is 0 or above [`MESH_PARTICIPANTS_MAX`].
pub fn mesh<T: Send>(participants: usize, capacity: usize) -> Result<Vec<Port<T>>> {
    assert!((1..=MESH_PARTICIPANTS_MAX).contains(&participants), "a mesh of {participants} participants");
    let doorbells: Box<[Arc<Doorbell>]> =
        (0..participants).map(|_| Doorbell::new().map(Arc::new)).collect::<Result<_>>()?;
    let mut ports: Vec<Port<T>> = (0..participants)
        .map(|index| Port {
            index,
            outgoing: (0..participants).map(|_| None).collect(),
            incoming: (0..participants).map(|_| None).collect(),
            doorbells: doorbells.clone(),
            unrung: 0,
            departed: 0,
        })
        .collect();
    for from in 0..participants {
        for to in (0..participants).filter(|&to| to != from) {
            let (producer, consumer) = ring(capacity);
            ports[from].outgoing[to] = Some(producer);
            ports[to].incoming[from] = Some(consumer);
        }
    }
    Ok(ports)
}

impl<T> Port<T> {
    /// This participant's number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Participants of the mesh, this one included.
    pub fn participants(&self) -> usize {
        self.doorbells.len()
    }

    /// This participant's bell, for other threads that have something for it, and for its own io_uring.
    pub fn doorbell(&self) -> Arc<Doorbell> {
        self.doorbells[self.index].clone()
    }

    /// Messages that can be sent to `to` now; it can only become more.
    pub fn free(&self, to: usize) -> usize {
        self.outgoing[to].as_ref().expect("a participant does not send to itself").free()
    }

    /// Participant `peer` has dropped its port. What it sent before can still be drained.
    pub fn is_gone(&self, peer: usize) -> bool {
        self.incoming[peer].as_ref().expect("a participant knows of itself").is_closed()
    }

    /// Sends a message, and wakes `to` if it sleeps.
    ///
    /// # Errors
    /// Gives the message back when the ring is full (backpressure: drain, and try again in a later turn) or the
    /// participant is gone.
    ///
    /// # Panics
    /// If `to` is this participant or none.
    #[inline]
    pub fn send(&mut self, to: usize, message: T) -> Result<(), T> {
        self.producer(to).push(message)?;
        self.doorbells[to].ring_if_asleep();
        Ok(())
    }

    /// Moves messages from the front of `messages` until the ring to `to` is full, and wakes `to` if it sleeps. Returns
    /// how many moved.
    ///
    /// # Panics
    /// If `to` is this participant or none.
    pub fn send_batch(&mut self, to: usize, messages: &mut VecDeque<T>) -> usize {
        let sent = self.producer(to).push_batch(messages);
        if sent > 0 {
            self.doorbells[to].ring_if_asleep();
        }
        sent
    }

    /// As [`Self::send`], but a sleeping `to` is woken only by the next [`Self::flush`] or [`Self::prepare_sleep`]:
    /// one memory barrier for all messages of a turn.
    ///
    /// # Errors
    /// As [`Self::send`].
    ///
    /// # Panics
    /// If `to` is this participant or none.
    #[inline]
    pub fn post(&mut self, to: usize, message: T) -> Result<(), T> {
        self.producer(to).push(message)?;
        self.unrung |= 1 << to;
        Ok(())
    }

    /// Wakes the sleeping ones among the participants that messages were posted to.
    pub fn flush(&mut self) {
        if self.unrung == 0 {
            return;
        }
        fence(Ordering::SeqCst);
        while self.unrung != 0 {
            let to = self.unrung.trailing_zeros() as usize;
            self.unrung &= self.unrung - 1;
            self.doorbells[to].take_asleep();
        }
    }

    /// Hands up to `max_per_peer` messages of each participant to `each`, with the sender's number. Returns how many.
    pub fn drain(&mut self, max_per_peer: usize, mut each: impl FnMut(usize, T)) -> usize {
        let mut drained = 0;
        for (from, incoming) in self.incoming.iter_mut().enumerate() {
            let Some(consumer) = incoming else { continue };
            drained += consumer.drain(max_per_peer, |message| each(from, message));
        }
        drained
    }

    /// Announces that this participant sleeps, and looks once more.
    ///
    /// `true`: nothing is there, and from now on a message rings the bell. The caller looks at its other sources of
    /// work, which also must be looked at after the announcement, and waits on the bell. `false`: a message has come, or
    /// a participant has gone; do not wait. In either case [`Self::awake`] is due before the next turn; after `false`
    /// it has been done.
    #[must_use]
    pub fn prepare_sleep(&mut self) -> bool {
        self.flush();
        self.doorbells[self.index].announce_sleep();
        let mut departed: PeerSet = 0;
        let mut empty = true;
        for (from, consumer) in self.incoming.iter().enumerate() {
            let Some(consumer) = consumer else { continue };
            empty &= consumer.is_empty();
            departed |= PeerSet::from(consumer.is_closed()) << from;
        }
        // A departure keeps its peers awake once, so that they can notice; not for ever.
        let sleep = empty && departed & !self.departed == 0;
        self.departed = departed;
        if !sleep {
            self.awake();
        }
        sleep
    }

    /// Ends what [`Self::prepare_sleep`] began: this participant looks at its rings by itself again.
    pub fn awake(&mut self) {
        self.doorbells[self.index].awake();
    }

    #[inline]
    fn producer(&mut self, to: usize) -> &mut Producer<T> {
        self.outgoing[to].as_mut().expect("a participant does not send to itself")
    }
}

impl<T> Drop for Port<T> {
    /// Closes the rings and wakes the others, so that they notice.
    fn drop(&mut self) {
        self.outgoing = Box::default();
        self.incoming = Box::default();
        fence(Ordering::SeqCst);
        for (peer, doorbell) in self.doorbells.iter().enumerate() {
            if peer != self.index {
                doorbell.take_asleep();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// No wake takes this long on a machine that is only busy; a lost one takes for ever.
    const WAKE_MAX: Duration = Duration::from_secs(20);

    #[test]
    fn four_participants_hear_everything_from_everybody() {
        const MESSAGES: u32 = 50_000;
        let threads: Vec<_> = mesh::<u32>(4, 64)
            .unwrap()
            .into_iter()
            .map(|mut port| {
                thread::spawn(move || {
                    let index = port.index();
                    let peers: Vec<usize> = (0..port.participants()).filter(|&peer| peer != index).collect();
                    let mut sent = [0u32; 4];
                    let mut heard = [0u32; 4];
                    while peers.iter().any(|&peer| sent[peer] < MESSAGES || heard[peer] < MESSAGES) {
                        let mut moved = 0;
                        for &to in &peers {
                            while sent[to] < MESSAGES && port.post(to, sent[to]).is_ok() {
                                sent[to] += 1;
                                moved += 1;
                            }
                        }
                        port.flush();
                        moved += port.drain(32, |from, number| {
                            assert_eq!(number, heard[from], "from {from} to {index}");
                            heard[from] += 1;
                        });
                        if moved == 0 {
                            thread::yield_now();
                        }
                    }
                    assert_eq!(heard[index], 0);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_full_ring_gives_the_message_back_and_keeps_the_rest_of_a_batch() {
        let mut ports = mesh::<u32>(3, 2).unwrap();
        let mut backlog = VecDeque::from([0, 1, 2]);
        assert_eq!(ports[0].send_batch(2, &mut backlog), 2);
        assert_eq!(backlog, [2]);
        assert_eq!(ports[0].free(2), 0);
        assert_eq!(ports[0].send(2, 9), Err(9));
        assert_eq!(ports[0].send(1, 5), Ok(()), "the ring to another participant is another ring");
        let mut heard = Vec::new();
        assert_eq!(ports[2].drain(1, |from, message| heard.push((from, message))), 1);
        assert_eq!(ports[0].send_batch(2, &mut backlog), 1);
        assert_eq!(ports[2].drain(8, |from, message| heard.push((from, message))), 2);
        assert_eq!(heard, [(0, 0), (0, 1), (0, 2)]);
    }

    #[test]
    fn only_a_sleeper_is_rung_and_only_once() {
        let mut ports = mesh::<u32>(2, 8).unwrap();
        let bell = ports[1].doorbell();
        ports[0].send(1, 1).unwrap();
        assert!(!bell.wait_timeout(Duration::ZERO), "awake");
        assert!(!ports[1].prepare_sleep(), "a message is there");
        assert_eq!(ports[1].drain(8, |_, _| ()), 1);
        assert!(ports[1].prepare_sleep());
        ports[0].post(1, 2).unwrap();
        assert!(!bell.wait_timeout(Duration::ZERO), "posted, not flushed");
        ports[0].flush();
        assert!(bell.wait_timeout(WAKE_MAX));
        ports[0].send(1, 3).unwrap();
        assert!(!bell.wait_timeout(Duration::ZERO), "rung already");
        ports[1].awake();
        assert_eq!(ports[1].drain(8, |_, _| ()), 2);
    }

    #[test]
    fn going_to_sleep_rings_for_what_was_posted() {
        let mut ports = mesh::<u32>(2, 8).unwrap();
        let bell = ports[1].doorbell();
        assert!(ports[1].prepare_sleep());
        ports[0].post(1, 1).unwrap();
        assert!(ports[0].prepare_sleep());
        assert!(bell.wait_timeout(WAKE_MAX));
    }

    #[test]
    fn a_departure_wakes_once_and_refuses_messages() {
        let mut ports = mesh::<u32>(2, 8).unwrap();
        let mut leaving = ports.remove(0);
        let mut staying = ports.remove(0);
        leaving.send(1, 7).unwrap();
        assert_eq!(staying.drain(8, |_, _| ()), 1);
        assert!(staying.prepare_sleep());
        drop(leaving);
        assert!(staying.doorbell().wait_timeout(WAKE_MAX));
        staying.awake();
        assert!(staying.is_gone(0));
        assert_eq!(staying.send(0, 8), Err(8));
        assert!(!staying.prepare_sleep(), "the departure is news");
        assert!(staying.prepare_sleep(), "no longer");
        staying.awake();
    }

    #[test]
    fn sleepers_are_always_woken() {
        // Two threads pass one message to and fro and sleep whenever they have none, so that every hop can lose a wake.
        const ROUNDS: u64 = 100_000;
        let mut ports = mesh::<u64>(2, 4).unwrap();
        let progress = std::sync::Arc::new(AtomicU64::new(0));
        let (done, finished) = mpsc::channel();
        ports[0].send(1, 0).unwrap();
        for mut port in ports {
            let (done, progress) = (done.clone(), progress.clone());
            thread::spawn(move || {
                let other = 1 - port.index();
                let mut last = 0;
                while last + 1 < ROUNDS {
                    let mut arrived = None;
                    port.drain(4, |_, number| assert!(arrived.replace(number).is_none(), "one message is under way"));
                    match arrived {
                        Some(number) => {
                            last = number;
                            progress.store(number, Ordering::Relaxed);
                            port.send(other, number + 1).unwrap();
                        }
                        None if port.prepare_sleep() => {
                            port.doorbell().wait();
                            port.awake();
                        }
                        None => {}
                    }
                }
                // The port goes back through the channel: dropping it here would ring the other one awake.
                done.send(port).unwrap();
            });
        }
        let mut seen = u64::MAX;
        let mut finished_ports = Vec::new();
        while finished_ports.len() < 2 {
            match finished.recv_timeout(WAKE_MAX) {
                Ok(port) => finished_ports.push(port),
                Err(_) => {
                    let now = progress.load(Ordering::Relaxed);
                    assert_ne!(now, seen, "a wake was lost at hop {now} of {ROUNDS}");
                    seen = now;
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "does not send to itself")]
    fn sending_to_oneself_is_a_bug() {
        let _ = mesh::<u8>(2, 2).unwrap()[1].send(1, 0);
    }
}
