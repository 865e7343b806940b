//! Baking: a release goes into the engine's module, is read and planned there, and the state is kept as a component.
//!
//! engine module → wizer's instrumentation → instantiate without imports → hand over the release (the protocol is in
//! `components/classifier/src/bake.rs`) → snapshot → component → manifest, and where the packed model lies, as custom sections.
//!
//! There are two engines. For the encoder the release is packed here; tract reads the files as they are.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use palisade_core::{Manifest, ReleaseFiles, release::MANIFEST_FILE};
use palisade_encoder::{Blob, ImportError, pack};
use wasm_encoder::{ComponentSection, CustomSection};
use wasmtime::{Config, Engine, Instance, Module, OptLevel, Store, TypedFunc, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};
use wit_component::{ComponentEncoder, StringEncoding};

use crate::Error;
use crate::artefact::{PACKED_SECTION, RELEASE_SECTION};
use crate::packed::PackedPlace;

/// A release's files, read.
#[derive(Debug)]
pub struct ReleaseFolder {
    path: PathBuf,
    named: Manifest,
    manifest: Vec<u8>,
    model: Vec<u8>,
    tokenizer: Vec<u8>,
    packed: OnceLock<Result<Blob, ImportError>>,
}

impl ReleaseFolder {
    /// Reads `release.json` and the files that it names, and checks their digests.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let problem = |e: palisade_core::ReleaseError| Error::Bake { path: path.to_owned(), problem: e.to_string() };
        let read = |name: &str| {
            let file = path.join(name);
            std::fs::read(&file).map_err(Error::io(file))
        };
        let manifest = read(MANIFEST_FILE)?;
        let named = Manifest::parse(&manifest).map_err(problem)?;
        let (model, tokenizer) = (read(&named.model.file)?, read(&named.tokenizer.file)?);
        let folder = Self { path: path.to_owned(), named, manifest, model, tokenizer, packed: OnceLock::new() };
        folder.files().verify().map_err(problem)?;
        Ok(folder)
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.named.name
    }

    /// The release's digest.
    pub fn digest(&self) -> &str {
        &self.named.digest
    }

    /// The release packed for the encoder engine; the error names the file, and the first node or setting that does not fit.
    pub fn packed(&self) -> Result<&Blob, String> {
        let packed = self.packed.get_or_init(|| pack(&self.model, &self.tokenizer));
        packed.as_ref().map_err(|problem| {
            let file = match problem {
                ImportError::Model(_) => &self.named.model.file,
                ImportError::Tokenizer(_) => &self.named.tokenizer.file,
            };
            format!("{file}: {problem}")
        })
    }

    fn files(&self) -> ReleaseFiles<'_> {
        ReleaseFiles { manifest: &self.manifest, model: &self.model, tokenizer: &self.tokenizer }
    }
}

/// Bakes a release into the engine's core module and returns the component.
///
/// The result depends on nothing but the two inputs: the same release and engine give the same bytes.
pub fn bake(engine_module: &[u8], release: &ReleaseFolder) -> Result<Vec<u8>, Error> {
    let problem = |problem: String| Error::Bake { path: release.path.clone(), problem };
    let (snapshot, packed) = snapshot(engine_module, release).map_err(problem)?;
    let component =
        encode(engine_module, snapshot).map_err(|e| problem(format!("the snapshot is no component: {e:#}")))?;
    let component = with_section(component, RELEASE_SECTION, &release.manifest);
    Ok(match packed {
        Some(place) => with_section(component, PACKED_SECTION, &place.section()),
        None => component,
    })
}

/// The module with the release inside, and where the packed model lies in its memory.
fn snapshot(engine_module: &[u8], release: &ReleaseFolder) -> Result<(Vec<u8>, Option<PackedPlace>), String> {
    let mut wizer = Wizer::new();
    wizer.init_func("palisade_bake_seal");
    let (context, instrumented) = wizer.instrument(engine_module).map_err(not_an_engine)?;

    let fault = |e: wasmtime::Error| format!("{e:#}");
    // The instance runs for a second or two, so quick compilation wins over quick code.
    let engine = Engine::new(Config::new().cranelift_opt_level(OptLevel::None)).map_err(fault)?;
    let module = Module::new(&engine, instrumented).map_err(fault)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).map_err(fault)?;
    let packed = load(&mut store, instance, release)?;

    let mut state = BakedState { store: &mut store, instance };
    let module = block_on(wizer.snapshot(&context, &mut state)).map_err(not_an_engine)?;
    Ok((module, packed))
}

fn not_an_engine(error: impl std::fmt::Display) -> String {
    format!("the engine module cannot be baked: {error:#}")
}

