//! Any bytes as a text: our word pieces against those of Hugging Face's `tokenizers`, on the shipped vocabulary. What must hold is
//! what `crates/encoder/tests/wordpiece.rs` asks too.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use palisade_encoder::{Packed, Tokens, pack, words};
use tokenizers::{Tokenizer, TruncationParams};

/// Limits of tokens, by the first byte: one that short texts reach, and the releases' own.
const TOKENS_MAX: [usize; 2] = [8, 256];

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/english-toxicity-small").join(name)).unwrap()
}

static PACKED: LazyLock<Packed> =
    LazyLock::new(|| Packed::new(pack(&read("model.onnx"), &read("tokenizer.json")).unwrap()).unwrap());

static PEERS: LazyLock<[Tokenizer; 2]> = LazyLock::new(|| {
    TOKENS_MAX.map(|max_length| {
        let mut tokenizer = Tokenizer::from_bytes(read("tokenizer.json")).unwrap();
        tokenizer.set_encode_special_tokens(true);
        let truncation = TruncationParams { max_length, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).unwrap();
        tokenizer
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((&limit, bytes)) = data.split_first() else {
        return;
    };
    let limit = usize::from(limit & 1);
    let text = String::from_utf8_lossy(bytes);

    let encoding = PEERS[limit].encode_fast(text.as_ref(), true).unwrap();
    let ids = if encoding.len() > 2 { encoding.get_ids().to_vec() } else { Vec::new() };
    let expected = Tokens { ids, truncated: !encoding.get_overflowing().is_empty() };
    assert_eq!(PACKED.encode(&text, TOKENS_MAX[limit]), expected);

    let words = words(&text);
    assert!(words.iter().all(|word| text.get(word.clone()).is_some_and(|word| !word.is_empty())));
    assert!(words.is_sorted_by_key(|word| word.start));
    if !expected.truncated {
        assert!(words.len() + 2 <= expected.ids.len().max(2));
    }
});
