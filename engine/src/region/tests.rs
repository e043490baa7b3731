use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use proptest::prelude::*;

use super::*;
use crate::batch::samples::{self, Random};
use crate::batch::{self, BatchView};
use crate::quant::{CodeEncoder, CodeScale};

fn encoder(schema: &Schema, vector_index: usize) -> Arc<CodeEncoder> {
    let scale = Arc::new(CodeScale::new());
    Arc::new(CodeEncoder::new(kernels::detect(), &schema.vectors()[vector_index], scale))
}

fn fill(writer: &mut RegionWriter, batch: &RecordBatch) -> Result<std::ops::Range<u64>> {
    let schema = writer.region().schema().clone();
    writer.fill(&BatchView::from_arrow(&schema, batch)?)
}

fn all_columns(schema: &Schema) -> Vec<usize> {
    (0..schema.columns().len()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is written in batches is what slices, gathers and scans give, whatever the batches.
    #[test]
    fn scans_equal_what_was_written(seed: u64, null_one_in in 0u64..4, text_ids: bool, batches in 1usize..6) {
        let schema = samples::schema(text_ids);
        let region = Region::with_row_bits(schema.clone(), 2, ROW_BITS_MIN).unwrap();
        let mut writer = RegionWriter::new(region.clone(), 1);
        let mut random = Random(seed);
        let mut written = Vec::new();
        let mut rows = 0;
        for _ in 0..batches {
            let count = 1 + random.below(300) as usize;
            let batch = samples::batch(&schema, count, rows, null_one_in, &mut random);
            let message = batch::encode(&batch).unwrap();
            if random.below(3) == 0 {
                // A batch that is taken back leaves no trace.
                let wrong = samples::batch(&schema, 100, 7_000, 2, &mut random);
                let slots = fill(&mut writer, &wrong).unwrap();
                writer.unfill(slots.start);
            }
            let slots = writer.fill(&BatchView::parse(&schema, &message).unwrap()).unwrap();
            prop_assert_eq!(slots.clone(), rows..rows + count as u64);
            writer.publish(slots.end);
            rows += count as u64;
            written.push(batch);
        }
        let written = arrow::compute::concat_batches(schema.arrow(), &written).unwrap();
        let columns = all_columns(&schema);
        let view = region.view();
        prop_assert_eq!(&region.batch(&view, 1, 0..rows as u32, &columns).unwrap(), &written);
        let start = random.below(rows) as u32;
        let end = start + 1 + random.below(rows - u64::from(start)) as u32;
        let expected = written.slice(start as usize, (end - start) as usize);
        prop_assert_eq!(&region.batch(&view, 1, start..end, &columns).unwrap(), &expected);
        let mut seen = Vec::new();
        region.visible_rows(&view, 1, u64::from(start)..u64::from(end), &mut seen);
        prop_assert_eq!(&region.take(&seen, &columns).unwrap(), &expected);
        let picked: Vec<u32> = (0..random.below(50)).map(|_| region.row(1, random.below(rows) as u32)).collect();
        let indices = arrow::array::UInt64Array::from_iter_values(picked.iter().map(|&row| u64::from(region.locate(row).1)));
        prop_assert_eq!(region.take(&picked, &columns).unwrap(), arrow::compute::take_record_batch(&written, &indices).unwrap());
        for &row in &picked {
            let slot = region.locate(row).1 as u64;
            match region.id(row) {
                IdRef::U64(id) => prop_assert_eq!(id, slot),
                IdRef::Utf8(id) => prop_assert_eq!(id.to_owned(), format!("id-{slot}")),
                IdRef::I64(_) => panic!("the ids are u64 or text"),
            }
            prop_assert_eq!(writer.ids().get(slot as u32), region.id(row));
        }
    }
}

#[test]
fn slices_do_not_copy_and_outlive_the_region() {
    let schema = samples::schema(true);
    let region = Region::with_row_bits(schema.clone(), 1, ROW_BITS_MIN).unwrap();
    let mut writer = RegionWriter::new(region.clone(), 0);
    let batch = samples::batch(&schema, 100, 0, 3, &mut Random(5));
    let slots = fill(&mut writer, &batch).unwrap();
    writer.publish(slots.end);
    let slice = region.batch(&region.view(), 0, 10..60, &all_columns(&schema)).unwrap();
    let data = slice.column(1).to_data();
    assert_eq!(data.child_data()[0].buffers()[0].as_ptr(), region.vectors(0).get(10).as_ptr());
    drop((writer, region));
    assert_eq!(slice, batch.slice(10, 50));
}

#[test]
fn refused_batches_use_no_slot() {
    let schema = samples::narrow(4);
    let region = Region::with_row_bits(schema.clone(), 1, ROW_BITS_MIN).unwrap();
    let mut writer = RegionWriter::new(region.clone(), 0);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let batch = samples::narrow_batch(&schema, &[1, 2, 3], |id, i| if id == 2 && i == 3 { bad } else { 1.0 });
        let error = fill(&mut writer, &batch).unwrap_err();
        assert!(matches!(&error, Error::NonFinite { column, row: 1 } if column == "v"), "{error}");
    }
    for zero in [0.0, -0.0] {
        let batch = samples::narrow_batch(&schema, &[1, 2, 3], |id, _| if id == 3 { zero } else { 1e-42 });
        let error = fill(&mut writer, &batch).unwrap_err();
        assert!(matches!(&error, Error::ZeroVector { column, row: 2 } if column == "v"), "{error}");
    }
    assert_eq!((writer.filled(), region.published(0)), (0, 0));
    let ids: Vec<u64> = (0..4000).collect();
    fill(&mut writer, &samples::narrow_batch(&schema, &ids, |_, _| 1.0)).unwrap();
    let error = fill(&mut writer, &samples::narrow_batch(&schema, &ids[..97], |_, _| 1.0)).unwrap_err();
    assert!(matches!(error, Error::RegionFull { shard: 0, rows: 4096 }), "{error}");
    assert_eq!(fill(&mut writer, &samples::narrow_batch(&schema, &ids[..96], |_, _| 1.0)).unwrap(), 4000..4096);
}