/// Drives the protocol of `components/classifier/src/bake.rs`; says where the encoder engine keeps the packed model.
fn load(store: &mut Store<()>, instance: Instance, release: &ReleaseFolder) -> Result<Option<PackedPlace>, String> {
    let is_encoder = instance.get_func(&mut *store, "palisade_bake_load_packed").is_some();
    let (parts, load) = if is_encoder {
        (vec![release.manifest.as_slice(), release.packed()?.bytes()], "palisade_bake_load_packed")
    } else {
        (vec![release.manifest.as_slice(), &release.model, &release.tokenizer], "palisade_bake_load")
    };
    let reserve: TypedFunc<(u32, u32), u32> = function(store, instance, "palisade_bake_reserve")?;
    let load: TypedFunc<(), u32> = function(store, instance, load)?;
    let message_start: TypedFunc<(), u32> = function(store, instance, "palisade_bake_message")?;
    let panic_length: TypedFunc<(), u32> = function(store, instance, "palisade_bake_panic")?;
    let seal: TypedFunc<(), ()> = function(store, instance, "palisade_bake_seal")?;
    let memory = instance.get_memory(&mut *store, "memory").ok_or("the engine module has no memory")?;

    let too_large = |e: wasmtime::Error| format!("the release does not fit into the engine's memory: {e:#}");
    let mut last = (0, [].as_slice());
    for (place, part) in (0..).zip(parts) {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let start = reserve.call(&mut *store, (place, length)).map_err(too_large)?;
        memory.write(&mut *store, start as usize, part).map_err(|e| format!("{e}"))?;
        last = (start, part);
    }

    let message = |store: &mut Store<()>, length: u32| {
        let start = message_start.call(&mut *store, ()).unwrap_or(0) as usize;
        let bytes = memory.data(&store).get(start..start + length as usize).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    match load.call(&mut *store, ()) {
        Ok(0) => {
            seal.call(&mut *store, ()).map_err(|e| format!("{e:#}"))?;
            let (start, packed) = last;
            let end = start as usize + packed.len();
            if is_encoder && memory.data(&store).get(start as usize..end) != Some(packed) {
                return Err("the engine module does not keep the packed model where it was put".into());
            }
            Ok(is_encoder.then(|| PackedPlace::new(start, &release.manifest, packed)))
        }
        Ok(length) => Err(message(store, length)),
        Err(trap) => {
            let length = panic_length.call(&mut *store, ()).unwrap_or(0);
            Err(format!(
                "the engine stopped while reading the release: {}",
                match length {
                    0 => format!("{trap:#}"),
                    length => message(store, length),
                }
            ))
        }
    }
}

fn function<P, R>(store: &mut Store<()>, instance: Instance, name: &str) -> Result<TypedFunc<P, R>, String>
where
    P: wasmtime::WasmParams,
    R: wasmtime::WasmResults,
{
    instance
        .get_typed_func(store, name)
        .map_err(|e| format!("the engine module does not speak this version's baking protocol: {e:#}"))
}

/// Lets wizer read the instance; its own adapter would bring features of wasmtime that nothing here needs.
struct BakedState<'a> {
    store: &'a mut Store<()>,
    instance: Instance,
}

impl InstanceState for BakedState<'_> {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let value = self.instance.get_global(&mut *self.store, name).map(|global| global.get(&mut *self.store));
        match value {
            Some(Val::I32(value)) => SnapshotVal::I32(value),
            Some(Val::I64(value)) => SnapshotVal::I64(value),
            Some(Val::F32(bits)) => SnapshotVal::F32(bits),
            Some(Val::F64(bits)) => SnapshotVal::F64(bits),
            Some(Val::V128(value)) => SnapshotVal::V128(value.as_u128()),
            // Wizer asks for the globals that it exported itself, all of number types.
            other => unreachable!("global {name:?} is {other:?}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.instance.get_memory(&mut *self.store, name) {
            Some(memory) => contents(memory.data(&*self.store)),
            None => unreachable!("memory {name:?} was exported by wizer"),
        }
    }
}

/// Runs a future that never waits: [`BakedState`] answers at once.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// Makes a component out of the snapshot, with the engine module's WIT, which wizer leaves out with all custom sections.
fn encode(engine_module: &[u8], mut snapshot: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let (_, wit) = wit_component::metadata::decode(engine_module)?;
    wit_component::embed_component_metadata(&mut snapshot, &wit.resolve, wit.world, StringEncoding::UTF8)?;
    ComponentEncoder::default().module(&snapshot)?.validate(true).encode()
}

fn with_section(mut component: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    CustomSection { name: name.into(), data: data.into() }.append_to_component(&mut component);
    component
}
