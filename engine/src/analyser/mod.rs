//! Text to tokens: what an index holds, what a query asks for, and what a filter means by the words of a text.
//!
//! A word is a run of ASCII letters and digits; a run that has other characters too is taken apart by Unicode's rules (UAX 29), and at
//! whatever is neither a letter, a digit nor a mark. All else separates words. So each word comes out the same whatever stands around it. Tokens
//! are words in lower case, Latin letters without their marks (`fold`). A word longer than [`limits::TOKEN_BYTES_MAX`] is cut there.
//!
//! What a column wants besides, its field's metadata says: `broadhead.analyser` is `standard` (nothing; the default), the name of a language
//! of Snowball (`english`, `german`, …: words are stemmed, and English stop words left out), or a JSON object:
//!
//! ```text
//! {"stem": language, "stop": "english" | [word, …], "fold": false}        each may be left out
//! ```

mod fold;
mod stop;

use std::collections::HashSet;
use std::fmt;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

use crate::limits;

/// Metadata key of an Arrow field: how a text is taken apart.
pub const ANALYSER_KEY: &str = "broadhead.analyser";

const LANGUAGES: [(&str, Algorithm); 18] = [
    ("arabic", Algorithm::Arabic),
    ("danish", Algorithm::Danish),
    ("dutch", Algorithm::Dutch),
    ("english", Algorithm::English),
    ("finnish", Algorithm::Finnish),
    ("french", Algorithm::French),
    ("german", Algorithm::German),
    ("greek", Algorithm::Greek),
    ("hungarian", Algorithm::Hungarian),
    ("italian", Algorithm::Italian),
    ("norwegian", Algorithm::Norwegian),
    ("portuguese", Algorithm::Portuguese),
    ("romanian", Algorithm::Romanian),
    ("russian", Algorithm::Russian),
    ("spanish", Algorithm::Spanish),
    ("swedish", Algorithm::Swedish),
    ("tamil", Algorithm::Tamil),
    ("turkish", Algorithm::Turkish),
];

/// How the texts of a column are taken apart.
pub struct Analyser {
    stemmer: Option<Stemmer>,
    stop: HashSet<String>,
    folds: bool,
    kernels: &'static kernels::Kernels,
}

impl Default for Analyser {
    fn default() -> Analyser {
        Analyser { stemmer: None, stop: HashSet::new(), folds: true, kernels: kernels::detect() }
    }
}

impl fmt::Debug for Analyser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Analyser { stemmer, stop, folds, .. } = self;
        f.debug_struct("Analyser").field("stems", &stemmer.is_some()).field("stop", stop).field("folds", folds).finish()
    }
}

/// Memory of an analysis, used again for each text.
#[derive(Debug, Default)]
pub struct Scratch {
    lowered: Vec<u8>,
    marks: Vec<u64>,
    word: String,
    folded: String,
}

