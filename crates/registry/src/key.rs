//! The keys of releases: ECDSA on the curve P-256 with SHA-256, in PEM files as OpenSSL writes and reads them.
//!
//! A private key comes as PKCS#8 (RFC 5208, `BEGIN PRIVATE KEY`, what `openssl genpkey` writes) or SEC1 (RFC 5915,
//! `BEGIN EC PRIVATE KEY`, what `openssl ecparam -genkey` writes), a public key as SPKI (RFC 5280, `BEGIN PUBLIC KEY`).
//! Keys under a passphrase are refused: who wants one keeps the key in a secret store, and hands it over in an
//! environment variable.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// A PEM file may be this long. A key of P-256 has some 250 bytes.
const PEM_BYTES_MAX: u64 = 16 << 10;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file or variable cannot be read, or the file not be written.
    #[error("{place}: cannot {what}: {problem}")]
    Unreachable {
        /// The file, or the environment variable.
        place: String,
        /// What was tried.
        what: &'static str,
        /// The system's words.
        problem: String,
    },
    /// A file is there already, and keys are never overwritten.
    #[error(
        "{}: there is a file already, and a key is never overwritten; choose another name, or move it away",
        .path.display()
    )]
    AlreadyThere {
        /// The file.
        path: PathBuf,
    },
    /// What is there is not such a key.
    #[error("{place}: {problem}")]
    NotAKey {
        /// The file, the environment variable, or whatever else the caller says it read from.
        place: String,
        /// What was found, what was expected, and how to make it.
        problem: String,
    },
}

/// A public key: verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    pem: String,
    hint: String,
}

impl PublicKey {
    /// Reads a key in PEM (SPKI). `place` is named in errors.
    pub fn from_pem(pem: &str, place: &str) -> Result<Self, KeyError> {
        let refuse = |problem: String| KeyError::NotAKey { place: place.to_owned(), problem };
        if pem.contains("PRIVATE KEY-----") {
            let problem = "holds a private key, which only its owner should have; expected the public one \
                (openssl pkey -in KEY -pubout), and make a new pair if others could read this";
            return Err(refuse(problem.to_owned()));
        }
        let Some(block) = block(pem, &["PUBLIC KEY"]) else {
            return Err(refuse("holds no public key; expected a PEM block `BEGIN PUBLIC KEY`".to_owned()));
        };
        let key = VerifyingKey::from_public_key_pem(block).map_err(|error| {
            refuse(format!("is no public key of the curve P-256 ({error}); make a pair with `palisade model keygen`"))
        })?;
        Self::new(key).ok_or_else(|| refuse("cannot be written as PEM again".to_owned()))
    }

    /// Reads a key from a PEM file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = read_pem(path)?;
        Self::from_pem(&pem, &path.display().to_string())
    }

    fn new(key: VerifyingKey) -> Option<Self> {
        let pem = key.to_public_key_pem(LineEnding::LF).ok()?;
        let hint = hex::encode(Sha256::digest(&pem));
        Some(Self { key, pem, hint })
    }

    /// The key as PEM, to the byte as OpenSSL writes it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The SHA-256 of [`PublicKey::pem`], in hexadecimal digits: what OpenSSF model signing writes into a bundle as
    /// the key's hint (`_get_verification_material` in model-signing's `sign_ec_key.py`), and `sha256sum` prints for
    /// the file.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Whether `signature` (ECDSA as ASN.1, RFC 3279) is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::try_from(signature).is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.hint).finish()
    }
}

/// A private key: makes signatures. Its memory is cleared when it is dropped, and no `Debug` shows it.
pub struct PrivateKey {
    key: SigningKey,
    public: PublicKey,
}

