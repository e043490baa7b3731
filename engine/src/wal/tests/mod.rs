//! Tests of the whole log, on the simulated disk and on a real one.

mod crash;
mod damage;
mod disk;
mod flow;

use super::*;
use crate::buffers::Arena;

/// Segments and writes of simulated disks: small, so that a short run begins many.
const SIM_SEGMENT_BYTES: usize = 256 << 10;
const SIM_WRITE_BYTES: usize = 16 << 10;

fn arena() -> Arena {
    Arena::new(12 << 20, 12 << 20).unwrap()
}

fn append_copy<S: Storage>(wal: &mut Wal<S>, payload: &[u8]) -> Lsn {
    wal.append(Payload::Copy(payload), crc32c(payload)).unwrap()
}

fn append_whole<S: Storage>(wal: &mut Wal<S>, arena: &Arena, payload: &[u8]) -> Lsn {
    let mut buffer = arena.take(HEADROOM + payload.len()).unwrap();
    buffer[HEADROOM..HEADROOM + payload.len()].copy_from_slice(payload);
    wal.append(Payload::Whole { buffer, len: payload.len() }, crc32c(payload)).unwrap()
}

/// Everything from `from` on.
fn read_all<S: Storage>(storage: &mut S, from: Lsn) -> Result<(Vec<Vec<u8>>, Resume), crate::Error> {
    let mut records = Vec::new();
    let mut expected = from.max(FIRST_LSN);
    let resume = replay(storage, from, &mut |lsn, payload| {
        assert_eq!(lsn, expected, "records come in order and without gaps");
        expected += 1;
        records.push(payload.to_vec());
        Ok(())
    })?;
    assert_eq!(resume.next_lsn, expected);
    Ok((records, resume))
}

fn open_sim(disk: &SimDisk, arena: &Arena) -> Wal<SimStorage> {
    let mut storage = disk.storage();
    let (_, resume) = read_all(&mut storage, 1).unwrap();
    Wal::open(storage, arena, &resume).unwrap()
}

fn settle<S: Storage>(wal: &mut Wal<S>) {
    while !wal.is_idle() {
        wal.pump().unwrap();
    }
}
