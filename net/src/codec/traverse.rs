//! TRAVERSE: nodes that edges lead to.

use engine::edges::{Direction, Follow, Spread};
use engine::ids::IdsView;
use engine::limits::{EDGE_TYPE_BYTES_MAX, IDS_MAX, TRAVERSE_TYPES_MAX};
use engine::schema::{IdKind, IdRef};
use engine::traversal::TraversalRequest;

use super::fields::{Reader, Writer, packed_u32s};
use super::header::FrameError;
use super::ids::{read_ids, write_ids};

/// Activation spreads.
const SPREAD: u8 = 1;
/// Weights are taken as they are.
const RAW: u8 = 2;
/// Nodes without a row come too.
const MISSING: u8 = 4;
/// In a reply: a limit ended the traversal.
const TRUNCATED: u32 = 1;

/// A traversal.
///
/// ```text
/// hops u8 | hops_min u8 | direction u8 | flags u8 | nodes_max u32 | limit u32 | fan_out u32 | weight_min f32 | decay f64
/// | types u16 | text × types | zero padding to a multiple of 8 | ids | activations u32 | f32 × activations
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traverse<'a> {
    /// Hops, at most.
    pub hops: u8,
    /// Nodes at fewer hops are left out.
    pub hops_min: u8,
    /// Which way edges are followed.
    pub direction: Direction,
    /// What is left of activation after a hop, if it spreads.
    pub decay: Option<f64>,
    /// Whether weights are taken as they are.
    pub raw: bool,
    /// Whether nodes come that are no rows.
    pub missing: bool,
    /// Nodes that are reached at most; 0: the server's default.
    pub nodes_max: u32,
    /// Results at most; 0: the server's default.
    pub limit: u32,
    /// Edges of a node that are followed at most; 0: all.
    pub fan_out: u32,
    /// Least weight of an edge that is followed.
    pub weight_min: f32,
    types: Types<'a>,
    /// Where it begins.
    pub seeds: IdsView<'a>,
    activations: &'a [u8],
}

/// Texts one behind the other, each checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Types<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Traverse<'a> {
    /// Appends the body. `activations` has one for each seed, or none.
    pub fn encode<'b>(
        request: &TraversalRequest,
        kind: IdKind,
        seeds: impl ExactSizeIterator<Item = IdRef<'b>> + Clone,
        activations: &[f32],
        out: &mut Vec<u8>,
    ) {
        let TraversalRequest { hops, hops_min, follow, spread, nodes_max, limit, missing } = request;
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let direction = match follow.direction {
            Direction::Out => 0,
            Direction::In => 1,
            Direction::Both => 2,
        };
        let flag = |is_set: bool, bit| if is_set { bit } else { 0 };
        let flags = flag(spread.is_some(), SPREAD)
            | flag(spread.is_some_and(|spread| spread.raw), RAW)
            | flag(*missing, MISSING);
        let decay = spread.map_or(0.0, |spread| spread.decay);
        let mut writer = Writer::new(out);
        writer.u8(*hops).u8(*hops_min).u8(direction).u8(flags);
        writer.u32(number(*nodes_max)).u32(number(*limit)).u32(number(follow.fan_out));
        writer.u32(follow.weight_min.to_bits()).u64(decay.to_bits());
        writer.u16(u16::try_from(follow.kinds.len()).expect("the sender checks the number of types"));
        for kind in &follow.kinds {
            writer.text(kind);
        }
        writer.align(8);
        write_ids(kind, seeds, &mut writer);
        writer.u32(number(activations.len()));
        for activation in activations {
            writer.u32(activation.to_bits());
        }
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let hops = reader.u8("hops")?;
        let hops_min = reader.u8("least hops")?;
        let direction = match reader.u8("direction")? {
            0 => Direction::Out,
            1 => Direction::In,
            2 => Direction::Both,
            _ => return Err(FrameError::Field { field: "direction", problem: "none of 0, 1, 2" }),
        };
        let flags = reader.u8("flags")?;
        if flags & !(SPREAD | RAW | MISSING) != 0 {
            return Err(FrameError::Field { field: "flags", problem: "a bit without a meaning is set" });
        }
        let nodes_max = reader.u32("nodes")?;
        let limit = reader.u32("limit")?;
        let fan_out = reader.u32("fan-out")?;
        let weight_min = f32::from_bits(reader.u32("least weight")?);
        let decay = f64::from_bits(reader.u64("decay")?);
        let types = Types::read(&mut reader)?;
        reader.align(8)?;
        let seeds = read_ids(&mut reader, IDS_MAX as u64)?;
        let count = reader.u32("activations")?;
        let activations = reader.bytes(u64::from(count) * 4, "activations")?;
        if count != 0 && count as usize != seeds.len() {
            return Err(FrameError::Field { field: "activations", problem: "not one for each seed" });
        }
        reader.finish()?;
        let decay = (flags & SPREAD != 0).then_some(decay);
        let (raw, missing) = (flags & RAW != 0, flags & MISSING != 0);
        Ok(Self {
            hops,
            hops_min,
            direction,
            decay,
            raw,
            missing,
            nodes_max,
            limit,
            fan_out,
            weight_min,
            types,
            seeds,
            activations,
        })
    }

    /// The types of edges that are followed; none: any.
    pub fn types(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let Types { count, bytes } = self.types;
        let mut reader = Reader::new(bytes);
        (0..count).map(move |_| reader.text(EDGE_TYPE_BYTES_MAX, "type").expect("read before"))
    }

    /// The activation of each seed; none: 1 each.
    pub fn activations(&self) -> impl ExactSizeIterator<Item = f32> + use<'a> {
        packed_u32s(self.activations).map(f32::from_bits)
    }

    /// What is asked for, with the defaults of the server.
    pub fn request(&self) -> TraversalRequest {
        let default = TraversalRequest::default();
        let or = |value: u32, default| if value == 0 { default } else { value as usize };
        TraversalRequest {
            hops: self.hops,
            hops_min: self.hops_min,
            follow: Follow {
                direction: self.direction,
                kinds: self.types().map(str::to_owned).collect(),
                weight_min: self.weight_min,
                fan_out: self.fan_out as usize,
            },
            spread: self.decay.map(|decay| Spread { decay, raw: self.raw }),
            nodes_max: or(self.nodes_max, default.nodes_max),
            limit: or(self.limit, default.limit),
            missing: self.missing,
        }
    }
}

