use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};
use kernels::{ElementKind, Metric};

use super::*;

fn list(item: DataType, elements: i32) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), elements)
}

fn field(name: &str, data_type: DataType, metadata: &[(&str, &str)]) -> Field {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Field::new(name, data_type, true).with_metadata(metadata)
}

fn schema(fields: Vec<Field>) -> Result<Schema> {
    Schema::from_arrow(&arrow::datatypes::Schema::new(fields))
}

fn wide() -> Schema {
    schema(vec![
        field("key", DataType::Utf8, &[(ROLE_KEY, "id")]),
        field("id", DataType::Int32, &[]),
        field("embedding", list(DataType::Float32, 384), &[]),
        field("small", list(DataType::Int8, 16), &[(METRIC_KEY, "l2")]),
        field("bits", DataType::FixedSizeBinary(32), &[(ROLE_KEY, "vector")]),
        field("brain", list(DataType::UInt16, 384), &[(ELEMENT_KEY, "bf16"), (METRIC_KEY, "dot")]),
        field("whole", list(DataType::Int32, 8), &[]),
        field("when", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), &[("unit", "kept")]),
        field("flag", DataType::Boolean, &[]),
    ])
    .expect("a good schema")
}

#[test]
fn roles_and_defaults() {
    let schema = wide();
    assert_eq!((schema.id_column(), schema.id_kind()), (0, IdKind::Utf8));
    let vectors = schema.vectors();
    assert_eq!(vectors.len(), 5);
    assert_eq!(
        (vectors[0].column, vectors[0].kind, vectors[0].dimension, vectors[0].metric),
        (2, ElementKind::F32, 384, Metric::Cosine)
    );
    assert_eq!((vectors[1].kind, vectors[1].metric, vectors[1].row_bytes()), (ElementKind::I8, Metric::L2, 16));
    assert_eq!((vectors[2].kind, vectors[2].dimension, vectors[2].metric), (ElementKind::Bits, 256, Metric::Hamming));
    assert_eq!((vectors[3].kind, vectors[3].metric, vectors[3].row_bytes()), (ElementKind::Bf16, Metric::Dot, 768));
    assert_eq!((vectors[4].kind, vectors[4].metric, vectors[4].row_bytes()), (ElementKind::I32, Metric::Cosine, 32));
    assert_eq!((vectors[0].codes, vectors[3].codes), (Codes::Int4, Codes::Int4));
    assert!(!vectors[1].has_codes() && !vectors[2].has_codes(), "of bytes and bits there are none");
    assert!(!vectors[4].has_codes(), "a cache line holds all of it");
    assert_eq!(Codes::default_of(ElementKind::F16, 33), Codes::Int8);
    let nullable: Vec<bool> = schema.columns().iter().map(|column| column.nullable).collect();
    assert_eq!(nullable, [false, true, false, false, false, false, false, true, true]);
    assert_eq!(schema.arrow().field(2).metadata()[METRIC_KEY], "cosine");
    assert_eq!((vectors[0].rerank_depth(10), vectors[1].rerank_depth(10)), (50, 10));
    assert!(!vectors[0].on_disk);
    assert_eq!(schema.arrow().field(7).metadata()["unit"], "kept");
    assert_eq!(schema.vector_index(Some("small")).unwrap(), 1);
    assert!(matches!(schema.vector_index(Some("flag")), Err(Error::UnknownColumn { .. })));
    assert_eq!(schema.project(&[8, 0]).field(0).name(), "flag");
}

#[test]
fn ids_are_of_three_kinds() {
    for (data_type, kind) in
        [(DataType::UInt64, IdKind::U64), (DataType::Int64, IdKind::I64), (DataType::Utf8, IdKind::Utf8)]
    {
        assert_eq!(schema(vec![field("id", data_type, &[])]).expect("a good schema").id_kind(), kind);
    }
}

#[test]
fn reading_what_was_normalised_changes_nothing() {
    let first = wide();
    let second = Schema::from_arrow(first.arrow()).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.arrow(), second.arrow());
}

