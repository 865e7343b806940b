//! Ahead-of-time compiled artefacts, so that only the first start of a release pays for compilation.
//!
//! The cache is a folder of this user's own (`$PALISADE_CACHE_DIR`, `$XDG_CACHE_HOME/palisade` or `~/.cache/palisade`).
//! A file's name holds the artefact's digest and wasmtime's compatibility hash, so a changed artefact, wasmtime, setting
//! or processor never meets an old file. The least recently used files beyond [`FILES_MAX`] are removed.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{Artefact, Error};

/// Compiled artefacts that are kept; each is some hundred megabytes.
const FILES_MAX: usize = 4;

/// The compiled component: from the cache, or compiled now and kept for the next time.
///
/// A cache that cannot be written costs time only, so it is no error.
pub(crate) fn compiled(engine: &Engine, artefact: &Artefact) -> Result<Component, Error> {
    let file = folder().map(|folder| folder.join(file_name(engine, artefact)));
    if let Some(component) = file.as_deref().and_then(|file| open(engine, file)) {
        return Ok(component);
    }
    let broken = |e: wasmtime::Error| Error::NotAnArtefact {
        path: artefact.path.clone(),
        problem: format!("does not compile: {e:#}"),
    };
    let Some(file) = file else {
        return Component::new(engine, &artefact.bytes).map_err(broken);
    };
    let compiled = engine.precompile_component(&artefact.bytes).map_err(broken)?;
    if store(&file, &compiled).is_ok()
        && let Some(component) = open(engine, &file)
    {
        return Ok(component);
    }
    deserialize(engine, &compiled).map_err(|e| Error::Fault(format!("{e:#}")))
}

/// Whether the compiled component is there already.
pub(crate) fn holds(engine: &Engine, artefact: &Artefact) -> bool {
    folder().is_some_and(|folder| folder.join(file_name(engine, artefact)).is_file())
}

fn file_name(engine: &Engine, artefact: &Artefact) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{:016x}.cwasm", artefact.anatomy.sha256, hasher.finish())
}

fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    variable("PALISADE_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").map(|base| base.join("palisade")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache").join("palisade")))
}

#[allow(unsafe_code, reason = "compiled code is mapped from a folder that only this user can write")]
fn open(engine: &Engine, file: &Path) -> Option<Component> {
    if !file.is_file() || !is_private(file) {
        return None;
    }
    // SAFETY: the file was written whole (renamed into place) by this function's counterpart `store`, into a folder that
    // `is_private` found writable to this user alone; wasmtime checks its version and settings.
    let component = unsafe { Component::deserialize_file(engine, file) }.ok()?;
    // Marks the use, for `prune`; where that fails, the file only looks older than it is.
    let _ = std::fs::File::open(file).and_then(|file| file.set_modified(SystemTime::now()));
    Some(component)
}

#[allow(unsafe_code, reason = "compiled code in memory, made by this process")]
fn deserialize(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `compiled` is what `precompile_component` of this very engine returned.
    unsafe { Component::deserialize(engine, compiled) }
}

/// Whether nobody but this user can change the file or put another in its place.
#[cfg(unix)]
fn is_private(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let private = |path: &Path, owner: u32| {
        std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o022 == 0 && meta.uid() == owner)
    };
    let Some(folder) = file.parent() else { return false };
    // A file just created tells who this process is.
    let Ok(probe) = tempfile::NamedTempFile::new_in(folder) else {
        return false;
    };
    let Ok(owner) = probe.as_file().metadata().map(|meta| meta.uid()) else {
        return false;
    };
    private(folder, owner) && private(file, owner)
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> bool {
    true
}

fn store(file: &Path, compiled: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().ok_or(std::io::ErrorKind::NotFound)?;
    create_private(folder)?;
    let mut whole = tempfile::NamedTempFile::new_in(folder)?;
    whole.write_all(compiled)?;
    whole.as_file().sync_all()?;
    whole.persist(file)?;
    prune(folder);
    Ok(())
}

/// Removes what was not used for longest. Removing a file that another process has mapped does not disturb it.
fn prune(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let compiled = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm"));
    let mut by_use: Vec<(SystemTime, PathBuf)> =
        compiled.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    by_use.sort();
    for (_, path) in by_use.iter().rev().skip(FILES_MAX) {
        let _ = std::fs::remove_file(path);
    }
}

fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_last_used_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let start = SystemTime::now();
        for (age, name) in ["a.cwasm", "b.cwasm", "c.cwasm", "d.cwasm", "e.cwasm", "other"].iter().enumerate() {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(start - Duration::from_secs(age as u64)).unwrap();
        }
        prune(folder.path());
        let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a.cwasm", "b.cwasm", "c.cwasm", "d.cwasm", "other"]);
    }
}
