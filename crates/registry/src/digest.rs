//! SHA-256 digests, and moments in time, as they are written in the registry's documents.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use object_store::PutPayload;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Files are read in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// A SHA-256 digest; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses 64 lower-case hexadecimal digits.
    pub fn parse(digits: &str) -> Result<Self> {
        let mut digest = [0; 32];
        let is_lower = !digits.bytes().any(|digit| digit.is_ascii_uppercase());
        match hex::decode_to_slice(digits, &mut digest) {
            Ok(()) if is_lower => Ok(Self(digest)),
            _ => Err(Error::Invalid(format!("{digits:?} is no SHA-256: 64 of 0 to 9 and a to f are expected"))),
        }
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Digest and length in bytes of a file. Reads the whole file: not for asynchronous threads.
    pub fn of_file(path: &Path) -> Result<(Self, u64)> {
        let mut sum = Sum::default();
        pieces(path, |piece| sum.update(&piece))?;
        Ok(sum.finish())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(digits: &str) -> Result<Self> {
        Self::parse(digits)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(digits: String) -> Result<Self> {
        Self::parse(&digits)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// A digest on its way.
#[derive(Default)]
pub(crate) struct Sum {
    hasher: Sha256,
    bytes: u64,
}

impl Sum {
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn finish(self) -> (Digest, u64) {
        (Digest(self.hasher.finalize().into()), self.bytes)
    }
}

/// Bytes to be written, in pieces, with their digest.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) payload: PutPayload,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

impl Content {
    /// Reads a whole file. Not for asynchronous threads.
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        let mut sum = Sum::default();
        let mut all = Vec::new();
        pieces(path, |piece| {
            sum.update(&piece);
            all.push(piece);
        })?;
        let (digest, bytes) = sum.finish();
        Ok(Self { payload: PutPayload::from_iter(all), digest, bytes })
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), bytes: bytes.len() as u64, payload: bytes.into() }
    }
}

fn pieces(path: &Path, mut take: impl FnMut(Bytes)) -> Result<()> {
    use std::io::Read as _;

    let failed = |source| Error::file(path, "read it", source);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        take(piece.into());
    }
}

/// A moment, to the millisecond; written as RFC 3339 in UTC, `2026-01-31T12:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(DateTime<Utc>);

impl Time {
    /// This machine's clock.
    pub fn now() -> Self {
        Self(Utc::now().trunc_subsecs(3))
    }

    /// Now, or a millisecond after what came before, where that is a little ahead: of two events, one of which led to the other, the
    /// log shows the order. A clock that is far ahead is not followed.
    pub(crate) fn now_after(before: Self) -> Self {
        let now = Self::now();
        let next = Self(before.0 + chrono::Duration::milliseconds(1));
        if next.0 - now.0 < chrono::Duration::minutes(1) { now.max(next) } else { now }
    }

    /// Time since then until another moment of the same clock; none where that is before.
    pub(crate) fn until(self, then: Self) -> std::time::Duration {
        (then.0 - self.0).to_std().unwrap_or_default()
    }

    /// For the name of an object: in the order of time, without colons.
    pub(crate) fn key(self) -> String {
        self.0.format("%Y%m%dT%H%M%S%.3fZ").to_string()
    }
}

impl From<DateTime<Utc>> for Time {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.trunc_subsecs(3))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl TryFrom<String> for Time {
    type Error = Error;

    fn try_from(time: String) -> Result<Self> {
        let parsed = DateTime::parse_from_rfc3339(&time);
        let parsed = parsed.map_err(|e| Error::Invalid(format!("{time:?} is no moment of RFC 3339: {e}")))?;
        Ok(parsed.with_timezone(&Utc).into())
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}
