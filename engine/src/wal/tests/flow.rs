//! Group commit, order of acknowledgement, bounds, poison and a full disk, on the simulated disk.

use super::*;
use crate::Error;
use crate::limits::{WAL_BACKLOG_BYTES_MAX, WAL_SPARE_SEGMENTS_MAX};

fn sim(seed: u64) -> SimDisk {
    SimDisk::new(seed, SIM_SEGMENT_BYTES, SIM_WRITE_BYTES)
}

/// Pumps until `done` or a thousand times over.
fn pump_until(wal: &mut Wal<SimStorage>, done: impl Fn(&Wal<SimStorage>) -> bool) {
    for _ in 0..1_000 {
        if done(wal) {
            return;
        }
        wal.pump().unwrap();
    }
    panic!("still not done after 1,000 pumps");
}

#[test]
fn small_records_gather_while_writes_fly() {
    let (disk, arena) = (sim(1), arena());
    let mut wal = open_sim(&disk, &arena);
    settle(&mut wal);
    let before = wal.metrics();
    for _ in 0..3 {
        append_copy(&mut wal, &[7; 100]);
        wal.pump().unwrap();
    }
    for _ in 0..100 {
        append_copy(&mut wal, &[8; 100]);
    }
    settle(&mut wal);
    assert_eq!((wal.durable_lsn(), wal.appended_lsn()), (103, 103));
    let metrics = wal.metrics();
    assert!(metrics.groups - before.groups <= 5, "103 records went out in {} groups", metrics.groups);
    assert_eq!((metrics.records, metrics.payload_bytes), (103, 10_300));
    assert!(metrics.written_bytes.is_multiple_of(4096));
}

#[test]
fn acknowledgements_come_in_order_whatever_the_disk_does() {
    for seed in 0..50 {
        let (disk, arena) = (sim(seed), arena());
        let mut wal = open_sim(&disk, &arena);
        disk.set_faults(Faults { short: 0.3, ..Faults::default() });
        let payloads: Vec<Vec<u8>> = (1..=6).map(|n| vec![n; 9_000 * usize::from(n)]).collect();
        for payload in &payloads {
            append_whole(&mut wal, &arena, payload);
        }
        while wal.durable_lsn() < 6 {
            let durable = wal.durable_lsn();
            wal.pump().unwrap();
            // What is acknowledged is on disk, whole, at that moment: a reader of the disk finds it.
            if wal.durable_lsn() > durable {
                let (found, _) = read_all(wal.storage_mut(), 1).unwrap();
                assert!(found.len() as u64 >= wal.durable_lsn(), "seed {seed}");
            }
        }
        assert_eq!(read_all(wal.storage_mut(), 1).unwrap().0, payloads, "seed {seed}");
    }
}

#[test]
fn a_whole_payload_can_be_read_while_it_flies() {
    let (disk, arena) = (sim(3), arena());
    let mut wal = open_sim(&disk, &arena);
    append_copy(&mut wal, b"small");
    let lsn = append_whole(&mut wal, &arena, &[5; 40_000]);
    let payload = wal.payload(lsn).expect("it is not written yet");
    assert!(payload[HEADROOM..HEADROOM + 40_000].iter().all(|byte| *byte == 5));
    assert!(wal.payload(lsn - 1).is_none() && wal.payload(lsn + 1).is_none());
    drop(payload);
    settle(&mut wal);
    assert!(wal.payload(lsn).is_none());
}

