//! The float steps, each in one written order: no function of a platform's library, no fused multiply-add.
//!
//! Loops over elements may run in vectors of any width, for no element's result depends on another's. Layer normalisation keeps sixteen running
//! sums and adds them in a fixed order, `dot` four, the mean over tokens one. All of it is inlined, so that it is compiled with the vectors of the kernel that it runs beside.

use crate::lanes::{LANES, Lanes, Ordered};

/// Adding it rounds a float of less than 2²² to the nearest integer, ties to even, and leaves that integer in the low bits.
pub(crate) const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
/// A function of several numbers at a time. (A closure would be compiled by itself, without the vectors of the code that it is called from.)
pub(crate) trait Function {
    /// To be marked `#[inline(always)]`.
    fn of(&mut self, x: Lanes) -> Lanes;
}

/// Of [`power_of_two`], that of f⁴ first.
const POWER: [f32; 5] = [0.009_570_101, 0.055_917_86, 0.240_247_44, 0.693_121_8, 0.999_999_3];
/// Running sums.
const SUMS: usize = 16;

/// eˣ for x ≤ 0, with a relative error below 2e-7; from -87 on downwards it stays at e⁻⁸⁷.
///
/// x = n·ln 2 + r, and eʳ by the polynomial of Cephes' `expf` (Moshier 1992).
#[inline(always)]
pub(crate) fn exp(x: Lanes) -> Lanes {
    let of = Lanes::splat;
    let x = x.not_below(-87.0);
    let shifted = x.times(of(std::f32::consts::LOG2_E)).plus(of(ROUND));
    let n = shifted.minus(of(ROUND));
    let r = x.minus(n.times(of(0.693_359_4))).minus(n.times(of(-2.121_944_4e-4)));
    let mut p = of(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.times(r).plus(of(coefficient));
    }
    // The low bits of `shifted` are n.
    p.times(r.times(r)).plus(r).plus(of(1.0)).times_two_to(shifted)
}

/// 2ˣ for x ≤ 0, with a relative error below 5e-6; from -126 on downwards it stays at 2⁻¹²⁶.
///
/// x = n + f with n the nearest integer, and 2ᶠ by the polynomial of degree 4 whose greatest relative error on -½ to ½ is least.
#[inline(always)]
pub(crate) fn power_of_two(x: Lanes) -> Lanes {
    let of = Lanes::splat;
    let x = x.not_below(-126.0);
    let shifted = x.plus(of(ROUND));
    let f = x.minus(shifted.minus(of(ROUND)));
    let mut p = of(POWER[0]);
    for coefficient in POWER.into_iter().skip(1) {
        p = p.times(f).plus(of(coefficient));
    }
    p.times_two_to(shifted)
}

/// The error function, with an absolute error below 6e-7: x·P(x²)/Q(x²) for |x| ≤ 4 and its value there beyond, with the coefficients of Eigen's
/// and XLA's `erf`.
#[inline(always)]
fn erf(x: Lanes) -> Lanes {
    let of = Lanes::splat;
    let x = x.within(4.0);
    let square = x.times(x);
    let mut p = of(-2.726_142_4e-10);
    for coefficient in [2.770_681_5e-8, -2.101_024e-6, -5.692_506_2e-5, -7.349_906_4e-4, -0.002_954_6, -0.016_096_033] {
        p = p.times(square).plus(of(coefficient));
    }
    let mut q = of(-1.456_607_2e-5);
    for coefficient in [-2.133_740_6e-4, -0.001_682_827, -0.007_373_329, -0.014_264_739] {
        q = q.times(square).plus(of(coefficient));
    }
    x.times(p).over(q)
}

/// [`erf`].
pub(crate) struct ErrorFunction;

impl Function for ErrorFunction {
    #[inline(always)]
    fn of(&mut self, x: Lanes) -> Lanes {
        erf(x)
    }
}

/// The hyperbolic tangent, (1 - e⁻²ˣ)/(1 + e⁻²ˣ) for x ≥ 0, with an absolute error below 3e-7.
#[inline(always)]
pub(crate) fn tanh(x: Lanes) -> Lanes {
    let of = Lanes::splat;
    let e = exp(x.absolute().times(of(-2.0)));
    of(1.0).minus(e).over(of(1.0).plus(e)).with_sign(x)
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x/2 · (1 + erf(x/√2)) (Hendrycks and Gimpel 2016).
    Gelu,
    /// The same by its approximation with tanh, x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))).
    GeluTanh,
    /// The greater of x and 0.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    pub(crate) const ALL: [Self; 4] = [Self::Gelu, Self::GeluTanh, Self::Relu, Self::Tanh];
}

