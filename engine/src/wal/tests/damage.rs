//! What must be refused, what must be cut, and that the two are told apart.

use super::*;
use crate::Error;
use crate::wal::record::RecordFields;

const RECORD_BYTES: usize = 3_000;

/// A log of `count` records, each durable before the next is appended, so that each but the last has a witness.
fn written(count: u64) -> SimDisk {
    let disk = SimDisk::new(1, SIM_SEGMENT_BYTES, SIM_WRITE_BYTES);
    append_to(&disk, count);
    disk
}

fn append_to(disk: &SimDisk, count: u64) {
    let arena = arena();
    let mut wal = open_sim(disk, &arena);
    for _ in 0..count {
        while !wal.can_append(RECORD_BYTES) {
            wal.pump().unwrap();
        }
        let payload = vec![(wal.appended_lsn() + 1) as u8; RECORD_BYTES];
        append_copy(&mut wal, &payload);
        settle(&mut wal);
    }
    drop(wal);
    disk.crash(Crash::PowerLoss);
}

/// Place of the record with this LSN: segment and offset.
fn place(disk: &SimDisk, lsn: Lsn) -> (u64, usize) {
    for segment in disk.segments() {
        let content = disk.content(segment);
        for offset in (SEGMENT_HEADER_BYTES..content.len()).step_by(RECORD_HEADER_BYTES) {
            let record = RecordHeader::decode(&content[offset..offset + RECORD_HEADER_BYTES]);
            if record.is_some_and(|record| record.lsn == lsn && record.segment == segment) {
                return (segment, offset);
            }
        }
    }
    panic!("LSN {lsn} is not on disk");
}

fn assert_damaged(disk: &SimDisk, from: Lsn, segment: u64, offset: usize) {
    let mut storage = disk.storage();
    match read_all(&mut storage, from) {
        Err(Error::Damaged { path, offset: found, .. }) => {
            assert_eq!((path, found), (storage.path(segment), offset as u64));
        }
        other => panic!("expected damage, found {:?}", other.map(|(records, _)| records.len())),
    }
}

#[test]
fn a_flipped_bit_inside_is_damage_wherever_it_is() {
    let disk = written(150);
    assert!(disk.segments().len() > 3);
    for lsn in [1, 2, 61, 62, 63, 64, 100, 149] {
        let (segment, offset) = place(&disk, lsn);
        for at in [0, 8, 60, 63, 64, 64 + RECORD_BYTES - 1] {
            disk.flip(segment, offset + at, 0x10);
            assert_damaged(&disk, 1, segment, offset);
            disk.flip(segment, offset + at, 0x10);
        }
    }
    assert_eq!(read_all(&mut disk.storage(), 1).unwrap().0.len(), 150);
}

#[test]
fn damage_below_what_is_asked_for_is_not_looked_for() {
    let disk = written(150);
    let (segment, offset) = place(&disk, 10);
    disk.flip(segment, offset + 100, 1);
    assert_eq!(read_all(&mut disk.storage(), 11).unwrap().0.len(), 140);
}

#[test]
fn the_last_record_has_no_witness_until_the_log_goes_on() {
    let disk = written(20);
    let (segment, offset) = place(&disk, 20);
    disk.flip(segment, offset + 100, 1);
    assert_eq!(read_all(&mut disk.storage(), 1).unwrap().0.len(), 19, "indistinguishable from a torn write: cut");
    disk.flip(segment, offset + 100, 1);
    append_to(&disk, 0);
    assert_eq!(read_all(&mut disk.storage(), 1).unwrap().0.len(), 20);
    append_to(&disk, 1);
    disk.flip(segment, offset + 100, 1);
    assert_damaged(&disk, 1, segment, offset);
}

#[test]
fn a_seal_is_a_witness_for_the_last_record() {
    let disk = SimDisk::new(2, SIM_SEGMENT_BYTES, SIM_WRITE_BYTES);
    let arena = arena();
    let mut wal = open_sim(&disk, &arena);
    append_copy(&mut wal, &[9; RECORD_BYTES]);
    settle(&mut wal);
    while !wal.seal() {
        wal.pump().unwrap();
    }
    settle(&mut wal);
    disk.crash(Crash::PowerLoss);
    let (segment, offset) = place(&disk, 1);
    disk.flip(segment, offset + 100, 1);
    assert_damaged(&disk, 1, segment, offset);
}

#[test]
fn a_torn_tail_is_cut_and_stays_cut() {
    let disk = written(20);
    let (segment, offset) = place(&disk, 20);
    for at in 0..RECORD_BYTES / 512 {
        disk.flip(segment, offset + at * 512, 0xff);
    }
    let (found, resume) = read_all(&mut disk.storage(), 1).unwrap();
    assert_eq!((found.len(), resume.next_lsn), (19, 20));
    let path = disk.storage().path(segment);
    assert_eq!(resume.end, Some((path, offset as u64)), "where it was cut");
    // The run that begins behind the cut is the witness that it was right to.
    append_to(&disk, 0);
    append_to(&disk, 3);
    assert_eq!(read_all(&mut disk.storage(), 1).unwrap().0.len(), 22);
}

