//! Kernels for x86-64: AVX2, AVX-VNNI and AVX-512 VNNI.
#![allow(unsafe_code, reason = "vector loads and stores take addresses; each block has its argument")]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_dpwssd_avx_epi32, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_storeu_si512,
};

use bytemuck::NoUninit;

use super::factors::{Number, Rows};
use super::{Kernel, Narrow, PANEL, Wide, WidePanels, Work};

pub(super) fn available() -> impl IntoIterator<Item = Kernel> {
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

/// Rows and columns in blocks of four bytes: four narrow factors, or two wide ones.
struct Product<'a> {
    /// `[rows, bytes]`
    left: &'a [u8],
    /// `[outputs / PANEL, bytes / 4, PANEL, 4]`
    right: &'a [u8],
    /// `[rows, outputs]`
    sums: &'a mut [i32],
    rows: usize,
    bytes: usize,
    outputs: usize,
}

impl<'a> Product<'a> {
    /// `None` where there is nothing to sum up, or where the slices are too short.
    fn of<L: NoUninit + Number, R: NoUninit>(
        left: &'a Rows<L>,
        right: &'a [R],
        sums: &'a mut [i32],
        panels: usize,
    ) -> Option<Self> {
        let (rows, bytes, outputs) = (left.rows(), left.inputs() * size_of::<L>(), panels * PANEL);
        if rows == 0 || bytes == 0 || outputs == 0 {
            sums.fill(0);
            return None;
        }
        let left = bytemuck::cast_slice(left.values()).get(..rows * bytes)?;
        let right = bytemuck::cast_slice(right).get(..outputs * bytes)?;
        Some(Self { left, right, sums: sums.get_mut(..rows * outputs)?, rows, bytes, outputs })
    }
}

/// A [`Kernel`] of this file comes from [`available`] alone, or is refused by `Packed::with_kernel`: so the processor has its features.
pub(super) fn narrow(kernel: Kernel, rows: &Narrow, weights: &[i8], sums: &mut [i32], panels: usize) {
    let Some(product) = Product::of(rows, weights, sums, panels) else { return };
    // SAFETY: the processor has the features, see above.
    unsafe {
        match kernel {
            Kernel::Scalar => {}
            Kernel::Avx2 => avx2_narrow::products(product),
            Kernel::AvxVnni => avx_vnni_narrow::products(product),
            Kernel::Avx512Vnni => avx512_vnni_narrow::products(product),
        }
    }
}

/// The same, see [`narrow`].
pub(super) fn wide(kernel: Kernel, left: &Wide, right: &WidePanels, sums: &mut [i32], panels: usize) {
    let Some(product) = Product::of(left, right.values(), sums, panels) else { return };
    // SAFETY: the processor has the features, see above.
    unsafe {
        match kernel {
            Kernel::Scalar => {}
            Kernel::Avx2 => avx2_wide::products(product),
            Kernel::AvxVnni => avx_vnni_wide::products(product),
            Kernel::Avx512Vnni => avx512_vnni_wide::products(product),
        }
    }
}