#[test]
fn a_view_sees_each_id_once() {
    let schema = samples::narrow(4);
    let region = Region::with_row_bits(schema.clone(), 2, ROW_BITS_MIN).unwrap();
    let mut writer = RegionWriter::new(region.clone(), 1);
    let visible = |view: &View| {
        let mut rows = Vec::new();
        region.visible_rows(view, 1, 0..u64::MAX, &mut rows);
        assert!(rows.iter().all(|&row| region.visible(view, row)));
        rows.into_iter().map(|row| region.locate(row).1).collect::<Vec<_>>()
    };
    let before = region.view();
    fill(&mut writer, &samples::narrow_batch(&schema, &[7, 8], |_, _| 1.0)).unwrap();
    assert!(region.view().is_empty(), "filled is not published");
    writer.publish(2);
    let first = region.view();
    fill(&mut writer, &samples::narrow_batch(&schema, &[7, 9, 7], |_, _| 2.0)).unwrap();
    writer.replace(&[(0, 2)]);
    writer.replace(&[(2, 4)]);
    assert_eq!(visible(&first), [0, 1], "the replacement is not published");
    writer.publish(5);
    let second = region.view();
    assert_eq!((visible(&before), visible(&first), visible(&second)), (vec![], vec![0, 1], vec![1, 3, 4]));
    writer.delete(1);
    assert_eq!((visible(&first), visible(&second)), (vec![0], vec![3, 4]));
    assert_eq!((region.dead_rows(1), region.dead_rows(0), region.rows()), (3, 0, 5));
    assert!(!region.is_live(region.row(1, 0)) && region.is_live(region.row(1, 3)));
}

#[test]
fn slots_taken_back_start_anew() {
    let schema = samples::schema(true);
    let region = Region::with_row_bits(schema.clone(), 1, ROW_BITS_MIN + 1).unwrap();
    let mut writer = RegionWriter::new(region.clone(), 0);
    let batch = |rows, seed| samples::batch(&schema, rows, 0, 3, &mut Random(seed));
    fill(&mut writer, &batch(10, 1)).unwrap();
    writer.publish(10);
    fill(&mut writer, &batch(6_000, 2)).unwrap();
    writer.replace(&[(0, 12)]);
    writer.replace(&[(12, 4_500)]);
    writer.delete(13);
    writer.unfill(11);
    assert_eq!((writer.filled(), region.dead_rows(0)), (11, 1), "what is published keeps its end");
    writer.unfill(10);
    let again = batch(4_500, 3);
    fill(&mut writer, &again).unwrap();
    writer.publish(4_510);
    let mut rows = Vec::new();
    region.visible_rows(&region.view(), 0, 10..4_510, &mut rows);
    assert_eq!(region.take(&rows, &all_columns(&schema)).unwrap(), again);
}

