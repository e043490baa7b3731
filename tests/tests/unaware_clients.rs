//! Clients that know nothing of shards: they send everything to one, and the server passes on what lives elsewhere.

use engine::placement::home;
use engine::schema::{IdKind, IdRef};
use net::client::{Client, Collection};
use net::codec::{Columns, Deleted, Get, Got, Opcode, Status, Written, encode_ids};
use tests::raw::Raw;
use tests::rows::{batch, batch_with_vectors, content, create, vector_of};
use tests::server::Server;

const DIMENSION: usize = 8;
const SHARDS: usize = 2;

fn home_of(id: u64) -> usize {
    home(IdRef::U64(id), SHARDS)
}

fn scene(directory: &std::path::Path) -> (Server, Client, Collection, u32) {
    let server = Server::start(directory, SHARDS);
    let client = server.client();
    let collection = create(&client, "rows", DIMENSION);
    let number = client.describe("rows").expect("it is there").id;
    (server, client, collection, number)
}

fn message_of(rows: &[(u64, u64)]) -> Vec<u8> {
    engine::batch::encode(&batch(rows, DIMENSION)).expect("encoded")
}

#[test]
fn batches_are_split() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, client, collection, number) = scene(directory.path());
    let mut expected = tests::rows::Content::new();
    // Small frames and frames that are received into the arena, to either shard.
    for (round, count) in [1, 2, 10, 3_000].into_iter().enumerate() {
        for shard in 0..SHARDS as u16 {
            let version = (round * 2 + usize::from(shard)) as u64;
            let rows: Vec<(u64, u64)> = (0..count).map(|id| (id, version)).collect();
            let homes = rows.iter().filter(|row| home_of(row.0) == usize::from(shard)).count();
            assert!(count < 10 || (homes > 0 && homes < rows.len()), "the batch has rows of both shards");
            let mut raw = Raw::greeted_by(server.address(), shard);
            let reply = raw.write(number, collection.fingerprint(), &message_of(&rows)).expect_done("a batch");
            let written = Written::decode(&reply.body).expect("a report");
            let there = rows.iter().filter(|row| expected.contains_key(&row.0)).count() as u32;
            assert_eq!((written.rows, written.replaced), (count as u32, there));
            assert_eq!(written.inserted, count as u32 - there);
            expected.extend(rows);
            assert_eq!(content(&collection), expected, "acknowledged is visible");
        }
    }
    drop((client, collection));
    server.stop();
    let server = Server::start(directory.path(), SHARDS);
    assert_eq!(content(&server.client().collection("rows").expect("it is there")), expected);
    server.stop();
}

#[test]
fn the_last_of_two_rows_with_one_id_wins_on_every_shard() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection, number) = scene(directory.path());
    let rows: Vec<(u64, u64)> = (0..3).flat_map(|version| (0..20).map(move |id| (id, version))).collect();
    let mut raw = Raw::greeted_by(server.address(), 0);
    let reply = raw.write(number, collection.fingerprint(), &message_of(&rows)).expect_done("a batch");
    let written = Written::decode(&reply.body).expect("a report");
    assert_eq!((written.rows, written.inserted, written.replaced), (60, 20, 40));
    assert_eq!(content(&collection), (0..20).map(|id| (id, 2)).collect());
    server.stop();
}

/// One bad row anywhere, and no shard takes any of the batch.
#[test]
fn a_bad_row_refuses_the_whole_batch_on_every_shard() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection, number) = scene(directory.path());
    for count in [20, 3_000] {
        let rows: Vec<(u64, u64)> = (0..count).map(|id| (id, 1)).collect();
        for shard in 0..SHARDS as u16 {
            for bad_home in 0..SHARDS {
                let bad = (0..count).rev().find(|&id| home_of(id) == bad_home).expect("both have some");
                let mut vectors: Vec<f32> = rows.iter().flat_map(|row| vector_of(row.0, 1, DIMENSION)).collect();
                vectors[bad as usize * DIMENSION] = f32::NAN;
                let rows = batch_with_vectors(&rows, vectors, DIMENSION);
                let message = engine::batch::encode(&rows).expect("encoded");
                let mut raw = Raw::greeted_by(server.address(), shard);
                let reply = raw.write(number, collection.fingerprint(), &message);
                reply.expect_refusal("NaN", Status::NonFinite, &["`vector`", &format!("row {bad}:")]);
                raw.check_alive("after NaN");
                assert!(content(&collection).is_empty(), "rows of a refused batch are there");
            }
        }
    }
    server.stop();
}

#[test]
fn ids_of_both_shards_are_found_and_deleted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection, number) = scene(directory.path());
    let rows: Vec<(u64, u64)> = (0..500).map(|id| (id, 1)).collect();
    let mut raw = Raw::greeted_by(server.address(), 0);
    raw.write(number, collection.fingerprint(), &message_of(&rows)).expect_done("a batch");
    for shard in 0..SHARDS as u16 {
        let mut raw = Raw::greeted_by(server.address(), shard);
        let ids: Vec<u64> = (0..600).rev().filter(|id| id % 3 == u64::from(shard)).collect();
        let mut body = Vec::new();
        Get::encode(Columns::All, IdKind::U64, ids.iter().map(|&id| IdRef::U64(id)), &mut body);
        let reply = raw.request(Opcode::Get, number, &body).expect_done("GET");
        let got = Got::decode(&reply.body).expect("rows");
        let found: Vec<u64> = got.positions().map(|position| ids[position as usize]).collect();
        let there: Vec<u64> = ids.iter().copied().filter(|&id| id < 500).collect();
        assert_eq!(found, there, "in the order of the request, without those that are not there");

        let mut body = Vec::new();
        encode_ids(IdKind::U64, ids.iter().map(|&id| IdRef::U64(id)), &mut body);
        let reply = raw.request(Opcode::Delete, number, &body).expect_done("DELETE");
        assert_eq!(Deleted::decode(&reply.body).expect("a report").deleted as usize, there.len());
    }
    let left = (0..500).filter(|id| id % 3 == 2).map(|id| (id, 1)).collect();
    assert_eq!(content(&collection), left);
    server.stop();
}
