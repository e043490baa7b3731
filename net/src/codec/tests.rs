//! Every body: round trip, cut at every byte, random damage.

use engine::edges::{Direction, Follow, Spread};
use engine::ids::IdsView;
use engine::schema::{IdKind, IdRef};
use engine::search::{Side, Sides};
use engine::shard::Pressure;
use engine::traversal::TraversalRequest;
use kernels::ElementKind;
use proptest::prelude::*;

use super::collection::{decode_name, encode_name};
use super::rows::decode_delete;
use super::*;

type Decode = fn(&[u8]) -> Result<(), FrameError>;

fn u64_ids() -> impl ExactSizeIterator<Item = IdRef<'static>> + Clone {
    [7, u64::MAX, 0].into_iter().map(IdRef::U64)
}

fn utf8_ids() -> impl ExactSizeIterator<Item = IdRef<'static>> + Clone {
    ["zlib1g", "", "größe", "日本"].into_iter().map(IdRef::Utf8)
}

fn same_ids(ids: IdsView<'_>) -> bool {
    ids.iter().map(|id| id.to_string()).eq(utf8_ids().map(|id| id.to_string()))
}

fn body(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

fn info() -> CollectionInfo<'static> {
    CollectionInfo {
        id: 3,
        m: 16,
        ef_construction: 200,
        fingerprint: 0x0123_4567_89ab_cdef,
        rows: 10,
        deleted: 2,
        indexed: 9,
        name: "packages",
        schema: b"schema",
    }
}

fn search() -> Search<'static> {
    Search {
        column: 1,
        kind: ElementKind::F16,
        exact: true,
        k: 10,
        ef: 64,
        queries: 2,
        dimension: 3,
        columns: Columns::Listed(&[[0, 0], [2, 0]]),
        vectors: b"abcdefABCDEF",
        filter: b"{}",
        options: b"{\"score\": true}",
    }
}

/// On both sides, on one, on the other, on none.
const SIDES: [Sides; 4] = {
    let (dense, text) = (Some(Side { rank: 1, value: 0.5 }), Some(Side { rank: 3, value: 2.5 }));
    [Sides { dense, text }, Sides { dense, text: None }, Sides { dense: None, text }, Sides { dense: None, text: None }]
};

/// All that a reply with four results may tell besides.
fn extras() -> Extras<'static> {
    let (scores, groups) = (Some(&[0.5, -1.0, 0.25, 0.0][..]), Some(&[0, 0, 1, 0][..]));
    Extras { scores, sides: Some(&SIDES), groups, report: br#"{"plan": "scan"}"# }
}

