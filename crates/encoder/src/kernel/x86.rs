//! Kernels for x86-64: AVX2, AVX-VNNI and AVX-512 VNNI.
#![allow(unsafe_code, reason = "vector loads and stores take addresses; each block has its argument")]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
    _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::{BLOCK, Kernel, PANEL, Product};

pub(super) fn available() -> impl Iterator<Item = Kernel> {
    let avx2 = is_x86_feature_detected!("avx2");
    let avx_vnni = avx2 && is_x86_feature_detected!("avxvnni");
    let avx512 = avx2
        && ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"].into_iter().all(|feature| match feature {
            "avx512f" => is_x86_feature_detected!("avx512f"),
            "avx512bw" => is_x86_feature_detected!("avx512bw"),
            "avx512dq" => is_x86_feature_detected!("avx512dq"),
            "avx512vl" => is_x86_feature_detected!("avx512vl"),
            _ => is_x86_feature_detected!("avx512vnni"),
        });
    let of = |there: bool, kernel| there.then_some(kernel);
    [of(avx2, Kernel::Avx2), of(avx_vnni, Kernel::AvxVnni), of(avx512, Kernel::Avx512Vnni)].into_iter().flatten()
}

/// A [`Kernel`] of this file comes from [`available`] alone, or is refused by `Packed::with_kernel`: so the processor has its features.
pub(super) fn products(kernel: Kernel, product: Product<'_>) {
    // SAFETY: the processor has the features, see above.
    unsafe {
        match kernel {
            Kernel::Scalar => super::scalar(product),
            Kernel::Avx2 => avx2::products(product),
            Kernel::AvxVnni => avx_vnni::products(product),
            Kernel::Avx512Vnni => avx512_vnni::products(product),
        }
    }
}

#[inline(always)]
pub(super) fn with_vectors<T>(kernel: Kernel, run: impl FnOnce() -> T) -> T {
    #[target_feature(enable = "avx2")]
    fn avx2<T>(run: impl FnOnce() -> T) -> T {
        run()
    }
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
    fn avx512<T>(run: impl FnOnce() -> T) -> T {
        run()
    }
    // SAFETY: the processor has the features, as `products` says.
    unsafe {
        match kernel {
            Kernel::Scalar => run(),
            Kernel::Avx2 | Kernel::AvxVnni => avx2(run),
            Kernel::Avx512Vnni => avx512(run),
        }
    }
}

