//! Writes that depend on what is there: inserts, replacements, updates and deletes by filter, of clients that know the shards and of clients
//! that do not, with both acknowledgements, and with `kill -9` between.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{Float32Type, UInt64Type};
use engine::placement::home;
use engine::schema::IdRef;
use net::client::{Ack, Client, Collection, Ids, Missing, UpdateOptions, UpdateReport, WriteMode, WriteReport};
use net::codec::{Columns, DeleteWhere, DeletedWhere, Header, Opcode, Status, Update, Updated, Written, flags};
use tests::random::Random;
use tests::raw::Raw;
use tests::rows::{Content, batch, content, create, text_of, vector_of};
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
        collection.delete(&Ids::U64(some[9..].to_vec()), ack).and_then(|pending| pending.wait()).unwrap();
        assert_refused(write(&collection, some, 4, WriteMode::Replace, ack), Status::RowMissing, &some[9].to_string());
        let last = write(&collection, &some[9..], 5, WriteMode::Insert, Ack::Durable).expect("it was deleted");
        assert_eq!((last.rows, last.inserted), (1, 1));
        let version = |place: usize| [3, 1, 5][usize::from(place >= 5) + usize::from(place >= 9)];
        let expected: Content = some.iter().enumerate().map(|(place, &id)| (id, version(place))).collect();
        assert_eq!(content(&collection), expected);
        let all = Ids::U64(some.to_vec());
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
        collection.delete(&Ids::U64(both), Ack::Durable).and_then(|pending| pending.wait()).unwrap();
    }
    let both = flags::REFUSE_PRESENT | flags::REFUSE_MISSING;
    send(&[1], 1, both).expect_refusal("both demands", Status::MalformedBody, &["flags"]);
    let header = Header { flags: flags::REFUSE_MISSING, ..Header::request(Opcode::Delete, 0, number) };
    raw.request_with(header, &[]).expect_refusal("a delete", Status::MalformedBody, &["flags"]);
    raw.check_alive("after demands that cannot be");
    server.stop();
}

/// Columns of some rows: `id`, `version`, and `text` where it is asked for.
fn columns_of(rows: &[(u64, u64)], has_text: bool) -> RecordBatch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<UInt64Array>());
    let versions: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<UInt64Array>());
    let texts: ArrayRef = Arc::new(rows.iter().map(|row| text_of(row.0, row.1)).collect::<StringArray>());
    // Not in the order of the schema.
    let columns = [("version", versions), ("text", texts), ("id", ids)].into_iter();
    RecordBatch::try_from_iter(columns.filter(|column| has_text || column.0 != "text")).expect("columns of one length")
}

/// A collection whose rows have a vector that no update changes: that of version 0.
fn update(
    collection: &Collection,
    rows: &[(u64, u64)],
    options: &UpdateOptions<'_>,
    ack: Ack,
) -> net::Result<UpdateReport> {
    collection.update(&columns_of(rows, true), options, ack)?.wait()
}

/// Versions by id, of rows whose texts are those of their versions and whose vectors are those of version 0.
fn updated_content(collection: &Collection) -> Content {
    let mut content = Content::new();
    for rows in collection.scan(&[]).expect("columns of the schema") {
        let rows = rows.expect("a scan of a server that runs");
        let (ids, versions) = (rows["id"].as_primitive::<UInt64Type>(), rows["version"].as_primitive::<UInt64Type>());
        let (texts, vectors) = (rows["text"].as_string::<i32>(), rows["vector"].as_fixed_size_list());
        for row in 0..rows.num_rows() {
            let (id, version) = (ids.value(row), versions.value(row));
            assert_eq!(texts.is_valid(row).then(|| texts.value(row).to_owned()), text_of(id, version), "id {id}");
            let vector = vectors.value(row);
            assert_eq!(vector.as_primitive::<Float32Type>().values()[..], vector_of(id, 0, DIMENSION), "id {id}");
            assert_eq!(content.insert(id, version), None, "id {id} comes once");
        }
    }
    content
}

