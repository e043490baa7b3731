//! Replies that carry rows and results.

use engine::schema::{IdKind, IdRef};

use super::*;
use crate::codec::{Cursor, FoundPrefix, GotPrefix, Request, ScannedPrefix};

fn message(batch: &RecordBatch) -> Vec<u8> {
    engine::batch::encode(batch).unwrap()
}

#[test]
fn rows_by_id() {
    let fake = one(Terms::default(), |peer| {
        let (request, body) = peer.expect(Opcode::Get);
        let Ok(Request::Get(get)) = Request::decode(&request, &body) else { panic!("not a GET") };
        assert!(get.columns.indices(3).eq([2, 0]));
        assert!(get.ids.iter().eq([4, 99, 5].map(IdRef::U64)));
        let message = message(&batch(4..6).project(&[2, 0]).unwrap());
        peer.answer(&request, |out| {
            GotPrefix { positions: &[0, 2], message_len: message.len() as u64 }.encode(out);
            out.extend_from_slice(&message);
        });
        let (request, _) = peer.expect(Opcode::Get);
        peer.answer(&request, |out| GotPrefix { positions: &[], message_len: 0 }.encode(out));
        let (request, _) = peer.expect(Opcode::Get);
        peer.answer(&request, |out| GotPrefix { positions: &[7], message_len: 0 }.encode(out));
    });
    let books = connect(&fake).collection("books").unwrap();
    let rows = books.get(&Ids::U64(vec![4, 99, 5]), &["title", "id"]).unwrap();
    assert_eq!(rows, batch(4..6).project(&[2, 0]).unwrap());
    let rows = books.get(&Ids::U64(vec![99]), &[]).unwrap();
    assert_eq!((rows.num_rows(), rows.schema().fields().len()), (0, 3));
    assert!(matches!(books.get(&Ids::U64(vec![99]), &[]), Err(Error::UnexpectedReply { .. })), "a position, no row");
    drop(books);
    fake.finish();
}

fn scanned(peer: &mut Peer, from: Cursor, prefix: ScannedPrefix, rows: Option<RecordBatch>) {
    let (request, body) = peer.expect(Opcode::Scan);
    assert_eq!(codec::Scan::decode(&body).unwrap().cursor, from);
    let message = rows.map_or(Vec::new(), |rows| message(&rows));
    peer.answer(&request, |out| {
        ScannedPrefix { message_len: message.len() as u64, ..prefix }.encode(out);
        out.extend_from_slice(&message);
    });
}

#[test]
fn a_scan_follows_the_cursor() {
    let at = |ordinal| Cursor { shard: 0, ordinal };
    let prefix = move |slot, rows, done| ScannedPrefix { next: at(slot), rows, done, message_len: 0 };
    let fake = one(Terms::default(), move |peer| {
        scanned(peer, at(0), prefix(10, 10, false), Some(batch(0..10)));
        scanned(peer, at(10), prefix(20, 0, false), None);
        scanned(peer, at(20), prefix(25, 5, true), Some(batch(10..15)));
        scanned(peer, at(0), prefix(0, 0, false), None);
    });
    let books = connect(&fake).collection("books").unwrap();
    let batches: Vec<RecordBatch> = books.scan(&[]).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches, [batch(0..10), batch(10..15)]);
    let stuck: Vec<_> = books.scan(&[]).unwrap().collect();
    assert!(matches!(stuck[..], [Err(Error::UnexpectedReply { .. })]), "{stuck:?}");
    drop(books);
    fake.finish();
}

#[test]
fn a_search_gives_hits_and_columns() {
    let fake = one(Terms::default(), |peer| {
        let (request, body) = peer.expect(Opcode::Search);
        let search = codec::Search::decode(&body).unwrap();
        assert_eq!((search.column, search.k, search.ef, search.exact), (1, 5, 0, false));
        assert_eq!((search.queries, search.dimension), (2, 2));
        let message = message(&batch(0..3).project(&[2]).unwrap());
        let prefix = FoundPrefix {
            k: 5,
            index_lag: 7,
            counts: &[2, 1],
            id_kind: IdKind::U64,
            message_len: message.len() as u64,
            extras: codec::Extras::default(),
        };
        peer.answer(&request, |out| {
            prefix.encode([0.0, 0.5, 1.0].into_iter(), [0, 1, 2].into_iter().map(IdRef::U64), out);
            out.extend_from_slice(&message);
        });
    });
    let books = connect(&fake).collection("books").unwrap();
    let queries = Queries::F32(&[1.0, 2.0, 3.0, 4.0]);
    let request = SearchRequest { queries, k: 5, columns: &["title"], ..SearchRequest::default() };
    let (reply, at) = books.search(&request).unwrap().wait_timed().unwrap();
    assert!(at <= Instant::now());
    let hit = |id, distance| Hit { id: Id::U64(id), distance, score: None, sides: None, group: None };
    assert_eq!(reply.hits, [vec![hit(0, 0.0), hit(1, 0.5)], vec![hit(2, 1.0)]]);
    assert_eq!(reply.index_lag, 7);
    assert_eq!(reply.columns, Some(batch(0..3).project(&[2]).unwrap()));
    drop(books);
    fake.finish();
}

/// Every byte of a message damaged in turn: an error or other values, never a panic.
#[test]
fn a_damaged_message_never_panics() {
    let good = message(&batch(0..4));
    let schema = schema().arrow().clone();
    assert_eq!(super::super::batch::read_batch(good.clone(), good.len(), schema.clone()).unwrap(), batch(0..4));
    let mut refused = 0;
    for at in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            refused += usize::from(super::super::batch::read_batch(bytes, good.len(), schema.clone()).is_err());
        }
    }
    assert!(refused > 0);
    for end in 0..good.len() {
        let cut = good[..end].to_vec();
        let read = super::super::batch::read_batch(cut, end, schema.clone());
        assert!(read.is_err() || end == 0 || read.unwrap() == batch(0..4), "cut at {end}");
    }
}
