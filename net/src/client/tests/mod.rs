//! The client against a fake server: order of answers, errors, ends of connections, credits, shards.

mod fake;
mod replies;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use engine::batch::BatchView;
use engine::placement::home;
use engine::schema::Schema;

use super::*;
use crate::codec::{Deleted, Header, Status, Written};
use fake::{Fake, Peer, Script, Terms};

pub(super) fn schema() -> Schema {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let fields = vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("vector", DataType::FixedSizeList(item, 2), false),
        Field::new("title", DataType::Utf8, true),
    ];
    Schema::from_arrow(&ArrowSchema::new(fields)).unwrap()
}

fn batch(ids: std::ops::Range<u64>) -> RecordBatch {
    let schema = schema();
    let arrow = schema.arrow().clone();
    let DataType::FixedSizeList(item, size) = arrow.field(1).data_type() else { unreachable!() };
    let values = Float32Array::from_iter_values(ids.clone().flat_map(|id| [id as f32, 1.0]));
    let vectors = FixedSizeListArray::new(item.clone(), *size, Arc::new(values), None);
    let titles = StringArray::from_iter(ids.clone().map(|id| (id % 3 != 0).then(|| format!("title {id}"))));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(UInt64Array::from_iter_values(ids)), Arc::new(vectors), Arc::new(titles)];
    RecordBatch::try_new(arrow, columns).unwrap()
}

fn options() -> ClientOptions {
    ClientOptions { timeout: Duration::from_secs(5), ..ClientOptions::default() }
}

fn connect(fake: &Fake) -> Client {
    Client::connect(&fake.address.to_string(), options()).unwrap()
}

fn script(script: impl FnOnce(Peer) + Send + 'static) -> Script {
    Box::new(script)
}

/// A fake server with one connection that welcomes, describes the collection and goes on with `rest`.
fn one(terms: Terms, rest: impl FnOnce(&mut Peer) + Send + 'static) -> Fake {
    Fake::start(vec![script(move |mut peer| {
        peer.welcome(terms);
        peer.describe();
        rest(&mut peer);
    })])
}

#[test]
fn answers_may_come_in_any_order() {
    let fake = one(Terms::default(), |peer| {
        let requests: Vec<Header> = (0..3).map(|_| peer.expect(Opcode::Write).0).collect();
        for (index, request) in requests.iter().enumerate().rev() {
            assert_eq!((request.collection, request.fingerprint), (5, schema().fingerprint()));
            let written = Written { rows: 10 + index as u32, ..Written::default() };
            peer.answer(request, |body| written.encode(body));
        }
        assert!(peer.read().is_none(), "the client closes");
    });
    let client = connect(&fake);
    let books = client.collection("books").unwrap();
    let prepared = books.prepare(&batch(0..4)).unwrap();
    assert_eq!(prepared.rows(), 4);
    let pending: Vec<_> = (0..3).map(|_| books.send(&prepared, Ack::Durable).unwrap()).collect();
    let rows: Vec<u64> = pending.into_iter().map(|pending| pending.wait().unwrap().rows).collect();
    assert_eq!(rows, [10, 11, 12]);
    drop((client, books));
    fake.finish();
}

#[test]
fn the_acknowledgement_is_chosen_per_request() {
    let fake = one(Terms::default(), |peer| {
        for expected in [false, true] {
            let (request, _) = peer.expect(Opcode::Write);
            assert_eq!(request.acknowledges_from_memory(), expected);
            peer.answer(&request, |body| Written::default().encode(body));
        }
    });
    let books = connect(&fake).collection("books").unwrap();
    for ack in [Ack::Durable, Ack::Memory] {
        books.write(&batch(0..4), ack).unwrap().wait().unwrap();
    }
    drop(books);
    fake.finish();
}

