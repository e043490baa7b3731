//! Prepared writes whose columns of numbers get new values: a load that writes forever encodes its vectors once.
//!
//! Only what lies before the end of the last such column is summed again; the checksum of the rest is kept and the two are
//! combined. So the columns that change should come first in the schema, before the vectors.

use std::ops::Range;

use engine::batch::{BatchView, Values};
use engine::schema::Schema;

use super::collection::{Part, PreparedWrite};
use crate::codec;
use crate::error::Result;

/// A prepared write that can be changed, [`Collection::rewritable`](super::Collection::rewritable).
#[derive(Debug, Clone)]
pub struct RewritableWrite<const COLUMNS: usize> {
    write: PreparedWrite,
    parts: Vec<Place<COLUMNS>>,
}

/// Where the columns of a part lie in its message.
#[derive(Debug, Clone)]
struct Place<const COLUMNS: usize> {
    rows: usize,
    columns: [Range<usize>; COLUMNS],
    /// What begins here does not change.
    tail: usize,
    tail_crc: u32,
}

impl<const COLUMNS: usize> RewritableWrite<COLUMNS> {
    /// Finds the columns in each part.
    ///
    /// # Panics
    /// Where a column does not hold numbers, or is named twice.
    pub(super) fn new(schema: &Schema, write: PreparedWrite, columns: [usize; COLUMNS]) -> Result<Self> {
        let parts = write.parts.iter().map(|part| Place::find(schema, part, columns)).collect::<Result<_>>()?;
        Ok(RewritableWrite { write, parts })
    }

    /// The write as it is now, for [`Collection::send`](super::Collection::send).
    pub fn write(&self) -> &PreparedWrite {
        &self.write
    }

    /// Has `fill` write new values, little endian, for the columns of each part. It gets the shard that the part goes to, the
    /// number of rows and the bytes of each column. A row whose new id lives on another shard takes a detour there.
    pub fn rewrite(&mut self, mut fill: impl FnMut(usize, usize, [&mut [u8]; COLUMNS])) {
        for (part, place) in self.write.parts.iter_mut().zip(&self.parts) {
            let columns = part.message.get_disjoint_mut(place.columns.clone()).expect("columns do not overlap");
            fill(part.shard, place.rows, columns);
            let head_crc = codec::crc(&part.message[..place.tail]);
            part.crc = codec::combine(head_crc, place.tail_crc, (part.message.len() - place.tail) as u64);
        }
    }
}

impl<const COLUMNS: usize> Place<COLUMNS> {
    fn find(schema: &Schema, part: &Part, columns: [usize; COLUMNS]) -> Result<Self> {
        let view = BatchView::parse(schema, &part.message)?;
        let columns = columns.map(|column| {
            let Values::Fixed { bytes, width } = view.column(column).values() else {
                panic!("column {column} does not hold numbers")
            };
            let start = bytes.as_ptr() as usize - part.message.as_ptr() as usize;
            start..start + view.rows() * width
        });
        let tail = columns.iter().map(|column| column.end).max().unwrap_or(0);
        Ok(Place { rows: view.rows(), columns, tail, tail_crc: codec::crc(&part.message[tail..]) })
    }
}
