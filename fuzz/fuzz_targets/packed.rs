//! A damaged packed model is refused or scores something: it does not panic, and with a sanitizer, nothing is read outside it.
//!
//! The input is a list of changes to one of a few tiny models that are whole, which this file writes as `crates/encoder/src/packed.rs`
//! says: most bytes of a real model are weights, and no change of them leads anywhere new.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use palisade_encoder::{Blob, Kernel, Packed};

const HEADER_BYTES: usize = 128;
/// Bytes of a change: where, as a little-endian number, and what.
const CHANGE_BYTES: usize = 4;

/// The header's fields, in its order, behind the magic number, the version and the length.
#[derive(Clone, Copy)]
struct Fields {
    layers: u32,
    width: u32,
    heads: u32,
    inner: u32,
    labels: u32,
    positions: u32,
    vocabulary: u32,
    activation: u32,
    pooling: u32,
    pooler: u32,
}

/// The smallest of all, and some with what kernels do at the ends of rows.
const MODELS: [Fields; 4] = [
    Fields {
        layers: 1, width: 8, heads: 1, inner: 8, labels: 1, positions: 16, vocabulary: 8, activation: 0, pooling: 0,
        pooler: 0,
    },
    Fields {
        layers: 2, width: 24, heads: 3, inner: 40, labels: 3, positions: 16, vocabulary: 8, activation: 1, pooling: 1,
        pooler: 4,
    },
    Fields {
        layers: 1, width: 64, heads: 2, inner: 72, labels: 17, positions: 8, vocabulary: 8, activation: 2, pooling: 0,
        pooler: 1,
    },
    Fields {
        layers: 1, width: 104, heads: 13, inner: 16, labels: 2, positions: 8, vocabulary: 8, activation: 3, pooling: 1,
        pooler: 0,
    },
];
/// Word pieces of all of them, with the ids 2 to 6; 0 begins and 1 ends a text, 7 is unknown.
const PIECES: [&str; 5] = ["a", "un", "##b", "##你", "!"];
const TEXTS: [&str; 3] = ["a unb! 你 ab你", "", "unbbbbbbbbb a a a a a a a a a a a a a"];

static BASES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let bases: Vec<_> = MODELS.iter().map(tiny).collect();
    for base in &bases {
        let packed = Packed::new(Blob::from(base.as_slice())).expect("the layout changed: write it as packed.rs does");
        let tokens = packed.encode(TEXTS[0], 8);
        assert!(packed.logits(&tokens.ids).unwrap().iter().all(|logit| logit.is_finite()));
    }
    bases
});

/// A section: its bytes up to a multiple of 16.
fn put(model: &mut Vec<u8>, section: impl IntoIterator<Item = u8>) {
    model.extend(section);
    model.resize(model.len().next_multiple_of(16), 0);
}

fn tiny(fields: &Fields) -> Vec<u8> {
    let &Fields { layers, width, heads, inner, labels, positions, vocabulary, activation, pooling, pooler } = fields;
    let mut model = vec![0; HEADER_BYTES];
    let mut state = 1_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes = |model: &mut Vec<u8>, count: u32| put(model, (0..count).map(|_| random()));
    let floats = |model: &mut Vec<u8>, count: u32, value: f32| {
        put(model, (0..count).flat_map(|i| (value + i as f32 / 1024.0).to_le_bytes()));
    };
    let norm = |model: &mut Vec<u8>| [1.0, 0.0].into_iter().for_each(|value| floats(model, width, value));
    bytes(&mut model, vocabulary * width);
    floats(&mut model, vocabulary, 0.01);
    put(&mut model, (0..positions * width).flat_map(|i| (0x2000 + (i % 512) as u16).to_le_bytes()));
    norm(&mut model);
    for _ in 0..layers {
        let mut linear = |model: &mut Vec<u8>, inputs: u32, outputs: u32| {
            bytes(model, inputs * outputs.next_multiple_of(16));
            [0.01, 0.5, 0.1].into_iter().for_each(|value| floats(model, outputs, value));
        };
        linear(&mut model, width, 3 * width);
        linear(&mut model, width, width);
        norm(&mut model);
        linear(&mut model, width, inner);
        linear(&mut model, inner, width);
        norm(&mut model);
    }
    if pooler > 0 {
        floats(&mut model, width * width, 0.01);
        floats(&mut model, width, 0.1);
    }
    floats(&mut model, labels * width, 0.02);
    floats(&mut model, labels, 0.0);

    let (pieces, slots) = (PIECES.len() as u32, 8);
    let piece_bytes: u32 = PIECES.iter().map(|piece| piece.len() as u32).sum();
    let mut table = [0_u32; 8];
    for (place, piece) in (1..).zip(PIECES) {
        let hash = piece.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let free = (0..slots).map(|step| ((hash + step) % slots) as usize).find(|&slot| table[slot] == 0);
        table[free.unwrap()] = place;
    }
    let starts = PIECES.iter().scan(0, |end, piece| {
        *end += piece.len() as u32;
        Some(*end)
    });
    put(&mut model, table.into_iter().flat_map(u32::to_le_bytes));
    put(&mut model, [0].into_iter().chain(starts).flat_map(u32::to_le_bytes));
    put(&mut model, (2..2 + pieces).flat_map(u32::to_le_bytes));
    put(&mut model, PIECES.iter().flat_map(|piece| piece.bytes()));

    let epsilon = 1e-5_f32.to_bits();
    let shape = [layers, width, heads, inner, labels, positions, vocabulary, epsilon];
    let table = [pieces, piece_bytes, slots, 5, 7, 0, 1, activation, pooling, pooler];
    let own = [u32::from_le_bytes(*b"PLSD"), 2, model.len() as u32];
    let header = own.into_iter().chain(shape).chain(table).flat_map(u32::to_le_bytes);
    model.iter_mut().zip(header).for_each(|(byte, field)| *byte = field);
    model
}

fuzz_target!(|data: &[u8]| {
    let Some((&[first, cut_low, cut_high], changes)) = data.split_first_chunk() else {
        return;
    };
    let mut model = BASES[usize::from(first) % BASES.len()].clone();
    for change in changes.chunks_exact(CHANGE_BYTES) {
        let [low, middle, high, value] = change else { continue };
        let place = u32::from_le_bytes([*low, *middle, *high, 0]) as usize % model.len();
        model[place] = *value;
    }
    let cut = usize::from(u16::from_le_bytes([cut_low, cut_high])) % model.len();
    model.truncate(model.len() - cut);
    if first >= 128 {
        let length = (model.len() as u32).to_le_bytes();
        model.iter_mut().skip(8).zip(length).for_each(|(byte, field)| *byte = field);
    }
    let Ok(packed) = Packed::new(Blob::from(model.as_slice())) else {
        return;
    };
    for kernel in Kernel::available() {
        let packed = packed.clone().with_kernel(kernel);
        for text in TEXTS {
            let tokens = packed.encode(text, 8);
            let _ = packed.logits(&tokens.ids);
        }
        let _ = packed.logits(&[packed.id_max()]);
        let _ = packed.logits(&[0, 7, u32::MAX]);
    }
});
