use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListBuilder, StringArray, StringBuilder, UInt64Array};
use arrow::datatypes::Field;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, write_message};
use proptest::prelude::*;

use super::samples::{self, Random};
use super::*;
use crate::placement;

/// Reads a message with the Arrow crate, as another client would.
fn read_with_arrow(schema: arrow::datatypes::SchemaRef, message: &[u8]) -> RecordBatch {
    let length = u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize;
    let header = arrow_ipc::root_as_message(&message[8..8 + length]).unwrap();
    let body = arrow::buffer::Buffer::from_slice_ref(&message[8 + length..]);
    let batch = header.header_as_record_batch().unwrap();
    arrow_ipc::reader::read_record_batch(&body, batch, schema, &Default::default(), None, &header.version()).unwrap()
}

/// Writes a message with the Arrow crate, as another client would.
fn write_with_arrow(batch: &RecordBatch, alignment: usize) -> Vec<u8> {
    let options = IpcWriteOptions::try_new(alignment, false, arrow_ipc::MetadataVersion::V5).unwrap();
    let mut tracker = DictionaryTracker::new(false);
    let (_, encoded) =
        IpcDataGenerator::default().encode(batch, &mut tracker, &options, &mut Default::default()).unwrap();
    let mut out = Vec::new();
    write_message(&mut out, encoded, &options).unwrap();
    out
}

/// What a view says, as a batch, through its own encoder and the Arrow crate's reader.
fn decode(schema: &Schema, message: &[u8]) -> RecordBatch {
    let view = BatchView::parse(schema, message).unwrap();
    read_with_arrow(schema.arrow().clone(), &view.encode(0).unwrap())
}

/// Touches everything that a view gives.
fn read_all(view: &BatchView<'_>) -> usize {
    let mut sum = 0;
    for row in 0..view.rows() {
        sum += usize::from(matches!(view.id(row), IdRef::U64(_)));
        for column in 0..view.schema().columns().len() {
            let column = view.column(column);
            sum += usize::from(column.is_valid(row));
            sum += match column.values() {
                Values::Bits(bits) => usize::from(bits.get(row)),
                Values::Fixed { .. } => column.fixed(row).iter().map(|&byte| usize::from(byte)).sum(),
                Values::Text(text) => text.get(row).chars().count(),
                Values::TextList(lists) => lists.get(row).map(|text| text.chars().count()).sum(),
            };
        }
    }
    sum
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn round_trip(seed: u64, rows in 1usize..150, null_one_in in 0u64..4, text_ids: bool, start in 0usize..9) {
        let schema = samples::schema(text_ids);
        let whole = samples::batch(&schema, rows + start, seed >> 32, null_one_in, &mut Random(seed));
        // A slice has offsets everywhere.
        let batch = whole.slice(start, rows);
        let message = encode(&batch).unwrap();
        prop_assert_eq!(message.len() % 64, 0);
        prop_assert_eq!(&read_with_arrow(schema.arrow().clone(), &message), &batch);
        prop_assert_eq!(&decode(&schema, &message), &batch);
        prop_assert_eq!(&BatchView::from_arrow(&schema, &batch).unwrap().encode(0).unwrap(), &message);
        for alignment in [8, 64] {
            let foreign = write_with_arrow(&batch, alignment);
            prop_assert_eq!(&decode(&schema, &foreign), &batch);
            // Nothing relies on where the message lies in memory.
            let shifted = [&[0; 1][..], &foreign].concat();
            prop_assert_eq!(&decode(&schema, &shifted[1..]), &batch);
        }
    }

    #[test]
    fn split_keeps_every_row_and_their_order(seed: u64, rows in 1usize..200, shards in 1usize..9, text_ids: bool) {
        let schema = samples::schema(text_ids);
        let mut random = Random(seed);
        let batch = samples::batch(&schema, rows, random.below(1000), 3, &mut random);
        let message = encode(&batch).unwrap();
        let view = BatchView::parse(&schema, &message).unwrap();
        let parts = view.split(shards, 64).unwrap();
        let mut total = 0;
        for part in &parts {
            prop_assert!(part.message[..64].iter().all(|&byte| byte == 0));
            let part_view = BatchView::parse(&schema, &part.message[64..]).unwrap();
            prop_assert_eq!(part_view.rows(), part.rows);
            prop_assert_eq!(part_view.single_home(shards), Some(part.shard));
            let rows: Vec<u32> = (0..rows as u32).filter(|&row| placement::home(view.id(row as usize), shards) == part.shard).collect();
            let indices = UInt64Array::from_iter_values(rows.iter().map(|&row| u64::from(row)));
            let expected = arrow::compute::take_record_batch(&batch, &indices).unwrap();
            prop_assert_eq!(decode(&schema, &part.message[64..]), expected);
            total += part.rows;
        }
        prop_assert_eq!(total, rows);
        prop_assert_eq!(view.single_home(shards).is_some(), parts.len() == 1);
    }
}

