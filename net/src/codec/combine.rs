//! The checksum of two pieces from those of each, without their bytes.
//!
//! A CRC is a remainder of polynomials over GF(2): that of `first` followed by `n` bytes is `crc(first) · x^(8n) mod P`. The powers
//! `x^(2^k)` are a table, so it takes a product of 32 steps for each bit that is set in `n`: about 0.2 µs for 1,536 bytes. `crc-fast`
//! squares matrices for it, which takes longer than to sum the bytes of a small frame and was 38 % of a server that takes rows one by one.

/// The polynomial of CRC-32C, reflected: the highest power is the lowest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;
/// Bits of a count of bits: three more than of a count of bytes.
const POWERS: usize = 67;

/// `x^(2^k) mod P`.
const POWERS_OF_X: [u32; POWERS] = {
    let mut powers = [1 << 30; POWERS];
    let mut k = 1;
    while k < POWERS {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// CRC-32C of two pieces, one behind the other, of which the second has `second_len` bytes.
pub(crate) fn combine(first_crc: u32, second_crc: u32, second_len: u64) -> u32 {
    let mut shift = ONE;
    let mut len = second_len;
    let mut k = 3;
    while len != 0 {
        if len & 1 == 1 {
            shift = multiply(POWERS_OF_X[k], shift);
        }
        len >>= 1;
        k += 1;
    }
    multiply(shift, first_crc) ^ second_crc
}

/// Product of two polynomials, mod P.
const fn multiply(left: u32, right: u32) -> u32 {
    let (mut product, mut shifted, mut bit) = (0, right, 32);
    while bit > 0 {
        bit -= 1;
        // All ones where the bit is set: no branch for the processor to guess.
        product ^= shifted & (left >> bit & 1).wrapping_neg();
        shifted = (shifted >> 1) ^ (POLYNOMIAL & (shifted & 1).wrapping_neg());
    }
    product
}

#[cfg(test)]
mod tests {
    use crc_fast::{CrcAlgorithm, checksum_combine};

    use super::super::header::crc;
    use super::*;

    #[test]
    fn two_pieces_sum_up_to_the_whole() {
        let bytes: Vec<u8> = (0..5_000_u32).map(|i| (i * i % 251) as u8).collect();
        for cut in [0, 1, 63, 64, 1_600, 4_999, 5_000] {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(combine(crc(first), crc(second), second.len() as u64), crc(&bytes), "cut at {cut}");
        }
    }

    #[test]
    fn long_pieces_combine_as_in_the_library() {
        for len in [0, 1, 1 << 20, 24 << 20, u64::from(u32::MAX), 1 << 40, u64::MAX >> 3] {
            let (first, second) = (0x1234_5678_u32, 0x9abc_def0_u32);
            let expected = checksum_combine(CrcAlgorithm::Crc32Iscsi, first.into(), second.into(), len) as u32;
            assert_eq!(combine(first, second, len), expected, "{len} bytes");
        }
    }
}
