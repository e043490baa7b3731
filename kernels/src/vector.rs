//! The registers of an instruction set: all that the kernels need to know of it.
//!
//! Integer sums are kept in 32-bit lanes and taken modulo 2³², which is exact for every sum that fits 32 bits in
//! the end, whatever happens on the way.

/// The vector registers of one instruction set.
///
/// # Safety
/// Every function here may run only on a CPU that has the instruction set. The kernels of a table are reached
/// through `Kernels::available` alone, which asks the CPU first. A pointer needs no alignment.
pub(crate) trait Vector {
    /// A register of `f32` lanes.
    type Floats: Copy;
    /// A register of `f64` lanes.
    type Doubles: Copy;
    /// A register of bytes, or of `u32` lanes that hold sums.
    type Bytes: Copy;

    /// Lanes of [`Vector::Floats`].
    const FLOATS: usize;
    /// Lanes of [`Vector::Doubles`].
    const DOUBLES: usize;
    /// Bytes of [`Vector::Bytes`].
    const BYTES: usize;

    /// All lanes 0.0.
    unsafe fn zero() -> Self::Floats;
    /// All lanes `value`.
    unsafe fn splat(value: f32) -> Self::Floats;
    /// Reads `FLOATS` values.
    unsafe fn load_f32(from: *const u8) -> Self::Floats;
    /// Reads `count < FLOATS` values and no byte more; the other lanes are 0.0.
    unsafe fn load_f32_partial(from: *const u8, count: usize) -> Self::Floats;
    /// Reads and widens `FLOATS` values.
    unsafe fn load_f16(from: *const u8) -> Self::Floats;
    /// Reads and widens `count < FLOATS` values and no byte more; the other lanes are 0.0.
    unsafe fn load_f16_partial(from: *const u8, count: usize) -> Self::Floats;
    /// Reads and widens `FLOATS` values.
    unsafe fn load_bf16(from: *const u8) -> Self::Floats;
    /// Reads and widens `count < FLOATS` values and no byte more; the other lanes are 0.0.
    unsafe fn load_bf16_partial(from: *const u8, count: usize) -> Self::Floats;
    /// Writes `FLOATS` values.
    unsafe fn store(to: *mut f32, values: Self::Floats);
    /// Lanes that hold the bits of `i32`, as the nearest `f32`.
    unsafe fn round_i32(bits: Self::Floats) -> Self::Floats;
    /// a + b
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a − b
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a × b + c, rounded once
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// The larger of |a| and `max`; `max` where a is NaN.
    unsafe fn abs_max(a: Self::Floats, max: Self::Floats) -> Self::Floats;
    /// The sum of all lanes.
    unsafe fn sum(a: Self::Floats) -> f32;
    /// The largest of all lanes, none of which is NaN.
    unsafe fn largest(a: Self::Floats) -> f32;
    /// Writes the codes of `FLOATS` values, as `scalar::code8` makes them, and returns how many saturated.
    unsafe fn encode_code8(values: Self::Floats, inverse_scale: Self::Floats, to: *mut u8) -> u32;
    /// Writes the codes of twice `FLOATS` values, as `scalar::code4` makes them, into the halves of `FLOATS` bytes, and returns how
    /// many saturated.
    unsafe fn encode_code4(lower: Self::Floats, upper: Self::Floats, inverse_scale: Self::Floats, to: *mut u8) -> u32;

    /// All lanes 0.0.
    unsafe fn wide_zero() -> Self::Doubles;
    /// Reads and widens `DOUBLES` values.
    unsafe fn load_i32(from: *const u8) -> Self::Doubles;
    /// Reads and widens `count < DOUBLES` values and no byte more; the other lanes are 0.0.
    unsafe fn load_i32_partial(from: *const u8, count: usize) -> Self::Doubles;
    /// a + b
    unsafe fn wide_add(a: Self::Doubles, b: Self::Doubles) -> Self::Doubles;
    /// a − b
    unsafe fn wide_sub(a: Self::Doubles, b: Self::Doubles) -> Self::Doubles;
    /// a × b + c, rounded once
    unsafe fn wide_mul_add(a: Self::Doubles, b: Self::Doubles, c: Self::Doubles) -> Self::Doubles;
    /// The sum of all lanes.
    unsafe fn wide_sum(a: Self::Doubles) -> f64;

    /// All bytes `value`.
    unsafe fn splat_byte(value: u8) -> Self::Bytes;
    /// Reads `BYTES` bytes.
    unsafe fn load_bytes(from: *const u8) -> Self::Bytes;
    /// Reads `count < BYTES` bytes and no byte more; the others are `padding`.
    unsafe fn load_bytes_partial(from: *const u8, count: usize, padding: u8) -> Self::Bytes;
    /// The lower four bits of each byte.
    unsafe fn lower_halves(a: Self::Bytes) -> Self::Bytes;
    /// The upper four bits of each byte, moved down.
    unsafe fn upper_halves(a: Self::Bytes) -> Self::Bytes;
    /// Bit `place` of each byte, moved down.
    unsafe fn bit(a: Self::Bytes, place: usize) -> Self::Bytes;
    /// a − b of bytes, modulo 2⁸
    unsafe fn sub_bytes(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// a ⊕ b
    unsafe fn xor(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// |a − b| of unsigned bytes
    unsafe fn abs_diff(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// sums + Σ a × b of four neighbouring bytes each, a unsigned and b signed
    unsafe fn add_products(sums: Self::Bytes, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// sums + Σ a² of unsigned bytes, in whatever lane
    unsafe fn add_squares(sums: Self::Bytes, a: Self::Bytes) -> Self::Bytes;
    /// sums + the number of ones in a, in whatever lane
    unsafe fn add_ones(sums: Self::Bytes, a: Self::Bytes) -> Self::Bytes;
    /// a + b of 32-bit lanes
    unsafe fn add_sums(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// The sum of all 32-bit lanes, modulo 2³².
    unsafe fn total(sums: Self::Bytes) -> u32;
    /// Writes `BYTES` bytes, ASCII letters in lower case. Returns a bit for each byte that is an ASCII letter or digit or no ASCII, and
    /// one for each that is no ASCII.
    unsafe fn lower_and_mark(a: Self::Bytes, to: *mut u8) -> (u64, u64);
}
