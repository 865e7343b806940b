//! The float steps, each in one written order: no function of a platform's library, no fused multiply-add.
//!
//! Loops over elements may run in vectors of any width, for no element's result depends on another's. Sums keep four running
//! sums and add them in a fixed order. All of it is inlined, so that it is compiled with the vectors of the kernel that it runs beside.

use crate::packed::Activation;

/// Adding it rounds a float of less than 2²² to the nearest integer, ties to even, and leaves that integer in the low bits.
const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³

/// Rounds a float within ±2²² to the nearest integer, ties to even, modulo 256.
#[inline(always)]
pub(crate) fn round_to_byte(x: f32) -> u8 {
    ((x + ROUND).to_bits() & 0xff) as u8
}

/// eˣ for x ≤ 0, with a relative error below 2e-7; from -87 on downwards it stays at e⁻⁸⁷.
///
/// x = n·ln 2 + r, and eʳ by the polynomial of Cephes' `expf` (Moshier 1992).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1.0;
    // The low bits of `shifted` are n; shifted into the exponent they multiply by 2ⁿ.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The error function, with an absolute error below 6e-7: formula 7.1.26 of Abramowitz and Stegun (1964), whose own
/// error is 1.5e-7.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let absolute = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * absolute);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-(absolute * absolute))).copysign(x)
}

/// The hyperbolic tangent, (1 - e⁻²ˣ)/(1 + e⁻²ˣ) for x ≥ 0, with an absolute error below 3e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

/// An activation function on every element.
#[inline(always)]
pub(crate) fn apply(function: Activation, values: &mut [f32]) {
    match function {
        Activation::Gelu => {
            for x in values {
                *x = 0.5 * (*x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2)));
            }
        }
        Activation::GeluTanh => {
            for x in values {
                // √(2/π)
                let inner = 0.797_884_6 * (*x + 0.044_715 * (*x * *x * *x));
                *x = 0.5 * (*x * (1.0 + tanh(inner)));
            }
        }
        Activation::Relu => {
            for x in values {
                *x = if *x > 0.0 { *x } else { 0.0 };
            }
        }
        Activation::Tanh => {
            for x in values {
                *x = tanh(*x);
            }
        }
    }
}

/// The sum of `term(x)` over the values, in four running sums.
#[inline(always)]
fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; 4];
    let (quads, rest) = values.as_chunks::<4>();
    for quad in quads {
        for (sum, &x) in sums.iter_mut().zip(quad) {
            *sum += term(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += term(x);
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f32 {
    sum_of(values, |x| x)
}

/// Σ aᵢ·bᵢ in four running sums.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 4];
    for (a, b) in a.chunks(4).zip(b.chunks(4)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// The least and the greatest value; both 0 where there is none.
#[inline(always)]
pub(crate) fn bounds(values: &[f32]) -> (f32, f32) {
    let first = values.first().copied().unwrap_or(0.0);
    let (mut least, mut greatest) = ([first; 4], [first; 4]);
    let (quads, rest) = values.as_chunks::<4>();
    for quad in quads.iter().map(<[f32; 4]>::as_slice).chain([rest]) {
        for ((least, greatest), &x) in least.iter_mut().zip(&mut greatest).zip(quad) {
            *least = if x < *least { x } else { *least };
            *greatest = if x > *greatest { x } else { *greatest };
        }
    }
    let lesser = |a: f32, b: f32| if b < a { b } else { a };
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    (
        lesser(lesser(least[0], least[1]), lesser(least[2], least[3])),
        greater(greater(greatest[0], greatest[1]), greater(greatest[2], greatest[3])),
    )
}

/// Layer normalisation of one row, in place.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "widths are small")]
pub(crate) fn normalise(row: &mut [f32], weights: &[f32], biases: &[f32], epsilon: f32) {
    let width = row.len() as f32;
    let mean = sum(row) / width;
    let variance = sum_of(row, |x| (x - mean) * (x - mean)) / width;
    let factor = 1.0 / (variance + epsilon).sqrt();
    for ((x, weight), bias) in row.iter_mut().zip(weights).zip(biases) {
        *x = (*x - mean) * factor * weight + bias;
    }
}

/// A finite float16 as float32, exactly.
#[inline(always)]
pub(crate) fn from_half(half: u16) -> f32 {
    let bits = u32::from(half);
    // 2¹¹² moves the exponent from float16's bias to float32's.
    f32::from_bits((bits & 0x8000) << 16 | (bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000)
}

#[cfg(test)]
#[allow(clippy::float_cmp, clippy::cast_possible_truncation, reason = "what is exact, and inputs in steps")]
mod tests {
    use super::*;

    #[test]
    fn exp_is_as_near_as_it_says() {
        for i in 0..870_000_u32 {
            let x = -f64::from(i) as f32 / 10_000.0;
            let right = libm::exp(f64::from(x));
            assert!((f64::from(exp(x)) - right).abs() <= 2e-7 * right, "{x}");
        }
        assert_eq!((exp(0.0), exp(-1e9)), (1.0, exp(-87.0)));
    }

    #[test]
    fn erf_is_as_near_as_it_says() {
        for i in -70_000..70_000_i32 {
            let x = f64::from(i) as f32 / 10_000.0;
            let error = (f64::from(erf(x)) - libm::erf(f64::from(x))).abs();
            assert!(error <= 6e-7, "{x}: {error}");
        }
    }

    #[test]
    fn tanh_is_as_near_as_it_says() {
        for i in -200_000..200_000_i32 {
            let x = f64::from(i) as f32 / 10_000.0;
            let error = (f64::from(tanh(x)) - libm::tanh(f64::from(x))).abs();
            assert!(error <= 3e-7, "{x}: {error}");
        }
    }

    #[test]
    fn halves_are_exact() {
        for (half, float) in [(0x3c00, 1.0), (0xc000, -2.0), (1, 5.960_464_5e-8), (0x7bff, 65504.0), (0x8000, -0.0)] {
            assert_eq!(from_half(half), float);
        }
    }

    #[test]
    fn rounding_is_to_even() {
        assert_eq!([0.5, 1.5, 2.5, 126.6].map(round_to_byte), [0, 2, 2, 127]);
    }

    #[test]
    fn bounds_are_found_wherever_they_stand() {
        for length in 1..20 {
            for place in 0..length {
                let mut values = vec![0.5; length];
                values[place] = -1.0;
                values[(place * 7 + 3) % length] = 2.0;
                let right = values.iter().fold((9.0f32, -9.0f32), |(a, b), &x| (a.min(x), b.max(x)));
                assert_eq!(bounds(&values), right);
            }
        }
    }
}
