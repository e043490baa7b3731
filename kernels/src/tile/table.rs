//! Which tile kernels there are.

/// The tile kernels of one instruction set: `$shell` has the generic shells, `$float` and `$integer` the modules of the kernels.
/// `bytes` and `codes` make the row of one kind of element. The order is that of `ElementKind` and `Metric`.
macro_rules! tiles {
    ($shell:ident, $float:ident, $integer:ident) => {
        [
            [tiles!(@ $shell $float::L2<F32>), tiles!(@ $shell $float::Cosine<F32>), tiles!(@ $shell $float::Dot<F32>), None],
            [tiles!(@ $shell $float::L2<F16>), tiles!(@ $shell $float::Cosine<F16>), tiles!(@ $shell $float::Dot<F16>), None],
            [tiles!(@ $shell $float::L2<Bf16>), tiles!(@ $shell $float::Cosine<Bf16>), tiles!(@ $shell $float::Dot<Bf16>), None],
            tiles!(bytes $shell $integer I8),
            tiles!(bytes $shell $integer U8),
            [None, None, None, None],
            [None, None, None, tiles!(@ $shell $integer::Hamming)],
            tiles!(codes $shell $integer Code8),
            tiles!(codes $shell $integer Code4),
            [None, None, tiles!(@ $shell $integer::Dot<Code1>), None],
        ]
    };
    (bytes $shell:ident $integer:ident $element:ident) => {
        [
            tiles!(@ $shell $integer::L2<$element>),
            tiles!(@ $shell $integer::Cosine<$element>),
            tiles!(@ $shell $integer::Dot<$element>),
            None,
        ]
    };
    (codes $shell:ident $integer:ident $element:ident) => {
        [tiles!(@ $shell $integer::L2<$element>), None, tiles!(@ $shell $integer::Dot<$element>), None]
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
