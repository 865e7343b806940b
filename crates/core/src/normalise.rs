//! Text as the model reads it: spelling tricks undone, emoji in words.
//!
//! One function, [`normalise`], used by training (`training/`) and by scoring alike, so that a model meets in service what it
//! met in training. It works on white-space separated words and keeps, for each word of the result, where it comes from.
//!
//! In this order, for each word:
//!
//! 1. emoji become their CLDR short names, each on its own; a repeated one is named once;
//! 2. compatibility forms become plain letters (NFKD of Unicode Standard Annex 15, recomposed by NFC); marks meant to be put on
//!    letters (the blocks of combining diacritical marks) and characters without width are dropped;
//! 3. look-alike letters of other scripts become Latin ones, where the word mixes scripts or the text is mostly Latin;
//! 4. digits and signs that stand for letters become letters (`1d10t`, `b!tch`, `a$$`);
//! 5. a letter that is repeated more than twice is written twice, a sign more than three times three times (not in addresses);
//! 6. misspelt words become the words they are written for (`respell.rs`), but not those that look like names;
//! 7. single letters become one word where three or more follow each other, with white space between them (`i d i o t`, a separator
//!    behind each letter is dropped) or one separator inside a word (`i.d.i.o.t`), and so do two halves of a common word (`idi ot`).
//!
//! The rules lose distinctions (`h3y` and `hey` are one), and are wrong at times (a product number can become a word, and a rare
//! name a common word). They say nothing of meaning: that is the model's part.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use crate::{emoji, respell};

/// Name of these rules, as `normalisation` in a release's manifest. Other rules get another name.
pub const RULES: &str = "palisade-2";

/// Letters that are read as a word where single ones follow each other: fewer are left alone.
const SPELLED_LETTERS_MIN: usize = 3;
/// Most letters that are joined to one word.
const SPELLED_LETTERS_MAX: usize = 32;
/// Most times that a letter may follow itself.
const LETTER_REPEATS_MAX: usize = 2;
/// Most times that a sign may follow itself behind a letter, where it may hide letters.
const MASK_REPEATS_MAX: usize = 8;
/// Most times that another sign may follow itself.
const SIGN_REPEATS_MAX: usize = 3;

/// A normalised text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Normalised {
    /// The words with one space between them.
    pub text: String,
    /// The words, in order.
    pub words: Vec<Word>,
}

/// A word of a normalised text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Bytes of [`Normalised::text`].
    pub place: Range<usize>,
    /// Bytes of the original text that it comes from.
    pub source: Range<usize>,
}

impl Normalised {
    fn push(&mut self, word: &str, source: Range<usize>) {
        if word.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let start = self.text.len();
        self.text.push_str(word);
        self.words.push(Word { place: start..self.text.len(), source });
    }
}

/// A word on its way.
struct Folded {
    word: String,
    source: Range<usize>,
    is_emoji: bool,
}

/// Normalises a text. The result of a normalised text is not always itself: a second pass may find more to undo.
pub fn normalise(text: &str) -> Normalised {
    let latin = is_mostly_latin(text);
    let mut folded: Vec<Folded> = Vec::new();
    let mut sentence_begins = true;
    let mut end = 0;
    for (start, word) in words(text) {
        sentence_begins |= text.get(end..start).is_some_and(|gap| gap.contains(['\n', '\r', '\u{2029}']));
        end = start + word.len();
        for (piece, source) in without_emoji(word, start) {
            match piece {
                Piece::Emoji(name) => {
                    // The same emoji ten times says no more than once, and is one word from the first to the last.
                    match folded.last_mut().filter(|last| last.is_emoji && last.word == name) {
                        Some(first) => first.source.end = source.end,
                        None => folded.push(Folded { word: name, source, is_emoji: true }),
                    }
                    sentence_begins = true;
                }
                Piece::Text(piece) => {
                    let plain = fold_word(piece, latin);
                    let word = respelt(&plain, sentence_begins).unwrap_or(plain);
                    if word.contains(char::is_alphanumeric) {
                        let said = word.trim_end_matches([')', ']', '"', '”', '\'', '’', '*', '_']);
                        sentence_begins = said.ends_with(['.', '!', '?', ':', ';', '…']);
                    }
                    folded.push(Folded { word, source, is_emoji: false });
                }
            }
        }
    }
    folded.retain(|folded| !folded.word.is_empty());
    join_spelled(&folded)
}

