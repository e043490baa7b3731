//! Queries that are made of rows: their vectors are read where they are, whichever shard they live on, in memory or on disk.

use std::sync::Arc;

use engine::Error;
use engine::collection::Collection;
use engine::search::{Examples, query_of};

use super::context::Context;
use super::tasks;

/// The query of some rows of a vector column.
///
/// # Errors
/// `RowMissing` where a row is not there.
pub(super) async fn query(
    context: &Context,
    collection: &Arc<Collection>,
    vector: usize,
    examples: &Examples,
) -> engine::Result<Arc<[u8]>> {
    let pin = collection.region.pin();
    let found = tasks::find_rows(context, collection.spec.id, &examples.ids).await?;
    let vectors = collection.region.vectors(vector);
    let rows = found.into_iter().zip(examples.ids.view().iter()).map(|(row, id)| {
        let missing = || Error::RowMissing { id: id.to_string() };
        row.map(|row| vectors.get(row)).ok_or_else(missing)
    });
    let rows = rows.collect::<engine::Result<Vec<_>>>()?;
    let query = query_of(&collection.spec.schema.vectors()[vector], &rows, examples.liked);
    drop(pin);
    Ok(query.into())
}
