//! Golden cases: texts that come with a release, and the scores that it gives them wherever it runs.
//!
//! A release that gives others is not what was published, or this machine computes wrongly; either way it must not serve.

use serde::Deserialize;
use serde_json::Value;

use crate::Loaded;
use crate::bindings::Options;

/// Largest file of cases.
const BYTES_MAX: usize = 4 << 20;

/// A line of `cases.jsonl`.
#[derive(Debug, Deserialize)]
struct Case {
    /// Any JSON value; it names the case in errors.
    id: Value,
    text: String,
    /// By label; all labels of the release.
    scores: std::collections::BTreeMap<String, f32>,
    truncated: bool,
}

/// Scores every case with a fresh instance, and gives their number. The error names the first case that has another result, never its text.
pub(crate) fn check(loaded: &Loaded, cases: &[u8]) -> Result<usize, String> {
    if cases.len() > BYTES_MAX {
        return Err(format!("its cases have {} bytes, and {BYTES_MAX} are allowed", cases.len()));
    }
    let text = std::str::from_utf8(cases).map_err(|e| format!("its cases are no text: {e}"))?;
    let mut instance = loaded.instantiate().map_err(|e| e.to_string())?;
    let options = Options { labels: None, spans: false, words: false };
    let mut number = 0;
    for (line, case) in (1..).zip(text.lines()) {
        let case: Case = serde_json::from_str(case)
            .map_err(|e| format!("line {line} of its cases is no case (column {})", e.column()))?;
        let answer = instance.classify(&[&case.text], &options).map_err(|e| format!("case {} fails: {e}", case.id))?;
        let result = answer.results.first().ok_or_else(|| format!("case {} has no result", case.id))?;
        if result.truncated != case.truncated || answer.labels.len() != case.scores.len() {
            return Err(format!("case {} is cut at another place or scored with other labels than published", case.id));
        }
        for (label, score) in answer.labels.iter().zip(&result.scores) {
            let expected = case.scores.get(label);
            if expected.map(|expected| expected.to_bits()) != Some(score.to_bits()) {
                let expected = expected.map_or("none".into(), f32::to_string);
                return Err(format!("case {} has {label} {score} here, and {expected} as published", case.id));
            }
        }
        number += 1;
    }
    Ok(number)
}
