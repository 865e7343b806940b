//! Products of quantised activations and weights: the inner loop of everything.
//!
//! Activations have 7 bits (0 to 127) and weights 8, so that every kernel's arithmetic is exact: two products fit 16 bits, whatever adds them. Sums of
//! integers are the same in any order, so every kernel gives the same ones; [`scalar`] is the specification.
//!
//! Weights lie in panels of 16 outputs, each panel in blocks of four inputs: `[outputs / 16][inputs / 4][16][4]`. A kernel reads a panel from its
//! beginning to its end, multiplies each block with the same four inputs of several rows of activations, and never adds across a vector.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;

/// Outputs of a panel.
pub(crate) const PANEL: usize = 16;
/// Inputs of a block.
pub(crate) const BLOCK: usize = 4;

/// A quantised activation, 0 to 127, as the platform's kernels want it.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128", not(target_feature = "relaxed-simd"))))]
pub(crate) type Level = u8;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128", not(target_feature = "relaxed-simd")))]
pub(crate) type Level = i16;

/// How the products are computed. All give the same bits; they differ in what the processor must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// Plain code: the specification.
    Scalar,
    /// WebAssembly's 128-bit vectors, with products of 16 bits.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128", not(target_feature = "relaxed-simd")))]
    Simd128,
    /// WebAssembly's relaxed dot product, whose result is fixed where one factor has 7 bits.
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    RelaxedSimd,
    /// 256-bit vectors (AVX2).
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 256-bit vectors with products of bytes (AVX-VNNI).
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// 512-bit vectors with products of bytes (AVX-512 VNNI).
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// 128-bit vectors of aarch64.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128", not(target_feature = "relaxed-simd")))]
            Self::Simd128 => "simd128",
            #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
            Self::RelaxedSimd => "relaxed-simd",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
        })
    }
}

impl Kernel {
    /// The kernels that this machine runs, the quickest last.
    pub fn available() -> Vec<Self> {
        let mut kernels = vec![Self::Scalar];
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128", not(target_feature = "relaxed-simd")))]
        kernels.push(Self::Simd128);
        #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
        kernels.push(Self::RelaxedSimd);
        #[cfg(target_arch = "x86_64")]
        kernels.extend(x86::available());
        #[cfg(target_arch = "aarch64")]
        kernels.push(Self::Neon);
        kernels
    }

    /// The quickest one.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Scalar)
    }

    /// Σ activation·weight for each row of activations and each output.
    ///
    /// `activations` holds rows of `inputs` values, `weights` panels of `inputs` times [`PANEL`] values, and `sums` a row of `outputs` sums a row of
    /// activations. `inputs` is a multiple of [`BLOCK`] and at most 65,536, `outputs` of [`PANEL`]. What is beyond the shortest of the three
    /// is left alone.
    #[inline]
    pub(crate) fn products(
        self,
        activations: &[Level],
        weights: &[i8],
        inputs: usize,
        sums: &mut [i32],
        outputs: usize,
    ) {
        let Some(product) = Product::of(activations, weights, inputs, sums, outputs) else { return };
        match self {
            Self::Scalar => scalar(product),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            _ => wasm::products(product),
            #[cfg(target_arch = "x86_64")]
            _ => x86::products(self, product),
            #[cfg(target_arch = "aarch64")]
            _ => neon::products(product),
        }
    }

    /// Runs code that holds no kernel with the vectors that the kernel's processor has: `run` must be inlined for that to matter.
    #[inline(always)]
    pub(crate) fn with_its_vectors<T>(self, run: impl FnOnce() -> T) -> T {
        #[cfg(target_arch = "x86_64")]
        return x86::with_vectors(self, run);
        #[cfg(not(target_arch = "x86_64"))]
        run()
    }
}

/// One call's slices, of lengths that fit.
pub(crate) struct Product<'a> {
    /// `[rows, inputs]`
    pub(crate) activations: &'a [Level],
    /// `[outputs / PANEL, inputs / BLOCK, PANEL, BLOCK]`
    pub(crate) weights: &'a [i8],
    /// `[rows, outputs]`
    pub(crate) sums: &'a mut [i32],
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl<'a> Product<'a> {
    /// The call, cut to whole rows, blocks and panels; `None` where nothing is left.
    fn of(
        activations: &'a [Level],
        weights: &'a [i8],
        inputs: usize,
        sums: &'a mut [i32],
        outputs: usize,
    ) -> Option<Self> {
        let whole = inputs > 0 && inputs.is_multiple_of(BLOCK) && outputs > 0 && outputs.is_multiple_of(PANEL);
        if !whole || weights.len() / inputs < outputs {
            return None;
        }
        let rows = (activations.len() / inputs).min(sums.len() / outputs);
        Some(Self {
            activations: activations.get(..rows * inputs)?,
            weights: weights.get(..outputs * inputs)?,
            sums: sums.get_mut(..rows * outputs)?,
            rows,
            inputs,
            outputs,
        })
    }
}

/// The specification.
fn scalar(product: Product<'_>) {
    let Product { activations, weights, sums, inputs, outputs, .. } = product;
    for (row, sums) in activations.chunks_exact(inputs).zip(sums.chunks_exact_mut(outputs)) {
        for (panel, sums) in weights.chunks_exact(inputs * PANEL).zip(sums.chunks_exact_mut(PANEL)) {
            sums.fill(0);
            for (inputs, block) in row.chunks_exact(BLOCK).zip(panel.chunks_exact(PANEL * BLOCK)) {
                for (sum, weights) in sums.iter_mut().zip(block.chunks_exact(BLOCK)) {
                    for (&x, &weight) in inputs.iter().zip(weights) {
                        *sum = sum.wrapping_add(i32::from(x) * i32::from(weight));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BLOCK, Kernel, Level, PANEL};
    use crate::packed::panels;

    /// By the definition, from weights in rows.
    fn expected(activations: &[Level], weights: &[i8], inputs: usize) -> Vec<i32> {
        let dot = |row: &[Level], weights: &[i8]| -> i32 {
            row.iter().zip(weights).map(|(&x, &weight)| i32::from(x) * i32::from(weight)).sum()
        };
        let rows = activations.chunks_exact(inputs);
        rows.flat_map(|row| weights.chunks_exact(inputs).map(move |weights| dot(row, weights))).collect()
    }

    proptest! {
        #[test]
        fn every_kernel_gives_the_sums_of_the_definition(
            rows in 0_usize..20,
            blocks in 1_usize..9,
            panels_count in 1_usize..6,
            extremes: bool,
            seed: u64,
        ) {
            let (inputs, outputs) = (blocks * BLOCK, panels_count * PANEL);
            let mut state = seed | 1;
            let mut byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            let extreme = |byte: u8, least: i16, most: i16| if byte & 1 == 0 { least } else { most };
            let activations: Vec<Level> = (0..rows * inputs)
                .map(|_| if extremes { extreme(byte(), 0, 127) as Level } else { (byte() & 127).into() })
                .collect();
            let weights: Vec<i8> = (0..outputs * inputs)
                .map(|_| if extremes { extreme(byte(), -128, 127) as i8 } else { byte() as i8 })
                .collect();
            let expected = expected(&activations, &weights, inputs);
            let packed = panels(&weights, inputs);
            for kernel in Kernel::available() {
                let mut sums = vec![7; rows * outputs];
                kernel.products(&activations, &packed, inputs, &mut sums, outputs);
                prop_assert_eq!(&sums, &expected, "{}", kernel);
            }
        }
    }
}
