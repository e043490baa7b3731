//! The control thread: creates and drops collections, writes snapshots, and watches that every shard turns.
//!
//! It is the last participant of the mesh and the only writer of the manifest. It does one thing at a time and may wait
//! for the disk; a shard that asks for something goes on meanwhile. What is asked for before every shard has all its rows
//! waits until then.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::collection::{Collection, CollectionOptions, CollectionSpec};
use crate::error::{Error, Result};
use crate::eviction::{self, Evictions};
use crate::limits;
use crate::manifest::{CollectionEntry, Manifest};
use crate::mesh::Port;
use crate::namespace::{Namespace, Quota, Usage};
use crate::probes;
use crate::schema::Schema;
use crate::shard::message::{ControlReply, ControlRequest};
use crate::shard::{Message, ShardMetrics};
use crate::snapshot::{self, Point};
use crate::wal::Lsn;

/// A shard that has not turned for this long is reported.
pub const STALL: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(250);
/// A snapshot is worth while when the log is one part in so many longer than the rows that live.
const SNAPSHOT_SLACK: u64 = 2;
/// Wait after a snapshot that failed.
const RETRY: Duration = Duration::from_secs(30);

/// How the control thread works.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// Data directory.
    pub data: PathBuf,
    /// How often each shard is asked to show that it turns; `None`: never, and nothing is reported.
    pub heartbeat: Option<Duration>,
    /// Bytes of log, over all shards, that set off a snapshot; 0: none is made by itself.
    pub snapshot_wal_bytes: u64,
    /// Bytes of rows and graphs near which collections are evicted that may be; 0: never.
    pub memory_budget: u64,
    /// Counts them.
    pub evictions: Arc<Evictions>,
    /// What rows with a time to live go by.
    pub clock: Arc<Clock>,
}

/// The control thread's state.
pub struct Control {
    options: ControlOptions,
    manifest: Manifest,
    collections: Vec<Arc<Collection>>,
    namespaces: Vec<Arc<Namespace>>,
    port: Port<Message>,
    shards: Vec<Arc<ShardMetrics>>,
    requests: VecDeque<(usize, u64, ControlRequest)>,
    answers: Vec<(usize, Message)>,
    trims: Vec<(usize, Lsn)>,
    /// Shards that have all their rows.
    recovered: usize,
    watchdog: Watchdog,
    snapshot_due: Instant,
}

impl Control {
    /// A control thread over what recovery found.
    pub fn new(
        options: ControlOptions,
        manifest: Manifest,
        collections: Vec<Arc<Collection>>,
        port: Port<Message>,
        shards: Vec<Arc<ShardMetrics>>,
    ) -> Control {
        assert_eq!(port.index(), shards.len(), "the control thread is the last participant");
        let watchdog = Watchdog::new(shards.len());
        // Those of collections are there; the others have none.
        let namespace = |(name, &quota): (&String, &Quota)| {
            let mut known = collections.iter().filter_map(|collection| collection.namespace());
            known.find(|known| known.name() == name).cloned().unwrap_or_else(|| Namespace::new(name, quota))
        };
        let namespaces = manifest.namespaces.iter().map(namespace).collect();
        Control {
            options,
            namespaces,
            manifest,
            collections,
            port,
            shards,
            requests: VecDeque::new(),
            answers: Vec::new(),
            trims: Vec::new(),
            recovered: 0,
            watchdog,
            snapshot_due: Instant::now(),
        }
    }

