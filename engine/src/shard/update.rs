//! Updates: new values for some columns of rows, made into a write of whole rows at their home.
//!
//! The other values are those of the newest row of each id, be it published or staged. What comes out is a batch like any other: it is
//! staged and logged as a write, and whoever replays it needs to know nothing of the update or of its conditions.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use hashbrown::HashMap;

use super::Member;
use super::partition::check_homes;
use crate::batch::{self, BatchView, ColumnView};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::limits;
use crate::schema::{IdRef, Layout, Schema};

/// New values for some columns of rows.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    /// Collection number.
    pub collection: u32,
    /// Fingerprint of the collection's schema, or of an older version of it: the places of its columns are the same.
    pub fingerprint: u64,
    /// Places of the columns that the batch has, in its order. The id is one of them.
    pub columns: Vec<usize>,
    /// Arrow IPC record batch message of these columns.
    pub batch: &'a [u8],
    /// What is done with ids that no row has.
    pub missing: Missing,
    /// What rows have to meet.
    pub condition: Condition,
}

/// What an update does with ids that no row has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// It is refused.
    #[default]
    Refuse,
    /// They are left out.
    Skip,
    /// They are inserted, with null in the columns that it does not have.
    Insert,
}

/// What the rows that are there have to meet to be updated. One that is not there meets everything.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Is true of the row.
    pub filter: Option<Arc<Filter>>,
    /// Place of a column of the update, u64, i64 or a timestamp: its value has to be greater than that of the row. Null is less than any.
    pub newer: Option<usize>,
    /// Rows that do not meet it are left out, instead of that the update is refused.
    pub skips: bool,
}

/// Rows that an update left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Ids that no row has.
    pub missing: u32,
    /// Rows that do not meet the condition.
    pub unmet: u32,
}

impl std::ops::Add for Skipped {
    type Output = Skipped;

    fn add(self, other: Skipped) -> Skipped {
        Skipped { missing: self.missing + other.missing, unmet: self.unmet + other.unmet }
    }
}

/// An update as a write of whole rows.
#[derive(Debug)]
pub struct Merged {
    /// Arrow IPC record batch message of all columns, behind the headroom asked for; None where every row was left out.
    pub message: Option<Vec<u8>>,
    /// What was left out.
    pub skipped: Skipped,
}

impl Condition {
    fn is_none(&self) -> bool {
        self.filter.is_none() && self.newer.is_none()
    }
}

/// Checks what can be checked of an update before it is known which rows there are, and gives the schema of its batch.
///
/// # Errors
/// `SchemaMismatch`, `UnknownColumn`, `MalformedBatch`, `MalformedColumn`.
pub fn check_update(update: &Update<'_>, schema: &Schema) -> Result<Schema> {
    if !schema.knows(update.fingerprint) {
        return Err(Error::SchemaMismatch { expected: schema.fingerprint(), found: update.fingerprint });
    }
    let partial = schema.partial(&update.columns)?;
    if update.missing == Missing::Insert {
        let is_null = |column: usize| schema.columns()[column].nullable && !schema.columns()[column].layout.is_vector();
        if let Some(column) =
            (0..schema.columns().len()).find(|column| !update.columns.contains(column) && !is_null(*column))
        {
            let problem = "it cannot be null: rows that are missing are inserted only with it";
            return Err(Error::MalformedColumn { column: schema.columns()[column].name.clone(), problem });
        }
    }
    if let Some(newer) = update.condition.newer {
        let name = || schema.columns().get(newer).map_or_else(|| format!("#{newer}"), |column| column.name.clone());
        if !update.columns.contains(&newer) {
            return Err(Error::UnknownColumn { name: name() });
        }
        let data_type = schema.arrow().field(newer).data_type();
        if !matches!(data_type, DataType::UInt64 | DataType::Int64 | DataType::Timestamp(..)) {
            let problem = "what is newer is told by a column of u64, i64 or a timestamp";
            return Err(Error::MalformedColumn { column: name(), problem });
        }
    }
    Ok(partial)
}

/// Where the row is that an id has before a row of the update.
#[derive(Clone, Copy)]
enum Before {
    /// There is none.
    Nowhere,
    /// In a slot.
    Slot(u32),
    /// Earlier in the update, by its place in what was accepted.
    Earlier(usize),
}

/// Rows that are written, by their place in the update, and the slots of the rows that their other values come from.
#[derive(Default)]
struct Accepted {
    rows: Vec<u32>,
    slots: Vec<Option<u32>>,
    skipped: Skipped,
}

