//! Kernels for WebAssembly's 128-bit vectors.
//!
//! A row's block fills a vector before it is needed (`spread_narrow`, `spread_wide`): runtimes compile a load that fills a vector with one number to
//! several instructions, and every block is needed once for each vector of outputs.
#![allow(unsafe_code, reason = "vector loads and stores take addresses; each block has its argument")]

use std::arch::wasm32::{
    i8x16_shuffle, i32x4_add, i32x4_dot_i16x8, i32x4_shuffle, i32x4_splat, v128, v128_load, v128_store,
};

#[cfg(target_feature = "relaxed-simd")]
pub(super) use relaxed::{ROWS as NARROW_ROWS, narrow, spread as spread_narrow};
#[cfg(not(target_feature = "relaxed-simd"))]
pub(super) use strict::{ROWS as NARROW_ROWS, narrow, spread as spread_narrow};

use super::{BLOCK, Narrow, PANEL, Wide, WidePanels};

/// Outputs of a vector of sums.
const LANES: usize = 4;
/// Rows of a tile of the wide product.
pub(super) const WIDE_ROWS: usize = 4;

/// The low 16 bits of four numbers, twice.
#[inline(always)]
pub(super) fn spread_wide(shifted: v128) -> v128 {
    i8x16_shuffle::<0, 1, 4, 5, 8, 9, 12, 13, 0, 1, 4, 5, 8, 9, 12, 13>(shifted, shifted)
}

pub(super) fn wide(left: &Wide, right: &WidePanels, sums: &mut [i32], panels: usize) {
    let blocks = left.inputs() / WidePanels::BLOCK;
    let outputs = panels * WidePanels::PANEL;
    if blocks == 0 || outputs == 0 {
        return sums.fill(0);
    }
    let columns = right.values().chunks_exact(WidePanels::PANEL * left.inputs());
    for (panel, columns) in columns.enumerate() {
        wide_columns(left.vectors(), columns, sums, 0..left.rows(), blocks, 0, blocks, panel * LANES, outputs);
    }
}

/// The sums of all rows for the four outputs from `output` on, over `count` of the rows' `blocks` from `first` on. `columns` are a panel with just these.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "where a tile lies")]
fn wide_columns(
    vectors: &[v128],
    columns: &[i16],
    sums: &mut [i32],
    rows: std::ops::Range<usize>,
    blocks: usize,
    first: usize,
    count: usize,
    output: usize,
    outputs: usize,
) {
    assert!(vectors.len() >= rows.end * blocks && first + count <= blocks && columns.len() >= count * 16);
    assert!(sums.len() >= rows.end * outputs && output + LANES <= outputs);
    for row in rows.clone().step_by(WIDE_ROWS) {
        // SAFETY: the tile reads `count` of the `blocks` vectors that each of its rows has, and the panel, two vectors a block; it writes these rows' sums
        // of four outputs: all there, see above.
        unsafe {
            let height = (rows.end - row).min(WIDE_ROWS);
            let vectors = vectors.as_ptr().add(row * blocks + first * height);
            let sums = sums.as_mut_ptr().add(row * outputs + output);
            let columns = columns.as_ptr().cast();
            let begun = first > 0;
            match height {
                1 => wide_tile::<1>(vectors, columns, sums, count, outputs, begun),
                2 => wide_tile::<2>(vectors, columns, sums, count, outputs, begun),
                3 => wide_tile::<3>(vectors, columns, sums, count, outputs, begun),
                _ => wide_tile::<WIDE_ROWS>(vectors, columns, sums, count, outputs, begun),
            }
        }
    }
}

/// Adds to the sums where they are `begun`, else writes them.
///
/// # Safety
///
/// `vectors` points at `R` times `blocks` vectors, `columns` at twice `blocks`, and `sums` at `R` rows, `outputs` apart, of four sums.
#[inline]
unsafe fn wide_tile<const R: usize>(
    mut vectors: *const v128,
    mut columns: *const v128,
    sums: *mut i32,
    blocks: usize,
    outputs: usize,
    begun: bool,
) {
    // The halves of an output's four products stay apart until the end.
    let mut all = [[i32x4_splat(0); 2]; R];
    for _ in 0..blocks {
        // SAFETY: the caller's vectors, one block after the other.
        unsafe {
            let weights = [v128_load(columns), v128_load(columns.add(1))];
            columns = columns.add(2);
            for (r, sums) in all.iter_mut().enumerate() {
                let x = v128_load(vectors.add(r));
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = i32x4_add(*sum, i32x4_dot_i16x8(x, weights));
                }
            }
            vectors = vectors.add(R);
        }
    }
    for (r, [low, high]) in all.into_iter().enumerate() {
        let sum = i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(low, high), i32x4_shuffle::<1, 3, 5, 7>(low, high));
        // SAFETY: the caller's sums.
        unsafe {
            let place = sums.add(r * outputs).cast();
            v128_store(place, if begun { i32x4_add(v128_load(place), sum) } else { sum });
        }
    }
}

