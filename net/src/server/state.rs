//! The server as a whole: what the admin plane and STATS show.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use engine::collection::{Collection, memory_in_use};
use engine::eviction::Evictions;
use engine::namespace::{Namespace, Usage};
use engine::recovery::Progress;
use engine::shard::ShardMetrics;
use serde_json::json;

use crate::admin::{AdminSource, Readiness};

/// Shared by all threads; shards only write their own counters.
pub struct ServerState {
    started: Instant,
    shards: Vec<Arc<ShardMetrics>>,
    disk_bytes: AtomicU64,
    memory_budget: u64,
    serving: AtomicBool,
    serving_after_us: AtomicU64,
    recovered_after_us: AtomicU64,
    /// What recovery has done so far.
    pub progress: Arc<Progress>,
    /// Collections that were evicted.
    pub evictions: Arc<Evictions>,
    /// For the admin plane alone; shards and the control thread know their collections themselves.
    collections: Mutex<Vec<std::sync::Weak<Collection>>>,
}

impl ServerState {
    /// A server that does not serve yet.
    pub fn new(shards: usize, memory_budget: u64) -> ServerState {
        ServerState {
            started: Instant::now(),
            shards: (0..shards).map(|_| Arc::default()).collect(),
            disk_bytes: AtomicU64::new(0),
            memory_budget,
            serving: AtomicBool::new(false),
            serving_after_us: AtomicU64::new(0),
            recovered_after_us: AtomicU64::new(0),
            progress: Arc::new(Progress::new(shards)),
            evictions: Arc::default(),
            collections: Mutex::default(),
        }
    }

    /// Memory above which writes are refused, in bytes; 0: none.
    pub fn memory_budget(&self) -> u64 {
        self.memory_budget
    }

    /// Counters of one shard.
    pub fn shard_metrics(&self, shard: usize) -> Arc<ShardMetrics> {
        self.shards[shard].clone()
    }

    /// Counters of all shards.
    pub fn all_metrics(&self) -> Vec<Arc<ShardMetrics>> {
        self.shards.clone()
    }

    /// Connections of all shards.
    pub fn connections(&self) -> usize {
        self.shards.iter().map(|shard| shard.connections.get() as usize).sum()
    }

    /// Clients are served from now on, with the rows that are there so far.
    pub fn set_serving(&self) {
        self.serving_after_us.store(self.elapsed_us(), Ordering::Relaxed);
        self.serving.store(true, Ordering::Release);
    }

    /// Counts a shard that has all its rows; true for the last.
    pub fn shard_recovered(&self) -> bool {
        self.progress.shard_done();
        let is_last = self.progress.is_complete();
        if is_last {
            self.recovered_after_us.store(self.elapsed_us(), Ordering::Relaxed);
        }
        is_last
    }

    fn elapsed_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// The data directory takes so much on disk.
    pub fn set_disk_bytes(&self, bytes: u64) {
        self.disk_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Shows a collection in the metrics until it is dropped.
    pub fn watch(&self, collection: &Arc<Collection>) {
        let mut all = self.collections.lock().expect("no holder panics");
        // What had fewer columns is gone, once nobody reads it any more.
        let is_same = |known: &Arc<Collection>| known.spec.id == collection.spec.id && !Arc::ptr_eq(known, collection);
        all.retain(|known| known.upgrade().is_some_and(|known| !is_same(&known)));
        if !all.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(collection))) {
            all.push(Arc::downgrade(collection));
        }
    }

    /// Figures of the server, as STATS gives them.
    pub fn stats<'a>(&self, collections: impl Iterator<Item = &'a Arc<Collection>>) -> serde_json::Value {
        let shards: Vec<_> = self
            .shards
            .iter()
            .map(|shard| {
                let figures = shard.each().into_iter().map(|(name, _, _, value)| (name.to_owned(), json!(value)));
                serde_json::Value::Object(figures.collect())
            })
            .collect();
        let collections: Vec<_> = collections.collect();
        let memory =
            json!({ "in_use_bytes": memory_in_use(collections.iter().copied()), "budget_bytes": self.memory_budget });
        let mut collections: Vec<_> = collections.into_iter().map(collection_json).collect();
        collections.sort_by_key(|collection| collection["id"].as_u64());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "isa": format!("{:?}", kernels::detect().isa()),
            "uptime_ms": self.started.elapsed().as_millis() as u64,
            "serving_after_us": self.serving_after_us.load(Ordering::Relaxed),
            "recovery": self.recovery_json(),
            "memory": memory,
            "evictions": self.evictions_json(),
            "resident_bytes": resident_bytes(),
            "disk_bytes": self.disk_bytes.load(Ordering::Relaxed),
            "collections": collections,
            "shards": shards,
        })
    }

    fn evictions_json(&self) -> serde_json::Value {
        let figures = self.evictions.each().into_iter().map(|(name, _, value)| (name.to_owned(), json!(value)));
        serde_json::Value::Object(figures.collect())
    }

    fn recovery_json(&self) -> serde_json::Value {
        let (done_bytes, total_bytes) = self.progress.bytes();
        let (shards_done, shards) = self.progress.shards();
        json!({
            "complete": self.progress.is_complete(),
            "complete_after_us": self.recovered_after_us.load(Ordering::Relaxed),
            "shards_done": shards_done,
            "shards": shards,
            "done_bytes": done_bytes,
            "total_bytes": total_bytes,
        })
    }
}