    /// Serves until `stop` is set (ring the doorbell then), then tells the shards to stop.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            self.listen(TICK);
            if self.recovered < self.shards.len() {
                continue;
            }
            while let Some((from, ticket, request)) = self.requests.pop_front() {
                let reply = self.serve(request);
                self.send(from, Message::Reply { ticket, reply });
            }
            self.evict();
            self.trim_logs();
            self.snapshot_if_due();
        }
        while let Some((from, ticket, _)) = self.requests.pop_front() {
            self.send(from, Message::Reply { ticket, reply: Err(Error::Stopping) });
        }
        for shard in 0..self.shards.len() {
            self.send(shard, Message::Stop);
        }
        // Shards drop their ports when they are done.
        while (0..self.shards.len()).any(|shard| !self.port.is_gone(shard)) {
            self.listen(TICK);
        }
    }

    /// Takes messages in, waiting for the first up to `timeout`; looks after the shards.
    fn listen(&mut self, timeout: Duration) {
        let (requests, answers, recovered) = (&mut self.requests, &mut self.answers, &mut self.recovered);
        let trims = &mut self.trims;
        let mut take = |from, message| match message {
            Message::Request { ticket, request } => requests.push_back((from, ticket, request)),
            Message::Recovered => *recovered += 1,
            Message::Trim(lsn) => trims.push((from, lsn)),
            other => answers.push((from, other)),
        };
        if self.port.drain(limits::MESH_DRAIN_MAX, &mut take) == 0 && self.port.prepare_sleep() {
            self.port.doorbell().wait_timeout(timeout);
            self.port.awake();
            self.port.drain(limits::MESH_DRAIN_MAX, &mut take);
        }
        if let Some(heartbeat) = self.options.heartbeat {
            let due = self.watchdog.look(&self.shards, heartbeat);
            for shard in due {
                // A full ring means that the shard has plenty to wake for.
                let _ = self.port.send(shard, Message::Heartbeat);
            }
        }
    }

    fn send(&mut self, to: usize, mut message: Message) {
        while let Err(back) = self.port.send(to, message) {
            if self.port.is_gone(to) {
                return;
            }
            message = back;
            self.listen(Duration::from_millis(1));
        }
    }

    /// Waits until every shard has answered, and gives the answers in the order of the shards.
    fn answers(&mut self) -> Vec<Message> {
        let mut answers: Vec<Option<Message>> = (0..self.shards.len()).map(|_| None).collect();
        while answers.iter().enumerate().any(|(shard, answer)| answer.is_none() && !self.port.is_gone(shard)) {
            for (from, message) in std::mem::take(&mut self.answers) {
                answers[from] = Some(message);
            }
            if answers.iter().any(Option::is_none) {
                self.listen(TICK);
            }
        }
        answers.into_iter().flatten().collect()
    }

    fn serve(&mut self, request: ControlRequest) -> Result<ControlReply> {
        match request {
            ControlRequest::Create { name, schema, options, if_not_exists } => {
                self.create(name, schema, options, if_not_exists).map(ControlReply::Collection)
            }
            ControlRequest::Alter { name, schema } => self.alter(&name, *schema).map(ControlReply::Collection),
            ControlRequest::Drop { name } => self.drop_collection(&name).map(|()| ControlReply::Done),
            ControlRequest::Snapshot => self.snapshot(),
            ControlRequest::PutNamespace { name, quota, is_new } => {
                self.put_namespace(name, quota, is_new).map(|()| ControlReply::Done)
            }
            ControlRequest::DropNamespace { name } => self.drop_namespace(&name).map(|()| ControlReply::Done),
            ControlRequest::ListNamespaces => Ok(ControlReply::Namespaces(self.list_namespaces())),
        }
    }

    fn create(
        &mut self,
        name: String,
        schema: Arc<Schema>,
        options: CollectionOptions,
        if_not_exists: bool,
    ) -> Result<Arc<Collection>> {
        check_name(&name)?;
        if let Some(found) = self.collections.iter().find(|collection| collection.spec.name == name) {
            let equal = found.spec.schema.fingerprint() == schema.fingerprint();
            return if if_not_exists && equal { Ok(found.clone()) } else { Err(Error::CollectionExists { name }) };
        }
        let namespace = match Namespace::split(&name).0 {
            Some(namespace) => Some(self.namespaces[self.namespace_position(namespace)?].clone()),
            None => None,
        };
        if self.collections.len() >= limits::COLLECTIONS_MAX {
            let value = self.collections.len() as u64 + 1;
            return Err(Error::LimitExceeded {
                what: "number of collections",
                value,
                limit: limits::COLLECTIONS_MAX as u64,
            });
        }
        let spec = CollectionSpec { id: self.manifest.next_collection, name, schema, options };
        let collection = Collection::new(spec, self.shards.len())?;
        collection.region.keep_on_disk(&self.options.data)?;
        if let Some(namespace) = namespace {
            collection.join(namespace);
        }
        collection.set_clock(&self.options.clock);
        let mut manifest = self.next_manifest();
        manifest.next_collection += 1;
        manifest.collections.push(CollectionEntry::of(&collection.spec));
        manifest.write(&self.options.data)?;
        self.manifest = manifest;
        self.collections.push(collection.clone());
        self.change_all(|| Message::Install(collection.clone()));
        Ok(collection)
    }

    /// The manifest as it is, to be changed and written.
    fn next_manifest(&self) -> Manifest {
        Manifest { clock_ms: self.options.clock.now_ms(), ..self.manifest.clone() }
    }

    fn position(&self, name: &str) -> Result<usize> {
        let found = self.collections.iter().position(|collection| collection.spec.name == name);
        found.ok_or_else(|| Error::UnknownCollection { name: name.to_owned() })
    }

    /// Adds columns: every shard makes room for them, then they are written down, then batches with them are taken everywhere, and only
    /// then are they shown. So no record of the log is of a schema that the manifest does not know, and who sees a column can use it.
    fn alter(&mut self, name: &str, schema: Schema) -> Result<Arc<Collection>> {
        let index = self.position(name)?;
        let before = &self.collections[index];
        if schema == *before.spec.schema {
            return Ok(before.clone());
        }
        let id = before.spec.id;
        let extended = before.extended(Arc::new(before.spec.schema.extended(schema)?))?;
        if let Err(error) = self.prepare_columns(&extended).and_then(|()| self.write_extended(&extended)) {
            self.change_all(|| Message::GiveColumnsUp(id));
            return Err(error);
        }
        self.collections[index] = extended.clone();
        self.change_all(|| Message::AddColumns(extended.clone()));
        self.change_all(|| Message::ShowColumns(extended.clone()));
        Ok(extended)
    }

    fn prepare_columns(&mut self, extended: &Arc<Collection>) -> Result<()> {
        for shard in 0..self.shards.len() {
            self.send(shard, Message::PrepareColumns(extended.clone()));
        }
        let prepared = self.answers().into_iter().map(|answer| match answer {
            Message::Prepared(prepared) => prepared,
            _ => Ok(()),
        });
        // All of them: who was ready is told to give up too.
        let prepared: Vec<Result<()>> = prepared.collect();
        prepared.into_iter().collect()
    }

    fn write_extended(&mut self, extended: &Collection) -> Result<()> {
        let mut manifest = self.next_manifest();
        let entry = manifest.collections.iter_mut().find(|entry| entry.id == extended.spec.id);
        *entry.expect("the manifest names every collection") = CollectionEntry::of(&extended.spec);
        manifest.write(&self.options.data)?;
        self.manifest = manifest;
        Ok(())
    }

    fn drop_collection(&mut self, name: &str) -> Result<()> {
        let index = self.position(name)?;
        let id = self.collections[index].spec.id;
        let mut manifest = self.next_manifest();
        manifest.collections.retain(|entry| entry.id != id);
        manifest.write(&self.options.data)?;
        self.manifest = manifest;
        self.collections.remove(index);
        self.change_all(|| Message::Remove(id));
        Ok(())
    }

    /// Drops a collection that may be, if memory is short. One at a time: its memory comes free once its last reader has gone.
    fn evict(&mut self) {
        let Some(collection) = eviction::choose(&self.collections, self.options.memory_budget).cloned() else { return };
        let name = &collection.spec.name;
        let (rows, bytes) = (collection.live_rows(), collection.bytes_committed());
        match self.drop_collection(name) {
            Ok(()) => {
                self.options.evictions.count(rows, bytes);
                tracing::info!(collection = name, "evicted: memory is short, and it was used least recently");
            }
            Err(error) => tracing::error!(collection = name, %error, "could not be evicted"),
        }
    }

    fn namespace_position(&self, name: &str) -> Result<usize> {
        let found = self.namespaces.iter().position(|namespace| namespace.name() == name);
        found.ok_or_else(|| Error::UnknownNamespace { name: name.to_owned() })
    }

    fn put_namespace(&mut self, name: String, quota: Quota, is_new: bool) -> Result<()> {
        check_part(&name)?;
        let found = self.namespace_position(&name).ok();
        if found.is_some() && is_new {
            return Err(Error::NamespaceExists { name });
        }
        if found.is_none() && self.namespaces.len() >= limits::NAMESPACES_MAX {
            let (value, limit) = (self.namespaces.len() as u64 + 1, limits::NAMESPACES_MAX as u64);
            return Err(Error::LimitExceeded { what: "number of namespaces", value, limit });
        }
        let mut manifest = self.next_manifest();
        manifest.namespaces.insert(name.clone(), quota);
        manifest.write(&self.options.data)?;
        self.manifest = manifest;
        match found {
            Some(index) => self.namespaces[index].set_quota(quota),
            None => self.namespaces.push(Namespace::new(&name, quota)),
        }
        Ok(())
    }

    /// Drops a namespace and its collections, all at once or not at all.
    fn drop_namespace(&mut self, name: &str) -> Result<()> {
        let index = self.namespace_position(name)?;
        let is_of_it = |collection: &Arc<Collection>| Namespace::split(&collection.spec.name).0 == Some(name);
        let ids: Vec<u32> = self
            .collections
            .iter()
            .filter(|collection| is_of_it(collection))
            .map(|collection| collection.spec.id)
            .collect();
        let mut manifest = self.next_manifest();
        manifest.namespaces.remove(name);
        manifest.collections.retain(|entry| !ids.contains(&entry.id));
        manifest.write(&self.options.data)?;
        self.manifest = manifest;
        self.namespaces.remove(index);
        self.collections.retain(|collection| !is_of_it(collection));
        for id in ids {
            self.change_all(|| Message::Remove(id));
        }
        Ok(())
    }

    fn list_namespaces(&self) -> Vec<(Arc<Namespace>, Usage)> {
        let mut all: Vec<_> = self
            .namespaces
            .iter()
            .map(|namespace| (namespace.clone(), Usage::of(namespace, &self.collections)))
            .collect();
        all.sort_unstable_by(|a, b| a.0.name().cmp(b.0.name()));
        all
    }

    /// Tells every shard of a change and waits until all have made it.
    fn change_all(&mut self, message: impl Fn() -> Message) {
        for shard in 0..self.shards.len() {
            self.send(shard, message());
        }
        self.answers();
    }

    fn snapshot(&mut self) -> Result<ControlReply> {
        let started = Instant::now();
        probes::snapshot_begin(self.shards.len());
        for shard in 0..self.shards.len() {
            self.send(shard, Message::SnapshotBegin);
        }
        let points: Vec<Point> = self
            .answers()
            .into_iter()
            .filter_map(|answer| match answer {
                Message::SnapshotReady { lsn, published } => Some(Point { lsn, published }),
                _ => None,
            })
            .collect();
        probes::snapshot_still(points.len());
        let written = self.write_snapshot(&points);
        probes::snapshot_end(*written.as_ref().unwrap_or(&0));
        for (shard, point) in points.iter().enumerate() {
            let lsn: Option<Lsn> = written.is_ok().then_some(point.lsn);
            self.send(shard, Message::SnapshotEnd(lsn));
        }
        let took = started.elapsed();
        let bytes = written?;
        tracing::info!(bytes, took_ms = took.as_millis() as u64, "snapshot written");
        Ok(ControlReply::Snapshot { bytes, took })
    }

    fn write_snapshot(&mut self, points: &[Point]) -> Result<u64> {
        assert_eq!(points.len(), self.shards.len(), "a shard left during a snapshot");
        let data = &self.options.data;
        let before = self.manifest.snapshot.as_ref().map(|snapshot| snapshot.number);
        let number = before.map_or(1, |number| number + 1);
        let directory = self.manifest.snapshot_directory(data, number);
        let written = snapshot::write(&directory, number, &self.collections, points);
        let (entry, bytes) = written.inspect_err(|_| {
            // What no manifest names is rubbish; recovery removes it if this does not.
            let _ = std::fs::remove_dir_all(&directory);
        })?;
        let mut manifest = self.next_manifest();
        manifest.snapshot = Some(entry);
        manifest.write(data)?;
        self.manifest = manifest;
        if let Some(before) = before {
            let old = self.manifest.snapshot_directory(data, before);
            if let Err(error) = std::fs::remove_dir_all(&old) {
                tracing::warn!(%error, path = %old.display(), "an old snapshot could not be removed");
            }
        }
        Ok(bytes)
    }

    /// Writes down which parts of the logs are no longer needed; then they may go.
    fn trim_logs(&mut self) {
        if self.trims.is_empty() {
            return;
        }
        let trims = std::mem::take(&mut self.trims);
        let mut manifest = self.next_manifest();
        for &(shard, lsn) in &trims {
            manifest.log_from[shard] = manifest.log_from[shard].max(lsn);
        }
        match manifest.write(&self.options.data) {
            Ok(()) => self.manifest = manifest,
            Err(error) => tracing::error!(%error, "the manifest could not be written; the log is kept"),
        }
        for (shard, _) in trims {
            self.send(shard, Message::Trimmed(self.manifest.log_from[shard]));
        }
    }

    fn snapshot_if_due(&mut self) {
        let wal_bytes: u64 = self.shards.iter().map(|shard| shard.wal_live_bytes.get()).sum();
        let limit = self.options.snapshot_wal_bytes;
        if limit == 0 || wal_bytes < limit || Instant::now() < self.snapshot_due {
            return;
        }
        // A log that is hardly longer than what lives in it is as good as a snapshot.
        let live_bytes: u64 = self.collections.iter().map(|collection| collection.live_bytes()).sum();
        if wal_bytes < live_bytes + live_bytes / SNAPSHOT_SLACK {
            return;
        }
        let started = Instant::now();
        let written = self.snapshot();
        if let Err(error) = &written {
            tracing::error!(%error, "the snapshot failed; the log is kept");
        }
        // Snapshots take half of the time at most; one that failed is not tried again at once.
        let pause = if written.is_ok() { started.elapsed() } else { RETRY };
        self.snapshot_due = Instant::now() + pause;
    }
}