/// White-space separated words with the place of their first byte.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(|word| (word.as_ptr().addr() - text.as_ptr().addr(), word))
}

enum Piece<'a> {
    Text(&'a str),
    Emoji(String),
}

/// Cuts a word into emoji and what is between them.
fn without_emoji(word: &str, start: usize) -> Vec<(Piece<'_>, Range<usize>)> {
    if word.is_ascii() {
        return vec![(Piece::Text(word), start..start + word.len())];
    }
    let mut pieces = Vec::new();
    let mut text_from = 0;
    for (at, grapheme) in word.grapheme_indices(true) {
        let Some(name) = emoji_name(grapheme) else { continue };
        if let Some(before) = word.get(text_from..at).filter(|before| !before.is_empty()) {
            pieces.push((Piece::Text(before), start + text_from..start + at));
        }
        text_from = at + grapheme.len();
        pieces.push((Piece::Emoji(name), start + at..start + text_from));
    }
    if let Some(rest) = word.get(text_from..).filter(|rest| !rest.is_empty()) {
        pieces.push((Piece::Text(rest), start + text_from..start + word.len()));
    }
    pieces
}

/// The short name of an emoji in small letters, with nothing but words in it.
fn emoji_name(grapheme: &str) -> Option<String> {
    let first = grapheme.chars().next()?;
    if first < '\u{203C}' || first.is_alphabetic() || boxed_letter(first).is_some() {
        return None; // keycaps, ©, and letters in boxes are read as what is in them
    }
    emoji::name(grapheme).or_else(|| {
        // With a presentation selector that the name's entry does not have, or a tone that it does not know.
        let plain: String = grapheme.chars().filter(|&c| !is_ignorable(c) && !is_skin_tone(c)).collect();
        emoji::name(&plain)
    })
}

fn is_skin_tone(c: char) -> bool {
    matches!(c, '\u{1F3FB}'..='\u{1F3FF}')
}

/// Steps 2 to 5.
fn fold_word(word: &str, latin_text: bool) -> String {
    let plain: Vec<char> = if word.is_ascii() {
        word.chars().collect()
    } else {
        let visible = word.chars().filter(|&c| !is_ignorable(c));
        let visible = visible.map(|c| boxed_letter(c).or_else(|| regional_letter(c)).unwrap_or(c));
        let plain: String = visible.nfkd().filter(|&c| !is_mark(c) && !c.is_whitespace()).nfc().collect();
        without_look_alikes(&plain, latin_text)
    };
    if word.contains("://") || word.starts_with("www.") {
        return plain.into_iter().collect();
    }
    without_repeats(&without_leet(plain))
}

/// Characters that show nothing: format controls, variation selectors, tags, fillers.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

/// The blocks of combining diacritical marks. Marks of living scripts (Devanagari vowels, say) are not among them.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}'
        | '\u{FE20}'..='\u{FE2F}')
}

/// Letters in boxes and discs that have no compatibility form.
fn boxed_letter(c: char) -> Option<char> {
    match c {
        '\u{1F150}'..='\u{1F169}' => letter_from('\u{1F150}', c),
        '\u{1F170}'..='\u{1F189}' => letter_from('\u{1F170}', c),
        _ => None,
    }
}

/// The letter of a regional indicator. Two of them that make a flag are an emoji, and never come here.
fn regional_letter(c: char) -> Option<char> {
    if matches!(c, '\u{1F1E6}'..='\u{1F1FF}') { letter_from('\u{1F1E6}', c) } else { None }
}

