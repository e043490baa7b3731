//! What the data plane of a shard and the tasks of its thread share.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use engine::collection::Collection;
use engine::hnsw::Indexer;
use engine::ids::IdList;
use engine::search::{Scratch, VectorReads};
use engine::shard::indexing::Indexing;
use engine::shard::{Member, Message, Partition, ShardMetrics};
use engine::uring::Ring;

use super::deletions::Deletion;
use super::mailbox::Mailbox;
use super::sampler::Sampler;
use super::state::ServerState;

/// One per shard; everything in it stays on the shard's thread but what is in an `Arc`.
pub struct Context {
    /// Index of the shard.
    pub index: usize,
    /// Number of shards.
    pub shards: usize,
    /// The shard's ring: sockets and log.
    pub ring: Rc<RefCell<Ring>>,
    /// Out-tray of the tasks.
    pub mailbox: Rc<Mailbox>,
    /// Rows; shared with the data plane and the indexer.
    pub partition: Rc<RefCell<Partition>>,
    /// Counters.
    pub metrics: Arc<ShardMetrics>,
    /// The server as a whole.
    pub server: Arc<ServerState>,
    /// Collections by number.
    pub collections: RefCell<HashMap<u32, Arc<Collection>>>,
    /// The indexer.
    pub indexing: RefCell<Indexing>,
    /// Candidates that wait for the disk.
    pub reads: RefCell<VectorReads>,
    /// Memory of searches; they never hold it while they wait.
    pub scratch: RefCell<Scratch>,
    /// Keeps some queries, to learn their recall.
    pub sampler: RefCell<Sampler>,
    /// Pieces of deletes by filter that wait for the log.
    pub deletions: RefCell<VecDeque<Deletion>>,
    helping: Cell<usize>,
    index_woken: Cell<bool>,
    index_waker: RefCell<Option<Waker>>,
    stopping: Cell<bool>,
}

impl Context {
    /// A shard's context.
    pub fn new(
        index: usize,
        shards: usize,
        ring: Rc<RefCell<Ring>>,
        partition: Rc<RefCell<Partition>>,
        server: Arc<ServerState>,
        recall_sampling: bool,
    ) -> Context {
        let metrics = server.shard_metrics(index);
        let indexing = Indexing::new(index, shards, partition.clone(), metrics.clone());
        Context {
            index,
            shards,
            ring,
            mailbox: Rc::default(),
            partition,
            metrics,
            server,
            collections: RefCell::default(),
            indexing: RefCell::new(indexing),
            reads: RefCell::default(),
            scratch: RefCell::default(),
            sampler: RefCell::new(Sampler::new(index, recall_sampling)),
            deletions: RefCell::default(),
            helping: Cell::new(0),
            index_woken: Cell::new(true),
            index_waker: RefCell::default(),
            stopping: Cell::new(false),
        }
    }

    /// Participant number of the control thread.
    pub fn control(&self) -> usize {
        self.shards
    }

    /// Starts to serve a new collection.
    pub fn install(&self, collection: &Arc<Collection>) {
        self.partition.borrow_mut().install(Member::new(collection.clone(), self.index));
        let indexers = collection.vectors.iter().map(|index| Indexer::new(index.graph().clone(), self.index)).collect();
        self.serve(collection, indexers);
    }

    /// Starts to serve a collection whose rows are in the partition.
    pub fn serve(&self, collection: &Arc<Collection>, indexers: Vec<Indexer>) {
        for (vector, indexer) in indexers.into_iter().enumerate() {
            if !collection.spec.schema.vectors()[vector].index.flat {
                self.indexing.borrow_mut().install(collection.clone(), vector, indexer);
            }
        }
        self.server.watch(collection);
        self.collections.borrow_mut().insert(collection.spec.id, collection.clone());
        self.index_wake();
    }

    /// Takes batches with columns that were added to a collection.
    pub fn add_columns(&self, extended: &Arc<Collection>) {
        self.partition.borrow_mut().add_columns(extended);
        self.indexing.borrow_mut().add_columns(extended);
    }

    /// Shows and reads a collection with columns that were added.
    pub fn show_columns(&self, extended: &Arc<Collection>) {
        self.server.watch(extended);
        self.collections.borrow_mut().insert(extended.spec.id, extended.clone());
    }

    /// Looks ids up on the shard that is their home; the answer comes under `ticket`.
    pub fn find(&self, shard: usize, ticket: u64, collection: u32, ids: IdList) {
        if shard == self.index {
            let rows = self.partition.borrow().find(collection, ids.view());
            self.mailbox.answer(ticket, 1, Message::Found { ticket, rows });
        } else {
            self.mailbox.send(shard, Message::Find { ticket, collection, ids });
        }
    }

    /// A collection by number.
    pub fn collection(&self, id: u32) -> engine::Result<Arc<Collection>> {
        let found = self.collections.borrow().get(&id).cloned();
        let found = found.inspect(|collection| collection.touch());
        found.ok_or_else(|| engine::Error::UnknownCollection { name: format!("#{id}") })
    }

    /// A collection by name.
    pub fn collection_named(&self, name: &str) -> engine::Result<Arc<Collection>> {
        let found = self.collections.borrow().values().find(|collection| collection.spec.name == name).cloned();
        found.ok_or_else(|| engine::Error::UnknownCollection { name: name.to_owned() })
    }

    /// A collection is written to.
    pub fn touch(&self, id: u32) {
        if let Some(collection) = self.collections.borrow().get(&id) {
            collection.touch();
        }
    }

    /// This shard has begun something that another waits for.
    pub fn begin_help(&self) {
        self.helping.set(self.helping.get() + 1);
    }

    /// It has left its answer in the mailbox.
    pub fn end_help(&self) {
        self.helping.set(self.helping.get() - 1);
    }

    /// True while another shard waits for something that was begun here.
    pub fn is_helping(&self) -> bool {
        self.helping.get() > 0
    }

    /// Says whether the shard is flooded: then rows that are likely to be replaced soon are not indexed yet.
    pub fn hold_index_back(&self, holds_back: bool) {
        self.indexing.borrow_mut().hold_back(holds_back);
        self.index_wake();
    }

    /// There may be something to index.
    pub fn index_wake(&self) {
        self.index_woken.set(true);
        if let Some(waker) = self.index_waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits until there may be something to index.
    pub async fn index_wait(&self) {
        std::future::poll_fn(|context| {
            if self.index_woken.replace(false) {
                return Poll::Ready(());
            }
            *self.index_waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The server stops: tasks that go on for ever end.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.index_wake();
    }

    /// True once the server stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
}