/// Refuses a name that could not be shown or told apart.
fn check_name(name: &str) -> Result<()> {
    if name.len() > limits::NAME_BYTES_MAX {
        let (value, limit) = (name.len() as u64, limits::NAME_BYTES_MAX as u64);
        return Err(Error::LimitExceeded { what: "length of the collection name in bytes", value, limit });
    }
    let (namespace, rest) = Namespace::split(name);
    namespace.into_iter().chain([rest]).try_for_each(check_part)
}

/// Refuses a name of a namespace, or of a collection in one.
fn check_part(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::Empty { what: "name" });
    }
    if name.len() > limits::NAME_BYTES_MAX {
        let (value, limit) = (name.len() as u64, limits::NAME_BYTES_MAX as u64);
        return Err(Error::LimitExceeded { what: "length of the name in bytes", value, limit });
    }
    let allowed = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    if !name.chars().all(allowed) {
        return Err(Error::InvalidSchema {
            column: String::new(),
            problem: "a name has letters, digits, `-`, `_` and `.` only, and one `/` behind that of a namespace",
        });
    }
    Ok(())
}

/// Notices shards whose loop does not turn. A sleeping shard is asked to turn by a heartbeat first.
struct Watchdog {
    turns: Vec<u64>,
    /// When the shard was first seen at this number of turns after a heartbeat.
    since: Vec<Option<Instant>>,
    next_beat: Instant,
}

