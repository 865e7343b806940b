//! The discovery document (Google's format `discovery#restDescription`), from which Google's clients make their methods and
//! every later URL.

use crate::{Request, Response, Settings};

const DOCUMENT: &str = include_str!("discovery.json");

/// Answers `GET /$discovery/rest?version=v1alpha1`.
pub(crate) fn answer(request: &Request<'_>, settings: &Settings) -> Response {
    if request.query("version").is_some_and(|version| version != "v1alpha1") {
        return super::Error::invalid("Only version=v1alpha1 is served.").response();
    }
    // The address was checked to have no character that JSON escapes.
    Response::new(200, super::JSON, DOCUMENT.replace("{{base_url}}", &settings.base_url(request)))
}
