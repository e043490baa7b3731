//! The one loop of all kernels: two vectors go by, register by register, into four sets of sums.

use crate::vector::Vector;

/// What a kernel does with the registers that go by.
///
/// # Safety
/// As for [`Vector`]: every function may run only on a CPU that has the instruction set of `V`.
pub(crate) trait Fold<V: Vector> {
    /// A register of elements.
    type Register: Copy;
    /// What is gathered.
    type Sums: Copy;

    /// Bytes of memory that fill a register.
    const STRIDE: usize;

    /// Nothing gathered.
    unsafe fn start() -> Self::Sums;
    /// Reads `STRIDE` bytes.
    unsafe fn load(from: *const u8) -> Self::Register;
    /// Reads `bytes < STRIDE` bytes, whole elements, and no byte more; padded with elements that change no sum.
    unsafe fn load_partial(from: *const u8, bytes: usize) -> Self::Register;
    /// Adds a register of each vector.
    unsafe fn step(sums: Self::Sums, a: Self::Register, b: Self::Register) -> Self::Sums;
    /// Both together.
    unsafe fn merge(a: Self::Sums, b: Self::Sums) -> Self::Sums;
}

/// Folds two vectors of the same length. Four sets of sums, because one addition waits four cycles for
/// the one before it and two can start in each cycle. The order of the sums depends on the length alone.
///
/// # Safety
/// The CPU has the instruction set of `V`, and `a` and `b` have the same length.
#[inline(always)]
pub(crate) unsafe fn fold<V: Vector, F: Fold<V>>(a: &[u8], b: &[u8]) -> F::Sums {
    debug_assert_eq!(a.len(), b.len());
    let bytes = a.len();
    let (a, b) = (a.as_ptr(), b.as_ptr());
    // SAFETY: the caller has checked the CPU and the lengths, and every read ends at or before `bytes`.
    unsafe {
        let mut sums = [F::start(), F::start(), F::start(), F::start()];
        let mut at = 0;
        while bytes - at >= 4 * F::STRIDE {
            sums[0] = F::step(sums[0], F::load(a.add(at)), F::load(b.add(at)));
            at += F::STRIDE;
            sums[1] = F::step(sums[1], F::load(a.add(at)), F::load(b.add(at)));
            at += F::STRIDE;
            sums[2] = F::step(sums[2], F::load(a.add(at)), F::load(b.add(at)));
            at += F::STRIDE;
            sums[3] = F::step(sums[3], F::load(a.add(at)), F::load(b.add(at)));
            at += F::STRIDE;
        }
        if bytes - at >= 2 * F::STRIDE {
            sums[0] = F::step(sums[0], F::load(a.add(at)), F::load(b.add(at)));
            at += F::STRIDE;
            sums[1] = F::step(sums[1], F::load(a.add(at)), F::load(b.add(at)));
            at += F::STRIDE;
        }
        if bytes - at >= F::STRIDE {
            sums[2] = F::step(sums[2], F::load(a.add(at)), F::load(b.add(at)));
            at += F::STRIDE;
        }
        if bytes > at {
            let rest = bytes - at;
            let (a, b) = (F::load_partial(a.add(at), rest), F::load_partial(b.add(at), rest));
            sums[3] = F::step(sums[3], a, b);
        }
        F::merge(F::merge(sums[0], sums[1]), F::merge(sums[2], sums[3]))
    }
}
