//! Counts of rows and of values, on the shard that was asked, over the rows of all shards.

use std::rc::Rc;

use engine::batch;
use engine::shard::executor;
use engine::tally::{Counting, Faceting};

use super::context::Context;
use super::session::SessionId;
use super::tasks;
use super::writes::Refusal;
use crate::codec::{self, Count, Counted, FacetedPrefix, Facets, Header};

/// Checks a count and starts it.
pub fn spawn_count(context: &Rc<Context>, session: SessionId, header: Header, count: Count<'_>) -> Result<(), Refusal> {
    let collection = context.collection(header.collection)?;
    let filter = tasks::filter(&collection, count.filter)?;
    let mut counting = Counting::begin(collection, filter);
    let task = context.clone();
    tasks::spawn(context, session, header, async move {
        let rows = loop {
            let step = counting.step(task.scratch.borrow_mut().masks());
            match step {
                Some(rows) => break rows,
                None => executor::yield_if_needed().await,
            }
        };
        let mut frame = Vec::new();
        codec::encode_frame(header.reply(), &mut frame, |out| Counted { rows }.encode(out));
        Ok(frame)
    });
    Ok(())
}

/// Checks what is asked of a column and starts to count.
pub fn spawn_facets(
    context: &Rc<Context>,
    session: SessionId,
    header: Header,
    asked: Facets<'_>,
) -> Result<(), Refusal> {
    let collection = context.collection(header.collection)?;
    let column = usize::from(asked.column);
    if column >= collection.spec.schema.columns().len() {
        return Err(engine::Error::UnknownColumn { name: format!("#{column}") }.into());
    }
    let filter = tasks::filter(&collection, asked.filter)?;
    let mut faceting = Faceting::begin(collection, column, asked.limit as usize, filter)?;
    let task = context.clone();
    tasks::spawn(context, session, header, async move {
        let facets = loop {
            let step = faceting.step(task.scratch.borrow_mut().masks())?;
            match step {
                Some(facets) => break facets,
                None => executor::yield_if_needed().await,
            }
        };
        let message = batch::encode(&facets.values)?;
        tasks::check_reply(message.len())?;
        let (values, message_len) = (facets.values.num_rows() as u32, message.len() as u64);
        let (distinct, others, nulls) = (facets.distinct, facets.others, facets.nulls);
        let mut frame = Vec::new();
        codec::encode_frame(header.reply(), &mut frame, |out| {
            FacetedPrefix { distinct, others, nulls, values, message_len }.encode(out);
            out.extend_from_slice(&message);
        });
        Ok(frame)
    });
    Ok(())
}