/// Few ids are written again and again, as a cache does: the region takes no more than a few chunks, a reader that holds a view
/// keeps what it sees, and a copy by chunks is the same.
#[test]
fn rows_written_round_and_round_use_the_same_chunks() {
    const IDS: u64 = 3_000;
    let schema = samples::schema(true);
    let region = Region::with_row_bits(schema.clone(), 1, ROW_BITS_MIN + 3).unwrap();
    let mut writer = RegionWriter::new(region.clone(), 0);
    let mut newest: HashMap<u64, u32> = HashMap::new();
    let columns = all_columns(&schema);
    let mut held: Option<(View, Vec<u32>, RecordBatch)> = None;
    let mut most = 0;
    for round in 0..60u64 {
        let batch = samples::batch(&schema, IDS as usize, 0, 4, &mut Random(round));
        let ordinals = fill(&mut writer, &batch).unwrap();
        let mut runs = Vec::new();
        writer.runs(ordinals.clone(), &mut runs);
        let slots = runs.iter().flat_map(|run| run.slots().zip(run.ordinal..));
        for (id, (slot, ordinal)) in (0..IDS).zip(slots) {
            if let Some(old) = newest.insert(id, slot) {
                writer.replace(&[(old, ordinal)]);
            }
        }
        writer.publish(ordinals.end);
        for chunk in writer.take_dead() {
            writer.retire(chunk);
        }
        while writer.recycle().is_some() {}
        if round % 10 == 3 {
            let view = region.view();
            let mut rows = Vec::new();
            region.visible_rows(&view, 0, 0..view.len(0), &mut rows);
            assert_eq!(rows.len() as u64, IDS);
            let copy = region.take(&rows, &columns).unwrap();
            assert_eq!(copy, batch);
            held = Some((view, rows, copy));
        } else if round % 10 == 6 {
            let (view, rows, copy) = held.take().unwrap();
            assert_eq!(region.take(&rows, &columns).unwrap(), copy, "held rows stay as they are");
            assert!(rows.iter().all(|&row| region.visible(&view, row)));
        }
        most = most.max(region.chunks.used(0));
        assert!(region.rows() - region.dead_rows(0) == IDS);
    }
    assert!(most <= 6, "{most} chunks for the rows of one and what a reader held");
    assert!(region.bytes_committed() < 8 * 4096 * (region.row_bytes + 600), "{} bytes", region.bytes_committed());
}

