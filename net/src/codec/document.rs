//! Holds `net/PROTOCOL.md` against the code: its examples, codes, limits and placement values. The examples were made by another
//! implementation.

use std::fmt::Write;

use engine::ids::IdsView;
use engine::limits::*;
use engine::placement::{hash, home};
use engine::schema::{IdKind, IdRef};
use engine::shard::Pressure;

use super::*;

const DOCUMENT: &str = include_str!("../../PROTOCOL.md");

/// As the document shows bytes: offset, 16 bytes a line, indented.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "    {:04x}  {}", line * 16, hex.join(" ")).unwrap();
    }
    text
}

fn assert_shown(bytes: &[u8]) {
    let dump = dump(bytes);
    assert!(DOCUMENT.contains(&dump), "PROTOCOL.md does not show\n{dump}");
}

fn frame(header: Header, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(header, &mut out, body);
    out
}

#[test]
fn examples() {
    let request = Header::request(Opcode::Hello, 1, 0);
    let hello = Hello { wanted_shard: handshake::ANY_SHARD, client_version: "0.1.0", client_name: "doc" };
    assert_shown(&frame(request, |body| hello.encode(body)));
    let welcome = Welcome {
        protocol_version: VERSION,
        shards: 4,
        shard: 0,
        placement: handshake::PLACEMENT,
        frame_body_bytes_max: 24 << 20,
        requests_max: 256,
        bytes_max: 32 << 20,
        server_version: "0.1.0",
    };
    assert_shown(&frame(request.reply(), |body| welcome.encode(body)));

    let request = Header::request(Opcode::Delete, 2, 5);
    let bytes = frame(request, |body| encode_ids(IdKind::U64, [1, 2].into_iter().map(IdRef::U64), body));
    assert_shown(&bytes);
    let header = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap()).unwrap();
    let Ok(Request::Delete(ids @ IdsView::U64(_))) = Request::decode(&header, &bytes[HEADER_BYTES..]) else {
        panic!("not a DELETE of u64 ids")
    };
    assert!(ids.iter().eq([1, 2].map(IdRef::U64)));
    assert_shown(&frame(request.reply(), |body| {
        Deleted { deleted: 1, pressure: Pressure::NONE, lsn: 4_096 }.encode(body)
    }));
    let mut error = Vec::new();
    encode_error(Some(&request), Status::UnknownCollection, "unknown collection `5`", &mut error);
    assert_shown(&error);
}

#[test]
fn codes() {
    for status in Status::ALL {
        let row = format!("\n| {} | {status:?} |", status.code());
        assert!(DOCUMENT.contains(&row), "PROTOCOL.md lacks{row}");
    }
    for opcode in Opcode::ALL {
        let mut name = String::new();
        for letter in format!("{opcode:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        let row = format!("\n| {} | {name} |", opcode.code());
        assert!(DOCUMENT.contains(&row), "PROTOCOL.md lacks{row}");
    }
}

#[test]
fn placement() {
    let ids = [0, 1, 42, u64::MAX].map(|id| (format!("u64 `{id}`"), IdRef::U64(id)));
    let texts = ["", "zlib1g", "größe"].map(|id| {
        let name = if id.is_empty() { "utf8, empty".to_owned() } else { format!("utf8 `{id}`") };
        (name, IdRef::Utf8(id))
    });
    let signed = [-1, i64::MIN].map(|id| (format!("i64 `{id}`"), IdRef::I64(id)));
    let rows = ids.into_iter().chain(signed).chain(texts);
    let rows =
        rows.map(|(name, id)| format!("| {name} | `{:016x}` | {} | {} |\n", hash(id), home(id, 4), home(id, 64)));
    let missing: String = rows.filter(|row| !DOCUMENT.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "PROTOCOL.md lacks\n{missing}");
}

#[test]
fn limits() {
    let limits = [
        ("body of a frame, bytes", FRAME_BODY_BYTES_MAX),
        ("rows of a batch", BATCH_ROWS_MAX as u64),
        ("ids of a GET or DELETE", IDS_MAX as u64),
        ("queries of a SEARCH", QUERIES_MAX as u64),
        ("`k`", K_MAX as u64),
        ("`ef`", EF_MAX as u64),
        ("dimension", DIMENSION_MAX as u64),
        ("columns of a collection", COLUMNS_MAX as u64),
        ("bytes of a name", NAME_BYTES_MAX as u64),
        ("bytes of a utf8 id", ID_BYTES_MAX as u64),
        ("texts of a list, in one row", LIST_ITEMS_MAX as u64),
        ("bytes of the texts of a list, in one row", LIST_BYTES_MAX as u64),
        ("bytes of a filter", FILTER_BYTES_MAX as u64),
        ("brackets of a filter that are open at a time", FILTER_DEPTH_MAX as u64),
        ("words, or texts of a list, that one condition asks for", FILTER_WORDS_MAX as u64),
        ("values that FACETS lists", FACETS_MAX as u64),
        ("different values of a column of FACETS", FACET_VALUES_MAX as u64),
        ("bytes of different values of a column of FACETS", FACET_BYTES_MAX as u64),
        ("bytes of the options of a SEARCH", OPTIONS_BYTES_MAX as u64),
        ("rows of `like` and `unlike` together", EXAMPLES_MAX as u64),
        ("words of a text query", TEXT_QUERY_WORDS_MAX as u64),
        ("brackets of the options of a SEARCH that are open at a time", OPTIONS_DEPTH_MAX as u64),
        ("versions of a schema", SCHEMA_VERSIONS_MAX as u64),
        ("namespaces", NAMESPACES_MAX as u64),
        ("hops of a TRAVERSE", u64::from(HOPS_MAX)),
        ("types of a TRAVERSE", TRAVERSE_TYPES_MAX as u64),
        ("bytes of a type", EDGE_TYPE_BYTES_MAX as u64),
        ("nodes that a TRAVERSE reaches", TRAVERSE_NODES_MAX as u64),
        ("edges that a TRAVERSE looks at", TRAVERSE_EDGES_MAX as u64),
        ("edges of a collection that is traversed", EDGES_MAX as u64),
        ("types of its edges", EDGE_TYPES_MAX as u64),
        ("collections", COLLECTIONS_MAX as u64),
        ("shards", SHARDS_MAX as u64),
        ("GETs, SCANs, SEARCHes, COUNTs and FACETS of a connection at a time", READS_IN_FLIGHT_MAX as u64),
        ("bytes of rows in a reply", REPLY_ROWS_BYTES_MAX as u64),
    ];
    for (what, most) in limits {
        let row = format!("| {what} | {} |", grouped(most));
        assert!(DOCUMENT.contains(&row), "PROTOCOL.md lacks\n{row}");
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
