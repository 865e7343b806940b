//! The classifier component: WIT on one side, [`palisade_core`] on the other, and nothing in between.
//!
//! It imports nothing. As built it holds no release and answers `not-baked`; baking (see [`bake`]) puts one in and
//! takes a snapshot, so that an instance of the baked component starts with everything read and planned.
//!
//! It is built twice: with the encoder engine, and, as `palisade-classifier-tract`, with tract.

#[cfg(not(target_arch = "wasm32"))]
compile_error!("this crate is the inside of a component: build it with `cargo xtask component`");

#[cfg(all(feature = "encoder", feature = "tract"))]
compile_error!("one component has one engine: build each package by itself");

mod allocator;
mod bake;
mod bindings;
mod contract;
#[cfg(feature = "tract")]
mod entropy;

use bindings::exports::palisade::moderation::classifier as wit;
use palisade_core::Classifier;

struct Component;

impl wit::Guest for Component {
    fn describe() -> Result<wit::Description, wit::Error> {
        baked().map(contract::description)
    }

    fn classify(texts: Vec<String>, options: wit::Options) -> Result<wit::Classification, wit::Error> {
        let answer = baked()?.classify(&texts, &contract::options(options));
        answer.map(contract::classification).map_err(contract::error)
    }
}

fn baked() -> Result<&'static Classifier, wit::Error> {
    bake::CLASSIFIER.get().ok_or(wit::Error::NotBaked)
}