#[test]
fn a_part_that_is_restored_by_chunks_goes_on_where_it_was() {
    let schema = samples::schema(false);
    let region = Region::with_row_bits(schema.clone(), 1, ROW_BITS_MIN + 2).unwrap();
    let mut writer = RegionWriter::new(region.clone(), 0);
    fill(&mut writer, &samples::batch(&schema, 9_000, 0, 3, &mut Random(4))).unwrap();
    writer.publish(9_000);
    for slot in (0..9_000).filter(|slot| slot % 3 == 0 || (4_096..8_192).contains(slot)) {
        writer.delete(slot);
    }
    let view = region.view();
    let copy = Region::with_row_bits(schema.clone(), 1, ROW_BITS_MIN + 2).unwrap();
    let mut restored = RegionWriter::new(copy.clone(), 0);
    let image = |number, chunk, filled, present: &[u8]| {
        let (present, dead) = (present.to_vec(), vec![0; 512]);
        (number, chunk, filled, present, dead)
    };
    for run in region.runs(0, 0..9_000) {
        let live: Vec<u32> = run.slots().filter(|&slot| region.visible(&view, slot)).collect();
        let mut present = [0; 512];
        live.iter().for_each(|slot| present[(slot % 4096) as usize / 8] |= 1 << (slot % 8));
        if live.is_empty() {
            continue;
        }
        let (number, chunk, filled, present, dead) = image(run.ordinal / 4096, 2 - run.slot / 4096, run.len, &present);
        let image = ChunkImage { number, chunk, filled, present: &present, dead: &dead };
        let rows = region.take(&live, &all_columns(&schema)).unwrap();
        restored.restore_chunk(&image, Some(&BatchView::from_arrow(&schema, &rows).unwrap())).unwrap();
        assert!(restored.restore_chunk(&image, None).is_err(), "twice");
    }
    assert!(restored.finish_restore(8_192).is_err(), "rows behind the end");
    restored.finish_restore(9_000).unwrap();
    let content = |region: &Region| {
        let mut rows = Vec::new();
        region.visible_rows(&region.view(), 0, 0..u64::MAX, &mut rows);
        region.take(&rows, &all_columns(&schema)).unwrap()
    };
    assert_eq!(content(&copy), content(&region));
    assert_eq!(copy.rows() - copy.dead_rows(0), content(&region).num_rows() as u64);
    let more = samples::batch(&schema, 5_000, 9_000, 3, &mut Random(5));
    assert_eq!(fill(&mut restored, &more).unwrap(), 9_000..14_000);
    restored.publish(14_000);
    assert_eq!(content(&copy).slice(content(&region).num_rows(), 5_000), more);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A batch whose vectors are taken while it arrives is the same in the end, whatever comes between, and with the same codes.
    #[test]
    fn batches_may_be_taken_while_they_arrive(seed: u64, text_ids: bool, batches in 1usize..12) {
        let schema = samples::schema(text_ids);
        let region = Region::with_row_bits(schema.clone(), 1, ROW_BITS_MIN + 2).unwrap();
        let mut writer = RegionWriter::new(region.clone(), 0);
        let encoders: Vec<_> = (0..schema.vectors().len())
            .map(|vector| region.codes(vector).is_some().then(|| encoder(&schema, vector)))
            .collect();
        for (vector, encoder) in encoders.iter().enumerate() {
            encoder.iter().for_each(|encoder| writer.set_encoder(vector, encoder.clone()));
        }
        let mut random = Random(seed);
        let mut written: Vec<RecordBatch> = Vec::new();
        let mut rows = 0;
        let mut ahead = 0;
        for number in 0..batches as u64 {
            let count = 1 + random.below(1_500) as usize;
            let batch = samples::batch(&schema, count, rows, 3, &mut random);
            let message = batch::encode(&batch).unwrap();
            // What has not arrived is not a number.
            let mut buffer = vec![0xff; message.len()];
            let mut arrived = 0;
            let dies_at = if random.below(5) == 0 { random.below(message.len() as u64) as usize } else { message.len() };
            while arrived < dies_at {
                let more = (1 + random.below(message.len() as u64 / 2) as usize).min(dies_at - arrived);
                buffer[arrived..arrived + more].copy_from_slice(&message[arrived..arrived + more]);
                arrived += more;
                let before = writer.take_copied_bytes();
                writer.fill_ahead(&batch::Arriving { message: &buffer, arrived, number });
                ahead += writer.take_copied_bytes().saturating_sub(before);
                match random.below(8) {
                    0 => {
                        let between = samples::batch(&schema, 1 + random.below(50) as usize, rows, 3, &mut random);
                        let slots = fill(&mut writer, &between).unwrap();
                        writer.publish(slots.end);
                        rows = slots.end;
                        written.push(between);
                    }
                    1 => {
                        let wrong = samples::batch(&schema, 40, 7_000, 2, &mut random);
                        let slots = fill(&mut writer, &wrong).unwrap();
                        writer.unfill(slots.start);
                    }
                    2 if rows > 0 => {
                        for (vector, encoder) in encoders.iter().enumerate() {
                            encoder.iter().for_each(|encoder| _ = encoder.train(&[region.vectors(vector).get(0)]));
                        }
                    }
                    3 if rows > 0 => {
                        let ready = encoders.iter().flatten().all(|encoder| encoder.scale().is_trained());
                        let chunk = writer.locate(rows - 1).unwrap().1 / CHUNK_ROWS;
                        for (vector, encoder) in encoders.iter().enumerate() {
                            if ready && encoder.is_some() {
                                writer.encode(vector, chunk);
                            }
                        }
                    }
                    _ => {}
                }
            }
            if dies_at < message.len() {
                continue;
            }
            let slots = writer.fill_arrived(&BatchView::parse(&schema, &buffer).unwrap(), Some(number)).unwrap();
            prop_assert_eq!(slots.clone(), rows..rows + count as u64);
            writer.publish(slots.end);
            rows = slots.end;
            written.push(batch);
        }
        if rows == 0 {
            return Ok(());
        }
        prop_assert!(batches < 4 || ahead > 0, "nothing was taken ahead");
        let written = arrow::compute::concat_batches(schema.arrow(), &written).unwrap();
        let view = region.view();
        let pieces = region.runs(0, 0..rows).into_iter();
        let pieces = pieces.map(|run| region.batch(&view, 0, run.slot..run.slot + run.len, &all_columns(&schema)).unwrap());
        let found = arrow::compute::concat_batches(schema.arrow(), &pieces.collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(&found, &written);
        for (vector, encoder) in encoders.iter().enumerate() {
            let Some(encoder) = encoder else { continue };
            for row in (0..rows as u32).filter(|&row| region.has_code(vector, row)) {
                let bytes = region.vectors(vector).get(row);
                let mut expected = vec![0; schema.vectors()[vector].code_bytes()];
                encoder.encode(bytes, encoder.norm_squared(bytes), &mut expected);
                prop_assert_eq!(region.codes(vector).unwrap().get(row), expected, "row {}", row);
            }
        }
    }
}

#[test]
fn codes_are_made_in_the_pass_or_later_and_have_no_gaps() {
    let schema = samples::narrow(8);
    let region = Region::with_row_bits(schema.clone(), 1, ROW_BITS_MIN).unwrap();
    let mut writer = RegionWriter::new(region.clone(), 0);
    let encoder = encoder(&schema, 0);
    writer.set_encoder(0, encoder.clone());
    let batch = |ids: std::ops::Range<u64>| {
        samples::narrow_batch(&schema, &ids.collect::<Vec<_>>(), |id, i| (id as f32 + 1.0) * (i as f32 - 3.3))
    };
    let coded = |region: &Region| (0..4096).take_while(|&row| region.has_code(0, row)).count();
    fill(&mut writer, &batch(0..10)).unwrap();
    writer.publish(10);
    assert_eq!(coded(&region), 0);
    encoder.train(&(0..10).map(|row| region.vectors(0).get(row)).collect::<Vec<_>>());
    fill(&mut writer, &batch(10..20)).unwrap();
    writer.publish(15);
    assert_eq!(coded(&region), 0, "no codes above a gap");
    writer.encode(0, 0);
    assert_eq!(coded(&region), 15, "codes of unpublished rows are not for readers");
    writer.publish(20);
    assert_eq!(coded(&region), 20);
    fill(&mut writer, &batch(20..30)).unwrap();
    assert_eq!(coded(&region), 20, "made in the pass");
    writer.unfill(25);
    fill(&mut writer, &batch(25..28)).unwrap();
    writer.publish(28);
    assert_eq!(coded(&region), 28);
    let codes = region.codes(0).unwrap();
    for row in 0..28 {
        let mut expected = vec![0; 8];
        let vector = region.vectors(0).get(row);
        encoder.encode(vector, encoder.norm_squared(vector), &mut expected);
        assert_eq!(codes.get(row), expected, "row {row}");
    }
    assert_eq!(encoder.scale().encoded_values(), 8 * (20 + 10 + 3));
}

/// One writer fills, replaces, deletes and publishes; readers check that every row of a view is whole and that a view never holds
/// an id twice, and holds every id that was never deleted.
#[test]
fn readers_see_whole_rows_and_each_id_once() {
    const IDS: u64 = 40;
    let schema = samples::narrow(16);
    let region = Region::with_row_bits(schema.clone(), 1, 17).unwrap();
    let mut writer = RegionWriter::new(region.clone(), 0);
    let encoder = encoder(&schema, 0);
    encoder.train(&[[1.0f32; 16].map(f32::to_le_bytes).as_flattened()]);
    writer.set_encoder(0, encoder.clone());
    let done = AtomicBool::new(false);
    let checked = Mutex::new(0u64);
    let mut random = Random(9);
    let mut newest: HashMap<u64, u32> = HashMap::new();
    let mut runs = Vec::new();
    let mut write = |writer: &mut RegionWriter, end: u64| {
        while writer.filled() < end {
            let first = writer.filled();
            let ids: Vec<u64> = match first {
                0 => (0..IDS).collect(),
                _ => (0..1 + random.below(30)).map(|_| random.below(IDS)).collect(),
            };
            let elements = ids.iter().zip(first..).map(|(&id, ordinal)| (1 + ordinal) as f32 + id as f32 * 0.25);
            let elements: Vec<f32> = elements.collect();
            let next = std::cell::Cell::new(0);
            let batch = samples::narrow_batch(&schema, &ids, |_, i| {
                let row = next.get() / 16;
                next.set(next.get() + 1);
                elements[row] + i as f32
            });
            let ordinals = fill(writer, &batch).unwrap();
            writer.runs(ordinals.clone(), &mut runs);
            for (&id, (slot, ordinal)) in ids.iter().zip(runs.iter().flat_map(|run| run.slots().zip(run.ordinal..))) {
                if let Some(old) = newest.insert(id, slot) {
                    writer.replace(&[(old, ordinal)]);
                }
            }
            writer.publish(ordinals.end);
            for chunk in writer.take_dead() {
                writer.retire(chunk);
            }
            while writer.recycle().is_some() {}
            if random.below(8) == 0
                && let Some(row) = newest.remove(&0)
            {
                writer.delete(row);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut expected = vec![0; 16];
                while !done.load(Ordering::Relaxed) {
                    let view = region.view();
                    let len = view.len(0);
                    let mut seen = HashMap::new();
                    let rows: Vec<u32> =
                        region.runs(0, len.saturating_sub(4096)..len).iter().flat_map(Run::slots).collect();
                    let rows: Vec<u32> = rows.into_iter().filter(|&row| region.visible(&view, row)).collect();
                    let mut by_run = Vec::new();
                    for run in region.runs(0, len.saturating_sub(4096)..len) {
                        region.visible_in_chunk(&view, run.slot..run.slot + run.len, &mut by_run);
                    }
                    // Deleted rows have gone from every view meanwhile, and no other.
                    assert!(by_run.iter().all(|row| rows.contains(row)));
                    assert!(rows.iter().all(|row| by_run.contains(row) || !region.visible(&view, *row)));
                    for &row in &rows {
                        let IdRef::U64(id) = region.id(row) else { panic!("a u64 id") };
                        let vector = region.vectors(0).get(row);
                        let value = |i: usize| f32::from_le_bytes(vector[i * 4..i * 4 + 4].try_into().unwrap());
                        assert!((0..16).all(|i| value(i) == value(0) + i as f32), "a row is whole");
                        assert!(region.has_code(0, row), "codes are published with their rows");
                        let ordinal = region.chunks.ordinal(0, row).unwrap();
                        assert_eq!(value(0), (1 + ordinal) as f32 + id as f32 * 0.25);
                        assert_eq!(seen.insert(id, row), None, "id {id} is seen once");
                    }
                    if len >= IDS {
                        assert!((1..IDS).all(|id| seen.contains_key(&id)), "every id is seen");
                    }
                    if let Some(&last) = rows.last() {
                        let vector = region.vectors(0).get(last);
                        encoder.encode(vector, encoder.norm_squared(vector), &mut expected);
                        assert_eq!(region.codes(0).unwrap().get(last), expected);
                    }
                    *checked.lock().unwrap() += 1;
                }
            });
        }
        write(&mut writer, 100_000);
        while *checked.lock().unwrap() <= 10 {
            let end = writer.filled() + 1000;
            write(&mut writer, end);
        }
        done.store(true, Ordering::Relaxed);
    });
    // Readers keep chunks from being used again; once they have gone, nothing does.
    let used = region.chunks.used(0);
    let end = writer.filled() + 50_000;
    write(&mut writer, end);
    assert_eq!(region.chunks.used(0), used.max(4), "chunks for {IDS} rows that live");
}