#[test]
fn a_damaged_or_missing_segment_is_named() {
    let disk = written(150);
    let segments = disk.segments();
    let middle = place(&disk, 100).0;
    disk.flip(middle, 20, 1);
    assert_damaged(&disk, 1, middle, 0);
    disk.flip(middle, 20, 1);

    let first = segments[0];
    disk.flip(first, 20, 1);
    assert_damaged(&disk, 1, first, 0);
    disk.flip(first, 20, 1);

    disk.lose(first);
    assert!(matches!(read_all(&mut disk.storage(), 1), Err(Error::Damaged { .. })), "the beginning is missing");
    let rest = place(&disk, 149);
    let first_record = SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES;
    let from = RecordHeader::decode(&disk.content(segments[1])[first_record]).unwrap().lsn;
    assert_eq!(read_all(&mut disk.storage(), from).unwrap().0.len() as u64, 151 - from, "but not needed from {from}");
    disk.lose(rest.0);
    let outcome = read_all(&mut disk.storage(), 151);
    assert!(matches!(outcome, Err(Error::Damaged { .. })), "the log ends before what a snapshot continues");
}

#[test]
fn a_log_of_another_shard_or_segment_size_is_refused() {
    let disk = written(3);
    let segment = disk.segments()[0];
    let content = disk.content(segment);
    for (at, value) in [(44, 7u32), (52, 1 << 20)] {
        let mut header = content[..64].to_vec();
        header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let checksum = crc32c(&header[..60]);
        header[60..64].copy_from_slice(&checksum.to_le_bytes());
        overwrite(&disk, segment, 0, &header);
        assert_damaged(&disk, 1, segment, 0);
        overwrite(&disk, segment, 0, &content);
    }
}

#[test]
fn a_newer_format_is_refused() {
    let disk = written(3);
    let segment = disk.segments()[0];
    let mut header = disk.content(segment)[..64].to_vec();
    header[4..6].copy_from_slice(&(SEGMENT_VERSION + 1).to_le_bytes());
    let checksum = crc32c(&header[..60]);
    header[60..64].copy_from_slice(&checksum.to_le_bytes());
    overwrite(&disk, segment, 0, &header);
    let outcome = read_all(&mut disk.storage(), 1);
    assert!(matches!(outcome, Err(Error::NewerFormat { found: 2, supported: 1, .. })));
}

/// Writes over the disk behind the log's back.
fn overwrite(disk: &SimDisk, segment: u64, offset: usize, bytes: &[u8]) {
    let content = disk.content(segment);
    for (index, byte) in bytes.iter().enumerate() {
        disk.flip(segment, offset + index, byte ^ content[offset + index]);
    }
}

#[test]
fn bytes_that_a_client_chose_are_no_witness() {
    // The second record's payload holds, where a group could begin, a record that says that the second one had been
    // durable. All of it is right but the salt, which no client knows. The second record is torn.
    let (disk, arena) = (SimDisk::new(3, SIM_SEGMENT_BYTES, SIM_WRITE_BYTES), arena());
    let mut wal = open_sim(&disk, &arena);
    append_copy(&mut wal, b"first");
    settle(&mut wal);
    let forged = RecordHeader::new(RecordFields {
        lsn: 99,
        segment: 1,
        salt: 0,
        commit_lsn: 98,
        epoch: 1,
        previous_checksum: 0,
        payload_bytes: 0,
        payload_crc: 0,
    });
    let payload = [&[0; 4096 - HEADROOM][..], &forged.encode()].concat();
    append_whole(&mut wal, &arena, &payload);
    settle(&mut wal);
    disk.crash(Crash::PowerLoss);
    let (segment, offset) = place(&disk, 2);
    disk.flip(segment, offset, 1);
    assert_eq!(read_all(&mut disk.storage(), 1).unwrap().0.len(), 1);
}

#[test]
fn a_record_of_another_place_run_or_chain_is_none() {
    // Each forgery has a right checksum. It is the last record, so that nothing after it gives it away.
    let disk = written(10);
    let (segment, offset) = place(&disk, 10);
    let right = disk.content(segment)[offset..offset + RECORD_HEADER_BYTES].to_vec();
    for (field, at) in [("lsn", 8), ("segment", 16), ("salt", 24), ("epoch", 40), ("previous", 44)] {
        let mut forged = right.clone();
        forged[at] ^= 1;
        let checksum = crc32c(&forged[..60]);
        forged[60..].copy_from_slice(&checksum.to_le_bytes());
        overwrite(&disk, segment, offset, &forged);
        assert_eq!(read_all(&mut disk.storage(), 1).unwrap().0.len(), 9, "{field}");
        overwrite(&disk, segment, offset, &right);
    }
    assert_eq!(read_all(&mut disk.storage(), 1).unwrap().0.len(), 10);
}
