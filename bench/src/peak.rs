//! What the machine's 128-bit integer dot products can do at best, to hold the engine against.
//!
//! Each loop holds [`CHAINS`] independent sums and one operand in registers, reads no memory, and adds one dot product after the
//! other: what a matrix product would be that had nothing to load, to store or to convert. The sums are enough to hide the
//! latency of each instruction.

#![allow(
    unsafe_code,
    reason = "a block of no instructions keeps the compiler from taking the products out of the loops, and \
                                functions for a processor's extension are called where it has that"
)]

use std::time::{Duration, Instant};

use serde::Serialize;

/// Independent sums.
const CHAINS: u8 = 12;
/// Dot products for each sum between two looks at the watch.
const ROUNDS: u32 = 50_000;
/// How long each is measured.
const TIME: Duration = Duration::from_millis(200);

/// One way to multiply and add, and how quick it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peak {
    /// What it multiplies: `i16`, `i8` (twice as many at a time), or `dot` (those in one instruction).
    pub name: &'static str,
    /// Its instructions.
    pub instructions: &'static str,
    /// The build of the component whose dot products wasmtime compiles to these: `strict`, `relaxed` or none.
    pub simd: Option<&'static str>,
    /// Multiply-adds a second: the median of many short runs.
    pub multiply_adds_per_s: f64,
}

/// All that this processor has; none on others than x86-64 and aarch64. [`TIME`] for each.
pub fn all() -> Vec<Peak> {
    let loops = platform::loops().into_iter().flatten();
    loops.map(measure).collect()
}

/// Name, instructions and build of a [`Peak`], multiply-adds of one step of one sum, and what runs so many steps of all sums.
type Loop = (&'static str, &'static str, Option<&'static str>, u32, fn(u32));

fn measure((name, instructions, simd, lanes, run): Loop) -> Peak {
    run(ROUNDS); // until the clock is up
    let (mut seconds, started) = (Vec::new(), Instant::now());
    while started.elapsed() < TIME {
        let start = Instant::now();
        run(ROUNDS);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
    let multiply_adds = f64::from(ROUNDS) * f64::from(lanes) * f64::from(CHAINS);
    Peak { name, instructions, simd, multiply_adds_per_s: multiply_adds / median }
}

#[cfg(target_arch = "x86_64")]
mod platform {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_dpbusd_avx_epi32, _mm_dpbusd_epi32, _mm_madd_epi16, _mm_maddubs_epi16,
        _mm_set1_epi8, _mm_set1_epi16, _mm_setzero_si128,
    };
    use std::hint::black_box;

    use super::{CHAINS, Loop};

    /// Leaves both in their registers, and the compiler without knowledge of them.
    macro_rules! forget {
        ($sum:expr, $operand:expr) => {
            // SAFETY: it is a comment, without an instruction.
            unsafe {
                asm!("/* {} {} */", inout(xmm_reg) *$sum, inout(xmm_reg) $operand,
                    options(nomem, nostack, preserves_flags));
            }
        };
    }

    /// A function for processors with `$feature`, and one that may be called on these alone.
    macro_rules! dot_products {
        ($safe:ident, $inner:ident, $feature:literal, |$sum:ident, $operand:ident| $step:expr) => {
            #[target_feature(enable = $feature)]
            fn $inner(rounds: u32) {
                let mut sums = [_mm_setzero_si128(); CHAINS as usize];
                let mut $operand = _mm_set1_epi8(3);
                for _ in 0..rounds {
                    for sum in &mut sums {
                        let $sum: __m128i = *sum;
                        *sum = $step;
                        forget!(sum, $operand);
                    }
                }
                black_box(sums);
            }

            fn $safe(rounds: u32) {
                // SAFETY: `loops` names this only where the processor has the feature.
                unsafe { $inner(rounds) }
            }
        };
    }

    // With AVX for its three operands, as wasmtime and V8 compile where there is AVX.
    dot_products!(words, words_avx, "avx", |sum, operand| _mm_add_epi32(sum, _mm_madd_epi16(operand, operand)));
    dot_products!(bytes, bytes_avx, "avx", |sum, operand| {
        _mm_add_epi32(sum, _mm_madd_epi16(_mm_maddubs_epi16(operand, operand), _mm_set1_epi16(1)))
    });
    dot_products!(dot_vex, dot_vex_avx, "avxvnni", |sum, operand| _mm_dpbusd_avx_epi32(sum, operand, operand));
    dot_products!(dot_evex, dot_evex_avx, "avx512vnni,avx512vl", |sum, operand| {
        _mm_dpbusd_epi32(sum, operand, operand)
    });

    pub(super) fn loops() -> [Option<Loop>; 3] {
        let avx = is_x86_feature_detected!("avx");
        let dot = if is_x86_feature_detected!("avxvnni") {
            Some(dot_vex as fn(u32))
        } else if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl") {
            Some(dot_evex as fn(u32))
        } else {
            None
        };
        [
            avx.then_some(("i16", "pmaddwd, paddd", Some("strict"), 8, words as fn(u32))),
            avx.then_some(("i8", "pmaddubsw, pmaddwd, paddd", Some("relaxed"), 16, bytes as fn(u32))),
            dot.map(|run| ("dot", "vpdpbusd", None, 16, run)),
        ]
    }
}