#[inline(always)]
pub(super) fn run<W: Work>(kernel: Kernel, work: W) -> W::Output {
    #[target_feature(enable = "avx2")]
    fn avx2<W: Work>(work: W) -> W::Output {
        work.run()
    }
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
    fn avx512<W: Work>(work: W) -> W::Output {
        work.run()
    }
    // SAFETY: the processor has the features, as `narrow` says.
    unsafe {
        match kernel {
            Kernel::Scalar => work.run(),
            Kernel::Avx2 | Kernel::AvxVnni => avx2(work),
            Kernel::Avx512Vnni => avx512(work),
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
                let Product { left: left_rows, right, sums, rows, bytes, outputs } = product;
                let mut output = 0;
                while output < outputs {
                    let wide = outputs - output >= VECTORS * LANES;
                    let mut row = 0;
                    while row < rows {
                        let remaining = rows - row;
                        let height = if remaining >= ROWS {
                            ROWS
                        } else if remaining >= 4 {
                            4
                        } else if remaining >= 2 {
                            2
                        } else {
                            1
                        };
                        // SAFETY: `Product::of` made the slices as long as rows, bytes and outputs say. The tile reads `height` rows of
                        // the left factor from `row` on, which are at most `rows`, and the panels of its vectors of outputs from `output` on, which
                        // are at most `outputs`: a multiple of PANEL, and so of LANES. It writes these rows' sums of these outputs.
                        unsafe {
                            let left = left_rows.as_ptr().add(row * bytes);
                            let sums = sums.as_mut_ptr().add(row * outputs + output);
                            let right = right.as_ptr();
                            match (wide, height) {
                                (true, 1) => tile::<1, VECTORS>(left, right, sums, output, bytes, outputs),
                                (true, 2) => tile::<2, VECTORS>(left, right, sums, output, bytes, outputs),
                                (true, ROWS) => tile::<ROWS, VECTORS>(left, right, sums, output, bytes, outputs),
                                (true, _) => tile::<4, VECTORS>(left, right, sums, output, bytes, outputs),
                                (false, 1) => tile::<1, 1>(left, right, sums, output, bytes, outputs),
                                (false, 2) => tile::<2, 1>(left, right, sums, output, bytes, outputs),
                                (false, ROWS) => tile::<ROWS, 1>(left, right, sums, output, bytes, outputs),
                                (false, _) => tile::<4, 1>(left, right, sums, output, bytes, outputs),
                            }
                        }
                        row += height;
                    }
                    output += if wide { VECTORS * LANES } else { LANES };
                }
            }

            /// # Safety
            ///
            /// `left` points at `R` rows of `bytes` bytes, `right` at panels for `outputs` outputs, of which `V` vectors lie from `output` on, and `sums` at `R` rows, `outputs` apart, of `V` vectors of sums.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn tile<const R: usize, const V: usize>(
                left: *const u8,
                right: *const u8,
                sums: *mut i32,
                output: usize,
                bytes: usize,
                outputs: usize,
            ) {
                let mut all: [[$vector; V]; R] = [[$zero; V]; R];
                // SAFETY: vector `v` begins at output `output + v·LANES`, in the panel and at the place in each of its blocks that this says; block
                // `at / 4` of the panel begins at `at · PANEL`. All are within what the caller promises.
                unsafe {
                    let mut columns = [right; V];
                    for (v, column) in columns.iter_mut().enumerate() {
                        let at = output + v * LANES;
                        *column = right.add(at / PANEL * PANEL * bytes + at % PANEL * 4);
                    }
                    let mut at = 0;
                    while at < bytes {
                        let mut loaded: [$vector; V] = [$zero; V];
                        for (loaded, column) in loaded.iter_mut().zip(columns) {
                            *loaded = $load(column.add(at * PANEL).cast());
                        }
                        for (r, sums) in all.iter_mut().enumerate() {
                            let $x = $splat(left.add(r * bytes + at).cast::<i32>().read_unaligned());
                            for (sum, &$weight) in sums.iter_mut().zip(&loaded) {
                                let $sum = *sum;
                                *sum = $multiply_add;
                            }
                        }
                        at += 4;
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
    avx2_narrow, "avx2", __m256i, lanes 8, rows 4, vectors 2,
    _mm256_setzero_si256(), _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256,
    |sum, x, y| _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), _mm256_set1_epi16(1)))
);
kernel!(
    avx2_wide, "avx2", __m256i, lanes 8, rows 4, vectors 2,
    _mm256_setzero_si256(), _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256,
    |sum, x, y| _mm256_add_epi32(sum, _mm256_madd_epi16(x, y))
);
kernel!(
    avx_vnni_narrow, "avx2,avxvnni", __m256i, lanes 8, rows 6, vectors 2,
    _mm256_setzero_si256(), _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256,
    |sum, x, y| _mm256_dpbusd_avx_epi32(sum, x, y)
);
kernel!(
    avx_vnni_wide, "avx2,avxvnni", __m256i, lanes 8, rows 6, vectors 2,
    _mm256_setzero_si256(), _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256,
    |sum, x, y| _mm256_dpwssd_avx_epi32(sum, x, y)
);
kernel!(
    avx512_vnni_narrow, "avx512f,avx512vnni", __m512i, lanes 16, rows 8, vectors 2,
    _mm512_setzero_si512(), _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512,
    |sum, x, y| _mm512_dpbusd_epi32(sum, x, y)
);
kernel!(
    avx512_vnni_wide, "avx512f,avx512vnni", __m512i, lanes 16, rows 8, vectors 2,
    _mm512_setzero_si512(), _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512,
    |sum, x, y| _mm512_dpwssd_epi32(sum, x, y)
);
