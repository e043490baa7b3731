//! The hop between two threads: round trips with one message under way, and messages per second one way.
//!
//! Round trips are measured busy (both ends spin), parked (both sleep on their doorbells by a blocking read) and parked in
//! two executors (both sleep through [`Sleeper`]). `std::sync::mpsc` gives the baselines, in the same run. On a machine
//! where the two threads do not have a core each, the busy figures say nothing: look at the p50.

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use engine::mesh::{Port, mesh};
use engine::shard::sleeper::Sleeper;
use glommio::{LocalExecutorBuilder, Placement};
use hdrhistogram::Histogram;

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

/// Runs all cases; `quick` runs a fifth of the rounds. Returns (name, value, unit).
pub fn run(quick: bool) -> Vec<(String, f64, &'static str)> {
    let scale = if quick { 1 } else { 5 };
    let mut figures = Vec::new();
    let mut round_trips = |name: &str, histogram: Histogram<u64>| {
        for (label, quantile) in [("p50", 0.50), ("p99", 0.99)] {
            figures.push((
                format!("mesh round trip, {name}, {label}"),
                histogram.value_at_quantile(quantile) as f64,
                "ns",
            ));
        }
    };
    round_trips("busy", echo(20_000 * scale, Idle::Spin));
    round_trips(
        "std sync_channel busy (baseline)",
        channel_echo(20_000 * scale, Idle::Spin),
    );
    round_trips("parked threads", echo(2_000 * scale, Idle::Sleep));
    round_trips(
        "std sync_channel parked (baseline)",
        channel_echo(2_000 * scale, Idle::Sleep),
    );
    round_trips("parked executors", executor_echo(2_000 * scale));

    let messages = 1_000_000 * scale;
    figures.push((
        "mesh one way, batches of 64".into(),
        per_second(messages, flood),
        "messages/s",
    ));
    figures.push((
        "std sync_channel one way (baseline)".into(),
        per_second(messages / 4, channel_flood),
        "messages/s",
    ));
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
        histogram
            .record(elapsed.as_nanos() as u64)
            .expect("the histogram grows");
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

async fn receive_in_executor(port: &mut Port<u64>, sleeper: &mut Sleeper) -> u64 {
    loop {
        if let Some(number) = take_one(port) {
            return number;
        }
        if port.prepare_sleep() {
            sleeper
                .sleep()
                .await
                .expect("the executor reads an eventfd");
            port.awake();
        }
    }
}

fn executor_echo(rounds: u64) -> Histogram<u64> {
    let executor = || LocalExecutorBuilder::new(Placement::Unbound).io_memory(0);
    let (mut near, mut far) = pair();
    let answering = executor().spawn(move || async move {
        let mut sleeper = Sleeper::new(&far.doorbell()).expect("an eventfd");
        loop {
            let number = receive_in_executor(&mut far, &mut sleeper).await;
            if number == LAST {
                return far;
            }
            far.send(0, number).expect("one message is under way");
        }
    });
    let asking = executor().spawn(move || async move {
        let mut sleeper = Sleeper::new(&near.doorbell()).expect("an eventfd");
        let mut histogram = histogram();
        for number in 0..rounds + rounds / 10 {
            let started = Instant::now();
            near.send(1, number).expect("one message is under way");
            assert_eq!(receive_in_executor(&mut near, &mut sleeper).await, number);
            record(&mut histogram, number >= rounds / 10, started.elapsed());
        }
        near.send(1, LAST).expect("one message is under way");
        (near, histogram)
    });
    let (_near, histogram) = asking
        .expect("an executor")
        .join()
        .expect("the asking end finishes");
    answering
        .expect("an executor")
        .join()
        .expect("the echo ends");
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
