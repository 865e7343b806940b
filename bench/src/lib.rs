//! What the benches and the worker measure: requests to a baked artefact, on a reused or a fresh instance.
//!
//! The way in is [`Subject`]. It gives no times: `benches/classifier.rs` (divan) and the worker (`src/main.rs`, for
//! `compare.py`) each hold their own watch. [`peak`] is what the machine could do at best, and [`memory`] what this process
//! has.
//!
//! ```no_run
//! let subject = palisade_bench::Subject::open()?;
//! let text = palisade_bench::Text::of_tokens(64)?;
//! let scores = palisade_bench::scores(&mut subject.instantiate()?, &text)?;
//! assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod memory;
pub mod peak;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use palisade_host::bindings::{Description, Options};
use palisade_host::{Artefact, EngineKind, Instance, Loaded, Runtime, RuntimeLimits};

/// The word that every text is made of: one token in any English vocabulary.
pub const WORD: &str = "people";
/// Tokens that the tokenizer puts around a text: `[CLS]` and `[SEP]`.
pub const SPECIAL_TOKENS: usize = 2;
/// Environment variable that names another artefact than the default one.
pub const ARTEFACT_VARIABLE: &str = "PALISADE_ARTEFACT";
/// Instances that there is room for at one time.
pub const INSTANCES_MAX: u32 = 128;

/// A text that is exactly so many tokens long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    text: String,
    tokens: usize,
}

impl Text {
    /// [`WORD`], repeated to `tokens` tokens, special tokens included; at least three.
    pub fn of_tokens(tokens: usize) -> Result<Self> {
        ensure!(tokens > SPECIAL_TOKENS, "a text has at least {} tokens, not {tokens}", SPECIAL_TOKENS + 1);
        Ok(Self { text: vec![WORD; tokens - SPECIAL_TOKENS].join(" "), tokens })
    }

    /// So many texts of `tokens` tokens on average, from four fewer to four more in turn.
    pub fn around_tokens(tokens: usize, texts: usize) -> Result<Vec<Self>> {
        let shortest = tokens.saturating_sub(4);
        (shortest..=tokens + 4).cycle().take(texts).map(Self::of_tokens).collect()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// A loaded artefact.
#[derive(Debug)]
pub struct Subject {
    loaded: Loaded,
    /// Size of the artefact's file.
    pub artefact_bytes: u64,
}

impl Subject {
    /// Loads `$PALISADE_ARTEFACT`, or else `target/release/palisade-default.wasm`; compiles it where no compiled code
    /// is kept yet (seconds).
    pub fn open() -> Result<Self> {
        Self::open_with(EngineKind::Component, &artefact_path(), None)
    }

    /// The same with another artefact or engine, and with a time limit for the component's calls where one is given.
    pub fn open_with(engine: EngineKind, artefact: &Path, call_ms_max: Option<u64>) -> Result<Self> {
        if !artefact.is_file() {
            bail!(
                "there is no artefact at {}: run `cargo xtask component` first, or set {ARTEFACT_VARIABLE} to one",
                artefact.display()
            );
        }
        let artefact = Artefact::read(artefact)?;
        let limits = RuntimeLimits { instances_max: INSTANCES_MAX, call_ms_max, ..RuntimeLimits::default() };
        let loaded = match engine {
            EngineKind::Component => Runtime::new(limits)?.load(&artefact)?,
            EngineKind::Native => Loaded::native(&artefact)?,
        };
        Ok(Self { loaded, artefact_bytes: artefact.anatomy.sizes.file })
    }

    /// A fresh instance, as the host makes one for a request that shares nothing with others.
    pub fn instantiate(&self) -> Result<Instance> {
        Ok(self.loaded.instantiate()?)
    }

    /// What the component says of itself.
    pub fn describe(&self) -> Result<Description> {
        Ok(self.instantiate()?.describe()?)
    }
}

/// Scores one text, and fails unless the model read exactly the tokens that the text was made for.
pub fn scores(instance: &mut Instance, text: &Text) -> Result<Vec<f32>> {
    let all = scores_of(instance, std::slice::from_ref(text))?;
    all.into_iter().next().context("the component gave no result for the text")
}

/// Scores texts in one call, and fails unless the model read exactly the tokens that they were made for.
pub fn scores_of(instance: &mut Instance, texts: &[Text]) -> Result<Vec<Vec<f32>>> {
    let answer = instance.classify(texts, &Options { labels: None, spans: false, words: false })?;
    ensure!(answer.results.len() == texts.len(), "{} results for {} texts", answer.results.len(), texts.len());
    let scores = answer.results.into_iter().zip(texts).map(|(result, text)| {
        ensure!(
            result.tokens as usize == text.tokens && !result.truncated,
            "the model read {} tokens of a text made for {}: {WORD:?} is not one token, or the release reads fewer",
            result.tokens,
            text.tokens,
        );
        Ok(result.scores)
    });
    scores.collect()
}

/// `$PALISADE_ARTEFACT`, or else the default one.
pub fn artefact_path() -> PathBuf {
    match std::env::var_os(ARTEFACT_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("release/palisade-default.wasm"),
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn a_text_leaves_room_for_the_special_tokens() {
        assert_eq!(Text::of_tokens(4).map(|text| text.text).ok().as_deref(), Some("people people"));
        assert!(Text::of_tokens(2).is_err());
    }

    #[test]
    fn texts_around_a_length_have_it_on_average() {
        let texts = Text::around_tokens(12, 32).unwrap_or_default();
        assert_eq!(texts.iter().map(|text| text.tokens).sum::<usize>(), 374, "11.7 each");
        assert!(Text::around_tokens(6, 1).is_err(), "too short for the shortest");
    }
}