fn collection_json(collection: &Arc<Collection>) -> serde_json::Value {
    let vectors: Vec<_> = collection
        .spec
        .schema
        .vectors()
        .iter()
        .zip(&collection.vectors)
        .map(|(column, index)| {
            let scale = &index.scale;
            json!({
                "column": column.name,
                "dimension": column.dimension,
                "element": format!("{:?}", column.kind).to_lowercase(),
                "metric": engine::schema::metric_name(column.metric),
                "index": if column.index.flat { "flat" } else { "hnsw" },
                "codes": column.codes.name(),
                "code_scale": scale.get(),
                "codes_fit": scale.fits(),
                "rerank": column.rerank,
                "vectors": if column.on_disk { "disk" } else { "memory" },
                "encoded_values": scale.encoded_values(),
                "saturated_values": scale.saturated_values(),
                "recall": index.recall.get().map(|recall| (recall * 1e4).round() / 1e4),
                "recall_samples": index.recall.samples(),
                "unrefined_rows": index.unrefined_rows(),
                "is_refining": index.is_to_be_refined(),
            })
        })
        .collect();
    json!({
        "id": collection.spec.id,
        "name": collection.spec.name,
        "namespace": collection.namespace().map(|namespace| namespace.name()),
        "evictable": collection.spec.options.evictable,
        "rows": collection.live_rows(),
        "dead_rows": collection.dead_rows(),
        "index_backlog_rows": collection.index_backlog(),
        "has_graph": !collection.is_flat(),
        "bytes_committed": collection.bytes_committed(),
        "vector_bytes_on_disk": collection.region.bytes_on_disk(),
        "text_bytes": collection.text.bytes(),
        "vectors": vectors,
        "edges": collection.edges.as_ref().map(|edges| json!({ "held": edges.len(), "bytes": edges.bytes() })),
    })
}