/// The letter of `c` in an alphabet of symbols that begins with `a`.
fn letter_from(a: char, c: char) -> Option<char> {
    char::from_u32(u32::from(c) - u32::from(a) + u32::from('a'))
}

/// Whether there are no more letters of a look of their own than Latin ones.
fn is_mostly_latin(text: &str) -> bool {
    let (mut latin, mut other) = (0_usize, 0_usize);
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        if c.is_ascii() {
            latin += 1;
        } else if look_alike(c).is_none() {
            other += 1;
        }
    }
    latin >= other
}

/// Step 3. A word is folded where all its letters have a Latin look, and either some are Latin or the text is.
fn without_look_alikes(word: &str, latin_text: bool) -> Vec<char> {
    let mut letters = word.chars().filter(|c| c.is_alphabetic());
    let mixed = word.contains(|c: char| c.is_ascii_alphabetic());
    let all_look_latin = letters.all(|c| c.is_ascii() || look_alike(c).is_some());
    if !(mixed || latin_text && all_look_latin) {
        return word.chars().collect();
    }
    word.chars().map(|c| look_alike(c).unwrap_or(c)).collect()
}

/// The Latin letter that a letter looks like (the common ones of Unicode Technical Standard 39, and small capitals).
fn look_alike(c: char) -> Option<char> {
    if c.is_ascii() {
        return None;
    }
    Some(match c {
        'а' | 'А' | 'α' | 'Α' | 'ɑ' | 'ᴀ' | 'Ꭺ' => 'a',
        'Β' | 'β' | 'В' | 'ʙ' | 'Ь' | 'ь' | 'Ᏼ' | 'ƀ' => 'b',
        'с' | 'С' | 'ϲ' | 'Ϲ' | 'ᴄ' | 'Ꮯ' => 'c',
        'ԁ' | 'ᴅ' | 'Ꭰ' | 'đ' | 'Đ' | 'ɖ' | 'ɗ' => 'd',
        'е' | 'Е' | 'є' | 'Є' | 'ε' | 'Ε' | 'ᴇ' | 'Ꭼ' | 'ɛ' | 'ə' => 'e',
        'ꜰ' | 'ƒ' | 'Ϝ' | 'ғ' | 'Ғ' => 'f',
        'ɡ' | 'ɢ' | 'ց' | 'Ꮐ' | 'ɠ' => 'g',
        'һ' | 'Н' | 'н' | 'Η' | 'ʜ' | 'հ' | 'Ꮋ' | 'ħ' | 'Ħ' => 'h',
        'і' | 'І' | 'ι' | 'Ι' | 'ı' | 'ɩ' | 'ɪ' | 'Ӏ' | 'ӏ' | 'ɨ' => 'i',
        'ј' | 'Ј' | 'ϳ' | 'ᴊ' | 'Ꭻ' => 'j',
        'к' | 'К' | 'κ' | 'Κ' | 'ᴋ' | 'Ꮶ' | 'ĸ' => 'k',
        'ʟ' | 'Ꮮ' | 'ł' | 'Ł' | 'ɫ' => 'l',
        'м' | 'М' | 'Μ' | 'ᴍ' | 'Ꮇ' => 'm',
        'п' | 'η' | 'Ν' | 'ɴ' | 'ո' | 'ŋ' => 'n',
        'о' | 'О' | 'ο' | 'Ο' | 'σ' | 'ᴏ' | 'օ' | 'Օ' | 'ø' | 'Ø' | 'ө' | 'ɵ' => 'o',
        'р' | 'Р' | 'ρ' | 'Ρ' | 'ᴘ' | 'Ꮲ' | 'þ' => 'p',
        'ԛ' | 'զ' => 'q',
        'г' | 'ʀ' | 'ɾ' | 'Ꭱ' | 'ᴦ' => 'r',
        'ѕ' | 'Ѕ' | 'ꜱ' | 'Ꮪ' => 's',
        'т' | 'Т' | 'τ' | 'Τ' | 'ᴛ' | 'Ꭲ' | 'ŧ' | 'Ŧ' => 't',
        'υ' | 'ս' | 'ᴜ' | 'ʋ' => 'u',
        'ν' | 'ѵ' | 'ᴠ' | 'Ꮩ' => 'v',
        'ԝ' | 'ω' | 'ѡ' | 'ᴡ' | 'Ꮃ' => 'w',
        'х' | 'Х' | 'χ' | 'Χ' => 'x',
        'у' | 'У' | 'γ' | 'Υ' | 'ү' | 'Ү' | 'ʏ' | 'ý' => 'y',
        'Ζ' | 'ᴢ' | 'Ꮓ' => 'z',
        _ => return None,
    })
}

