//! Builds the word list that respelling goes by into a finite-state map, which is read in place.

#![allow(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use fst::MapBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=words.txt");
    println!("cargo::rerun-if-changed=build.rs");
    let mut builder = MapBuilder::memory();
    for line in fs::read_to_string("words.txt")?.lines() {
        let (word, commonness) = line.split_once(' ').ok_or_else(|| format!("words.txt: no number behind {line:?}"))?;
        builder.insert(word, commonness.parse()?)?;
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("words.fst"), builder.into_inner()?)?;
    Ok(())
}