#[test]
fn a_refused_request_leaves_the_connection_alone() {
    let fake = one(Terms::default(), |peer| {
        let (request, _) = peer.expect(Opcode::Write);
        peer.refuse(&request, Status::NonFinite, "column `vector`, row 3");
        let (request, body) = peer.expect(Opcode::Ping);
        peer.answer(&request, |out| out.extend_from_slice(&body));
    });
    let client = connect(&fake);
    let books = client.collection("books").unwrap();
    let error = books.write(&batch(0..4), Ack::Durable).unwrap().wait().unwrap_err();
    assert_eq!(error.status(), Some(Status::NonFinite));
    assert_eq!(error.to_string(), "column `vector`, row 3");
    client.ping().unwrap();
    assert_eq!(fake.accepted.load(Ordering::SeqCst), 1);
    drop((client, books));
    fake.finish();
}

#[test]
fn the_end_of_a_connection_fails_what_waits_and_the_next_request_connects_again() {
    let fake = Fake::start(vec![
        script(|mut peer| {
            peer.welcome(Terms::default());
            peer.describe();
            peer.expect(Opcode::Write);
            peer.expect(Opcode::Write);
        }),
        script(|mut peer| {
            peer.welcome(Terms::default());
            let (request, body) = peer.expect(Opcode::Ping);
            peer.answer(&request, |out| out.extend_from_slice(&body));
        }),
    ]);
    let client = connect(&fake);
    let books = client.collection("books").unwrap();
    let pending: Vec<_> = (0..2).map(|_| books.write(&batch(0..4), Ack::Durable).unwrap()).collect();
    for pending in pending {
        let error = pending.wait().unwrap_err();
        assert!(matches!(error, Error::Disconnected { source: None, .. }), "{error:?}");
    }
    client.ping().unwrap();
    assert_eq!(fake.accepted.load(Ordering::SeqCst), 2);
    drop((client, books));
    fake.finish();
}

#[test]
fn an_error_of_the_connection_is_the_reason_for_its_end() {
    let fake = one(Terms::default(), |peer| {
        peer.expect(Opcode::Write);
        let mut frame = Vec::new();
        codec::encode_error(None, Status::ShuttingDown, "the server stops", &mut frame);
        peer.raw(&frame);
        assert!(peer.read().is_none());
    });
    let books = connect(&fake).collection("books").unwrap();
    let error = books.write(&batch(0..4), Ack::Durable).unwrap().wait().unwrap_err();
    let Error::Disconnected { source: Some(source), .. } = error else { panic!("{error:?}") };
    assert_eq!(source.status(), Some(Status::ShuttingDown));
    drop(books);
    fake.finish();
}

#[test]
fn noise_from_the_server_ends_the_connection_and_a_damaged_body_does_not() {
    let fake = one(Terms::default(), |peer| {
        let (request, body) = peer.expect(Opcode::Ping);
        let mut frame = Vec::new();
        codec::encode_frame(request.reply(), &mut frame, |out| out.extend_from_slice(&body));
        *frame.last_mut().unwrap() ^= 1;
        peer.raw(&frame);
        peer.expect(Opcode::Ping);
        peer.raw(&[0x55; 200]);
        while peer.read().is_some() {}
    });
    let client = connect(&fake);
    client.collection("books").unwrap();
    let error = client.ping().unwrap_err();
    assert!(matches!(error, Error::Protocol(FrameError::BodyChecksum { .. })), "{error:?}");
    let error = client.ping().unwrap_err();
    let Error::Disconnected { source: Some(source), .. } = error else { panic!("{error:?}") };
    assert!(matches!(*source, Error::Protocol(FrameError::Magic { .. })), "{source:?}");
    drop(client);
    fake.finish();
}

#[test]
fn a_reply_to_nothing_ends_the_connection() {
    let fake = one(Terms::default(), |peer| {
        let (request, _) = peer.expect(Opcode::Ping);
        peer.answer(&Header { request_id: request.request_id + 100, ..request }, |_| {});
        while peer.read().is_some() {}
    });
    let client = connect(&fake);
    client.collection("books").unwrap();
    assert!(matches!(client.ping(), Err(Error::Disconnected { source: Some(_), .. })));
    drop(client);
    fake.finish();
}

