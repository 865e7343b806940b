//! How the classifier behaves with either engine, on the release that ships with the repository. No test here knows a score of it, so the
//! release may be trained anew.

use std::path::Path;
use std::sync::LazyLock;

use palisade_core::normalise;
use palisade_core::sentences::sentences;
use palisade_core::tokens::TextTokenizer;
use palisade_core::{Classifier, ClassifyError, EngineKind, Manifest, Options, ReleaseError, ReleaseFiles, TextResult};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ENGINE;

/// A release in memory, to be changed before it is loaded.
#[derive(Clone)]
struct Files {
    manifest: Value,
    model: Vec<u8>,
    tokenizer: Vec<u8>,
}

impl Files {
    fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        Self {
            manifest: serde_json::from_slice(&read("release.json")).unwrap(),
            model: read("model.onnx"),
            tokenizer: read("tokenizer.json"),
        }
    }

    /// Makes the manifest name the files as they are now.
    fn seal(mut self) -> Self {
        for (key, content) in [("model", &self.model), ("tokenizer", &self.tokenizer)] {
            self.manifest[key]["bytes"] = content.len().into();
            self.manifest[key]["sha256"] = hex::encode(Sha256::digest(content)).into();
        }
        self
    }

    fn load(&self) -> Result<Classifier, ReleaseError> {
        let manifest = serde_json::to_vec(&self.manifest).unwrap();
        let files = ReleaseFiles { manifest: &manifest, model: &self.model, tokenizer: &self.tokenizer };
        Classifier::from_release_with(ENGINE, &files)
    }
}

static FILES: LazyLock<Files> = LazyLock::new(Files::read);
static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| FILES.load().unwrap());
/// The shipped release as if it were trained on normalised texts, and as if it were not.
static NORMALISING: LazyLock<Classifier> = LazyLock::new(|| with_normalisation(normalise::RULES.into()));
static PLAIN: LazyLock<Classifier> = LazyLock::new(|| with_normalisation(Value::Null));

fn with_normalisation(rules: Value) -> Classifier {
    let mut files = FILES.clone();
    files.manifest["normalisation"] = rules;
    files.load().unwrap()
}

fn with_spans() -> Options {
    Options { spans: true, ..Options::default() }
}

fn with_words() -> Options {
    Options { words: true, ..Options::default() }
}

fn with_labels(names: &[&str]) -> Options {
    Options { labels: Some(names.iter().map(|&name| name.to_owned()).collect()), ..Options::default() }
}

fn label_names() -> Vec<&'static str> {
    CLASSIFIER.labels().iter().map(|label| label.name.as_str()).collect()
}

/// Classifies one text with spans and checks what holds for every text.
#[track_caller]
fn check(text: &str) -> TextResult {
    let mut answer = CLASSIFIER.classify(&[text], &with_spans()).unwrap();
    assert_eq!(answer.results.len(), 1);
    let result = answer.results.remove(0);
    let limits = CLASSIFIER.limits();
    let all = result.spans.iter().map(|span| &span.scores).chain([&result.scores]);
    for scores in all {
        assert_eq!(scores.len(), answer.labels.len());
        assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
    }
    assert!(result.tokens <= limits.tokens_max, "{} tokens", result.tokens);
    assert_eq!(result.tokens == 0, result.scores.iter().all(|&score| score == 0.0), "{result:?}");
    assert!(result.spans.len() <= limits.spans_max, "{} spans", result.spans.len());
    let mut end = 0;
    for span in &result.spans {
        assert!(end <= span.range.start && span.range.start < span.range.end, "{:?} after {end}", span.range);
        let sentence = text.get(span.range.clone()).unwrap();
        assert_eq!(sentence, sentence.trim());
        end = span.range.end;
    }
    assert!(end <= limits.text_bytes_max);
    result
}

fn bits(result: &TextResult) -> Vec<u32> {
    let spans = result.spans.iter().flat_map(|span| &span.scores);
    result.scores.iter().chain(spans).map(|score| score.to_bits()).collect()
}

// Texts.

