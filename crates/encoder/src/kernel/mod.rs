//! Products of integers: the inner loop of everything.
//!
//! There are two. The *narrow* product multiplies activations of 7 bits (0 to 127) with weights of 8; the *wide* one 16-bit integers of
//! attention. No sum leaves 32 bits, and sums of integers are the same in any order, so every kernel gives the same ones; `scalar` is the
//! specification.
//!
//! The left factor's rows and the right factor's columns, the *outputs*, share `inputs` numbers. Both lie in blocks of inputs that fill 4 bytes
//! (8 for WebAssembly's wide product). Columns lie in panels of several outputs, `[outputs / PANEL][inputs / block][PANEL][block]`: a kernel reads
//! a panel from its beginning to its end, multiplies each block with the same block of several rows, and never adds across a vector.

mod factors;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;

pub(crate) use factors::{Narrow, Wide, WidePanels};

/// Outputs of a panel of weights.
pub(crate) const PANEL: usize = 16;
/// Inputs of a block of weights.
pub(crate) const BLOCK: usize = 4;
/// Blocks of weights whose products with activations may be summed in 16 bits: see [`LANE_MAX`].
pub(crate) const GROUP: usize = 2;
/// Over a group's blocks, the positive weights of an output that stand first or second in their block add up to this at most, and so do the negative
/// ones, and those that stand third or fourth. 127 times it fits 16 bits.
pub(crate) const LANE_MAX: i32 = 258;

/// How the products are computed. All give the same bits; they differ in what the processor must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// Plain code: the specification.
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    Scalar,
    /// WebAssembly's 128-bit vectors.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128", not(target_feature = "relaxed-simd")))]
    Simd128,
    /// The same with the relaxed dot products, whose result is fixed where one factor has 7 bits.
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    RelaxedSimd,
    /// 256-bit vectors (AVX2).
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 256-bit vectors with dot products (AVX-VNNI).
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// 512-bit vectors with dot products (AVX-512 VNNI).
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// 128-bit vectors of aarch64.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
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
        vec![
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Self::Scalar,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128", not(target_feature = "relaxed-simd")))]
            Self::Simd128,
            #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
            Self::RelaxedSimd,
            #[cfg(target_arch = "aarch64")]
            Self::Neon,
        ]
        .into_iter()
        .chain(
            #[cfg(target_arch = "x86_64")]
            x86::available(),
            #[cfg(not(target_arch = "x86_64"))]
            None,
        )
        .collect()
    }

    /// The quickest one.
    pub fn best() -> Self {
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        return Self::available().pop().unwrap_or(Self::Scalar);
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128", not(target_feature = "relaxed-simd")))]
        return Self::Simd128;
        #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
        Self::RelaxedSimd
    }

    /// Σ activation·weight for each row of activations and each output, `[rows, outputs]`.
    ///
    /// `weights` are panels of [`PANEL`] outputs for the rows' number of inputs, at most 65,536, and no lane of theirs is above [`LANE_MAX`]; where one
    /// is, the sums are some numbers.
    #[inline]
    pub(crate) fn narrow(self, rows: &Narrow, weights: &[i8], sums: &mut Vec<i32>) {
        let panels = weights.len() / (rows.inputs() * PANEL).max(1);
        sums.resize(rows.rows() * panels * PANEL, 0);
        match self {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Self::Scalar => scalar::<u8, i8, BLOCK>(rows.values(), rows.inputs(), weights, sums, panels),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            _ => wasm::narrow(rows, weights, sums, panels),
            #[cfg(target_arch = "x86_64")]
            _ => x86::narrow(self, rows, weights, sums, panels),
            #[cfg(target_arch = "aarch64")]
            _ => neon::narrow(rows, weights, sums, panels),
        }
    }

    /// Σ left·right for each row and each output, `[rows, outputs]`, the outputs those of `right`'s whole panels. The caller sees to it that no sum
    /// leaves 32 bits; one that does is some number.
    #[inline]
    pub(crate) fn wide(self, left: &Wide, right: &WidePanels, sums: &mut Vec<i32>) {
        let panels = if left.inputs() == right.inputs() { right.panels() } else { 0 };
        sums.resize(left.rows() * panels * WidePanels::PANEL, 0);
        match self {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Self::Scalar => {
                scalar::<i16, i16, { WidePanels::BLOCK }>(left.values(), left.inputs(), right.values(), sums, panels);
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            _ => wasm::wide(left, right, sums, panels),
            #[cfg(target_arch = "x86_64")]
            _ => x86::wide(self, left, right, sums, panels),
            #[cfg(target_arch = "aarch64")]
            _ => neon::wide(left, right, sums, panels),
        }
    }

    /// Does work that is compiled with the vectors that the kernel's processor has.
    #[inline(always)]
    pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        return x86::run(self, work);
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = self; // there is one kind of vectors
            work.run()
        }
    }
}

/// What [`Kernel::run`] runs: a function that is inlined with all that it calls, for only then it is compiled with the caller's vectors. (A closure
/// cannot say so.)
pub(crate) trait Work {
    type Output;

