//! Why nothing was exported or imported.

use std::path::{Path, PathBuf};

use reqwest::Url;

/// Why nothing was exported or imported, by what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MlflowError {
    /// Address, credentials or names cannot be used: correct them.
    #[error("MLflow: {0}")]
    Settings(String),
    /// No answer: try again when the server is there. What was begun is continued then.
    #[error(
        "MLflow at {place}: no answer: {problem}; is the server up, and the address right? run the command again, \
        it goes on where it stopped"
    )]
    Unreachable {
        /// The address that was asked.
        place: String,
        /// What happened.
        problem: String,
    },
    /// The server does not know or permit us.
    #[error(
        "MLflow at {place}: refused with {status}; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and \
        MLFLOW_TRACKING_PASSWORD, to credentials that may do this"
    )]
    Denied {
        /// The address that was asked.
        place: String,
        /// HTTP's status.
        status: u16,
    },
    /// The server has no such thing.
    #[error("MLflow: there is no {0}")]
    NotFound(String),
    /// The server refused a request.
    #[error("MLflow at {place}: refused with {status}: {message}")]
    Refused {
        /// The address that was asked.
        place: String,
        /// HTTP's status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The answer is not one of MLflow's API.
    #[error(
        "MLflow at {place}: the answer is not MLflow's: {problem}; expected a server of MLflow 2 or 3 at this address"
    )]
    Unexpected {
        /// The address that was asked.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The model version has not the one file that is looked for.
    #[error("MLflow: {0}")]
    Artefacts(String),
    /// A file here cannot be read or written.
    #[error("{}: {problem}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        problem: String,
    },
}

pub(super) type Result<T> = std::result::Result<T, MlflowError>;

pub(super) fn unreachable(url: &Url, error: reqwest::Error) -> MlflowError {
    // With the causes: reqwest's own words are "error sending request".
    let error = error.without_url();
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let problem = causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"));
    MlflowError::Unreachable { place: place(url), problem }
}

/// An address without its query.
pub(super) fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

pub(super) fn file_error(path: &Path, error: &std::io::Error) -> MlflowError {
    MlflowError::File { path: path.to_owned(), problem: error.to_string() }
}
