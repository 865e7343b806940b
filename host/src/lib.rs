//! Palisade on one machine: runs the classifier component under wasmtime.
//!
//! The way in is [`Runtime`]: it holds wasmtime, loads a baked [`Artefact`] (compiled ahead of time, and kept), and
//! hands out [`Instance`]s, one a thread. [`Loaded::native`] does without wasmtime: it scores the model that lies in the artefact
//! in this process, to the same bits. [`bake`] makes an artefact out of a release. The command `palisade` is a thin
//! layer over this library; its commands are in [`commands`].
//!
//! This crate knows nothing about tokens or models: the component, or `palisade_core` in its place, does. It never logs a text.
//!
//! ```no_run
//! use palisade_host::{Artefact, Runtime, RuntimeLimits, bindings::Options};
//!
//! let runtime = Runtime::new(RuntimeLimits::default())?;
//! let loaded = runtime.load(&Artefact::read("target/release/palisade-default.wasm".as_ref())?)?;
//! let mut instance = loaded.instantiate()?;
//! let answer = instance.classify(&["You are all very kind."], &Options { labels: None, spans: false, words: false })?;
//! println!("{} gives {:?}", answer.release.name, answer.results[0].scores);
//! # Ok::<(), palisade_host::Error>(())
//! ```

pub mod artefact;
pub mod bake;
mod cache;
pub mod commands;
pub mod engine;
mod error;
mod golden;
pub mod input;
mod labelled;
mod loaded;
mod native;
pub mod ordered;
pub mod packed;
pub mod serve;
pub mod suite;
mod table;
mod trusting;

pub use artefact::Artefact;
pub use engine::{Runtime, RuntimeLimits};
pub use error::Error;
pub use loaded::{EngineKind, Instance, Loaded};

/// The contract's types and calls, as generated from `wit/`.
pub mod bindings {
    #[path = "generated.rs"]
    mod generated;
    pub use generated::exports::palisade::moderation::classifier::*;
    pub use generated::{Moderation, ModerationPre};

    #[path = "platform.rs"]
    pub(crate) mod platform;
}