/// One body of every operation and reply with a fixed layout, with its decoder.
fn bodies() -> Vec<(&'static str, Vec<u8>, Decode)> {
    let hello = Hello { wanted_shard: 2, client_version: "0.1.0", client_name: "test" };
    let welcome = Welcome {
        protocol_version: VERSION,
        shards: 4,
        shard: 2,
        placement: handshake::PLACEMENT,
        frame_body_bytes_max: 1 << 20,
        requests_max: 64,
        bytes_max: 1 << 25,
        server_version: "0.1.0",
    };
    let create = Create {
        m: 16,
        ef_construction: 200,
        if_not_exists: true,
        evictable: true,
        name: "packages",
        schema: b"schema",
    };
    let scan = Scan { cursor: Cursor { shard: 1, ordinal: 99 }, rows_max: 500, columns: Columns::All, filter: b"{}" };
    let scanned = ScannedPrefix { next: Cursor { shard: 2, ordinal: 0 }, rows: 5, done: true, message_len: 7 };
    let found = FoundPrefix {
        k: 3,
        index_lag: 5,
        counts: &[3, 1],
        id_kind: IdKind::Utf8,
        message_len: 7,
        extras: Extras::default(),
    };
    let told = FoundPrefix { extras: extras(), ..found };
    let got = GotPrefix { positions: &[0, 2, 3], message_len: 7 };
    vec![
        ("hello", body(|out| hello.encode(out)), |body| Hello::decode(body).map(drop)),
        ("welcome", body(|out| welcome.encode(out)), |body| Welcome::decode(body).map(drop)),
        ("create", body(|out| create.encode(out)), |body| Create::decode(body).map(drop)),
        ("name", body(|out| encode_name("packages", out)), |body| decode_name(body).map(drop)),
        ("info", body(|out| info().encode(out)), |body| CollectionInfo::decode(body).map(drop)),
        ("list", body(|out| List::encode([info(), info()].into_iter(), out)), |body| List::decode(body).map(drop)),
        ("written", body(|out| Written::default().encode(out)), |body| Written::decode(body).map(drop)),
        ("delete u64", body(|out| encode_ids(IdKind::U64, u64_ids(), out)), |body| decode_delete(body).map(drop)),
        ("delete utf8", body(|out| encode_ids(IdKind::Utf8, utf8_ids(), out)), |body| decode_delete(body).map(drop)),
        ("deleted", body(|out| Deleted::default().encode(out)), |body| Deleted::decode(body).map(drop)),
        ("get", body(|out| Get::encode(Columns::Listed(&[[1, 0]]), IdKind::Utf8, utf8_ids(), out)), |body| {
            Get::decode(body).map(drop)
        }),
        ("got", with_message(|out| got.encode(out)), |body| Got::decode(body).map(drop)),
        ("scan", body(|out| scan.encode(out)), |body| Scan::decode(body).map(drop)),
        ("scanned", with_message(|out| scanned.encode(out)), |body| Scanned::decode(body).map(drop)),
        ("search", body(|out| search().encode(out)), |body| Search::decode(body).map(drop)),
        (
            "found",
            with_message(|out| found.encode([0.5, 1.0, 1.5, f32::INFINITY].into_iter(), utf8_ids(), out)),
            |body| Found::decode(body).map(drop),
        ),
        (
            "found with extras",
            with_message(|out| told.encode([0.5, 1.0, 1.5, f32::INFINITY].into_iter(), utf8_ids(), out)),
            |body| Found::decode(body).map(drop),
        ),
        (
            "traverse",
            body(|out| Traverse::encode(&traversal(), IdKind::Utf8, utf8_ids(), &[0.5, 1.0, 1.5, 2.0], out)),
            |body| Traverse::decode(body).map(drop),
        ),
        ("traversed", body(|out| Traversed::encode(&[TRAVERSED; 3], 9, true, IdKind::U64, u64_ids(), out)), |body| {
            Traversed::decode(body).map(drop)
        }),
        ("wait", body(|out| WaitIndexed { timeout_ms: 9 }.encode(out)), |body| WaitIndexed::decode(body).map(drop)),
        ("index", body(|out| IndexStatus { indexed: 1, rows: 2, done: false }.encode(out)), |body| {
            IndexStatus::decode(body).map(drop)
        }),
        ("snapshot", body(|out| SnapshotDone { bytes: 1, took_us: 2 }.encode(out)), |body| {
            SnapshotDone::decode(body).map(drop)
        }),
    ]
}

fn texts(ids: IdsView<'_>) -> impl Iterator<Item = String> {
    ids.iter().map(|id| id.to_string())
}

const TRAVERSED: TraversedNode = TraversedNode { hops: 2, weight: 0.25, activation: 0.125 };

fn traversal() -> TraversalRequest {
    TraversalRequest {
        hops: 3,
        hops_min: 2,
        follow: Follow {
            direction: Direction::Both,
            kinds: vec!["depends".to_owned(), String::new(), "größe".to_owned()],
            weight_min: 0.5,
            fan_out: 70,
        },
        spread: Some(Spread { decay: 0.85, raw: true }),
        nodes_max: 5_000,
        limit: 60,
        missing: true,
    }
}

