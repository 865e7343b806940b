//! A text's sentences, for span scores.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// Byte ranges of the sentences of `text` (Unicode Standard Annex 29), without the white space around them.
/// Sentences of nothing but white space are left out.
pub fn sentences(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.split_sentence_bound_indices().filter_map(|(start, sentence)| {
        let trimmed = sentence.trim();
        let lead = sentence.len() - sentence.trim_start().len();
        (!trimmed.is_empty()).then_some(start + lead..start + lead + trimmed.len())
    })
}

#[cfg(test)]
mod tests {
    use super::sentences;

    #[test]
    fn sentences_are_trimmed_and_keep_their_place() {
        let text = " Thank you.  Go away! 你好。再见。\n\n";
        let found: Vec<_> = sentences(text).map(|range| &text[range]).collect();
        assert_eq!(found, ["Thank you.", "Go away!", "你好。", "再见。"]);
        assert_eq!(sentences(" \n ").count(), 0);
    }
}
