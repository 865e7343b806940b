//! A baked component as a file: its bytes, and what can be read off it without running it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use palisade_core::{Blob, Manifest};
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmparser::{Operator, Parser, Payload};

use crate::Error;
use crate::packed::PackedPlace;

/// The interface that this host calls.
pub const CONTRACT: &str = "palisade:moderation/classifier@0.2.0";
/// Name of the custom section that carries the release's manifest, byte for byte.
pub const RELEASE_SECTION: &str = "palisade:release";

/// Name of the custom section that says where the encoder engine's packed model lies in the component's memory at start, so that
/// it can be read without running the component. 52 bytes, numbers little-endian: version (`u32`, 1), address (`u64`), length in
/// bytes (`u64`), and the SHA-256 of what lies there. The bytes are those of the core module's data segments, and zero where no
/// segment is. An artefact baked with tract has no such section.
pub const PACKED_SECTION: &str = "palisade:packed";

/// The bytes of an artefact that speaks this host's contract.
#[derive(Debug)]
pub struct Artefact {
    /// Where it was read from.
    pub path: PathBuf,
    /// The component.
    pub bytes: Vec<u8>,
    /// What was read off it.
    pub anatomy: Anatomy,
}

/// What to do where the native engine finds nothing to run.
const REMEDY: &str = "run it with --engine component, or bake its release again with this version's engine";

/// A size as people read it.
#[expect(clippy::cast_precision_loss, reason = "for display")]
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// What an artefact says of itself, without running it.
#[derive(Debug, Default, Serialize)]
pub struct Anatomy {
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// Interfaces that it gives.
    pub exports: Vec<String>,
    /// Interfaces that it needs; empty for a classifier.
    pub imports: Vec<String>,
    /// Sizes in bytes.
    pub sizes: Sizes,
    /// The manifest that was baked in, as it was written; its SHA-256 is the release's digest.
    #[serde(skip)]
    pub manifest: Option<Vec<u8>>,
    /// The section that says where the packed model lies, as it was written.
    #[serde(skip)]
    pub packed: Option<Vec<u8>>,
}

/// Where an artefact's bytes are.
#[derive(Debug, Default, Serialize)]
pub struct Sizes {
    /// The whole file.
    pub file: u64,
    /// Functions' bodies.
    pub code: u64,
    /// Memory's first content: the model, the tokenizer, constants.
    pub data: u64,
    /// Linear memory at start.
    pub memory: u64,
}

impl Artefact {
    /// Reads a file and checks that it is a component with this host's contract.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Self::from_bytes(path, bytes)
    }

    /// The same for bytes in hand; `path` names them in errors.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let problem = |problem: String| Error::NotAnArtefact { path: path.to_owned(), problem };
        let anatomy = dissect(&bytes).map_err(problem)?;
        let problem = |problem: String| Error::NotAnArtefact { path: path.to_owned(), problem };
        check_contract(&anatomy).map_err(problem)?;
        Ok(Self { path: path.to_owned(), bytes, anatomy })
    }

    /// Reads the encoder engine's packed model out of the component's data, and checks that it and the manifest are what was baked.
    pub fn packed(&self) -> Result<Blob, Error> {
        let problem = |problem: String| Error::NotAnArtefact { path: self.path.clone(), problem };
        let section = self.anatomy.packed.as_deref().ok_or_else(|| {
            problem(format!(
                "holds no model for the native engine (baked with tract, or by an older palisade); {REMEDY}"
            ))
        })?;
        let place = PackedPlace::parse(section)
            .map_err(|what| problem(format!("its section {PACKED_SECTION} {what}; {REMEDY}")))?;
        let manifest = self.anatomy.manifest.as_deref().unwrap_or_default();
        place.read(&self.bytes, self.anatomy.sizes.memory, manifest).map_err(problem)
    }
}

impl Anatomy {
    /// The release's manifest, where the artefact was baked.
    pub fn release_manifest(&self) -> Option<Manifest> {
        self.manifest.as_deref().and_then(|bytes| Manifest::parse(bytes).ok())
    }

    /// Whether it gives what this host calls.
    pub fn speaks_contract(&self) -> bool {
        self.exports.iter().any(|export| export == CONTRACT)
    }
}