impl Watchdog {
    fn new(shards: usize) -> Watchdog {
        Watchdog { turns: vec![0; shards], since: vec![None; shards], next_beat: Instant::now() }
    }

    /// Reports stalled shards and says which to send a heartbeat.
    fn look(&mut self, shards: &[Arc<ShardMetrics>], heartbeat: Duration) -> Vec<usize> {
        let now = Instant::now();
        for (index, metrics) in shards.iter().enumerate() {
            let turns = metrics.turns.get();
            if turns != self.turns[index] {
                self.turns[index] = turns;
                self.since[index] = None;
                metrics.stalled.store(0, Ordering::Relaxed);
            } else if self.since[index].is_some_and(|since| now - since >= STALL)
                && metrics.stalled.swap(1, Ordering::Relaxed) == 0
            {
                metrics.stalls.fetch_add(1, Ordering::Relaxed);
                tracing::error!(shard = index, turns, "the shard has not turned for 2 s");
            }
        }
        if now < self.next_beat {
            return Vec::new();
        }
        self.next_beat = now + heartbeat;
        for since in &mut self.since {
            since.get_or_insert(now);
        }
        (0..shards.len()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in ["a", "debian-12_x.y", "größe", "tenant/packages"] {
            check_name(name).expect(name);
        }
        let long = "x".repeat(limits::NAME_BYTES_MAX + 1);
        for name in ["", "a b", "/b", "a/", "a/b/c", "a b/c", "tab\t", &long] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_watchdog_reports_a_shard_that_stands_and_forgives_one_that_turns() {
        let shards = vec![Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())];
        let mut watchdog = Watchdog::new(2);
        assert_eq!(watchdog.look(&shards, Duration::ZERO), [0, 1]);
        let long_ago = Instant::now().checked_sub(STALL * 2).expect("the machine is up for 4 s");
        watchdog.since = vec![Some(long_ago); 2];
        shards[1].turns.add(1);
        watchdog.look(&shards, Duration::ZERO);
        let stalls = |shard: usize| shards[shard].stalls.load(Ordering::Relaxed);
        assert_eq!((stalls(0), stalls(1)), (1, 0));
        watchdog.since = vec![Some(long_ago); 2];
        shards[0].turns.add(1);
        shards[1].turns.add(1);
        watchdog.look(&shards, Duration::ZERO);
        assert_eq!((stalls(0), shards[0].stalled.load(Ordering::Relaxed)), (1, 0));
    }
}
