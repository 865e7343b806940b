//! How a release gets in. The host (`palisade bake`) drives the core module, before it becomes a component:
//!
//! 1. `palisade_bake_reserve(part, length)` returns where to write a part of the release, for each in turn. The encoder engine
//!    takes the manifest (0) and the packed model (1), tract the manifest (0), the model (1) and the tokenizer (2);
//! 2. `palisade_bake_load_packed()` (encoder) or `palisade_bake_load()` (tract) reads them and returns 0, or else the length of
//!    the message at `palisade_bake_message()`; after a trap, `palisade_bake_panic()` is the length of the panic's message at
//!    the same place;
//! 3. `palisade_bake_seal()` ends baking; then wizer takes the snapshot.
//!
//! Wizer removes `palisade_bake_seal`; the others are unreachable in a component, which exports only what WIT names.
#![allow(unsafe_code, reason = "exports of the core module have fixed names, and hand out addresses")]

use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};

use palisade_core::Classifier;

use crate::allocator::BAKING;

/// The release, once baked.
pub(crate) static CLASSIFIER: OnceLock<Classifier> = OnceLock::new();

/// What the host hands over.
#[cfg(feature = "encoder")]
#[derive(Default)]
struct Input {
    manifest: Vec<u8>,
    packed: palisade_core::Blob,
}

#[cfg(feature = "encoder")]
impl Input {
    fn reserve(&mut self, part: u32, length: usize) -> *mut u8 {
        if part == 0 {
            self.manifest = vec![0; length];
            return self.manifest.as_mut_ptr();
        }
        self.packed = palisade_core::Blob::zeroed(length);
        self.packed.bytes_mut().as_mut_ptr()
    }

    /// The packed model stays where it is, and is read there from now on.
    fn load(self) -> Result<Classifier, String> {
        let manifest = palisade_core::Manifest::parse(&self.manifest).map_err(|e| e.to_string())?;
        Classifier::from_packed(manifest, self.packed).map_err(|e| e.to_string())
    }
}

/// What the host hands over.
#[cfg(feature = "tract")]
#[derive(Default)]
struct Input {
    manifest: Vec<u8>,
    model: Vec<u8>,
    tokenizer: Vec<u8>,
}

#[cfg(feature = "tract")]
impl Input {
    fn reserve(&mut self, part: u32, length: usize) -> *mut u8 {
        let place = match part {
            0 => &mut self.manifest,
            1 => &mut self.model,
            _ => &mut self.tokenizer,
        };
        *place = vec![0; length];
        place.as_mut_ptr()
    }

    fn load(self) -> Result<Classifier, String> {
        let Self { manifest, model, tokenizer } = &self;
        let files = palisade_core::ReleaseFiles { manifest, model, tokenizer };
        let named = files.verify().map_err(|e| e.to_string())?;
        let unplanned = Classifier::read(named, &files).map_err(|e| e.to_string())?;
        drop(self); // what planning allocates fills the place, and the snapshot stays dense
        unplanned.plan().map_err(|e| e.to_string())
    }
}

static INPUT: Mutex<Option<Input>> = Mutex::new(None);
static MESSAGE: Mutex<String> = Mutex::new(String::new());

#[unsafe(no_mangle)]
extern "C" fn palisade_bake_reserve(part: u32, length: usize) -> *mut u8 {
    wit_bindgen::rt::run_ctors_once();
    std::panic::set_hook(Box::new(|panic| {
        set_message(panic.to_string());
    }));
    let mut input = INPUT.lock().unwrap_or_else(PoisonError::into_inner);
    input.get_or_insert_default().reserve(part, length)
}

#[cfg_attr(feature = "encoder", unsafe(export_name = "palisade_bake_load_packed"))]
#[cfg_attr(feature = "tract", unsafe(export_name = "palisade_bake_load"))]
extern "C" fn load() -> usize {
    let input = INPUT.lock().unwrap_or_else(PoisonError::into_inner).take();
    let classifier = input.ok_or_else(|| "palisade_bake_reserve was not called".to_owned()).and_then(Input::load);
    match classifier {
        Ok(classifier) => {
            let _ = CLASSIFIER.set(classifier);
            0
        }
        Err(message) => set_message(message),
    }
}

fn set_message(message: String) -> usize {
    let mut place = MESSAGE.lock().unwrap_or_else(PoisonError::into_inner);
    *place = message;
    place.len()
}

#[unsafe(no_mangle)]
extern "C" fn palisade_bake_message() -> *const u8 {
    MESSAGE.lock().unwrap_or_else(PoisonError::into_inner).as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn palisade_bake_panic() -> usize {
    MESSAGE.lock().unwrap_or_else(PoisonError::into_inner).len()
}

#[unsafe(no_mangle)]
extern "C" fn palisade_bake_seal() {
    drop(std::panic::take_hook());
    BAKING.store(false, Ordering::Relaxed);
}
