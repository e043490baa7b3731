//! Makes a segment of edges in any order, and of the edges of other segments, in steps that are short.

use std::sync::Arc;

use hashbrown::HashMap;

use super::nodes::Nodes;
use super::segment::{Entry, Lists, PLACE_BITS, PLACE_ROWS, Place, Segment};
use crate::error::{Error, Result};
use crate::limits::{EDGE_TYPES_MAX, EDGES_MAX};
use crate::schema::{IdKind, IdRef};

/// Edges that are put in their order in one step.
const ORDER_STEP: usize = 32 << 10;
/// Edges of an older segment that are taken over in one step.
const COPY_STEP: usize = 4_096;
/// Number of an older segment's node, or type, that has none yet in the new one.
const UNKNOWN: u32 = u32::MAX;

/// An edge, between numbers of nodes.
#[derive(Clone, Copy)]
struct Edge {
    from: u32,
    to: u32,
    kind: u32,
    weight: f32,
    place: u32,
}

/// A segment that is being made: first edges are added, then put in order.
pub struct SegmentBuilder {
    nodes: Nodes,
    edges: Vec<Edge>,
    kinds: Vec<Box<str>>,
    kind_numbers: HashMap<Box<str>, u32>,
    chunks: Vec<Place>,
    chunk_numbers: HashMap<Place, u32>,
    copying: Option<Copying>,
    ordering: Option<Ordering>,
}

/// An older segment whose edges are being taken over.
struct Copying {
    segment: Arc<Segment>,
    /// The next edge, and the node that it leaves, or one before.
    next: usize,
    node: u32,
    /// Numbers in the new segment of its nodes, types and chunks.
    nodes: Vec<u32>,
    kinds: Vec<u32>,
    chunks: Vec<u32>,
}

/// Where the edges of each node are going to be, and how far that is done.
struct Ordering {
    out: Lists,
    into: Lists,
    /// Edges that are counted, and then those that are in their place.
    counted: usize,
    placed: usize,
}

impl SegmentBuilder {
    /// No edges yet, between nodes whose ids are of one kind.
    pub fn new(kind: IdKind) -> SegmentBuilder {
        SegmentBuilder {
            nodes: Nodes::new(kind),
            edges: Vec::new(),
            kinds: vec!["".into()],
            kind_numbers: HashMap::new(),
            chunks: Vec::new(),
            chunk_numbers: HashMap::new(),
            copying: None,
            ordering: None,
        }
    }

    /// Adds an edge. No type, and the empty one, are the same.
    ///
    /// # Errors
    /// `LimitExceeded` for too many edges, or types.
    pub fn add(&mut self, from: IdRef<'_>, to: IdRef<'_>, kind: &str, weight: f32, place: Place) -> Result<()> {
        assert!(self.ordering.is_none(), "edges are added before they are put in order");
        self.check_room()?;
        let (from, to) = (self.nodes.number(from), self.nodes.number(to));
        let kind = self.kind(kind)?;
        let place = (self.chunk(place) << PLACE_BITS) | (place.row % PLACE_ROWS);
        self.edges.push(Edge { from, to, kind, weight, place });
        Ok(())
    }

    fn check_room(&self) -> Result<()> {
        let (value, limit) = (self.edges.len() as u64 + 1, EDGES_MAX as u64);
        if value > limit {
            return Err(Error::LimitExceeded { what: "number of edges", value, limit });
        }
        Ok(())
    }

    fn kind(&mut self, kind: &str) -> Result<u32> {
        if kind.is_empty() {
            return Ok(0);
        }
        if let Some(&number) = self.kind_numbers.get(kind) {
            return Ok(number);
        }
        let (value, limit) = (self.kinds.len() as u64, EDGE_TYPES_MAX as u64);
        if value > limit {
            return Err(Error::LimitExceeded { what: "number of types of edges", value, limit });
        }
        self.kinds.push(kind.into());
        self.kind_numbers.insert(kind.into(), value as u32);
        Ok(value as u32)
    }

    /// Number of the chunk that a place is in.
    fn chunk(&mut self, place: Place) -> u32 {
        let offset = place.row % PLACE_ROWS;
        debug_assert_eq!(
            place.ordinal % u64::from(PLACE_ROWS),
            u64::from(offset),
            "ordinals of a chunk go with its rows"
        );
        let first = Place { row: place.row - offset, ordinal: place.ordinal - u64::from(offset) };
        // Edges come chunk by chunk.
        if self.chunks.last() == Some(&first) {
            return self.chunks.len() as u32 - 1;
        }
        *self.chunk_numbers.entry(first).or_insert_with(|| {
            self.chunks.push(first);
            self.chunks.len() as u32 - 1
        })
    }