#[test]
fn columns_are_updated_under_conditions() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection) = scene(directory.path());
    // As many as go through the arena.
    let ids: Vec<u64> = (0..4_000).collect();
    write(&collection, &ids, 0, WriteMode::Insert, Ack::Durable).expect("none is there");
    let mut expected: Content = ids.iter().map(|&id| (id, 0)).collect();
    let plain = UpdateOptions::default();
    for (version, count, ack) in [(1, 4_000, Ack::Durable), (2, 30, Ack::Memory), (3, 1, Ack::Durable)] {
        let rows: Vec<(u64, u64)> = ids[..count].iter().map(|&id| (id, version)).collect();
        let report = update(&collection, &rows, &plain, ack).expect("all are there");
        assert_eq!((report.rows, report.missing, report.unmet), (count as u64, 0, 0));
        expected.extend(rows);
    }
    // What was accepted from memory is updated on, before it is durable.
    for version in 4..40 {
        drop(collection.update(&columns_of(&[(7, version)], true), &plain, Ack::Memory).expect("sent"));
    }
    update(&collection, &[(7, 40), (8, 40)], &plain, Ack::Durable).expect("they are there");
    expected.extend([(7, 40), (8, 40)]);
    tests::wait_until("what was accepted is there", || updated_content(&collection) == expected);

    assert_refused(update(&collection, &[(9_999, 1)], &plain, Ack::Durable), Status::RowMissing, "`9999`");
    let skip = UpdateOptions { missing: Missing::Skip, ..plain };
    let report = update(&collection, &[(9_999, 50), (9, 50)], &skip, Ack::Durable).expect("one is there");
    assert_eq!((report.rows, report.missing), (1, 1));
    expected.insert(9, 50);
    let newer = UpdateOptions { newer: Some("version"), ..plain };
    assert_refused(update(&collection, &[(9, 50)], &newer, Ack::Durable), Status::ConditionFailed, "`9`");
    let newer = UpdateOptions { skip_unmet: true, ..newer };
    let report = update(&collection, &[(9, 50), (10, 50)], &newer, Ack::Durable).expect("one is newer");
    assert_eq!((report.rows, report.unmet), (1, 1));
    expected.insert(10, 50);
    let filter = r#"{"column": "version", ">": 40}"#;
    let held = UpdateOptions { filter, skip_unmet: true, ..plain };
    let report = update(&collection, &[(8, 60), (9, 60), (10, 60)], &held, Ack::Durable).expect("two are such");
    assert_eq!((report.rows, report.unmet), (2, 1));
    expected.extend([(9, 60), (10, 60)]);
    assert_eq!(updated_content(&collection), expected);

    // A whole row is inserted if it is newer, or not there: what comes late changes nothing.
    let if_newer = UpdateOptions { missing: Missing::Insert, newer: Some("version"), skip_unmet: true, ..plain };
    for (version, changed) in [(5, 1), (5, 0), (4, 0), (6, 1)] {
        let whole = batch(&[(20_000, version)], DIMENSION);
        let report = collection.update(&whole, &if_newer, Ack::Durable).and_then(|pending| pending.wait()).unwrap();
        assert_eq!((report.rows, report.unmet), (changed, 1 - changed));
    }
    collection.delete(&Ids::U64(vec![20_000]), Ack::Durable).and_then(|pending| pending.wait()).unwrap();
    let text_only = columns_of(&[(30_000, 1)], true);
    let refused = collection.update(&text_only, &if_newer, Ack::Durable).and_then(|pending| pending.wait());
    assert_refused(refused, Status::MalformedColumn, "`vector`");
    let bad = UpdateOptions { filter: "{}", ..plain };
    assert_refused(update(&collection, &[(1, 1)], &bad, Ack::Durable), Status::InvalidFilter, "");
    server.stop();
    let server = Server::start(directory.path(), SHARDS);
    assert_eq!(updated_content(&server.client().collection("rows").expect("it is there")), expected);
    server.stop();
}