/// The letter that a digit or sign stands for.
fn leet(c: char) -> Option<char> {
    Some(match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '8' => 'b',
        '9' => 'g',
        _ => return None,
    })
}

/// Step 4, for a word that has letters on both sides of such signs, or begins or ends with one in a way that no number,
/// unit, price, mention or address does.
fn without_leet(mut word: Vec<char>) -> Vec<char> {
    let is_wordy = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '@' | '$' | '!' | '|' | '+' | '€');
    let (Some(mut first), Some(mut last)) = (word.iter().position(is_wordy), word.iter().rposition(is_wordy)) else {
        return word;
    };
    let at = |i: usize| word.get(i).copied().unwrap_or(' ');
    // Exclamation marks and bars around a word are punctuation.
    while first < last && matches!(at(first), '!' | '|' | '+') {
        first += 1;
    }
    while first < last && matches!(at(last), '!' | '|' | '+' | '@') {
        last -= 1;
    }
    let core: Vec<char> = word.get(first..=last).unwrap_or_default().to_vec();
    let Some(folded) = unleet(&core).or_else(|| unleet_to_word(&core)) else { return word };
    word.splice(first..=last, folded);
    word
}

/// What is not read as letters by its looks (`5hit` could be a number and a unit) is, where that makes a common word.
fn unleet_to_word(core: &[char]) -> Option<Vec<char>> {
    const LETTERS_MIN: usize = 4;
    let letters = core.iter().filter(|c| c.is_ascii_alphabetic()).count();
    let leading = core.iter().take_while(|c| c.is_ascii_digit()).count();
    let trailing = core.iter().rev().take_while(|c| c.is_ascii_digit()).count();
    if core.len() < LETTERS_MIN || letters == 0 || letters == core.len() || leading > 1 || core.first() == Some(&'@') {
        return None;
    }
    let word = core.iter().map(|&c| if c.is_ascii_alphabetic() { Some(c.to_ascii_lowercase()) } else { leet(c) });
    let word: String = word.collect::<Option<_>>()?;
    // A number before or behind letters is a number, but for words that people hide.
    let fits = if letters + leading.max(trailing) == core.len() {
        respell::is_masked(&word)
    } else {
        respell::is_common(&word)
    };
    fits.then(|| word.chars().collect())
}

fn unleet(core: &[char]) -> Option<Vec<char>> {
    let is_digit = |c: &char| c.is_ascii_digit();
    let letters = core.iter().filter(|c| c.is_ascii_alphabetic()).count();
    let signs = core.iter().filter(|&&c| leet(c).is_some()).count();
    let plain = core.iter().all(|&c| c.is_ascii_alphabetic() || leet(c).is_some());
    let (first, last) = (*core.first()?, *core.last()?);
    if letters == 0 || signs == 0 || !plain || core.len() < 3 {
        return None;
    }
    let leading_digits = core.iter().take_while(|c| is_digit(c)).count();
    let behind_digits = core.len() - leading_digits;
    // 2nd, 10am, 5k, 100mb, 4chan; mp3, covid19, ps5; c4 would be too short.
    if leading_digits > 0 && letters == behind_digits {
        return None;
    }
    let trailing_digits = core.iter().rev().take_while(|c| is_digit(c)).count();
    if trailing_digits > 0 && letters + trailing_digits == core.len() {
        return None;
    }
    let mention = first == '@' && core.get(1..3) != Some(&['s', 's']) && core.get(1..3) != Some(&['$', '$']);
    let price = matches!(first, '$' | '€') && core.get(1).is_some_and(is_digit);
    let digit_run = core.split(|c| !c.is_ascii_digit()).map(<[char]>::len).max().unwrap_or(0);
    // A long number inside is a number; a name that is mostly digits is a name.
    if mention || price || digit_run > 3 || (last.is_ascii_digit() && signs > letters + 1) {
        return None;
    }
    Some(core.iter().map(|&c| leet(c).unwrap_or(c)).collect())
}

