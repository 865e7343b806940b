//! What can go wrong between a file and a score, by what the caller does next.

use std::path::PathBuf;

use crate::bindings;

/// Errors of this library. Each message names the file or the limit, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("{path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is no artefact for this host.
    #[error("{path}: {problem}", path = path.display())]
    NotAnArtefact {
        /// The file.
        path: PathBuf,
        /// What it is instead, and what to do.
        problem: String,
    },
    /// The release cannot be baked.
    #[error("{path}: {problem}", path = path.display())]
    Bake {
        /// Folder of the release.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A call took longer than its limit and was stopped.
    #[error("took longer than {limit_ms} ms and was stopped; allow more with --call-ms-max, or send shorter texts")]
    Deadline {
        /// The limit.
        limit_ms: u64,
    },
    /// An instance wanted more memory than its limit and was stopped.
    #[error("the component wants more than {limit_mib} MiB of memory; allow more with --memory-mib-max")]
    Memory {
        /// The limit.
        limit_mib: u64,
    },
    /// The classifier refused the call.
    #[error("{}", describe_refusal(.0))]
    Refused(bindings::Error),
    /// The component, wasmtime or the native engine failed in a way that no input should cause.
    #[error("the classifier failed: {0}")]
    Fault(String),
}

fn describe_refusal(error: &bindings::Error) -> String {
    match error {
        bindings::Error::UnknownLabel(name) => {
            format!("the release has no label {name:?}; `palisade inspect` lists its labels")
        }
        bindings::Error::DuplicateLabel(name) => format!("label {name:?} is asked for twice"),
        bindings::Error::TooManyTexts(e) => format!("{} texts in one call; at most {} are allowed", e.given, e.limit),
        bindings::Error::BatchTooLarge(e) => {
            format!("{} bytes of text in one call; at most {} are allowed", e.given, e.limit)
        }
        bindings::Error::NotBaked => "the component holds no release; make one that does with `palisade bake`".into(),
        bindings::Error::Engine(message) => format!("the engine failed: {message}"),
    }
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