#[test]
fn an_update_of_a_client_that_knows_no_shards_is_split() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, client, collection) = scene(directory.path());
    let number = client.describe("rows").expect("it is there").id;
    let ids: Vec<u64> = (0..3_000).collect();
    write(&collection, &ids, 0, WriteMode::Insert, Ack::Durable).expect("none is there");
    let mut expected: Content = ids.iter().map(|&id| (id, 0)).collect();
    let mut raw = Raw::greeted_by(server.address(), 1);
    let places = ["version", "text", "id"].map(|name| collection.engine_schema().column_index(name).unwrap() as u16);
    let listed = places.map(u16::to_le_bytes);
    let mut send = |rows: &[(u64, u64)], missing, change: &dyn Fn(&mut Vec<u8>)| {
        let message = engine::batch::encode(&columns_of(rows, true)).expect("encoded");
        let columns = Columns::Listed(&listed);
        let request = Update { missing, skips_unmet: false, newer: None, columns, filter: b"", message: &message };
        let mut body = Vec::new();
        request.encode(&mut body);
        change(&mut body);
        let header = Header { fingerprint: collection.fingerprint(), ..Header::request(Opcode::Update, 0, number) };
        raw.request_with(header, &body)
    };
    for (version, count) in [(1, 3_000), (2, 5)] {
        let rows: Vec<(u64, u64)> = ids[..count].iter().map(|&id| (id, version)).collect();
        let reply = send(&rows, Missing::Refuse, &|_| ()).expect_done("all are there");
        assert_eq!(Updated::decode(&reply.body).expect("a report").rows as usize, count);
        expected.extend(rows);
        assert_eq!(updated_content(&collection), expected);
    }
    let rows = [(1, 3), (2, 3), (3, 3), (4, 3), (70_000, 3), (70_001, 3)];
    let reply = send(&rows, Missing::Skip, &|_| ()).expect_done("what is missing is left out");
    let updated = Updated::decode(&reply.body).expect("a report");
    assert_eq!((updated.rows, updated.missing, updated.unmet), (4, 2, 0));
    expected.extend(rows[..4].iter().copied());
    // A shard that misses a row takes nothing of its part.
    let missing_home = home_of(70_000);
    send(&[(1, 4), (2, 4), (3, 4), (4, 4), (70_000, 4)], Missing::Refuse, &|_| ()).expect_refusal(
        "one is missing",
        Status::RowMissing,
        &["70000"],
    );
    expected.extend((1..5).filter(|&id| home_of(id) != missing_home).map(|id| (id, 4)));
    assert_eq!(updated_content(&collection), expected);
    send(&rows, Missing::Skip, &|body| body.truncate(100)).expect_refusal("cut", Status::MalformedBatch, &[]);
    send(&rows, Missing::Skip, &|body| body[0] = 64).expect_refusal("a flag", Status::MalformedBody, &["flags"]);
    send(&rows, Missing::Skip, &|body| body[10] = 200).expect_refusal("a column", Status::UnknownColumn, &["#200"]);
    assert_eq!(updated_content(&collection), expected, "bad updates leave no trace");
    server.stop();
}