#[test]
fn cut_anywhere_is_refused() {
    let schema = samples::schema(true);
    let message = encode(&samples::batch(&schema, 9, 0, 2, &mut Random(1))).unwrap();
    for len in 0..message.len() {
        let error = BatchView::parse(&schema, &message[..len]).expect_err("cut short");
        assert!(matches!(error, Error::MalformedBatch { .. }), "{len}: {error}");
    }
    let longer = [&message[..], &[0]].concat();
    assert!(BatchView::parse(&schema, &longer).is_err());
}

#[test]
fn every_metadata_byte_may_lie() {
    let schema = samples::schema(true);
    let mut random = Random(2);
    for message in [
        encode(&samples::batch(&schema, 9, 0, 2, &mut Random(1))).unwrap(),
        write_with_arrow(&samples::batch(&schema, 9, 0, 2, &mut Random(1)), 8),
    ] {
        let metadata = 8 + u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize;
        let mut refused = 0;
        for position in 0..metadata {
            for flip in [0x01, 0x80, 0xff, random.next() as u8 | 1] {
                let mut damaged = message.clone();
                damaged[position] ^= flip;
                match BatchView::parse(&schema, &damaged) {
                    Ok(view) => _ = read_all(&view),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > metadata, "most lies are seen: {refused} of {}", 4 * metadata);
    }
}

#[test]
fn body_bytes_may_lie() {
    let schema = samples::schema(true);
    let batch = samples::batch(&schema, 20, 0, 2, &mut Random(1));
    let message = encode(&batch).unwrap();
    let body = 8 + u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize;
    for position in body..message.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = message.clone();
            damaged[position] ^= flip;
            if let Ok(view) = BatchView::parse(&schema, &damaged) {
                read_all(&view);
            }
        }
    }
}

/// A null count and its bitmap must agree: one bit more or less is seen.
#[test]
fn null_bitmaps_are_counted() {
    // The bitmap of `data0`: before it lie 2 buffers of the id, 6 × 3 of the vector lists and 2 of the bits.
    const BITMAP: usize = 22;
    let schema = samples::schema(false);
    for rows in [8, 63, 64, 77, 200] {
        let batch = samples::batch(&schema, rows, 0, 2, &mut Random(rows as u64));
        let message = write_with_arrow(&batch, 8);
        assert!(BatchView::parse(&schema, &message).is_ok());
        let body = 8 + u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize;
        let header = arrow_ipc::root_as_message(&message[8..body]).unwrap();
        let header = header.header_as_record_batch().unwrap();
        let bitmap = header.buffers().unwrap().get(BITMAP);
        assert_eq!(bitmap.length() as usize, rows.div_ceil(8));
        for row in 0..rows {
            let mut damaged = message.clone();
            damaged[body + bitmap.offset() as usize + row / 8] ^= 1 << (row % 8);
            match BatchView::parse(&schema, &damaged) {
                Err(Error::MalformedColumn { column, .. }) => assert_eq!(column, "data0"),
                other => panic!("row {row} of {rows}: {other:?}"),
            }
        }
    }
}

/// What lies under a null may be anything, and is nobody's business.
#[test]
fn text_under_a_null_is_not_sent() {
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([3, 6, 2]);
    let nulls = arrow::buffer::NullBuffer::from(vec![true, false, true]);
    let text = StringArray::new(offsets, arrow::buffer::Buffer::from(b"onesecretok"), Some(nulls));
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![Field::new("t", text.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(text)]).unwrap();
    let message = encode(&batch).unwrap();
    assert!(!message.windows(6).any(|bytes| bytes == b"secret"));
    assert_eq!(read_with_arrow(schema, &message), batch);
}