#[test]
fn the_backlog_is_bounded_but_takes_one_record_of_any_size() {
    let disk = SimDisk::new(4, 64 << 20, 1 << 20);
    let arena = Arena::new(80 << 20, 16 << 20).unwrap();
    let mut wal = open_sim(&disk, &arena);
    let mut appended = 0;
    while wal.can_append(8 << 20) {
        append_whole(&mut wal, &arena, &vec![1; 8 << 20]);
        appended += 1;
    }
    assert!(appended == 3 && wal.backlog_bytes() <= WAL_BACKLOG_BYTES_MAX, "{appended} appended");
    let buffer = arena.take(9 << 20).unwrap();
    let refused = wal.append(Payload::Whole { buffer, len: 8 << 20 }, 0);
    assert!(matches!(refused, Err(Error::LogBusy { shard: 0 })));
    settle(&mut wal);
    assert!(wal.can_append(24 << 20));
    let too_large = arena.take(33 << 20).unwrap();
    let refused = wal.append(Payload::Whole { buffer: too_large, len: 32 << 20 }, 0);
    assert!(matches!(refused, Err(Error::LimitExceeded { .. })));
}

#[test]
fn the_first_failed_write_poisons_for_good() {
    for (faults, is_full) in [
        (Faults { fail_write: Some(4), ..Faults::default() }, false),
        (Faults { full_write: Some(4), ..Faults::default() }, true),
    ] {
        let (disk, arena) = (sim(5), arena());
        let mut wal = open_sim(&disk, &arena);
        disk.set_faults(faults);
        while wal.can_append(5_000) && wal.appended_lsn() < 20 {
            append_whole(&mut wal, &arena, &[1; 5_000]);
        }
        let cause = loop {
            if let Err(error) = wal.pump() {
                break error;
            }
        };
        assert!(matches!(&cause, Error::Poisoned { shard: 0, .. }), "{cause}");
        assert_eq!(matches!(wal.poisoned(), Some(Failure::DiskFull { .. })), is_full);
        let durable = wal.durable_lsn();
        assert!(durable < wal.appended_lsn());
        assert!(!wal.can_append(1));
        assert!(matches!(wal.append(Payload::Copy(&[1]), 0), Err(Error::Poisoned { .. })));
        let writes = wal.metrics().writes;
        for _ in 0..200 {
            assert!(wal.pump().is_err());
        }
        assert!(wal.is_idle(), "writes in flight are taken in");
        assert_eq!((wal.durable_lsn(), wal.metrics().writes), (durable, writes), "nothing goes on");
    }
}

#[test]
fn a_write_without_progress_poisons() {
    let (disk, arena) = (sim(6), arena());
    let mut wal = open_sim(&disk, &arena);
    settle(&mut wal);
    disk.set_faults(Faults { stuck_write: Some(disk.writes() + 1), ..Faults::default() });
    append_copy(&mut wal, b"x");
    while wal.pump().is_ok() {
        assert!(!wal.is_idle(), "a short write went unnoticed");
    }
    let failure = wal.poisoned();
    assert!(matches!(failure, Some(Failure::ShortWrite { written: 512, expected: 4096, .. })), "{failure:?}");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let (disk, arena) = (sim(7), arena());
    let mut wal = open_sim(&disk, &arena);
    disk.set_faults(Faults { segments_max: Some(3), ..Faults::default() });
    let refused = loop {
        match wal.append(Payload::Copy(&[1; 50_000]), crc32c(&[1; 50_000])) {
            Ok(_) => {}
            Err(Error::LogBusy { .. }) => {}
            Err(error) => break error,
        }
        wal.pump().unwrap();
    };
    assert!(matches!(refused, Error::DiskFull { shard: 0, .. }), "{refused}");
    assert!(wal.is_full() && wal.poisoned().is_none() && !wal.can_append(50_000));
    settle(&mut wal);
    assert_eq!(wal.durable_lsn(), wal.appended_lsn(), "what was appended before becomes durable");
    for _ in 0..100 {
        wal.pump().unwrap();
        assert!(!wal.can_append(50_000), "nothing is tried without being asked for");
    }
    wal.retry_full();
    for _ in 0..100 {
        wal.pump().unwrap();
    }
    assert!(wal.is_full(), "there still is no room");
    disk.set_faults(Faults::default());
    wal.retry_full();
    pump_until(&mut wal, |wal| wal.can_append(50_000));
    assert!(!wal.is_full());
    let last = append_copy(&mut wal, b"after");
    settle(&mut wal);
    assert_eq!(read_all(wal.storage_mut(), last).unwrap().0, [b"after".to_vec()]);
}

