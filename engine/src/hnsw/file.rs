//! The graph file of a shard: its nodes and their links, little endian.
//!
//! ```text
//! file   = header block*                    one block per 4,096 slots, the last one may be shorter
//! header = magic[8] version:u32 shard:u32 shards:u32 row_bits:u32 m:u32 slots:u32 seed:u64 entry:u64 indexed:u64 unrefined:u32 crc:u32
//! block  = first_slot:u32 slots:u32 body_bytes:u32 crc:u32 node*
//! node   = 0                                a slot that is not in the graph
//!        | level+1:u8 kept:u8 list*         one list per layer, from layer 0 up
//! list   = count:u8 row:u32*
//! ```
//! A CRC-32C covers its header, and for a block its body too. `entry` is (level + 1) << 32 | row; `kept` is the number of
//! links at the head of layer 0 that pruning keeps, with 0x80 added when the first is the link up. `indexed` is what
//! [`Graph::indexed`] says, `unrefined` what [`Graph::unrefined`] does.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};

use super::graph::Graph;
use super::levels::LEVEL_MAX;
use super::{GraphParams, Space};
use crate::error::{Error, Result};

/// Newest version of the graph file.
pub const FORMAT_VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"BHGRAPH\0";
const HEADER_BYTES: usize = 64;
const BLOCK_HEADER_BYTES: usize = 16;
const BLOCK_SLOTS: u32 = 4_096;
/// Most bytes of a node: every layer full at the largest M.
const NODE_BYTES_MAX: usize = 2 + (1 + 64 * 4) + LEVEL_MAX * (1 + 32 * 4);
const BLOCK_BODY_BYTES_MAX: usize = BLOCK_SLOTS as usize * NODE_BYTES_MAX;

const _: () = assert!(8 + 6 * 4 + 3 * 8 + 4 + 4 == HEADER_BYTES);
const _: () = assert!(BLOCK_BODY_BYTES_MAX < u32::MAX as usize);

impl Graph {
    /// Writes the nodes of a shard; `path` names the file in errors. Returns the bytes written.
    ///
    /// May run beside the shard's indexer; the result is then whole in itself, and loading mends what it lacks.
    ///
    /// # Errors
    /// `Io` when the writer fails.
    pub fn save(&self, shard: usize, path: &Path, writer: &mut impl Write) -> Result<u64> {
        let failed = |source| Error::Io { operation: "write", path: path.into(), source };
        let slots = self.used(shard);
        writer.write_all(&self.header(shard, slots)).map_err(failed)?;
        let mut written = HEADER_BYTES as u64;
        let mut block = Vec::new();
        for first in (0..slots).step_by(BLOCK_SLOTS as usize) {
            let count = BLOCK_SLOTS.min(slots - first);
            block.clear();
            block.resize(BLOCK_HEADER_BYTES, 0);
            for slot in first..first + count {
                self.encode_node(self.row(shard, slot), &mut block);
            }
            let body_bytes = (block.len() - BLOCK_HEADER_BYTES) as u32;
            block[0..4].copy_from_slice(&first.to_le_bytes());
            block[4..8].copy_from_slice(&count.to_le_bytes());
            block[8..12].copy_from_slice(&body_bytes.to_le_bytes());
            let crc = checksum(&[&block[..12], &block[BLOCK_HEADER_BYTES..]]);
            block[12..16].copy_from_slice(&crc.to_le_bytes());
            writer.write_all(&block).map_err(failed)?;
            written += block.len() as u64;
        }
        writer.flush().map_err(failed)?;
        Ok(written)
    }

