//! A damaged packed model is refused or scores something: it does not panic, and with a sanitizer, nothing is read outside it.
//!
//! The input is a list of changes to one of a few small models: most bytes of a real one are weights, and no change of them leads
//! anywhere new. Kernels may differ here: what makes their results the same is a bound on weights, which a change may break.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use palisade_encoder::{Blob, Kernel, Packed, pack};

/// One of each kind: GELU and its approximation, ReLU, a pooler, a linear layer before the head, a mean.
const MODELS: [&str; 6] = ["bert-14", "bert-gelu-new-14", "bert-relu-17", "distilbert-14", "electra-17", "mean-14"];
/// The header, where half of all changes lie; the other half lie anywhere.
const HEADER_BYTES: usize = 128;
/// Bytes of a change: where, as a little-endian number, and what.
const CHANGE_BYTES: usize = 4;
const TOKENS_MAX: usize = 8;

static MODELS_PACKED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/encoder/tests/fixtures");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let tokenizer = read("tokenizer.json");
    MODELS.iter().map(|name| pack(&read(&format!("{name}.onnx")), &tokenizer).unwrap().bytes().to_vec()).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((&[first, cut_low, cut_high], changes)) = data.split_first_chunk() else {
        return;
    };
    let mut model = MODELS_PACKED[usize::from(first & 127) % MODELS.len()].clone();
    for change in changes.chunks_exact(CHANGE_BYTES) {
        let [low, middle, high, value] = change else { continue };
        let place = u32::from_le_bytes([*low, *middle, high & 127, 0]) as usize;
        let end = if *high > 127 { HEADER_BYTES } else { model.len() };
        model[place % end] = *value;
    }
    let cut = usize::from(u16::from_le_bytes([cut_low, cut_high])) % model.len();
    model.truncate(model.len() - cut);
    if first > 127 {
        let length = (model.len() as u32).to_le_bytes();
        model.iter_mut().skip(8).zip(length).for_each(|(byte, field)| *byte = field);
    }
    let Ok(packed) = Packed::new(Blob::from(model.as_slice())) else {
        return;
    };
    for kernel in Kernel::available() {
        let packed = packed.clone().with_kernel(kernel);
        for text in ["Unbelievable! 你好 naïve", "", "you are all so very very kind to each other today"] {
            let tokens = packed.encode(text, TOKENS_MAX);
            assert!(tokens.ids.len() <= TOKENS_MAX);
            let _ = packed.logits(&tokens.ids);
        }
        let _ = packed.logits(&[packed.id_max()]);
        let _ = packed.logits(&[0, 7, u32::MAX]);
    }
});
