//! The shipped release, layer by layer, against tract, which computes it in float32.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests read the release")]
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "the test shows what it measured")]

use std::path::Path;

use palisade_encoder::{Packed, pack};
use tract_onnx::prelude::*;

/// The greatest difference of an element of a layer's output, and the greatest root mean square of a layer's differences; the elements
/// have a variance near 1.
const ELEMENT_MAX: f32 = 0.6;
const MEAN_MAX: f32 = 0.05;

fn read(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity");
    std::fs::read(folder.join(name)).unwrap()
}

fn tract(output: &str, ids: &[u32]) -> Vec<f32> {
    let mut model = tract_onnx::onnx().model_for_read(&mut read("model.onnx").as_slice()).unwrap();
    model.set_input_fact(0, InferenceFact::dt_shape(i64::datum_type(), [1, ids.len()])).unwrap();
    model.select_outputs_by_name([output]).unwrap();
    let plan = model.into_optimized().unwrap().into_runnable().unwrap();
    let ids: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
    let input = Tensor::from_shape(&[1, ids.len()], &ids).unwrap();
    plan.run(tvec![input.into_tvalue()]).unwrap()[0]
        .cast_to::<f32>()
        .unwrap()
        .view()
        .as_slice::<f32>()
        .unwrap()
        .to_vec()
}

#[test]
fn every_layer_is_near_float32() {
    let packed = Packed::new(pack(&read("model.onnx"), &read("tokenizer.json")).unwrap()).unwrap();
    let text =
        "You are a complete idiot, and nobody here wants to read another word of yours. Thanks for the edit, though! ";
    for times in [1, 8] {
        let ids = packed.encode(&text.repeat(times), 256).ids;
        for layers in 0..=packed.shape().layers {
            let name = layers.checked_sub(1).map(|layer| format!("layers.{layer}.output_norm"));
            let right = tract(name.as_deref().unwrap_or("embedding_norm"), &ids);
            let ours = packed.hidden(&ids, layers).unwrap();
            assert_eq!(ours.len(), right.len());
            let differences: Vec<f32> = ours.iter().zip(&right).map(|(a, b)| (a - b).abs()).collect();
            let greatest = differences.iter().fold(0.0_f32, |a, &b| a.max(b));
            let mean = (differences.iter().map(|d| d * d).sum::<f32>() / differences.len() as f32).sqrt();
            println!("{} tokens, {layers} layers: greatest {greatest}, root mean square {mean}", ids.len());
            // The embeddings are float32 on both sides.
            let (element_max, mean_max) = if layers == 0 { (1e-4, 1e-5) } else { (ELEMENT_MAX, MEAN_MAX) };
            assert!(greatest <= element_max && mean <= mean_max);
        }
        let (ours, right) = (packed.logits(&ids).unwrap(), tract("logits", &ids));
        println!("{ours:?}\n{right:?}");
        for (ours, right) in ours.iter().zip(&right) {
            assert!((ours - right).abs() <= 0.15, "{ours} {right}");
        }
    }
}
