//! Kernels for WebAssembly's 128-bit vectors.
#![allow(unsafe_code, reason = "vector loads and stores take addresses; each block has its argument")]

use std::arch::wasm32::{i32x4_splat, v128_store};

use super::{BLOCK, Level, PANEL, Product};

/// Outputs of a vector.
const LANES: usize = 4;
/// Rows of a tile.
const ROWS: usize = 4;

pub(super) fn products(product: Product<'_>) {
    let Product { activations, weights, sums, rows, inputs, outputs } = product;
    for output in (0..outputs).step_by(VECTORS * LANES) {
        let mut row = 0;
        while row < rows {
            // SAFETY: `Product::of` made the slices as long as rows, inputs and outputs say. The tile reads as many rows of activations from `row` on
            // as there are, up to `ROWS`, and the panel of its outputs, which does not end between them; it writes these rows' sums of these outputs.
            unsafe {
                let activations = activations.as_ptr().add(row * inputs);
                let weights = weights.as_ptr().add(output / PANEL * PANEL * inputs + output % PANEL * BLOCK);
                let sums = sums.as_mut_ptr().add(row * outputs + output);
                match rows - row {
                    1 => tile::<1>(activations, weights, sums, inputs, outputs),
                    2 => tile::<2>(activations, weights, sums, inputs, outputs),
                    3 => tile::<3>(activations, weights, sums, inputs, outputs),
                    _ => tile::<ROWS>(activations, weights, sums, inputs, outputs),
                }
            }
            row += ROWS;
        }
    }
}

/// # Safety
///
/// `activations` points at `R` rows of `inputs` values, `weights` at the tile's outputs in the first block of a panel of `inputs` inputs, and `sums` at `R`
/// rows, `outputs` apart, of the tile's sums.
#[inline]
unsafe fn tile<const R: usize>(
    activations: *const Level,
    weights: *const i8,
    sums: *mut i32,
    inputs: usize,
    outputs: usize,
) {
    let mut all = [[i32x4_splat(0); SUMS]; R];
    for input in (0..inputs).step_by(BLOCK) {
        // SAFETY: block `input / BLOCK` of the panel begins at `input · PANEL`; all within what the caller promises.
        unsafe {
            let block = Block::load(weights.add(input * PANEL));
            for (r, sums) in all.iter_mut().enumerate() {
                block.multiply_add(activations.add(r * inputs + input), sums);
            }
        }
    }
    for (r, row) in all.iter().enumerate() {
        for (v, sum) in finished(row).into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { v128_store(sums.add(r * outputs + v * LANES).cast(), sum) };
        }
    }
}

use kernel::{Block, SUMS, VECTORS, finished};

/// Products of 16 bits: the weights of a block are widened, and the two halves of an output's four products stay apart until the end.
#[cfg(not(target_feature = "relaxed-simd"))]
mod kernel {
    use std::arch::wasm32::{
        i16x8_load_extend_i8x8, i32x4_add, i32x4_dot_i16x8, i32x4_shuffle, v128, v128_load64_splat,
    };

    /// Vectors of outputs of a tile.
    pub(super) const VECTORS: usize = 1;
    /// Vectors of sums of a row of a tile.
    pub(super) const SUMS: usize = 2;

    /// The weights of four outputs in a block.
    pub(super) struct Block([v128; 2]);

    impl Block {
        #[inline(always)]
        pub(super) unsafe fn load(weights: *const i8) -> Self {
            // SAFETY: the caller's sixteen weights.
            unsafe { Self([i16x8_load_extend_i8x8(weights), i16x8_load_extend_i8x8(weights.add(8))]) }
        }

        #[inline(always)]
        pub(super) unsafe fn multiply_add(&self, activations: *const i16, sums: &mut [v128; SUMS]) {
            // SAFETY: the caller's four activations.
            let x = unsafe { v128_load64_splat(activations.cast()) };
            for (sum, weights) in sums.iter_mut().zip(self.0) {
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(x, weights));
            }
        }
    }

    #[inline(always)]
    pub(super) fn finished(&[low, high]: &[v128; SUMS]) -> [v128; VECTORS] {
        [i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(low, high), i32x4_shuffle::<1, 3, 5, 7>(low, high))]
    }
}

/// Products of bytes: the relaxed dot product, whose second factor has 7 bits, so that every processor gives the same.
#[cfg(target_feature = "relaxed-simd")]
mod kernel {
    use std::arch::wasm32::{i32x4_relaxed_dot_i8x16_i7x16_add, v128, v128_load, v128_load32_splat};

    /// Vectors of outputs of a tile.
    pub(super) const VECTORS: usize = 2;
    /// Vectors of sums of a row of a tile.
    pub(super) const SUMS: usize = 2;

    /// The weights of eight outputs in a block.
    pub(super) struct Block([v128; 2]);

    impl Block {
        #[inline(always)]
        pub(super) unsafe fn load(weights: *const i8) -> Self {
            // SAFETY: the caller's thirty-two weights.
            unsafe { Self([v128_load(weights.cast()), v128_load(weights.add(16).cast())]) }
        }

        #[inline(always)]
        pub(super) unsafe fn multiply_add(&self, activations: *const u8, sums: &mut [v128; SUMS]) {
            // SAFETY: the caller's four activations.
            let x = unsafe { v128_load32_splat(activations.cast()) };
            for (sum, weights) in sums.iter_mut().zip(self.0) {
                *sum = i32x4_relaxed_dot_i8x16_i7x16_add(weights, x, *sum);
            }
        }
    }

    #[inline(always)]
    pub(super) fn finished(sums: &[v128; SUMS]) -> [v128; VECTORS] {
        *sums
    }
}
