//! Classifiers as people export them are packed, and score what onnxruntime scores with the same files in float32.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests read fixtures")]
#![allow(clippy::print_stdout, clippy::cast_possible_truncation, reason = "the test shows what it measured")]

use std::path::Path;

use palisade_encoder::{ImportError, Packed, pack};
use serde_json::Value;

/// Two layers of int8 may move a logit so far; the fixtures' logits spread over some units.
const LOGIT_MAX: f32 = 0.05;

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

#[test]
fn exported_classifiers_score_as_in_onnxruntime() {
    let expected: Value = serde_json::from_slice(&read("logits.json")).unwrap();
    let ids: Vec<Vec<u32>> = serde_json::from_value(expected["ids"].clone()).unwrap();
    let names = [
        "bert-14",
        "bert-17-eager",
        "bert-20-dynamo",
        "bert-gelu-fast-17",
        "bert-gelu-new-14",
        "bert-relu-17",
        "distilbert-11-eager",
        "distilbert-14",
        "electra-17",
        "mean-14",
        "mean-18-dynamo",
    ];
    for name in names {
        let packed = Packed::new(pack(&read(&format!("{name}.onnx")), &read("tokenizer.json")).unwrap()).unwrap();
        let expected: Vec<Vec<f32>> = serde_json::from_value(expected[name].clone()).unwrap();
        assert_eq!(expected.len(), ids.len());
        let differences = ids.iter().zip(&expected).flat_map(|(ids, expected)| {
            let logits = packed.logits(ids).unwrap();
            assert_eq!(logits.len(), expected.len());
            logits.into_iter().zip(expected).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>()
        });
        let greatest = differences.fold(0.0, f32::max);
        let bounds = expected.iter().flatten().fold((0.0_f32, 0.0_f32), |(a, b), &x| (a.min(x), b.max(x)));
        println!("{name}: logits within {bounds:?}, greatest difference {greatest}");
        assert!(greatest <= LOGIT_MAX, "{name}: {greatest}");
    }
}

#[test]
fn the_exporter_makes_no_difference() {
    let packed = |name: &str| pack(&read(&format!("{name}.onnx")), &read("tokenizer.json")).unwrap();
    for same in [&["bert-14", "bert-17-eager", "bert-20-dynamo"][..], &["distilbert-11-eager", "distilbert-14"]] {
        let first = packed(same[0]);
        assert!(same.iter().all(|name| packed(name).bytes() == first.bytes()), "{same:?}");
    }
}

#[test]
fn a_graph_for_another_engine_says_why() {
    let problem = pack(&read("bert-silu-17.onnx"), &read("tokenizer.json")).unwrap_err();
    assert!(matches!(problem, ImportError::Model(_)));
    assert!(problem.to_string().contains("intermediate_act_fn/Sigmoid"), "{problem}");
}
