//! Signatures over the files of a release, in the format of OpenSSF model signing v1.0, with a key.
//!
//! The format is that of the Python package model-signing 1.x (<https://github.com/sigstore/model-transparency>), which
//! verifies what [`sign`] makes, and whose `sign key` makes what [`Bundle::verify`] verifies:
//!
//! 1. A Sigstore bundle v0.3 (<https://docs.sigstore.dev/about/bundle/>), JSON, whose `verificationMaterial` is the hint
//!    at a public key: the SHA-256 of its PEM.
//! 2. In it a DSSE envelope (<https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md>), whose one signature
//!    is over type and bytes of the payload.
//! 3. In that an in-toto statement v1 (<https://github.com/in-toto/attestation/tree/main/spec/v1>), with a predicate
//!    that lists every file with its SHA-256, in the order of the names, and a subject whose digest is the SHA-256 over
//!    these digests' bytes.
//!
//! Nothing of the statement is parsed before the signature over its bytes is found good ([`Bundle::verify`]). The
//! subject's name is no identity (model-signing writes the folder's): which release is signed says `manifest.json`,
//! which must be among the files, and whose name and version the caller compares. `ignore_paths` and `allow_symlinks`
//! of a statement loosen nothing here: the files that it lists must be those that are there, all but the signature
//! itself.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::key::{PrivateKey, PublicKey};

/// A signature may be this long; one over 1,000 files has some 250 KiB.
pub const SIGNATURE_BYTES_MAX: usize = 1 << 20;

/// The files of a release, by name, with their SHA-256: all but the signature.
pub type Digests = BTreeMap<String, [u8; 32]>;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
const METHOD: &str = "files";
const ALGORITHM: &str = "sha256";
/// What model-signing passes over unless told otherwise, and where the signature itself may lie.
const IGNORED: [&str; 5] = ["signature", ".git", ".gitattributes", ".github", ".gitignore"];
/// So many names are listed of each kind of difference.
const NAMES_SHOWN_MAX: usize = 5;
/// So many characters of a text of unknown origin get into a message.
const TEXT_SHOWN_MAX: usize = 100;

/// Why a signature does not hold. Messages go on after the words "the signature of MODEL".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// More bytes than any signature has.
    #[error("has {bytes} bytes, more than {SIGNATURE_BYTES_MAX}; expected a Sigstore bundle; sign the release again")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// Not a Sigstore bundle with a DSSE envelope.
    #[error("is no Sigstore bundle: {problem}; expected JSON of media type {MEDIA_TYPE}; sign the release again")]
    NotABundle {
        /// The parser's words.
        problem: String,
    },
    /// A bundle of another version.
    #[error(
        "has media type {found:?}; expected {MEDIA_TYPE:?}; sign the release again with model-signing 1.x or palisade"
    )]
    MediaType {
        /// What it says it is.
        found: String,
    },
    /// Signed without a key: with a certificate, or by an identity.
    #[error(
        "names no public key ({found}); expected a signature made with a key; \
        sign the release again (`model_signing sign key`, or palisade with a private key)"
    )]
    NotByKey {
        /// What is there instead.
        found: String,
    },
    /// Made by another key than the one it is checked with.
    #[error(
        "names the key {found:?}, and the one it is checked with is {expected:?}; \
        check it with its own public key, or sign the release again with the right private key"
    )]
    OtherKey {
        /// The bundle's hint.
        found: String,
        /// The key's.
        expected: String,
    },
    /// The signature is not this key's over these bytes: forged or damaged.
    #[error(
        "is not the key {key}'s over what is signed: it was damaged or forged; \
        do not use the release; fetch it again, or have its publisher sign it again"
    )]
    Bad {
        /// The key's hint.
        key: String,
    },
    /// Signed by the key, but not a statement that is understood here.
    #[error("is good, but over something else: {problem}; sign the release again with model-signing 1.x or palisade")]
    Statement {
        /// What was found and expected.
        problem: String,
    },
    /// Signed by the key, over other files.
    #[error(
        "is good, but over other files: {0}; \
        do not use the release; fetch it again, or publish it again under a new version"
    )]
    Differs(Differences),
}

/// How the files differ from the signed ones, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Signed, and not there.
    pub missing: Vec<String>,
    /// There, and not signed.
    pub extra: Vec<String>,
    /// There with another digest than the signed one.
    pub changed: Vec<String>,
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("signed but missing", &self.missing),
            ("there but not signed", &self.extra),
            ("with another SHA-256 than the signed one", &self.changed),
        ];
        let said = kinds.iter().filter(|(_, names)| !names.is_empty()).map(|(kind, names)| {
            let shown: Vec<_> = names.iter().take(NAMES_SHOWN_MAX).map(|name| shown(name)).collect();
            let more = names.len() - shown.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{kind}: {}{more}", shown.join(", "))
        });
        f.write_str(&said.collect::<Vec<_>>().join("; "))
    }
}