    /// Begins to take over the edges of an older segment; [`SegmentBuilder::copy_step`] goes on.
    pub fn copy(&mut self, segment: Arc<Segment>) {
        assert!(self.copying.is_none(), "one segment at a time");
        let unknown = |len: usize| vec![UNKNOWN; len];
        let (nodes, kinds, chunks) =
            (unknown(segment.nodes()), unknown(segment.kinds.len()), unknown(segment.chunks.len()));
        self.copying = Some(Copying { segment, next: 0, node: 0, nodes, kinds, chunks });
    }

    /// Takes over some edges of an older segment, of which those live that `lives` is true of. False once there are no more.
    ///
    /// # Errors
    /// As [`SegmentBuilder::add`].
    pub fn copy_step(&mut self, lives: impl Fn(Place) -> bool) -> Result<bool> {
        let Some(mut copying) = self.copying.take() else { return Ok(false) };
        let segment = copying.segment.clone();
        let end = (copying.next + COPY_STEP).min(segment.len());
        for (at, entry) in (copying.next..end).zip(&segment.out.entries[copying.next..end]) {
            while at >= segment.out.of(copying.node).end {
                copying.node += 1;
            }
            let place = segment.place(entry);
            if !lives(place) {
                continue;
            }
            self.check_room()?;
            let from = known(&mut copying.nodes, copying.node, || self.nodes.number(segment.id(copying.node)));
            let to = known(&mut copying.nodes, entry.node, || self.nodes.number(segment.id(entry.node)));
            let mut kind = copying.kinds[entry.kind as usize];
            if kind == UNKNOWN {
                kind = self.kind(&segment.kinds[entry.kind as usize])?;
                copying.kinds[entry.kind as usize] = kind;
            }
            let chunk = known(&mut copying.chunks, entry.place >> PLACE_BITS, || self.chunk(place));
            let place = (chunk << PLACE_BITS) | (entry.place % PLACE_ROWS);
            self.edges.push(Edge { from, to, kind, weight: entry.weight, place });
        }
        copying.next = end;
        if end < segment.len() {
            self.copying = Some(copying);
        }
        Ok(true)
    }

    /// Puts some edges in order. False once all are.
    pub fn order_step(&mut self) -> bool {
        assert!(self.copying.is_none(), "all edges are there");
        let nodes = self.nodes.len();
        let ordering = self.ordering.get_or_insert_with(|| {
            let lists = || Lists { starts: vec![0; nodes + 1], entries: Vec::new() };
            Ordering { out: lists(), into: lists(), counted: 0, placed: 0 }
        });
        if ordering.counted < self.edges.len() {
            let end = (ordering.counted + ORDER_STEP).min(self.edges.len());
            for edge in &self.edges[ordering.counted..end] {
                ordering.out.starts[edge.from as usize] += 1;
                ordering.into.starts[edge.to as usize] += 1;
            }
            ordering.counted = end;
            if end == self.edges.len() {
                ordering.out.begin(end);
                ordering.into.begin(end);
            }
            return true;
        }
        let end = (ordering.placed + ORDER_STEP).min(self.edges.len());
        for &Edge { from, to, kind, weight, place } in &self.edges[ordering.placed..end] {
            ordering.out.put(from, Entry { node: to, kind, weight, place });
            ordering.into.put(to, Entry { node: from, kind, weight, place });
        }
        ordering.placed = end;
        end < self.edges.len()
    }

    /// The segment, once all edges are in order.
    pub fn finish(mut self) -> Segment {
        let Ordering { out, into, placed, .. } = self.ordering.expect("edges are put in order first");
        assert_eq!(placed, self.edges.len(), "all edges are in order");
        self.nodes.shrink();
        Segment { nodes: self.nodes, out, into, kinds: self.kinds, chunks: self.chunks }
    }

    /// Edges so far.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether there is none so far.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }
}

impl Lists {
    /// Turns the number of each node's entries into where they end, so that putting them from behind leads to where they begin.
    fn begin(&mut self, edges: usize) {
        let mut end = 0;
        for start in &mut self.starts {
            end += *start;
            *start = end;
        }
        assert_eq!(end as usize, edges, "each edge is counted once");
        self.entries = vec![Entry { node: 0, kind: 0, weight: 0.0, place: 0 }; edges];
    }

    #[inline]
    fn put(&mut self, node: u32, entry: Entry) {
        let at = &mut self.starts[node as usize];
        *at -= 1;
        self.entries[*at as usize] = entry;
    }
}

/// The number in a table, which `number` gives where there is none yet.
#[inline]
fn known(numbers: &mut [u32], index: u32, number: impl FnOnce() -> u32) -> u32 {
    let known = &mut numbers[index as usize];
    if *known == UNKNOWN {
        *known = number();
    }
    *known
}