    /// To be marked `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

/// The specification.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn scalar<L, R, const BLOCK: usize>(rows: &[L], inputs: usize, columns: &[R], sums: &mut [i32], panels: usize)
where
    L: Copy + Into<i32>,
    R: Copy + Into<i32>,
{
    if inputs == 0 || panels == 0 {
        sums.fill(0);
        return;
    }
    for (row, sums) in rows.chunks_exact(inputs).zip(sums.chunks_exact_mut(panels * PANEL)) {
        for (panel, sums) in columns.chunks_exact(inputs * PANEL).zip(sums.chunks_exact_mut(PANEL)) {
            sums.fill(0);
            for (inputs, block) in row.chunks_exact(BLOCK).zip(panel.chunks_exact(PANEL * BLOCK)) {
                for (sum, column) in sums.iter_mut().zip(block.chunks_exact(BLOCK)) {
                    for (&x, &y) in inputs.iter().zip(column) {
                        *sum = sum.wrapping_add(x.into() * y.into());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers within the narrower type"
)]
mod tests {
    use proptest::prelude::*;

    use super::{BLOCK, Kernel, Narrow, PANEL, Wide, WidePanels};
    use crate::lanes::Lanes;
    use crate::math::{Function, ROUND};
    use crate::packed::{bounded, panels};

    /// By the definition, from columns that lie one after the other.
    fn expected<L: Copy + Into<i32>, R: Copy + Into<i32>>(rows: &[L], columns: &[R], inputs: usize) -> Vec<i32> {
        let dot = |row: &[L], column: &[R]| row.iter().zip(column).map(|(&x, &y)| x.into() * y.into()).sum();
        let rows = rows.chunks_exact(inputs);
        rows.flat_map(|row| columns.chunks_exact(inputs).map(move |column| dot(row, column))).collect()
    }

    /// Numbers from a seed: any, or only the least and the greatest.
    fn numbers(count: usize, seed: u64, least: i16, greatest: i16, extremes: bool) -> Vec<i16> {
        let mut state = seed | 1;
        let range = i32::from(greatest) - i32::from(least) + 1;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = (state >> 40) as i32;
            if extremes {
                [least, greatest][usize::from(random & 1 == 1)]
            } else {
                (i32::from(least) + random.rem_euclid(range)) as i16
            }
        };
        (0..count).map(next).collect()
    }

    fn floats<T: Copy + Into<f32>>(row: &[T]) -> Vec<f32> {
        row.iter().map(|&x| x.into()).collect()
    }

    struct Shift;

    impl Function for Shift {
        fn of(&mut self, x: Lanes) -> Lanes {
            x.plus(Lanes::splat(ROUND))
        }
    }

    proptest! {
        #[test]
        fn every_kernel_gives_the_narrow_sums_of_the_definition(
            rows in 0_usize..20,
            blocks in 1_usize..9,
            panels_count in 1_usize..6,
            extremes: bool,
            seed: u64,
        ) {
            let (inputs, outputs) = (blocks * 2 * BLOCK, panels_count * PANEL);
            let left: Vec<u8> = numbers(rows * inputs, seed, 0, 127, extremes).iter().map(|&x| x as u8).collect();
            let mut weights: Vec<i8> =
                numbers(inputs * outputs, !seed, -128, 127, extremes).iter().map(|&x| x as i8).collect();
            weights.chunks_exact_mut(inputs).for_each(|row| bounded(row, &mut 1.0));
            let right = expected(&left, &weights, inputs);
            let mut narrow = Narrow::default();
            narrow.clear(rows, inputs);
            for row in left.chunks_exact(inputs) {
                narrow.push(&floats(row), 0.0, &mut Shift);
            }
            let mut sums = vec![7; 3];
            for kernel in Kernel::available() {
                kernel.narrow(&narrow, &panels(&weights, inputs), &mut sums);
                prop_assert_eq!(&sums, &right, "{}", kernel);
            }
        }

        #[test]
        fn every_kernel_gives_the_wide_sums_of_the_definition(
            rows in 0_usize..20,
            inputs in 1_usize..40,
            outputs in 1_usize..40,
            extremes: bool,
            seed: u64,
        ) {
            // No sum leaves 32 bits.
            let most = ((f64::from(i32::MAX) / inputs as f64).sqrt() as i32).min(32_767) as i16;
            let left = numbers(rows * inputs, seed, -most, most, extremes);
            let columns = numbers(outputs * inputs, !seed, -most, most, extremes);
            let right = expected(&left, &columns, inputs);
            let mut wide = Wide::default();
            wide.clear(rows, inputs);
            for row in left.chunks_exact(inputs) {
                wide.push(&floats(row), 0.0, &mut Shift);
            }
            let mut wide_panels = WidePanels::default();
            wide_panels.clear(inputs, outputs);
            for (output, column) in columns.chunks_exact(inputs).enumerate() {
                wide_panels.column(output, &column.iter().map(|&x| f32::from(x) + ROUND).collect::<Vec<_>>());
            }
            let mut sums = vec![7; 3];
            for kernel in Kernel::available() {
                kernel.wide(&wide, &wide_panels, &mut sums);
                let padded = wide_panels.outputs();
                let found: Vec<i32> =
                    sums.chunks_exact(padded).flat_map(|row| row.iter().take(outputs).copied()).collect();
                prop_assert_eq!(&found, &right, "{}", kernel);
            }
        }
    }
}
