//! Random histories: whatever happens, what was durable comes back, and nothing else does.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::*;

const RUNS_PER_HISTORY: usize = 6;
const STEPS_PER_RUN: usize = 60;

/// Seeds to try: `BROADHEAD_SEED` for one, else the first two hundred.
fn seeds() -> Vec<u64> {
    match std::env::var("BROADHEAD_SEED") {
        Ok(seed) => vec![seed.parse().expect("BROADHEAD_SEED is a number")],
        Err(_) => (0..200).collect(),
    }
}

fn random_payload(rng: &mut StdRng) -> Vec<u8> {
    let len = match rng.random_range(0..10) {
        0 => 0,
        1..=5 => rng.random_range(1..300),
        6..=7 => rng.random_range(300..9_000),
        8 => rng.random_range(9_000..60_000),
        _ => rng.random_range(60_000..200_000),
    };
    let mut payload = vec![0; len];
    // Zeros and stretches that look like padding are as likely as noise.
    if rng.random_bool(0.8) {
        rng.fill_bytes(&mut payload);
    }
    payload
}

/// What was appended, from `released` on; the front has LSN `released`.
struct History {
    records: VecDeque<Vec<u8>>,
    released: Lsn,
    /// What earlier runs had appended. Their writes may reach the disk late, and count until a later run has made
    /// something durable.
    earlier: Vec<VecDeque<Vec<u8>>>,
}

impl History {
    /// Checks what was found after a crash, and makes it what there is.
    fn settle_on(&mut self, found: Vec<Vec<u8>>) {
        let fits = |records: &VecDeque<Vec<u8>>| {
            records.len() >= found.len() && found.iter().zip(records).all(|(found, record)| found == record)
        };
        assert!(fits(&self.records) || self.earlier.iter().any(fits), "something was found that was not appended");
        self.earlier.push(std::mem::replace(&mut self.records, found.into()));
    }

    fn release(&mut self, lsn: Lsn) {
        let count = (lsn - self.released) as usize;
        self.released = lsn;
        self.records.drain(..count);
        for records in &mut self.earlier {
            records.drain(..count.min(records.len()));
        }
    }

    fn appended_lsn(&self) -> Lsn {
        self.released + self.records.len() as u64 - 1
    }
}

/// Appends and pumps at random; returns what was durable at the end.
fn run(rng: &mut StdRng, wal: &mut Wal<SimStorage>, arena: &Arena, history: &mut History) -> Lsn {
    for _ in 0..rng.random_range(1..STEPS_PER_RUN) {
        match rng.random_range(0..10) {
            0..=5 => {
                let payload = random_payload(rng);
                if !wal.can_append(payload.len()) {
                    let refused = wal.append(Payload::Copy(&payload), crc32c(&payload));
                    assert!(refused.is_err(), "can_append and append disagree");
                    continue;
                }
                let lsn = if payload.len() > 30_000 || rng.random_bool(0.2) {
                    append_whole(wal, arena, &payload)
                } else {
                    append_copy(wal, &payload)
                };
                history.records.push_back(payload);
                assert_eq!(lsn, history.appended_lsn());
            }
            6 if rng.random_bool(0.3) => {
                // A snapshot: what is durable is not needed any more.
                let lsn = rng.random_range(history.released..=wal.durable_lsn() + 1);
                wal.release_before(lsn);
                history.release(lsn);
            }
            7 if rng.random_bool(0.1) => {
                wal.seal();
            }
            8 => wal.retry_full(),
            _ => {
                let durable = wal.durable_lsn();
                if wal.pump().is_err() {
                    assert!(wal.poisoned().is_some() && !wal.can_append(0));
                    assert_eq!(wal.durable_lsn(), durable, "a failed pump acknowledged");
                    break;
                }
                assert!(wal.durable_lsn() >= durable && wal.durable_lsn() <= wal.appended_lsn());
                if wal.durable_lsn() > durable {
                    history.earlier.clear();
                }
            }
        }
    }
    wal.durable_lsn()
}

fn random_faults(rng: &mut StdRng, disk: &SimDisk) -> Faults {
    let soon = disk.writes() + rng.random_range(1..60);
    Faults {
        short: if rng.random_bool(0.5) { 0.2 } else { 0.0 },
        fail_write: rng.random_bool(0.2).then_some(soon),
        full_write: rng.random_bool(0.1).then_some(soon + 1),
        stuck_write: rng.random_bool(0.1).then_some(soon + 2),
        segments_max: rng.random_bool(0.2).then_some(disk.segments().len() + 2),
    }
}

fn check_history(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let disk = SimDisk::new(rng.random(), SIM_SEGMENT_BYTES, SIM_WRITE_BYTES);
    let arena = arena();
    let mut history = History { records: VecDeque::new(), released: FIRST_LSN, earlier: Vec::new() };
    let mut durable = 0;
    for _ in 0..RUNS_PER_HISTORY {
        let mut storage = disk.storage();
        if rng.random_bool(0.2) {
            // A start that dies before it has written anything. The next may find more: a killed run's last writes
            // may arrive in between.
            let (found, _) = read_all(&mut storage, history.released).unwrap();
            disk.crash(Crash::Kill);
            storage = disk.storage();
            assert!(read_all(&mut storage, history.released).unwrap().0.starts_with(&found));
        }
        let (found, resume) = read_all(&mut storage, history.released).unwrap();
        assert!(history.released + found.len() as u64 > durable, "durable up to {durable}, {} found", found.len());
        history.settle_on(found);
        durable = resume.next_lsn - 1;
        disk.set_faults(random_faults(&mut rng, &disk));
        match Wal::open(storage, &arena, &resume) {
            Ok(mut wal) => durable = run(&mut rng, &mut wal, &arena, &mut history),
            Err(crate::Error::DiskFull { .. }) => disk.set_faults(Faults::default()),
            Err(error) => panic!("{error}"),
        }
        disk.crash(if rng.random_bool(0.5) { Crash::Kill } else { Crash::PowerLoss });
    }
    assert_eq!(arena.free_bytes(), arena.bytes(), "the log kept a buffer");
}

#[test]
fn what_was_durable_comes_back_and_nothing_else() {
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| check_history(seed));
        if let Err(panic) = result {
            eprintln!("failed with BROADHEAD_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