#[test]
fn empty_text_has_score_zero_and_no_tokens() {
    let result = check("");
    assert_eq!(
        result,
        TextResult {
            scores: vec![0.0; label_names().len()],
            tokens: 0,
            truncated: false,
            spans: vec![],
            spans_truncated: false,
            words: vec![],
            words_truncated: false,
        }
    );
}

#[test]
fn white_space_has_score_zero_and_no_tokens() {
    for text in [" ", "\n", " \t\r\n ", "\u{a0}\u{2003}\u{3000}", "\u{2028}\u{2029}"] {
        assert_eq!(check(text), check(""), "{text:?}");
    }
}

#[test]
fn characters_that_the_tokenizer_drops_are_nothing_to_read() {
    for text in ["\0", "\u{200b}", "\u{200d}\u{200d}", "\u{feff}", "\u{fffd}", "\u{301}\u{308}", "\u{7f}\u{1}"] {
        let result = check(text);
        assert_eq!(result.tokens, 0, "{text:?}");
        assert!(!result.truncated, "{text:?}");
    }
}

#[test]
fn dropped_characters_inside_a_word_change_nothing() {
    let plain = check("You are kind");
    for text in ["Yo\u{200d}u are ki\u{200b}nd", "You\0 are\u{fffd} kind", "\u{feff}You are k\u{ad}ind", "YOU ÁRÉ KÏND"]
    {
        let result = check(text);
        assert_eq!(result.scores, plain.scores, "{text:?}");
        assert_eq!(result.tokens, plain.tokens, "{text:?}");
    }
}

#[test]
fn a_megabyte_without_spaces_is_cut() {
    for character in ["a", "A", "!", " ", "\0", "é", "\u{301}", "你", "\u{200d}", "👍", ".", "ﷺ"] {
        let text = character.repeat((1 << 20) / character.len());
        assert!(check(&text).truncated, "{character:?}");
    }
}

#[test]
fn a_megabyte_of_short_words_is_read_up_to_the_limit() {
    let result = check(&"a b ".repeat(1 << 18));
    assert_eq!(result.tokens, CLASSIFIER.limits().tokens_max);
    assert!(result.truncated);
}

#[test]
fn text_after_the_byte_limit_is_not_read() {
    let limit = CLASSIFIER.limits().text_bytes_max;
    let beginning = format!("You are kind.{}", " ".repeat(limit - 13));
    assert!(!check(&beginning).truncated);
    let longer = check(&format!("{beginning}You are not."));
    assert!(longer.truncated);
    assert_eq!(bits(&longer), bits(&check(&beginning)));
    // The limit falls inside the last character, which is left out whole.
    assert!(check(&format!("{}é", &beginning[1..])).truncated);
}

#[test]
fn truncated_means_more_tokens_than_the_limit() {
    let tokens_max = CLASSIFIER.limits().tokens_max;
    let fits = check(&"word ".repeat(tokens_max - 2));
    assert_eq!((fits.tokens, fits.truncated), (tokens_max, false));
    let more = check(&"word ".repeat(tokens_max - 1));
    assert_eq!((more.tokens, more.truncated), (tokens_max, true));
    assert_eq!(more.scores, fits.scores);
    let fewer = check(&"word ".repeat(tokens_max - 3));
    assert_eq!((fewer.tokens, fewer.truncated), (tokens_max - 1, false));
}

#[test]
fn lone_combining_marks_are_no_fault() {
    // Marks that enclose are read, marks that stand on a letter are dropped.
    for text in
        ["\u{20dd}", "\u{301}a", "\u{301} \u{301}", "a\u{301}\u{301}\u{301}", "\u{1d165}", "\u{e0100}", "\u{93e}"]
    {
        check(text);
    }
}

#[test]
fn emoji_of_many_code_points_are_read() {
    for text in ["👍", "👍🏽", "👩‍👩‍👧‍👦", "🏴󠁧󠁢󠁷󠁬󠁳󠁿", "🇫🇷🇫", "❤\u{fe0f}", "1\u{fe0f}\u{20e3}", "Well done! 🎉🎉 See you."]
    {
        check(text);
    }
}