#[test]
fn traversals_read_back() {
    let bytes = body(|out| Traverse::encode(&traversal(), IdKind::Utf8, utf8_ids(), &[], out));
    let read = Traverse::decode(&bytes).unwrap();
    assert_eq!(format!("{:?}", read.request()), format!("{:?}", traversal()));
    assert!(texts(read.seeds).eq(utf8_ids().map(|id| id.to_string())) && read.activations().len() == 0);
    let plain = TraversalRequest { nodes_max: 0, limit: 0, ..TraversalRequest::default() };
    let bytes = body(|out| Traverse::encode(&plain, IdKind::U64, u64_ids(), &[1.0, 0.5, 0.25], out));
    let read = Traverse::decode(&bytes).unwrap();
    assert_eq!(format!("{:?}", read.request()), format!("{:?}", TraversalRequest::default()), "0 is the default");
    assert!(read.activations().eq([1.0, 0.5, 0.25]));
    for (at, value, what) in [(2, 3, "direction"), (3, 8, "flags")] {
        let mut wrong = bytes.clone();
        wrong[at] = value;
        assert!(matches!(Traverse::decode(&wrong), Err(FrameError::Field { field, .. }) if field == what), "{what}");
    }
    let wrong = body(|out| Traverse::encode(&plain, IdKind::U64, u64_ids(), &[1.0], out));
    assert!(matches!(Traverse::decode(&wrong), Err(FrameError::Field { field: "activations", .. })));
    let types = TraversalRequest { follow: Follow { kinds: vec![String::new(); 65], ..Follow::default() }, ..plain };
    let wrong = body(|out| Traverse::encode(&types, IdKind::U64, u64_ids(), &[], out));
    assert!(matches!(Traverse::decode(&wrong), Err(FrameError::Limit { what: "types", .. })));
    let bytes = body(|out| Traversed::encode(&[TRAVERSED; 3], 9, true, IdKind::U64, u64_ids(), out));
    let read = Traversed::decode(&bytes).unwrap();
    assert!((read.edges, read.is_truncated) == (9, true) && read.nodes().eq([TRAVERSED; 3]));
    assert!(texts(read.ids).eq(u64_ids().map(|id| id.to_string())));
}

fn with_message(prefix: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = body(prefix);
    assert!(out.len().is_multiple_of(fields::MESSAGE_ALIGNMENT), "the message is aligned");
    out.extend_from_slice(b"message");
    out
}

#[test]
fn every_cut_and_every_extra_byte_is_a_typed_error() {
    for (name, body, decode) in bodies() {
        assert_eq!(decode(&body), Ok(()), "{name}");
        for end in 0..body.len() {
            let error = decode(&body[..end]).expect_err(name);
            assert!(matches!(error, FrameError::Truncated { .. }), "{name} cut at {end}: {error}");
            assert!(!error.ends_connection());
        }
        let mut longer = body.clone();
        longer.push(0);
        assert_eq!(decode(&longer), Err(FrameError::TrailingBytes { count: 1 }), "{name}");
    }
}

#[test]
fn requests_read_back() {
    let decode = |opcode, body: &[u8]| {
        let header = Header::request(opcode, 1, 0);
        Request::decode(&header, body).map(|request| format!("{request:?}"))
    };
    let hello = Hello { wanted_shard: handshake::ANY_SHARD, client_version: "1", client_name: "" };
    let written = body(|out| hello.encode(out));
    assert_eq!(decode(Opcode::Hello, &written), Ok(format!("{:?}", Request::Hello(hello))));
    let written = body(|out| search().encode(out));
    assert_eq!(decode(Opcode::Search, &written), Ok(format!("{:?}", Request::Search(search()))));
    assert_eq!(search().vectors().collect::<Vec<_>>(), [b"abcdef", b"ABCDEF"]);
    for opcode in [Opcode::List, Opcode::Snapshot, Opcode::Stats] {
        assert!(decode(opcode, &[]).is_ok());
        assert_eq!(decode(opcode, &[1]), Err(FrameError::TrailingBytes { count: 1 }));
    }
    assert!(decode(Opcode::Write, b"anything").is_ok());
    assert!(decode(Opcode::Ping, &[7; 1_024]).is_ok());
    assert!(matches!(decode(Opcode::Ping, &[7; 1_025]), Err(FrameError::Limit { .. })));
}

#[test]
fn unknown_opcodes_and_replies_are_no_requests() {
    for opcode in [0, 999, u16::MAX] {
        let header = Header { opcode, ..Header::default() };
        assert_eq!(Request::decode(&header, &[]), Err(FrameError::UnknownOpcode { opcode }));
    }
    for &opcode in Opcode::ALL {
        assert_eq!(Opcode::from_code(opcode.code()), Ok(opcode));
    }
    let reply = Header::request(Opcode::List, 1, 0).reply();
    assert!(Request::decode(&reply, &[]).is_err());
}