/// Sends three writes from a thread while the fake server answers none, and sees how many are in flight.
fn credits(terms: Terms, in_flight: usize, gather_bytes: usize) {
    let (go, gone) = mpsc::channel::<()>();
    let fake = one(terms, move |peer| {
        let mut requests: Vec<Header> = (0..in_flight).map(|_| peer.expect(Opcode::Write).0).collect();
        assert!(peer.is_silent(), "no more than {in_flight} in flight");
        go.send(()).unwrap();
        for _ in 0..3 {
            let request = requests.remove(0);
            peer.answer(&request, |body| Written { rows: 4, ..Written::default() }.encode(body));
            if requests.is_empty()
                && let Some((request, _)) = peer.read()
            {
                requests.push(request);
            }
        }
    });
    let options = ClientOptions { gather_bytes, ..options() };
    let books = Client::connect(&fake.address.to_string(), options).unwrap().collection("books").unwrap();
    let prepared = books.prepare(&batch(0..4)).unwrap();
    let sender = std::thread::spawn(move || {
        let pending: Vec<_> = (0..3).map(|_| books.send(&prepared, Ack::Durable).unwrap()).collect();
        pending.into_iter().map(|pending| pending.wait().unwrap().rows).sum::<u64>()
    });
    gone.recv().unwrap();
    assert_eq!(sender.join().unwrap(), 12);
    fake.finish();
}

#[test]
fn requests_in_flight_are_bounded() {
    credits(Terms { requests_max: 2, ..Terms::default() }, 2, 0);
    credits(Terms { requests_max: 1, ..Terms::default() }, 1, 0);
    // What was gathered is sent before room is waited for.
    credits(Terms { requests_max: 2, ..Terms::default() }, 2, 1 << 20);
}

#[test]
fn small_requests_are_gathered_until_one_is_waited_for() {
    let (go, gone) = mpsc::channel::<()>();
    let fake = one(Terms::default(), move |peer| {
        let answer = |peer: &mut Peer| {
            let (request, _) = peer.expect(Opcode::Write);
            peer.answer(&request, |body| Written { rows: 4, ..Written::default() }.encode(body));
        };
        assert!(peer.is_silent(), "nothing is sent before somebody asks for it");
        go.send(()).unwrap();
        (0..2).for_each(|_| answer(peer));
        answer(peer);
        assert!(peer.is_silent());
        go.send(()).unwrap();
        answer(peer);
        (0..2).for_each(|_| answer(peer));
        go.send(()).unwrap();
    });
    let options = ClientOptions { gather_bytes: 10_000, ..options() };
    let client = Client::connect(&fake.address.to_string(), options).unwrap();
    let books = client.collection("books").unwrap();
    let write = |rows| books.write(&batch(0..rows), Ack::Durable).unwrap();
    let pending = [write(4), write(4)];
    gone.recv().unwrap();
    client.flush();
    assert_eq!(pending.map(|pending| pending.wait().unwrap().rows), [4, 4]);
    assert_eq!(write(4).wait().unwrap().rows, 4);
    let pending = write(4);
    gone.recv().unwrap();
    while !pending.is_ready() {
        std::thread::yield_now();
    }
    // What does not fit is sent at once, behind what was gathered: the server has answered both before anybody asks.
    let pending = [write(4), write(2_000)];
    gone.recv().unwrap();
    assert_eq!(pending.map(|pending| pending.wait().unwrap().rows), [4, 4]);
    drop((client, books));
    fake.finish();
}

#[test]
fn bytes_in_flight_are_bounded_and_one_large_request_passes_alone() {
    credits(Terms { bytes_max: 100, ..Terms::default() }, 1, 0);
}

#[test]
fn a_silent_server_gives_a_timeout() {
    let fake = one(Terms { requests_max: 1, ..Terms::default() }, |peer| while peer.read().is_some() {});
    let options = ClientOptions { timeout: Duration::from_millis(50), ..options() };
    let client = Client::connect(&fake.address.to_string(), options).unwrap();
    let books = client.collection("books").unwrap();
    let start = Instant::now();
    let pending = books.write(&batch(0..4), Ack::Durable).unwrap();
    assert!(matches!(books.write(&batch(0..4), Ack::Durable), Err(Error::Timeout { .. })), "no room");
    assert!(!pending.is_ready());
    assert!(matches!(pending.wait(), Err(Error::Timeout { .. })), "no answer");
    assert!(start.elapsed() >= Duration::from_millis(100));
    drop((client, books));
    fake.finish();
}

