//! Text to token ids: BERT's tokenizer (Devlin and others 2018), with the ids of Hugging Face's `tokenizers` for the same file.
//!
//! Clean → words → pieces. The Unicode tables are those that `tokenizers` uses. A sign of the tokenizer's own (`[SEP]`) in a text is
//! its characters.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use serde::Deserialize;
use serde_json::Value;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

use crate::packed::{Packed, Table, TableParts, TableShape};

/// What a piece inside a word begins with.
const CONTINUED: &str = "##";
/// A word of more characters is unknown as a whole.
const WORD_CHARACTERS_MAX: usize = 100;

/// What the model reads of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids with `[CLS]` and `[SEP]` around them; empty where the text holds nothing to read.
    pub ids: Vec<u32>,
    /// True where the text went on after the last token.
    pub truncated: bool,
}

impl Packed {
    /// Encodes one text to at most `tokens_max` tokens, `[CLS]` and `[SEP]` included.
    pub fn encode(&self, text: &str, tokens_max: usize) -> Tokens {
        let Ok(view) = self.view() else { return Tokens { ids: Vec::new(), truncated: !text.is_empty() } };
        let shape = view.table_shape;
        let end = tokens_max.saturating_sub(1);
        let mut ids = vec![shape.first];
        let _ = each_word(text, |word, _| {
            pieces(&view.table, shape, word, &mut ids);
            if ids.len() > end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let truncated = ids.len() > end;
        ids.truncate(end);
        if ids.len() > 1 {
            ids.push(shape.last);
        } else {
            ids.clear();
        }
        Tokens { ids, truncated }
    }

    /// The highest id that a text can get.
    pub fn id_max(&self) -> u32 {
        let Ok(view) = self.view() else { return 0 };
        let shape = view.table_shape;
        view.table.ids.iter().copied().chain([shape.unknown, shape.first, shape.last]).max().unwrap_or(0)
    }
}

/// Byte ranges of the words that the tokenizer makes of a text, each a token or more.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let _ = each_word(text, |_, range| {
        ranges.push(range);
        ControlFlow::Continue(())
    });
    ranges
}

/// Appends the ids of a word's pieces: from the left, the longest that the table holds.
fn pieces(table: &Table<'_>, shape: TableShape, word: &str, ids: &mut Vec<u32>) {
    let before = ids.len();
    let mut rest = word;
    let is_short = word.len() <= WORD_CHARACTERS_MAX || word.chars().count() <= WORD_CHARACTERS_MAX;
    while is_short && !rest.is_empty() {
        let prefix = if rest.len() < word.len() { CONTINUED } else { "" };
        let Some((length, id)) = longest(table, shape, prefix, rest) else { break };
        ids.push(id);
        rest = rest.get(length..).unwrap_or_default();
    }
    if !rest.is_empty() {
        ids.truncate(before);
        ids.push(shape.unknown);
    }
}

/// Length and id of the longest piece that `text` begins with.
fn longest(table: &Table<'_>, shape: TableShape, prefix: &str, text: &str) -> Option<(usize, u32)> {
    let mut found = None;
    let mut hash = prefix.bytes().fold(HASH_OF_NOTHING, hash_byte);
    let mut read = 0;
    for character in text.chars() {
        let next = read + character.len_utf8();
        if prefix.len() + next > shape.piece_bytes_max {
            break;
        }
        let bytes = text.as_bytes().get(..next)?;
        hash = bytes.get(read..)?.iter().copied().fold(hash, hash_byte);
        if let Some(id) = find(table, hash, prefix.as_bytes(), bytes) {
            found = Some((next, id));
        }
        read = next;
    }
    found
}

/// The id of the piece of these bytes.
fn find(table: &Table<'_>, hash: u32, prefix: &[u8], bytes: &[u8]) -> Option<u32> {
    let mask = table.slots.len().wrapping_sub(1);
    let mut slot = hash as usize & mask;
    // There are more slots than pieces, so one is empty.
    while let Some(place) = table.slots.get(slot).and_then(|&filled| (filled as usize).checked_sub(1)) {
        let (start, end) = (*table.starts.get(place)?, *table.starts.get(place + 1)?);
        let piece = table.bytes.get(start as usize..end as usize)?;
        if piece.strip_prefix(prefix) == Some(bytes) {
            return table.ids.get(place).copied();
        }
        slot = (slot + 1) & mask;
    }
    None
}