impl PrivateKey {
    /// A new key, from the system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let unreachable = |problem: String| {
            let place = "the system's randomness".to_owned();
            KeyError::Unreachable { place, what: "make a key", problem }
        };
        // A number of 256 bits is no scalar of the curve in one case of 2³².
        for _ in 0..4 {
            let mut scalar = Zeroizing::new([0; 32]);
            getrandom::fill(scalar.as_mut()).map_err(|error| unreachable(error.to_string()))?;
            let public = |key: &SigningKey| PublicKey::new(*key.verifying_key());
            let key = SigningKey::from_slice(scalar.as_ref()).ok();
            if let Some((public, key)) = key.and_then(|key| Some((public(&key)?, key))) {
                return Ok(Self { key, public });
            }
        }
        Err(unreachable("it gives numbers that are no keys; this machine is broken".to_owned()))
    }

    /// Reads a key in PEM: PKCS#8 or SEC1, without a passphrase. Other blocks (`EC PARAMETERS`) are passed over.
    /// `place` is named in errors.
    pub fn from_pem(pem: &str, place: &str) -> Result<Self, KeyError> {
        let refuse = |problem: String| KeyError::NotAKey { place: place.to_owned(), problem };
        if pem.contains("BEGIN ENCRYPTED PRIVATE KEY-----") || pem.contains("Proc-Type: 4,ENCRYPTED") {
            let problem = "is under a passphrase; expected a private key without one (openssl pkey -in KEY), \
                from a file that only you can read or from a secret store";
            return Err(refuse(problem.to_owned()));
        }
        let Some(block) = block(pem, &["PRIVATE KEY", "EC PRIVATE KEY"]) else {
            let problem = "holds no private key; expected a PEM block `BEGIN PRIVATE KEY` or `BEGIN EC PRIVATE KEY`, \
                as `palisade model keygen` writes it";
            return Err(refuse(problem.to_owned()));
        };
        // The parsers' own errors are dropped: they must never come to quote what they read.
        let key = p256::SecretKey::from_pem(block).ok().map(SigningKey::from);
        let public = key.as_ref().and_then(|key| PublicKey::new(*key.verifying_key()));
        let (Some(key), Some(public)) = (key, public) else {
            let problem = "is no private key of the curve P-256 by name (not another curve, not explicit parameters); \
                make a pair with `palisade model keygen`";
            return Err(refuse(problem.to_owned()));
        };
        Ok(Self { key, public })
    }

    /// Reads a key from a PEM file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = read_pem(path)?;
        Self::from_pem(&pem, &path.display().to_string())
    }

    /// Reads a key in PEM from an environment variable. Some places cannot hold line ends in a variable: `\n`, the two
    /// characters, stands for one too.
    ///
    /// The variable itself stays in the process's environment, where children find it.
    pub fn from_environment(variable: &str) -> Result<Self, KeyError> {
        let place = format!("environment variable {variable}");
        let value = std::env::var_os(variable).ok_or_else(|| KeyError::Unreachable {
            place: place.clone(),
            what: "be read",
            problem: "it is not set; put the private key into it, in PEM".to_owned(),
        })?;
        let pem = Zeroizing::new(value.into_encoded_bytes());
        let pem = std::str::from_utf8(&pem).unwrap_or_default();
        Self::from_pem(&Zeroizing::new(pem.replace("\\n", "\n")), &place)
    }

    /// The public key of the pair.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature over a message: ECDSA with SHA-256, deterministic (RFC 6979), as ASN.1 (RFC 3279).
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.key.sign(message);
        signature.as_bytes().to_vec()
    }

    /// Writes the pair: the private key as PKCS#8 to `private`, which only this user can read (mode 0600), and the
    /// public one to `public`. Both files are new, or nothing is written.
    pub fn write(&self, private: &Path, public: &Path) -> Result<(), KeyError> {
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).map_err(|error| KeyError::Unreachable {
            place: private.display().to_string(),
            what: "be written as PEM",
            problem: error.to_string(),
        })?;
        write_new(private, pem.as_bytes(), 0o600)?;
        write_new(public, self.public.pem.as_bytes(), 0o644).inspect_err(|_| {
            // Half a pair is of no use, and would be in the way of the next attempt.
            let _ = std::fs::remove_file(private);
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The first block of a PEM file (RFC 7468) that has one of the labels, with its delimiters.
fn block<'a>(pem: &'a str, labels: &[&str]) -> Option<&'a str> {
    let found = labels.iter().filter_map(|label| {
        let from = pem.find(&format!("-----BEGIN {label}-----"))?;
        let end = format!("-----END {label}-----");
        let rest = pem.get(from..)?;
        Some((from, rest.get(..rest.find(&end)? + end.len())?))
    });
    found.min_by_key(|(from, _)| *from).map(|(_, block)| block)
}

/// The text of a PEM file; its memory is cleared when it is dropped.
fn read_pem(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let unreachable = |problem: String| {
        let place = path.display().to_string();
        KeyError::Unreachable { place, what: "read the key", problem }
    };
    let file = File::open(path).map_err(|error| unreachable(error.to_string()))?;
    let expected = || KeyError::NotAKey {
        place: path.display().to_string(),
        problem: format!("is no PEM file; expected text of at most {PEM_BYTES_MAX} bytes"),
    };
    // All at once: a buffer that grew would leave pieces of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(PEM_BYTES_MAX).unwrap_or_default() + 1));
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreachable(error.to_string()))?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(expected());
    }
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        expected()
    })
}

/// Writes a file that is not there yet; where that fails on the way, nothing is left.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let unreachable = |error: &std::io::Error| {
        let place = path.display().to_string();
        KeyError::Unreachable { place, what: "write the key", problem: error.to_string() }
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::AlreadyThere { path: path.to_owned() },
        _ => unreachable(&error),
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = std::fs::remove_file(path);
        unreachable(&error)
    })
}

#[cfg(test)]
mod tests;
