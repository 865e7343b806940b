//! Ahead-of-time compiled artefacts, so that only the first start of a release pays for compilation.
//!
//! The cache is a folder of this user's own (`$PALISADE_CACHE_DIR`, `$XDG_CACHE_HOME/palisade` or `~/.cache/palisade`).
//! A file's name holds the artefact's digest and wasmtime's compatibility hash, so a changed artefact, wasmtime,
//! setting or processor never meets an old file. The least recently used files beyond [`FILES_MAX`] are removed.
//!
//! Beside each lies its MAC, over name and content, under a key that is made once for the folder. A file that was
//! swapped, renamed, damaged, or brought from another machine is not loaded, but made anew. This keeps nobody out who
//! can read the folder's key, that is, who acts as this user: such a one could replace the program as well.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
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
/// The file with the folder's key: 32 random bytes, for this user alone.
const KEY_FILE: &str = "host-key";
/// How a file with a MAC begins, and what the MAC is for; 64 hexadecimal digits and a line end follow.
const MAC_SCHEMA: &str = "palisade-cache/1 ";
/// Files are read in pieces of this many bytes: they stay in the processor's cache between reading and hashing.
const PIECE_BYTES: usize = 256 << 10;

/// The compiled component: from the cache, or compiled now and kept for the next time.
///
/// A cache that cannot be used costs time only, so it is no error.
pub(crate) fn compiled(engine: &Engine, path: &Path, sha256: &str, bytes: &[u8]) -> Result<Component, Error> {
    let place = folder().and_then(|folder| Place::new(&folder, engine, sha256));
    if let Some(component) = place.as_ref().and_then(|place| place.open(engine)) {
        return Ok(component);
    }
    let broken = |e: wasmtime::Error| Error::NotAnArtefact {
        path: path.to_owned(),
        problem: format!("does not compile: {e:#}"),
    };
    let Some(place) = place else { return Component::new(engine, bytes).map_err(broken) };
    let compiled = engine.precompile_component(bytes).map_err(broken)?;
    if place.store(&compiled).is_ok()
        && let Some(component) = place.open(engine)
    {
        return Ok(component);
    }
    deserialize(engine, &compiled).map_err(|e| Error::Fault(format!("{e:#}")))
}

/// Whether the compiled component is there already; whether it can be used shows when it is opened.
pub(crate) fn holds(engine: &Engine, sha256: &str) -> bool {
    let place = folder().and_then(|folder| Place::new(&folder, engine, sha256));
    place.is_some_and(|place| is_trusted(std::fs::metadata(&place.file)) && place.expected_mac().is_some())
}

/// Where a compiled component is or will be, with the key of its MAC.
struct Place {
    file: PathBuf,
    /// The file's name without extension: artefact and engine.
    stem: String,
    key: [u8; 32],
}

impl Place {
    /// `None` where this user has no such folder that others cannot write to, or no key can be had.
    fn new(folder: &Path, engine: &Engine, sha256: &str) -> Option<Self> {
        create_private(folder).ok();
        if !is_trusted(std::fs::metadata(folder)) {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let stem = format!("{sha256}-{:016x}", hasher.finish());
        Some(Self { file: folder.join(format!("{stem}.cwasm")), stem, key: key(folder)? })
    }

    /// The component, where a file is there whose MAC is right.
    fn open(&self, engine: &Engine) -> Option<Component> {
        let mut file = File::open(&self.file).ok()?;
        if !is_trusted(file.metadata()) {
            return None;
        }
        let expected = self.expected_mac()?;
        let component = load(engine, &mut file, |file| (self.mac(file).ok()? == expected).then_some(()))?;
        // Marks the use, for `prune`; where that fails, the file only looks older than it is.
        let _ = file.set_modified(SystemTime::now());
        Some(component)
    }

    fn store(&self, compiled: &[u8]) -> std::io::Result<()> {
        let folder = self.file.parent().ok_or(std::io::ErrorKind::NotFound)?;
        let mac = format!("{MAC_SCHEMA}{}\n", self.mac(&mut &*compiled)?);
        // A crash in between leaves an old file with a new MAC, or none: it is then made again.
        write_whole(folder, &self.mac_file(), mac.as_bytes())?;
        write_whole(folder, &self.file, compiled)?;
        prune(folder);
        Ok(())
    }

    fn mac_file(&self) -> PathBuf {
        self.file.with_extension("mac")
    }

    /// What the file beside says; its comparison takes the same time wherever a difference is.
    fn expected_mac(&self) -> Option<blake3::Hash> {
        let file = File::open(self.mac_file()).ok()?;
        if !is_trusted(file.metadata()) {
            return None;
        }
        let mut text = String::new();
        file.take(1000).read_to_string(&mut text).ok()?;
        blake3::Hash::from_hex(text.strip_prefix(MAC_SCHEMA)?.trim_end()).ok()
    }

    /// BLAKE3 with the folder's key over schema, name and content.
    fn mac(&self, content: &mut impl Read) -> std::io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(MAC_SCHEMA.as_bytes()).update(self.stem.as_bytes()).update(&[0]);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let bytes = content.read(&mut piece)?;
            let Some(read) = piece.get(..bytes).filter(|read| !read.is_empty()) else { return Ok(hasher.finalize()) };
            hasher.update(read);
        }
    }
}

