//! Lists of text as bytes: what the region keeps of a row of a column of tags, in the heap, one behind the other.
//!
//! ```text
//! list = item …
//! item = length u8 (0 to 254) bytes | 255 length u32 bytes          little endian
//! ```
//!
//! Nothing counts the items: the list ends where its bytes end. An empty list and a null have no bytes.

/// Length that says that four bytes of length follow.
const LONG: u8 = u8::MAX;

/// Appends an item.
pub fn push(item: &str, list: &mut Vec<u8>) {
    match u8::try_from(item.len()) {
        Ok(len) if len != LONG => list.push(len),
        _ => {
            list.push(LONG);
            let len = u32::try_from(item.len()).expect("a text is shorter than a frame");
            list.extend_from_slice(&len.to_le_bytes());
        }
    }
    list.extend_from_slice(item.as_bytes());
}

/// The items of a list, as bytes of UTF-8.
///
/// # Panics
/// While it is read, where the bytes are none that [`push`] wrote.
pub fn items(list: &[u8]) -> Items<'_> {
    Items { rest: list }
}

/// What [`items`] gives.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.rest.split_first()?;
        let (len, rest) = match len {
            LONG => {
                let (len, rest) = rest.split_first_chunk::<4>().expect("a length of four bytes");
                (u32::from_le_bytes(*len) as usize, rest)
            }
            len => (usize::from(len), rest),
        };
        let (item, rest) = rest.split_at(len);
        self.rest = rest;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_as_they_were_pushed() {
        let long = "ß".repeat(300);
        let edges = ["x".repeat(254), "x".repeat(255), "x".repeat(256)];
        let all = ["", "a", &long, &edges[0], &edges[1], &edges[2], ""];
        let mut list = Vec::new();
        all.iter().for_each(|item| push(item, &mut list));
        assert_eq!(items(&list).collect::<Vec<_>>(), all.map(str::as_bytes));
        assert_eq!(items(&[]).count(), 0);
        assert_eq!(list[..3], [0, 1, b'a'], "a short item costs one byte more than its text");
    }
}
