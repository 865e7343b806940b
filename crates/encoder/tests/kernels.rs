//! Every kernel that this machine runs gives the bits of the specification.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests read the release")]

use std::path::Path;

use palisade_encoder::{Kernel, Packed, pack};

fn packed() -> Packed {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity-small");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    Packed::new(pack(&read("model.onnx"), &read("tokenizer.json")).unwrap()).unwrap()
}

#[test]
fn every_kernel_gives_the_bits_of_the_specification() {
    let packed = packed();
    let shape = packed.shape();
    let specification = packed.clone().with_kernel(Kernel::Scalar);
    let kernels: Vec<Packed> =
        Kernel::available().into_iter().skip(1).map(|kernel| packed.clone().with_kernel(kernel)).collect();
    let mut state = 1_u32;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state as usize * below) >> 32
    };
    // All the lengths around what the kernels take at a time, and some more.
    let lengths = (1..=40).chain([63, 64, 65, 127, shape.positions]);
    for length in lengths {
        let ids: Vec<u32> = (0..length).map(|_| u32::try_from(random(shape.vocabulary)).unwrap()).collect();
        let bits = |packed: &Packed| packed.logits(&ids).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let expected = bits(&specification);
        for other in &kernels {
            assert_eq!(bits(other), expected, "{length} tokens, {}", other.kernel());
        }
    }
}

#[test]
fn a_kernel_is_chosen_among_those_of_the_machine() {
    let packed = packed();
    assert_eq!(Some(&packed.kernel()), Kernel::available().last());
    assert_eq!(packed.with_kernel(Kernel::Scalar).kernel(), Kernel::Scalar);
}

#[test]
fn texts_in_a_batch_have_the_bits_that_they_have_alone() {
    let packed = packed();
    let vocabulary = u32::try_from(packed.shape().vocabulary).unwrap();
    // Short ones that share a pass, a pass that is full to the token, and one text that is longer than a pass.
    let positions = u32::try_from(packed.shape().positions).unwrap();
    let lengths = [1, 12, 3, 30, 64, 17, 1, positions, 5, 100, 28, 128, 9];
    let texts: Vec<Vec<u32>> =
        lengths.iter().map(|&length| (0..length).map(|i| (i * 7919 + length) % vocabulary).collect()).collect();
    for kernel in Kernel::available() {
        let packed = packed.clone().with_kernel(kernel);
        let together = packed.logits_of(&texts).unwrap();
        let alone: Vec<_> = texts.iter().map(|ids| packed.logits(ids).unwrap()).collect();
        assert_eq!(together, alone, "{kernel}");
    }
    assert!(packed.logits_of::<Vec<u32>>(&[]).unwrap().is_empty());
    assert!(packed.logits_of(&[vec![1], vec![], vec![1]]).is_err());
}