#[test]
fn text_of_either_direction_is_read() {
    for text in ["שלום עולם", "مرحبا بالعالم", "abc \u{202e}fed\u{202c} ghi", "\u{2067}אבג\u{2069} and \u{200f}this"]
    {
        assert!(check(text).tokens > 2, "{text:?}");
    }
}

#[test]
fn every_script_is_read() {
    let texts = [
        "Hello",
        "Γειά σου",
        "Здравствуй",
        "Բարեւ",
        "שלום",
        "مرحبا",
        "ܫܠܡܐ",
        "ޙެލޯ",
        "ߊߟߎ",
        "नमस्ते",
        "নমস্কার",
        "ਸਤਿ ਸ੍ਰੀ ਅਕਾਲ",
        "નમસ્તે",
        "ନମସ୍କାର",
        "வணக்கம்",
        "నమస్కారం",
        "ನಮಸ್ಕಾರ",
        "നമസ്കാരം",
        "ආයුබෝවන්",
        "สวัสดี",
        "ສະບາຍດີ",
        "བཀྲ་ཤིས",
        "မင်္ဂလာပါ",
        "გამარჯობა",
        "안녕하세요",
        "ሰላም",
        "ᎣᏏᏲ",
        "ᑐᙵᓱᒋᑦ",
        "ᚠᚢᚦᚨᚱᚲ",
        "ជំរាបសួរ",
        "ᠰᠠᠢᠨ",
        "こんにちは",
        "カタカナ",
        "你好",
        "ㄅㄆㄇ",
        "ꆏꉂꆳ",
        "ⴰⵣⵓⵍ",
        "𐌲𐌿𐍄",
        "𒀀𒁀",
        "𓀀𓂀",
        "𝔥𝔢𝔩𝔩𝔬",
        "ℌ𝒆𝗹𝘭𝙤",
        "ＨＥＬＬＯ",
        "⠓⠑⠇⠇⠕",
    ];
    for text in texts {
        assert!(check(text).tokens > 2, "{text:?}");
    }
}

#[test]
fn every_character_has_tokens_that_the_model_knows() {
    let limits = CLASSIFIER.limits();
    let tokenizer = TextTokenizer::new("tokenizer.json", &FILES.tokenizer, limits.tokens_max).unwrap();
    let id_max = tokenizer.id_max();
    let characters: Vec<char> = ('\0'..=char::MAX).collect();
    for chunk in characters.chunks(100) {
        let joined = tokenizer.encode(&chunk.iter().collect::<String>()).unwrap();
        let apart = tokenizer.encode(&chunk.iter().flat_map(|&c| [c, ' ']).collect::<String>()).unwrap();
        assert!(joined.ids.iter().chain(&apart.ids).all(|&id| id <= id_max), "{:?}", chunk[0]);
    }
}

// Calls.

#[test]
fn the_same_call_gives_the_same_bits() {
    for text in ["You are all very kind.", "One. Two? 3!", "你好 👍🏽 \0", &"a b ".repeat(300)] {
        let first = check(text);
        let again = check(text);
        assert_eq!(bits(&first), bits(&again));
        assert_eq!(first, again);
        let clone = CLASSIFIER.clone().classify(&[text], &with_spans()).unwrap();
        assert_eq!(bits(&first), bits(&clone.results[0]));
        let loaded_again = FILES.load().unwrap().classify(&[text], &with_spans()).unwrap();
        assert_eq!(bits(&first), bits(&loaded_again.results[0]));
    }
}

#[test]
fn a_result_does_not_depend_on_the_other_texts() {
    let long = "word ".repeat(400);
    let texts = ["You are kind.", "", "Go away. You are not kind.", &long, "\0", "You are kind."];
    let batch = CLASSIFIER.classify(&texts, &with_spans()).unwrap();
    assert_eq!(batch.results.len(), texts.len());
    for (text, result) in texts.iter().zip(&batch.results) {
        assert_eq!(*result, check(text), "{text:?}");
    }
    let backwards: Vec<_> = texts.iter().rev().collect();
    let mut reversed = CLASSIFIER.classify(&backwards, &with_spans()).unwrap();
    reversed.results.reverse();
    assert_eq!(reversed, batch);
}