/// Maps the very file that is open, once `check` has read it and found it right.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "compiled code is mapped from a file whose MAC says that this user's palisade wrote it")]
fn load(engine: &Engine, file: &mut File, check: impl FnOnce(&mut File) -> Option<()>) -> Option<Component> {
    use std::os::fd::AsRawFd;
    check(file)?;
    // wasmtime opens components by path alone: this one leads to the open file, whatever has the name by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: `check` found the content to be what `store` wrote, by its MAC, and that is what `precompile_component`
    // returned. Files are renamed into place and never written again, and file and folder are writable to this user
    // (or root) alone, as `is_trusted` found for both; wasmtime checks its version and settings.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

/// Reads the file once, and takes what was read where `check` finds it right.
#[cfg(not(target_os = "linux"))]
fn load(engine: &Engine, file: &mut File, check: impl FnOnce(&mut &[u8]) -> Option<()>) -> Option<Component> {
    let mut compiled = Vec::new();
    file.read_to_end(&mut compiled).ok()?;
    check(&mut compiled.as_slice())?;
    deserialize(engine, &compiled).ok()
}

#[allow(unsafe_code, reason = "compiled code in memory, made by this user's palisade")]
fn deserialize(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `compiled` is what `precompile_component` of this very engine returned, now or, by its MAC, when it was
    // stored.
    unsafe { Component::deserialize(engine, compiled) }
}

/// The folder's key; made where there is none, or none that only this user knows. A new key makes all files useless,
/// which costs time only.
fn key(folder: &Path) -> Option<[u8; 32]> {
    let path = folder.join(KEY_FILE);
    // Before it is read: what another process makes in between is not to be replaced.
    let is_there = std::fs::symlink_metadata(&path).is_ok();
    if let Some(key) = read_key(&path) {
        return Some(key);
    }
    let mut new = [0; 32];
    getrandom::fill(&mut new).ok()?;
    let mut whole = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder).ok()?;
    whole.write_all(&new).and_then(|()| whole.as_file().sync_all()).ok()?;
    if is_there {
        whole.persist(&path).ok()?;
    } else {
        // Where another process was first, its key is the one.
        whole.persist_noclobber(&path).ok();
    }
    read_key(&path)
}

fn read_key(path: &Path) -> Option<[u8; 32]> {
    let mut file = File::open(path).ok()?;
    if !is_secret(file.metadata()) {
        return None;
    }
    let mut key = [0; 32];
    file.read_exact(&mut key).ok()?;
    (file.read(&mut [0]).ok()? == 0).then_some(key)
}

/// This user's folder for what can be made again.
pub(crate) fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    // The XDG specification has relative paths ignored, and native code must not come from wherever one happens to be.
    let absolute = |path: &PathBuf| path.is_absolute();
    variable("PALISADE_CACHE_DIR")
        .filter(absolute)
        .or_else(|| variable("XDG_CACHE_HOME").filter(absolute).map(|base| base.join("palisade")))
        .or_else(|| variable("HOME").filter(absolute).map(|home| home.join(".cache").join("palisade")))
}

/// Whether a file or folder is there, and nobody but this user and root can change it.
#[cfg(unix)]
pub(crate) fn is_trusted(metadata: std::io::Result<std::fs::Metadata>) -> bool {
    has_mode(metadata, 0o022)
}

/// Whether a file is there, and nobody but this user and root can read or change it.
#[cfg(unix)]
fn is_secret(metadata: std::io::Result<std::fs::Metadata>) -> bool {
    has_mode(metadata, 0o077)
}

/// Whether a file or folder is there, is this user's or root's, and permits others nothing of `forbidden`.
#[cfg(unix)]
fn has_mode(metadata: std::io::Result<std::fs::Metadata>, forbidden: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    metadata.is_ok_and(|meta| meta.mode() & forbidden == 0 && (meta.uid() == user || meta.uid() == 0))
}

