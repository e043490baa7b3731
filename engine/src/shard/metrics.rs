//! Counters of one shard. One thread writes, any thread reads; each is exact, together they are no moment in time.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or gauge with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning thread does.
    pub fn add(&self, count: u64) {
        // One writer: a load and a store are enough and cost no locked instruction.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Sets; only the owning thread does.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Value at about this moment.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:literal),* $(,)?) => {
        /// Counters of one shard.
        // Aligned, so that no two shards write to one cache line (or to the pair that is fetched together).
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ShardMetrics {
            $($(#[doc = $doc])* pub $name: Counter,)*
            /// Times the shard was found not turning; written by the watchdog.
            pub stalls: AtomicU64,
            /// One while the shard is found not turning; written by the watchdog.
            pub stalled: AtomicU64,
        }

        impl ShardMetrics {
            /// Name, help text, kind (`counter` or `gauge`) and value of each.
            pub fn each(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
                vec![
                    $((stringify!($name), concat!($($doc),*), $kind, self.$name.get()),)*
                    ("stalls", "Times the shard was found not turning for 2 s.", "counter", self.stalls.load(Ordering::Relaxed)),
                    ("stalled", "One while the shard is not turning.", "gauge", self.stalled.load(Ordering::Relaxed)),
                ]
            }
        }
    };
}

counters! {
    /// Turns of the shard's loop.
    turns: "counter",
    /// Times the shard went to sleep.
    sleeps: "counter",
    /// Connections open.
    connections: "gauge",
    /// Requests answered.
    requests: "counter",
    /// Requests answered with an error.
    errors: "counter",
    /// Bytes received from clients.
    received_bytes: "counter",
    /// Bytes of writes copied into the columns.
    filled_bytes: "counter",
    /// Bytes of received frames copied besides: heads of large frames, rests of buffers, small frames gathered for the log, and
    /// frames whose rows live elsewhere.
    copied_bytes: "counter",
    /// Bytes sent to clients.
    sent_bytes: "counter",
    /// Rows written.
    rows_written: "counter",
    /// Rows that replaced an older one.
    rows_replaced: "counter",
    /// Rows deleted.
    rows_deleted: "counter",
    /// Rows deleted because their time was over.
    rows_expired: "counter",
    /// Queries answered.
    queries: "counter",
    /// Queries searched for on behalf of other shards, which count them as answered.
    queries_helped: "counter",
    /// Memory of masks that are kept for filters, in bytes.
    filter_mask_bytes: "gauge",
    /// Rows put into a graph.
    rows_indexed: "counter",
    /// Rows of a graph that were linked anew in idle time.
    rows_refined: "counter",
    /// Chunks of dead rows taken out of use, to be filled again.
    chunks_reclaimed: "counter",
    /// Rows moved out of chunks of which few lived.
    rows_moved: "counter",
    /// Chunks that were emptied in this way.
    chunks_compacted: "counter",
    /// Reverse edges taken from other shards.
    edges_received: "counter",
    /// Bytes of the log's segments on disk.
    wal_bytes: "gauge",
    /// Bytes of the log that no snapshot has made superfluous.
    wal_live_bytes: "gauge",
    /// Bytes appended to the log since the start.
    wal_appended_bytes: "counter",
    /// Writes sent to the disk for the log.
    wal_writes: "counter",
    /// One when a failed write has made the shard read-only.
    poisoned: "gauge",
    /// Times a connection was held back for want of room somewhere.
    backpressure: "counter",
    /// Time connections were held back because the log had no room, in microseconds.
    held_disk_us: "counter",
    /// Time connections were held back because all buffers were in use, in microseconds.
    held_buffers_us: "counter",
    /// Time connections were held back because too many rows waited for the indexer, in microseconds.
    held_index_lag_us: "counter",
    /// Time connections were held back because the log was being replayed, in microseconds.
    held_recovery_us: "counter",
    /// Writes refused because the memory budget was used up.
    refused_for_memory: "counter",
}