#[cfg(target_arch = "aarch64")]
mod platform {
    use std::arch::aarch64::{
        int32x4_t, vaddq_s32, vdupq_n_s32, vget_low_s8, vget_low_s16, vmull_high_s8, vmull_high_s16, vmull_s8,
        vmull_s16, vpadalq_s16, vpaddq_s16, vpaddq_s32, vreinterpretq_s8_s32, vreinterpretq_s16_s32,
    };
    use std::arch::asm;
    use std::hint::black_box;

    use super::{CHAINS, Loop};

    /// The loop around one step of a sum, in which the compiler knows neither sum nor operand.
    macro_rules! dot_products {
        ($safe:ident, $inner:ident, |$sum:ident, $operand:ident| $step:expr) => {
            #[target_feature(enable = "neon")]
            fn $inner(rounds: u32) {
                let mut sums = [vdupq_n_s32(0); CHAINS as usize];
                let mut $operand: int32x4_t = vdupq_n_s32(0x0303_0303);
                for _ in 0..rounds {
                    for sum in &mut sums {
                        let $sum = *sum;
                        *sum = $step;
                        // SAFETY: it is a comment, without an instruction.
                        unsafe {
                            asm!("/* {} {} */", inout(vreg) *sum, inout(vreg) $operand,
                                options(nomem, nostack, preserves_flags));
                        }
                    }
                }
                black_box(sums);
            }

            fn $safe(rounds: u32) {
                // SAFETY: every 64-bit Arm has these vectors.
                unsafe { $inner(rounds) }
            }
        };
    }

    dot_products!(words, words_neon, |sum, operand| {
        let words = vreinterpretq_s16_s32(operand);
        let low = vmull_s16(vget_low_s16(words), vget_low_s16(words));
        vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(words, words)))
    });
    dot_products!(bytes, bytes_neon, |sum, operand| {
        let bytes = vreinterpretq_s8_s32(operand);
        let low = vmull_s8(vget_low_s8(bytes), vget_low_s8(bytes));
        vpadalq_s16(sum, vpaddq_s16(low, vmull_high_s8(bytes, bytes)))
    });
    dot_products!(dot, dot_neon, |sum, operand| {
        let mut sum = sum;
        // SAFETY: it reads and writes the named registers alone, and `loops` names it only where the processor has it.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {operand:v}.16b, {operand:v}.16b",
                sum = inout(vreg) sum,
                operand = in(vreg) operand,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    });

    pub(super) fn loops() -> [Option<Loop>; 3] {
        let has_dot = std::arch::is_aarch64_feature_detected!("dotprod");
        let bytes_of = (!has_dot).then_some("relaxed");
        [
            Some(("i16", "smull, smull2, addp, add", Some("strict"), 8, words as fn(u32))),
            Some(("i8", "smull, smull2, addp, sadalp", bytes_of, 16, bytes as fn(u32))),
            has_dot.then_some(("dot", "sdot", Some("relaxed"), 16, dot as fn(u32))),
        ]
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod platform {
    use super::Loop;

    pub(super) fn loops() -> [Option<Loop>; 0] {
        []
    }
}

#[cfg(test)]
mod tests {
    use super::all;

    #[test]
    fn every_loop_gives_a_rate() {
        for peak in all() {
            assert!(peak.multiply_adds_per_s.is_finite() && peak.multiply_adds_per_s > 0.0, "{peak:?}");
        }
    }
}