#[test]
fn memory_of_a_row_keeps_to_its_budget() {
    let schema = samples::narrow(384);
    let region = Region::new(schema.clone(), 2).unwrap();
    assert_eq!(region.row_bits(), 26);
    let mut writer = RegionWriter::new(region.clone(), 1);
    let encoder = encoder(&schema, 0);
    encoder.train(&[[1.0f32; 384].map(f32::to_le_bytes).as_flattened()]);
    writer.set_encoder(0, encoder);
    let ids: Vec<u64> = (0..10_000).collect();
    fill(&mut writer, &samples::narrow_batch(&schema, &ids, |_, _| 0.5)).unwrap();
    let (bytes, rows) = (region.bytes_committed(), 10_000);
    writer.publish(10_000);
    assert_eq!(region.bytes_committed(), rows * (384 * 4 + 384 / 2 + 8 + 8), "{bytes} bytes before they are published");
}

#[test]
fn address_space_keeps_to_its_limit() {
    let wide = samples::narrow(8192);
    assert!((reserved_row_bytes(&wide) * 64) << row_bits_for(&wide, 64) <= COLLECTION_SPAN_BYTES_MAX);
    assert_eq!(row_bits_max(64), 26);
    assert_eq!(row_bits_max(1), 26);
    let region = Region::new(samples::narrow(4), 64).unwrap();
    assert_eq!(region.row(63, region.rows_max() - 1), u32::MAX - 4096, "no row id is the largest number");
}