#[test]
fn a_release_makes_room_on_a_full_disk() {
    let (disk, arena) = (sim(8), arena());
    let mut wal = open_sim(&disk, &arena);
    disk.set_faults(Faults { segments_max: Some(3), ..Faults::default() });
    for round in 0..50 {
        pump_until(&mut wal, |wal| wal.can_append(60_000));
        append_copy(&mut wal, &[round; 60_000]);
        settle(&mut wal);
        wal.release_before(wal.durable_lsn());
    }
    assert!(disk.segments().len() <= 3 && wal.metrics().segments > 10);
}

#[test]
fn released_segments_are_recycled_and_their_bytes_never_come_back() {
    let (disk, arena) = (sim(9), arena());
    let mut wal = open_sim(&disk, &arena);
    for round in 0..200u32 {
        pump_until(&mut wal, |wal| wal.can_append(20_000));
        let payload: Vec<u8> = round.to_le_bytes().repeat(5_000);
        append_copy(&mut wal, &payload);
        settle(&mut wal);
        wal.release_before(wal.durable_lsn());
        let last = wal.durable_lsn();
        assert_eq!(read_all(wal.storage_mut(), last).unwrap().0, [payload]);
    }
    let files = disk.segments().len();
    assert!(files <= 1 + 2 + 1 + WAL_SPARE_SEGMENTS_MAX, "{files} files");
    assert_eq!(wal.size_bytes(), (files * SIM_SEGMENT_BYTES) as u64);
}

#[test]
fn many_released_at_once_are_removed() {
    let (disk, arena) = (sim(10), arena());
    let mut wal = open_sim(&disk, &arena);
    while wal.metrics().segments < 12 {
        pump_until(&mut wal, |wal| wal.can_append(90_000));
        append_copy(&mut wal, &[1; 90_000]);
    }
    settle(&mut wal);
    assert!(disk.segments().len() >= 12);
    wal.release_before(wal.durable_lsn() + 1);
    assert!(disk.segments().len() <= 1 + 2 + 1 + WAL_SPARE_SEGMENTS_MAX);
    append_copy(&mut wal, b"after");
    settle(&mut wal);
    let last = wal.durable_lsn();
    assert_eq!(read_all(wal.storage_mut(), last).unwrap().0, [b"after".to_vec()]);
}

#[test]
fn records_of_every_size_come_back() {
    let (disk, arena) = (sim(11), arena());
    let mut wal = open_sim(&disk, &arena);
    let largest = SIM_SEGMENT_BYTES - SEGMENT_HEADER_BYTES - HEADROOM;
    let sizes = [0, 1, 63, 64, 65, 4031, 4032, 4033, 16_320, 65_000, 130_000, largest];
    let mut expected = Vec::new();
    for (index, size) in sizes.iter().chain(&sizes).enumerate() {
        let payload = vec![index as u8; *size];
        pump_until(&mut wal, |wal| wal.can_append(*size));
        if index < sizes.len() {
            append_whole(&mut wal, &arena, &payload)
        } else {
            append_copy(&mut wal, &payload)
        };
        expected.push(payload);
    }
    settle(&mut wal);
    assert!(read_all(wal.storage_mut(), 1).unwrap().0 == expected);
    assert!(!wal.can_append(largest + 1), "a record must fit in a segment");
}

#[test]
fn what_a_buffer_held_before_does_not_reach_the_disk() {
    let (disk, arena) = (sim(12), arena());
    let mut wal = open_sim(&disk, &arena);
    append_copy(&mut wal, &[0xaa; 4_000]);
    settle(&mut wal);
    append_copy(&mut wal, &[0xbb; 100]);
    settle(&mut wal);
    // One block of header, one of the first record, one of the second.
    let block = &disk.content(1)[8192..12288];
    assert_eq!(block[HEADROOM..HEADROOM + 100], [0xbb; 100]);
    assert!(block[HEADROOM + 100..].iter().all(|byte| *byte == 0));
}