/// The narrow product by 16-bit products: the weights of four outputs are widened, and serve all rows.
#[cfg(not(target_feature = "relaxed-simd"))]
mod strict {
    use std::arch::wasm32::{i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4_splat, v128, v128_load};

    use super::{BLOCK, LANES, Narrow, PANEL, WIDE_ROWS, spread_wide, wide_columns};

    pub(in super::super) const ROWS: usize = WIDE_ROWS;
    /// Blocks whose vectors and weights are read again and again before the next: they stay near the processor.
    const BLOCKS: usize = 96;

    pub(in super::super) fn spread(shifted: v128) -> v128 {
        spread_wide(shifted)
    }

    pub(in super::super) fn narrow(rows: &Narrow, weights: &[i8], sums: &mut [i32], panels: usize) {
        let (inputs, outputs) = (rows.inputs(), panels * PANEL);
        let blocks = inputs / BLOCK;
        if blocks == 0 || outputs == 0 {
            return sums.fill(0);
        }
        let mut widened = vec![i32x4_splat(0); BLOCKS.min(blocks) * PANEL * BLOCK / 8];
        for first in (0..blocks).step_by(BLOCKS) {
            let count = (blocks - first).min(BLOCKS);
            for (panel, weights) in weights.chunks_exact(PANEL * inputs).enumerate() {
                let weights = weights.chunks_exact(PANEL * BLOCK).skip(first);
                for (place, block) in weights.take(count).enumerate() {
                    for part in 0..PANEL / LANES {
                        // SAFETY: a block holds the part's sixteen weights.
                        let weights = unsafe { v128_load(block.as_ptr().add(part * LANES * BLOCK).cast()) };
                        let places = widened.get_mut((part * count + place) * 2..).and_then(<[v128]>::first_chunk_mut);
                        if let Some(places) = places {
                            *places = [i16x8_extend_low_i8x16(weights), i16x8_extend_high_i8x16(weights)];
                        }
                    }
                }
                // SAFETY: a vector is eight numbers.
                let widened = unsafe { std::slice::from_raw_parts(widened.as_ptr().cast::<i16>(), widened.len() * 8) };
                for row in (0..rows.rows()).step_by(ROWS) {
                    let tile = row..(row + ROWS).min(rows.rows());
                    for (part, columns) in widened.chunks_exact(count * 16).take(PANEL / LANES).enumerate() {
                        let output = panel * PANEL + part * LANES;
                        let vectors = rows.vectors();
                        wide_columns(vectors, columns, sums, tile.clone(), blocks, first, count, output, outputs);
                    }
                }
            }
        }
    }
}

/// The narrow product by relaxed dot products of bytes, whose second factor has 7 bits, so that every processor gives the same.
#[cfg(target_feature = "relaxed-simd")]
mod relaxed {
    use std::arch::wasm32::{
        i8x16_shuffle, i8x16_splat, i16x8_add, i16x8_relaxed_dot_i8x16_i7x16, i32x4_add, i32x4_extadd_pairwise_i16x8,
        i32x4_extract_lane, i32x4_relaxed_dot_i8x16_i7x16_add, i32x4_splat, v128, v128_load, v128_store,
    };
    use std::hint::black_box;

    use super::{BLOCK, LANES, Narrow, PANEL};
    use crate::kernel::GROUP;

    /// Rows of a tile.
    pub(in super::super) const ROWS: usize = 2;
    /// Vectors of outputs of a tile.
    const VECTORS: usize = 2;
    /// Blocks whose vectors and weights are read again and again before the next: they stay near the processor.
    const BLOCKS: usize = 96;

    /// The low 8 bits of four numbers, four times.
    #[inline(always)]
    pub(in super::super) fn spread(shifted: v128) -> v128 {
        i8x16_shuffle::<0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12>(shifted, shifted)
    }