#[test]
fn text_lies_are_named() {
    let parse = |offsets: [i32; 4], values: &[u8]| {
        let offsets: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        Text::parse(&offsets, values).map(|text| text.get(1).to_owned())
    };
    assert_eq!(parse([0, 1, 4, 5], "aßbc".as_bytes()), Ok("ßb".to_owned()));
    assert_eq!(parse([1, 3, 4, 4], "aßbc".as_bytes()), Ok("b".to_owned()));
    assert_eq!(parse([0, 2, 4, 5], "aßbc".as_bytes()), Err("a text offset points into a character"));
    assert_eq!(parse([0, 3, 1, 5], "aßbc".as_bytes()), Err("the text offsets do not ascend"));
    assert_eq!(parse([0, 9, 9, 5], "aßbc".as_bytes()), Err("the text offsets do not ascend"));
    assert_eq!(parse([0, 1, 3, 6], "aßbc".as_bytes()), Err("the text offsets point outside of the values"));
    assert_eq!(parse([4, 1, 3, 3], "aßbc".as_bytes()), Err("the text offsets point outside of the values"));
    assert_eq!(parse([-1, 1, 3, 3], "aßbc".as_bytes()), Err("a text offset is negative"));
    assert_eq!(parse([0, 1, 2, 3], &[b'a', 0xff, b'b']), Err("the text is not UTF-8"));
}

#[test]
fn lies_of_lists_are_named() {
    let bytes = |offsets: &[i32]| offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect::<Vec<u8>>();
    let parse = |lists: [i32; 3], texts: &[i32], values: &[u8]| {
        let (lists, texts) = (bytes(&lists), bytes(texts));
        TextList::parse(&lists, &texts, values).map(|list| list.get(1).map(str::to_owned).collect::<Vec<_>>())
    };
    let values = "aßbc".as_bytes();
    assert_eq!(parse([0, 1, 3], &[0, 1, 3, 5], values), Ok(vec!["ß".into(), "bc".into()]));
    assert_eq!(parse([1, 2, 3], &[9, 1, 3, 5], values), Ok(vec!["bc".into()]), "what is before the first is unused");
    assert_eq!(parse([0, 0, 0], &[], &[]), Ok(vec![]), "of no texts there need be no offset");
    for (lists, problem) in [
        ([0, 2, 1], "the list offsets are negative or do not ascend"),
        ([-1, 0, 1], "the list offsets are negative or do not ascend"),
        ([0, 1, 4], "the list offsets point outside of the texts"),
        ([0, 1, i32::MAX], "the list offsets point outside of the texts"),
    ] {
        assert_eq!(parse(lists, &[0, 1, 3, 5], values), Err(problem), "{lists:?}");
    }
    for (texts, problem) in [
        ([0, 2, 3, 5], "a text offset points into a character"),
        ([0, 3, 1, 5], "the text offsets do not ascend"),
        ([0, 1, 3, 6], "the text offsets point outside of the values"),
        ([0, 1, 3, -5], "a text offset is negative"),
    ] {
        assert_eq!(parse([0, 1, 3], &texts, values), Err(problem), "{texts:?}");
    }
    assert_eq!(parse([0, 1, 2], &[0, 1, 2], &[b'a', 0xff]), Err("the text is not UTF-8"));
}

#[test]
fn lists_hold_no_null_and_have_limits() {
    let lists = |make: &dyn Fn(&mut ListBuilder<StringBuilder>)| {
        let mut lists = ListBuilder::new(StringBuilder::new());
        make(&mut lists);
        lists.append(true);
        let ids = Arc::new(UInt64Array::from(vec![7])) as ArrayRef;
        RecordBatch::try_from_iter([("id", ids), ("tags", Arc::new(lists.finish()) as ArrayRef)]).unwrap()
    };
    let texts = |count: usize, text: &str| lists(&|lists| (0..count).for_each(|_| lists.values().append_value(text)));
    let schema = Schema::from_arrow(&texts(1, "a").schema()).unwrap();
    let both = |batch: &RecordBatch| {
        let parsed = BatchView::parse(&schema, &write_with_arrow(batch, 8)).map(drop);
        let looked = BatchView::from_arrow(&schema, batch).map(drop);
        assert_eq!(parsed.as_ref().err().map(Error::to_string), looked.err().as_ref().map(Error::to_string));
        parsed
    };
    let null = lists(&|lists| lists.values().append_null());
    match both(&null) {
        Err(Error::MalformedColumn { column, problem }) => {
            assert_eq!((&*column, problem), ("tags", "a list holds null"))
        }
        other => panic!("{other:?}"),
    }
    both(&texts(0, "")).unwrap();
    both(&texts(LIST_ITEMS_MAX, "a")).unwrap();
    both(&texts(1, &"a".repeat(LIST_BYTES_MAX))).unwrap();
    assert!(matches!(both(&texts(LIST_ITEMS_MAX + 1, "")), Err(Error::LimitExceeded { value: 1_025, .. })));
    let long = both(&texts(2, &"a".repeat(LIST_BYTES_MAX / 2 + 1)));
    assert!(matches!(long, Err(Error::LimitExceeded { value: 65_538, .. })), "{long:?}");
}

