//! What can go wrong, by what the caller does next.

use std::path::PathBuf;

/// Why an operation of the registry did not happen. The message names the object, what was expected, and what to do; what the
/// store or the file system said is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name, a URL, a release or an option cannot be: change it.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{what}; {remedy}")]
    NotFound {
        /// What is not there.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The version exists with other content: raise the version.
    #[error(
        "{object} exists already with other content ({differs}): versions are immutable; raise the version in release.json"
    )]
    AlreadyExists {
        /// The version's manifest.
        object: String,
        /// What differs.
        differs: String,
    },
    /// Somebody else's unfinished work is in the way: wait for it, or sweep it up.
    #[error(
        "{object} is another publisher's, or left by one that was interrupted ({found}): wait until it is done, or remove \
         leftovers with `palisade model gc`, then publish again"
    )]
    Conflict {
        /// The object in the way.
        object: String,
        /// What it is.
        found: String,
    },
    /// An alias is not where it was expected to be: look at it, then decide again.
    #[error(
        "alias {alias} was expected at {expected}, but is now at {now}: somebody else moved it; look at `palisade model \
         history`, then try again"
    )]
    Moved {
        /// The alias, as `model@alias`.
        alias: String,
        /// Where it should have been.
        expected: String,
        /// Where it is.
        now: String,
    },
    /// The version is retired: take another.
    #[error("{version} was retired by {who} ({why}), and a retired version cannot be promoted: promote another")]
    Retired {
        /// The version, as `model@version`.
        version: String,
        /// Who retired it.
        who: String,
        /// Why.
        why: String,
    },
    /// The version is still used: move its aliases first.
    #[error("{version} is still where {aliases} points: promote another version there, then retire it")]
    InUse {
        /// The version, as `model@version`.
        version: String,
        /// The aliases.
        aliases: String,
    },
    /// Somebody else holds it for the moment: try again.
    #[error("{object} is busy: {reason}; try again in a while")]
    Busy {
        /// What is held.
        object: String,
        /// By whom.
        reason: String,
    },
    /// The store ignores conditions on writes, so that publishers would overwrite each other. Reading works.
    #[error("{url} is refused for writing: {found}. {remedy}")]
    Unconditional {
        /// The store.
        url: String,
        /// What it did.
        found: String,
        /// The setting to change.
        remedy: String,
    },
    /// An object is not what it must be: cut short, changed, or not the registry's.
    #[error("{object}: {problem}; {remedy}")]
    Corrupt {
        /// The object or the file.
        object: String,
        /// What is wrong, and what was expected.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// An object of a later format.
    #[error("{object} has the schema {schema}, and this program knows {known}: made by a later palisade; upgrade")]
    Later {
        /// The object.
        object: String,
        /// Its schema.
        schema: String,
        /// The schema that is read.
        known: String,
    },
    /// The caller's check of signatures said no. Nothing was fetched.
    #[error("{version} is not trusted: {reason}")]
    Untrusted {
        /// The version, as `model@version`.
        version: String,
        /// What the check said.
        reason: String,
    },
    /// The store knows no such credentials, or does not let them.
    #[error("{object}: the store does not allow these credentials to {doing}: check them and the bucket's policy")]
    Denied {
        /// The object.
        object: String,
        /// What was tried.
        doing: &'static str,
        /// What the store said.
        source: object_store::Error,
    },
    /// Nobody gave credentials, and this is no machine at AWS that has some of its own.
    #[error(
        "{object}: cannot {doing}: there are no credentials for the store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
         AWS_PROFILE"
    )]
    NoCredentials {
        /// The object.
        object: String,
        /// What was tried.
        doing: &'static str,
        /// What the last place said that was asked for some: the metadata service of a machine at AWS.
        source: object_store::Error,
    },
    /// The store failed, or did not answer in time: try again.
    #[error("{object}: cannot {doing}: the store failed or did not answer in time; check its address, then try again")]
    Store {
        /// The object.
        object: String,
        /// What was tried.
        doing: &'static str,
        /// What happened.
        source: object_store::Error,
    },
    /// A file or folder of this machine.
    #[error("{}: cannot {doing}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::NoCredentials { .. } | Self::Busy { .. })
    }

    pub(crate) fn no_registry(folder: &std::path::Path) -> Self {
        Self::NotFound {
            what: format!("there is no registry at {}: no such folder", folder.display()),
            remedy: "check the address, or publish a release there, which makes it".to_owned(),
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, doing: &'static str, source: std::io::Error) -> Self {
        Self::File { path: path.into(), doing, source }
    }
}

/// Result of the registry's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