/// Other clients compute this value, and it stands in catalog files.
#[test]
fn fingerprint_is_stable() {
    let text = "2:id|u64|0|id|\n9:embedding|vector[f32,384]|0|vector|cosine\n4:text|utf8|1|data|\n4:when|timestamp[ms,3:UTC]|1|data|\n";
    let fields = vec![
        field("id", DataType::UInt64, &[]),
        field("embedding", list(DataType::Float32, 384), &[]),
        field("text", DataType::Utf8, &[]),
        field("when", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), &[]),
    ];
    let first = schema(fields.clone()).unwrap();
    assert_eq!(first.fingerprint(), xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
    let mut other = fields;
    other[1] = field("embedding", list(DataType::Float32, 384), &[(METRIC_KEY, "l2")]);
    assert_ne!(first.fingerprint(), schema(other.clone()).unwrap().fingerprint());
    for (item, metadata, element) in [
        (DataType::UInt16, &[(ELEMENT_KEY, "bf16")][..], "bf16"),
        (DataType::Int32, &[], "i32"),
        (DataType::Int32, &[(ELEMENT_KEY, "i32")], "i32"),
    ] {
        other[1] = field("embedding", list(item, 384), metadata);
        let text = text.replace("f32", element);
        let schema = schema(other.clone()).unwrap();
        assert_eq!(schema.fingerprint(), xxhash_rust::xxh3::xxh3_64(text.as_bytes()), "{element}");
    }
}

#[test]
fn lists_and_json_have_names_of_their_own_in_the_fingerprint() {
    let texts = DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)));
    let fields = vec![
        field("id", DataType::Int64, &[]),
        field("tags", texts, &[]),
        field("more", DataType::Utf8, &[(TYPE_KEY, "json")]),
    ];
    let text = "2:id|i64|0|id|\n4:tags|list[utf8]|1|data|\n4:more|json|1|data|\n";
    let schema = schema(fields).expect("a good schema");
    assert_eq!(schema.fingerprint(), xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
    assert!(schema.columns()[2].is_json && !schema.columns()[1].is_json);
}

#[test]
fn a_column_says_how_its_vectors_are_kept() {
    let of = |metadata: &[(&str, &str)]| {
        let fields = vec![field("id", DataType::UInt64, &[]), field("v", list(DataType::Float32, 384), metadata)];
        schema(fields).expect("a good schema")
    };
    let plain = of(&[]);
    let chosen = of(&[(CODES_KEY, "int8"), (RERANK_KEY, "7"), (PLACE_KEY, "disk")]);
    assert_eq!((chosen.vectors()[0].rerank_depth(10), chosen.vectors()[0].on_disk), (80, true));
    assert_eq!(chosen.fingerprint(), plain.fingerprint(), "batches do not depend on it");
    assert_ne!(chosen, plain);
    assert_eq!(chosen.vectors()[0].ef_min(10), 10);
    let signs = of(&[(CODES_KEY, "binary"), (RERANK_KEY, "100")]);
    assert_eq!(signs.vectors()[0].ef_min(10), 1_010);
    assert_eq!(signs.vectors()[0].ef_min(crate::limits::K_MAX), crate::limits::EF_MAX, "no search holds more");
    let again = Schema::from_arrow(chosen.arrow()).expect("what it says of itself");
    assert_eq!(again, chosen);
}

#[test]
fn a_schema_needs_no_vectors() {
    let schema = schema(vec![field("id", DataType::UInt64, &[]), field("name", DataType::Utf8, &[])]).expect("good");
    assert!(schema.vectors().is_empty());
    for name in [None, Some("name")] {
        assert!(matches!(schema.vector_index(name), Err(Error::InvalidSearch { .. })), "{name:?}");
    }
    assert_eq!(Schema::from_bytes(&schema.to_bytes()).expect("its own bytes"), schema);
}

