//! Where the words of a text begin and end, as far as ASCII says, and the text in lower case.
//!
//! A byte belongs to a word if it is an ASCII letter or digit, or no ASCII: what of that are words is for others to say. A pass over the
//! text gives a bit for each byte; [`runs`] makes ranges of them.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use crate::vector::Vector;

/// Bytes whose bits fill one word of marks.
pub(crate) const MARKED_BYTES: usize = 64;

/// The oracle of [`crate::Kernels::mark_words`].
pub(crate) fn mark_words_scalar(text: &[u8], lowered: &mut [u8], marks: &mut [u64]) -> bool {
    check(text, lowered, marks);
    let mut is_ascii = true;
    for ((text, lowered), marks) in text.chunks(MARKED_BYTES).zip(lowered.chunks_mut(MARKED_BYTES)).zip(marks) {
        *marks = 0;
        for (at, (byte, lowered)) in text.iter().zip(lowered).enumerate() {
            *lowered = byte.to_ascii_lowercase();
            *marks |= u64::from(byte.is_ascii_alphanumeric() || !byte.is_ascii()) << at;
            is_ascii &= byte.is_ascii();
        }
    }
    is_ascii
}

/// [`crate::Kernels::mark_words`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn mark_words<V: Vector>(text: &[u8], lowered: &mut [u8], marks: &mut [u64]) -> bool {
    const { assert!(V::BYTES <= MARKED_BYTES && MARKED_BYTES.is_multiple_of(V::BYTES)) };
    check(text, lowered, marks);
    let mut not_ascii = 0;
    for ((text, lowered), marks) in text.chunks(MARKED_BYTES).zip(lowered.chunks_mut(MARKED_BYTES)).zip(marks) {
        *marks = 0;
        for at in (0..text.len()).step_by(V::BYTES) {
            let count = V::BYTES.min(text.len() - at);
            // SAFETY: the caller has checked the CPU. Where a register is whole it lies in both slices, which have the same length.
            // Else as many bytes are read as there are, and the buffer has room for a register.
            let (words, others) = unsafe {
                let from = text.as_ptr().add(at);
                if count == V::BYTES {
                    V::lower_and_mark(V::load_bytes(from), lowered.as_mut_ptr().add(at))
                } else {
                    let mut rest = [0; MARKED_BYTES];
                    let marked = V::lower_and_mark(V::load_bytes_partial(from, count, 0), rest.as_mut_ptr());
                    lowered[at..].copy_from_slice(&rest[..count]);
                    marked
                }
            };
            *marks |= words << at;
            not_ascii |= others;
        }
    }
    not_ascii == 0
}

fn check(text: &[u8], lowered: &[u8], marks: &[u64]) {
    assert!(text.len() == lowered.len(), "{} bytes of text, room for {}", text.len(), lowered.len());
    let needed = text.len().div_ceil(MARKED_BYTES);
    assert!(marks.len() == needed, "{needed} words of marks, room for {}", marks.len());
}

/// The runs of marked bytes, in their order: each as long as it can be, and not empty.
pub fn runs(marks: &[u64]) -> Runs<'_> {
    Runs { marks, word: 0, edges: marks.first().map_or(0, |&first| first ^ first << 1) }
}

/// Iterator of [`runs`].
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    marks: &'a [u64],
    word: usize,
    /// Bits of the word where a run begins or ends, those that were passed taken out.
    edges: u64,
}

impl Runs<'_> {
    /// The next place where marked and unmarked bytes meet.
    #[inline]
    fn edge(&mut self) -> Option<usize> {
        while self.edges == 0 {
            let carried = self.marks.get(self.word)? >> 63;
            self.word += 1;
            let Some(&next) = self.marks.get(self.word) else {
                // A run up to the last mark ends there.
                return (carried == 1).then_some(self.word * MARKED_BYTES);
            };
            self.edges = next ^ (next << 1 | carried);
        }
        let place = self.word * MARKED_BYTES + self.edges.trailing_zeros() as usize;
        self.edges &= self.edges - 1;
        Some(place)
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.edge()?;
        Some(start..self.edge().expect("a run that begins ends"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let (mut lowered, mut marks) = (vec![0; text.len()], vec![0; text.len().div_ceil(MARKED_BYTES)]);
        assert_eq!(mark_words_scalar(text.as_bytes(), &mut lowered, &mut marks), text.is_ascii());
        runs(&marks).map(|run| String::from_utf8(lowered[run].to_vec()).unwrap()).collect()
    }

    #[test]
    fn words_are_runs_of_letters_digits_and_what_is_no_ascii() {
        assert_eq!(words(""), Vec::<String>::new());
        assert_eq!(words(" .,"), Vec::<String>::new());
        assert_eq!(words("Foo-bar_Baz9 @[`{ caf\u{e9}"), ["foo", "bar", "baz9", "caf\u{e9}"]);
    }

    #[test]
    fn runs_go_on_over_the_ends_of_words_of_marks() {
        for len in [1, 63, 64, 65, 127, 128, 129, 200] {
            assert_eq!(words(&"A".repeat(len)), ["a".repeat(len)], "{len}");
            let text = format!("{} b", "a".repeat(len));
            assert_eq!(words(&text), ["a".repeat(len), "b".to_owned()], "{len}");
        }
    }
}
