//! A cache: the same ids are written round and round. Memory and disk stay what the ids need, and nothing is lost by that:
//! neither by the parts of the log that go, nor with a snapshot and deletes before them.

use net::client::{Ack, Collection, Ids, Pending, WriteReport};
use serde_json::Value;
use tests::rows::{self, Content, create};
use tests::server::Process;

const DIMENSION: usize = 768;
const SHARDS: usize = 2;
const IDS: u64 = 8_000;
const BATCH_ROWS: usize = 2_000;
const IN_FLIGHT: usize = 4;
/// Enough to go through five segments of each log.
const ROUNDS: u64 = 28;
const SEGMENT_BYTES: u64 = engine::limits::WAL_SEGMENT_BYTES;

/// Writes all ids but the first `skipped`, once a round.
fn flood(collection: &Collection, skipped: u64, rounds: std::ops::Range<u64>, model: &mut Content) {
    let mut in_flight = std::collections::VecDeque::<Pending<WriteReport>>::new();
    for version in rounds {
        let ids: Vec<u64> = (skipped..IDS).collect();
        for ids in ids.chunks(BATCH_ROWS) {
            let versions: Vec<(u64, u64)> = ids.iter().map(|&id| (id, version)).collect();
            // All elements of a vector alike but for a few: quick to make, and the rows are told by their versions.
            let mut vectors = vec![0.5; ids.len() * DIMENSION];
            for (vector, &id) in vectors.chunks_exact_mut(DIMENSION).zip(ids) {
                vector[..8].copy_from_slice(&rows::vector_of(id, version, 8));
            }
            let batch = rows::batch_with_vectors(&versions, vectors, DIMENSION);
            if in_flight.len() == IN_FLIGHT {
                in_flight.pop_front().expect("there are some").wait().expect("the server takes writes");
            }
            in_flight.push_back(collection.write(&batch, Ack::Durable).expect("the server takes writes"));
            model.extend(versions);
        }
    }
    for pending in in_flight {
        pending.wait().expect("the server takes writes");
    }
}

/// Version of each id, as a scan of these columns alone gives it.
fn versions(collection: &Collection) -> Content {
    use arrow::array::AsArray;
    use arrow::datatypes::UInt64Type;
    let mut content = Content::new();
    for rows in collection.scan(&["id", "version"]).expect("columns of the schema") {
        let rows = rows.expect("a scan of a server that runs");
        let column = |name: &str| rows[name].as_primitive::<UInt64Type>().values().to_vec();
        for (id, version) in column("id").into_iter().zip(column("version")) {
            assert_eq!(content.insert(id, version), None, "the scan brought id {id} twice");
        }
    }
    content
}

fn stats(process: &Process) -> Value {
    serde_json::from_str(&process.client().stats().expect("an answer")).expect("JSON")
}

/// Memory of the rows, and the log that a start would need, in bytes.
fn sizes(process: &Process) -> (u64, u64) {
    let stats = stats(process);
    let log: u64 =
        stats["shards"].as_array().expect("shards").iter().map(|s| s["wal_live_bytes"].as_u64().unwrap()).sum();
    (stats["collections"][0]["bytes_committed"].as_u64().expect("a number"), log)
}

#[test]
fn ids_written_round_and_round_need_no_more_than_they_are() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut model = Content::new();
    let process = Process::start(directory.path(), SHARDS);
    let collection = create(&process.client(), "rows", DIMENSION);
    flood(&collection, 0, 0..3, &mut model);
    let (memory_early, _) = sizes(&process);
    flood(&collection, 0, 3..ROUNDS, &mut model);
    let (memory, log) = sizes(&process);
    let row_bytes = DIMENSION as u64 * 5;
    println!("rows take {} MB, {} MB early on; log {} MB", memory >> 20, memory_early >> 20, log >> 20);
    assert!(memory < 4 * IDS * row_bytes + 12 * 4_096 * row_bytes, "{memory} bytes for {IDS} rows");
    let written = ROUNDS * IDS * DIMENSION as u64 * 4;
    assert!(written > 10 * SEGMENT_BYTES, "the test writes enough");
    assert!(log <= 8 * SEGMENT_BYTES, "{log} bytes of log are needed, {written} were written");
    assert_eq!(versions(&collection), model);
    process.kill();

    let process = Process::start(directory.path(), SHARDS);
    let collection = process.client().collection("rows").expect("it is there");
    assert_eq!(versions(&collection), model, "what was acknowledged is there without the front of the log");

    // What a snapshot holds and a delete took away does not come back, however far the log goes on.
    process.client().snapshot_all().expect("a snapshot");
    let deleted: Vec<u64> = (0..500).collect();
    let report = collection.delete(&Ids::U64(deleted.clone()), Ack::Durable).expect("the server takes writes").wait();
    assert_eq!(report.expect("the server takes writes").deleted, 500);
    model.retain(|id, _| !deleted.contains(id));
    flood(&collection, 500, ROUNDS..ROUNDS + 12, &mut model);
    process.kill();
    let process = Process::start(directory.path(), SHARDS);
    let collection = process.client().collection("rows").expect("it is there");
    assert_eq!(versions(&collection), model);
    process.client().snapshot_all().expect("a snapshot");
    assert!(sizes(&process).1 <= 2 * 2 * SEGMENT_BYTES, "a snapshot lets the log go");
    assert_eq!(process.terminate().code(), Some(0));
    let process = Process::start(directory.path(), SHARDS);
    let collection = process.client().collection("rows").expect("it is there");
    assert_eq!(versions(&collection), model);
}
