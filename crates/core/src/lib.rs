//! Text to tokens to scores, as a pure function of (release, text, options).
//!
//! This crate has no clock, files, network or randomness, and compiles to WebAssembly and natively alike. It knows
//! nothing of WIT, HTTP or command lines: those are adapters around [`Classifier`].
//!
//! Read [`classifier`] first; it calls the steps in order:
//! [`release`] (what is inside) → [`normalise`] (spelling tricks undone) → [`engine`] (text to [`tokens`], and these to logits), and
//! [`sentences`] for spans.
//!
//! ```no_run
//! use palisade_core::{Classifier, Options, ReleaseFiles};
//!
//! let folder = std::path::Path::new("models/english-toxicity");
//! let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
//! let classifier = Classifier::from_release(&ReleaseFiles {
//!     manifest: &read("release.json"),
//!     model: &read("model.onnx"),
//!     tokenizer: &read("tokenizer.json"),
//! })?;
//! let answer = classifier.classify(&["You are all very kind."], &Options::default())?;
//! assert!(answer.results[0].scores[0] < 0.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(any(feature = "encoder", feature = "tract"))]
pub mod classifier;
mod emoji;
#[cfg(any(feature = "encoder", feature = "tract"))]
pub mod engine;
#[cfg(feature = "tract")]
pub mod model;
pub mod normalise;
pub mod release;
mod respell;
#[cfg(any(feature = "encoder", feature = "tract"))]
pub mod sentences;
#[cfg(any(feature = "encoder", feature = "tract"))]
pub mod tokens;

#[cfg(feature = "tract")]
pub use classifier::Unplanned;
#[cfg(any(feature = "encoder", feature = "tract"))]
pub use classifier::{Classification, Classifier, ClassifyError, Options, Span, TextResult, Word};
#[cfg(any(feature = "encoder", feature = "tract"))]
pub use engine::EngineKind;
#[cfg(feature = "encoder")]
pub use palisade_encoder::Blob;
pub use release::{Label, Limits, Manifest, Release, ReleaseError, ReleaseFiles};
