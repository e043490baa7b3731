//! Writes that depend on what is there: inserts and replacements, of clients that know the shards and of clients that do not, with both
//! acknowledgements, and with `kill -9` between.

use std::collections::BTreeSet;

use engine::placement::home;
use engine::schema::IdRef;
use net::client::{Ack, Client, Collection, WriteMode, WriteReport};
use net::codec::{Header, Opcode, Status, Written, flags};
use tests::random::Random;
use tests::raw::Raw;
use tests::rows::{Content, batch, content, create};
use tests::server::{Process, Server};

const DIMENSION: usize = 8;
const SHARDS: usize = 2;

fn home_of(id: u64) -> usize {
    home(IdRef::U64(id), SHARDS)
}

fn scene(directory: &std::path::Path) -> (Server, Client, Collection) {
    let server = Server::start(directory, SHARDS);
    let client = server.client();
    let collection = create(&client, "rows", DIMENSION);
    (server, client, collection)
}

fn write(collection: &Collection, ids: &[u64], version: u64, mode: WriteMode, ack: Ack) -> net::Result<WriteReport> {
    let rows: Vec<(u64, u64)> = ids.iter().map(|&id| (id, version)).collect();
    collection.write_with(&batch(&rows, DIMENSION), mode, ack)?.wait()
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: net::Result<T>, status: Status, word: &str) {
    let error = result.expect_err("it is refused");
    assert_eq!(error.status(), Some(status), "{error}");
    assert!(error.to_string().contains(word), "the message `{error}` lacks `{word}`");
}

/// Ids of one shard.
fn ids_of(shard: usize, count: usize) -> Vec<u64> {
    (0..).filter(|&id| home_of(id) == shard).take(count).collect()
}

#[test]
fn rows_are_inserted_or_replaced_as_asked() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection) = scene(directory.path());
    for ack in [Ack::Durable, Ack::Memory] {
        let ids = ids_of(0, 20);
        let (some, others) = ids.split_at(10);
        write(&collection, some, 1, WriteMode::Insert, ack).expect("none is there");
        let mixed = [others[0], some[3], others[1]];
        assert_refused(
            write(&collection, &mixed, 2, WriteMode::Insert, ack),
            Status::RowExists,
            &format!("`{}`", some[3]),
        );
        assert_refused(
            write(&collection, &mixed, 2, WriteMode::Replace, ack),
            Status::RowMissing,
            &format!("`{}`", others[0]),
        );
        let twice = [others[0], others[1], others[0]];
        assert_refused(
            write(&collection, &twice, 2, WriteMode::Insert, ack),
            Status::RowExists,
            &others[0].to_string(),
        );
        write(&collection, &some[..5], 3, WriteMode::Replace, ack).expect("they are there");
        collection.delete(&net::client::Ids::U64(some[9..].to_vec()), ack).and_then(|pending| pending.wait()).unwrap();
        assert_refused(write(&collection, some, 4, WriteMode::Replace, ack), Status::RowMissing, &some[9].to_string());
        let last = write(&collection, &some[9..], 5, WriteMode::Insert, Ack::Durable).expect("it was deleted");
        assert_eq!((last.rows, last.inserted), (1, 1));
        let version = |place: usize| [3, 1, 5][usize::from(place >= 5) + usize::from(place >= 9)];
        let expected: Content = some.iter().enumerate().map(|(place, &id)| (id, version(place))).collect();
        assert_eq!(content(&collection), expected);
        let all = net::client::Ids::U64(some.to_vec());
        collection.delete(&all, Ack::Durable).and_then(|pending| pending.wait()).unwrap();
    }
    server.stop();
}

/// Of inserts of the same ids that are sent together, one wins each id.
#[test]
fn one_of_many_inserts_at_a_time_wins() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection) = scene(directory.path());
    const WRITERS: u64 = 4;
    const ROWS: u64 = 300;
    let winners: Vec<BTreeSet<u64>> = std::thread::scope(|scope| {
        let write = |writer: u64| {
            let collection = server.client().collection("rows").expect("it is there");
            let insert = |id: u64| {
                collection.write_with(&batch(&[(id, writer)], DIMENSION), WriteMode::Insert, Ack::Durable).unwrap()
            };
            let pending: Vec<_> = (0..ROWS).map(|id| (id, insert(id))).collect();
            pending.into_iter().filter_map(|(id, pending)| pending.wait().ok().map(|_| id)).collect()
        };
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer does not panic")).collect()
    });
    let won = |(&id, &writer): (&u64, &u64)| assert!(winners[writer as usize].contains(&id), "id {id} of {writer}");
    let found = content(&collection);
    found.iter().for_each(won);
    assert_eq!((found.len() as u64, winners.iter().map(BTreeSet::len).sum::<usize>() as u64), (ROWS, ROWS));
    server.stop();
}