/// Step 5.
fn without_repeats(word: &[char]) -> String {
    let mut out = String::with_capacity(word.len());
    let mut previous: Option<char> = None;
    let mut times = 0;
    let mut masks = false;
    for &c in word {
        let small = c.to_lowercase().next().unwrap_or(c);
        if previous == Some(small) {
            times += 1;
        } else {
            times = 1;
            masks = is_mask(c) && previous.is_some_and(char::is_alphabetic);
        }
        previous = Some(small);
        let times_max = match c {
            _ if c.is_alphabetic() => LETTER_REPEATS_MAX,
            _ if masks => MASK_REPEATS_MAX,
            _ => SIGN_REPEATS_MAX,
        };
        if times <= times_max || c.is_numeric() {
            out.push(c);
        }
    }
    out
}

/// Step 6, for the letters of a word with what is around them. A word that begins with a capital inside a sentence may be a name: it is
/// left alone, unless letters of it are masked.
fn respelt(word: &str, sentence_begins: bool) -> Option<String> {
    let from = word.find(|c: char| c.is_ascii_alphabetic())?;
    let (before, rest) = word.split_at(from);
    if before.ends_with(['@', '#']) || before.contains(char::is_alphanumeric) {
        return None;
    }
    let end = rest.find(|c: char| !c.is_ascii_alphabetic() && !is_mask(c)).unwrap_or(rest.len());
    let (mut core, mut behind) = rest.split_at(end);
    if before.contains(is_mask) {
        core = core.trim_end_matches(is_mask); // signs on both sides are stress, not masks
        behind = rest.get(core.len()..)?;
    }
    // `'s` and the like may follow, and signs; anything else makes it an address, a number or a compound.
    let ending = behind.strip_prefix(['\'', '’']).unwrap_or(behind);
    if ending.trim_start_matches(|c: char| c.is_ascii_alphabetic()).contains(char::is_alphanumeric)
        || ending.len() == behind.len() && behind.contains(char::is_alphanumeric)
    {
        return None;
    }
    let mut letters = core.chars();
    let capital = letters.next().is_some_and(|c| c.is_ascii_uppercase());
    if capital && !sentence_begins && core.len() > 1 && letters.all(|c| c.is_ascii_lowercase()) {
        return None;
    }
    let small = core.to_ascii_lowercase();
    if let Some(meant) = respell::respell(&small) {
        return Some([before, &meant, behind].concat());
    }
    // Signs at the end hid nothing.
    let stem = small.trim_end_matches(is_mask);
    let meant = respell::respell(stem).filter(|_| stem.len() < small.len())?;
    Some([before, &meant, core.get(stem.len()..)?, behind].concat())
}

/// Whether the sign hides a letter inside a word.
fn is_mask(c: char) -> bool {
    matches!(c, '*' | '#' | '%' | '^')
}

/// Step 7, over words and inside one.
fn join_spelled(folded: &[Folded]) -> Normalised {
    let mut out = Normalised::default();
    let mut rest = folded;
    while let Some((first, behind)) = rest.split_first() {
        let (run, tail) = single_letters(rest);
        if run.len() >= SPELLED_LETTERS_MIN {
            push_spelled(&mut out, &run, tail);
            rest = rest.get(run.len()..).unwrap_or_default();
            continue;
        }
        if let Some((joined, second, left)) =
            behind.split_first().and_then(|(second, left)| Some((halves(first, second)?, second, left)))
        {
            out.push(&joined, first.source.start..second.source.end);
            rest = left;
            continue;
        }
        match unseparated(&first.word) {
            Some(joined) => out.push(&joined, first.source.clone()),
            None => out.push(&first.word, first.source.clone()),
        }
        rest = behind;
    }
    out
}

