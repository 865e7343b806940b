//! How far the effects of words agree with people who marked the toxic parts of comments.
//!
//! The data is SemEval-2021 Task 5 (Pavlopoulos et al. 2021), the split `trial`; it lies beside the repository. A release may
//! have been trained on these comments, but never on what is marked in them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stderr, reason = "figures for who runs the test with --nocapture")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "figures")]

use std::collections::HashSet;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use palisade_evaluation::Outcomes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Comments that are measured: the first by the SHA-256 of their text.
const COMMENTS: usize = 100;
/// A word with at least this effect is taken for marked.
const EFFECT: f32 = 0.1;
/// A word that has at least this score alone is taken for marked.
const SCORE_ALONE: f32 = 0.5;
/// The least that a release must reach.
const ROC_AUC_MIN: f64 = 0.75;

struct Comment {
    text: String,
    /// Positions of the marked characters.
    marked: HashSet<usize>,
}

/// A word's characters, and a number that tells how toxic it is.
type Ranked = (Range<usize>, f32);

#[test]
fn words_that_people_marked_have_the_larger_effects() {
    let Some(comments) = comments() else {
        eprintln!("skipped: the annotated comments are not beside the repository");
        return;
    };
    let texts: Vec<&str> = comments.iter().map(|comment| comment.text.as_str()).collect();
    let effects: Vec<Vec<Ranked>> = classify(&texts, &["--words"])
        .iter()
        .zip(&texts)
        .map(|(line, text)| line["words"].as_array().unwrap().iter().map(|word| effect(text, word)).collect())
        .collect();

    let words: Vec<String> =
        effects.iter().zip(&texts).flat_map(|(words, text)| words.iter().map(|(at, _)| slice(text, at))).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut scores = classify(&words, &[]).into_iter().map(|line| number(&line["scores"]["TOXICITY"]));
    let with = |rank: &mut dyn FnMut(usize) -> f32| -> Vec<Vec<Ranked>> {
        let mut place = 0;
        let mut word = |(at, _): &Ranked| {
            place += 1;
            (at.clone(), rank(place))
        };
        effects.iter().map(|words| words.iter().map(&mut word).collect()).collect()
    };
    let alone = with(&mut |_| scores.next().unwrap());
    let random = with(&mut |place| f32::from(Sha256::digest(place.to_le_bytes())[0]) / 256.0);

    let effect = agreement("effect", &comments, &effects, EFFECT);
    agreement("score of the word alone", &comments, &alone, SCORE_ALONE);
    let random = agreement("random", &comments, &random, 0.5);
    assert!(effect.0 >= ROC_AUC_MIN && effect.1 > random.1, "{effect:?}, and at random {random:?}");
}

/// Prints and gives the mean ROC AUC over comments with both kinds of words, and the mean F1 of characters.
fn agreement(what: &str, comments: &[Comment], ranked: &[Vec<Ranked>], threshold: f32) -> (f64, f64) {
    let (mut areas, mut f1s) = (Vec::new(), Vec::new());
    for (comment, words) in comments.iter().zip(ranked) {
        let is_marked = |at: &Range<usize>| at.clone().any(|place| comment.marked.contains(&place));
        areas.extend(Outcomes::new(words.iter().map(|(at, number)| (*number, is_marked(at))).collect()).roc_auc());
        let taken = words.iter().filter(|(_, number)| *number >= threshold);
        let taken: HashSet<usize> = taken.flat_map(|(at, _)| at.clone()).collect();
        let all = taken.len() + comment.marked.len();
        // Where nothing is marked, taking nothing is right, as in the task's own measure.
        f1s.push(if all == 0 { 1.0 } else { 2.0 * taken.intersection(&comment.marked).count() as f64 / all as f64 });
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (area, f1) = (mean(&areas), mean(&f1s));
    eprintln!("{what}: ROC AUC {area:.3} over {} comments, F1 of characters {f1:.3} at {threshold}", areas.len());
    (area, f1)
}

/// A word's characters and its effect on TOXICITY.
fn effect(text: &str, word: &Value) -> Ranked {
    let character = |end: &str| {
        let byte = usize::try_from(word[end].as_u64().unwrap()).unwrap();
        text[..byte].chars().count()
    };
    (character("start")..character("end"), number(&word["effects"]["TOXICITY"]))
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

fn slice(text: &str, at: &Range<usize>) -> String {
    text.chars().skip(at.start).take(at.len()).collect()
}

fn classify(texts: &[&str], options: &[&str]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(["classify", "--format", "jsonl", "--input", "json", "--labels", "TOXICITY", "-"])
        .args(options)
        .env("PALISADE_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = texts.iter().map(|text| json!({"text": text}).to_string()).collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.join("\n").as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let lines = output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// The comments, where the data is there.
fn comments() -> Option<Vec<Comment>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/semeval2021_toxic_spans.csv.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        assert!(std::env::var_os("CI").is_none(), "{}: no such file", path.display());
        return None;
    };
    let mut rows = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let rows = rows.deserialize().map(|row| row.unwrap());
    let mut trial: Vec<(String, String)> =
        rows.filter(|row: &Vec<String>| row[2] == "trial").map(|row| (row[1].clone(), row[0].clone())).collect();
    trial.sort_by_cached_key(|(text, _)| Sha256::digest(text.as_bytes()));
    let comment = |(text, marked): (String, String)| Comment { text, marked: serde_json::from_str(&marked).unwrap() };
    Some(trial.into_iter().take(COMMENTS).map(comment).collect())
}
