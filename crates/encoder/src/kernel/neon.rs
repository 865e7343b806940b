//! The kernels for aarch64, with what every such processor has.
#![allow(unsafe_code, reason = "vector loads and stores take addresses; each block has its argument")]

use std::arch::aarch64::{
    int32x4_t, vaddq_s32, vdup_n_s32, vdupq_n_s32, vget_high_s8, vget_high_s16, vget_low_s8, vget_low_s16, vld1q_s8,
    vld1q_s16, vmull_s8, vmull_s16, vpadalq_s16, vpaddq_s32, vreinterpret_s8_s32, vreinterpret_s16_s32, vst1q_s32,
};

use super::{Narrow, PANEL, Wide, WidePanels};

/// Outputs of a vector.
const LANES: usize = 4;
/// Rows of a tile.
const ROWS: usize = 4;
/// Bytes of a block: four narrow factors, or two wide ones.
const BLOCK: usize = 4;

pub(super) fn narrow(rows: &Narrow, weights: &[i8], sums: &mut [i32], panels: usize) {
    let left: &[u8] = rows.values();
    // SAFETY: of bytes, one a byte.
    unsafe { products::<NarrowTile>(left, bytemuck::cast_slice(weights), sums, rows.rows(), rows.inputs(), panels) }
}

pub(super) fn wide(left: &Wide, right: &WidePanels, sums: &mut [i32], panels: usize) {
    let (rows, bytes) = (left.rows(), 2 * left.inputs());
    // SAFETY: of 16-bit integers, two bytes each.
    unsafe {
        products::<WideTile>(
            bytemuck::cast_slice(left.values()),
            bytemuck::cast_slice(right.values()),
            sums,
            rows,
            bytes,
            panels,
        );
    }
}

/// What a block adds to the sums of four outputs, whose halves stay apart until the end.
trait Tile {
    /// # Safety
    ///
    /// `left` points at a block, `right` at the same one of four outputs.
    unsafe fn add(left: *const u8, right: *const u8, sums: &mut [int32x4_t; 2]);
}

struct NarrowTile;

impl Tile for NarrowTile {
    #[inline(always)]
    unsafe fn add(left: *const u8, right: *const u8, [low, high]: &mut [int32x4_t; 2]) {
        // SAFETY: the caller's bytes. A product of 127·128 at most fits 16 bits.
        unsafe {
            let x = vreinterpret_s8_s32(vdup_n_s32(left.cast::<i32>().read_unaligned()));
            let weights = vld1q_s8(right.cast());
            *low = vpadalq_s16(*low, vmull_s8(vget_low_s8(weights), x));
            *high = vpadalq_s16(*high, vmull_s8(vget_high_s8(weights), x));
        }
    }
}

struct WideTile;

impl Tile for WideTile {
    #[inline(always)]
    unsafe fn add(left: *const u8, right: *const u8, [low, high]: &mut [int32x4_t; 2]) {
        // SAFETY: the caller's bytes.
        unsafe {
            let x = vreinterpret_s16_s32(vdup_n_s32(left.cast::<i32>().read_unaligned()));
            let numbers = vld1q_s16(right.cast());
            *low = vaddq_s32(*low, vmull_s16(vget_low_s16(numbers), x));
            *high = vaddq_s32(*high, vmull_s16(vget_high_s16(numbers), x));
        }
    }
}

/// # Safety
///
/// `T` reads the factors as what they are.
unsafe fn products<T: Tile>(left: &[u8], right: &[u8], sums: &mut [i32], rows: usize, bytes: usize, panels: usize) {
    let outputs = panels * PANEL;
    if bytes == 0 || outputs == 0 {
        return sums.fill(0);
    }
    assert!(left.len() >= rows * bytes && right.len() >= outputs * bytes && sums.len() >= rows * outputs);
    for output in (0..outputs).step_by(LANES) {
        for row in (0..rows).step_by(ROWS) {
            // SAFETY: the tile reads as many rows from `row` on as there are, up to `ROWS`, and its outputs' panel, and writes these rows' sums of these
            // outputs: all there, see above.
            unsafe {
                let left = left.as_ptr().add(row * bytes);
                let right = right.as_ptr().add(output / PANEL * PANEL * bytes + output % PANEL * BLOCK);
                let sums = sums.as_mut_ptr().add(row * outputs + output);
                match rows - row {
                    1 => tile::<T, 1>(left, right, sums, bytes, outputs),
                    2 => tile::<T, 2>(left, right, sums, bytes, outputs),
                    3 => tile::<T, 3>(left, right, sums, bytes, outputs),
                    _ => tile::<T, ROWS>(left, right, sums, bytes, outputs),
                }
            }
        }
    }
}

/// # Safety
///
/// `left` points at `R` rows of `bytes` bytes, `right` at four outputs in the first block of a panel of as many, and `sums` at `R` rows, `outputs` apart,
/// of four sums.
#[inline]
unsafe fn tile<T: Tile, const R: usize>(
    left: *const u8,
    right: *const u8,
    sums: *mut i32,
    bytes: usize,
    outputs: usize,
) {
    let mut all = [[vdupq_n_s32(0); 2]; R];
    for at in (0..bytes).step_by(BLOCK) {
        for (r, sums) in all.iter_mut().enumerate() {
            // SAFETY: block `at / BLOCK` of the panel begins at `at · PANEL`; all within what the caller promises.
            unsafe { T::add(left.add(r * bytes + at), right.add(at * PANEL), sums) };
        }
    }
    for (r, [low, high]) in all.into_iter().enumerate() {
        // SAFETY: the caller's sums.
        unsafe { vst1q_s32(sums.add(r * outputs), vpaddq_s32(low, high)) };
    }
}
