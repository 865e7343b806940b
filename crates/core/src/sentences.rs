//! A text's sentences, for span scores.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::tokens::cut;

/// A sentence longer than this many bytes is given in pieces, for the search for a sentence's end takes time that grows with the
/// square of its length.
pub const SENTENCE_BYTES_MAX: usize = 1024;

/// Byte ranges of the sentences of `text` (Unicode Standard Annex 29), without the white space around them.
/// Sentences of nothing but white space are left out; one of more than [`SENTENCE_BYTES_MAX`] bytes comes in pieces,
/// cut behind white space where there is some.
pub fn sentences(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut rest = text;
    let pieces = std::iter::from_fn(move || {
        let start = text.len() - rest.len();
        let (piece, behind) = rest.split_at_checked(first_piece(rest))?;
        rest = behind;
        (!piece.is_empty()).then_some((start, piece))
    });
    pieces.filter_map(|(start, piece)| {
        let trimmed = piece.trim();
        let lead = piece.len() - piece.trim_start().len();
        (!trimmed.is_empty()).then_some(start + lead..start + lead + trimmed.len())
    })
}

/// Length of the text's first sentence, or of its first piece.
fn first_piece(text: &str) -> usize {
    let window = cut(text, SENTENCE_BYTES_MAX);
    let first = window.split_sentence_bounds().next().map_or(0, str::len);
    if first < window.len() || window.len() == text.len() {
        return first;
    }
    let last_space = window.char_indices().rfind(|(_, character)| character.is_whitespace());
    last_space.map_or(window.len(), |(place, space)| place + space.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::{SENTENCE_BYTES_MAX, sentences};

    #[test]
    fn sentences_are_trimmed_and_keep_their_place() {
        let text = " Thank you.  Go away! 你好。再见。\n\n";
        let found: Vec<_> = sentences(text).map(|range| &text[range]).collect();
        assert_eq!(found, ["Thank you.", "Go away!", "你好。", "再见。"]);
        assert_eq!(sentences(" \n ").count(), 0);
    }

    #[test]
    fn a_long_sentence_comes_in_pieces_cut_at_white_space() {
        let text = format!("Short one! {}end.", "word ".repeat(500));
        let found: Vec<_> = sentences(&text).map(|range| &text[range]).collect();
        assert_eq!(found.len(), 4);
        assert!(found[1..3].iter().all(|piece| piece.len() <= SENTENCE_BYTES_MAX && piece.ends_with("word")));
        assert_eq!(found.join(" "), text);
    }

    #[test]
    fn texts_without_an_end_in_sight_do_not_take_the_square_of_their_length() {
        for text in [format!(".{}", " ".repeat(20_479)), format!("A.{}", "(".repeat(20_477))] {
            assert!(sentences(&text).count() <= 21);
        }
    }
}