/// Signs the files of a release; the result is the content of its `signature`.
///
/// `subject` is for people, such as `english-toxicity@0.3.0`. The same key, subject and files give the same bytes.
pub fn sign(key: &PrivateKey, subject: &str, digests: &Digests) -> Result<Vec<u8>, SignatureError> {
    let resource = |(name, digest): (&String, &[u8; 32])| Resource {
        name: name.clone(),
        algorithm: ALGORITHM.to_owned(),
        digest: hex::encode(digest),
    };
    let statement = Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject {
            name: subject.to_owned(),
            digest: SubjectDigest { sha256: hex::encode(root(digests.values())) },
        }],
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            serialization: Serialization {
                method: METHOD.to_owned(),
                hash_type: ALGORITHM.to_owned(),
                allow_symlinks: false,
                ignore_paths: IGNORED.map(str::to_owned).to_vec(),
            },
            resources: digests.iter().map(resource).collect(),
        },
    };
    let unwritable = |error: serde_json::Error| SignatureError::NotABundle { problem: error.to_string() };
    let payload = serde_json::to_vec(&statement).map_err(unwritable)?;
    let signature = key.sign(&pre_authentication(&payload));
    let bundle = BundleJson {
        media_type: MEDIA_TYPE.to_owned(),
        verification_material: VerificationMaterial {
            public_key: Some(KeyIdentifier { hint: Some(key.public().hint().to_owned()) }),
            tlog_entries: Some(Vec::new()),
        },
        dsse_envelope: Envelope {
            payload: STANDARD.encode(&payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![EnvelopeSignature { sig: STANDARD.encode(signature), keyid: String::new() }],
        },
    };
    let bytes = serde_json::to_vec(&bundle).map_err(unwritable)?;
    if bytes.len() > SIGNATURE_BYTES_MAX {
        return Err(SignatureError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// A signature whose envelope was read: what is signed is still bytes, and so is the signature.
#[derive(Debug, Clone)]
pub struct Bundle {
    hint: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Bundle {
    /// Reads the envelope. Nothing in it is to be believed before [`Bundle::verify`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        if bytes.len() > SIGNATURE_BYTES_MAX {
            return Err(SignatureError::TooLarge { bytes: bytes.len() });
        }
        let not_a_bundle = |problem: String| SignatureError::NotABundle { problem };
        let MediaType { media_type } =
            serde_json::from_slice(bytes).map_err(|error| not_a_bundle(shown(&error.to_string())))?;
        if media_type != MEDIA_TYPE {
            return Err(SignatureError::MediaType { found: cut(&media_type) });
        }
        let MaterialOnly { verification_material: material } =
            serde_json::from_slice(bytes).map_err(|error| not_a_bundle(shown(&error.to_string())))?;
        let hint = match material.public_key {
            Some(KeyIdentifier { hint: Some(hint) }) if !hint.is_empty() => hint,
            Some(_) => return Err(SignatureError::NotByKey { found: "a public key without a hint".to_owned() }),
            None => return Err(SignatureError::NotByKey { found: "a certificate or an identity".to_owned() }),
        };
        let BundleJson { dsse_envelope: envelope, .. } =
            serde_json::from_slice(bytes).map_err(|error| not_a_bundle(shown(&error.to_string())))?;
        if envelope.payload_type != PAYLOAD_TYPE {
            let problem = format!("its payload has type {}, expected {PAYLOAD_TYPE:?}", shown(&envelope.payload_type));
            return Err(not_a_bundle(problem));
        }
        let [signature] = envelope.signatures.as_slice() else {
            return Err(not_a_bundle(format!("it has {} signatures, expected one", envelope.signatures.len())));
        };
        let decode = |text: &str, what| {
            STANDARD.decode(text).map_err(|error| not_a_bundle(format!("its {what} is not base64: {error}")))
        };
        Ok(Self {
            hint,
            payload: decode(&envelope.payload, "payload")?,
            signature: decode(&signature.sig, "signature")?,
        })
    }

    /// Which key the signer says it was: see [`PublicKey::hint`]. Nothing proves it yet.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The hint as messages may show it: no longer than one of ours.
    pub(crate) fn hint_shown(&self) -> String {
        cut(&self.hint)
    }

    /// Checks that `key` signed the files in `digests`, all of them and no others.
    pub fn verify(&self, key: &PublicKey, digests: &Digests) -> Result<(), SignatureError> {
        if self.hint != key.hint() {
            let expected = key.hint().to_owned();
            return Err(SignatureError::OtherKey { found: cut(&self.hint), expected });
        }
        if !key.verifies(&pre_authentication(&self.payload), &self.signature) {
            return Err(SignatureError::Bad { key: key.hint().to_owned() });
        }
        let signed = signed_digests(&self.payload)?;
        let differences = differences(&signed, digests);
        if differences != Differences::default() {
            return Err(SignatureError::Differs(differences));
        }
        Ok(())
    }
}

/// What is signed: the pre-authentication encoding of DSSE, which binds the payload's type and length.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The files in a statement whose signature was found good.
fn signed_digests(payload: &[u8]) -> Result<Digests, SignatureError> {
    let refuse = |problem: String| SignatureError::Statement { problem };
    let parsed = |error: serde_json::Error| refuse(format!("no model signature v1.0 ({})", shown(&error.to_string())));
    let StatementType { kind, predicate_type } = serde_json::from_slice(payload).map_err(parsed)?;
    for (what, found, expected) in
        [("statement", &kind, STATEMENT_TYPE), ("predicate", &predicate_type, PREDICATE_TYPE)]
    {
        if found != expected {
            return Err(refuse(format!("a {what} of type {}, expected {expected:?}", shown(found))));
        }
    }
    let StatementSerialization { predicate: PredicateSerialization { serialization } } =
        serde_json::from_slice(payload).map_err(parsed)?;
    if serialization.method != METHOD || serialization.hash_type != ALGORITHM {
        let found = (shown(&serialization.method), shown(&serialization.hash_type));
        let problem = format!("a list by method {} with {}, expected {METHOD:?} with {ALGORITHM:?}", found.0, found.1);
        return Err(refuse(problem));
    }
    let Statement { subject, predicate, .. } = serde_json::from_slice(payload).map_err(parsed)?;
    let mut digests = Digests::new();
    let mut in_order = Vec::with_capacity(predicate.resources.len());
    for Resource { name, algorithm, digest } in predicate.resources {
        if algorithm != ALGORITHM {
            return Err(refuse(format!("{} by {}, expected {ALGORITHM:?}", shown(&name), shown(&algorithm))));
        }
        let digest = sha256_of_hex(&digest).ok_or_else(|| {
            refuse(format!("{} with the digest {}, expected 64 hexadecimal digits", shown(&name), shown(&digest)))
        })?;
        in_order.push(digest);
        if digests.insert(name.clone(), digest).is_some() {
            return Err(refuse(format!("{} twice, expected each file once", shown(&name))));
        }
    }
    let [subject] = subject.as_slice() else {
        return Err(refuse(format!("{} subjects, expected one", subject.len())));
    };
    if sha256_of_hex(&subject.digest.sha256) != Some(root(&in_order)) {
        return Err(refuse("a list of files that does not have the subject's digest".to_owned()));
    }
    Ok(digests)
}

/// The digest of a whole model: over the digests of its files, in the order in which they are listed.
fn root<'a>(digests: impl IntoIterator<Item = &'a [u8; 32]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for digest in digests {
        hasher.update(digest);
    }
    hasher.finalize().into()
}

fn differences(signed: &Digests, found: &Digests) -> Differences {
    let absent = |from: &Digests, name: &&String| !from.contains_key(*name);
    let is_changed = |(name, digest): &(&String, &[u8; 32])| found.get(*name).is_some_and(|found| found != *digest);
    Differences {
        missing: signed.keys().filter(|name| absent(found, name)).cloned().collect(),
        extra: found.keys().filter(|name| absent(signed, name)).cloned().collect(),
        changed: signed.iter().filter(is_changed).map(|(name, _)| name.clone()).collect(),
    }
}

fn sha256_of_hex(digits: &str) -> Option<[u8; 32]> {
    hex::decode(digits).ok()?.try_into().ok()
}

/// A text of unknown origin as messages show it: quoted, without control characters, and not longer than a line.
fn shown(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MediaType {
    media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MaterialOnly {
    verification_material: VerificationMaterial,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleJson {
    media_type: String,
    verification_material: VerificationMaterial,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerificationMaterial {
    public_key: Option<KeyIdentifier>,
    /// Transparency logs, which signing with a key does not use; model-signing wants the field.
    #[serde(skip_deserializing)]
    tlog_entries: Option<Vec<()>>,
}

#[derive(Serialize, Deserialize)]
struct KeyIdentifier {
    hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeSignature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatementType {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
}

#[derive(Deserialize)]
struct StatementSerialization {
    predicate: PredicateSerialization,
}

#[derive(Deserialize)]
struct PredicateSerialization {
    serialization: SerializationKind,
}

#[derive(Deserialize)]
struct SerializationKind {
    method: String,
    hash_type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
struct SubjectDigest {
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

#[cfg(test)]
mod tests;
