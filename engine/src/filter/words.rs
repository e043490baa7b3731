//! Whether a text has words, as its column's analyser takes it apart, or a list texts, which are taken as they are.

use std::cell::RefCell;

use crate::analyser::{Analyser, Scratch};
use crate::text_list;

thread_local! {
    /// Used again for each text of a thread.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Whether a text has all of these words, which are ordered and not more than 64.
pub(super) fn has_all(text: &[u8], analyser: &Analyser, wanted: &[Box<[u8]>]) -> bool {
    let text = std::str::from_utf8(text).expect("text was checked when it came in");
    let mut left = Left::new(wanted);
    if !left.is_empty() {
        SCRATCH.with_borrow_mut(|scratch| analyser.tokens(text, scratch, |word, _| left.remove(word)));
    }
    left.is_empty()
}

/// Whether a list has all of these texts, which are ordered and not more than 64.
pub(super) fn holds_all(list: &[u8], wanted: &[Box<[u8]>]) -> bool {
    let mut left = Left::new(wanted);
    for item in text_list::items(list) {
        if left.is_empty() {
            break;
        }
        left.remove(item);
    }
    left.is_empty()
}

/// Which of some texts were not met yet, a bit each.
struct Left<'a> {
    wanted: &'a [Box<[u8]>],
    bits: u64,
}

impl<'a> Left<'a> {
    fn new(wanted: &'a [Box<[u8]>]) -> Left<'a> {
        Left { wanted, bits: u64::MAX.checked_shr(64 - wanted.len() as u32).unwrap_or(0) }
    }

    fn is_empty(&self) -> bool {
        self.bits == 0
    }

    fn remove(&mut self, text: &[u8]) {
        if let Ok(place) = self.wanted.binary_search_by(|other| other[..].cmp(text)) {
            self.bits &= !(1 << place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(texts: &[&str]) -> Vec<Box<[u8]>> {
        let mut texts: Vec<Box<[u8]>> = texts.iter().map(|text| text.as_bytes().into()).collect();
        texts.sort();
        texts
    }

    #[test]
    fn a_text_has_its_words_in_any_order() {
        let all = |words: &[&str]| has_all(b"one Two three", &Analyser::default(), &ordered(words));
        assert!(all(&[]) && all(&["two"]) && all(&["three", "one", "two"]) && !all(&["one", "four"]) && !all(&["tw"]));
    }

    #[test]
    fn a_list_has_its_texts_as_they_are() {
        let mut list = Vec::new();
        ["b", "a", "Two words", ""].iter().for_each(|item| text_list::push(item, &mut list));
        let all = |texts: &[&str]| holds_all(&list, &ordered(texts));
        assert!(all(&[]) && all(&["a"]) && all(&["Two words", "b", ""]) && !all(&["a", "two words"]) && !all(&["Two"]));
        assert!(!holds_all(&[], &[b"a"[..].into()]) && holds_all(&[], &[]));
    }
}
