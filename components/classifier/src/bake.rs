//! How a release gets in. The host (`palisade bake`) drives the core module, before it becomes a component:
//!
//! 1. `palisade_bake_reserve(manifest, model, tokenizer)` takes the three files' lengths and returns where to write
//!    them, one after the other;
//! 2. `palisade_bake_load()` reads them and returns 0, or else the length of the message at `palisade_bake_message()`;
//!    after a trap, `palisade_bake_panic()` is the length of the panic's message at the same place;
//! 3. `palisade_bake_seal()` ends baking; then wizer takes the snapshot.
//!
//! Wizer removes `palisade_bake_seal`; the others are unreachable in a component, which exports only what WIT names.
#![allow(unsafe_code, reason = "exports of the core module have fixed names, and hand out addresses")]

use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};

use palisade_core::{Classifier, ReleaseFiles};

use crate::allocator::BAKING;

/// The release, once baked.
pub(crate) static CLASSIFIER: OnceLock<Classifier> = OnceLock::new();

struct Input {
    bytes: Vec<u8>,
    manifest: usize,
    model: usize,
}

static INPUT: Mutex<Option<Input>> = Mutex::new(None);
static MESSAGE: Mutex<String> = Mutex::new(String::new());

#[unsafe(no_mangle)]
extern "C" fn palisade_bake_reserve(manifest: usize, model: usize, tokenizer: usize) -> *mut u8 {
    wit_bindgen::rt::run_ctors_once();
    std::panic::set_hook(Box::new(|panic| {
        set_message(panic.to_string());
    }));
    let mut input = Input { bytes: vec![0; manifest + model + tokenizer], manifest, model };
    let start = input.bytes.as_mut_ptr();
    *INPUT.lock().unwrap_or_else(PoisonError::into_inner) = Some(input);
    start
}

#[unsafe(no_mangle)]
extern "C" fn palisade_bake_load() -> usize {
    let input = INPUT.lock().unwrap_or_else(PoisonError::into_inner).take();
    match load(input) {
        Ok(classifier) => {
            let _ = CLASSIFIER.set(classifier);
            0
        }
        Err(message) => set_message(message),
    }
}

fn load(input: Option<Input>) -> Result<Classifier, String> {
    let input = input.ok_or("palisade_bake_reserve was not called")?;
    let (manifest, rest) = input.bytes.split_at(input.manifest);
    let (model, tokenizer) = rest.split_at(input.model);
    let unplanned = Classifier::read(&ReleaseFiles { manifest, model, tokenizer }).map_err(|e| e.to_string())?;
    drop(input); // what planning allocates fills the place, and the snapshot stays dense
    unplanned.plan().map_err(|e| e.to_string())
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
