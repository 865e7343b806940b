//! Ahead-of-time compiled artefacts, so that only the first start of a release pays for compilation.
//!
//! The cache is a folder of this user's own (`$PALISADE_CACHE_DIR`, `$XDG_CACHE_HOME/palisade` or `~/.cache/palisade`).
//! A file's name holds the artefact's digest and wasmtime's compatibility hash, so a changed artefact, wasmtime, setting
//! or processor never meets an old file. The least recently used files beyond [`FILES_MAX`] are removed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::Error;

/// Compiled artefacts that are kept; a release has some hundred megabytes.
const FILES_MAX: usize = 8;
/// How the names of half-written files begin.
const UNFINISHED: &str = ".palisade-unfinished-";
/// A half-written file of this age has no writer any more.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

/// The compiled component: from the cache, or compiled now and kept for the next time.
///
/// A cache that cannot be used costs time only, so it is no error.
pub(crate) fn compiled(engine: &Engine, path: &Path, sha256: &str, bytes: &[u8]) -> Result<Component, Error> {
    let file = file(engine, sha256);
    if let Some(component) = file.as_deref().and_then(|file| open(engine, file)) {
        return Ok(component);
    }
    let broken = |e: wasmtime::Error| Error::NotAnArtefact {
        path: path.to_owned(),
        problem: format!("does not compile: {e:#}"),
    };
    let Some(file) = file else { return Component::new(engine, bytes).map_err(broken) };
    let compiled = engine.precompile_component(bytes).map_err(broken)?;
    if store(&file, &compiled).is_ok()
        && let Some(component) = open(engine, &file)
    {
        return Ok(component);
    }
    deserialize(engine, &compiled).map_err(|e| Error::Fault(format!("{e:#}")))
}

/// Whether the compiled component is there already.
pub(crate) fn holds(engine: &Engine, sha256: &str) -> bool {
    file(engine, sha256).is_some_and(|file| is_trusted(&file))
}

/// Where the compiled component is or will be; `None` where this user has no folder that others cannot write to.
fn file(engine: &Engine, sha256: &str) -> Option<PathBuf> {
    let folder = folder()?;
    create_private(&folder).ok();
    if !is_trusted(&folder) {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Some(folder.join(format!("{}-{:016x}.cwasm", sha256, hasher.finish())))
}

fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    // The XDG specification has relative paths ignored, and native code must not come from wherever one happens to be.
    let absolute = |path: &PathBuf| path.is_absolute();
    variable("PALISADE_CACHE_DIR")
        .filter(absolute)
        .or_else(|| variable("XDG_CACHE_HOME").filter(absolute).map(|base| base.join("palisade")))
        .or_else(|| variable("HOME").filter(absolute).map(|home| home.join(".cache").join("palisade")))
}

#[allow(unsafe_code, reason = "compiled code is mapped from a folder that only this user can write")]
fn open(engine: &Engine, file: &Path) -> Option<Component> {
    if !is_trusted(file) {
        return None;
    }
    // SAFETY: the file was written whole (renamed into place) by this function's counterpart `store`, and file and folder
    // are writable to this user (or root) alone, as `is_trusted` found for both; wasmtime checks its version and settings.
    let component = unsafe { Component::deserialize_file(engine, file) }.ok()?;
    // Marks the use, for `prune`; where that fails, the file only looks older than it is.
    let _ = std::fs::File::open(file).and_then(|file| file.set_modified(SystemTime::now()));
    Some(component)
}

/// Whether a file or folder is there, and nobody but this user and root can change it.
#[cfg(unix)]
fn is_trusted(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o022 == 0 && (meta.uid() == user || meta.uid() == 0))
}

#[cfg(not(unix))]
fn is_trusted(path: &Path) -> bool {
    path.exists()
}

#[allow(unsafe_code, reason = "compiled code in memory, made by this process")]
fn deserialize(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `compiled` is what `precompile_component` of this very engine returned.
    unsafe { Component::deserialize(engine, compiled) }
}

fn store(file: &Path, compiled: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().ok_or(std::io::ErrorKind::NotFound)?;
    let mut whole = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    whole.write_all(compiled)?;
    whole.as_file().sync_all()?;
    whole.persist(file)?;
    prune(folder);
    Ok(())
}

/// Removes what was not used for longest, and what a killed run left behind an hour ago or earlier. Touches only files that
/// have this module's own names. Removing a file that another process has mapped does not disturb it.
fn prune(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut by_use: Vec<(SystemTime, PathBuf)> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    by_use.sort();
    let named =
        |path: &Path, is_ours: fn(&str) -> bool| path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours);
    let compiled = by_use.iter().rev().filter(|(_, path)| named(path, is_compiled)).skip(FILES_MAX);
    let abandoned = by_use.iter().filter(|(used, path)| {
        named(path, |name| name.starts_with(UNFINISHED)) && used.elapsed().is_ok_and(|age| age > ABANDONED_AFTER)
    });
    for (_, path) in compiled.chain(abandoned) {
        let _ = std::fs::remove_file(path);
    }
}

/// Whether a file's name is one that [`file`] gives.
fn is_compiled(name: &str) -> bool {
    let is_hex = |part: &str, digits| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = name.strip_suffix(".cwasm").and_then(|stem| stem.split_once('-'));
    parts.is_some_and(|(artefact, engine)| is_hex(artefact, 64) && is_hex(engine, 16))
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
    use super::*;

    #[test]
    fn only_the_last_used_files_of_ours_stay() {
        let folder = tempfile::tempdir().unwrap();
        let start = SystemTime::now();
        let compiled = |age: usize| format!("{}-{:016x}.cwasm", "a".repeat(64), age);
        let others = ["notes.cwasm".to_owned(), format!("{UNFINISHED}new"), format!("{UNFINISHED}old")];
        for (age, name) in (0..FILES_MAX + 2).map(compiled).chain(others).enumerate() {
            let hours = if name.ends_with("new") { 0 } else { age as u64 };
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(start - Duration::from_hours(hours)).unwrap();
        }
        prune(folder.path());
        let left = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = left.collect();
        left.sort();
        let mut expected: Vec<String> = (0..FILES_MAX).map(compiled).collect();
        expected.extend(["notes.cwasm".to_owned(), format!("{UNFINISHED}new")]);
        expected.sort();
        assert_eq!(left, expected);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_write_to_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        assert!(is_trusted(folder.path()));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_trusted(folder.path()));
        assert!(!is_trusted(&folder.path().join("missing")));
    }
}
