//! The sleep protocol: loom reports a wake that is lost as a deadlock.

use loom::model::Builder;
use loom::thread;
use mesh_model::mesh::port::{Port, mesh};

/// Every interleaving with up to three involuntary switches; the rest is out of reach within a minute.
fn model(case: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(case);
}

/// Drains until `count` messages of each sender came, each in order, sleeping in between.
fn hear(port: &mut Port<usize>, count: usize) {
    let mut heard = vec![0; port.participants()];
    let me = port.index();
    loop {
        port.drain(4, |from, number| {
            assert_eq!(number, heard[from]);
            heard[from] += 1;
        });
        if (0..heard.len()).all(|from| from == me || heard[from] == count) {
            return;
        }
        if port.prepare_sleep() {
            port.doorbell().wait();
            port.awake();
        }
    }
}

#[test]
fn a_sender_wakes_a_sleeper() {
    model(|| {
        let mut ports = mesh::<usize>(2, 2).unwrap();
        let (mut receiver, mut sender) = (ports.remove(0), ports.remove(0));
        let thread = thread::spawn(move || {
            sender.send(0, 0).unwrap();
            sender.send(0, 1).unwrap();
            sender
        });
        hear(&mut receiver, 2);
        thread.join().unwrap();
    });
}

#[test]
fn two_senders_wake_one_sleeper() {
    model(|| {
        let mut ports = mesh::<usize>(3, 1).unwrap();
        let mut receiver = ports.remove(0);
        let threads: Vec<_> = ports
            .into_iter()
            .map(|mut sender| {
                thread::spawn(move || {
                    sender.send(0, 0).unwrap();
                    sender
                })
            })
            .collect();
        hear(&mut receiver, 1);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn posted_messages_wake_when_flushed() {
    model(|| {
        let mut ports = mesh::<usize>(2, 2).unwrap();
        let (mut receiver, mut sender) = (ports.remove(0), ports.remove(0));
        let thread = thread::spawn(move || {
            sender.post(0, 0).unwrap();
            sender.post(0, 1).unwrap();
            sender.flush();
            sender
        });
        hear(&mut receiver, 2);
        thread.join().unwrap();
    });
}

#[test]
fn two_participants_answer_each_other_and_sleep() {
    model(|| {
        let mut ports = mesh::<usize>(2, 1).unwrap();
        let (mut first, mut second) = (ports.remove(0), ports.remove(0));
        let thread = thread::spawn(move || {
            hear(&mut second, 1);
            second.send(0, 0).unwrap();
            second
        });
        first.send(1, 0).unwrap();
        hear(&mut first, 1);
        thread.join().unwrap();
    });
}

#[test]
fn a_ring_for_nothing_is_harmless() {
    model(|| {
        let mut ports = mesh::<usize>(2, 1).unwrap();
        let (mut receiver, mut sender) = (ports.remove(0), ports.remove(0));
        let bell = receiver.doorbell();
        let thread = thread::spawn(move || {
            bell.ring();
            sender.send(0, 0).unwrap();
            sender
        });
        hear(&mut receiver, 1);
        thread.join().unwrap();
    });
}

#[test]
fn a_departure_wakes_a_sleeper() {
    model(|| {
        let mut ports = mesh::<usize>(2, 1).unwrap();
        let (mut staying, leaving) = (ports.remove(0), ports.remove(0));
        let thread = thread::spawn(move || drop(leaving));
        while !staying.is_gone(1) {
            if staying.prepare_sleep() {
                staying.doorbell().wait();
                staying.awake();
            }
        }
        thread.join().unwrap();
    });
}
