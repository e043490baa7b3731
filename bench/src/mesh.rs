//! The hop between two threads: round trips with one message under way, and messages per second one way.
//!
//! Round trips are measured busy (both ends spin), parked (both sleep on their doorbells by a blocking read) and parked on
//! rings (both sleep as shards do, on an io_uring that reads the doorbell). `std::sync::mpsc` gives the baselines, in the
//! same run. On a machine where the two threads do not have a core each, the busy figures say nothing: look at the p50.

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use engine::mesh::{Port, mesh};
use engine::uring::{Completion, Memory, Op, Ring};
use hdrhistogram::Histogram;

use crate::report::Figure;

/// Messages a ring holds, in every case.
const CAPACITY: usize = 1024;
/// Messages of one batch.
const BATCH: usize = 64;
/// Turns in vain after which an end of a round trip lets others run: without it, two ends that share a core would spin
/// for a time slice each. Well above a round trip between two cores, so that a yield does not bring them together.
const ECHO_SPINS_MAX: u32 = 10_000;
/// The same for an end that waits for a ring to fill or empty.
const FLOOD_SPINS_MAX: u32 = 200;
/// The number that ends an echo.
const LAST: u64 = u64::MAX;

/// Runs all cases; `quick` runs a fifth of the rounds.
pub fn run(quick: bool) -> Vec<Figure> {
    let scale = if quick { 1 } else { 5 };
    let (busy, parked) = (20_000 * scale, 2_000 * scale);
    let parked_channel = channel_echo(parked, Idle::Sleep);
    let cases = [
        ("busy", echo(busy, Idle::Spin), channel_echo(busy, Idle::Spin)),
        ("parked threads", echo(parked, Idle::Sleep), parked_channel.clone()),
        ("parked on rings", ring_echo(parked), parked_channel),
    ];
    let mut figures = Vec::new();
    for (name, mesh, channel) in &cases {
        for (label, quantile) in [("p50", 0.50), ("p99", 0.99)] {
            let ns = |histogram: &Histogram<u64>| histogram.value_at_quantile(quantile) as f64;
            let figure = Figure::new(format!("round trip, {name}, {label}"), ns(mesh), "ns");
            figures.push(figure.beside("std sync_channel", ns(channel)));
        }
    }
    let messages = 1_000_000 * scale;
    let mesh = per_second(messages, flood);
    let channel = per_second(messages / 4, channel_flood);
    figures.push(Figure::new("one way, batches of 64", mesh, "messages/s").beside("std sync_channel", channel));
    figures
}

/// What an end does while no message is there.
#[derive(Clone, Copy)]
enum Idle {
    Spin,
    Sleep,
}

fn pair() -> (Port<u64>, Port<u64>) {
    let mut ports = mesh(2, CAPACITY).expect("two eventfds");
    let second = ports.pop().expect("two ports");
    (ports.pop().expect("two ports"), second)
}

fn take_one(port: &mut Port<u64>) -> Option<u64> {
    let mut arrived = None;
    port.drain(1, |_, number| arrived = Some(number));
    arrived
}

fn receive(port: &mut Port<u64>, idle: Idle) -> u64 {
    let mut spins = 0;
    loop {
        if let Some(number) = take_one(port) {
            return number;
        }
        match idle {
            Idle::Spin => spin(&mut spins, ECHO_SPINS_MAX),
            Idle::Sleep if port.prepare_sleep() => {
                port.doorbell().wait();
                port.awake();
            }
            Idle::Sleep => {}
        }
    }
}

fn spin(spins: &mut u32, spins_max: u32) {
    *spins += 1;
    if spins.is_multiple_of(spins_max) {
        thread::yield_now();
    }
    spin_loop();
}

