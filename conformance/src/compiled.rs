//! The component in wasmtime: its compiler with the instructions of one processor after the other, and its interpreter.

use std::path::Path;

use anyhow::{Context, Result};
use palisade_host::bindings::{ModerationPre, Options};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, OptLevel, Store};

use crate::engines::Scores;

/// How wasmtime makes what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// `None` is this machine with all that it has.
    target: Option<&'static str>,
    /// What code for `target` may use, by Cranelift's names of processors and of their features.
    features: &'static [&'static str],
    optimised: bool,
    /// The one result that the proposal of relaxed SIMD names for each of its operators.
    deterministic: bool,
}

/// This machine, as `palisade` runs.
pub(crate) const HOST: Setting = Setting {
    name: "with all that this processor has",
    target: None,
    features: &[],
    optimised: true,
    deterministic: false,
};
/// The same from a compiler that leaves out what takes its time.
pub(crate) const NOT_OPTIMISED: Setting = Setting { name: "not optimised", optimised: false, ..HOST };
/// The same with relaxed operators that are not.
pub(crate) const DETERMINISTIC: Setting = Setting { name: "with deterministic operators", deterministic: true, ..HOST };
/// The interpreter.
pub(crate) const INTERPRETER: Setting = Setting { name: "interpreter", target: Some("pulley64"), ..HOST };

/// Processors whose code this machine runs, from the oldest on.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) fn processors() -> Vec<Setting> {
    const X86: Setting = Setting { target: Some("x86_64-unknown-linux-gnu"), ..HOST };
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2 && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl");
    let vnni = is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512bitalg");
    let settings = [
        (true, Setting { name: "with SSE2", features: &["baseline"], ..X86 }),
        (is_x86_feature_detected!("ssse3"), Setting { name: "with SSSE3", features: &["ssse3"], ..X86 }),
        (is_x86_feature_detected!("sse4.2"), Setting { name: "with SSE4.2", features: &["nehalem"], ..X86 }),
        (is_x86_feature_detected!("avx"), Setting { name: "with AVX", features: &["sandybridge"], ..X86 }),
        (avx2, Setting { name: "with AVX2", features: &["haswell"], ..X86 }),
        (
            avx2 && is_x86_feature_detected!("avxvnni"),
            Setting { name: "with AVX-VNNI", features: &["haswell", "has_avx_vnni"], ..X86 },
        ),
        (avx512, Setting { name: "with AVX-512", features: &["skylake-avx512"], ..X86 }),
        (avx512 && vnni, Setting { name: "with AVX-512 VNNI", features: &["icelake-client"], ..X86 }),
    ];
    settings.into_iter().filter(|(runs, _)| *runs).map(|(_, setting)| setting).collect()
}

/// Elsewhere Cranelift knows no steps between the processors that would matter to our operators.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) fn processors() -> Vec<Setting> {
    Vec::new()
}

/// Scores the texts one by one.
pub(crate) fn scores(component: &Path, setting: &Setting, texts: &[String]) -> Result<Scores> {
    let engine = Engine::new(&config(setting)?)?;
    let file = std::fs::read(component).with_context(|| component.display().to_string())?;
    let component = Component::new(&engine, file)?;
    let moderation = ModerationPre::new(Linker::new(&engine).instantiate_pre(&component)?)?;
    let mut store = Store::new(&engine, ());
    let moderation = moderation.instantiate(&mut store)?;
    let classifier = moderation.palisade_moderation_classifier();
    let options = Options { labels: None, spans: false, words: false };
    let mut bits = Scores::new();
    for text in texts {
        let answer = classifier.call_classify(&mut store, std::slice::from_ref(text), &options)??;
        bits.extend(answer.results.iter().flat_map(|result| &result.scores).map(|score| score.to_bits()));
    }
    Ok(bits)
}

fn config(setting: &Setting) -> Result<Config> {
    let mut config = Config::new();
    config
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(setting.deterministic)
        .cranelift_opt_level(if setting.optimised { OptLevel::Speed } else { OptLevel::None })
        .memory_guaranteed_dense_image_size(1 << 30); // as `palisade` has it: a release is larger than the default
    if let Some(target) = setting.target {
        config.target(target)?;
    }
    for feature in setting.features {
        #[allow(unsafe_code, reason = "wasmtime lets any flag be set in this way alone")]
        // SAFETY: these are names of instructions' sets; wasmtime refuses to load what this machine does not have.
        unsafe {
            config.cranelift_flag_enable(feature);
        }
    }
    Ok(config)
}
