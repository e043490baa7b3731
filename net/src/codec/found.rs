//! SEARCH, the reply: what was found for each query.

use engine::ids::IdsView;
use engine::limits::K_MAX;
use engine::schema::{IdKind, IdRef};
use engine::search::{Side, Sides};

use super::fields::{MESSAGE_ALIGNMENT, Reader, Writer, packed_u32, packed_u32s};
use super::header::FrameError;
use super::ids::{read_ids, write_ids};
use super::rows::read_message;

/// Bits of the word that says which arrays a reply has besides ids and distances.
const SCORES: u32 = 1 << 0;
const SIDES: u32 = 1 << 1;
const GROUPS: u32 = 1 << 2;
const ARRAYS: u32 = SCORES | SIDES | GROUPS;
/// Bytes of the sides of one result.
const SIDES_BYTES: usize = 16;
/// Rank of a row that is not on a side.
const NO_RANK: u32 = u32::MAX;

/// What a reply tells of its results besides ids and distances, where it was asked for; each in the order of the results.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Extras<'p> {
    /// Similarity of each.
    pub scores: Option<&'p [f32]>,
    /// Where each stands on both sides of a hybrid search.
    pub sides: Option<&'p [Sides]>,
    /// Group of each: its place among the groups of its query, from 0.
    pub groups: Option<&'p [u32]>,
    /// JSON about the search as a whole; empty for none.
    pub report: &'p [u8],
}

impl Extras<'_> {
    fn arrays(&self) -> u32 {
        let bit = |is_there: bool, bit| if is_there { bit } else { 0 };
        bit(self.scores.is_some(), SCORES) | bit(self.sides.is_some(), SIDES) | bit(self.groups.is_some(), GROUPS)
    }

    fn write(&self, results: usize, writer: &mut Writer<'_>) {
        if let Some(scores) = self.scores {
            assert_eq!(scores.len(), results, "a score for each result");
            for score in scores {
                writer.u32(score.to_bits());
            }
        }
        if let Some(sides) = self.sides {
            assert_eq!(sides.len(), results, "sides for each result");
            let absent = Side { rank: NO_RANK, value: f32::NAN };
            for side in sides.iter().flat_map(|sides| [sides.dense, sides.text]) {
                let Side { rank, value } = side.unwrap_or(absent);
                writer.u32(rank).u32(value.to_bits());
            }
        }
        if let Some(groups) = self.groups {
            assert_eq!(groups.len(), results, "a group for each result");
            for &group in groups {
                writer.u32(group);
            }
        }
    }
}

/// What stands before the optional message in the reply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundPrefix<'p> {
    /// Results per query that were asked for.
    pub k: u32,
    /// Live rows that the graph did not hold yet; they were scanned.
    pub index_lag: u64,
    /// Results of each query.
    pub counts: &'p [u32],
    /// Kind of the collection's ids.
    pub id_kind: IdKind,
    /// Bytes of the message that is appended behind; 0 when no column was asked for.
    pub message_len: u64,
    /// What was asked for besides.
    pub extras: Extras<'p>,
}

impl FoundPrefix<'_> {
    /// Appends the prefix and its padding. Distances and ids come query by query, nearest first.
    pub fn encode<'b>(
        &self,
        distances: impl ExactSizeIterator<Item = f32>,
        ids: impl ExactSizeIterator<Item = IdRef<'b>> + Clone,
        out: &mut Vec<u8>,
    ) {
        let total: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        assert!(total == distances.len() as u64, "a distance for each result");
        assert!(total == ids.len() as u64, "an id for each result");
        let mut writer = Writer::new(out);
        writer.u32(self.counts.len() as u32).u32(self.k).u64(self.index_lag);
        writer.u32(self.extras.arrays()).u32(self.extras.report.len() as u32).u64(self.message_len);
        for &count in self.counts {
            writer.u32(count);
        }
        for distance in distances {
            writer.u32(distance.to_bits());
        }
        self.extras.write(ids.len(), &mut writer);
        write_ids(self.id_kind, ids, &mut writer);
        writer.bytes(self.extras.report).align(MESSAGE_ALIGNMENT);
    }

    /// Bytes of the body of a reply without extras, up to the message, for ids with `id_text_bytes` bytes of text in all (0 for u64).
    pub fn bytes(queries: usize, results: usize, id_kind: IdKind, id_text_bytes: usize) -> usize {
        let ids = match id_kind {
            IdKind::U64 | IdKind::I64 => results * 8,
            IdKind::Utf8 => (results + 1) * 4 + id_text_bytes,
        };
        (32 + queries * 4 + results * 4 + 8 + ids).next_multiple_of(MESSAGE_ALIGNMENT)
    }
}