#[test]
fn no_texts_give_no_results() {
    let answer = CLASSIFIER.classify::<&str>(&[], &with_spans()).unwrap();
    assert!(answer.results.is_empty());
    assert_eq!(answer.labels, label_names());
}

#[test]
fn an_answer_names_its_release() {
    let answer = CLASSIFIER.classify(&["Hello"], &Options::default()).unwrap();
    assert_eq!(answer.release, *CLASSIFIER.release());
    let manifest = serde_json::to_vec(&FILES.manifest).unwrap();
    assert_eq!(answer.release.digest, hex::encode(Sha256::digest(&manifest)));
    assert_eq!(answer.release, Manifest::parse(&manifest).unwrap().release());
}

#[test]
fn labels_are_given_in_the_order_of_the_call() {
    let text = "You are a fool. Thank you.";
    let all = check(text);
    let mut names = label_names();
    names.reverse();
    let reversed = CLASSIFIER.classify(&[text], &Options { spans: true, ..with_labels(&names) }).unwrap();
    assert_eq!(reversed.labels, names);
    let backwards = |scores: &[f32]| scores.iter().rev().copied().collect::<Vec<_>>();
    assert_eq!(reversed.results[0].scores, backwards(&all.scores));
    for (span, expected) in reversed.results[0].spans.iter().zip(&all.spans) {
        assert_eq!(span.range, expected.range);
        assert_eq!(span.scores, backwards(&expected.scores));
    }
}

#[test]
fn one_label_may_be_asked_for() {
    let all = check("You are a fool.");
    for (i, name) in label_names().into_iter().enumerate() {
        let answer = CLASSIFIER.classify(&["You are a fool.", ""], &with_labels(&[name])).unwrap();
        assert_eq!(answer.labels, [name]);
        assert_eq!(answer.results[0].scores, [all.scores[i]]);
        assert_eq!(answer.results[1].scores, [0.0]);
    }
}

#[test]
fn no_labels_give_no_scores() {
    let answer = CLASSIFIER.classify(&["Hello", ""], &with_labels(&[])).unwrap();
    assert!(answer.labels.is_empty());
    assert!(answer.results.iter().all(|result| result.scores.is_empty()));
    assert_eq!(answer.results[0].tokens, 3);
}

#[test]
fn a_label_asked_for_twice_is_refused() {
    let name = label_names()[0];
    let error = CLASSIFIER.classify(&["Hello"], &with_labels(&[name, name])).unwrap_err();
    assert_eq!(error, ClassifyError::DuplicateLabel(name.to_owned()));
}

#[test]
fn the_tokenizers_own_signs_are_characters_in_a_text() {
    let plain = check("hello").tokens;
    for sign in ["[SEP]", "[PAD]", "[CLS]", "[UNK]", "[MASK]"] {
        let result = check(&format!("hello {sign}"));
        assert!(result.tokens >= plain + 3, "{sign} is one token");
    }
}

#[test]
fn an_unknown_label_is_refused_by_name() {
    for unknown in ["toxicity", "", "NO_SUCH_LABEL", "TOXICITY "] {
        let error = CLASSIFIER.classify(&["Hello"], &with_labels(&[label_names()[0], unknown])).unwrap_err();
        assert_eq!(error, ClassifyError::UnknownLabel(unknown.to_owned()));
        assert_eq!(error.to_string(), format!("the release has no label {unknown:?}"));
    }
    // Also where there is no text to score.
    assert!(CLASSIFIER.classify::<&str>(&[], &with_labels(&["NO_SUCH_LABEL"])).is_err());
}

#[test]
fn too_many_texts_are_refused_with_both_numbers() {
    let limit = CLASSIFIER.limits().texts_max;
    assert_eq!(CLASSIFIER.classify(&vec![""; limit], &Options::default()).unwrap().results.len(), limit);
    let error = CLASSIFIER.classify(&vec![""; limit + 1], &Options::default()).unwrap_err();
    assert_eq!(error, ClassifyError::TooManyTexts { given: limit + 1, limit });
    assert_eq!(error.to_string(), format!("{} texts in one call; at most {limit} are allowed", limit + 1));
}

