//! What a distance kernel is, and the two forms in which it is called.

use crate::rows::Rows;
use crate::scalar::{check_lengths, check_query};
use crate::vector::Vector;

/// One distance over the registers of `V`.
///
/// # Safety
/// Every function may run only on a CPU that has the instruction set of `V`, and with vectors of the same length
/// that [`check_lengths`] has let pass; `prepare` and `distance` with a query of `QUERY_RATIO` times that length.
pub(crate) trait Kernel<V: Vector> {
    /// What is worked out once for a query.
    type Query: Copy;

    /// Bytes of an element.
    const ELEMENT_BYTES: usize;
    /// Length of a query to many rows in that of a row.
    const QUERY_RATIO: usize = 1;

    /// Works out what is the same for every row.
    unsafe fn prepare(query: &[u8]) -> Self::Query;
    /// The distance from a prepared query to a row.
    unsafe fn distance(query: &[u8], prepared: Self::Query, row: &[u8]) -> f32;
    /// The distance of two vectors, in one pass: the same bits as `distance` gives to a query made of `a`.
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32;
}

/// [`crate::Distance::pair`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn pair<V: Vector, K: Kernel<V>>(a: &[u8], b: &[u8]) -> f32 {
    check_lengths(a, b, K::ELEMENT_BYTES);
    // SAFETY: the caller has checked the CPU, the line above the lengths.
    unsafe { K::pair(a, b) }
}

/// [`crate::Distance::rows`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn rows<V: Vector, K: Kernel<V>>(query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut [f32]) {
    assert!(ids.len() == out.len(), "{} ids, room for {} distances", ids.len(), out.len());
    let Some(first) = ids.first() else { return };
    check_query(query, rows.get(*first), K::ELEMENT_BYTES, K::QUERY_RATIO);
    let ahead = rows.rows_ahead();
    for id in ids.iter().take(ahead) {
        rows.prefetch(*id);
    }
    // SAFETY: the caller has checked the CPU, `check_query` the lengths, and all rows have the same.
    unsafe {
        let prepared = K::prepare(query);
        for (i, (id, out)) in ids.iter().zip(out).enumerate() {
            if let Some(next) = ids.get(i + ahead) {
                rows.prefetch(*next);
            }
            *out = K::distance(query, prepared, rows.get(*id));
        }
    }
}
