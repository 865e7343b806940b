//! Where the packed model of the encoder engine lies inside an artefact, and how it is read from there.
//!
//! Baking leaves the packed model in the component's memory, so it is in the data segments of its core module, which leave out
//! runs of zeros. A custom section says where.

use std::ops::Range;

use palisade_core::Blob;
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmparser::{DataKind, Operator, Parser, Payload};

/// The section's version; another one is for another program.
const VERSION: u32 = 2;
/// The largest packed model's end in memory.
const ADDRESS_MAX: u64 = 1 << 30;
/// Length of the section: version, address, length, digest.
const SECTION_BYTES: usize = 4 + 8 + 8 + 32;

/// Where the packed model lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackedPlace {
    /// Its first byte's address in linear memory, at start.
    pub address: u64,
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of the release's manifest and the packed model, one after the other, lower-case hexadecimal.
    pub sha256: String,
}

impl PackedPlace {
    /// Where bytes lie that are at `address`, packed from a release with this manifest.
    pub(crate) fn new(address: u32, manifest: &[u8], packed: &[u8]) -> Self {
        Self { address: address.into(), length: packed.len() as u64, sha256: digest(manifest, packed) }
    }

    /// The content of the section [`crate::artefact::PACKED_SECTION`].
    pub(crate) fn section(&self) -> Vec<u8> {
        let mut section = VERSION.to_le_bytes().to_vec();
        section.extend(self.address.to_le_bytes());
        section.extend(self.length.to_le_bytes());
        section.extend(hex::decode(&self.sha256).unwrap_or_default());
        section
    }

    /// Reads a section; the error says what it is instead.
    pub(crate) fn parse(section: &[u8]) -> Result<Self, String> {
        let (version, rest) = section.split_first_chunk().ok_or("is cut")?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(format!("has version {version}, and this program reads version {VERSION}"));
        }
        if section.len() != SECTION_BYTES {
            return Err(format!("has {} bytes instead of {SECTION_BYTES}", section.len()));
        }
        let (address, rest) = rest.split_first_chunk().ok_or("is cut")?;
        let (length, digest) = rest.split_first_chunk().ok_or("is cut")?;
        Ok(Self {
            address: u64::from_le_bytes(*address),
            length: u64::from_le_bytes(*length),
            sha256: hex::encode(digest),
        })
    }

    /// Reads the packed model out of a component with so much memory at start and this manifest, and checks the digest of both.
    pub(crate) fn read(&self, component: &[u8], memory_bytes: u64, manifest: &[u8]) -> Result<Blob, String> {
        let damaged = || "its packed model is damaged; copy or bake it again".to_owned();
        let memory_bytes = memory_bytes.min(ADDRESS_MAX);
        let end = self.address.checked_add(self.length).filter(|&end| end <= memory_bytes).ok_or_else(damaged)?;
        let mut packed = Blob::zeroed(usize::try_from(self.length).map_err(|_| damaged())?);
        copy_memory(component, self.address..end, packed.bytes_mut())?;
        if digest(manifest, packed.bytes()) != self.sha256 {
            return Err(damaged());
        }
        Ok(packed)
    }
}

fn digest(manifest: &[u8], packed: &[u8]) -> String {
    hex::encode(Sha256::new().chain_update(manifest).chain_update(packed).finalize())
}

/// Copies what data segments put into a range of linear memory; what none writes stays as it is in `target`, zero.
fn copy_memory(component: &[u8], wanted: Range<u64>, target: &mut [u8]) -> Result<(), String> {
    let broken = |e: wasmparser::BinaryReaderError| format!("damaged data (at byte {}): {}", e.offset(), e.message());
    let mut sections = 0;
    for payload in Parser::new(0).parse_all(component) {
        let Payload::DataSection(segments) = payload.map_err(broken)? else { continue };
        sections += 1;
        if sections > 1 {
            return Err("more than one of its modules has data, and a baked component's has all".into());
        }
        for segment in segments {
            let segment = segment.map_err(broken)?;
            let DataKind::Active { memory_index: 0, offset_expr } = segment.kind else { continue };
            let Operator::I32Const { value } = offset_expr.get_operators_reader().read().map_err(broken)? else {
                return Err("its data is at places that are not fixed".into());
            };
            let start = u64::from(value.cast_unsigned());
            copy_overlap(start, segment.data, wanted.start, target);
        }
    }
    Ok(())
}

/// Copies the part of `source`, which is at an address, that falls into `target`, which is at another.
fn copy_overlap(source_start: u64, source: &[u8], target_start: u64, target: &mut [u8]) {
    let skipped = |from: u64, to: u64| usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let source = source.get(skipped(source_start, target_start)..).unwrap_or_default();
    let target = target.get_mut(skipped(target_start, source_start)..).unwrap_or_default();
    for (to, from) in target.iter_mut().zip(source) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_as_it_was_written() {
        let place = PackedPlace::new(1_048_592, b"{}", b"packed");
        assert_eq!(PackedPlace::parse(&place.section()), Ok(place.clone()));
        assert!(PackedPlace::parse(&place.section()[..40]).unwrap_err().contains("40 bytes"));
        assert!(PackedPlace::parse(&[9, 0, 0, 0]).unwrap_err().contains("version 9"));
        assert!(PackedPlace::parse(&[]).is_err());
    }

    #[test]
    fn segments_are_put_together_with_zeros_between() {
        let module = r#"(component (core module (memory 1)
            (data (i32.const 0) "abcdef") (data (i32.const 8) "gh") (data (i32.const 12) "ijkl")))"#;
        let component = wat::parse_str(module).unwrap();
        let read = |address: u32, bytes: &[u8]| {
            let place = PackedPlace::new(address, b"{}", bytes);
            assert!(place.read(&component, 65_536, b"{ }").is_err(), "another manifest");
            place.read(&component, 65_536, b"{}").map(|packed| packed.bytes().to_vec())
        };
        for (address, bytes) in
            [(2, &b"cdef\0\0gh\0\0ij"[..]), (6, b"\0\0"), (13, b"jkl\0"), (0, b"ab"), (65_535, b"\0")]
        {
            assert_eq!(read(address, bytes).unwrap(), bytes);
        }
        assert!(read(2, b"cdeX").unwrap_err().contains("damaged"));
        assert!(read(65_535, b"\0\0").unwrap_err().contains("damaged"));
    }
}