#[test]
fn too_large_a_batch_is_refused_with_both_numbers() {
    let limit = CLASSIFIER.limits().batch_bytes_max;
    let half = " ".repeat(limit / 2);
    let answer = CLASSIFIER.classify(&[&half, &half], &Options::default()).unwrap();
    assert!(answer.results.iter().all(|result| result.truncated));
    let error = CLASSIFIER.classify(&[&half, "!", &half], &Options::default()).unwrap_err();
    assert_eq!(error, ClassifyError::BatchTooLarge { given: limit + 1, limit });
    assert_eq!(error.to_string(), format!("{} bytes of text in one call; at most {limit} are allowed", limit + 1));
}

// Spans.

#[test]
fn spans_are_given_where_they_were_asked_for() {
    let texts = ["Thank you. Go away!"];
    let without = CLASSIFIER.classify(&texts, &Options::default()).unwrap();
    assert!(without.results[0].spans.is_empty());
    let with = CLASSIFIER.classify(&texts, &with_spans()).unwrap();
    assert_eq!(with.results[0].spans.len(), 2);
    assert_eq!(with.results[0].scores, without.results[0].scores);
}

#[test]
fn each_span_has_the_scores_of_its_sentence_alone() {
    let text = "  Thank you. 👍🏽 Go away!\u{3000}\nÀ bientôt…  你好。再见";
    let result = check(text);
    let sentences: Vec<_> = result.spans.iter().map(|span| &text[span.range.clone()]).collect();
    assert_eq!(sentences, ["Thank you.", "👍🏽 Go away!", "À bientôt…  你好。", "再见"]);
    for (sentence, span) in sentences.iter().zip(&result.spans) {
        assert_eq!(span.scores, check(sentence).scores, "{sentence:?}");
    }
}

#[test]
fn the_span_of_a_single_sentence_has_the_scores_of_the_text() {
    for text in ["Thank you.", " \n Thank you, e.g. for 3.5 things \t", "👍🏽"] {
        let result = check(text);
        let [span] = result.spans.as_slice() else { unreachable!("{:?}", result.spans) };
        assert_eq!(text[span.range.clone()], *text.trim());
        let bits = |scores: &[f32]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&span.scores), bits(&result.scores));
        assert_eq!(bits(&span.scores), bits(&check(text.trim()).scores));
    }
}

#[test]
fn sentences_after_the_limit_have_no_span() {
    let limit = CLASSIFIER.limits().spans_max;
    let all = check(&"Go on. ".repeat(limit));
    assert_eq!((all.spans.len(), all.spans_truncated), (limit, false));
    let more = check(&"Go on. ".repeat(limit + 1));
    assert_eq!((more.spans.len(), more.spans_truncated), (limit, true));
    assert_eq!(more.spans[limit - 1].range, (limit - 1) * 7..limit * 7 - 1);
}

#[test]
fn spans_end_where_the_text_is_cut() {
    let limit = CLASSIFIER.limits().text_bytes_max;
    let text = format!("Well. {}é is the rest. And more.", "A".repeat(limit - 7));
    let spans = check(&text).spans;
    assert_eq!(spans[0].range, 0..5);
    assert_eq!(spans.last().unwrap().range.end, limit - 1);
}

// Words.

/// Classifies one text with words, checks what holds for every text, and gives the words as they stand in it.
#[track_caller]
fn words<'a>(classifier: &Classifier, text: &'a str) -> Vec<&'a str> {
    let answer = classifier.classify(&[text], &with_words()).unwrap();
    let result = &answer.results[0];
    let score = |text: &str| classifier.classify(&[text], &Options::default()).unwrap().results.remove(0).scores;
    let mut end = 0;
    for word in &result.words {
        assert!(end <= word.range.start && word.range.start < word.range.end, "{:?} after {end}", word.range);
        end = word.range.end;
        let first = sentences(text).take_while(|sentence| sentence.start <= word.range.start).last().unwrap();
        let last = sentences(text).find(|sentence| end <= sentence.end).unwrap();
        let sentence = first.start..last.end;
        let without = format!("{} {}", &text[sentence.start..word.range.start], &text[end..sentence.end]);
        let (with, without) = (score(&text[sentence]), score(&without));
        let expected: Vec<_> = with.iter().zip(without).map(|(with, without)| with - without).collect();
        assert_eq!(word.effects, expected, "{:?}", &text[word.range.clone()]);
        assert!(expected.iter().all(|effect| (-1.0..=1.0).contains(effect)), "{expected:?}");
    }
    result.words.iter().map(|word| &text[word.range.clone()]).collect()
}

