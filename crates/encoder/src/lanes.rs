//! Several floats at a time, so that loops over floats are vectors on every platform: 4 for WebAssembly, 16 elsewhere. No element's result
//! depends on how many.

pub(crate) use platform::{LANES, Lanes, Ordered};

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod platform {
    #![allow(unsafe_code, reason = "vector loads and stores take addresses, here those of arrays as long as a vector")]

    use std::arch::wasm32::{
        f32x4_abs, f32x4_add, f32x4_convert_i32x4, f32x4_div, f32x4_mul, f32x4_splat, f32x4_sub, i32x4_add, i32x4_max,
        i32x4_min, i32x4_shl, i32x4_shr, i32x4_splat, u32x4_min, u32x4_shr, v128, v128_and, v128_load, v128_or,
        v128_store, v128_xor,
    };

    pub(crate) const LANES: usize = 4;

    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Lanes(pub(crate) v128);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn splat(x: f32) -> Self {
            Self(f32x4_splat(x))
        }

        #[inline(always)]
        pub(crate) fn load(values: &[f32; LANES]) -> Self {
            // SAFETY: sixteen bytes.
            Self(unsafe { v128_load(values.as_ptr().cast()) })
        }

        /// Each rounded to the nearest float.
        #[inline(always)]
        pub(crate) fn of_integers(values: &[i32; LANES]) -> Self {
            // SAFETY: sixteen bytes.
            Self(f32x4_convert_i32x4(unsafe { v128_load(values.as_ptr().cast()) }))
        }

        #[inline(always)]
        pub(crate) fn store(self, places: &mut [f32; LANES]) {
            // SAFETY: sixteen bytes.
            unsafe { v128_store(places.as_mut_ptr().cast(), self.0) };
        }

        #[inline(always)]
        pub(crate) fn plus(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn minus(self, other: Self) -> Self {
            Self(f32x4_sub(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn times(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn over(self, other: Self) -> Self {
            Self(f32x4_div(self.0, other.0))
        }

        // Comparisons are those of integers: comparisons of floats and what is chosen by them would be compiled to relaxed ones, whose result is
        // not the same everywhere.

        /// To be compared.
        #[inline(always)]
        pub(crate) fn ordered(self) -> Ordered {
            Ordered(v128_xor(self.0, u32x4_shr(i32x4_shr(self.0, 31), 1)))
        }

        /// Not below a number below 0, for numbers that are not above 0.
        #[inline(always)]
        pub(crate) fn not_below(self, limit: f32) -> Self {
            Self(u32x4_min(self.0, f32x4_splat(limit)))
        }

        /// Not below 0.
        #[inline(always)]
        pub(crate) fn positive(self) -> Self {
            Self(i32x4_max(self.0, i32x4_splat(0)))
        }

        /// Not farther from 0 than a number.
        #[inline(always)]
        pub(crate) fn within(self, limit: f32) -> Self {
            Self(u32x4_min(self.absolute().0, f32x4_splat(limit))).with_sign(self)
        }

        #[inline(always)]
        pub(crate) fn absolute(self) -> Self {
            Self(f32x4_abs(self.0))
        }

        #[inline(always)]
        pub(crate) fn with_sign(self, sign: Self) -> Self {
            Self(v128_or(self.0, v128_and(sign.0, f32x4_splat(-0.0))))
        }

        #[inline(always)]
        pub(crate) fn times_two_to(self, power: Self) -> Self {
            Self(i32x4_add(self.0, i32x4_shl(power.0, 23)))
        }
    }

    /// Integers in the order of the floats.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Ordered(v128);

    impl Ordered {
        #[inline(always)]
        pub(crate) fn lesser(self, other: Self) -> Self {
            Self(i32x4_min(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn greater(self, other: Self) -> Self {
            Self(i32x4_max(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn lanes(self) -> Lanes {
            Lanes(Lanes(self.0).ordered().0) // its own inverse
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod platform {
    pub(crate) const LANES: usize = 16;

    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Lanes([f32; LANES]);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn splat(x: f32) -> Self {
            Self([x; LANES])
        }

        /// Each rounded to the nearest float.
        #[inline(always)]
        #[expect(clippy::cast_precision_loss, reason = "rounded once, everywhere alike")]
        pub(crate) fn of_integers(values: &[i32; LANES]) -> Self {
            let mut floats = [0.0; LANES];
            for (float, value) in floats.iter_mut().zip(values) {
                *float = *value as f32;
            }
            Self(floats)
        }

        #[inline(always)]
        pub(crate) fn load(values: &[f32; LANES]) -> Self {
            Self(*values)
        }

        #[inline(always)]
        pub(crate) fn store(self, places: &mut [f32; LANES]) {
            *places = self.0;
        }

        #[inline(always)]
        pub(crate) fn plus(mut self, other: Self) -> Self {
            for (x, y) in self.0.iter_mut().zip(other.0) {
                *x += y;
            }
            self
        }

        #[inline(always)]
        pub(crate) fn minus(mut self, other: Self) -> Self {
            for (x, y) in self.0.iter_mut().zip(other.0) {
                *x -= y;
            }
            self
        }

        #[inline(always)]
        pub(crate) fn times(mut self, other: Self) -> Self {
            for (x, y) in self.0.iter_mut().zip(other.0) {
                *x *= y;
            }
            self
        }

        #[inline(always)]
        pub(crate) fn over(mut self, other: Self) -> Self {
            for (x, y) in self.0.iter_mut().zip(other.0) {
                *x /= y;
            }
            self
        }

        /// To be compared.
        #[inline(always)]
        pub(crate) fn ordered(self) -> Ordered {
            Ordered(self)
        }

        #[inline(always)]
        fn lesser(mut self, other: Self) -> Self {
            for (x, y) in self.0.iter_mut().zip(other.0) {
                *x = if y < *x { y } else { *x };
            }
            self
        }

        #[inline(always)]
        fn greater(mut self, other: Self) -> Self {
            for (x, y) in self.0.iter_mut().zip(other.0) {
                *x = if *x < y { y } else { *x };
            }
            self
        }

        /// Not below a number below 0, for numbers that are not above 0.
        #[inline(always)]
        pub(crate) fn not_below(self, limit: f32) -> Self {
            Self::splat(limit).greater(self)
        }

        /// Not below 0.
        #[inline(always)]
        pub(crate) fn positive(self) -> Self {
            Self::splat(0.0).greater(self)
        }

        /// Not farther from 0 than a number.
        #[inline(always)]
        pub(crate) fn within(self, limit: f32) -> Self {
            Self::splat(limit).lesser(self.absolute()).with_sign(self)
        }

        /// Without the sign.
        #[inline(always)]
        pub(crate) fn absolute(mut self) -> Self {
            for x in &mut self.0 {
                *x = x.abs();
            }
            self
        }

        /// With another's sign, where it has none itself.
        #[inline(always)]
        pub(crate) fn with_sign(mut self, sign: Self) -> Self {
            for (x, y) in self.0.iter_mut().zip(sign.0) {
                *x = f32::from_bits(x.to_bits() | y.to_bits() & 0x8000_0000);
            }
            self
        }

        /// Times 2ⁿ, where n is in the low bits of `power`.
        #[inline(always)]
        pub(crate) fn times_two_to(mut self, power: Self) -> Self {
            for (x, y) in self.0.iter_mut().zip(power.0) {
                *x = f32::from_bits(x.to_bits().wrapping_add(y.to_bits() << 23));
            }
            self
        }
    }

    /// Numbers that are compared.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Ordered(Lanes);

    impl Ordered {
        #[inline(always)]
        pub(crate) fn lesser(self, other: Self) -> Self {
            Self(self.0.lesser(other.0))
        }

        #[inline(always)]
        pub(crate) fn greater(self, other: Self) -> Self {
            Self(self.0.greater(other.0))
        }

        #[inline(always)]
        pub(crate) fn lanes(self) -> Lanes {
            self.0
        }
    }
}
