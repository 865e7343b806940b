//! Where everything is, below the registry's prefix:
//!
//! ```text
//! models/<model>/versions/<version>/manifest.json    written last: only then the version exists
//! models/<model>/versions/<version>/<file>           the files that it names, written once
//! models/<model>/versions/<version>/draft.json       the manifest while it is being published: whose turn it is
//! models/<model>/versions/<version>/signature        over all files and manifest.json; optional, can be replaced
//! models/<model>/versions/<version>/retired.json     where the version must not be promoted any more
//! models/<model>/aliases/<alias>.json                a pointer, which moves by compare-and-swap
//! models/<model>/events/<time>-<kind>-<id>.json      the log, one object an event
//! probes/<id>                                        of the test whether the store heeds conditions; deleted behind it
//! ```

use crate::digest::Time;
use crate::names::{AliasName, ModelName, Version};

pub(crate) const MODELS: &str = "models";
pub(crate) const PROBES: &str = "probes";

pub(crate) fn versions(model: &ModelName) -> String {
    format!("{MODELS}/{model}/versions")
}

pub(crate) fn version(model: &ModelName, version: &Version) -> String {
    format!("{MODELS}/{model}/versions/{version}")
}

pub(crate) fn file(model: &ModelName, version: &Version, name: &str) -> String {
    format!("{MODELS}/{model}/versions/{version}/{name}")
}

pub(crate) fn aliases(model: &ModelName) -> String {
    format!("{MODELS}/{model}/aliases")
}

pub(crate) fn alias(model: &ModelName, alias: &AliasName) -> String {
    format!("{MODELS}/{model}/aliases/{alias}.json")
}

pub(crate) fn events(model: &ModelName) -> String {
    format!("{MODELS}/{model}/events")
}

pub(crate) fn event(model: &ModelName, when: Time, kind: &str, id: &str) -> String {
    format!("{MODELS}/{model}/events/{}-{kind}-{id}.json", when.key())
}
