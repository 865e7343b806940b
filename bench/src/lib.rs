//! What the benches and the worker measure: one request to the baked artefact, on a reused or a fresh instance.
//!
//! The way in is [`Subject`]. It gives no times: `benches/classifier.rs` (divan) and the worker (`src/main.rs`, for
//! `compare.py`) each hold their own watch.
//!
//! ```no_run
//! let subject = palisade_bench::Subject::open()?;
//! let text = palisade_bench::Text::of_tokens(64)?;
//! let scores = palisade_bench::scores(&mut subject.instantiate()?, &text)?;
//! assert_eq!(scores.len(), 6);
//! # Ok::<(), anyhow::Error>(())
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use palisade_host::bindings::{Description, Options};
use palisade_host::{Artefact, Instance, Loaded, Runtime, RuntimeLimits};

/// The word that every text is made of: one token in any English vocabulary.
pub const WORD: &str = "people";
/// Tokens that the tokenizer puts around a text: `[CLS]` and `[SEP]`.
pub const SPECIAL_TOKENS: usize = 2;
/// Environment variable that names another artefact than the default one.
pub const ARTEFACT_VARIABLE: &str = "PALISADE_ARTEFACT";

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
        let path = artefact_path();
        if !path.is_file() {
            bail!(
                "there is no artefact at {}: run `cargo xtask component` first, or set {ARTEFACT_VARIABLE} to one",
                path.display()
            );
        }
        let artefact = Artefact::read(&path)?;
        let loaded = Runtime::new(RuntimeLimits::default())?.load(&artefact)?;
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
    let answer = instance.classify(&[&text.text], &Options { labels: None, spans: false, words: false })?;
    let result = answer.results.into_iter().next().context("the component gave no result for the text")?;
    ensure!(
        result.tokens as usize == text.tokens && !result.truncated,
        "the model read {} tokens of a text made for {}: {WORD:?} is not one token, or the release reads fewer",
        result.tokens,
        text.tokens,
    );
    Ok(result.scores)
}

fn artefact_path() -> PathBuf {
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
}
