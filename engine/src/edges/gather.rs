//! The edges of one node that a walk follows, from all segments.

use std::ops::Range;
use std::sync::Arc;

use super::segment::{Place, Segment};
use crate::schema::IdRef;

/// Which way edges are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From where they come to where they lead.
    #[default]
    Out,
    /// The other way.
    In,
    /// Both ways.
    Both,
}

impl Direction {
    /// Name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
            Direction::Both => "both",
        }
    }

    /// Direction of a name.
    pub fn from_name(name: &str) -> Option<Direction> {
        [Direction::Out, Direction::In, Direction::Both].into_iter().find(|direction| direction.name() == name)
    }
}

/// Which edges are followed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Follow {
    /// Which way.
    pub direction: Direction,
    /// Of these types; empty: of any. The empty text stands for edges without a type.
    pub kinds: Vec<String>,
    /// Of this weight at least.
    pub weight_min: f32,
    /// So many of a node at most: the heaviest, of equal ones those whose other node has the least id. 0: all.
    pub fan_out: usize,
}

/// An edge that is followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub segment: u32,
    pub node: u32,
    pub weight: f32,
}

/// The edges of a node that is looked at, as far as they are known.
#[derive(Default)]
pub(super) struct Gather {
    /// The segment that is looked at, whether it is its second list, and what is left of that.
    segment: usize,
    is_second: bool,
    left: Range<usize>,
    /// The node, by its number in the segment.
    local: Option<u32>,
    pub found: Vec<Found>,
}

impl Gather {
    /// To begin with another node.
    pub fn begin(&mut self, segments: &[Arc<Segment>], follow: &Follow, id: IdRef<'_>) {
        self.found.clear();
        (self.segment, self.is_second) = (0, false);
        self.enter(segments, follow, id);
    }

    /// Begins with the list that is next, if there is one.
    fn enter(&mut self, segments: &[Arc<Segment>], follow: &Follow, id: IdRef<'_>) {
        let Some(segment) = segments.get(self.segment) else { return };
        if !self.is_second {
            self.local = segment.nodes.find(id);
        }
        let is_in = self.is_second || follow.direction == Direction::In;
        let lists = if is_in { &segment.into } else { &segment.out };
        self.left = self.local.map_or(0..0, |local| lists.of(local));
    }

    /// Looks at up to `most` edges; gives how many, and whether all have been. Of types only those are followed that `kinds` says, by
    /// segment and number of the type.
    pub fn step(
        &mut self,
        segments: &[Arc<Segment>],
        follow: &Follow,
        kinds: &[Vec<bool>],
        id: IdRef<'_>,
        most: usize,
        visible: &impl Fn(Place) -> bool,
    ) -> (usize, bool) {
        let mut looked = 0;
        while let Some(segment) = segments.get(self.segment) {
            let is_in = self.is_second || follow.direction == Direction::In;
            let lists = if is_in { &segment.into } else { &segment.out };
            let end = self.left.end.min(self.left.start + (most - looked));
            let kinds = kinds.get(self.segment);
            for entry in &lists.entries[self.left.start..end] {
                let is_loop_again = self.is_second && Some(entry.node) == self.local;
                let is_followed = entry.weight >= follow.weight_min
                    && kinds.is_none_or(|kinds| kinds[entry.kind as usize])
                    && !is_loop_again
                    && visible(segment.place(entry));
                if is_followed {
                    self.found.push(Found { segment: self.segment as u32, node: entry.node, weight: entry.weight });
                }
            }
            looked += end - self.left.start;
            self.left.start = end;
            if !self.left.is_empty() {
                return (looked, false);
            }
            if follow.direction == Direction::Both && !self.is_second {
                self.is_second = true;
            } else {
                (self.segment, self.is_second) = (self.segment + 1, false);
            }
            self.enter(segments, follow, id);
        }
        (looked, true)
    }

    /// Leaves as many as may be followed.
    pub fn choose(&mut self, segments: &[Arc<Segment>], fan_out: usize) {
        if fan_out == 0 || self.found.len() <= fan_out {
            return;
        }
        let id = |found: &Found| segments[found.segment as usize].id(found.node);
        let heaviest_first =
            |left: &Found, right: &Found| right.weight.total_cmp(&left.weight).then_with(|| id(left).cmp(&id(right)));
        self.found.select_nth_unstable_by(fan_out - 1, heaviest_first);
        self.found.truncate(fan_out);
    }
}