/// FNV-1a, 32 bits.
const HASH_OF_NOTHING: u32 = 0x811c_9dc5;

fn hash_byte(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

/// Calls `each` with every word, cleaned, and where it stands in the text, until it breaks.
fn each_word(text: &str, mut each: impl FnMut(&str, Range<usize>) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut word = String::new();
    let mut range = 0..0;
    each_character(text, |character, origin| {
        let Some(character) = character else {
            if !word.is_empty() {
                range.end = range.end.max(origin.end);
            }
            return ControlFlow::Continue(());
        };
        let ends = character.is_whitespace() || is_punctuation(character);
        if ends && !word.is_empty() {
            each(&word, range.clone())?;
            word.clear();
        }
        if character.is_whitespace() {
            return ControlFlow::Continue(());
        }
        range = if word.is_empty() { origin } else { range.start.min(origin.start)..range.end.max(origin.end) };
        word.push(character);
        if ends {
            each(&word, range.clone())?;
            word.clear();
        }
        ControlFlow::Continue(())
    })?;
    if word.is_empty() { ControlFlow::Continue(()) } else { each(&word, range) }
}

/// Calls `each` with every character of the cleaned text and the range that it comes from; with no character for a mark that is
/// dropped from the letter before it.
///
/// In order: control characters are dropped, white space becomes spaces, CJK ideographs become words; letters are decomposed
/// (NFD), nonspacing marks are dropped, and the rest becomes lower case.
fn each_character(text: &str, mut each: impl FnMut(Option<char>, Range<usize>) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut pending = Pending::default();
    let mut parts = Vec::new();
    for (start, character) in text.char_indices() {
        let origin = start..start + character.len_utf8();
        if is_dropped(character) {
            continue;
        }
        if character.is_ascii() || character.is_whitespace() {
            pending.flush(&mut each)?;
            let plain = if character.is_whitespace() { ' ' } else { character.to_ascii_lowercase() };
            each(Some(plain), origin)?;
            continue;
        }
        let is_word = is_ideograph(character);
        if is_word {
            pending.flush(&mut each)?;
            each(Some(' '), origin.clone())?;
        }
        decompose_canonical(character, |part| parts.push(part));
        for part in parts.drain(..) {
            let class = canonical_combining_class(part);
            if class == 0 {
                pending.flush(&mut each)?;
            }
            pending.characters.push((class, part, origin.clone()));
        }
        if is_word {
            pending.flush(&mut each)?;
            each(Some(' '), origin)?;
        }
    }
    pending.flush(&mut each)
}

/// A character and the marks behind it, which are put into their canonical order.
#[derive(Default)]
struct Pending {
    characters: Vec<(u8, char, Range<usize>)>,
}

impl Pending {
    fn flush(&mut self, each: &mut impl FnMut(Option<char>, Range<usize>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.characters.sort_by_key(|&(class, ..)| class);
        for (_, character, origin) in self.characters.drain(..) {
            if character.is_mark_nonspacing() {
                each(None, origin)?;
                continue;
            }
            for lower in character.to_lowercase() {
                each(Some(lower), origin.clone())?;
            }
        }
        ControlFlow::Continue(())
    }
}

fn is_dropped(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' | ' '..='~' => false,
        '\0' | '\u{fffd}' => true,
        _ => character.is_other(),
    }
}

fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation() || (!character.is_ascii() && character.is_punctuation())
}

