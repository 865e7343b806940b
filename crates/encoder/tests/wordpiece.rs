//! The tokenizer against Hugging Face's `tokenizers`, on the shipped release's vocabulary: the same ids for every text.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests read the release")]

use std::path::Path;
use std::sync::LazyLock;

use palisade_encoder::{Packed, Tokens, pack, words};
use proptest::collection::vec;
use proptest::prelude::*;
use tokenizers::{Tokenizer, TruncationParams};

const TOKENS_MAX: usize = 64;

fn read(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity");
    std::fs::read(folder.join(name)).unwrap()
}

static PACKED: LazyLock<Packed> =
    LazyLock::new(|| Packed::new(pack(&read("model.onnx"), &read("tokenizer.json")).unwrap()).unwrap());

static PEER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let mut tokenizer = Tokenizer::from_bytes(read("tokenizer.json")).unwrap();
    tokenizer.set_encode_special_tokens(true);
    let truncation = TruncationParams { max_length: TOKENS_MAX, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).unwrap();
    tokenizer
});

/// Encodes a text both ways, and compares the ranges of the words with what they are made of.
#[track_caller]
fn check(text: &str) {
    let encoding = PEER.encode_fast(text, true).unwrap();
    let ids = if encoding.len() > 2 { encoding.get_ids().to_vec() } else { Vec::new() };
    let expected = Tokens { ids, truncated: !encoding.get_overflowing().is_empty() };
    assert_eq!(PACKED.encode(text, TOKENS_MAX), expected, "{text:?}");

    let words = words(text);
    assert!(words.iter().all(|word| text.get(word.clone()).is_some_and(|word| !word.is_empty())), "{text:?}");
    assert!(words.is_sorted_by_key(|word| word.start), "{text:?}");
    if !expected.truncated {
        assert!(words.len() + 2 <= expected.ids.len().max(2), "{text:?}");
    }
}

#[test]
fn the_golden_cases_have_the_same_ids() {
    for line in String::from_utf8(read("cases.jsonl")).unwrap().lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        check(case["text"].as_str().unwrap());
    }
}

#[test]
fn every_character_has_the_same_ids() {
    let characters: Vec<char> = ('\0'..=char::MAX).collect();
    for few in characters.chunks(TOKENS_MAX - 4) {
        check(&few.iter().collect::<String>());
        check(&few.iter().flat_map(|&c| [c, ' ']).collect::<String>());
    }
    for few in characters.chunks(12) {
        check(&few.iter().flat_map(|&c| ['a', c, 'b', ' ']).collect::<String>());
    }
}

#[test]
fn a_text_is_cut_where_the_tokens_end() {
    for words in TOKENS_MAX - 4..TOKENS_MAX + 2 {
        check(&"a ".repeat(words));
        check(&"unbelievableness ".repeat(words / 3));
    }
    for length in 98..104 {
        check(&"a".repeat(length));
        check(&"é".repeat(length));
    }
    assert_eq!(PACKED.encode("a a", 3), Tokens { ids: PACKED.encode("a", 3).ids, truncated: true });
}

#[test]
fn words_have_their_ranges_in_the_text() {
    let text = " Caf\u{65}\u{301} you're\u{200b} İt 你好! [SEP]\u{fffd}x";
    let found: Vec<_> = words(text).into_iter().map(|range| &text[range]).collect();
    assert_eq!(found, ["Cafe\u{301}", "you", "'", "re", "İt", "你", "好", "!", "[", "SEP", "]", "x"]);
}

fn text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        6 => "[a-zA-Z]{1,12}",
        3 => "[ \t\r\n\u{b}\u{85}\u{a0}\u{2028}\u{3000}]{1,3}",
        2 => "[.!?…。،\"')#&_-]{1,3}",
        1 => Just("[SEP]".to_owned()),
        1 => "##[a-z]{1,3}",
        2 => "[\u{0}\u{ad}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{300}-\u{36f}\u{fe0f}\u{feff}\u{fffd}]{1,5}",
        2 => "[\u{591}-\u{5bd}\u{610}-\u{61a}\u{64b}-\u{65f}\u{f71}-\u{f7e}\u{1d165}-\u{1d172}\u{302a}-\u{302f}]{1,5}",
        2 => "[你好👍🏽🇫שلаΩ가각ÀİﬀẞßǅΣ\u{1d504}\u{f900}\u{2f800}≠≯\u{37e}\u{1fef}]{1,5}",
        2 => "\\PC{1,8}",
        1 => Just("a".repeat(101)),
    ];
    prop_oneof![4 => vec(pieces, 0..30).prop_map(|pieces| pieces.concat()), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_the_same_ids(text in text()) {
        check(&text);
    }
}