    fn header(&self, shard: usize, slots: u32) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        let m = self.params().m as u32;
        let numbers = [FORMAT_VERSION, shard as u32, self.shards() as u32, self.row_bits(), m, slots];
        for (field, number) in header[8..32].chunks_exact_mut(4).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        let entry = self.entry().map_or(0, |(level, row)| ((level as u64 + 1) << 32) | u64::from(row));
        header[32..40].copy_from_slice(&self.params().seed.to_le_bytes());
        header[40..48].copy_from_slice(&entry.to_le_bytes());
        header[48..56].copy_from_slice(&self.indexed(shard).to_le_bytes());
        header[56..60].copy_from_slice(&self.unrefined(shard).to_le_bytes());
        let crc = checksum(&[&header[..60]]);
        header[60..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    fn encode_node(&self, row: u32, block: &mut Vec<u8>) {
        let Some(level) = self.level(row) else {
            block.push(0);
            return;
        };
        let (kept, has_up) = self.kept(row);
        block.extend_from_slice(&[level as u8 + 1, kept as u8 | if has_up { 0x80 } else { 0 }]);
        for layer in 0..=level {
            let at = block.len();
            block.push(0);
            self.gather(row, layer, |neighbour| block.extend_from_slice(&neighbour.to_le_bytes()));
            block[at] = ((block.len() - at - 1) / 4) as u8;
        }
    }
}

/// Puts a graph together from the files of its shards. Nobody can see the graph before `finish` has made it whole.
pub struct GraphLoader {
    graph: Graph,
}

impl GraphLoader {
    /// An empty graph to read files into.
    ///
    /// # Errors
    /// As [`Graph::new`].
    pub fn new(params: GraphParams, shards: usize, row_bits: u32) -> Result<GraphLoader> {
        Ok(GraphLoader { graph: Graph::empty(params, shards, row_bits)? })
    }

    /// Reads the file of a shard that has `published` ordinals; what the file says of rows for which `exists` is false is
    /// left out. Each shard is read once.
    ///
    /// # Errors
    /// `Damaged` with the offset where the file does not hold together or is of another shape than the graph,
    /// `NewerFormat`, and `Io`.
    pub fn read(
        &mut self,
        shard: usize,
        published: u64,
        exists: impl Fn(u32) -> bool,
        path: &Path,
        reader: &mut impl Read,
    ) -> Result<()> {
        assert_eq!(self.graph.used(shard), 0, "shard {shard} was read twice");
        let mut source = Source { path, reader, offset: 0 };
        let mut header = [0; HEADER_BYTES];
        source.fill(&mut header)?;
        let (in_file, entry) = self.check_header(&header, shard, path)?;
        let indexed = long(&header, 48).min(published);
        if let Some((level, row)) = entry
            && self.graph.entry().is_none_or(|(best, _)| level > best)
        {
            self.graph.set_entry(Some((level, row)));
        }
        let mut body = Vec::new();
        for first in (0..in_file).step_by(BLOCK_SLOTS as usize) {
            let at = source.offset;
            let damaged = |problem| Err(Error::Damaged { path: path.into(), offset: at, problem });
            let mut head = [0; BLOCK_HEADER_BYTES];
            source.fill(&mut head)?;
            let count = BLOCK_SLOTS.min(in_file - first);
            let body_bytes = number(&head, 8) as usize;
            if (number(&head, 0), number(&head, 4)) != (first, count) || body_bytes > BLOCK_BODY_BYTES_MAX {
                return damaged("a block header makes no sense");
            }
            body.resize(body_bytes, 0);
            if let Err(error) = source.fill(&mut body) {
                // A length that was damaged reads past the end: the block is what to look at.
                let Error::Damaged { .. } = error else { return Err(error) };
                return damaged("a block ends early");
            }
            if checksum(&[&head[..12], &body]) != number(&head, 12) {
                return damaged("the checksum of a block is wrong");
            }
            let mut rest = &body[..];
            for slot in first..first + count {
                let offset = source.offset - rest.len() as u64;
                self.decode_node(shard, slot, &exists, &mut rest).ok_or_else(|| Error::Damaged {
                    path: path.into(),
                    offset,
                    problem: "a node makes no sense",
                })?;
            }
            if !rest.is_empty() {
                return damaged("a block is longer than its nodes");
            }
        }
        source.end()?;
        self.graph.set_indexed(shard, indexed);
        self.graph.set_unrefined(shard, number(&header, 56));
        Ok(())
    }

