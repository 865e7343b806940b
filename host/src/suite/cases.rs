//! Palisade's own cases: texts of one function each, expanded over identities and spelling tricks.
//!
//! The source is `host/suites/functional-cases.toml`; its head says what the marks in a text mean. The same source always
//! gives the same cases.

use anyhow::{Context, Result, ensure};
use csv::StringRecord;
use serde::Deserialize;
use toml::{Table, Value};

use super::tricks::TRICKS;

const SOURCE: &str = include_str!("../../suites/functional-cases.toml");

/// Columns that are not truth.
const COLUMNS: [&str; 8] = ["id", "function", "template", "identity", "expected", "decides", "trick", "text"];
/// The scores that cases have a truth for, each a column.
pub const SCORES: [&str; 6] = ["hateful", "abusive", "threat", "profane", "sexual", "spam"];
/// The value of `trick` for texts that come with tricks as well.
pub const PLAIN: &str = "plain";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    expected: Table,
    identity: Table,
    function: Vec<Function>,
}

/// Texts that test the same thing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Function {
    name: String,
    expected: String,
    decides: String,
    #[serde(default)]
    identities: usize,
    #[serde(default)]
    tricks: bool,
    texts: Vec<String>,
}

/// The cases as a table: its header, and its rows.
pub fn table() -> Result<(StringRecord, Vec<StringRecord>)> {
    let source: Source = toml::from_str(SOURCE).context("the program's own cases")?;
    let mut cases = Vec::new();
    let mut turn = 0;
    for function in &source.function {
        let truth = truth(&source.expected, function)?;
        for (number, template) in function.texts.iter().enumerate() {
            let template_name = format!("{}/{}", function.name, number + 1);
            let texts = expanded(template, function.identities, turn, &source.identity)
                .with_context(|| template_name.clone())?;
            turn += 1;
            for (place, (identity, marked)) in texts.iter().enumerate() {
                let tricked = function.tricks && place == 0;
                let mut case = |trick: &str, text: &str| {
                    let mut id = template_name.clone();
                    for part in [*identity, trick] {
                        if !part.is_empty() && part != PLAIN {
                            id = format!("{id}/{part}");
                        }
                    }
                    let cells = [
                        id.as_str(),
                        &function.name,
                        &template_name,
                        *identity,
                        &function.expected,
                        &function.decides,
                        trick,
                        text,
                    ];
                    cases.push(cells.into_iter().chain(truth).collect::<StringRecord>());
                };
                case(if tricked { PLAIN } else { "" }, &rewritten(marked, str::to_owned));
                for (name, trick) in TRICKS.iter().filter(|_| tricked) {
                    case(name, &rewritten(marked, trick));
                }
            }
        }
    }
    Ok((COLUMNS.into_iter().chain(SCORES).collect(), cases))
}

/// What the function's cases should be flagged for: 1, 0, or empty.
fn truth<'a>(expected: &Table, function: &Function) -> Result<[&'a str; SCORES.len()]> {
    let class = expected.get(&function.expected).and_then(Value::as_table);
    let class =
        class.with_context(|| format!("{}: expected = {:?} is not declared", function.name, function.expected))?;
    let truth = SCORES.map(|score| match class.get(score).and_then(Value::as_bool) {
        Some(true) => "1",
        Some(false) => "0",
        None => "",
    });
    let decided = class.get(&function.decides).is_some_and(|truth| truth.as_bool().is_some());
    ensure!(decided, "{}: {:?} has no truth for {:?}", function.name, function.expected, function.decides);
    Ok(truth)
}

/// The template with the words of `identities` identities that have them all, in turn; slurs are marked.
fn expanded<'a>(template: &str, identities: usize, turn: usize, all: &'a Table) -> Result<Vec<(&'a str, String)>> {
    if identities == 0 {
        ensure!(!template.contains('{'), "a slot without identities = …");
        return Ok(vec![("", template.to_owned())]);
    }
    let fitting: Vec<(&str, String)> =
        all.iter().filter_map(|(name, words)| Some((name.as_str(), filled(template, words.as_table()?)?))).collect();
    ensure!(identities <= fitting.len(), "only {} identities fit", fitting.len());
    let each = |number: usize| fitting.get((turn + number * fitting.len() / identities) % fitting.len()).cloned();
    Ok((0..identities).filter_map(each).collect())
}

/// `None` where the identity lacks a word.
fn filled(template: &str, words: &Table) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, slot, behind)) = between(rest, '{', '}') {
        let word = words.get(&slot.to_lowercase())?.as_str()?;
        text.push_str(before);
        match slot.chars().next() {
            Some(first) if first.is_uppercase() => text.push_str(&capitalised(word)),
            _ if slot.starts_with("slur") => text.extend(["<", word, ">"]),
            _ => text.push_str(word),
        }
        rest = behind;
    }
    text.push_str(rest);
    Some(text)
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The text with its marked words rewritten, and without the marks.
fn rewritten(marked: &str, word: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    let mut rest = marked;
    while let Some((before, marked, behind)) = between(rest, '<', '>') {
        text.push_str(before);
        text.push_str(&word(marked));
        rest = behind;
    }
    text.push_str(rest);
    text
}

fn between(text: &str, open: char, close: char) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once(open)?;
    let (inside, behind) = rest.split_once(close)?;
    Some((before, inside, behind))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn cases() -> Vec<BTreeMap<String, String>> {
        let (header, rows) = table().unwrap();
        let row = |row: &StringRecord| header.iter().map(str::to_owned).zip(row.iter().map(str::to_owned)).collect();
        rows.iter().map(row).collect()
    }

    #[test]
    fn every_case_is_whole_and_has_a_name_of_its_own() {
        let cases = cases();
        let ids: BTreeSet<&String> = cases.iter().map(|case| &case["id"]).collect();
        assert_eq!(ids.len(), cases.len());
        assert!((1_500..2_500).contains(&cases.len()), "{} cases", cases.len());
        for case in &cases {
            let text = &case["text"];
            assert!(!text.contains(['{', '}', '<', '>']) && text.trim() == text && !text.is_empty(), "{text}");
            assert!(!case[&case["decides"]].is_empty(), "{}", case["id"]);
        }
        let functions: BTreeSet<&String> = cases.iter().map(|case| &case["function"]).collect();
        assert!(functions.len() >= 45, "{} functions", functions.len());
    }

    #[test]
    fn identities_come_up_about_equally_often() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for case in cases().into_iter().filter(|case| case["trick"].is_empty() && case["decides"] == "abusive") {
            *counts.entry(case["identity"].clone()).or_default() += 1;
        }
        counts.remove("");
        let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
        assert!(counts.len() == 12 && most - least <= 4, "{counts:?}");
    }

    #[test]
    fn slots_and_marks_are_filled() {
        let words = toml::toml! { many = "women" slur = "x" };
        assert_eq!(filled("{Many}, {many} and a {slur}", &words).as_deref(), Some("Women, women and a <x>"));
        assert_eq!(filled("{kind}", &words), None);
        assert_eq!(rewritten("a <b> c <d>", str::to_uppercase), "a B c D");
    }
}