#[cfg(not(unix))]
pub(crate) fn is_trusted(metadata: std::io::Result<std::fs::Metadata>) -> bool {
    metadata.is_ok()
}

#[cfg(not(unix))]
fn is_secret(metadata: std::io::Result<std::fs::Metadata>) -> bool {
    metadata.is_ok()
}

/// Writes a file that appears whole or not at all.
fn write_whole(folder: &Path, file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut whole = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    whole.write_all(bytes)?;
    whole.as_file().sync_all()?;
    whole.persist(file)?;
    Ok(())
}

/// Removes what was not used for longest, and what a killed run left behind an hour ago or earlier. Touches only files
/// that have this module's own names. Removing a file that another process has mapped does not disturb it.
fn prune(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut by_use: Vec<(SystemTime, PathBuf)> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    by_use.sort();
    let named =
        |path: &Path, is_ours: fn(&str) -> bool| path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours);
    let surplus = by_use.iter().rev().filter(|(_, path)| named(path, is_compiled)).skip(FILES_MAX);
    for (_, path) in surplus {
        let _ = std::fs::remove_file(path);
        let _ = std::fs::remove_file(path.with_extension("mac"));
    }
    for (_, path) in by_use.iter().filter(|(used, _)| used.elapsed().is_ok_and(|age| age > ABANDONED_AFTER)) {
        let is_single = named(path, is_mac) && !path.with_extension("cwasm").exists();
        if is_single || named(path, |name| name.starts_with(UNFINISHED)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether a file's name is one that [`Place`] gives to compiled code.
fn is_compiled(name: &str) -> bool {
    name.strip_suffix(".cwasm").is_some_and(is_stem)
}

/// Whether a file's name is one that [`Place`] gives to a MAC.
fn is_mac(name: &str) -> bool {
    name.strip_suffix(".mac").is_some_and(is_stem)
}

fn is_stem(stem: &str) -> bool {
    let is_hex = |part: &str, digits| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    stem.split_once('-').is_some_and(|(artefact, engine)| is_hex(artefact, 64) && is_hex(engine, 16))
}

pub(crate) fn create_private(folder: &Path) -> std::io::Result<()> {
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
        let stem = |age: usize| format!("{}-{:016x}", "a".repeat(64), age);
        let compiled = |age: usize| [format!("{}.cwasm", stem(age)), format!("{}.mac", stem(age))];
        let single = |digit: &str| format!("{}-{:016x}.mac", digit.repeat(64), 0);
        let others = ["notes.cwasm", "notes.mac", KEY_FILE].map(str::to_owned);
        let unfinished = ["new", "old"].map(|name| format!("{UNFINISHED}{name}"));
        let all = (0..FILES_MAX + 2).map(|age| (age, compiled(age).to_vec()));
        let rest = [(99, others.to_vec()), (0, vec![unfinished[0].clone(), single("b")])];
        let gone = [(99, vec![unfinished[1].clone(), single("c")])];
        for (hours, names) in all.chain(rest.clone()).chain(gone) {
            for name in names {
                let file = File::create(folder.path().join(name)).unwrap();
                file.set_modified(start - Duration::from_hours(hours as u64)).unwrap();
            }
        }
        prune(folder.path());
        let left = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = left.collect();
        left.sort();
        let mut expected: Vec<String> = (0..FILES_MAX).flat_map(compiled).collect();
        expected.extend(rest.into_iter().flat_map(|(_, names)| names));
        expected.sort();
        assert_eq!(left, expected);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_write_to_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_trusted(std::fs::metadata(folder.path())));
        set_mode(folder.path(), 0o777);
        assert!(!is_trusted(std::fs::metadata(folder.path())));
        assert!(!is_trusted(std::fs::metadata(folder.path().join("missing"))));
        assert!(Place::new(folder.path(), &Engine::default(), &"a".repeat(64)).is_none());
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A cache with two components in it.
    struct Cache {
        folder: tempfile::TempDir,
        engine: Engine,
    }

    impl Cache {
        fn new() -> Self {
            let cache = Self { folder: tempfile::tempdir().unwrap(), engine: Engine::default() };
            for digit in ["a", "b"] {
                cache.fill(digit);
                assert!(cache.holds(digit));
            }
            cache
        }

        fn fill(&self, digit: &str) {
            let source = format!("(component (core module $m (func (export \"{digit}\"))))");
            let compiled = self.engine.precompile_component(&wat::parse_str(source).unwrap()).unwrap();
            self.place(digit).store(&compiled).unwrap();
        }

        fn place(&self, digit: &str) -> Place {
            Place::new(self.folder.path(), &self.engine, &digit.repeat(64)).unwrap()
        }

        /// Whether the component with this digest is loaded.
        fn holds(&self, digit: &str) -> bool {
            self.place(digit).open(&self.engine).is_some()
        }

        fn key_file(&self) -> PathBuf {
            self.folder.path().join(KEY_FILE)
        }

        fn swap(&self, name: fn(&Place) -> PathBuf) {
            let aside = self.folder.path().join("aside");
            let [a, b] = ["a", "b"].map(|digit| name(&self.place(digit)));
            std::fs::rename(&a, &aside).unwrap();
            std::fs::rename(&b, &a).unwrap();
            std::fs::rename(&aside, &b).unwrap();
        }
    }

    #[test]
    fn swapped_and_renamed_files_are_not_loaded() {
        let cache = Cache::new();
        cache.swap(|place| place.file.clone());
        assert!(!cache.holds("a") && !cache.holds("b"));
        // Not even with their MACs: these are over the names too.
        cache.swap(Place::mac_file);
        assert!(!cache.holds("a") && !cache.holds("b"));
        cache.swap(|place| place.file.clone());
        cache.swap(Place::mac_file);
        assert!(cache.holds("a") && cache.holds("b"));
        let (from, to) = (cache.place("a"), cache.place("c"));
        std::fs::copy(&from.file, &to.file).unwrap();
        std::fs::copy(from.mac_file(), to.mac_file()).unwrap();
        assert!(!cache.holds("c"));
        cache.fill("c");
        assert!(cache.holds("c"));
    }

    #[test]
    fn damaged_files_are_not_loaded() {
        let cache = Cache::new();
        let place = cache.place("a");
        let whole = std::fs::read(&place.file).unwrap();
        let last = whole.len() - 1;
        for at in (0..whole.len()).step_by(997).chain([last]) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&place.file, flipped).unwrap();
            assert!(!cache.holds("a"), "byte {at}");
        }
        for content in [&whole[..last], &[&whole[..], b"x"].concat(), b""] {
            std::fs::write(&place.file, content).unwrap();
            assert!(!cache.holds("a"));
        }
        std::fs::write(&place.file, &whole).unwrap();
        assert!(cache.holds("a"));
        let mac = std::fs::read_to_string(place.mac_file()).unwrap();
        for text in ["", MAC_SCHEMA, &mac.replace("cache/1", "cache/2"), &mac[..mac.len() - 2]] {
            std::fs::write(place.mac_file(), text).unwrap();
            assert!(!cache.holds("a"));
        }
        std::fs::remove_file(place.mac_file()).unwrap();
        assert!(!cache.holds("a"));
        cache.fill("a");
        assert!(cache.holds("a"));
    }

    #[test]
    fn files_of_another_key_are_not_loaded() {
        let cache = Cache::new();
        let key = std::fs::read(cache.key_file()).unwrap();
        assert_eq!(key.len(), 32);
        std::fs::write(cache.key_file(), [7; 32]).unwrap();
        assert!(!cache.holds("a"));
        std::fs::write(cache.key_file(), &key).unwrap();
        assert!(cache.holds("a"));
        // Without a key a new one is made, and the files with it.
        std::fs::remove_file(cache.key_file()).unwrap();
        assert!(!cache.holds("a"));
        assert_ne!(std::fs::read(cache.key_file()).unwrap(), key);
        cache.fill("a");
        assert!(cache.holds("a"));
        for damaged in [&[7; 31][..], &[7; 33], &[]] {
            std::fs::write(cache.key_file(), damaged).unwrap();
            assert!(!cache.holds("a"));
            assert_eq!(std::fs::read(cache.key_file()).unwrap().len(), 32);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_or_file_that_others_could_have_had_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let cache = Cache::new();
        let mode = || std::fs::metadata(cache.key_file()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        let key = std::fs::read(cache.key_file()).unwrap();
        set_mode(&cache.key_file(), 0o644);
        assert!(!cache.holds("a"));
        assert_ne!(std::fs::read(cache.key_file()).unwrap(), key);
        assert_eq!(mode(), 0o600);
        cache.fill("a");
        set_mode(&cache.place("a").file, 0o666);
        assert!(!cache.holds("a"));
    }

    #[test]
    fn all_who_start_at_once_get_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| key(folder.path()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]) && keys[0] != [0; 32]);
    }
}