impl Function for Activation {
    #[inline(always)]
    fn of(&mut self, x: Lanes) -> Lanes {
        let of = Lanes::splat;
        let y = match self {
            Self::Gelu => erf(x.times(of(std::f32::consts::FRAC_1_SQRT_2))),
            Self::GeluTanh => {
                let cube = x.times(x).times(x);
                // √(2/π)
                tanh(of(0.797_884_6).times(x.plus(of(0.044_715).times(cube))))
            }
            Self::Relu => return x.positive(),
            Self::Tanh => return tanh(x),
        };
        of(0.5).times(x.times(of(1.0).plus(y)))
    }
}

/// Steps from a number on, with [`ROUND`] added.
pub(crate) struct Steps {
    from: Lanes,
    inverse: Lanes,
}

impl Steps {
    #[inline(always)]
    pub(crate) fn new(from: f32, inverse: f32) -> Self {
        Self { from: Lanes::splat(from), inverse: Lanes::splat(inverse) }
    }
}

impl Function for Steps {
    #[inline(always)]
    fn of(&mut self, x: Lanes) -> Lanes {
        x.minus(self.from).times(self.inverse).plus(Lanes::splat(ROUND))
    }
}

/// Changes every element.
#[inline(always)]
pub(crate) fn change(values: &mut [f32], mut function: impl Function) {
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        function.of(Lanes::load(chunk)).store(chunk);
    }
    if !rest.is_empty() {
        let mut padded = padded(rest);
        function.of(Lanes::load(&padded)).store(&mut padded);
        rest.copy_from_slice(padded.split_at(rest.len()).0);
    }
}

/// Fewer values than lanes, and zeros.
#[inline(always)]
fn padded(values: &[f32]) -> [f32; LANES] {
    let mut padded = [0.0; LANES];
    for (place, x) in padded.iter_mut().zip(values) {
        *place = *x;
    }
    padded
}

/// The sum of the function of the values, in sixteen running sums.
#[inline(always)]
fn sum_of(values: &[f32], mut term: impl Function) -> f32 {
    let mut sums = [Lanes::splat(0.0); SUMS / LANES];
    let (chunks, rest) = values.as_chunks::<SUMS>();
    for chunk in chunks {
        for (sum, values) in sums.iter_mut().zip(chunk.as_chunks().0) {
            *sum = sum.plus(term.of(Lanes::load(values)));
        }
    }
    for (sum, values) in sums.iter_mut().zip(rest.chunks(LANES)) {
        let mut terms = padded(values);
        term.of(Lanes::load(&terms)).store(&mut terms);
        *sum = sum.plus(Lanes::load(&padded(terms.split_at(values.len()).0)));
    }
    let mut single = [0.0; SUMS];
    for (sum, places) in sums.iter().zip(single.as_chunks_mut().0) {
        sum.store(places);
    }
    total(single)
}

/// A number as it is.
struct Itself;

impl Function for Itself {
    #[inline(always)]
    fn of(&mut self, x: Lanes) -> Lanes {
        x
    }
}

/// The square of the distance from a number.
struct Deviation(Lanes);

impl Function for Deviation {
    #[inline(always)]
    fn of(&mut self, x: Lanes) -> Lanes {
        let x = x.minus(self.0);
        x.times(x)
    }
}

/// Adds sixteen numbers: halves, halves of these, and so on.
#[inline(always)]
fn total(values: [f32; SUMS]) -> f32 {
    let eight = halved::<16, 8>(values);
    let four = halved::<8, 4>(eight);
    let [first, second] = halved::<4, 2>(four);
    first + second
}

