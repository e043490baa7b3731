//! Ten times as many rows replaced or deleted as there are, on real embeddings: searches find as much as in a collection that was just
//! filled, and the room of what is gone is used again.

use std::time::Duration;

use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use net::client::{Ack, Collection, CollectionOptions, Ids};
use tests::packages;
use tests::random::Random;
use tests::recall::{K, recall};
use tests::server::Server;
use tests::wait_until;

const ROWS: usize = 10_000;
const TURNS: usize = 10;
const BATCH_ROWS: usize = 500;
const EF: usize = 64;
/// What recall may lose, on average of all turnovers. One fresh collection has 0.974, another 0.997, as the shards happen to take its
/// rows in, and a worn one is between these, too.
const LOSS_MAX: f64 = 0.02;
/// Rows of which a shard frees the room at once.
const CHUNK_ROWS: u64 = 4_096;
const SHARDS: usize = 2;

fn wait_indexed(collection: &Collection) {
    assert!(collection.wait_indexed(Duration::from_secs(120)).expect("an answer").done);
}

#[test]
fn ten_turnovers_leave_recall_and_room_as_they_were() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), SHARDS);
    let client = server.client();
    let rows = packages::packages(ROWS);
    let collection =
        client.create_collection("c", &rows.schema(), CollectionOptions::default()).expect("a good schema");
    let mut random = Random::from_environment();
    let mut order: Vec<u64> = (0..ROWS as u64).collect();
    let write = |ids: &[u64]| {
        let batch = take_record_batch(&rows, &UInt64Array::from(ids.to_vec())).expect("rows that there are");
        collection.write(&batch, Ack::Durable).expect("a good batch").wait().expect("it is written");
    };
    order.chunks(BATCH_ROWS).for_each(write);
    wait_indexed(&collection);
    let fresh = recall(&collection, EF);
    let mut worn = 0.0;
    for turn in 0..TURNS {
        for at in (1..ROWS).rev() {
            order.swap(at, random.below(at as u64 + 1) as usize);
        }
        for (number, ids) in order.chunks(BATCH_ROWS).enumerate() {
            // Every other batch goes first and comes again, the others are replaced.
            if (turn + number) % 2 == 0 {
                let report = collection.delete(&Ids::U64(ids.to_vec()), Ack::Durable).expect("good ids").wait();
                assert_eq!(report.expect("they are deleted").deleted, ids.len() as u64);
            }
            write(ids);
        }
        wait_indexed(&collection);
        worn += recall(&collection, EF) / TURNS as f64;
        println!("after {} turnovers: recall@{K} {:.4} (fresh {fresh:.4})", turn + 1, recall(&collection, EF));
    }
    assert!(worn >= fresh - LOSS_MAX, "recall {worn} over {TURNS} turnovers, {fresh} before");
    // The last chunk of a shard is not full, and the one before the first of the last turn holds rows of both.
    wait_until("the room of dead rows is free", || {
        let info = client.describe("c").expect("it is there");
        assert_eq!(info.rows, ROWS as u64);
        info.deleted <= 2 * CHUNK_ROWS * SHARDS as u64
    });
    server.stop();
}