/// Reads the component's outline. Fails, with what to do, on anything that is not a whole component.
pub fn dissect(bytes: &[u8]) -> Result<Anatomy, String> {
    if !Parser::is_component(bytes) {
        return Err(if Parser::is_core_wasm(bytes) {
            "a core WebAssembly module, not a component: bake a release into it with `palisade bake`".into()
        } else {
            "not a WebAssembly component; artefacts are made by `palisade bake`".into()
        });
    }
    let mut anatomy = Anatomy { sha256: hex::encode(Sha256::digest(bytes)), ..Anatomy::default() };
    anatomy.sizes.file = bytes.len() as u64;
    let mut depth = 0_u32;
    let broken = |e: wasmparser::BinaryReaderError| {
        format!("a damaged or cut component (at byte {}): {}", e.offset(), e.message())
    };
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    anatomy.imports.push(import.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    anatomy.exports.push(export.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::CodeSectionStart { size, .. } => anatomy.sizes.code += u64::from(size),
            Payload::DataSection(data) => anatomy.sizes.data += data.range().len() as u64,
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let bytes = memory.map_err(broken)?.initial.saturating_mul(65_536);
                    anatomy.sizes.memory = anatomy.sizes.memory.saturating_add(bytes);
                }
            }
            Payload::CustomSection(section) if depth == 1 && section.name() == RELEASE_SECTION => {
                anatomy.manifest = Some(section.data().to_vec());
            }
            Payload::CustomSection(section) if depth == 1 && section.name() == PACKED_SECTION => {
                anatomy.packed = Some(section.data().to_vec());
            }
            _ => {}
        }
    }
    if depth != 0 {
        return Err("a cut component: the file ends too early; copy or bake it again".into());
    }
    Ok(anatomy)
}

/// Names of the relaxed SIMD operators in a component's code, each once, in order. None are in a component for runtimes that lack
/// them.
pub fn relaxed_operators(bytes: &[u8]) -> Result<BTreeSet<&'static str>, String> {
    let broken = |e: wasmparser::BinaryReaderError| format!("damaged code (at byte {}): {}", e.offset(), e.message());
    let mut found = BTreeSet::new();
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::CodeSectionEntry(body) = payload.map_err(broken)? {
            for operator in body.get_operators_reader().map_err(broken)? {
                found.extend(relaxed_name(&operator.map_err(broken)?));
            }
        }
    }
    Ok(found)
}

/// The name of an operator of the relaxed SIMD proposal.
fn relaxed_name(operator: &Operator<'_>) -> Option<&'static str> {
    Some(match operator {
        Operator::I8x16RelaxedSwizzle => "i8x16.relaxed_swizzle",
        Operator::I32x4RelaxedTruncF32x4S => "i32x4.relaxed_trunc_f32x4_s",
        Operator::I32x4RelaxedTruncF32x4U => "i32x4.relaxed_trunc_f32x4_u",
        Operator::I32x4RelaxedTruncF64x2SZero => "i32x4.relaxed_trunc_f64x2_s_zero",
        Operator::I32x4RelaxedTruncF64x2UZero => "i32x4.relaxed_trunc_f64x2_u_zero",
        Operator::F32x4RelaxedMadd => "f32x4.relaxed_madd",
        Operator::F32x4RelaxedNmadd => "f32x4.relaxed_nmadd",
        Operator::F64x2RelaxedMadd => "f64x2.relaxed_madd",
        Operator::F64x2RelaxedNmadd => "f64x2.relaxed_nmadd",
        Operator::I8x16RelaxedLaneselect => "i8x16.relaxed_laneselect",
        Operator::I16x8RelaxedLaneselect => "i16x8.relaxed_laneselect",
        Operator::I32x4RelaxedLaneselect => "i32x4.relaxed_laneselect",
        Operator::I64x2RelaxedLaneselect => "i64x2.relaxed_laneselect",
        Operator::F32x4RelaxedMin => "f32x4.relaxed_min",
        Operator::F32x4RelaxedMax => "f32x4.relaxed_max",
        Operator::F64x2RelaxedMin => "f64x2.relaxed_min",
        Operator::F64x2RelaxedMax => "f64x2.relaxed_max",
        Operator::I16x8RelaxedQ15mulrS => "i16x8.relaxed_q15mulr_s",
        Operator::I16x8RelaxedDotI8x16I7x16S => "i16x8.relaxed_dot_i8x16_i7x16_s",
        Operator::I32x4RelaxedDotI8x16I7x16AddS => "i32x4.relaxed_dot_i8x16_i7x16_add_s",
        _ => return None,
    })
}

fn check_contract(anatomy: &Anatomy) -> Result<(), String> {
    if anatomy.speaks_contract() {
        return Ok(());
    }
    let stem = CONTRACT.split('@').next().unwrap_or(CONTRACT);
    let other = anatomy.exports.iter().find(|export| export.split('@').next() == Some(stem));
    Err(match other {
        Some(other) => {
            format!("gives {other}, but this host speaks {CONTRACT}: bake its release again with this version's engine")
        }
        None => format!("a component that does not give {CONTRACT} (it gives: {})", list(&anatomy.exports)),
    })
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
