//! The registry's own documents: JSON objects with a schema, read by one rule.
//!
//! A later schema is refused, unknown members of a known one are ignored.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::{Digest, Time};
use crate::error::{Error, Result};
use crate::names::{AliasName, ModelName, Version};

/// Longest document that is read or written, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 1 << 20;

/// The manifest's schema, and a tombstone's.
pub const MANIFEST_SCHEMA: &str = "palisade-registry/1";
/// A pointer's schema.
pub const ALIAS_SCHEMA: &str = "palisade-alias/1";
/// An event's schema.
pub const EVENT_SCHEMA: &str = "palisade-event/1";

/// Names in a version's folder that are the registry's own.
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const DRAFT: &str = "draft.json";
pub(crate) const SIGNATURE: &str = "signature";
pub(crate) const RETIRED: &str = "retired.json";
/// What `palisade-core` calls the manifest: its SHA-256 is the release's digest.
pub(crate) const RELEASE: &str = "release.json";

/// Whether a file of a version cannot have this name, because the registry's own objects do.
pub(crate) fn is_reserved(name: &str) -> bool {
    [MANIFEST, DRAFT, SIGNATURE, RETIRED].contains(&name)
}

/// Where an alias points: `aliases/<alias>.json`, which moves by compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pointer {
    /// [`ALIAS_SCHEMA`].
    pub schema: String,
    /// The alias.
    pub alias: AliasName,
    /// The version that it points at.
    pub version: Version,
    /// SHA-256 of that version's manifest.
    pub digest: Digest,
    /// The release's digest, which comes with every score.
    pub release_digest: Digest,
    /// Number of the move, from 1.
    pub sequence: u64,
    /// What moved it.
    pub moved: Move,
    /// Who moved it.
    pub who: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When.
    pub when: Time,
    /// Where it pointed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Random, so that no two moves are the same bytes.
    pub id: String,
}

/// How an alias moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Move {
    /// To a version that was named.
    Promoted,
    /// Back to where it was before.
    RolledBack,
}

impl Move {
    /// The kind of the move's event.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// Where an alias pointed before it moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Previous {
    /// The version.
    pub version: Version,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// The release's digest.
    pub release_digest: Digest,
    /// The number of that move.
    pub sequence: u64,
}

/// That a version must not be promoted any more: `retired.json` in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// [`EVENT_SCHEMA`].
    pub schema: String,
    /// Who retired it.
    pub who: String,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// When.
    pub when: Time,
}

/// An entry of a model's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`EVENT_SCHEMA`].
    pub schema: String,
    /// `published`, `promoted`, `rolled-back`, `retired`, or another word: `[a-z][a-z0-9-]{0,31}`.
    pub kind: String,
    /// The model.
    pub model: ModelName,
    /// The version that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// When it happened.
    pub when: Time,
    /// Who did it.
    pub who: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The rest, by kind.
    #[serde(default)]
    pub details: Map<String, Value>,
}

/// As it is stored: indented, with a line end, so that people can read it with any tool.
pub(crate) fn to_bytes(document: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(document)
        .map_err(|e| Error::Invalid(format!("a document of the registry cannot be written as JSON: {e}")))?;
    bytes.push(b'\n');
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        let length = bytes.len();
        return Err(Error::Invalid(format!("a document is {length} bytes long; {DOCUMENT_BYTES_MAX} are allowed")));
    }
    Ok(bytes)
}

/// Reads a document of `schema`; `object` is its name in errors.
pub(crate) fn parse<T: DeserializeOwned>(object: &str, bytes: &[u8], schema: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Schema {
        schema: String,
    }

    let corrupt = |problem: String| Error::Corrupt {
        object: object.to_owned(),
        problem,
        remedy: "restore it from a copy of the store, or ask who wrote it".to_owned(),
    };
    let not_one = |e: &dyn std::fmt::Display| corrupt(format!("it is no document of schema {schema}: {e}"));
    let Schema { schema: found } = serde_json::from_slice(bytes).map_err(|e| not_one(&e))?;
    if found != schema {
        let number = |schema: &str| {
            schema.rsplit_once('/').and_then(|(kind, n)| Some((kind.to_owned(), n.parse::<u32>().ok()?)))
        };
        return Err(match (number(&found), number(schema)) {
            (Some((kind, found_number)), Some((known_kind, known))) if kind == known_kind && found_number > known => {
                Error::Later { object: object.to_owned(), schema: found, known: schema.to_owned() }
            }
            _ => not_one(&format!("its schema is {found:?}")),
        });
    }
    serde_json::from_slice(bytes).map_err(|e| not_one(&e))
}
