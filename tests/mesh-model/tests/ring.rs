//! The queue between two threads: order, no loss, no doubling, and either end going away.

use std::collections::VecDeque;

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use mesh_model::mesh::ring::{Consumer, ring};

/// Every interleaving with up to three involuntary switches; the rest is out of reach within a minute.
fn model(case: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(case);
}

/// A message that counts its drops.
struct Counted(usize, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

fn expect_in_order(consumer: &mut Consumer<Box<usize>>, count: usize) {
    let mut expected = 0;
    while expected < count {
        match consumer.pop() {
            Some(number) => {
                assert_eq!(*number, expected);
                expected += 1;
            }
            None => thread::yield_now(),
        }
    }
    assert!(consumer.pop().is_none());
}

#[test]
fn messages_arrive_in_order_through_a_ring_that_wraps() {
    model(|| {
        let (mut producer, mut consumer) = ring::<Box<usize>>(2);
        let writer = thread::spawn(move || {
            for number in 0..3 {
                let mut value = Box::new(number);
                while let Err(back) = producer.push(value) {
                    value = back;
                    thread::yield_now();
                }
            }
        });
        expect_in_order(&mut consumer, 3);
        writer.join().unwrap();
        assert!(consumer.is_closed());
    });
}

#[test]
fn batches_arrive_in_order_through_a_ring_that_wraps() {
    model(|| {
        let (mut producer, mut consumer) = ring::<Box<usize>>(2);
        let writer = thread::spawn(move || {
            let mut waiting: VecDeque<Box<usize>> = (0..4).map(Box::new).collect();
            while !waiting.is_empty() {
                if producer.push_batch(&mut waiting) == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < 4 {
            let before = expected;
            let taken = consumer.drain(3, |number| {
                assert_eq!(*number, expected);
                expected += 1;
            });
            assert_eq!(taken, expected - before);
            if taken == 0 {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_producer_that_goes_away_leaves_its_messages() {
    model(|| {
        let (mut producer, mut consumer) = ring::<Box<usize>>(2);
        let writer = thread::spawn(move || {
            producer.push(Box::new(0)).unwrap();
            producer.push(Box::new(1)).unwrap();
        });
        let mut expected = 0;
        loop {
            // In this order: what was sent before the end went away is seen after the end is seen gone.
            let closed = consumer.is_closed();
            while let Some(number) = consumer.pop() {
                assert_eq!(*number, expected);
                expected += 1;
            }
            if closed {
                break;
            }
            thread::yield_now();
        }
        assert_eq!(expected, 2);
        writer.join().unwrap();
    });
}

#[test]
fn a_consumer_that_goes_away_loses_and_doubles_no_drop() {
    model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (mut producer, mut consumer) = ring::<Counted>(2);
        let reader = thread::spawn(move || consumer.pop().map(|message| message.0));
        for number in 0..3 {
            let _ = producer.push(Counted(number, dropped.clone()));
        }
        assert!(matches!(reader.join().unwrap(), None | Some(0)));
        assert!(producer.is_closed());
        assert!(producer.push(Counted(3, dropped.clone())).is_err());
        drop(producer);
        assert_eq!(dropped.load(Ordering::Relaxed), 4);
    });
}