/// The single letters that the words begin with, each with where it comes from, and the signs behind the last.
///
/// A separator behind a letter is part of the spelling; other signs end it. Letters that are words of their own (`I`, `a`) count as well:
/// a run of three single letters is hardly a sentence.
fn single_letters(words: &[Folded]) -> (Vec<(char, Range<usize>)>, &str) {
    let mut run = Vec::new();
    for Folded { word, source, .. } in words.iter().take(SPELLED_LETTERS_MAX) {
        let mut chars = word.chars();
        let Some(letter) = chars.next().filter(char::is_ascii_alphabetic) else { break };
        let signs = chars.as_str();
        if signs.contains(char::is_alphanumeric) {
            break;
        }
        run.push((letter, source.clone()));
        let mut behind = signs.chars();
        let separates = behind.next().is_none_or(is_separator) && behind.next().is_none();
        if !separates {
            return (run, signs);
        }
    }
    (run, "")
}

/// One word of single letters; the first few stay on their own where the rest is a common word (`a s t u p i d`).
fn push_spelled(out: &mut Normalised, run: &[(char, Range<usize>)], tail: &str) {
    const OWN_MAX: usize = 3;
    let word = |letters: &[(char, Range<usize>)]| {
        letters.iter().map(|(letter, _)| letter.to_ascii_lowercase()).collect::<String>()
    };
    let whole = word(run);
    let respelt = respell::respell(&whole);
    let own = if respell::is_known(&whole) || respelt.is_some() {
        0
    } else {
        let fits = |&own: &usize| {
            run.get(own..).is_some_and(|rest| rest.len() >= SPELLED_LETTERS_MIN && respell::is_common(&word(rest)))
        };
        (1..=OWN_MAX).find(fits).unwrap_or(0)
    };
    let (own, spelled) = run.split_at(own);
    for (letter, source) in own {
        out.push(letter.encode_utf8(&mut [0; 4]), source.clone());
    }
    let (Some((_, first)), Some((_, last))) = (spelled.first(), spelled.last()) else { return };
    let mut joined = respelt.unwrap_or_else(|| spelled.iter().map(|(letter, _)| *letter).collect());
    joined.push_str(tail);
    out.push(&joined, first.start..last.end);
}

/// Two words as one, where that is a common one, and one of the two is none.
fn halves(first: &Folded, second: &Folded) -> Option<String> {
    const LETTERS_MIN: usize = 4;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_alphabetic());
    let (core, signs) =
        second.word.split_at(second.word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(second.word.len()));
    if first.is_emoji
        || second.is_emoji
        || !is_word(&first.word)
        || !is_word(core)
        || signs.contains(char::is_alphanumeric)
    {
        return None;
    }
    let is_name = core.starts_with(|c: char| c.is_ascii_uppercase()) && core.contains(|c: char| c.is_ascii_lowercase());
    if is_name || first.word.len() + core.len() < LETTERS_MIN {
        return None;
    }
    let (one, two) = (first.word.to_ascii_lowercase(), core.to_ascii_lowercase());
    let is_known = |word: &str| word.len() == 1 || respell::is_known(word);
    if one.len().max(two.len()) > SPELLED_LETTERS_MAX || is_known(&one) && is_known(&two) {
        return None;
    }
    let joined = one + &two;
    respell::is_common(&joined).then(|| joined + signs)
}

fn is_separator(c: char) -> bool {
    matches!(c, '.' | '-' | '_' | '*' | '~' | '/' | ',' | '·' | '•' | '|')
}