#[test]
fn rows_that_a_filter_is_true_of_are_deleted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, client, collection) = scene(directory.path());
    let ids: Vec<u64> = (0..12_000).collect();
    for part in ids.chunks(3_000) {
        write(&collection, part, part[0] / 3_000, WriteMode::Insert, Ack::Memory).expect("none is there");
    }
    // All that was accepted before is seen, durable or not.
    let deleted = collection.delete_where(r#"{"column": "version", "in": [0, 2]}"#).expect("a good filter");
    assert_eq!(deleted, 6_000);
    let mut expected: Content = ids.iter().map(|&id| (id, id / 3_000)).filter(|row| row.1 % 2 == 1).collect();
    assert_eq!(content(&collection), expected);
    assert_eq!(collection.delete_where(r#"{"column": "version", "=": 0}"#).expect("a good filter"), 0);
    let deleted = collection.delete_where(r#"{"column": "id", "<": 4000}"#).expect("a good filter");
    expected.retain(|&id, _| id >= 4_000);
    assert_eq!((deleted, content(&collection)), (1_000, expected.clone()));

    let number = client.describe("rows").expect("it is there").id;
    let mut raw = Raw::greeted_by(server.address(), 0);
    let empty = [0; 8];
    raw.request(Opcode::DeleteWhere, number, &empty).expect_refusal("no filter", Status::MalformedBody, &["all rows"]);
    raw.request(Opcode::DeleteWhere, number, &empty[..3]).expect_refusal("cut", Status::MalformedBody, &[]);
    assert_refused(collection.delete_where(r#"{"column": "absent", "=": 0}"#), Status::UnknownColumn, "absent");
    assert_refused(collection.delete_where("[]"), Status::InvalidFilter, "");
    assert!(collection.delete_where("").is_err(), "all rows are asked for by name");
    raw.request(Opcode::DeleteWhere, 999, &[1, 0, 0, 0, 0, 0, 0, 0]).expect_refusal(
        "no collection",
        Status::UnknownCollection,
        &[],
    );
    assert_eq!(content(&collection), expected, "bad requests leave no trace");
    server.stop();
    let server = Server::start(directory.path(), SHARDS);
    let collection = server.client().collection("rows").expect("it is there");
    assert_eq!(content(&collection), expected, "what was deleted stays deleted");
    let mut body = Vec::new();
    DeleteWhere { filter: b"" }.encode(&mut body);
    let reply = Raw::greeted(server.address()).request(Opcode::DeleteWhere, number, &body).expect_done("all rows");
    assert_eq!(DeletedWhere::decode(&reply.body).expect("a report").deleted as usize, expected.len());
    assert!(content(&collection).is_empty());
    server.stop();
}

/// Rows are replaced while they are being deleted: what was written last stays if the filter is not true of it, and goes or stays whole if
/// it is.
#[test]
fn a_row_that_no_longer_matches_stays() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection) = scene(directory.path());
    let ids: Vec<u64> = (0..6_000).collect();
    for round in 0..5 {
        write(&collection, &ids, 1, WriteMode::Upsert, Ack::Durable).expect("accepted");
        let spared: Vec<u64> = ids.iter().copied().filter(|id| id % 5 == round).collect();
        std::thread::scope(|scope| {
            let deleter = scope.spawn(|| collection.delete_where(r#"{"column": "version", "=": 1}"#));
            let other = server.client().collection("rows").expect("it is there");
            for part in spared.chunks(50) {
                write(&other, part, 2, WriteMode::Upsert, Ack::Durable).expect("accepted");
            }
            deleter.join().expect("it does not panic").expect("a good filter");
        });
        assert_eq!(content(&collection), spared.iter().map(|&id| (id, 2)).collect(), "round {round}");
    }
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
                collection.delete(&Ids::U64(vec![id]), Ack::Durable).and_then(|pending| pending.wait()).unwrap();
                expected.remove(&id);
                assert_refused(
                    write(&collection, &[id], version, WriteMode::Replace, Ack::Memory),
                    Status::RowMissing,
                    "",
                );
            }
        }
        let above = random.below(version);
        collection.delete_where(&format!(r#"{{"column": "version", "<": {above}}}"#)).expect("a good filter");
        expected.retain(|_, version| *version >= above);
        // An update of whole rows, refused where it is no newer.
        let newer = UpdateOptions { newer: Some("version"), skip_unmet: true, ..UpdateOptions::default() };
        let rows: Vec<(u64, u64)> = expected.iter().map(|(&id, &version)| (id, version + id % 2)).take(20).collect();
        if !rows.is_empty() {
            let report = collection.update(&batch(&rows, DIMENSION), &newer, Ack::Durable).unwrap().wait().unwrap();
            assert_eq!(report.rows + report.unmet, rows.len() as u64);
            expected.extend(rows);
            version += 1;
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