/// The blocks that BERT takes for Chinese.
fn is_ideograph(character: char) -> bool {
    matches!(
        u32::from(character),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}

#[derive(Deserialize)]
struct File {
    added_tokens: Vec<AddedToken>,
    normalizer: Value,
    pre_tokenizer: Value,
    model: WordPiece,
    post_processor: Value,
}

#[derive(Deserialize)]
struct AddedToken {
    content: String,
    special: bool,
}

#[derive(Deserialize)]
struct WordPiece {
    r#type: String,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
    vocab: BTreeMap<String, u32>,
}

/// Reads a `tokenizer.json`. Kinds and settings other than BERT's for texts without case are refused by name.
///
/// What the file says of truncation and padding does not count: the caller says how many tokens are wanted, and nothing is padded.
#[expect(clippy::indexing_slicing, reason = "serde_json's values give null where a key is missing")]
pub(crate) fn import(json: &[u8]) -> Result<TableParts, String> {
    let file: Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    if let Some(kind) = file["model"]["type"].as_str().filter(|&kind| kind != "WordPiece") {
        return Err(format!("model is {kind}, not WordPiece"));
    }
    let file: File = serde_json::from_value(file).map_err(|e| e.to_string())?;
    if let Some(added) = file.added_tokens.iter().find(|added| !added.special) {
        return Err(format!("added_tokens has {:?}, which is not special", added.content));
    }
    expect(&file.normalizer, "normalizer", "type", &["BertNormalizer".into()])?;
    for setting in ["clean_text", "handle_chinese_chars", "lowercase"] {
        expect(&file.normalizer, "normalizer", setting, &[true.into()])?;
    }
    expect(&file.normalizer, "normalizer", "strip_accents", &[Value::Null, true.into()])?;
    expect(&file.pre_tokenizer, "pre_tokenizer", "type", &["BertPreTokenizer".into()])?;
    let model = &file.model;
    if (model.r#type.as_str(), model.continuing_subword_prefix.as_str()) != ("WordPiece", CONTINUED) {
        return Err(format!("model has the continuing_subword_prefix {:?}", model.continuing_subword_prefix));
    }
    if model.max_input_chars_per_word != WORD_CHARACTERS_MAX {
        return Err(format!("model has the max_input_chars_per_word {}", model.max_input_chars_per_word));
    }
    let unknown = model.vocab.get(&model.unk_token).copied();
    let unknown = unknown.ok_or_else(|| format!("model has no {:?} in its vocabulary", model.unk_token))?;
    let [first, last] = around(&file.post_processor)?;
    table(&model.vocab, unknown, first, last)
}

fn expect(part: &Value, name: &str, setting: &str, allowed: &[Value]) -> Result<(), String> {
    let found = &part[setting];
    if allowed.contains(found) {
        return Ok(());
    }
    let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
    Err(format!("{name} has the {setting} {found}, not {}", allowed.join(" or ")))
}

/// Ids of the tokens that the post-processor puts before and behind a text.
#[expect(clippy::indexing_slicing, reason = "serde_json's values give null where a key is missing")]
fn around(post_processor: &Value) -> Result<[u32; 2], String> {
    expect(post_processor, "post_processor", "type", &["TemplateProcessing".into()])?;
    let template = post_processor["single"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [first, text, last] = template else {
        return Err("post_processor does not put one token before a text and one behind it".into());
    };
    if text["Sequence"]["id"] != "A" {
        return Err("post_processor does not put one token before a text and one behind it".into());
    }
    let id = |token: &Value| {
        let name = token["SpecialToken"]["id"].as_str().unwrap_or_default();
        let ids = post_processor["special_tokens"][name]["ids"].as_array().map(Vec::as_slice).unwrap_or_default();
        let [id] = ids else { return Err(format!("post_processor has not one id for {name:?}")) };
        id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| format!("post_processor has {id} for {name:?}"))
    };
    Ok([id(first)?, id(last)?])
}

fn table(vocabulary: &BTreeMap<String, u32>, unknown: u32, first: u32, last: u32) -> Result<TableParts, String> {
    let too_large = "model has too large a vocabulary";
    // At most two thirds full.
    let slot_count = (vocabulary.len() * 3 / 2 + 1).next_power_of_two();
    let (mut slots, mut starts) = (vec![0_u32; slot_count], vec![0]);
    let (mut ids, mut bytes) = (Vec::new(), Vec::new());
    for (piece, &id) in vocabulary {
        ids.push(id);
        bytes.extend_from_slice(piece.as_bytes());
        starts.push(u32::try_from(bytes.len()).map_err(|_| too_large)?);
        let mut slot = piece.bytes().fold(HASH_OF_NOTHING, hash_byte) as usize & (slot_count - 1);
        while let Some(filled) = slots.get_mut(slot) {
            if *filled == 0 {
                *filled = u32::try_from(ids.len()).map_err(|_| too_large)?;
                break;
            }
            slot = (slot + 1) & (slot_count - 1);
        }
    }
    let piece_bytes_max = vocabulary.keys().map(String::len).max().unwrap_or(0);
    let shape =
        TableShape { pieces: ids.len(), bytes: bytes.len(), slots: slot_count, piece_bytes_max, unknown, first, last };
    Ok(TableParts { shape, slots, starts, ids, bytes })
}
