//! Words in one form: lower case, composed, and Latin letters without their marks.
//!
//! A word is decomposed (NFKD of Unicode, UAX 15). Marks behind an ASCII letter are dropped; Latin letters that have no decomposition
//! are spelt as `SPELT` says. Other scripts keep their marks, which are letters to them: they are composed again (NFC).

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Latin letters that Unicode does not take apart, in lower case.
const SPELT: [(char, &str); 16] = [
    ('ß', "ss"),
    ('æ', "ae"),
    ('œ', "oe"),
    ('ø', "o"),
    ('ð', "d"),
    ('đ', "d"),
    ('þ', "th"),
    ('ħ', "h"),
    ('ı', "i"),
    ('ĸ', "k"),
    ('ł', "l"),
    ('ŋ', "n"),
    ('ŧ', "t"),
    ('ƀ', "b"),
    ('ɨ', "i"),
    ('ƶ', "z"),
];

/// Writes a word in lower case, composed.
pub(super) fn lower(word: &str, out: &mut String) {
    out.clear();
    out.extend(word.chars().flat_map(char::to_lowercase).nfc());
}

/// Writes a word in lower case, Latin letters without marks.
pub(super) fn lower_and_fold(word: &str, out: &mut String) {
    out.clear();
    let mut is_latin = false;
    for letter in word.nfkd().flat_map(char::to_lowercase) {
        if is_combining_mark(letter) && is_latin {
            continue;
        }
        let spelt = SPELT.iter().find(|(other, _)| *other == letter);
        is_latin = letter.is_ascii_alphabetic() || spelt.is_some();
        match spelt {
            Some((_, spelt)) => out.push_str(spelt),
            None => out.push(letter),
        }
    }
    if !out.is_ascii() {
        *out = out.nfc().collect();
    }
}

/// Whether a letter is part of a word and not what joins two: an apostrophe, a middle dot.
pub(super) fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || is_combining_mark(letter) || matches!(letter, '\u{200c}' | '\u{200d}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_letters_lose_their_marks_and_others_keep_them() {
        let folded = |word: &str| {
            let mut out = String::new();
            lower_and_fold(word, &mut out);
            out
        };
        for (word, want) in [
            ("Ärger", "arger"),
            ("A\u{308}rger", "arger"),
            ("Straße", "strasse"),
            ("Łódź", "lodz"),
            ("ǾRE", "ore"),
            ("İstanbul", "istanbul"),
            ("ﬁ", "fi"),
            ("ＡＢ１", "ab1"),
            ("ℌ", "h"),
            ("Ёж", "ёж"),
            ("हिन्दी", "हिन्दी"),
            ("한국어", "한국어"),
            ("がくせい", "がくせい"),
        ] {
            assert_eq!(folded(word), want);
        }
        let mut out = String::new();
        lower("E\u{301}", &mut out);
        assert_eq!(out, "é");
    }
}