#[test]
fn a_words_effect_is_what_its_sentence_loses_without_it() {
    for text in ["  Thank you. 👍 You idiot!\u{3000}\nÀ bientôt…", "idiot", "你好。再见 再见", "\u{200b}"]
    {
        assert_eq!(words(&PLAIN, text), text.split_whitespace().collect::<Vec<_>>(), "{text:?}");
    }
}

#[test]
fn where_texts_are_normalised_a_word_is_what_is_read_as_one() {
    let text = "You  і d\u{200B} і о t\u{200D} 👍👍 soooo \u{FE0F} 🖕you. Go, 1d10t";
    let expected = ["You", "і d\u{200B} і о t\u{200D}", "👍👍", "soooo", "🖕", "you.", "Go,", "1d10t"];
    assert_eq!(words(&NORMALISING, text), expected);
    assert_eq!(words(&NORMALISING, "So. I. D. I. O. T. So."), ["So.", "I. D. I. O. T.", "So."]);
}

#[test]
fn words_are_given_where_they_were_asked_for() {
    let texts = ["Thank you. Go away!", "", " \n"];
    let without = CLASSIFIER.classify(&texts, &Options::default()).unwrap();
    let with = CLASSIFIER.classify(&texts, &with_words()).unwrap();
    assert_eq!(with.results.iter().map(|result| result.words.len()).collect::<Vec<_>>(), [4, 0, 0]);
    for (with, without) in with.results.iter().zip(&without.results) {
        assert!(without.words.is_empty() && with.spans.is_empty() && !with.words_truncated);
        assert_eq!(with.scores, without.scores);
    }
}

#[test]
fn effects_keep_to_the_labels_asked_for() {
    let names = label_names();
    let all = CLASSIFIER.classify(&["You idiot"], &with_words()).unwrap();
    let one = CLASSIFIER.classify(&["You idiot"], &Options { words: true, ..with_labels(&[names[1]]) }).unwrap();
    for (all, one) in all.results[0].words.iter().zip(&one.results[0].words) {
        assert_eq!(one.effects, [all.effects[1]]);
    }
}

#[test]
fn words_after_the_limit_have_no_effect() {
    let limit = CLASSIFIER.limits().words_max;
    let count = |text: &str| {
        let result = CLASSIFIER.classify(&[text], &with_words()).unwrap().results.remove(0);
        (result.words.len(), result.words_truncated)
    };
    for sentence in ["Go on. ", "it is "] {
        assert_eq!(count(&sentence.repeat(limit / 2)), (limit, false));
        assert_eq!(count(&format!("{}{sentence}", sentence.repeat(limit / 2))), (limit, true));
    }
    // What is not read has words that nobody counted.
    let unread = format!("Go on.{}", " ".repeat(CLASSIFIER.limits().text_bytes_max));
    assert_eq!(count(&unread), (2, true));
}

// Normalisation.

/// What a text gets, less the places of its parts.
fn scores_of(classifier: &Classifier, text: &str) -> (Vec<f32>, usize, bool) {
    let result = classifier.classify(&[text], &with_spans()).unwrap().results.remove(0);
    for span in &result.spans {
        let alone = classifier.classify(&[&text[span.range.clone()]], &Options::default()).unwrap();
        assert_eq!(span.scores, alone.results[0].scores);
    }
    (result.scores, result.tokens, result.truncated)
}