#[test]
fn refuses_by_name() {
    let vector = || field("v", list(DataType::Float32, 4), &[]);
    let id = || field("id", DataType::UInt64, &[]);
    let cases: Vec<(Vec<Field>, &str)> = vec![
        (vec![vector()], ""),
        (vec![field("name", DataType::Utf8, &[])], ""),
        (vec![id(), vector(), field("v", DataType::Int8, &[])], "v"),
        (vec![field("id", DataType::Int32, &[]), vector()], "id"),
        (
            vec![
                field("a", DataType::UInt64, &[(ROLE_KEY, "id")]),
                field("b", DataType::UInt64, &[(ROLE_KEY, "id")]),
                vector(),
            ],
            "",
        ),
        (vec![id(), field("v", list(DataType::Float64, 4), &[])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 0), &[])], "v"),
        (vec![id(), field("v", list(DataType::Float32, -4), &[])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 8193), &[])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 4), &[(METRIC_KEY, "hamming")])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 4), &[(METRIC_KEY, "manhattan")])], "v"),
        (vec![id(), field("v", DataType::FixedSizeBinary(4), &[(ROLE_KEY, "vector"), (METRIC_KEY, "l2")])], "v"),
        (vec![id(), vector(), field("b", DataType::FixedSizeBinary(4), &[])], "b"),
        (vec![id(), vector(), field("d", DataType::Date64, &[])], "d"),
        (vec![id(), vector(), field("l", DataType::LargeUtf8, &[])], "l"),
        (vec![id(), vector(), field("", DataType::Int8, &[])], ""),
        (vec![id(), vector(), field("x", DataType::Int8, &[(ROLE_KEY, "vector")])], "x"),
        (vec![id(), vector(), field("x", DataType::Int8, &[(METRIC_KEY, "l2")])], "x"),
        (vec![id(), vector(), field("x", DataType::Int8, &[(ELEMENT_KEY, "i8")])], "x"),
        (vec![id(), field("v", list(DataType::UInt16, 4), &[])], "v"),
        (vec![id(), vector(), field("x", DataType::Int8, &[(PLACE_KEY, "disk")])], "x"),
        (vec![id(), vector(), field("x", DataType::Int8, &[(RERANK_KEY, "2")])], "x"),
        (vec![id(), field("v", list(DataType::Float32, 384), &[(PLACE_KEY, "tape")])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 4), &[(PLACE_KEY, "disk")])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 4), &[(RERANK_KEY, "2")])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 384), &[(CODES_KEY, "binary"), (METRIC_KEY, "l2")])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 384), &[(CODES_KEY, "binary"), (METRIC_KEY, "dot")])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 384), &[(RERANK_KEY, "0")])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 384), &[(RERANK_KEY, "101")])], "v"),
        (vec![id(), field("v", list(DataType::Float32, 384), &[(RERANK_KEY, "many")])], "v"),
        (vec![id(), field("v", list(DataType::UInt16, 4), &[(ELEMENT_KEY, "u16")])], "v"),
        (vec![id(), field("v", list(DataType::Float16, 4), &[(ELEMENT_KEY, "bf16")])], "v"),
        (vec![id(), field("v", list(DataType::UInt32, 4), &[])], "v"),
        (vec![id(), field("x", DataType::Int8, &[(TYPE_KEY, "json")])], "x"),
        (vec![id(), field("x", DataType::Utf8, &[(TYPE_KEY, "xml")])], "x"),
        (vec![field("id", DataType::Utf8, &[(TYPE_KEY, "json")])], "id"),
    ];
    for (index, (fields, culprit)) in cases.into_iter().enumerate() {
        match schema(fields) {
            Err(Error::InvalidSchema { column, .. }) => assert_eq!(column, culprit, "case {index}"),
            other => panic!("case {index}: {other:?}"),
        }
    }
    let many = (0..=COLUMNS_MAX).map(|index| field(&format!("c{index}"), DataType::Int8, &[])).collect();
    assert!(matches!(schema(many), Err(Error::LimitExceeded { .. })));
}

#[test]
fn bytes_round_trip() {
    let first = wide();
    let second = Schema::from_bytes(&first.to_bytes()).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.arrow(), second.arrow());
}

#[test]
fn hostile_bytes_give_an_error_or_a_schema() {
    let bytes = wide().to_bytes();
    for length in 0..bytes.len() - 8 {
        assert!(matches!(Schema::from_bytes(&bytes[..length]), Err(Error::InvalidSchema { .. })), "cut at {length}");
    }
    for position in 0..bytes.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[position] ^= flip;
            let _ = Schema::from_bytes(&damaged);
        }
    }
}

