//! BERT-family encoder classifiers with int8 weights, as a pure function from text to logits.
//!
//! [`pack`] turns a release's files (ONNX, `tokenizer.json`) into one run of bytes; [`Packed::new`] checks such bytes
//! and reads them in place from then on, so that starting costs nothing. [`Packed::encode`] makes a text's token ids,
//! [`Packed::logits`] scores them.
//!
//! What can be packed: word, position and token-type embeddings; layers of attention and of feed-forward with GELU (in either
//! form), `ReLU` or tanh, each normalised behind its residual sum; the first token or the mean of all, with or without a pooler
//! (a linear layer and one of those functions); a linear head. That is BERT, `MiniLM`, `DistilBERT` and ELECTRA with the widths of
//! BERT, as `torch.onnx.export` writes them (both exporters), and what our training writes. Graphs are compared by what they
//! compute, not by names; [`ImportError`] names the nodes that do not fit. The tokenizer is BERT's, for texts without case.
//!
//! Every kernel and every platform gives the same bits: products of integers are exact in any order, and the float steps run in one
//! written order (`math.rs`). This crate knows nothing of releases, labels, limits or WIT.
//!
//! ```no_run
//! use palisade_encoder::{Packed, pack};
//!
//! let packed = Packed::new(pack(&std::fs::read("model.onnx")?, &std::fs::read("tokenizer.json")?)?)?;
//! let tokens = packed.encode("You are all very kind.", 256);
//! let logits = packed.logits(&tokens.ids)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(
    clippy::inline_always,
    reason = "what is inlined is compiled with the vectors of the kernel that it runs beside"
)]

mod attention;
mod blob;
mod forward;
mod import;
mod kernel;
mod lanes;
mod math;
mod onnx;
mod packed;
mod wordpiece;

pub use blob::Blob;
pub use forward::ScoreError;
pub use import::{ImportError, pack};
pub use kernel::Kernel;
pub use math::Activation;
pub use packed::{Packed, PackedError, Pooling, Shape};
pub use wordpiece::{Tokens, words};

/// What computes the scores, as `description.engine` names it.
pub const ENGINE: &str = "palisade-encoder 0.1 int8";
