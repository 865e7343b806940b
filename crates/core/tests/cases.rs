//! The golden cases natively. The encoder engine must give the component's bits. tract computes the same release in float32, so its
//! scores differ; the difference is bounded here, and nothing else may differ, verdicts least of all.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::path::Path;

use palisade_core::{Classifier, EngineKind, Options, ReleaseFiles};
use serde_json::Value;

/// Largest difference between a score of the encoder engine (int8, activations in 7 bits) and of tract (float32).
const TOLERANCE: f32 = 0.06;

#[test]
fn the_encoder_engine_gives_the_components_bits() {
    golden_cases(EngineKind::Encoder, 0.0);
}

#[test]
fn tract_gives_scores_within_the_tolerance() {
    golden_cases(EngineKind::Tract, TOLERANCE);
}

fn golden_cases(engine: EngineKind, tolerance: f32) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (manifest, model, tokenizer) = (read("release.json"), read("model.onnx"), read("tokenizer.json"));
    let files = ReleaseFiles { manifest: &manifest, model: &model, tokenizer: &tokenizer };
    let classifier = Classifier::from_release_with(engine, &files).unwrap();

    let options = Options { spans: true, ..Options::default() };
    let mut cases = 0;
    for line in String::from_utf8(read("cases.jsonl")).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let answer = classifier.classify(&[case["text"].as_str().unwrap()], &options).unwrap();
        let result = &answer.results[0];
        let near = |scores: &[f32], expected: &Value| {
            for (label, &score) in answer.labels.iter().zip(scores) {
                let difference = (score - expected[label].as_f64().unwrap() as f32).abs();
                assert!(difference <= tolerance, "{}, {label}: {difference} from the component's score", case["id"]);
            }
        };
        near(&result.scores, &case["scores"]);
        for (label, &score) in classifier.labels().iter().zip(&result.scores) {
            let expected = case["scores"][&label.name].as_f64().unwrap() as f32;
            let thresholds = [Some(label.threshold), label.block.map(|block| block.threshold)];
            for threshold in thresholds.into_iter().flatten() {
                assert_eq!(score >= threshold, expected >= threshold, "{}: verdict of {}", case["id"], label.name);
            }
        }
        assert_eq!(
            (result.truncated, result.spans_truncated),
            (case["truncated"] == true, case["spans_truncated"] == true)
        );
        let spans = case["spans"].as_array().unwrap();
        assert_eq!(result.spans.len(), spans.len(), "{}", case["id"]);
        for (span, expected) in result.spans.iter().zip(spans) {
            near(&span.scores, &expected["scores"]);
            let range = [span.range.start, span.range.end].map(Value::from);
            assert_eq!(
                (range, span.truncated),
                ([expected["start"].clone(), expected["end"].clone()], expected["truncated"] == true)
            );
        }
        cases += 1;
    }
    assert!(cases > 60);
}
