//! Words of a text: runs of letters and digits, in lower case; and texts of a list, which are taken as they are.

use crate::text_list;

/// Calls `each` with every word, until it says that it has enough.
pub(super) fn words(text: &str, mut each: impl FnMut(&[u8]) -> bool) {
    let mut lowered = String::new();
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        lowered.clear();
        if word.is_ascii() {
            lowered.push_str(word);
            lowered.make_ascii_lowercase();
        } else {
            lowered.extend(word.chars().flat_map(char::to_lowercase));
        }
        if !each(lowered.as_bytes()) {
            return;
        }
    }
}

/// Whether a text has all of these words, which are ordered and not more than 64.
pub(super) fn has_all(text: &[u8], wanted: &[Box<[u8]>]) -> bool {
    let text = std::str::from_utf8(text).expect("text was checked when it came in");
    let mut left = Left::new(wanted);
    if !left.is_empty() {
        words(text, |word| {
            left.remove(word);
            !left.is_empty()
        });
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

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        let mut found = Vec::new();
        words("GNU/Linux, größe-2x (Ä)…", |word| {
            found.push(String::from_utf8(word.to_vec()).unwrap());
            true
        });
        assert_eq!(found, ["gnu", "linux", "größe", "2x", "ä"]);
        let all = |words: &[&str]| {
            let mut words: Vec<Box<[u8]>> = words.iter().map(|word| word.as_bytes().into()).collect();
            words.sort();
            has_all(b"one Two three", &words)
        };
        assert!(all(&[]) && all(&["two"]) && all(&["three", "one", "two"]) && !all(&["one", "four"]) && !all(&["tw"]));
    }

    #[test]
    fn a_list_has_its_texts_as_they_are() {
        let mut list = Vec::new();
        ["b", "a", "Two words", ""].iter().for_each(|item| text_list::push(item, &mut list));
        let all = |texts: &[&str]| {
            let mut texts: Vec<Box<[u8]>> = texts.iter().map(|text| text.as_bytes().into()).collect();
            texts.sort();
            holds_all(&list, &texts)
        };
        assert!(all(&[]) && all(&["a"]) && all(&["Two words", "b", ""]) && !all(&["a", "two words"]) && !all(&["Two"]));
        assert!(!holds_all(&[], &[b"a"[..].into()]) && holds_all(&[], &[]));
    }
}