impl<'a> Types<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let count = reader.u16("types")?;
        if usize::from(count) > TRAVERSE_TYPES_MAX {
            let (value, limit) = (u64::from(count), TRAVERSE_TYPES_MAX as u64);
            return Err(FrameError::Limit { what: "types", value, limit });
        }
        let mut ahead = reader.clone();
        for _ in 0..count {
            ahead.text(EDGE_TYPE_BYTES_MAX, "type")?;
        }
        let bytes = reader.bytes((ahead.position() - reader.position()) as u64, "types")?;
        Ok(Self { count, bytes })
    }
}

/// A node of a reply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraversedNode {
    /// Fewest hops that lead to it.
    pub hops: u8,
    /// Greatest product of weights along a path of so many hops.
    pub weight: f32,
    /// What has spread to it.
    pub activation: f32,
}

/// The reply.
///
/// ```text
/// nodes u32 | flags u32 | edges u64 | weight f32 × nodes | activation f32 × nodes | hops u8 × nodes
/// | zero padding to a multiple of 8 | ids
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traversed<'a> {
    /// Edges that were looked at.
    pub edges: u64,
    /// Whether a limit ended it early.
    pub is_truncated: bool,
    weights: &'a [u8],
    activations: &'a [u8],
    hops: &'a [u8],
    /// Id of each node.
    pub ids: IdsView<'a>,
}

impl<'a> Traversed<'a> {
    /// Appends the body.
    pub fn encode<'b>(
        nodes: &[TraversedNode],
        edges: u64,
        is_truncated: bool,
        kind: IdKind,
        ids: impl ExactSizeIterator<Item = IdRef<'b>> + Clone,
        out: &mut Vec<u8>,
    ) {
        let mut writer = Writer::new(out);
        writer.u32(u32::try_from(nodes.len()).expect("bounded by the limit of results"));
        writer.u32(if is_truncated { TRUNCATED } else { 0 }).u64(edges);
        for node in nodes {
            writer.u32(node.weight.to_bits());
        }
        for node in nodes {
            writer.u32(node.activation.to_bits());
        }
        for node in nodes {
            writer.u8(node.hops);
        }
        writer.align(8);
        write_ids(kind, ids, &mut writer);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let count = u64::from(reader.u32("nodes")?);
        let flags = reader.u32("flags")?;
        if flags & !TRUNCATED != 0 {
            return Err(FrameError::Field { field: "flags", problem: "a bit without a meaning is set" });
        }
        let edges = reader.u64("edges")?;
        let weights = reader.bytes(count * 4, "weights")?;
        let activations = reader.bytes(count * 4, "activations")?;
        let hops = reader.bytes(count, "hops")?;
        reader.align(8)?;
        let ids = read_ids(&mut reader, IDS_MAX as u64)?;
        if ids.len() as u64 != count {
            return Err(FrameError::Field { field: "ids", problem: "not one for each node" });
        }
        reader.finish()?;
        Ok(Self { edges, is_truncated: flags & TRUNCATED != 0, weights, activations, hops, ids })
    }

    /// The nodes, in the order of the ids.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = TraversedNode> + use<'a> {
        let floats = |bytes| packed_u32s(bytes).map(f32::from_bits);
        let parts = self.hops.iter().zip(floats(self.weights)).zip(floats(self.activations));
        parts.map(|((&hops, weight), activation)| TraversedNode { hops, weight, activation })
    }
}
