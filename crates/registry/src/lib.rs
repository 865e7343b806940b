//! Releases as immutable, versioned artefacts in a folder or an S3-compatible store.
//!
//! A **version** of a model is a release's files and a manifest of their digests. It is written once, the manifest last, so that a
//! half-written one is invisible. An **alias** (`champion`, `challenger`, …) points at a version and moves by compare-and-swap: of
//! two who move it at once, one is told. What happens is in a **log** that is only added to. Where everything is, is told in
//! `layout.rs`.
//!
//! [`Registry`] reads, [`Writer`] writes. Signatures are the caller's: [`Writer::publish`] and [`Registry::pull`] take a function
//! that makes or checks one.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), palisade_registry::Error> {
//! use palisade_registry::{By, Location, Reference, ReleaseFiles, Writer, PublishOptions};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let release = folder.path();
//! # std::fs::write(release.join("release.json"), r#"{"name": "tiny", "version": "1.0.0"}"#).unwrap();
//! let registry = Writer::open(&Location::parse("memory://")?).await?;
//! let by = By { who: "ann".into(), why: "first release".into() };
//! let published = registry.publish(&ReleaseFiles::folder(release)?, PublishOptions::by(&by)).await?;
//! let manifest = published.manifest;
//! registry.promote(&manifest.name, &manifest.version, &"champion".parse()?, &by, None).await?;
//! let champion = registry.resolve(&Reference::parse("tiny@champion")?).await?;
//! assert_eq!(champion.version.as_str(), "1.0.0");
//! # Ok(()) }
//! ```

mod aliases;
mod diff;
mod digest;
mod documents;
mod draft;
mod error;
mod gc;
mod history;
pub mod key;
mod layout;
mod list;
mod location;
mod lock;
mod manifest;
pub mod mlflow;
mod names;
mod profile;
mod publish;
mod pull;
mod registry;
mod release;
mod reopen;
mod retire;
mod s3;
mod sign;
pub mod signature;
mod store;
pub mod tls;
pub mod trust;
mod verify;
mod writer;

pub use aliases::Promoted;
pub use diff::{Change, Diff, Thresholds};
pub use digest::{Digest, Time};
pub use documents::{
    ALIAS_SCHEMA, DOCUMENT_BYTES_MAX, EVENT_SCHEMA, Event, MANIFEST_SCHEMA, Move, Pointer, Previous, Retired,
};
pub use error::{Error, Result};
pub use gc::{Collected, GcOptions, Leftover, Outcome};
pub use history::History;
pub use list::{Model, Problem, Shown};
pub use location::{Limits, Location};
pub use manifest::{Data, FILE_BYTES_MAX, FILES_MAX, File, Lineage, Manifest};
pub use names::{AliasName, FileName, ModelName, Reference, Target, Version};
pub use publish::{Progress, PublishOptions, Published, Sign, Step};
pub use pull::{PullOptions, Pulled, Trust, Unverified};
pub use registry::{Registry, Resolution, Resolved};
pub use release::ReleaseFiles;
pub use reopen::reopen;
pub use store::Etag;
pub use verify::Verified;
pub use writer::{By, Writer};
