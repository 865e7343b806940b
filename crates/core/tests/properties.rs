//! What holds for every text, tried on texts that nobody would think of.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests read the release")]

use std::path::Path;
use std::sync::LazyLock;

use palisade_core::normalise::{RULES, normalise};
use palisade_core::tokens::{TextTokenizer, cut};
use palisade_core::{Classifier, Options, ReleaseFiles};
use proptest::collection::vec;
use proptest::prelude::*;

static TOKENIZER: LazyLock<Vec<u8>> = LazyLock::new(|| read("tokenizer.json"));
static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| load(&read("release.json")));
/// The shipped release as if it were trained on normalised texts.
static NORMALISING: LazyLock<Classifier> = LazyLock::new(|| {
    let mut manifest: serde_json::Value = serde_json::from_slice(&read("release.json")).unwrap();
    manifest["normalisation"] = RULES.into();
    load(&serde_json::to_vec(&manifest).unwrap())
});

fn load(manifest: &[u8]) -> Classifier {
    let model = read("model.onnx");
    Classifier::from_release(&ReleaseFiles { manifest, model: &model, tokenizer: &TOKENIZER }).unwrap()
}

fn read(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity");
    std::fs::read(folder.join(name)).unwrap()
}

/// Few cases, for each runs the model some times; and no record of failures, for a found fault becomes a test by name.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }
}

/// Words, sentence ends, and what breaks tokenizers, in any order; and strings of any characters.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        4 => "[a-zA-Z]{1,12}",
        2 => "[ \t\r\n\u{a0}\u{2028}]{1,3}",
        2 => "[.!?…。،\"')]{1,3}",
        1 => "[\\[<#@_*0-9]{1,4}",
        1 => "[\u{0}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{300}-\u{36f}\u{fe0f}\u{feff}\u{fffd}]{1,5}",
        1 => "[你好👍🏽🇫שلаΩ가ÀİﬀẞßǅΣ\u{1d504}]{1,5}",
        1 => "\\PC{1,8}",
        1 => Just("[SEP]".to_owned()),
        1 => Just("a".repeat(150)),
    ];
    prop_oneof![4 => vec(pieces, 0..40).prop_map(|pieces| pieces.concat()), 1 => any::<String>()]
}

fn with_spans() -> Options {
    Options { spans: true, ..Options::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_has_a_result_within_its_bounds(text in text(), times in prop_oneof![9 => Just(1usize), 1 => 1..60usize]) {
        let text = text.repeat(times);
        let limits = CLASSIFIER.limits();
        let answer = CLASSIFIER.classify(&[&text], &with_spans()).unwrap();
        let result = &answer.results[0];
        for scores in result.spans.iter().map(|span| &span.scores).chain([&result.scores]) {
            prop_assert_eq!(scores.len(), CLASSIFIER.labels().len());
            prop_assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
        }
        prop_assert!(result.tokens <= limits.tokens_max);
        prop_assert!(result.spans.len() <= limits.spans_max);
        let mut end = 0;
        for span in &result.spans {
            prop_assert!(end <= span.range.start && span.range.start < span.range.end);
            prop_assert!(text.get(span.range.clone()).is_some_and(|sentence| sentence == sentence.trim()));
            end = span.range.end;
        }
        let [span] = result.spans.as_slice() else { return Ok(()) };
        prop_assert_eq!(&span.scores, &result.scores);
    }

    #[test]
    fn a_text_is_truncated_where_a_tokenizer_without_limits_gives_more(text in text(), times in 1..60usize) {
        let text = text.repeat(times);
        let limits = NORMALISING.limits();
        let endless = TextTokenizer::new("tokenizer.json", &TOKENIZER, 1 << 20).unwrap();
        let normalised = normalise(cut(&text, limits.text_bytes_max)).text;
        let all = endless.encode(cut(&normalised, limits.text_bytes_max)).unwrap();
        prop_assert!(!all.truncated);
        let result = &NORMALISING.classify(&[&text], &Options::default()).unwrap().results[0];
        let longest = text.len().max(normalised.len());
        let expected = all.ids.len() > limits.tokens_max || longest > limits.text_bytes_max;
        prop_assert_eq!(result.truncated, expected);
        if !expected {
            prop_assert_eq!(result.tokens, all.ids.len());
        }
    }

    #[test]
    fn any_texts_words_lie_in_it_and_have_effects_within_their_bounds(text in text()) {
        for classifier in [&*CLASSIFIER, &*NORMALISING] {
            let options = Options { words: true, ..Options::default() };
            let result = &classifier.classify(&[&text], &options).unwrap().results[0];
            prop_assert!(result.words.len() <= classifier.limits().words_max);
            let mut end = 0;
            for word in &result.words {
                prop_assert!(end <= word.range.start && word.range.start < word.range.end);
                prop_assert!(text.get(word.range.clone()).is_some_and(|word| word == word.trim()));
                prop_assert_eq!(word.effects.len(), classifier.labels().len());
                prop_assert!(word.effects.iter().all(|effect| (-1.0..=1.0).contains(effect)), "{:?}", word.effects);
                end = word.range.end;
            }
        }
    }

    #[test]
    fn the_order_of_a_batch_changes_no_result(
        (texts, shuffled) in vec(text(), 1..5).prop_flat_map(|texts| {
            let places: Vec<usize> = (0..texts.len()).collect();
            (Just(texts), Just(places).prop_shuffle())
        }),
    ) {
        let moved: Vec<_> = shuffled.iter().map(|&place| &texts[place]).collect();
        let before = CLASSIFIER.classify(&texts, &Options::default()).unwrap();
        let after = CLASSIFIER.classify(&moved, &Options::default()).unwrap();
        for (result, &place) in after.results.iter().zip(&shuffled) {
            prop_assert_eq!(result, &before.results[place]);
        }
        prop_assert_eq!(after.results.len(), before.results.len());
    }
}