#[test]
fn replies_read_back() {
    let written =
        Written { rows: 5, inserted: 3, replaced: 2, pressure: Pressure::DISK | Pressure::INDEX_LAG, lsn: 77 };
    assert_eq!(Written::decode(&body(|out| written.encode(out))), Ok(written));
    let deleted = Deleted { deleted: 5, pressure: Pressure::BUFFERS, lsn: 78 };
    assert_eq!(Deleted::decode(&body(|out| deleted.encode(out))), Ok(deleted));
    let index = IndexStatus { indexed: 5, rows: 6, done: true };
    assert_eq!(IndexStatus::decode(&body(|out| index.encode(out))), Ok(index));
    assert_eq!(CollectionInfo::decode(&body(|out| info().encode(out))), Ok(info()));

    let list = body(|out| List::encode([info(), CollectionInfo { id: 4, ..info() }].into_iter(), out));
    let listed: Vec<_> = List::decode(&list).unwrap().iter().map(|info| (info.id, info.name, info.schema)).collect();
    assert_eq!(listed, [(3, "packages", &[][..]), (4, "packages", &[])]);

    let got = with_message(|out| GotPrefix { positions: &[1, 4], message_len: 7 }.encode(out));
    let got = Got::decode(&got).unwrap();
    assert_eq!((got.positions().collect::<Vec<_>>(), got.message), (vec![1, 4], &b"message"[..]));

    let prefix = FoundPrefix {
        k: 5,
        index_lag: 9,
        counts: &[1, 0, 2],
        id_kind: IdKind::U64,
        message_len: 7,
        extras: Extras::default(),
    };
    let bytes = with_message(|out| prefix.encode([0.25, 0.5, 0.75].into_iter(), u64_ids(), out));
    assert_eq!(bytes.len(), FoundPrefix::bytes(3, 3, IdKind::U64, 0) + 7);
    let found = Found::decode(&bytes).unwrap();
    assert_eq!((found.k, found.index_lag, found.message), (5, 9, &b"message"[..]));
    assert_eq!(found.counts().collect::<Vec<_>>(), [1, 0, 2]);
    assert_eq!(found.distances().collect::<Vec<_>>(), [0.25, 0.5, 0.75]);
    let ids: Vec<String> = found.ids.iter().map(|id| id.to_string()).collect();
    assert_eq!(ids, u64_ids().map(|id| id.to_string()).collect::<Vec<_>>());
}

#[test]
fn extras_read_back() {
    let prefix =
        FoundPrefix { k: 3, index_lag: 5, counts: &[3, 1], id_kind: IdKind::Utf8, message_len: 7, extras: extras() };
    let bytes = with_message(|out| prefix.encode([0.0, 0.5, 1.0, 1.5].into_iter(), utf8_ids(), out));
    let found = Found::decode(&bytes).unwrap();
    assert_eq!(found.scores().unwrap().collect::<Vec<_>>(), extras().scores.unwrap());
    assert_eq!(found.sides().unwrap().collect::<Vec<_>>(), SIDES);
    assert_eq!(found.groups().unwrap().collect::<Vec<_>>(), extras().groups.unwrap());
    assert_eq!((found.report, found.message), (extras().report, &b"message"[..]));
    assert_eq!(found.distances().collect::<Vec<_>>(), [0.0, 0.5, 1.0, 1.5]);
    assert!(same_ids(found.ids));
    // Each by itself, and none.
    let none = Extras::default();
    let (scores, sides, groups) = (extras().scores, extras().sides, extras().groups);
    for extras in [none, Extras { scores, ..none }, Extras { sides, ..none }, Extras { groups, ..none }] {
        let bytes = with_message(|out| FoundPrefix { extras, ..prefix }.encode([0.0; 4].into_iter(), utf8_ids(), out));
        let found = Found::decode(&bytes).unwrap();
        assert_eq!(found.scores().is_some(), extras.scores.is_some());
        assert_eq!(found.sides().is_some(), extras.sides.is_some());
        assert_eq!(found.groups().is_some(), extras.groups.is_some());
        assert!(same_ids(found.ids) && found.report.is_empty());
    }
}