/// The reply.
///
/// ```text
/// queries u32 | k u32 | index_lag u64 | arrays u32 (1 scores, 2 sides, 4 groups) | report length u32 | message_len u64
/// results of each query u32 × queries | distance f32 × results
/// score f32 × results                                                                        with scores
/// (dense rank u32 | dense distance f32 | text rank u32 | text score f32) × results           with sides
/// group u32 × results                                                                        with groups
/// ids | report | zero padding to a multiple of 64 | message
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// Results per query that were asked for.
    pub k: u32,
    /// Live rows that the graph did not hold yet; they were scanned.
    pub index_lag: u64,
    counts: &'a [u8],
    distances: &'a [u8],
    scores: Option<&'a [u8]>,
    sides: Option<&'a [u8]>,
    groups: Option<&'a [u8]>,
    /// The id of each result, query by query, nearest first.
    pub ids: IdsView<'a>,
    /// JSON about the search as a whole; empty for none.
    pub report: &'a [u8],
    /// Arrow IPC record batch message with the asked columns, a row for each result in the order of the ids; may be empty.
    pub message: &'a [u8],
}

impl<'a> Found<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let queries = reader.u32("queries")?;
        let k = reader.u32("k")?;
        let index_lag = reader.u64("index lag")?;
        let arrays = reader.u32("arrays")?;
        if arrays & !ARRAYS != 0 {
            return Err(FrameError::Field { field: "arrays", problem: "unknown bit" });
        }
        let report_len = reader.u32("report length")?;
        let message_len = reader.u64("message length")?;
        let counts = reader.bytes(u64::from(queries) * 4, "result counts")?;
        let count_max = if arrays & GROUPS == 0 { k } else { K_MAX as u32 };
        if packed_u32s(counts).any(|count| count > count_max) {
            return Err(FrameError::Field { field: "result counts", problem: "more than k" });
        }
        let total = packed_u32s(counts).try_fold(0_u64, |sum, count| sum.checked_add(u64::from(count)));
        let mut array = |is_there: bool, each: usize, field| {
            let bytes = total.and_then(|total| total.checked_mul(each as u64)).unwrap_or(u64::MAX);
            if is_there { reader.bytes(bytes, field).map(Some) } else { Ok(None) }
        };
        let distances = array(true, 4, "distances")?.unwrap_or_default();
        let scores = array(arrays & SCORES != 0, 4, "scores")?;
        let sides = array(arrays & SIDES != 0, SIDES_BYTES, "sides")?;
        let groups = array(arrays & GROUPS != 0, 4, "groups")?;
        let ids = read_ids(&mut reader, u64::from(u32::MAX))?;
        if ids.len() * 4 != distances.len() {
            return Err(FrameError::Field { field: "ids", problem: "not one for each result" });
        }
        let report = reader.bytes(u64::from(report_len), "report")?;
        let message = read_message(&mut reader, message_len)?;
        reader.finish()?;
        Ok(Self { k, index_lag, counts, distances, scores, sides, groups, ids, report, message })
    }

    /// Results of each query.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        packed_u32s(self.counts)
    }

    /// The distance of each result, query by query, nearest first.
    pub fn distances(&self) -> impl ExactSizeIterator<Item = f32> + use<'a> {
        packed_u32s(self.distances).map(f32::from_bits)
    }
    /// The similarity of each result, where it was asked for.
    pub fn scores(&self) -> Option<impl ExactSizeIterator<Item = f32> + use<'a>> {
        self.scores.map(|scores| packed_u32s(scores).map(f32::from_bits))
    }

    /// Where each result stands on both sides of a hybrid search.
    pub fn sides(&self) -> Option<impl ExactSizeIterator<Item = Sides> + use<'a>> {
        let side = |bytes: &[u8], at: usize| {
            let (rank, value) = (packed_u32(bytes, at), f32::from_bits(packed_u32(bytes, at + 1)));
            (rank != NO_RANK).then_some(Side { rank, value })
        };
        let sides = move |bytes: &'a [u8]| Sides { dense: side(bytes, 0), text: side(bytes, 2) };
        self.sides.map(|bytes| bytes.chunks_exact(SIDES_BYTES).map(sides))
    }

    /// The group of each result, where results were grouped.
    pub fn groups(&self) -> Option<impl ExactSizeIterator<Item = u32> + use<'a>> {
        self.groups.map(packed_u32s)
    }
}