/// A connection that answers every write with its number of rows after it checked that all of them live on its shard.
fn shard_script(terms: Terms) -> Script {
    script(move |mut peer| {
        let shard = peer.welcome(terms);
        while let Some((request, body)) = peer.read() {
            match Opcode::from_code(request.opcode).unwrap() {
                Opcode::Write => {
                    let schema = schema();
                    let view = BatchView::parse(&schema, &body).unwrap();
                    assert!((0..view.rows()).all(|row| home(view.id(row), terms.shards.into()) == usize::from(shard)));
                    let rows = view.rows() as u32;
                    peer.answer(&request, |out| {
                        Written { rows, inserted: rows, lsn: 1, ..Written::default() }.encode(out)
                    });
                }
                Opcode::Delete => {
                    let ids = codec::rows::decode_delete(&body).unwrap();
                    assert!(ids.iter().all(|id| home(id, terms.shards.into()) == usize::from(shard)));
                    peer.answer(&request, |out| {
                        Deleted { deleted: ids.len() as u32, lsn: 1, ..Deleted::default() }.encode(out)
                    });
                }
                Opcode::CreateCollection => {
                    let create = codec::Create::decode(&body).unwrap();
                    let fingerprint = Schema::from_bytes(create.schema).unwrap().fingerprint();
                    let info = codec::CollectionInfo {
                        id: 5,
                        m: 16,
                        ef_construction: 200,
                        fingerprint,
                        rows: 0,
                        deleted: 0,
                        indexed: 0,
                        name: create.name,
                        schema: create.schema,
                    };
                    peer.answer(&request, |out| info.encode(out));
                }
                other => panic!("{other:?}"),
            }
        }
    })
}

#[test]
fn rows_and_deletes_go_to_their_home() {
    let terms = Terms { shards: 3, ..Terms::default() };
    let fake = Fake::start((0..3).map(|_| shard_script(terms)).collect());
    let client = connect(&fake);
    assert_eq!(client.server().shards, 3);
    let books = client.create_collection("books", schema().arrow(), CollectionOptions::default()).unwrap();
    let report = books.write(&batch(0..100), Ack::Durable).unwrap().wait().unwrap();
    assert_eq!(report, WriteReport { rows: 100, inserted: 100, ..WriteReport::default() });
    let ids = Ids::U64((0..50).collect());
    assert_eq!(books.delete(&ids, Ack::Durable).unwrap().wait().unwrap().deleted, 50);
    assert_eq!(fake.accepted.load(Ordering::SeqCst), 3, "one connection per shard");
    drop((client, books));
    fake.finish();
}

#[test]
fn connections_to_a_shard_take_turns() {
    let terms = Terms { shards: 2, ..Terms::default() };
    let fake = Fake::start((0..4).map(|_| shard_script(terms)).collect());
    let options = ClientOptions { connections_per_shard: 2, ..options() };
    let client = Client::connect(&fake.address.to_string(), options).unwrap();
    let books = client.create_collection("books", schema().arrow(), CollectionOptions::default()).unwrap();
    for _ in 0..4 {
        books.write(&batch(0..100), Ack::Durable).unwrap().wait().unwrap();
    }
    assert_eq!(fake.accepted.load(Ordering::SeqCst), 4);
    drop((client, books));
    fake.finish();
}

#[test]
fn a_server_that_comes_back_with_fewer_shards_is_learned_again() {
    let few = Terms { shards: 1, ..Terms::default() };
    let fake = Fake::start(vec![
        script(|mut peer| {
            peer.welcome(Terms { shards: 3, ..Terms::default() });
            peer.describe();
        }),
        // Whichever shard is asked for first: it may be refused, then any is asked for.
        script(move |mut peer| {
            if peer.welcome(few) == 0 {
                while peer.read().is_some() {}
            }
        }),
        shard_script(few),
        shard_script(few),
    ]);
    let client = connect(&fake);
    let books = client.collection("books").unwrap();
    // The end of a connection is noticed when it is read or written, not at once.
    for _ in 0..20 {
        if client.server().shards == 1 {
            break;
        }
        let _ = books.write(&batch(0..100), Ack::Durable).map(Pending::wait);
    }
    let report = books.write(&batch(0..100), Ack::Durable).unwrap().wait().unwrap();
    assert_eq!(report.rows, 100);
    drop((client, books));
    // How many connections it took depends on timing, so the fake server may wait for more: it is left behind.
}