/// With groups there are up to `k` groups, and each has several results.
#[test]
fn counts_may_be_above_k_where_results_are_grouped() {
    let counts = &[4];
    let prefix =
        FoundPrefix { k: 3, index_lag: 0, counts, id_kind: IdKind::Utf8, message_len: 0, extras: Extras::default() };
    let decoded = |extras| {
        let bytes = body(|out| FoundPrefix { extras, ..prefix }.encode([0.0; 4].into_iter(), utf8_ids(), out));
        Found::decode(&bytes).map(drop)
    };
    assert!(matches!(decoded(Extras::default()), Err(FrameError::Field { field: "result counts", .. })));
    assert_eq!(decoded(extras()), Ok(()));
}

#[test]
fn ids_read_back() {
    let read = |bytes: &[u8], expected: Vec<IdRef<'static>>| {
        let ids = decode_delete(bytes).unwrap();
        assert!(ids.iter().eq(expected));
    };
    read(&body(|out| encode_ids(IdKind::U64, u64_ids(), out)), u64_ids().collect());
    read(&body(|out| encode_ids(IdKind::Utf8, utf8_ids(), out)), utf8_ids().collect());
    let signed = || [-1, i64::MIN, 7].into_iter().map(IdRef::I64);
    read(&body(|out| encode_ids(IdKind::I64, signed(), out)), signed().collect());
    let none = body(|out| encode_ids(IdKind::Utf8, [].into_iter(), out));
    assert_eq!(decode_delete(&none).map(|ids| ids.len()), Ok(0));
}

#[test]
fn lying_ids_are_refused() {
    let good = body(|out| encode_ids(IdKind::Utf8, utf8_ids(), out));
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let is_field = |bytes: Vec<u8>| matches!(decode_delete(&bytes), Err(FrameError::Field { .. }));
    assert!(is_field(with(8, 1)), "first offset is not 0");
    assert!(is_field(with(12, 9)), "offsets go backwards");
    assert!(is_field(with(20, 9)), "an offset inside ö");
    assert!(is_field(with(0, 3)), "unknown kind");
    assert!(is_field(with(0, 0x100)), "reserved byte");
    assert!(matches!(decode_delete(&with(4, u32::MAX)), Err(FrameError::Limit { .. })), "count");
    assert!(matches!(decode_delete(&with(24, u32::MAX)), Err(FrameError::Truncated { .. })), "text length");
    let mut bytes = good.clone();
    *bytes.last_mut().unwrap() = 0xff;
    assert!(is_field(bytes), "not UTF-8");
    let long = "x".repeat(engine::limits::ID_BYTES_MAX + 1);
    let bytes = body(|out| encode_ids(IdKind::Utf8, [IdRef::Utf8(&long)].into_iter(), out));
    assert!(matches!(decode_delete(&bytes), Err(FrameError::Limit { .. })), "id too long");
}

#[test]
fn positions_ascend() {
    for positions in [[1, 1, 2], [2, 1, 3]] {
        let bytes = body(|out| GotPrefix { positions: &positions, message_len: 0 }.encode(out));
        assert!(matches!(Got::decode(&bytes), Err(FrameError::Field { field: "positions", .. })));
    }
}

#[test]
fn columns_read_back() {
    let listed = [[2_u8, 0], [0, 1]];
    for columns in [Columns::All, Columns::NONE, Columns::Listed(&listed)] {
        let bytes = body(|out| columns.write(&mut fields::Writer::new(out)));
        assert_eq!(Columns::read(&mut fields::Reader::new(&bytes)), Ok(columns));
    }
    assert!(Columns::All.indices(3).eq([0, 1, 2]));
    assert!(Columns::Listed(&listed).indices(3).eq([2, 256]));
    assert!(Columns::NONE.is_none() && !Columns::All.is_none());
    let error = Columns::read(&mut fields::Reader::new(&[0xfe, 0xff])).unwrap_err();
    assert!(matches!(error, FrameError::Limit { .. }));
}

