//! Builds the word list that respelling goes by and the names of emoji into finite-state machines, which are read in place.

#![allow(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::{env, fs};

use fst::{MapBuilder, Set};

/// Asks for a character to be shown as an emoji. Many emoji are known with it and without.
const PRESENTATION_SELECTOR: char = '\u{FE0F}';

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=words.txt");
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("words.fst"), words()?)?;
    fs::write(Path::new(&out).join("emoji.fst"), Set::from_iter(emoji())?.as_fst().as_bytes())?;
    Ok(())
}

/// The words of the list with their numbers.
fn words() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut builder = MapBuilder::memory();
    for line in fs::read_to_string("words.txt")?.lines() {
        let (word, commonness) = line.split_once(' ').ok_or_else(|| format!("words.txt: no number behind {line:?}"))?;
        builder.insert(word, commonness.parse()?)?;
    }
    Ok(builder.into_inner()?)
}

/// All that the library takes for an emoji, each with NUL and the words of the name behind it.
fn emoji() -> BTreeSet<String> {
    let toned = emojis::iter().filter_map(emojis::Emoji::skin_tones).flatten();
    let spellings = emojis::iter().chain(toned).flat_map(|emoji| spellings(emoji.as_str()));
    let known = spellings.filter_map(|spelling| {
        let name = words_of(emojis::get(&spelling)?.name());
        Some(spelling + "\0" + &name)
    });
    known.collect()
}

/// An emoji as it is and without any of its presentation selectors, and each of its characters with one.
fn spellings(emoji: &str) -> Vec<String> {
    let mut spellings = vec![String::new()];
    for character in emoji.chars() {
        let without = if character == PRESENTATION_SELECTOR { spellings.clone() } else { Vec::new() };
        for spelling in &mut spellings {
            spelling.push(character);
        }
        spellings.extend(without);
    }
    spellings.extend(emoji.chars().map(|character| format!("{character}{PRESENTATION_SELECTOR}")));
    spellings
}

/// A name in small letters, with nothing but words in it.
fn words_of(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