/// `f.o.o` as `foo`: single letters, at least three, with one kind of separator between them. What is around stays.
fn unseparated(word: &str) -> Option<String> {
    let chars: Vec<char> = word.chars().collect();
    let from = chars.iter().position(char::is_ascii_alphabetic)?;
    let separator = *chars.get(from + 1).filter(|&&c| is_separator(c))?;
    let mut letters: Vec<char> = Vec::new();
    let mut at = from;
    while let Some(&letter) = chars.get(at).filter(|c| c.is_ascii_alphabetic()) {
        letters.push(letter);
        at += 1;
        if chars.get(at) == Some(&separator) && chars.get(at + 1).is_some_and(char::is_ascii_alphabetic) {
            at += 1;
        } else {
            break;
        }
    }
    // A letter right behind would be a word: `a.b.com` is an address.
    if letters.len() < SPELLED_LETTERS_MIN || chars.get(at).is_some_and(|c| c.is_alphanumeric()) {
        return None;
    }
    let around = |range: Option<&[char]>| range.unwrap_or_default().iter().collect::<String>();
    Some(around(chars.get(..from)) + &letters.iter().collect::<String>() + &around(chars.get(at..)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::normalise;

    fn check(text: &str, expected: &str) {
        assert_eq!(normalise(text).text, expected, "{text:?}");
    }

    #[test]
    fn plain_text_stays() {
        for text in [
            "Thanks, that's very kind of you!",
            "The 2nd of May 2019 at 10am, 5k people, $100, 3.14, mp3, covid19, ps5, 4chan.",
            "Write to me@example.org or @someone, see https://example.org/a1b2?c=d!",
            "I have a b",
            "привет, как дела",
            "你好",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn white_space_is_one_space() {
        check("  one \t two\n", "one two");
        check(" \n ", "");
    }

    #[test]
    fn compatibility_forms_marks_and_invisible_characters() {
        check("𝐢𝐝𝐢𝐨𝐭 ｉｄｉｏｔ ⓘⓓⓘⓞⓣ 🅸🅳🅸🅾🆃", "idiot idiot idiot idiot");
        check("i\u{200B}d\u{00AD}i\u{2060}ot\u{FEFF}", "idiot");
        check("ȋd̷ị̈ōt̶", "idiot");
        check("naïve café", "naive cafe");
        check("🇮 🇩 🇮 🇴 🇹 🇫🇷", "idiot flag france"); // regional indicators: letters alone, a flag in pairs
    }

    #[test]
    fn look_alikes() {
        check("іdiоt", "idiot"); // Cyrillic і and о
        check("you are а сосо", "you are a coco"); // whole words of look-alikes in a Latin text
        check("это сосо", "это сосо"); // and in a Cyrillic one
        check("you ᴍᴏʀᴏɴ", "you moron");
    }

    #[test]
    fn leet() {
        check("1d10t", "idiot");
        check("y0u 4r3 4n 1d10t", "you are 4n idiot");
        check("b!tch a$$hole @sshole sh1t! $hit", "bitch asshole asshole shit! shit");
        check("l0ser, l0ser.", "loser, loser.");
        check("5hit 1d107! 4chan 10th 100mb 50s 700k level5 5top", "shit idiot! 4chan 10th 100mb 50s 700k level5 5top");
    }

    #[test]
    fn repeats() {
        check("soooooo", "soo");
        check("IDIOOOoot!!!!!", "idiot!!!");
        check("https://www.example.org", "https://www.example.org");
        check("1000000", "1000000");
    }

    #[test]
    fn spelled_words() {
        check("i d i o t", "idiot");
        check("you i-d-i-o-t!", "you idiot!");
        check("you i. d. i. o. t now", "you idiot now");
        check("(f.o.o)", "(foo)");
        check("a.b.com", "a.b.com");
        check("e.g. this", "e.g. this");
        check("i d i o t! i d i o t?! ok", "idiot! idiot?! ok");
        check("you are a s t u p i d", "you are a stupid");
        check("what an idi ot!", "what an idiot!");
        check("a b c", "abc");
    }

    #[test]
    fn misspelt_words() {
        check("you are an idoit!!", "you are an idiot!!");
        check("*really* stuuuupid, \"idot\"", "*really* stupid, \"idiot\"");
        check("what the f**k. Sutpid f*cking **thing**", "what the fuck. stupid fucking **thing**");
        check("the idoit's mistake", "the idiot's mistake");
        check("said Idoit of @idoit and #idoit", "said Idoit of @idoit and #idoit");
        check("stpid.example.org a/stpid", "stpid.example.org a/stpid");
        check("you n****r! f****t idoit* as good as*", "you nigger! faggot idiot* as good as*");
        check("he said\nIdoit. (Idoit!) Idoit", "he said\nidiot. (idiot!) idiot".replace('\n', " ").as_str());
        check("an idi Ot, bon 🔥", "an idi Ot, bon fire");
    }

    #[test]
    fn emoji_in_words() {
        check("nice 👍👍👍", "nice thumbs up");
        check("fire 🔥", "fire fire");
        check("🖕you", "middle finger you");
        check("🏳️‍🌈", "rainbow flag");
        check("👨🏿", "man dark skin tone");
        check("1️⃣ ©", "1 ©");
    }

    #[test]
    fn words_point_into_the_original() {
        let text = "You  і d\u{200B} і о t 👍👍 ok";
        let normalised = normalise(text);
        let found: Vec<_> =
            normalised.words.iter().map(|w| (&normalised.text[w.place.clone()], &text[w.source.clone()])).collect();
        assert_eq!(found, [("You", "You"), ("idiot", "і d\u{200B} і о t"), ("thumbs up", "👍👍"), ("ok", "ok")]);
        let text = "a s t u p i d! idi  ot, f**k stpid";
        let normalised = normalise(text);
        let found: Vec<_> =
            normalised.words.iter().map(|w| (&normalised.text[w.place.clone()], &text[w.source.clone()])).collect();
        let expected =
            [("a", "a"), ("stupid!", "s t u p i d!"), ("idiot,", "idi  ot,"), ("fuck", "f**k"), ("stupid", "stpid")];
        assert_eq!(found, expected);
    }

    /// More than ten times what is read of a text: it would take minutes if the time grew with the square.
    #[test]
    fn hostile_texts_take_time_in_proportion_to_their_length() {
        let length = 1 << 18;
        for piece in [
            "\u{301}",
            "a\u{301}",
            "\u{315}\u{301}",
            "\u{1D165}",
            "\u{34F}",
            "\u{200D}",
            "\u{E0061}",
            "\u{FE0F}",
            "👍",
            "👍👎",
            "👍 ",
            "👩\u{200D}",
            "👍🏽",
            "🇫",
            "🇫 ",
            "1\u{FE0F}\u{20E3}",
            "a ",
            "a. ",
            "a.",
            "a",
            "a b cc ",
            "...",
            "|",
            "!",
            "$",
            "@1",
            "1",
            "0a",
            "а",
            "аz",
            "ﷺ",
            "가",
            "क\u{94D}",
            " ",
            "\u{2028}",
            "://",
            "s*#*#*#*abcdefg ",
            "f*#*#*#*#z ",
            "idi ot ",
            "srtqxw ",
            "aabbccddeeff ",
        ] {
            for text in [piece.repeat(length / piece.len()), format!("a{}", piece.repeat(length / piece.len()))] {
                let normalised = normalise(&text);
                assert!(normalised.text.len() <= 12 * text.len(), "{piece:?}: {} bytes", normalised.text.len());
            }
        }
    }

    proptest! {
        #[test]
        fn every_text_has_a_form(text in prop_oneof![any::<String>(), "([a-zA-Z*#%^'!.0-9🔥]{1,12} ?){0,20}"]) {
            let normalised = normalise(&text);
            let mut end = 0;
            for word in &normalised.words {
                prop_assert!(!normalised.text[word.place.clone()].is_empty());
                prop_assert!(!text[word.source.clone()].is_empty());
                prop_assert!(word.source.start >= end);
                end = word.source.end;
            }
            prop_assert_eq!(normalised.text.clone(), normalised.text.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
}