#[test]
fn a_search_says_how_much_it_sends() {
    let encoded = |change: fn(&mut Search<'_>)| {
        let mut search = search();
        change(&mut search);
        body(|out| search.encode(out))
    };
    let error = |change| Search::decode(&encoded(change)).unwrap_err();
    assert!(matches!(error(|search| search.queries = u32::MAX), FrameError::Limit { .. }));
    assert!(matches!(error(|search| search.dimension = u32::MAX), FrameError::Limit { .. }));
    assert!(matches!(error(|search| search.queries = 3), FrameError::Truncated { .. }));
    // What is left of the vectors is taken for the length of a filter.
    assert!(matches!(error(|search| search.queries = 1), FrameError::Truncated { .. }));
    assert!(matches!(error(|search| search.dimension = 0), FrameError::Field { .. }));
    assert!(matches!(error(|search| search.kind = ElementKind::Bits), FrameError::Field { .. }));
    let mut bytes = encoded(|_| {});
    bytes[2] = 7;
    assert!(matches!(Search::decode(&bytes), Err(FrameError::Field { .. })));
}

/// Other clients know the element types by these numbers.
#[test]
fn element_types_keep_their_numbers() {
    let kinds = [
        ElementKind::F32,
        ElementKind::F16,
        ElementKind::I8,
        ElementKind::U8,
        ElementKind::Bits,
        ElementKind::Bf16,
        ElementKind::I32,
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let vectors = [0; 128];
        let search = Search { kind, queries: 4, dimension: 8, vectors: &vectors[..4 * kind.bytes(8)], ..search() };
        let bytes = body(|out| search.encode(out));
        assert_eq!(bytes[2] as usize, number, "{kind:?}");
        assert_eq!(Search::decode(&bytes).unwrap().kind, kind);
    }
}

#[test]
fn a_found_reply_with_impossible_counts_is_refused() {
    let prefix = FoundPrefix {
        k: 3,
        index_lag: 0,
        counts: &[2, 1],
        id_kind: IdKind::U64,
        message_len: 0,
        extras: Extras::default(),
    };
    let good = body(|out| prefix.encode([0.0; 3].into_iter(), u64_ids(), out));
    assert!(Found::decode(&good).is_ok());
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Found::decode(&bytes).unwrap_err()
    };
    assert!(matches!(with(32, 4), FrameError::Field { field: "result counts", .. }), "more than k");
    assert!(matches!(with(0, u32::MAX), FrameError::Truncated { .. }), "queries");
    assert!(matches!(with(28, u32::MAX), FrameError::Truncated { .. }), "message length");
    assert!(matches!(with(16, 8), FrameError::Field { field: "arrays", .. }), "an array of no known kind");
    assert!(matches!(with(20, u32::MAX), FrameError::Truncated { .. }), "report length");
}

/// Reads all there is to read of what a decoder accepted.
fn use_all(body: &[u8]) {
    let drain = |ids: IdsView<'_>| ids.iter().for_each(drop);
    if let Ok(ids) = decode_delete(body) {
        drain(ids);
    }
    if let Ok(get) = Get::decode(body) {
        drain(get.ids);
        get.columns.indices(4).for_each(drop);
    }
    if let Ok(found) = Found::decode(body) {
        drain(found.ids);
        assert_eq!(found.counts().map(u64::from).sum::<u64>(), found.distances().len() as u64);
        assert!(found.scores().is_none_or(|scores| scores.len() == found.distances().len()));
        assert!(found.sides().is_none_or(|sides| sides.count() == found.ids.len()));
        assert!(found.groups().is_none_or(|groups| groups.len() == found.ids.len()));
    }
    if let Ok(list) = List::decode(body) {
        list.iter().for_each(drop);
    }
    if let Ok(search) = Search::decode(body) {
        assert!(search.vectors().len() == search.queries as usize || search.vectors.is_empty());
    }
    if let Ok(got) = Got::decode(body) {
        got.positions().for_each(drop);
    }
}

proptest! {
    #[test]
    fn damage_never_panics(which in 0_usize..20, flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..6)) {
        let (_, mut body, decode) = bodies().swap_remove(which);
        for (at, bit) in flips {
            let at = at.index(body.len());
            body[at] ^= 1 << bit;
        }
        let _ = decode(&body);
        use_all(&body);
    }

    #[test]
    fn noise_never_panics(body in prop::collection::vec(any::<u8>(), 0..200), opcode in 0_u16..17) {
        for (_, _, decode) in bodies() {
            let _ = decode(&body);
        }
        use_all(&body);
        let _ = Request::decode(&Header { opcode, ..Header::default() }, &body);
    }
}
