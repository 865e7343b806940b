//! A packed model that was changed is refused, or scores something: it never panics.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests read the release")]

use std::path::Path;
use std::sync::LazyLock;

use palisade_encoder::{Blob, Packed, PackedError, pack};
use proptest::collection::vec;
use proptest::prelude::*;

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    pack(&read("model.onnx"), &read("tokenizer.json")).unwrap().bytes().to_vec()
});

/// Reads changed bytes, and scores a text where they are still a model.
fn try_all(bytes: &[u8]) -> Result<(), PackedError> {
    let packed = Packed::new(Blob::from(bytes))?;
    let tokens = packed.encode("Unbelievable! 你好 naïve", 16);
    let _ = packed.logits(&tokens.ids);
    let _ = packed.logits(&[packed.id_max()]);
    Ok(())
}

#[test]
fn every_field_of_the_header_is_checked_or_harmless() {
    for place in (0..128).step_by(4) {
        for value in [0, 1, 7, 8, 127, 1 << 16, 1 << 24, u32::MAX / 2, u32::MAX] {
            let mut bytes = BYTES.clone();
            bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
            let result = try_all(&bytes);
            match place {
                0 => assert_eq!(result, Err(PackedError::NotPacked)),
                4 => assert_eq!(result, Err(PackedError::Version(value))),
                8 | 84.. if bytes != *BYTES => {
                    assert!(matches!(result, Err(PackedError::Damaged(_))), "{place} {value}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_cut_model_is_refused() {
    for length in [0, 1, 64, 127, 128, 1000, BYTES.len() / 2, BYTES.len() - 16, BYTES.len() - 1] {
        let mut bytes = BYTES[..length].to_vec();
        assert!(try_all(&bytes).is_err(), "cut to {length}");
        if length >= 128 {
            bytes[8..12].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
            assert!(matches!(try_all(&bytes), Err(PackedError::Damaged(_))), "cut to {length}");
        }
    }
}

#[test]
fn ids_and_lengths_that_the_model_does_not_know_are_refused() {
    let packed = Packed::new(Blob::from(BYTES.as_slice())).unwrap();
    let shape = packed.shape();
    let unknown = u32::try_from(shape.vocabulary).unwrap();
    assert_eq!(
        packed.logits(&[2, unknown, 3]).unwrap_err().to_string(),
        format!("token id {unknown} is outside the model's {unknown}")
    );
    assert!(packed.logits(&[u32::MAX]).is_err() && packed.logits(&[]).is_err());
    assert!(packed.logits(&vec![5; shape.positions]).is_ok());
    assert!(packed.logits(&vec![5; shape.positions + 1]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bits_never_panic(flips in vec((any::<prop::sample::Index>(), 0..8u32), 1..200), near_end in any::<bool>()) {
        let mut bytes = BYTES.clone();
        // The table of word pieces is at the end.
        let start = if near_end { bytes.len() - 400_000 } else { 128 };
        for (place, bit) in flips {
            let place = start + place.index(bytes.len() - start);
            bytes[place] ^= 1 << bit;
        }
        let _ = try_all(&bytes);
    }
}
