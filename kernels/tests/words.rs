//! Words of every instruction set against the scalar oracle.

mod vectors;

use kernels::Kernels;
use proptest::prelude::*;
use vectors::check;

fn marked(kernels: &Kernels, text: &[u8]) -> (Vec<u8>, Vec<u64>, bool) {
    let (mut lowered, mut marks) = (vec![0; text.len()], vec![u64::MAX; text.len().div_ceil(64)]);
    let is_ascii = kernels.mark_words(text, &mut lowered, &mut marks);
    (lowered, marks, is_ascii)
}

#[test]
fn every_byte_is_marked_as_by_the_oracle_at_every_place() {
    for byte in 0..=u8::MAX {
        for place in [0, 1, 31, 32, 63, 64, 70] {
            let mut text = [b' '; 71];
            text[place] = byte;
            let (lowered, marks, is_ascii) = marked(Kernels::available()[0], &text);
            assert_eq!(lowered[place], byte.to_ascii_lowercase());
            let is_word = byte.is_ascii_alphanumeric() || byte >= 0x80;
            assert_eq!(marks[place / 64] >> (place % 64), u64::from(is_word));
            assert_eq!(is_ascii, byte < 0x80);
            for kernels in Kernels::available() {
                assert_eq!(marked(kernels, &text), (lowered.clone(), marks.clone(), is_ascii), "{}", kernels.isa());
            }
        }
    }
}

#[test]
fn random_bytes_of_any_length_give_what_the_oracle_gives() {
    check(500, prop::collection::vec(any::<u8>(), 0..300), |text| {
        let want = marked(Kernels::available()[0], &text);
        let from_runs: usize = kernels::runs(&want.1).map(|run| run.len()).sum();
        prop_assert_eq!(from_runs as u32, want.1.iter().map(|word| word.count_ones()).sum::<u32>());
        for kernels in Kernels::available() {
            prop_assert_eq!(&marked(kernels, &text), &want, "{}", kernels.isa());
        }
        Ok(())
    });
}
