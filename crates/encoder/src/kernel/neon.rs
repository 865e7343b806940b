//! The kernel for aarch64, with what every such processor has.
#![allow(unsafe_code, reason = "vector loads and stores take addresses; each block has its argument")]

use std::arch::aarch64::{
    int32x4_t, vdup_n_s32, vdupq_n_s32, vget_high_s8, vget_low_s8, vld1q_s8, vmull_s8, vpadalq_s16, vpaddq_s32,
    vreinterpret_s8_s32, vst1q_s32,
};

use super::{BLOCK, PANEL, Product};

/// Outputs of a vector.
const LANES: usize = 4;
/// Rows of a tile.
const ROWS: usize = 4;
/// Vectors of outputs of a tile.
const VECTORS: usize = 2;

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
    activations: *const u8,
    weights: *const i8,
    sums: *mut i32,
    inputs: usize,
    outputs: usize,
) {
    // Two vectors of sums for each vector of outputs: the two halves of an output's four products stay apart until the end.
    let mut all: [[[int32x4_t; 2]; VECTORS]; R] = [[[vdupq_n_s32(0); 2]; VECTORS]; R];
    for input in (0..inputs).step_by(BLOCK) {
        // SAFETY: block `input / BLOCK` of the panel begins at `input · PANEL`; all within what the caller promises. Two products of 127·128 at most add
        // up to less than 2¹⁵, and each of them fits 16 bits.
        unsafe {
            let block = weights.add(input * PANEL);
            let vectors = [vld1q_s8(block), vld1q_s8(block.add(LANES * BLOCK))];
            for (r, sums) in all.iter_mut().enumerate() {
                let x = activations.add(r * inputs + input).cast::<i32>().read_unaligned();
                let x = vreinterpret_s8_s32(vdup_n_s32(x));
                for (sums, weights) in sums.iter_mut().zip(vectors) {
                    sums[0] = vpadalq_s16(sums[0], vmull_s8(vget_low_s8(weights), x));
                    sums[1] = vpadalq_s16(sums[1], vmull_s8(vget_high_s8(weights), x));
                }
            }
        }
    }
    for (r, row) in all.iter().enumerate() {
        for (v, halves) in row.iter().enumerate() {
            // SAFETY: as above.
            unsafe { vst1q_s32(sums.add(r * outputs + v * LANES), vpaddq_s32(halves[0], halves[1])) };
        }
    }
}