impl AdminSource for ServerState {
    fn readiness(&self) -> Readiness {
        let (done_bytes, total_bytes) = self.progress.bytes();
        let serving = self.serving.load(Ordering::Acquire);
        Readiness { ready: serving && self.progress.is_complete(), serving, done_bytes, total_bytes }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        let each: Vec<_> = self.shards.iter().map(|shard| shard.each()).collect();
        for (index, (name, help, kind, _)) in each[0].iter().enumerate() {
            let full = if *kind == "counter" { format!("broadhead_{name}_total") } else { format!("broadhead_{name}") };
            let _ = writeln!(text, "# HELP {full} {}\n# TYPE {full} {kind}", help.trim());
            for (shard, figures) in each.iter().enumerate() {
                let _ = writeln!(text, "{full}{{shard=\"{shard}\"}} {}", figures[index].3);
            }
        }
        let collections: Vec<Arc<Collection>> = {
            let all = self.collections.lock().expect("no holder panics");
            all.iter().filter_map(std::sync::Weak::upgrade).collect()
        };
        type Figure = (&'static str, &'static str, fn(&Collection) -> u64);
        let figures: [Figure; 6] = [
            ("rows", "Live rows.", Collection::live_rows),
            ("dead_rows", "Rows deleted or replaced.", Collection::dead_rows),
            ("index_backlog_rows", "Rows that a graph has yet to take in.", Collection::index_backlog),
            ("committed_bytes", "Memory committed for rows, graphs and text indexes.", Collection::bytes_committed),
            ("vector_disk_bytes", "Vectors that are on disk and not in memory.", |collection| {
                collection.region.bytes_on_disk()
            }),
            ("text_bytes", "Memory of its text indexes.", |collection| collection.text.bytes()),
        ];
        for (name, help, value) in figures {
            let _ =
                writeln!(text, "# HELP broadhead_collection_{name} {help}\n# TYPE broadhead_collection_{name} gauge");
            for collection in &collections {
                let label = &collection.spec.name;
                let _ = writeln!(text, "broadhead_collection_{name}{{collection=\"{label}\"}} {}", value(collection));
            }
        }
        write_namespaces(&mut text, &collections);
        write_recall(&mut text, &collections);
        for (name, help, value) in self.evictions.each() {
            let full = format!("broadhead_{name}_total");
            let _ = writeln!(text, "# HELP {full} {help}\n# TYPE {full} counter\n{full} {value}");
        }
        let (done, total) = self.progress.bytes();
        for (name, help, value) in [
            ("resident_bytes", "Memory resident.", resident_bytes()),
            ("disk_bytes", "Disk space that the data directory takes.", self.disk_bytes.load(Ordering::Relaxed)),
            ("recovery_done_bytes", "Bytes of snapshot and log gone through since the start.", done),
            ("recovery_total_bytes", "Bytes of snapshot and log to go through at a start, at most.", total),
            ("memory_in_use_bytes", "Memory of rows and graphs.", memory_in_use(&collections)),
            (
                "memory_budget_bytes",
                "Memory of rows and graphs above which writes are refused; 0: none.",
                self.memory_budget,
            ),
            ("recovered", "One when every shard has all its rows.", u64::from(self.progress.is_complete())),
        ] {
            let _ = writeln!(
                text,
                "# HELP broadhead_{name} {help}\n# TYPE broadhead_{name} gauge\nbroadhead_{name} {value}"
            );
        }
        text
    }
}

/// Writes what every namespace has that has collections.
fn write_namespaces(text: &mut String, collections: &[Arc<Collection>]) {
    let mut all: Vec<&Arc<Namespace>> = collections.iter().filter_map(|collection| collection.namespace()).collect();
    all.sort_unstable_by_key(|namespace| namespace.name());
    all.dedup_by_key(|namespace| namespace.name());
    type Figure = (&'static str, &'static str, &'static str, fn(&Namespace, Usage) -> u64);
    let figures: [Figure; 3] = [
        ("rows", "gauge", "Live rows of a namespace.", |_, usage| usage.rows),
        ("committed_bytes", "gauge", "Memory of rows and graphs of a namespace.", |_, usage| usage.bytes),
        ("refused_writes_total", "counter", "Writes refused for the quotas of a namespace.", |namespace, _| {
            namespace.refused()
        }),
    ];
    for (name, kind, help, value) in figures.into_iter().filter(|_| !all.is_empty()) {
        let name = format!("broadhead_namespace_{name}");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for namespace in &all {
            let value = value(namespace, Usage::of(namespace, collections));
            let _ = writeln!(text, "{name}{{namespace=\"{}\"}} {value}", namespace.name());
        }
    }
}

/// Writes the recall of every vector column whose queries were sampled.
fn write_recall(text: &mut String, collections: &[Arc<Collection>]) {
    let each = collections.iter().flat_map(|collection| {
        let columns = collection.spec.schema.vectors().iter().zip(&collection.vectors);
        columns.map(|(column, index)| (&collection.spec.name, label(&column.name), &index.recall))
    });
    let sampled: Vec<_> =
        each.filter_map(|(name, column, estimate)| Some((name, column, estimate.get()?, estimate.samples()))).collect();
    let name = "broadhead_collection_recall";
    let _ = writeln!(
        text,
        "# HELP {name} Share of the exact results that queries got of late, as sampled in idle time.\n# TYPE {name} gauge"
    );
    for (collection, column, recall, _) in &sampled {
        let _ = writeln!(text, "{name}{{collection=\"{collection}\",column=\"{column}\"}} {recall}");
    }
    let name = "broadhead_collection_recall_samples_total";
    let _ = writeln!(text, "# HELP {name} Queries that were sampled for it.\n# TYPE {name} counter");
    for (collection, column, _, samples) in &sampled {
        let _ = writeln!(text, "{name}{{collection=\"{collection}\",column=\"{column}\"}} {samples}");
    }
}

/// A name as the value of a label.
fn label(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Resident memory of this process, in bytes; 0 where /proc does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
