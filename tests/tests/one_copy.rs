//! One copy, and no allocation per row: what the ingest path of a server costs beside the disk.
//!
//! An allocator counts by thread. The client and the control thread are others than the shards'; on those, the allocations of the
//! data plane and of tasks that serve are told from those of the indexer. Copies are counted by the server where it makes them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use arrow::array::{FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use engine::shard::executor::{self, Class};
use net::client::{Ack, Client, Collection, CollectionOptions};
use tests::server::Server;

const DIMENSION: usize = 384;
/// Rows of a batch, batches to come to rest, batches measured.
const SIZES: [(usize, usize, usize); 3] = [(100, 30, 60), (1_000, 10, 20), (10_000, 3, 6)];
/// Frames above this go to disk from where they were received; smaller ones are gathered, which copies them.
const GATHERED_BYTES_MAX: u64 = 256 << 10;
/// Head of a large frame that comes with the receive before it.
const HEAD_BYTES_MAX: u64 = 16 << 10;
/// Allocations of the data plane for one batch: see "What is copied and allocated" in the README of the engine.
const ALLOCATIONS_MAX: f64 = 6.0;
/// What batches of different sizes may differ by: sleeps, gathered writes and new segments do not come at equal times.
const DIFFERENCE_MAX: f64 = 2.0;

/// Times that each size is measured; the least counts.
const MEASURES: usize = 3;

const THREADS_MAX: usize = 256;

/// Counts of one thread, by what ran: 0 data plane, or a thread that is no shard; 1 tasks that serve; 2 indexing.
struct Thread {
    id: AtomicU32,
    allocations: [AtomicU64; 3],
    bytes: [AtomicU64; 3],
}

static THREADS: [Thread; THREADS_MAX] = [const {
    Thread {
        id: AtomicU32::new(0),
        allocations: [const { AtomicU64::new(0) }; 3],
        bytes: [const { AtomicU64::new(0) }; 3],
    }
}; THREADS_MAX];
static THREADS_SEEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn count(bytes: usize) {
    // A thread that ends allocates after its locals are gone; it is of no interest.
    let _ = PLACE.try_with(|place| {
        if place.get() == usize::MAX {
            place.set(THREADS_SEEN.fetch_add(1, Ordering::Relaxed));
            // SAFETY: a system call without arguments.
            let id = unsafe { libc::syscall(libc::SYS_gettid) };
            if let Some(thread) = THREADS.get(place.get()) {
                thread.id.store(id as u32, Ordering::Relaxed);
            }
        }
        let class = match executor::running() {
            None => 0,
            Some(Class::Serve) => 1,
            Some(Class::Index | Class::Idle) => 2,
        };
        if let Some(thread) = THREADS.get(place.get()) {
            thread.allocations[class].fetch_add(1, Ordering::Relaxed);
            thread.bytes[class].fetch_add(bytes as u64, Ordering::Relaxed);
        }
    });
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of the shards' threads: (by data plane and serving tasks, their bytes, by the indexer).
fn counted() -> [u64; 3] {
    let mut sums = [0; 3];
    for thread in &THREADS[..THREADS_SEEN.load(Ordering::Relaxed).min(THREADS_MAX)] {
        let id = thread.id.load(Ordering::Relaxed);
        let name = std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap_or_default();
        if name.starts_with("shard-") {
            let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            sums[0] += get(&thread.allocations[0]) + get(&thread.allocations[1]);
            sums[1] += get(&thread.bytes[0]) + get(&thread.bytes[1]);
            sums[2] += get(&thread.allocations[2]);
        }
    }
    sums
}

/// Counters of the only shard: received, filled in, copied besides.
fn copied(client: &Client) -> [u64; 3] {
    let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    ["received_bytes", "filled_bytes", "copied_bytes"].map(|name| stats["shards"][0][name].as_u64().expect("a counter"))
}

fn batch(schema: &Schema, rows: usize) -> RecordBatch {
    let values = (0..rows * DIMENSION).map(|i| (i % 1_013) as f32 - 506.5);
    let DataType::FixedSizeList(item, length) = schema.field(1).data_type() else { unreachable!("a list") };
    let vectors =
        FixedSizeListArray::new(item.clone(), *length, Arc::new(Float32Array::from_iter_values(values)), None);
    let ids = UInt64Array::from_iter_values(0..rows as u64);
    RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(ids), Arc::new(vectors)]).expect("of the schema")
}

fn write(collection: &Collection, batch: &RecordBatch, times: usize) {
    for _ in 0..times {
        let report = collection.write(batch, Ack::Durable).expect("a good batch").wait().expect("written");
        assert_eq!(report.rows, batch.num_rows() as u64);
    }
}

/// The ids are the same in every batch, so that nothing grows but the columns: a table of ids that doubles would allocate once.
#[test]
fn a_batch_costs_one_copy_and_a_few_allocations_whatever_its_rows() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 1);
    let client = server.client();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let schema = Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("v", DataType::FixedSizeList(item, DIMENSION as i32), false),
    ]);
    let collection = client.create_collection("c", &schema, CollectionOptions::default()).expect("a good schema");
    let mut of_size = Vec::new();
    for (rows, before, measured) in SIZES {
        let batch = batch(&schema, rows);
        write(&collection, &batch, before);
        // What belongs to no batch, a bulk round that happens to begin or a table that doubles, does not come each time.
        let measure = |_| {
            let copied_before = copied(&client);
            let counted_before = counted();
            write(&collection, &batch, measured);
            let counts: [u64; 3] = std::array::from_fn(|i| counted()[i] - counted_before[i]);
            let copies: [u64; 3] = std::array::from_fn(|i| copied(&client)[i] - copied_before[i]);
            (counts, copies)
        };
        let least = (0..MEASURES).map(measure).min_by_key(|(counts, _)| counts[0]);
        let ([allocations, bytes, indexing], [received, filled, others]) = least.expect("one at least");

        let batches = measured as f64;
        let (allocations, bytes) = (allocations as f64 / batches, bytes as f64 / batches);
        println!(
            "{rows} rows: {allocations:.2} allocations and {bytes:.0} bytes of them a batch ({indexing} in all by the indexer); \
             {received} bytes received, {filled} filled in, {others} copied besides"
        );
        assert!(allocations <= ALLOCATIONS_MAX, "{allocations} allocations for a batch of {rows} rows");
        assert!(bytes < 4096.0, "{bytes} bytes allocated for a batch of {rows} rows");
        of_size.push(allocations);

        let frame_bytes = received / measured as u64;
        assert!(filled <= received && filled > received / 2, "columns hold what came: {filled} of {received}");
        // Requests for counters are received, too, and are copied by nobody.
        let gathered = if frame_bytes <= GATHERED_BYTES_MAX { received } else { 0 };
        let others_max = gathered + HEAD_BYTES_MAX * measured as u64;
        assert!(others <= others_max, "{others} bytes copied besides of {received}, {rows} rows a batch");
    }
    let (least, most) = of_size.iter().fold((f64::MAX, 0f64), |(least, most), x| (least.min(*x), most.max(*x)));
    assert!(most - least <= DIFFERENCE_MAX, "allocations a batch: {of_size:?} for {SIZES:?}");
    server.stop();
}
