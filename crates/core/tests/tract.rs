//! How the classifier behaves with tract.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests read the release")]

use palisade_core::EngineKind;

mod behaviour;

const ENGINE: EngineKind = EngineKind::Tract;