impl Analyser {
    /// Reads what the metadata of a field says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Analyser, &'static str> {
        let mut analyser = Analyser::default();
        if text == "standard" {
            return Ok(analyser);
        }
        if let Some(language) = language(text) {
            analyser.stemmer = Some(Stemmer::create(language));
            if language == Algorithm::English {
                analyser.leave_out(stop::ENGLISH);
            }
            return Ok(analyser);
        }
        let unknown =
            "the analyser is none: `standard`, the name of a language, or an object with `stem`, `stop`, `fold`";
        if text.len() > limits::ANALYSER_BYTES_MAX {
            return Err("the analyser is too long");
        }
        let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) else { return Err(unknown) };
        for (key, value) in &object {
            match (key.as_str(), value) {
                ("stem", serde_json::Value::String(name)) => {
                    let language = language(name).ok_or("the analyser knows no stems of this language")?;
                    analyser.stemmer = Some(Stemmer::create(language));
                }
                ("stop", serde_json::Value::String(name)) if name == "english" => analyser.leave_out(stop::ENGLISH),
                ("stop", serde_json::Value::Array(words)) => {
                    let words: Option<Vec<&str>> = words.iter().map(serde_json::Value::as_str).collect();
                    analyser.leave_out(words.ok_or("stop words are texts")?);
                }
                ("fold", serde_json::Value::Bool(folds)) => analyser.folds = *folds,
                _ => return Err(unknown),
            }
        }
        Ok(analyser)
    }

    fn leave_out<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        let mut folded = String::new();
        for word in words {
            fold::lower_and_fold(word, &mut folded);
            self.stop.insert(folded.clone());
        }
    }

    /// What it takes to take a word apart, in nanoseconds and about.
    pub fn word_ns(&self) -> u32 {
        if self.stemmer.is_some() { 400 } else { 40 }
    }

    /// Calls `each` with every token and its place among the words of the text; stop words have places, too.
    #[inline]
    pub fn tokens(&self, text: &str, scratch: &mut Scratch, mut each: impl FnMut(&[u8], u32)) {
        let Scratch { lowered, marks, word, folded } = scratch;
        lowered.resize(text.len(), 0);
        marks.resize(text.len().div_ceil(64), 0);
        let is_ascii = self.kernels.mark_words(text.as_bytes(), lowered, marks);
        let mut place = 0;
        let is_plain = self.stop.is_empty() && self.stemmer.is_none();
        for run in kernels::runs(marks) {
            let ascii = &lowered[run.clone()];
            if is_ascii || ascii.is_ascii() {
                if is_plain {
                    each(&ascii[..ascii.len().min(limits::TOKEN_BYTES_MAX)], place);
                } else {
                    let ascii = std::str::from_utf8(ascii).expect("ASCII");
                    self.finish(ascii, ascii, |token| each(token, place));
                }
                place += 1;
                continue;
            }
            // Words of a run that holds some ASCII and some not.
            for joined in text[run].unicode_words() {
                for part in joined.split(|letter| !fold::is_of_word(letter)).filter(|part| !part.is_empty()) {
                    fold::lower(part, word);
                    fold::lower_and_fold(part, folded);
                    self.finish(word, folded, |token| each(token, place));
                    place += 1;
                }
            }
        }
    }

    /// Makes a token of a word in lower case, unless it is left out.
    fn finish(&self, word: &str, folded: &str, each: impl FnOnce(&[u8])) {
        if self.stop.contains(folded) {
            return;
        }
        let Some(stemmer) = &self.stemmer else {
            return each(cut(if self.folds { folded } else { word }));
        };
        let stem = stemmer.stem(word);
        if !self.folds || stem.is_ascii() {
            return each(cut(&stem));
        }
        let mut folded = String::new();
        fold::lower_and_fold(&stem, &mut folded);
        each(cut(&folded));
    }
}

fn language(name: &str) -> Option<Algorithm> {
    LANGUAGES.iter().find(|(known, _)| *known == name).map(|&(_, language)| language)
}

/// As much of a token as is kept.
fn cut(token: &str) -> &[u8] {
    &token.as_bytes()[..token.floor_char_boundary(limits::TOKEN_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(analyser: &str, text: &str) -> Vec<(String, u32)> {
        let (mut found, mut scratch) = (Vec::new(), Scratch::default());
        let analyser = Analyser::parse(analyser).unwrap();
        analyser.tokens(text, &mut scratch, |token, place| {
            found.push((String::from_utf8(token.to_vec()).unwrap(), place));
        });
        found
    }

    fn words(analyser: &str, text: &str) -> Vec<String> {
        tokens(analyser, text).into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn words_are_the_same_whatever_stands_around_them() {
        let ascii = "GNU's libc6-dev, v2.36 (x86_64)";
        let want = ["gnu", "s", "libc6", "dev", "v2", "36", "x86", "64"];
        assert_eq!(words("standard", ascii), want);
        assert_eq!(words("standard", &format!("{ascii} für"))[..8], want);
        assert_eq!(words("standard", "l’été, L'ÉTÉ"), ["l", "ete", "l", "ete"]);
        assert_eq!(words("standard", "東京 x東y"), ["東", "京", "x", "東", "y"]);
        assert_eq!(words("standard", "naïve–café…😀"), ["naive", "cafe"]);
        assert_eq!(words("standard", " .😀,"), Vec::<String>::new());
    }

    #[test]
    fn an_analyser_stems_leaves_out_and_keeps_marks_as_it_is_told() {
        assert_eq!(tokens("english", "The Running of the Bulls"), [("run".to_owned(), 1), ("bull".to_owned(), 4)]);
        assert_eq!(words("german", "Häuser"), ["haus"]);
        assert_eq!(words(r#"{"stop": ["FOO"], "fold": false}"#, "foo Café"), ["café"]);
        assert_eq!(words(r#"{"stem": "english"}"#, "the bulls"), ["the", "bull"]);
        for wrong in ["", "klingon", "{", "[]", r#"{"stem": "klingon"}"#, r#"{"stop": [1]}"#, r#"{"steam": "english"}"#]
        {
            assert!(Analyser::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_long_word_is_cut_between_letters() {
        let limit = limits::TOKEN_BYTES_MAX;
        assert_eq!(words("standard", &"a".repeat(limit + 9)), ["a".repeat(limit)]);
        let cyrillic = words("standard", &"ж".repeat(limit));
        assert_eq!(cyrillic, ["ж".repeat(limit / 2)]);
    }
}