#[test]
fn spelling_tricks_change_no_score_where_texts_are_normalised() {
    let plain = "You stupid idiot. Thank you, friend.";
    for text in [
        "You s t u p i d i-d-i-o-t. Thank you, friend.",
        "You stu\u{200B}pid idi\u{200D}ot. Thank you, friend.",
        "You stupіd іdіоt. Thank yоu, friend.",
        "You stup1d 1d10t. Thank y0u, friend.",
        "𝐘𝐨𝐮 ｓｔｕｐｉｄ ⓘⓓⓘⓞⓣ. Thank yo̶u̷, friend.",
        "  You\tstupid \n idiot.  Thank you, friend. ",
    ] {
        assert_eq!(scores_of(&NORMALISING, text), scores_of(&NORMALISING, plain), "{text:?}");
    }
    assert_ne!(scores_of(&PLAIN, "You stup1d 1d10t. Thank you, friend."), scores_of(&PLAIN, plain));
    assert_eq!(scores_of(&NORMALISING, plain), scores_of(&PLAIN, plain));
}

#[test]
fn what_a_normalised_text_grows_by_is_cut_and_what_it_loses_is_not() {
    let limits = NORMALISING.limits();
    let truncated = |text: &str| scores_of(&NORMALISING, text).2;
    assert!(!truncated(&"\u{200B}".repeat(limits.text_bytes_max / 3)));
    assert!(!truncated(&format!("{}Hello", "👍".repeat(limits.text_bytes_max / 4 - 2))));
    assert!(truncated(&"👍👎".repeat(limits.text_bytes_max / 8)));
    assert!(truncated(&" ".repeat(limits.text_bytes_max + 1)));
}

#[test]
fn rules_of_normalisation_that_are_not_known_are_refused_by_name() {
    let mut files = FILES.clone();
    files.manifest["normalisation"] = "palisade-9".into();
    refused(&files, &["release.json: normalisation is \"palisade-9\"", "palisade-2"]);
}

// Releases.

/// Loads a changed release, and looks for each of `expected` in the message.
#[track_caller]
fn refused(files: &Files, expected: &[&str]) -> ReleaseError {
    let error = files.load().unwrap_err();
    let message = error.to_string();
    for part in expected {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    // In the component a panic is a trap, so an error that began as one would be none there.
    assert!(!message.contains("panicked"), "{message}");
    error
}

#[test]
fn a_cut_model_is_refused_by_its_length() {
    let mut files = FILES.clone();
    files.model.pop();
    let error = refused(&files, &["model.onnx: is ", " bytes long, but release.json says ", "copy the release again"]);
    assert!(matches!(error, ReleaseError::File { file, .. } if file == "model.onnx"));
}

#[test]
fn a_changed_byte_is_refused_by_its_digest() {
    let mut files = FILES.clone();
    let middle = files.model.len() / 2;
    files.model[middle] ^= 1;
    refused(&files, &["model.onnx: its SHA-256 is not the one in release.json"]);
    let mut files = FILES.clone();
    files.tokenizer[0] = b'[';
    refused(&files, &["tokenizer.json: its SHA-256 is not the one in release.json"]);
}

#[test]
fn a_cut_model_is_refused_by_the_engine_where_its_digest_fits() {
    let length = FILES.model.len();
    for cut in [0, 1, 2, 10, 100, 1000, length / 4, length / 2, length - 1000, length - 40, length - 1] {
        let mut files = FILES.clone();
        files.model.truncate(cut);
        let error = refused(&files.seal(), &["model.onnx: not an ONNX classifier that can be run"]);
        assert!(matches!(error, ReleaseError::Unusable { .. }), "cut to {cut}");
    }
}

#[test]
fn something_else_than_a_model_is_refused() {
    for content in [&b"PK\x03\x04"[..], b"{}", &[0xff; 64], &[0; 64], FILES.tokenizer.as_slice()] {
        let mut files = FILES.clone();
        files.model = content.to_vec();
        refused(&files.seal(), &["model.onnx: not an ONNX classifier that can be run"]);
    }
}

#[test]
fn a_tokenizer_with_more_ids_than_the_model_embeds_is_refused() {
    for beyond in [0, 1_000_000] {
        let mut files = FILES.clone();
        let mut tokenizer: Value = serde_json::from_slice(&files.tokenizer).unwrap();
        let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        let id = vocabulary.len() + beyond;
        vocabulary.insert("supernumerary".into(), id.into());
        files.tokenizer = serde_json::to_vec(&tokenizer).unwrap();
        let expected = ["model.onnx: ", "tokenizer.json", "do not belong together", &format!("id {id}")];
        let error = refused(&files.seal(), &expected);
        assert!(matches!(error, ReleaseError::Unusable { .. }));
    }
}

#[test]
fn something_else_than_a_tokenizer_is_refused() {
    let half = FILES.tokenizer.len() / 2;
    for content in
        [&b""[..], b"{}", b"null", b"\xff\xfe", b"{\"model\":{}}", &FILES.tokenizer[..half], &FILES.model[..64]]
    {
        let mut files = FILES.clone();
        files.tokenizer = content.to_vec();
        let error = refused(&files.seal(), &["tokenizer.json: not a tokenizer that can be read"]);
        assert!(matches!(error, ReleaseError::Unusable { .. }));
    }
}

#[test]
fn a_tokenizer_that_cannot_serve_the_model_is_refused() {
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 4] = [
        (
            |t| t["normalizer"] = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            // A panic of the tokenizers crate; in the component it is a trap, whose message baking reports.
            if ENGINE == EngineKind::Tract {
                "not a tokenizer that can be read: panicked: "
            } else {
                "not a tokenizer that can be read: normalizer has the type \"Precompiled\", not \"BertNormalizer\""
            },
        ),
        (|t| t["model"]["vocab"] = serde_json::json!({}), ""),
        (|t| drop(t["model"]["vocab"].as_object_mut().unwrap().remove("[UNK]")), ""),
        (|t| t["post_processor"]["special_tokens"]["[SEP]"]["ids"] = serde_json::json!([99_999]), "99999 is outside"),
    ];
    for (change, expected) in changes {
        let mut files = FILES.clone();
        let mut tokenizer: Value = serde_json::from_slice(&files.tokenizer).unwrap();
        change(&mut tokenizer);
        files.tokenizer = serde_json::to_vec(&tokenizer).unwrap();
        let message = files.seal().load().unwrap_err().to_string();
        assert!(message.starts_with("tokenizer.json: ") && message.contains(expected), "{message}");
    }
}