fn edges(metadata: &[(&str, &str)], fields: Vec<Field>) -> Result<Schema> {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Schema::from_arrow(&arrow::datatypes::Schema::new_with_metadata(fields, metadata))
}

fn role(name: &str, data_type: DataType, role: &str) -> Field {
    field(name, data_type, &[(ROLE_KEY, role)])
}

#[test]
fn edges_have_roles() {
    let fields = || {
        vec![
            field("id", DataType::Utf8, &[]),
            field("v", list(DataType::Float32, 4), &[]),
            role("to", DataType::UInt64, "edge_to"),
            role("from", DataType::UInt64, "edge_from"),
            role("type", DataType::Utf8, "edge_type"),
            role("weight", DataType::Float64, "edge_weight"),
        ]
    };
    let first = edges(&[(NODES_KEY, "nodes")], fields()).unwrap();
    let weight = Some(EdgeWeight { column: 5, is_f64: true });
    let nodes = Some("nodes".to_owned());
    let columns = EdgeColumns { from: 3, to: 2, kind: Some(4), weight, node_kind: IdKind::U64, nodes };
    assert_eq!(first.edges(), Some(&columns));
    let nullable: Vec<bool> = first.columns().iter().map(|column| column.nullable).collect();
    assert_eq!(nullable, [false, false, false, false, true, true]);
    assert_eq!(Schema::from_bytes(&first.to_bytes()).unwrap(), first, "roles and nodes are kept");
    let other = edges(&[(NODES_KEY, "others")], fields()).unwrap();
    assert_eq!(first.fingerprint(), other.fingerprint(), "batches do not depend on it");
    assert_ne!(first, other);
    assert_eq!(wide().edges(), None);
    for some in [&[0, 5][..], &[0], &[3, 0, 4], &[0, 2, 3, 4, 5]] {
        let partial = first.partial(some).expect("an update may have any columns beside the id");
        assert_eq!((partial.columns().len(), partial.edges()), (some.len(), None));
    }
}

#[test]
fn edges_that_are_none_are_refused_by_name() {
    let start = || vec![field("id", DataType::Utf8, &[]), field("v", list(DataType::Float32, 4), &[])];
    let from = || role("from", DataType::UInt64, "edge_from");
    let to = || role("to", DataType::UInt64, "edge_to");
    let cases: Vec<(Vec<Field>, &str)> = vec![
        (vec![from()], ""),
        (vec![role("type", DataType::Utf8, "edge_type")], ""),
        (vec![from(), role("to", DataType::Utf8, "edge_to")], "to"),
        (vec![role("from", DataType::Float32, "edge_from"), to()], "from"),
        (vec![from(), to(), role("again", DataType::UInt64, "edge_to")], "again"),
        (vec![from(), to(), role("type", DataType::Int8, "edge_type")], "type"),
        (vec![from(), to(), role("weight", DataType::UInt64, "edge_weight")], "weight"),
        (vec![from(), to(), role("x", DataType::UInt64, "edge_colour")], "x"),
        (vec![from(), to(), role("w", list(DataType::Float32, 4), "edge_weight")], "w"),
    ];
    for (index, (fields, culprit)) in cases.into_iter().enumerate() {
        match schema(start().into_iter().chain(fields).collect()) {
            Err(Error::InvalidSchema { column, .. }) => assert_eq!(column, culprit, "case {index}"),
            other => panic!("case {index}: {other:?}"),
        }
    }
    let nodes =
        |name: &str, fields: Vec<Field>| edges(&[(NODES_KEY, name)], start().into_iter().chain(fields).collect());
    assert!(matches!(nodes("nodes", vec![]), Err(Error::InvalidSchema { .. })), "nodes of no edges");
    assert!(matches!(nodes("", vec![from(), to()]), Err(Error::InvalidSchema { .. })));
    assert!(matches!(nodes(&"n".repeat(129), vec![from(), to()]), Err(Error::InvalidSchema { .. })));
}