    /// Drops links to rows that are not there, inserts again what nothing leads to any more, and gives the graph out.
    pub fn finish<S: Space + ?Sized>(self, space: &S) -> Arc<Graph> {
        super::repair::repair(self.graph, space)
    }

    #[allow(clippy::type_complexity)]
    fn check_header(
        &self,
        header: &[u8; HEADER_BYTES],
        shard: usize,
        path: &Path,
    ) -> Result<(u32, Option<(usize, u32)>)> {
        let damaged = |offset, problem| Err(Error::Damaged { path: path.into(), offset, problem });
        if header[..8] != MAGIC {
            return damaged(0, "this is not a graph file");
        }
        // The version comes before the checksum: a newer format may keep its checksum elsewhere.
        let version = number(header, 8);
        if version > FORMAT_VERSION {
            return Err(Error::NewerFormat { path: path.into(), found: version, supported: FORMAT_VERSION });
        }
        if checksum(&[&header[..60]]) != number(header, 60) {
            return damaged(60, "the checksum of the header is wrong");
        }
        let graph = &self.graph;
        let shape = [FORMAT_VERSION, shard as u32, graph.shards() as u32, graph.row_bits(), graph.params().m as u32];
        for (field, expected) in shape.into_iter().enumerate() {
            let offset = 8 + field * 4;
            if number(header, offset) != expected {
                return damaged(offset as u64, "the graph has another shape");
            }
        }
        let slots = number(header, 28);
        if u64::from(slots) > 1 << graph.row_bits() {
            return damaged(28, "more slots than a shard has");
        }
        if long(header, 32) != graph.params().seed {
            return damaged(32, "the graph has another seed");
        }
        let entry = long(header, 40);
        let (state, row) = ((entry >> 32) as usize, entry as u32);
        if state > LEVEL_MAX + 1 || (state > 0 && (row == u32::MAX || graph.owner(row) >= graph.shards())) {
            return damaged(40, "the entry point makes no sense");
        }
        Ok((slots, (state > 0).then(|| (state - 1, row))))
    }

    /// Takes a node off `rest`; None when it makes no sense. Stores it if its row `exists`.
    fn decode_node(&mut self, shard: usize, slot: u32, exists: &impl Fn(u32) -> bool, rest: &mut &[u8]) -> Option<()> {
        let graph = &self.graph;
        let state = usize::from(take(rest, 1)?[0]);
        if state == 0 {
            return Some(());
        }
        let kept = take(rest, 1)?[0];
        let (kept, has_up) = (usize::from(kept & 0x7f), kept & 0x80 != 0);
        let (row, level) = (graph.row(shard, slot), state - 1);
        if level > LEVEL_MAX || row == u32::MAX || (has_up && kept == 0) {
            return None;
        }
        let wanted = exists(row) && graph.reserve(row, level) == level;
        for layer in 0..=level {
            let count = usize::from(take(rest, 1)?[0]);
            if count > graph.degree_max(layer) || (layer == 0 && kept > count) {
                return None;
            }
            let mut rows = [0; 64];
            for (entry, bytes) in rows.iter_mut().zip(take(rest, count * 4)?.chunks_exact(4)) {
                *entry = number(bytes, 0);
                if *entry == u32::MAX || *entry == row || graph.owner(*entry) >= graph.shards() {
                    return None;
                }
            }
            if wanted {
                graph.store_links(row, layer, 0, &rows[..count]);
            }
        }
        if wanted {
            graph.set_kept(row, kept, has_up);
            graph.publish(row, level);
        }
        Some(())
    }
}

/// A reader that knows where it is.
struct Source<'a, R> {
    path: &'a Path,
    reader: &'a mut R,
    offset: u64,
}

impl<R: Read> Source<'_, R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) => return Err(self.damaged("the file ends early")),
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(source) if source.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Io { operation: "read", path: self.path.into(), source }),
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("the file goes on behind its end")),
            Err(source) => Err(Error::Io { operation: "read", path: self.path.into(), source }),
        }
    }

    fn damaged(&self, problem: &'static str) -> Error {
        Error::Damaged { path: self.path.into(), offset: self.offset, problem }
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    digest.finalize() as u32
}