#[test]
fn another_number_of_labels_than_logits_is_refused() {
    let logits = FILES.manifest["labels"].as_array().unwrap().len();
    let mut more = FILES.clone();
    more.manifest["labels"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({"name": "NO_SUCH_LABEL", "threshold": 0.5}));
    refused(&more, &[&format!("model.onnx: gives {logits} logits, but the manifest names {} labels", logits + 1)]);
    let mut fewer = FILES.clone();
    fewer.manifest["labels"].as_array_mut().unwrap().pop();
    refused(&fewer, &[&format!("model.onnx: gives {logits} logits, but the manifest names {} labels", logits - 1)]);
}

#[test]
fn more_tokens_than_the_model_has_positions_are_refused() {
    for tokens_max in [257, 512, 8192] {
        let mut files = FILES.clone();
        files.manifest["tokens_max"] = tokens_max.into();
        refused(&files, &["model.onnx: ", &format!("fails on {tokens_max} tokens"), "tokens_max is too high"]);
    }
}

#[test]
fn fewer_tokens_than_the_model_could_read_are_no_fault() {
    let mut files = FILES.clone();
    files.manifest["tokens_max"] = 16.into();
    let classifier = files.load().unwrap();
    let result = &classifier.classify(&["word ".repeat(15)], &Options::default()).unwrap().results[0];
    assert_eq!((result.tokens, result.truncated), (16, true));
    assert_eq!(result.scores, check(&"word ".repeat(14)).scores);
}

#[test]
fn something_else_than_a_manifest_is_refused() {
    for manifest in [&b""[..], b"[]", b"{}", b"\xff", b"{\"schema\":\"palisade-release/1\""] {
        let files = ReleaseFiles { manifest, model: &FILES.model, tokenizer: &FILES.tokenizer };
        let error = Classifier::from_release_with(ENGINE, &files).unwrap_err();
        assert!(error.to_string().starts_with("release.json: not a release manifest: "), "{error}");
    }
}
