//! Products of quantised activations and weights: the inner loop of everything. Sums of integers are exact, so every kernel gives
//! the same ones.

/// Rows of activations that a kernel takes at a time.
pub(crate) const ROWS: usize = 4;

/// Σ activation·weight for each row of activations and each output.
///
/// `activations` holds up to [`ROWS`] rows of `inputs` values within 0 to 255, `weights` one row of `inputs` values an output, and `sums` takes
/// one row of `outputs` sums a row of activations. `inputs` is a multiple of 8 and at most 65,536, `outputs` is even.
pub(crate) fn dots(activations: &[i16], weights: &[i8], inputs: usize, sums: &mut [i32], outputs: usize) {
    let mut rows = activations.chunks_exact(inputs);
    let mut all = [(); ROWS].map(|()| rows.next().unwrap_or_default());
    // A missing row stands for any other; its sums are not kept.
    let first = all[0];
    for row in all.iter_mut().filter(|row| row.is_empty()) {
        *row = first;
    }
    match sums.len() / outputs.max(1) {
        1 => tiles::<1>([first], weights, inputs, sums, outputs),
        2 => tiles::<2>([first, all[1]], weights, inputs, sums, outputs),
        3 => tiles::<3>([first, all[1], all[2]], weights, inputs, sums, outputs),
        _ => tiles::<ROWS>(all, weights, inputs, sums, outputs),
    }
}

#[inline]
fn tiles<const T: usize>(rows: [&[i16]; T], weights: &[i8], inputs: usize, sums: &mut [i32], outputs: usize) {
    let mut targets = sums.chunks_exact_mut(outputs);
    let mut targets = [(); T].map(|()| targets.next().unwrap_or_default().chunks_exact_mut(2));
    for pair in weights.chunks_exact(2 * inputs) {
        let (even, odd) = pair.split_at(inputs);
        let tile = dot_pairs(rows, even, odd);
        for (target, sums) in targets.iter_mut().zip(tile) {
            if let Some(target) = target.next() {
                target.copy_from_slice(&sums);
            }
        }
    }
}

/// The specification: for each row, its products with two rows of weights.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline]
fn dot_pairs<const T: usize>(rows: [&[i16]; T], even: &[i8], odd: &[i8]) -> [[i32; 2]; T] {
    let dot = |row: &[i16], weights: &[i8]| {
        let products = row.iter().zip(weights).map(|(&x, &weight)| i32::from(x).wrapping_mul(i32::from(weight)));
        products.fold(0, i32::wrapping_add)
    };
    rows.map(|row| [dot(row, even), dot(row, odd)])
}

/// The same with simd128: eight weights at a time widened to 16 bits, multiplied and added in pairs.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[allow(unsafe_code, reason = "vector loads take addresses; the argument is below")]
#[inline]
fn dot_pairs<const T: usize>(rows: [&[i16]; T], even: &[i8], odd: &[i8]) -> [[i32; 2]; T] {
    use std::arch::wasm32::{
        i16x8_load_extend_i8x8, i32x4_add, i32x4_dot_i16x8, i32x4_extract_lane, i32x4_shuffle, i32x4_splat, v128,
        v128_load,
    };

    let length = rows.iter().map(|row| row.len()).fold(even.len().min(odd.len()), usize::min);
    let mut sums = [[i32x4_splat(0); 2]; T];
    let mut place = 0;
    while place + 8 <= length {
        // SAFETY: all slices have at least `length` elements, and the eight from `place` end at or before it. Neither
        // load needs alignment.
        let (even, odd, rows) = unsafe {
            (
                i16x8_load_extend_i8x8(even.as_ptr().add(place)),
                i16x8_load_extend_i8x8(odd.as_ptr().add(place)),
                rows.map(|row| v128_load(row.as_ptr().add(place).cast())),
            )
        };
        for (sums, row) in sums.iter_mut().zip(rows) {
            sums[0] = i32x4_add(sums[0], i32x4_dot_i16x8(row, even));
            sums[1] = i32x4_add(sums[1], i32x4_dot_i16x8(row, odd));
        }
        place += 8;
    }
    let across = |sums: v128| {
        let halves = i32x4_add(sums, i32x4_shuffle::<2, 3, 0, 1>(sums, sums));
        i32x4_extract_lane::<0>(halves).wrapping_add(i32x4_extract_lane::<1>(halves))
    };
    sums.map(|[even, odd]| [across(even), across(odd)])
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "small numbers")]
mod tests {
    use super::{ROWS, dots};

    #[test]
    fn sums_are_those_of_the_definition() {
        let (inputs, outputs) = (24, 6);
        let byte = |i: usize| i8::try_from(i * 37 % 256).unwrap_or_else(|_| -((i * 11 % 128) as i8) - 1);
        let weights: Vec<i8> = (0..inputs * outputs).map(byte).collect();
        for count in 1..=ROWS {
            let rows: Vec<i16> = (0..inputs * count).map(|i| (i * 29 % 128) as i16).collect();
            let mut sums = vec![7; outputs * count];
            dots(&rows, &weights, inputs, &mut sums, outputs);
            for (i, sum) in sums.iter().enumerate() {
                let (row, output) = (i / outputs, i % outputs);
                let expected: i32 = (0..inputs)
                    .map(|k| i32::from(rows[row * inputs + k]) * i32::from(weights[output * inputs + k]))
                    .sum();
                assert_eq!(*sum, expected, "row {row} of {count}, output {output}");
            }
        }
    }
}
