//! What makes tokens of a text and logits of tokens: one of two engines.
//!
//! The encoder engine runs the networks that our training writes, in int8; tract runs any ONNX classifier, in float32.

use std::fmt;

#[cfg(feature = "encoder")]
use palisade_encoder::Packed;

use crate::release::Limits;
use crate::tokens::{Tokens, cut};
#[cfg(feature = "tract")]
use crate::{model::Model, tokens::TextTokenizer};

/// Which engine runs a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Our own, for BERT-family encoders.
    #[cfg(feature = "encoder")]
    Encoder,
    /// tract, for any ONNX classifier.
    #[cfg(feature = "tract")]
    Tract,
}

/// A release's network and tokenizer, ready to run.
#[derive(Clone)]
pub(crate) enum Engine {
    #[cfg(feature = "encoder")]
    Encoder(Packed),
    #[cfg(feature = "tract")]
    Tract { tokenizer: Box<TextTokenizer>, model: Model },
}

impl Engine {
    /// What computes the scores, as `description.engine` names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "encoder")]
            Self::Encoder(_) => palisade_encoder::ENGINE,
            #[cfg(feature = "tract")]
            Self::Tract { .. } => crate::model::ENGINE,
        }
    }

    /// Encodes one text, reading at most as much of it as the limits say. Errors hold nothing of it.
    #[cfg_attr(
        not(feature = "tract"),
        expect(clippy::unnecessary_wraps, reason = "the encoder engine reads every text")
    )]
    pub(crate) fn encode(&self, text: &str, limits: &Limits) -> Result<Tokens, String> {
        let read = cut(text, limits.text_bytes_max);
        let mut tokens = match self {
            #[cfg(feature = "encoder")]
            Self::Encoder(packed) => {
                let palisade_encoder::Tokens { ids, truncated } = packed.encode(read, limits.tokens_max);
                Tokens { ids, truncated }
            }
            #[cfg(feature = "tract")]
            Self::Tract { tokenizer, .. } => tokenizer.encode(read)?,
        };
        tokens.truncated |= read.len() < text.len();
        Ok(tokens)
    }

    /// One logit a label for each text. Errors hold nothing of the texts.
    pub(crate) fn logits<T: AsRef<[u32]>>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>, String> {
        match self {
            #[cfg(feature = "encoder")]
            Self::Encoder(packed) => packed.logits_of(texts).map_err(|e| e.to_string()),
            #[cfg(feature = "tract")]
            Self::Tract { model, .. } => texts.iter().map(|ids| model.logits(ids.as_ref())).collect(),
        }
    }

    /// The highest id that the tokenizer can give.
    pub(crate) fn id_max(&self) -> u32 {
        match self {
            #[cfg(feature = "encoder")]
            Self::Encoder(packed) => packed.id_max(),
            #[cfg(feature = "tract")]
            Self::Tract { tokenizer, .. } => tokenizer.id_max(),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The logistic function, in one written order and with one polynomial on every platform (`libm`).
pub fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-logit))
}

#[cfg(test)]
mod tests {
    use super::sigmoid;

    #[test]
    fn sigmoid_stays_within_its_bounds() {
        assert_eq!(sigmoid(0.0).to_bits(), 0.5f32.to_bits());
        assert!(sigmoid(200.0) <= 1.0 && sigmoid(-200.0) >= 0.0);
        assert!(sigmoid(f32::NAN).is_nan());
    }
}