/// Times `rounds` round trips after a tenth as many that warm up, and checks that each answer is that of its question.
fn time(rounds: u64, mut round_trip: impl FnMut(u64) -> u64) -> Histogram<u64> {
    let mut histogram = histogram();
    for number in 0..rounds + rounds / 10 {
        let started = Instant::now();
        assert_eq!(round_trip(number), number);
        record(&mut histogram, number >= rounds / 10, started.elapsed());
    }
    histogram
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

fn record(histogram: &mut Histogram<u64>, warm: bool, elapsed: Duration) {
    if warm {
        histogram.record(elapsed.as_nanos() as u64).expect("the histogram grows");
    }
}

fn echo(rounds: u64, idle: Idle) -> Histogram<u64> {
    let (mut near, mut far) = pair();
    let answering = thread::spawn(move || {
        loop {
            let number = receive(&mut far, idle);
            if number == LAST {
                return far;
            }
            far.send(0, number).expect("one message is under way");
        }
    });
    let histogram = time(rounds, |number| {
        near.send(1, number).expect("one message is under way");
        receive(&mut near, idle)
    });
    near.send(1, LAST).expect("one message is under way");
    answering.join().expect("the echo ends");
    histogram
}

fn channel_echo(rounds: u64, idle: Idle) -> Histogram<u64> {
    let (to_far, at_far) = mpsc::sync_channel::<u64>(CAPACITY);
    let (to_near, at_near) = mpsc::sync_channel::<u64>(CAPACITY);
    let receive = move |channel: &mpsc::Receiver<u64>| match idle {
        Idle::Sleep => channel.recv().expect("the other end is there"),
        Idle::Spin => {
            let mut spins = 0;
            loop {
                match channel.try_recv() {
                    Ok(number) => return number,
                    Err(_) => spin(&mut spins, ECHO_SPINS_MAX),
                }
            }
        }
    };
    let answering = thread::spawn(move || {
        loop {
            let number = receive(&at_far);
            if number == LAST {
                return;
            }
            to_near.send(number).expect("the other end is there");
        }
    });
    let histogram = time(rounds, |number| {
        to_far.send(number).expect("the other end is there");
        receive(&at_near)
    });
    to_far.send(LAST).expect("the other end is there");
    answering.join().expect("the echo ends");
    histogram
}

/// A ring that a thread sleeps on as a shard does: with a read of its doorbell in it.
struct Bed {
    ring: Ring,
    bell: Rc<OwnedFd>,
    count: Option<Memory>,
    completions: Vec<Completion>,
}

impl Bed {
    fn new(port: &Port<u64>) -> Bed {
        let bell = port.doorbell().as_fd().try_clone_to_owned().expect("a descriptor");
        let count = Some(Memory::Heap(vec![0; size_of::<u64>()].into_boxed_slice()));
        Bed { ring: Ring::new(8).expect("io_uring"), bell: Rc::new(bell), count, completions: Vec::new() }
    }

    fn sleep(&mut self) {
        if let Some(memory) = self.count.take() {
            self.ring.push(Op::Read { file: self.bell.clone(), memory, start: 0, end: size_of::<u64>() }, 0);
        }
        self.ring.wait(Duration::from_secs(1)).expect("a ring that works");
        self.ring.reap(usize::MAX, &mut self.completions);
        for completion in self.completions.drain(..) {
            completion.result.expect("a bell can be read");
            self.count = completion.memory;
        }
    }

    fn receive(&mut self, port: &mut Port<u64>) -> u64 {
        loop {
            if let Some(number) = take_one(port) {
                return number;
            }
            if port.prepare_sleep() {
                self.sleep();
                port.awake();
            }
        }
    }
}

fn ring_echo(rounds: u64) -> Histogram<u64> {
    let (mut near, mut far) = pair();
    let answering = thread::spawn(move || {
        let mut bed = Bed::new(&far);
        loop {
            let number = bed.receive(&mut far);
            if number == LAST {
                return far;
            }
            far.send(0, number).expect("one message is under way");
        }
    });
    let mut bed = Bed::new(&near);
    let histogram = time(rounds, |number| {
        near.send(1, number).expect("one message is under way");
        bed.receive(&mut near)
    });
    near.send(1, LAST).expect("one message is under way");
    answering.join().expect("the echo ends");
    histogram
}

fn per_second(messages: u64, flood: impl FnOnce(u64)) -> f64 {
    let started = Instant::now();
    flood(messages);
    messages as f64 / started.elapsed().as_secs_f64()
}

fn flood(messages: u64) {
    let (mut near, mut far) = pair();
    let reading = thread::spawn(move || {
        let mut expected = 0;
        let mut spins = 0;
        while expected < messages {
            let taken = far.drain(BATCH, |_, number| {
                assert_eq!(number, expected);
                expected += 1;
            });
            if taken == 0 {
                spin(&mut spins, FLOOD_SPINS_MAX);
            }
        }
        far
    });
    let mut next = 0;
    let mut spins = 0;
    let mut waiting = VecDeque::with_capacity(BATCH);
    while next < messages || !waiting.is_empty() {
        let count = (BATCH - waiting.len()).min((messages - next) as usize) as u64;
        waiting.extend(next..next + count);
        next += count;
        if near.send_batch(1, &mut waiting) == 0 {
            spin(&mut spins, FLOOD_SPINS_MAX);
        }
    }
    reading.join().expect("the reading end finishes");
}

fn channel_flood(messages: u64) {
    let (sender, receiver) = mpsc::sync_channel::<u64>(CAPACITY);
    let reading = thread::spawn(move || {
        for expected in 0..messages {
            assert_eq!(receiver.recv().expect("the sender is there"), expected);
        }
    });
    for number in 0..messages {
        sender.send(number).expect("the receiver is there");
    }
    reading.join().expect("the reading end finishes");
}
