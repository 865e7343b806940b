//! Emoji to their names.
//!
//! The `emojis` crate knows them; what is read of it here is built into a fifth of its size by `build.rs`.

use std::sync::LazyLock;

use fst::raw::Fst;

/// Every emoji, NUL, and its name: one way leads from there to the name's end.
static EMOJI: LazyLock<Option<Fst<&'static [u8]>>> =
    LazyLock::new(|| Fst::new(include_bytes!(concat!(env!("OUT_DIR"), "/emoji.fst")).as_slice()).ok());

/// The CLDR short name of an emoji in small letters, with nothing but words in it; `None` for what is no emoji.
pub(crate) fn name(emoji: &str) -> Option<String> {
    let fst = EMOJI.as_ref()?;
    let mut node = fst.root();
    for byte in emoji.bytes().chain([0]) {
        node = fst.node(node.transition_addr(node.find_input(byte)?));
    }
    let mut name = Vec::new();
    while !node.is_final() {
        let letter = node.transitions().next()?;
        name.push(letter.inp);
        node = fst.node(letter.addr);
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{EMOJI, name};

    const JOINER: char = '\u{200D}';
    const PRESENTATION_SELECTOR: char = '\u{FE0F}';

    fn all() -> Vec<&'static emojis::Emoji> {
        let toned = emojis::iter().filter_map(emojis::Emoji::skin_tones).flatten();
        emojis::iter().chain(toned).collect()
    }

    /// What the library says, in small letters, with nothing but words in it.
    fn expected(emoji: &str) -> Option<String> {
        let mut name = String::new();
        for word in emojis::get(emoji)?.name().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            if !name.is_empty() {
                name.push(' ');
            }
            name.push_str(&word.to_lowercase());
        }
        Some(name)
    }

    fn check(text: &str) {
        assert_eq!(name(text), expected(text), "{text:?}");
    }

    #[test]
    fn names_in_words() {
        assert_eq!(name("👍🏽").as_deref(), Some("thumbs up medium skin tone"));
        assert_eq!(name("🪅").as_deref(), Some("piñata"));
        for other in ["", "\0", "a", "👍\0", "👍\0thumbs up", "👍👍"] {
            assert_eq!(name(other), None, "{other:?}");
        }
    }

    #[test]
    fn every_character_is_named_as_in_the_library() {
        for character in '\0'..=char::MAX {
            check(&character.to_string());
            check(&format!("{character}{PRESENTATION_SELECTOR}"));
            check(&format!("{character}{PRESENTATION_SELECTOR}\u{20E3}"));
        }
    }

    #[test]
    fn every_emoji_is_named_as_in_the_library_with_any_presentation_selectors() {
        for emoji in all() {
            let plain: Vec<char> = emoji.as_str().chars().filter(|&c| c != PRESENTATION_SELECTOR).collect();
            for selected in 0..1_u32 << plain.len() {
                let mut text = String::new();
                for (i, &character) in plain.iter().enumerate() {
                    text.push(character);
                    if (selected >> i) & 1 == 1 {
                        text.push(PRESENTATION_SELECTOR);
                    }
                }
                check(&text);
            }
        }
    }

    #[test]
    fn every_pair_of_characters_of_emoji_is_named_as_in_the_library() {
        let characters: BTreeSet<char> = all().iter().flat_map(|emoji| emoji.as_str().chars()).collect();
        for first in &characters {
            for second in &characters {
                check(&format!("{first}{second}"));
                check(&format!("{first}{JOINER}{second}"));
                check(&format!("{first}{PRESENTATION_SELECTOR}{JOINER}{second}{PRESENTATION_SELECTOR}"));
            }
        }
    }

    #[test]
    fn every_name_here_is_in_the_library() {
        let mut stream = EMOJI.as_ref().unwrap().stream();
        let mut count = 0;
        while let Some((key, _)) = fst::Streamer::next(&mut stream) {
            let (emoji, name) = std::str::from_utf8(key).unwrap().split_once('\0').unwrap();
            assert_eq!(expected(emoji).as_deref(), Some(name));
            count += 1;
        }
        assert!(count > all().len());
    }
}