/// The sums of a half's numbers and the other's.
#[inline(always)]
fn halved<const N: usize, const HALF: usize>(values: [f32; N]) -> [f32; HALF] {
    let mut sums = [0.0; HALF];
    let (first, second) = values.split_at(N / 2);
    for ((sum, x), y) in sums.iter_mut().zip(first).zip(second) {
        *sum = x + y;
    }
    sums
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

/// The least and the greatest value; both 0 where there is none. A zero has no sign.
#[inline(always)]
pub(crate) fn bounds(values: &[f32]) -> (f32, f32) {
    let first = values.first().copied().unwrap_or(0.0);
    let mut least = [Lanes::splat(first).ordered(); SUMS / LANES];
    let mut greatest = least;
    let (chunks, rest) = values.as_chunks::<SUMS>();
    for chunk in chunks {
        see(chunk, &mut least, &mut greatest);
    }
    if !rest.is_empty() {
        let mut last = [first; SUMS];
        for (place, x) in last.iter_mut().zip(rest) {
            *place = *x;
        }
        see(&last, &mut least, &mut greatest);
    }
    let [mut least, greatest] = [least, greatest].map(|of_kind| {
        let mut single = [0.0; SUMS];
        for (lanes, places) in of_kind.iter().zip(single.as_chunks_mut().0) {
            lanes.lanes().store(places);
        }
        single
    });
    for x in &mut least {
        *x = -*x;
    }
    (-greatest_of(&least) + 0.0, greatest_of(&greatest))
}

#[inline(always)]
fn see(values: &[f32; SUMS], least: &mut [Ordered], greatest: &mut [Ordered]) {
    for ((least, greatest), values) in least.iter_mut().zip(greatest).zip(values.as_chunks().0) {
        let x = Lanes::load(values).ordered();
        *least = least.lesser(x);
        *greatest = greatest.greater(x);
    }
}

/// The greatest of some numbers. Which of two zeros is found depends on the order; adding 0 makes them one.
#[inline(always)]
fn greatest_of(values: &[f32]) -> f32 {
    // Integers in the order of the floats: a comparison of floats may be compiled to a relaxed one.
    let ordered = |bits: i32| bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed();
    let greatest = values.iter().map(|x| ordered(x.to_bits().cast_signed())).max();
    greatest.map_or(f32::MIN, |greatest| f32::from_bits(ordered(greatest).cast_unsigned())) + 0.0
}

/// Writes each product times its step, and gives the greatest.
#[inline(always)]
pub(crate) fn scale(products: &[i32], steps: &[f32], places: &mut [f32]) -> f32 {
    let mut greatest = Lanes::splat(f32::MIN).ordered();
    let (chunks, rest) = places.as_chunks_mut::<LANES>();
    let done = chunks.len() * LANES;
    let factors = products.as_chunks::<LANES>().0.iter().zip(steps.as_chunks::<LANES>().0);
    for (place, (products, steps)) in chunks.iter_mut().zip(factors) {
        let x = Lanes::of_integers(products).times(Lanes::load(steps));
        greatest = greatest.greater(x.ordered());
        x.store(place);
    }
    for ((place, &product), step) in rest.iter_mut().zip(products.iter().skip(done)).zip(steps.iter().skip(done)) {
        #[expect(clippy::cast_precision_loss, reason = "rounded once, everywhere alike")]
        let x = product as f32 * step;
        *place = x;
    }
    let mut single = [0.0; LANES];
    greatest.lanes().store(&mut single);
    let greatest = [greatest_of(&single), greatest_of(rest)];
    greatest_of(&greatest)
}

/// Layer normalisation of one row, in place.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "widths are small")]
pub(crate) fn normalise(row: &mut [f32], weights: &[f32], biases: &[f32], epsilon: f32) {
    let width = row.len() as f32;
    let mean = sum_of(row, Itself) / width;
    let variance = sum_of(row, Deviation(Lanes::splat(mean))) / width;
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

    struct Of<F>(F);

    impl<F: Fn(Lanes) -> Lanes> Function for Of<F> {
        fn of(&mut self, x: Lanes) -> Lanes {
            (self.0)(x)
        }
    }

    /// A function of lanes at one number.
    fn at(function: impl Fn(Lanes) -> Lanes, x: f32) -> f32 {
        let mut values = [x];
        change(&mut values, Of(function));
        values[0]
    }

    #[test]
    fn exp_is_as_near_as_it_says() {
        for i in 0..870_000_u32 {
            let x = -f64::from(i) as f32 / 10_000.0;
            let right = libm::exp(f64::from(x));
            assert!((f64::from(at(exp, x)) - right).abs() <= 2e-7 * right, "{x}");
        }
        assert_eq!((at(exp, 0.0), at(exp, -1e9)), (1.0, at(exp, -87.0)));
    }

    #[test]
    fn powers_of_two_are_as_near_as_they_say() {
        for i in 0..1_260_000_u32 {
            let x = -f64::from(i) as f32 / 10_000.0;
            let right = libm::exp2(f64::from(x));
            assert!((f64::from(at(power_of_two, x)) - right).abs() <= 5e-6 * right, "{x}");
        }
        assert_eq!(at(power_of_two, f32::MIN), at(power_of_two, -126.0));
    }

    #[test]
    fn erf_is_as_near_as_it_says() {
        for i in -70_000..70_000_i32 {
            let x = f64::from(i) as f32 / 10_000.0;
            let error = (f64::from(at(erf, x)) - libm::erf(f64::from(x))).abs();
            assert!(error <= 6e-7, "{x}: {error}");
        }
    }

    #[test]
    fn tanh_is_as_near_as_it_says() {
        for i in -200_000..200_000_i32 {
            let x = f64::from(i) as f32 / 10_000.0;
            let error = (f64::from(at(tanh, x)) - libm::tanh(f64::from(x))).abs();
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
