//! Text to token ids.

#[cfg(feature = "tract")]
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

#[cfg(feature = "tract")]
use crate::{model::without_panic, release::ReleaseError};

/// What the model reads of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids with the special tokens around them; empty where the text holds nothing to read.
    pub ids: Vec<u32>,
    /// True where the text went on after the last token.
    pub truncated: bool,
}

/// A Hugging Face tokenizer set to a model's length.
#[cfg(feature = "tract")]
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    special_tokens: usize,
}

#[cfg(feature = "tract")]
impl TextTokenizer {
    /// Reads `tokenizer.json`; `file` names it in errors.
    pub fn new(file: &str, json: &[u8], tokens_max: usize) -> Result<Self, ReleaseError> {
        let unusable = |problem: String| ReleaseError::Unusable { file: file.to_owned(), problem };
        let mut tokenizer = without_panic(|| Tokenizer::from_bytes(json))
            .map_err(|e| unusable(format!("not a tokenizer that can be read: {e}")))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| unusable(format!("cannot be set to any length: {e}")))?;
        // "[SEP]" in a text is five characters, not the end of it.
        tokenizer.set_encode_special_tokens(true);
        let around = without_panic(|| tokenizer.encode_fast("", true));
        let special_tokens = around.map_err(|e| unusable(format!("cannot encode: {e}")))?.len();
        if special_tokens >= tokens_max {
            let problem = format!("puts {special_tokens} tokens around each text, but tokens_max is {tokens_max}");
            return Err(unusable(problem));
        }
        tokenizer
            .with_truncation(Some(TruncationParams {
                max_length: tokens_max,
                strategy: TruncationStrategy::LongestFirst,
                direction: TruncationDirection::Right,
                stride: 0,
            }))
            .map_err(|e| unusable(format!("cannot be set to {tokens_max} tokens: {e}")))?;
        Ok(Self { tokenizer, special_tokens })
    }

    /// The highest id that this tokenizer can give.
    pub fn id_max(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// Encodes one text. Errors hold nothing of it.
    pub fn encode(&self, text: &str) -> Result<Tokens, String> {
        // What tokenizers says of a failure, in an error or in a panic, may quote the text.
        let encoding = without_panic(|| self.tokenizer.encode_fast(text, true))
            .map_err(|_| format!("a text of {} bytes cannot be tokenized", text.len()))?;
        let truncated = !encoding.get_overflowing().is_empty();
        let ids = if encoding.len() > self.special_tokens { encoding.get_ids().to_vec() } else { Vec::new() };
        Ok(Tokens { ids, truncated })
    }
}

/// The longest beginning of `text` of at most `bytes_max` bytes that ends between characters.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_cut_falls_between_characters() {
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("é", 1), "");
        assert_eq!(cut("abc", 10), "abc");
    }
}