/// A module with `products`, made of the vector's operations. A tile is so many rows of activations times so many vectors of outputs, and has all
/// its sums in registers.
macro_rules! kernel {
    (
        $name:ident, $features:literal, $vector:ty, lanes $lanes:literal, rows $rows:literal, vectors $vectors:literal,
        $zero:expr, $load:expr, $splat:expr, $store:expr, |$sum:ident, $x:ident, $weight:ident| $multiply_add:expr
    ) => {
        mod $name {
            use super::*;

            const LANES: usize = $lanes;
            const ROWS: usize = $rows;
            const VECTORS: usize = $vectors;

            #[target_feature(enable = $features)]
            pub(super) fn products(product: Product<'_>) {
                let Product { activations, weights, sums, rows, inputs, outputs } = product;
                let mut output = 0;
                while output < outputs {
                    let wide = outputs - output >= VECTORS * LANES;
                    let mut row = 0;
                    while row < rows {
                        let left = rows - row;
                        let height = if left >= ROWS {
                            ROWS
                        } else if left >= 4 {
                            4
                        } else if left >= 2 {
                            2
                        } else {
                            1
                        };
                        // SAFETY: `Product::of` made the slices as long as rows, inputs and outputs say. The tile reads `height` rows of
                        // activations from `row` on, which are at most `rows`, and the panels of its vectors of outputs from `output` on, which
                        // are at most `outputs`: a multiple of PANEL, and so of LANES. It writes these rows' sums of these outputs.
                        unsafe {
                            let activations = activations.as_ptr().add(row * inputs);
                            let sums = sums.as_mut_ptr().add(row * outputs + output);
                            let weights = weights.as_ptr();
                            match (wide, height) {
                                (true, 1) => tile::<1, VECTORS>(activations, weights, sums, output, inputs, outputs),
                                (true, 2) => tile::<2, VECTORS>(activations, weights, sums, output, inputs, outputs),
                                (true, ROWS) => {
                                    tile::<ROWS, VECTORS>(activations, weights, sums, output, inputs, outputs)
                                }
                                (true, _) => tile::<4, VECTORS>(activations, weights, sums, output, inputs, outputs),
                                (false, 1) => tile::<1, 1>(activations, weights, sums, output, inputs, outputs),
                                (false, 2) => tile::<2, 1>(activations, weights, sums, output, inputs, outputs),
                                (false, ROWS) => tile::<ROWS, 1>(activations, weights, sums, output, inputs, outputs),
                                (false, _) => tile::<4, 1>(activations, weights, sums, output, inputs, outputs),
                            }
                        }
                        row += height;
                    }
                    output += if wide { VECTORS * LANES } else { LANES };
                }
            }

            /// # Safety
            ///
            /// `activations` points at `R` rows of `inputs` values, `weights` at panels for `outputs` outputs, of which `V` vectors lie from
            /// `output` on, and `sums` at `R` rows, `outputs` apart, of `V` vectors of sums.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn tile<const R: usize, const V: usize>(
                activations: *const u8,
                weights: *const i8,
                sums: *mut i32,
                output: usize,
                inputs: usize,
                outputs: usize,
            ) {
                let mut all: [[$vector; V]; R] = [[$zero; V]; R];
                // SAFETY: vector `v` begins at output `output + v·LANES`, in the panel and at the place in each of its blocks that this says; block
                // `input / BLOCK` of the panel begins at `input · PANEL`. All are within what the caller promises.
                unsafe {
                    let mut columns = [weights; V];
                    for (v, column) in columns.iter_mut().enumerate() {
                        let at = output + v * LANES;
                        *column = weights.add(at / PANEL * PANEL * inputs + at % PANEL * BLOCK);
                    }
                    let mut input = 0;
                    while input < inputs {
                        let mut loaded: [$vector; V] = [$zero; V];
                        for (loaded, column) in loaded.iter_mut().zip(columns) {
                            *loaded = $load(column.add(input * PANEL).cast());
                        }
                        for (r, sums) in all.iter_mut().enumerate() {
                            let $x = $splat(activations.add(r * inputs + input).cast::<i32>().read_unaligned());
                            for (sum, &$weight) in sums.iter_mut().zip(&loaded) {
                                let $sum = *sum;
                                *sum = $multiply_add;
                            }
                        }
                        input += BLOCK;
                    }
                    for (r, row) in all.iter().enumerate() {
                        for (v, sum) in row.iter().enumerate() {
                            $store(sums.add(r * outputs + v * LANES).cast(), *sum);
                        }
                    }
                }
            }
        }
    };
}

// Two products of 127·128 at most add up to less than 2¹⁵, so that nothing saturates.
kernel!(
    avx2, "avx2", __m256i, lanes 8, rows 4, vectors 2,
    _mm256_setzero_si256(), _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256,
    |sum, x, weight| _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, weight), _mm256_set1_epi16(1)))
);
kernel!(
    avx_vnni, "avx2,avxvnni", __m256i, lanes 8, rows 6, vectors 2,
    _mm256_setzero_si256(), _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256,
    |sum, x, weight| _mm256_dpbusd_avx_epi32(sum, x, weight)
);
kernel!(
    avx512_vnni, "avx512f,avx512vnni", __m512i, lanes 16, rows 8, vectors 2,
    _mm512_setzero_si512(), _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512,
    |sum, x, weight| _mm512_dpbusd_epi32(sum, x, weight)
);
