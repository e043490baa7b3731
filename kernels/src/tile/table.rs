//! Which tile kernels there are.

/// The tile kernels of one instruction set: `$shell` has the generic shells, `$float` and `$integer` the modules of the kernels.
/// The order is that of `ElementKind` and `Metric`.
macro_rules! tiles {
    ($shell:ident, $float:ident, $integer:ident) => {
        [
            [tiles!(@ $shell $float::L2<F32>), tiles!(@ $shell $float::Cosine<F32>), tiles!(@ $shell $float::Dot<F32>), None],
            [tiles!(@ $shell $float::L2<F16>), tiles!(@ $shell $float::Cosine<F16>), tiles!(@ $shell $float::Dot<F16>), None],
            [tiles!(@ $shell $float::L2<Bf16>), tiles!(@ $shell $float::Cosine<Bf16>), tiles!(@ $shell $float::Dot<Bf16>), None],
            [tiles!(@ $shell $integer::L2<I8>), tiles!(@ $shell $integer::Cosine<I8>), tiles!(@ $shell $integer::Dot<I8>), None],
            [tiles!(@ $shell $integer::L2<U8>), tiles!(@ $shell $integer::Cosine<U8>), tiles!(@ $shell $integer::Dot<U8>), None],
            [None, None, None, None],
            [None, None, None, tiles!(@ $shell $integer::Hamming)],
            [tiles!(@ $shell $integer::L2<Code8>), None, tiles!(@ $shell $integer::Dot<Code8>), None],
            [tiles!(@ $shell $integer::L2<Code4>), None, tiles!(@ $shell $integer::Dot<Code4>), None],
            [None, None, tiles!(@ $shell $integer::Dot<Code1>), None],
        ]
    };
    (@ $shell:ident $kernel:ty) => {
        Some(Tile {
            pack: $shell::pack::<$kernel>,
            nearest: $shell::nearest::<$kernel>,
            nearest_within: $shell::nearest_within::<$kernel>,
            distances: $shell::distances::<$kernel>,
        })
    };
}
pub(crate) use tiles;