    pub(in super::super) fn narrow(rows: &Narrow, weights: &[i8], sums: &mut [i32], panels: usize) {
        let (inputs, outputs) = (rows.inputs(), panels * PANEL);
        let blocks = inputs / BLOCK;
        if blocks == 0 || outputs == 0 {
            return sums.fill(0);
        }
        let vectors = rows.vectors();
        assert!(vectors.len() >= rows.rows() * blocks && weights.len() >= outputs * inputs);
        assert!(sums.len() >= rows.rows() * outputs);
        let has_dot_product = has_dot_product();
        for first in (0..blocks).step_by(BLOCKS) {
            let count = (blocks - first).min(BLOCKS);
            for row in (0..rows.rows()).step_by(ROWS) {
                let height = (rows.rows() - row).min(ROWS);
                let tile = match (height, has_dot_product) {
                    (1, false) => tile::<1, false>,
                    (_, false) => tile::<ROWS, false>,
                    (1, true) => tile::<1, true>,
                    (_, true) => tile::<ROWS, true>,
                };
                for output in (0..outputs).step_by(VECTORS * LANES) {
                    // SAFETY: the tile reads `count` of the `blocks` vectors that each of its rows has, and two vectors of weights in as many blocks of
                    // its outputs' panel; it writes these rows' sums of eight outputs: all there, see above.
                    unsafe {
                        let vectors = vectors.as_ptr().add(row * blocks + first * height);
                        let block = output / PANEL * blocks + first;
                        let weights = weights.as_ptr().add((block * PANEL + output % PANEL) * BLOCK);
                        let sums = sums.as_mut_ptr().add(row * outputs + output);
                        tile(vectors, weights, sums, count, outputs, first > 0);
                    }
                }
            }
        }
    }

    /// Whether the runtime makes one instruction of a dot product that is added to a sum. Where it needs several, as wasmtime 48 does on x86-64, the
    /// products are quicker summed in 16 bits first.
    ///
    /// Beyond 7 bits the results differ, and tell: two products of 127·255 saturate in 16 bits where `pmaddubsw` adds them.
    fn has_dot_product() -> bool {
        let sums = i32x4_relaxed_dot_i8x16_i7x16_add(i8x16_splat(127), black_box(i8x16_splat(-1)), i32x4_splat(0));
        i32x4_extract_lane::<0>(sums) != 2 * 32_767
    }

    /// Adds to the sums where they are `begun`, else writes them.
    ///
    /// # Safety
    ///
    /// `vectors` points at `R` times `blocks` vectors, an even number of blocks, `weights` at two vectors in each of so many blocks of a panel, and `sums`
    /// at `R` rows, `outputs` apart, of eight sums.
    #[inline]
    unsafe fn tile<const R: usize, const DOT: bool>(
        mut vectors: *const v128,
        mut weights: *const i8,
        sums: *mut i32,
        blocks: usize,
        outputs: usize,
        begun: bool,
    ) {
        let mut all = [[i32x4_splat(0); VECTORS]; R];
        // SAFETY: the caller's vectors, weights and sums; vectors and weights as references to arrays, so that a load's address is a register and a
        // number.
        unsafe {
            if begun {
                for (r, [low, high]) in all.iter_mut().enumerate() {
                    *low = v128_load(sums.add(r * outputs).cast());
                    *high = v128_load(sums.add(r * outputs + LANES).cast());
                }
            }
            for _ in 0..blocks / GROUP {
                let [first, second] = &*vectors.cast::<[[v128; R]; GROUP]>();
                let [one, two] = *weights.cast::<[Unaligned; VECTORS]>();
                let [three, four] = *weights.add(PANEL * BLOCK).cast::<[Unaligned; VECTORS]>();
                for (([low, high], first), second) in all.iter_mut().zip(first).zip(second) {
                    if DOT {
                        *low = i32x4_relaxed_dot_i8x16_i7x16_add(one.0, *first, *low);
                        *high = i32x4_relaxed_dot_i8x16_i7x16_add(two.0, *first, *high);
                        *low = i32x4_relaxed_dot_i8x16_i7x16_add(three.0, *second, *low);
                        *high = i32x4_relaxed_dot_i8x16_i7x16_add(four.0, *second, *high);
                    } else {
                        // No lane leaves 16 bits, see `LANE_MAX`.
                        let x = i16x8_relaxed_dot_i8x16_i7x16(one.0, *first);
                        let x = i16x8_add(x, i16x8_relaxed_dot_i8x16_i7x16(three.0, *second));
                        *low = i32x4_add(*low, i32x4_extadd_pairwise_i16x8(x));
                        let x = i16x8_relaxed_dot_i8x16_i7x16(two.0, *first);
                        let x = i16x8_add(x, i16x8_relaxed_dot_i8x16_i7x16(four.0, *second));
                        *high = i32x4_add(*high, i32x4_extadd_pairwise_i16x8(x));
                    }
                }
                vectors = vectors.add(GROUP * R);
                weights = weights.add(GROUP * PANEL * BLOCK);
            }
            for (r, [low, high]) in all.iter().enumerate() {
                v128_store(sums.add(r * outputs).cast(), *low);
                v128_store(sums.add(r * outputs + LANES).cast(), *high);
            }
        }
    }

    /// Sixteen bytes, wherever they begin.
    #[derive(Clone, Copy)]
    #[repr(C, packed)]
    struct Unaligned(v128);
}
