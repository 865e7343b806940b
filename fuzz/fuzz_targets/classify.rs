//! Any bytes: the first decides the options, the rest is the text. What must hold for the result is what
//! `crates/core/tests/properties.rs` asks too.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use palisade_core::{Classifier, Options, ReleaseFiles};

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/english-toxicity");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    Classifier::from_release(&ReleaseFiles {
        manifest: &read("release.json"),
        model: &read("model.onnx"),
        tokenizer: &read("tokenizer.json"),
    })
    .unwrap()
});

/// Bit of the first byte that asks for spans.
const SPANS: u8 = 1;
/// Bit of the first byte that asks for the last label only.
const ONE_LABEL: u8 = 2;
/// Bit of the first byte that asks for words.
const WORDS: u8 = 4;

fuzz_target!(|data: &[u8]| {
    let Some((&bits, bytes)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    let last = CLASSIFIER.labels().last().map(|label| label.name.clone());
    let options = Options {
        labels: (bits & ONE_LABEL != 0).then(|| last.into_iter().collect()),
        spans: bits & SPANS != 0,
        words: bits & WORDS != 0,
    };
    let limits = CLASSIFIER.limits();
    let answer = CLASSIFIER.classify(&[&text], &options).unwrap();
    let [result] = answer.results.as_slice() else { panic!("{} results for one text", answer.results.len()) };

    for scores in result.spans.iter().map(|span| &span.scores).chain([&result.scores]) {
        assert_eq!(scores.len(), answer.labels.len());
        assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
    }
    assert!(result.tokens <= limits.tokens_max);
    assert!(!result.truncated || result.tokens == limits.tokens_max || text.len() > limits.text_bytes_max);
    assert!(result.truncated || text.len() <= limits.text_bytes_max);
    assert!(options.spans || result.spans.is_empty());
    assert!(result.spans.len() <= limits.spans_max);
    let mut end = 0;
    for span in &result.spans {
        assert!(end <= span.range.start && span.range.start < span.range.end, "{:?} after {end}", span.range);
        assert!(text.get(span.range.clone()).is_some_and(|sentence| sentence == sentence.trim()));
        end = span.range.end;
    }
    assert!(options.words || result.words.is_empty());
    assert!(result.words.len() <= limits.words_max);
    let mut end = 0;
    for word in &result.words {
        assert!(end <= word.range.start && word.range.start < word.range.end, "{:?} after {end}", word.range);
        assert!(text.get(word.range.clone()).is_some());
        assert_eq!(word.effects.len(), answer.labels.len());
        assert!(word.effects.iter().all(|effect| (-1.0..=1.0).contains(effect)), "{:?}", word.effects);
        end = word.range.end;
    }
    if let [span] = result.spans.as_slice() {
        assert_eq!(span.scores, result.scores);
    }
});