/// Columns are added to rows that are published, filled and taken back; later rows come with them and without.
#[test]
fn columns_are_added_to_rows_that_are_there() {
    use arrow::datatypes::{DataType, Field};
    let before = samples::narrow(4);
    let texts = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let more = [
        Field::new("text", DataType::Utf8, true),
        Field::new("number", DataType::Int16, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("tags", texts, true),
    ];
    let fields: Vec<_> = before.arrow().fields().iter().map(|field| field.as_ref().clone()).chain(more).collect();
    let after = Schema::from_arrow(&arrow::datatypes::Schema::new(fields)).unwrap();
    let after = Arc::new(before.extended(after).unwrap());
    let region = Region::with_row_bits(before.clone(), 2, ROW_BITS_MIN + 2).unwrap();
    let mut writer = RegionWriter::new(region.clone(), 1);
    let narrow = |ids: std::ops::Range<u64>| samples::narrow_batch(&before, &ids.collect::<Vec<_>>(), |_, _| 1.0);
    let fill_narrow = |writer: &mut RegionWriter, ids: std::ops::Range<u64>| {
        writer.fill(&BatchView::from_arrow(&before, &narrow(ids)).unwrap()).unwrap()
    };
    fill_narrow(&mut writer, 0..5_000);
    writer.publish(5_000);
    fill_narrow(&mut writer, 5_000..5_100);

    let extended = region.extended(after.clone()).unwrap();
    writer.adopt(extended.clone()).unwrap();
    writer.give_up(region.clone());
    writer.adopt(extended.clone()).unwrap();
    writer.unfill(5_050);
    let wide = samples::batch(&after, 50, 5_050, 3, &mut Random(9));
    assert_eq!(fill(&mut writer, &wide).unwrap(), 5_050..5_100);
    fill_narrow(&mut writer, 5_100..5_110);
    let undone = samples::batch(&after, 5_000, 9_000, 3, &mut Random(10));
    fill(&mut writer, &undone).unwrap();
    writer.unfill(5_110);
    let last = samples::batch(&after, 4_000, 5_110, 0, &mut Random(11));
    fill(&mut writer, &last).unwrap();
    writer.publish(writer.filled());

    let view = extended.view();
    assert_eq!(view.len(1), 9_110);
    let mut rows = Vec::new();
    extended.visible_rows(&view, 1, 0..9_110, &mut rows);
    let found = extended.take(&rows, &all_columns(&after)).unwrap();
    for column in 2..6 {
        assert_eq!(found.column(column).slice(0, 5_050).null_count(), 5_050, "column {column}");
        assert_eq!(found.column(column).slice(5_100, 10).null_count(), 10, "column {column}");
    }
    let columns = |batch: &RecordBatch| batch.columns()[2..].to_vec();
    assert_eq!(columns(&found.slice(5_050, 50)), columns(&wide));
    assert_eq!(columns(&found.slice(5_110, 4_000)), columns(&last));
    // Who holds the region from before reads the same rows, without the new columns.
    let old = region.take(&rows, &[0, 1]).unwrap();
    assert_eq!(old.columns(), &found.columns()[..2]);
    assert_eq!(region.rows(), extended.rows());
    assert!(extended.row_bytes() > region.row_bytes() && extended.bytes_committed() > 0);
}
