//! Whole frames: header and body together.

use super::header::{FrameError, HEADER_BYTES, Header, crc, flags};
use super::status::Status;

/// Appends one frame to `out`: room for the header, the body as `write_body` appends it, then the header itself.
///
/// The body must stay within the limit of a frame; whoever makes bodies from data of any size asks for their size first.
pub fn encode_frame(header: Header, out: &mut Vec<u8>, write_body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    write_body(out);
    seal_frame(&mut out[start..], header);
}

/// Fills in the header of a frame whose body lies behind the first 64 bytes of `frame`.
pub fn seal_frame(frame: &mut [u8], mut header: Header) {
    let (head, body) = frame.split_at_mut(HEADER_BYTES);
    header.describe_body(body);
    head.copy_from_slice(&header.encode());
}

/// Appends an error reply: to `request`, or to the connection as a whole (request id 0) when the request is not known.
pub fn encode_error(request: Option<&Header>, status: Status, message: &str, out: &mut Vec<u8>) {
    let mut header = request.map_or_else(Header::default, Header::reply);
    header.flags |= flags::REPLY;
    header.status = status.code();
    encode_frame(header, out, |body| body.extend_from_slice(cut(message, ERROR_MESSAGE_BYTES_MAX).as_bytes()));
}

/// Checks a body against the header it came with.
pub fn check_body(header: &Header, body: &[u8]) -> Result<(), FrameError> {
    assert!(header.body_len == body.len() as u64, "the receiver reads body_len bytes");
    check_body_crc(header, crc(body))
}

/// As [`check_body`], with a checksum that was made while the body came in.
pub fn check_body_crc(header: &Header, computed: u32) -> Result<(), FrameError> {
    if computed != header.body_crc {
        return Err(FrameError::BodyChecksum { found: header.body_crc, computed });
    }
    Ok(())
}

/// Checksum of what `so_far` is that of, with `more` behind it; that of nothing is 0.
pub fn extend_crc(so_far: u32, more: &[u8]) -> u32 {
    let crc = crc(more);
    // Nothing, moved however far, is nothing: that saves the product where there is but one piece.
    if so_far == 0 { crc } else { combine(so_far, crc, more.len() as u64) }
}

/// CRC-32C over a whole frame, from the checksum of its body, without a second pass over the body.
pub fn frame_crc(header: &[u8; HEADER_BYTES], body_crc: u32, body_len: u64) -> u32 {
    combine(crc(header), body_crc, body_len)
}

/// CRC-32C of two pieces, one behind the other, from those of each.
pub(crate) fn combine(first_crc: u32, second_crc: u32, second_len: u64) -> u32 {
    // What comes later moves a checksum by a power of x: that of the first is multiplied by x^(8 * second_len). Done with a
    // product for each bit of the length, as in zlib's `crc32_combine`: 1 µs, where matrices of bits take 100.
    assert!(second_len < 1 << SHIFTS.len());
    let shifts = SHIFTS.iter().enumerate().filter(|&(bit, _)| second_len >> bit & 1 == 1);
    shifts.fold(first_crc, |moved, (_, &shift)| product(shift, moved)) ^ second_crc
}

/// The polynomial of CRC-32C, reflected: bit 31 is the coefficient of x^0, as in everything below.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^(8 * 2^place) modulo the polynomial: what a checksum is multiplied by for 2^place bytes behind it.
const SHIFTS: [u32; 32] = {
    let mut shifts = [1 << (31 - 8); 32];
    let mut place = 1;
    while place < shifts.len() {
        shifts[place] = product(shifts[place - 1], shifts[place - 1]);
        place += 1;
    }
    shifts
};

/// Product of two polynomials over GF(2), modulo that of CRC-32C.
const fn product(left: u32, mut right: u32) -> u32 {
    let mut sum = 0;
    let mut power = 32;
    while power > 0 {
        power -= 1;
        // Masks instead of branches: the bits are as good as random.
        sum ^= right & 0u32.wrapping_sub(left >> power & 1);
        right = (right >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(right & 1));
    }
    sum
}

/// Bytes of the message in an error reply; what is longer is cut.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 4_096;

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::super::Opcode;
    use super::*;

    #[test]
    fn a_frame_reads_back_and_its_body_is_guarded() {
        let mut out = b"something before".to_vec();
        let start = out.len();
        encode_frame(Header::request(Opcode::Ping, 7, 0), &mut out, |body| body.extend_from_slice(b"hello"));
        let (head, body) = out[start..].split_at(HEADER_BYTES);
        let header = Header::decode(head.try_into().unwrap()).unwrap();
        assert_eq!((header.request_id, header.body_len), (7, 5));
        assert_eq!(check_body(&header, body), Ok(()));
        for bit in 0..body.len() * 8 {
            let mut damaged = body.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = check_body(&header, &damaged).unwrap_err();
            assert!(matches!(error, FrameError::BodyChecksum { .. }));
            assert!(!error.ends_connection());
        }
    }

    #[test]
    fn combined_checksum_is_that_of_the_whole_frame() {
        for body_len in (0..200).chain([4_096, 100_003, (1 << 20) - 1, 1 << 20]) {
            let body: Vec<u8> = (0..body_len).map(|i: usize| (i * 31 % 251) as u8).collect();
            let mut frame = Vec::new();
            encode_frame(Header::request(Opcode::Write, 1, 2), &mut frame, |out| out.extend_from_slice(&body));
            let head: &[u8; HEADER_BYTES] = frame[..HEADER_BYTES].try_into().unwrap();
            let header = Header::decode(head).unwrap();
            assert_eq!(frame_crc(head, header.body_crc, header.body_len), crc(&frame), "{body_len} bytes");
            assert_eq!(
                body.chunks(1 + body_len / 3).fold(0, extend_crc),
                header.body_crc,
                "{body_len} bytes in pieces"
            );
        }
    }

    #[test]
    fn an_error_without_a_request_has_id_zero_and_a_long_message_is_cut() {
        let mut out = Vec::new();
        encode_error(None, Status::BadMagic, &"ä".repeat(10_000), &mut out);
        let header = Header::decode(out[..HEADER_BYTES].try_into().unwrap()).unwrap();
        assert_eq!((header.request_id, header.opcode, header.status), (0, 0, Status::BadMagic.code()));
        assert!(header.is_reply());
        assert!(out.len() - HEADER_BYTES <= ERROR_MESSAGE_BYTES_MAX);
        assert!(std::str::from_utf8(&out[HEADER_BYTES..]).is_ok());
    }
}