impl Member {
    /// Makes an update a write of whole rows, behind `headroom` zero bytes. It holds for the rows that are there now: stage it before
    /// anything else.
    ///
    /// # Errors
    /// `RowMissing`, `ConditionFailed`, `Misplaced`, `LimitExceeded` where the whole rows have no room in a frame, and what is wrong with the
    /// batch.
    pub(super) fn merge(&mut self, update: &Update<'_>, headroom: usize) -> Result<Merged> {
        let schema = self.collection.spec.schema.clone();
        let partial = check_update(update, &schema)?;
        let batch = BatchView::parse(&partial, update.batch)?;
        check_homes((0..batch.rows()).map(|row| batch.id(row)), self.writer.shard(), self.collection.shards())?;
        let accepted = self.accept(update, &batch)?;
        if accepted.rows.is_empty() {
            return Ok(Merged { message: None, skipped: accepted.skipped });
        }
        self.check_bytes(update, &accepted, &schema)?;
        // Other values stand in the row of the update that they belong to.
        let mut slots = vec![None; batch.rows()];
        accepted.rows.iter().zip(&accepted.slots).for_each(|(&row, &slot)| slots[row as usize] = slot);
        let others = (0..schema.columns().len()).filter(|column| !update.columns.contains(column));
        let others = others.map(|column| Ok((column, self.writer.gather(column, &slots)?)));
        let others: Vec<(usize, ArrayRef)> = others.collect::<Result<_>>()?;
        let mut columns: Vec<Option<ColumnView<'_>>> = vec![None; schema.columns().len()];
        for (place, &column) in update.columns.iter().enumerate() {
            columns[column] = Some(*batch.column(place));
        }
        for (column, array) in &others {
            let malformed =
                |problem| Error::MalformedColumn { column: schema.columns()[*column].name.clone(), problem };
            columns[*column] = Some(ColumnView::of_array(array).map_err(malformed)?);
        }
        let columns: Vec<ColumnView<'_>> =
            columns.into_iter().map(|column| column.expect("one or the other")).collect();
        let message = batch::encode_rows(&columns, &accepted.rows, headroom)?;
        Ok(Merged { message: Some(message), skipped: accepted.skipped })
    }

    /// Decides which rows are written.
    fn accept(&mut self, update: &Update<'_>, batch: &BatchView<'_>) -> Result<Accepted> {
        let mut accepted = Accepted::default();
        let collection = self.collection.clone();
        let gone = collection.last_expired();
        // Where an id comes again, the row before it is the one before in the update.
        let mut earlier: HashMap<IdRef<'_>, usize> = HashMap::new();
        for row in 0..batch.rows() {
            let id = batch.id(row);
            let before = match earlier.get(&id) {
                Some(&place) => Before::Earlier(place),
                None => self.newest_living(id, gone).map_or(Before::Nowhere, Before::Slot),
            };
            let slot = match before {
                Before::Nowhere if update.missing == Missing::Refuse => {
                    return Err(Error::RowMissing { id: id.to_string() });
                }
                Before::Nowhere if update.missing == Missing::Skip => {
                    accepted.skipped.missing += 1;
                    continue;
                }
                Before::Nowhere => None,
                Before::Slot(slot) => Some(slot),
                Before::Earlier(place) => accepted.slots[place],
            };
            if !self.meets(update, batch, row, before, &accepted)? {
                if !update.condition.skips {
                    return Err(Error::ConditionFailed { id: id.to_string() });
                }
                accepted.skipped.unmet += 1;
                continue;
            }
            if batch.rows() > 1 {
                earlier.insert(id, accepted.rows.len());
            }
            accepted.rows.push(row as u32);
            accepted.slots.push(slot);
        }
        Ok(accepted)
    }

    fn meets(
        &self,
        update: &Update<'_>,
        batch: &BatchView<'_>,
        row: usize,
        before: Before,
        accepted: &Accepted,
    ) -> Result<bool> {
        let condition = &update.condition;
        if condition.is_none() {
            return Ok(true);
        }
        if let Some(filter) = &condition.filter {
            match before {
                Before::Slot(slot) if !self.accepts(filter, slot) => return Ok(false),
                // Half of such a row is here and half in the region.
                Before::Earlier(_) => {
                    return Err(Error::MalformedBatch { problem: "an id comes twice in an update with a filter" });
                }
                Before::Slot(_) | Before::Nowhere => {}
            }
        }
        let Some(newer) = condition.newer else { return Ok(true) };
        let place = update.columns.iter().position(|&column| column == newer).expect("checked before");
        let column = batch.column(place);
        let is_signed = !matches!(self.collection.spec.schema.arrow().field(newer).data_type(), DataType::UInt64);
        let of_batch = |row: usize| column.is_valid(row).then(|| order_key(column.fixed(row), is_signed));
        let stored = match before {
            Before::Nowhere => return Ok(true),
            Before::Earlier(place) => of_batch(accepted.rows[place] as usize),
            Before::Slot(slot) => self
                .writer
                .is_valid(newer, slot)
                .then(|| order_key(self.writer.fixed_rows(newer, slot..slot + 1), is_signed)),
        };
        Ok(of_batch(row) > stored)
    }

    /// Refuses what has no room in a frame, before memory is taken for it.
    fn check_bytes(&self, update: &Update<'_>, accepted: &Accepted, schema: &Schema) -> Result<()> {
        let others = (0..schema.columns().len()).filter(|column| !update.columns.contains(column));
        let widths = others.map(|column| match schema.columns()[column].layout {
            Layout::Bool => 1,
            layout => layout.row_bytes().unwrap_or(size_of::<u32>()),
        });
        let row_bytes: usize = widths.sum();
        let texts = accepted.slots.iter().flatten().map(|&slot| self.writer.text_len(slot, &update.columns));
        let bytes = (accepted.rows.len() * row_bytes + texts.sum::<usize>() + update.batch.len()) as u64;
        check_frame(bytes)
    }
}

/// Refuses a body that has no room in a frame.
pub(super) fn check_frame(bytes: u64) -> Result<()> {
    if bytes > limits::FRAME_BODY_BYTES_MAX {
        let (what, limit) = ("size in bytes of the whole rows of an update", limits::FRAME_BODY_BYTES_MAX);
        return Err(Error::LimitExceeded { what, value: bytes, limit });
    }
    Ok(())
}

/// Orders values of eight bytes as the numbers that they are.
fn order_key(bytes: &[u8], is_signed: bool) -> u64 {
    let value = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    if is_signed { value ^ 1 << 63 } else { value }
}

#[cfg(test)]
mod tests;