#[test]
fn a_prepared_write_can_be_rewritten() {
    let fake = one(Terms::default(), |peer| {
        let schema = schema();
        for first in [0, 1_000] {
            // The peer checks the sums of what it reads.
            let (header, body) = peer.expect(Opcode::Write);
            let view = BatchView::parse(&schema, &body).unwrap();
            let ids: Vec<_> = (0..view.rows()).map(|row| view.id(row)).collect();
            assert_eq!(ids, [0, 1, 2, 3].map(|id| engine::schema::IdRef::U64(first + id)));
            assert_eq!(view.encode(0).unwrap().len(), body.len());
            peer.answer(&header, |body| Written { rows: 4, ..Written::default() }.encode(body));
        }
    });
    let client = connect(&fake);
    let books = client.collection("books").unwrap();
    let mut write = books.rewritable(books.prepare_whole(&batch(0..4), 0).unwrap(), [0]).unwrap();
    books.send(write.write(), Ack::Durable).unwrap().wait().unwrap();
    write.rewrite(|shard, rows, [ids]| {
        assert_eq!((shard, rows, ids.len()), (0, 4, 32));
        ids.chunks_mut(8).zip(1_000_u64..).for_each(|(bytes, id)| bytes.copy_from_slice(&id.to_le_bytes()));
    });
    books.send(write.write(), Ack::Durable).unwrap().wait().unwrap();
    drop((client, books));
    fake.finish();
}

#[test]
fn what_is_wrong_here_is_said_here() {
    let fake = one(Terms::default(), |peer| assert!(peer.read().is_none(), "nothing was sent"));
    let client = connect(&fake);
    let books = client.collection("books").unwrap();
    let engine = |error: Error| matches!(error, Error::Engine(_));
    assert!(engine(books.write(&batch(0..0), Ack::Durable).err().unwrap()), "empty batch");
    let other = batch(0..4).project(&[0, 1]).unwrap();
    assert!(engine(books.write(&other, Ack::Durable).err().unwrap()), "column missing");
    assert!(engine(books.get(&Ids::U64(vec![]), &[]).unwrap_err()), "no ids");
    assert!(engine(books.get(&Ids::Utf8(vec!["a".into()]), &[]).unwrap_err()), "ids of another kind");
    assert!(engine(books.get(&Ids::U64(vec![1]), &["nothing"]).unwrap_err()), "unknown column");
    assert!(engine(books.delete(&Ids::U64(vec![]), Ack::Durable).err().unwrap()), "no ids");
    assert!(engine(books.scan(&["nothing"]).err().unwrap()), "unknown column");
    let search = SearchRequest { queries: Queries::F32(&[1.0, 2.0, 3.0]), ..SearchRequest::default() };
    assert!(engine(books.search(&search).err().unwrap()), "not a multiple of the dimension");
    let search = SearchRequest { column: Some("title"), ..search };
    assert!(engine(books.search(&search).err().unwrap()), "no vector column");
    assert!(engine(client.describe("").unwrap_err()), "no name");
    assert!(engine(client.describe(&"x".repeat(200)).unwrap_err()), "name too long");
    drop((client, books));
    fake.finish();
}

#[test]
fn nobody_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    assert!(matches!(Client::connect(&address, options()), Err(Error::Io { operation: "connect to", .. })));
    assert!(matches!(Client::connect("not an address", options()), Err(Error::NoAddress { .. })));
}

#[test]
fn a_client_can_be_shared() {
    fn check<T: Send + Sync + Clone>() {}
    fn check_send<T: Send>() {}
    check::<Client>();
    check::<Collection>();
    check::<Error>();
    check_send::<Pending<SearchReply>>();
    check_send::<Scan>();
}