/// Wrong schema, nulls where none may be, and limits: each by name.
#[test]
fn what_is_wrong_is_named() {
    let schema = samples::narrow(4);
    let good = samples::narrow_batch(&schema, &[1, 2, 3], |_, _| 1.0);
    let other = samples::narrow(5);
    let column_of = |result: Result<BatchView<'_>>| match result {
        Err(Error::MalformedColumn { column, .. }) => column,
        other => panic!("{other:?}"),
    };
    let wrong_dimension = samples::narrow_batch(&other, &[1, 2, 3], |_, _| 1.0);
    assert_eq!(column_of(BatchView::parse(&schema, &encode(&wrong_dimension).unwrap())), "v");
    assert_eq!(column_of(BatchView::from_arrow(&schema, &wrong_dimension)), "v");
    let empty = good.slice(0, 0);
    assert!(matches!(BatchView::parse(&schema, &encode(&empty).unwrap()), Err(Error::Empty { .. })));
    assert!(matches!(BatchView::from_arrow(&schema, &empty), Err(Error::Empty { .. })));
    assert_eq!(column_of(BatchView::from_arrow(&schema, &good.project(&[0]).unwrap())), "v");
    assert!(matches!(
        BatchView::parse(&schema, &encode(&good.project(&[0]).unwrap()).unwrap()),
        Err(Error::MalformedColumn { .. })
    ));
    let mixed_up = good.project(&[1, 0]).unwrap();
    assert_eq!(BatchView::from_arrow(&schema, &mixed_up).unwrap().id(2), IdRef::U64(3));

    let ids = Arc::new(UInt64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef;
    let field = Field::new("id", ids.data_type().clone(), true);
    let nullable = arrow::datatypes::Schema::new(vec![field, schema.arrow().field(1).clone()]);
    let nulls = RecordBatch::try_new(Arc::new(nullable), vec![ids, good.column(1).clone()]).unwrap();
    assert_eq!(column_of(BatchView::from_arrow(&schema, &nulls)), "id");
    assert_eq!(column_of(BatchView::parse(&schema, &encode(&nulls).unwrap())), "id");

    let text = samples::schema(true);
    let batch = samples::batch(&text, 2, 0, 0, &mut Random(3));
    let mut columns = batch.columns().to_vec();
    columns[0] = Arc::new(StringArray::from(vec!["a".repeat(ID_BYTES_MAX), "b".repeat(ID_BYTES_MAX + 1)]));
    let long = RecordBatch::try_new(batch.schema(), columns).unwrap();
    assert!(matches!(BatchView::parse(&text, &encode(&long).unwrap()), Err(Error::LimitExceeded { value: 513, .. })));
    assert!(BatchView::from_arrow(&text, &long.slice(0, 1)).is_ok());

    let ids: Vec<u64> = (0..=BATCH_ROWS_MAX as u64).collect();
    let large = samples::narrow_batch(&schema, &ids, |_, _| 1.0);
    assert!(matches!(BatchView::parse(&schema, &encode(&large).unwrap()), Err(Error::LimitExceeded { .. })));
    assert!(matches!(BatchView::from_arrow(&schema, &large), Err(Error::LimitExceeded { .. })));
}

#[test]
fn body_length_is_read_from_the_head() {
    let schema = samples::narrow(4);
    let message = encode(&samples::narrow_batch(&schema, &[1, 2, 3], |_, _| 1.0)).unwrap();
    let head = 8 + u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize;
    assert_eq!(body_len(&message[..head]).unwrap(), message.len() - head);
    assert!(body_len(&message[..head - 40]).is_err());
    assert!(body_len(&message[..4]).is_err());
}