#[test]
fn each_shard_decides_for_its_part_of_a_batch_that_is_split() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, client, collection) = scene(directory.path());
    let number = client.describe("rows").expect("it is there").id;
    let mut raw = Raw::greeted_by(server.address(), 0);
    let mut send = |ids: &[u64], version: u64, bits: u32| {
        let rows: Vec<(u64, u64)> = ids.iter().map(|&id| (id, version)).collect();
        let message = engine::batch::encode(&batch(&rows, DIMENSION)).expect("encoded");
        let (flags, fingerprint) = (bits, collection.fingerprint());
        raw.request_with(Header { flags, fingerprint, ..Header::request(Opcode::Write, 0, number) }, &message)
    };
    // Small frames, and frames that are received into the arena.
    for count in [3, 2_000] {
        let (here, there) = (ids_of(0, count), ids_of(1, count));
        let both = [here.clone(), there.clone()].concat();
        let reply = send(&there, 1, flags::REFUSE_PRESENT).expect_done("none is there");
        assert_eq!(Written::decode(&reply.body).expect("a report").inserted as usize, count);
        send(&both, 2, flags::REFUSE_PRESENT).expect_refusal("one shard has them", Status::RowExists, &[]);
        let expected: Content = here.iter().map(|&id| (id, 2)).chain(there.iter().map(|&id| (id, 1))).collect();
        assert_eq!(content(&collection), expected, "the part of the other shard was taken");
        send(&both, 3, flags::REFUSE_MISSING).expect_done("all are there");
        send(&[&both[..], &[1 << 40]].concat(), 4, flags::REFUSE_MISSING | flags::ACK_MEMORY).expect_refusal(
            "one is missing",
            Status::RowMissing,
            &["1099511627776"],
        );
        let version = |id: u64| if home_of(id) == home_of(1 << 40) { 3 } else { 4 };
        collection.index_status().expect("an answer");
        tests::wait_until("the accepted part is there", || {
            content(&collection) == both.iter().map(|&id| (id, version(id))).collect()
        });
        collection.delete(&net::client::Ids::U64(both), Ack::Durable).and_then(|pending| pending.wait()).unwrap();
    }
    let both = flags::REFUSE_PRESENT | flags::REFUSE_MISSING;
    send(&[1], 1, both).expect_refusal("both demands", Status::MalformedBody, &["flags"]);
    let header = Header { flags: flags::REFUSE_MISSING, ..Header::request(Opcode::Delete, 0, number) };
    raw.request_with(header, &[]).expect_refusal("a delete", Status::MalformedBody, &["flags"]);
    raw.check_alive("after demands that cannot be");
    server.stop();
}

/// Inserts, replacements and deletes in a stream that `kill -9` ends: what was acknowledged is there, and nothing that it replaced.
#[test]
fn nothing_replaced_or_deleted_comes_back_after_a_kill() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut expected = Content::new();
    let mut process = Process::start(directory.path(), SHARDS);
    create(&process.client(), "rows", DIMENSION);
    let mut version = 0;
    for round in 0..3 {
        let collection = process.client().collection("rows").expect("it is there");
        for _ in 0..60 {
            version += 1;
            let ids: BTreeSet<u64> = (0..1 + random.below(8)).map(|_| random.below(60)).collect();
            let (there, missing): (Vec<u64>, Vec<u64>) = ids.iter().partition(|id| expected.contains_key(id));
            // What is accepted from memory is as good a base for a decision, and is durable with what comes after it.
            if !missing.is_empty() {
                write(&collection, &missing, version, WriteMode::Insert, Ack::Memory).expect("none is there");
                expected.extend(missing.iter().map(|&id| (id, version)));
            }
            if !there.is_empty() {
                assert_refused(
                    write(&collection, &there, version, WriteMode::Insert, Ack::Durable),
                    Status::RowExists,
                    "",
                );
                write(&collection, &there, version, WriteMode::Replace, Ack::Durable).expect("all are there");
                expected.extend(there.iter().map(|&id| (id, version)));
            }
            if random.below(3) == 0 {
                let id = random.below(60);
                collection
                    .delete(&net::client::Ids::U64(vec![id]), Ack::Durable)
                    .and_then(|pending| pending.wait())
                    .unwrap();
                expected.remove(&id);
                assert_refused(
                    write(&collection, &[id], version, WriteMode::Replace, Ack::Memory),
                    Status::RowMissing,
                    "",
                );
            }
        }
        // One durable write to each shard: what was accepted before it is durable, too.
        for shard in 0..SHARDS {
            let id = ids_of(shard, 1)[0];
            write(&collection, &[id], version, WriteMode::Upsert, Ack::Durable).expect("accepted");
            expected.insert(id, version);
        }
        if round == 1 {
            process.client().snapshot_all().expect("it is written");
        }
        process.kill();
        process = Process::start(directory.path(), SHARDS);
        assert_eq!(content(&process.client().collection("rows").expect("it is there")), expected, "round {round}");
    }
    process.kill();
}
