//! How the classifier behaves with the encoder engine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests read the release")]

use palisade_core::EngineKind;

mod behaviour;

const ENGINE: EngineKind = EngineKind::Encoder;
