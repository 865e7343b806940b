//! Policies: which scores hold a text for review, and which block it.
//!
//! A file of policies is TOML:
//!
//! ```
//! let text = r#"
//! [policies.forum]
//! unsupported-language = "review"   # allow (the default), review or block
//! truncated = "allow"               # for a text of which only the beginning was read
//! review = { TOXICITY = 0.7, INSULT = 0.8 }   # or "release": the release's own threshold for every label
//! block = { THREAT = 0.95 }                   # likewise: the release's own for blocking, where it has one
//!
//! [policies.forum.communities."r/rust"]       # overrides single thresholds
//! review = { TOXICITY = 0.5, INSULT = "off" }
//! "#;
//! let policies = palisade_protocols::policy::Policies::parse(text, Some(&["TOXICITY", "INSULT", "THREAT"]))?;
//! assert!(policies.get("forum").is_some());
//! # Ok::<(), palisade_protocols::policy::PolicyError>(())
//! ```
//!
//! A label that a policy does not name is not judged by it (`palisade policy check` lists those). Without a file, or where it does not define it, the policy `default` reviews at the release's thresholds and blocks nothing:
//! what to block is for people to decide.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::backend::{Description, Label, Scored};
use crate::json::{decimal, line_and_column};

/// What to do with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Let it pass.
    Allow,
    /// Hold it for a person.
    Review,
    /// Refuse it.
    Block,
}

/// Where a file of policies is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} column {column}: {problem}")]
pub struct PolicyError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A file of policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    policies: BTreeMap<String, Policy>,
}

/// One policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    review: Thresholds,
    block: Thresholds,
    unsupported_language: Verdict,
    truncated: Verdict,
    communities: BTreeMap<String, (Thresholds, Thresholds)>,
}

/// Thresholds by label.
#[derive(Debug, Clone, PartialEq, Default)]
struct Thresholds {
    /// Whether labels that are not named have the release's threshold, where it has one.
    release: bool,
    /// `None` where the label is off.
    labels: BTreeMap<String, Option<f64>>,
}

/// Whose threshold counts.
enum Found {
    Own(Option<f64>),
    OfRelease,
}

impl Thresholds {
    /// What they say of a label, under those of a community.
    fn find(&self, over: Option<&Self>, label: &Label) -> Found {
        if let Some(threshold) = over.and_then(|over| over.labels.get(&label.name)) {
            return Found::Own(*threshold);
        }
        if over.is_some_and(|over| over.release) {
            return Found::OfRelease;
        }
        match self.labels.get(&label.name) {
            Some(threshold) => Found::Own(*threshold),
            None if self.release => Found::OfRelease,
            None => Found::Own(None),
        }
    }
}

/// A threshold that a score has reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fired {
    /// The label.
    pub label: String,
    /// Its score.
    pub score: f64,
    /// The threshold reached.
    pub threshold: f64,
    /// What the threshold is for.
    pub verdict: Verdict,
}

/// What a policy says of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The strictest of all that applies.
    pub verdict: Verdict,
    /// The thresholds reached, one a label, in the order of the release's labels.
    pub fired: Vec<Fired>,
    /// What else the policy does not simply allow.
    pub reasons: Vec<Reason>,
}

/// What beside scores a policy judges by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The release was not trained for the text's language.
    UnsupportedLanguage,
    /// Only the beginning of the text was read.
    Truncated,
}

impl Default for Policies {
    fn default() -> Self {
        Self { policies: BTreeMap::from([(DEFAULT.to_owned(), Policy::default())]) }
    }
}

/// Name of the policy that applies where none is named.
pub const DEFAULT: &str = "default";

impl Default for Policy {
    fn default() -> Self {
        Self {
            review: Thresholds { release: true, labels: BTreeMap::new() },
            block: Thresholds::default(),
            unsupported_language: Verdict::Allow,
            truncated: Verdict::Allow,
            communities: BTreeMap::new(),
        }
    }
}

impl Policies {
    /// Parses and checks a file. Where `labels` are given, others are refused.
    pub fn parse(text: &str, labels: Option<&[&str]>) -> Result<Self, PolicyError> {
        let file: File = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            error_at(text, start, error.message())
        })?;
        let mut policies = Self::default();
        for (name, table) in file.policies {
            let policy = table.check(labels).map_err(|(start, problem)| error_at(text, start, &problem))?;
            policies.policies.insert(name, policy);
        }
        Ok(policies)
    }

    /// A policy by its name.
    pub fn get(&self, name: &str) -> Option<&Policy> {
        self.policies.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.keys().map(String::as_str)
    }
}

impl Policy {
    /// Judges one text by its scores.
    pub fn judge(&self, community: Option<&str>, release: &Description, text: &Scored, speaks: bool) -> Judgement {
        let mut fired = Vec::new();
        for (label, score) in release.labels.iter().zip(&text.scores) {
            let score = decimal(*score);
            let thresholds = self.thresholds(community, label);
            let reached = |threshold: Option<f64>| threshold.filter(|threshold| score >= *threshold);
            let strictest = reached(thresholds.block).map(|threshold| (threshold, Verdict::Block));
            let strictest =
                strictest.or_else(|| reached(thresholds.review).map(|threshold| (threshold, Verdict::Review)));
            if let Some((threshold, verdict)) = strictest {
                fired.push(Fired { label: label.name.clone(), score, threshold, verdict });
            }
        }
        let others = [
            (Reason::UnsupportedLanguage, !speaks, self.unsupported_language),
            (Reason::Truncated, text.truncated, self.truncated),
        ];
        let others = others.into_iter().filter(|(_, applies, verdict)| *applies && *verdict > Verdict::Allow);
        let (reasons, verdicts): (Vec<_>, Vec<_>) = others.map(|(reason, _, verdict)| (reason, verdict)).unzip();
        let verdict = fired.iter().map(|fired| fired.verdict).chain(verdicts).max().unwrap_or(Verdict::Allow);
        Judgement { verdict, fired, reasons }
    }

    /// The thresholds that count for a label in a community. The release's own for blocking counts where the policy's for review is lower.
    pub fn thresholds(&self, community: Option<&str>, label: &Label) -> LabelThresholds {
        let over = community.and_then(|name| self.communities.get(name));
        let review = match self.review.find(over.map(|(review, _)| review), label) {
            Found::Own(own) => own,
            Found::OfRelease => Some(decimal(label.threshold)),
        };
        let block = match self.block.find(over.map(|(_, block)| block), label) {
            Found::Own(own) => own,
            Found::OfRelease => label.block.map(|block| decimal(block).max(review.unwrap_or(0.0))),
        };
        LabelThresholds { review, block }
    }

    /// The labels that the policy leaves to the release to block by, which does not.
    pub fn not_blocked<'a>(&self, release: &'a [Label]) -> Vec<&'a str> {
        let left = |label: &&Label| label.block.is_none() && matches!(self.block.find(None, label), Found::OfRelease);
        release.iter().filter(left).map(|label| label.name.as_str()).collect()
    }

    /// The labels that the policy neither reviews nor blocks, out of those of a release.
    pub fn not_judged<'a>(&self, release: &'a [Label]) -> Vec<&'a str> {
        let none = LabelThresholds { review: None, block: None };
        let unjudged = release.iter().filter(|label| self.thresholds(None, label) == none);
        unjudged.map(|label| label.name.as_str()).collect()
    }

    /// Communities that have thresholds of their own.
    pub fn communities(&self) -> impl Iterator<Item = &str> {
        self.communities.keys().map(String::as_str)
    }
}

/// The thresholds of one label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LabelThresholds {
    /// Score from which a text is held for review.
    pub review: Option<f64>,
    /// Score from which a text is blocked.
    pub block: Option<f64>,
}

fn error_at(text: &str, start: usize, problem: &str) -> PolicyError {
    let (line, column) = line_and_column(text, start);
    PolicyError { line, column, problem: problem.trim().replace('\n', "; ") }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policies: BTreeMap<String, PolicyTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PolicyTable {
    review: Option<ThresholdTable>,
    block: Option<ThresholdTable>,
    unsupported_language: Option<Verdict>,
    truncated: Option<Verdict>,
    #[serde(default)]
    communities: BTreeMap<String, Override>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    review: Option<ThresholdTable>,
    block: Option<ThresholdTable>,
}

/// Thresholds with the places of their labels.
#[derive(Default)]
struct ThresholdTable {
    release: bool,
    labels: Vec<(Spanned<String>, Option<f64>)>,
}

/// Offset into the file, and what is wrong there.
type Problem = (usize, String);

impl PolicyTable {
    fn check(self, labels: Option<&[&str]>) -> Result<Policy, Problem> {
        let none = (Thresholds::default(), Thresholds::default());
        let base = check_pair(self.review, self.block, &none, labels)?;
        let mut communities = BTreeMap::new();
        for (name, table) in self.communities {
            communities.insert(name, check_pair(table.review, table.block, &base, labels)?);
        }
        let (review, block) = base;
        Ok(Policy {
            review,
            block,
            unsupported_language: self.unsupported_language.unwrap_or(Verdict::Allow),
            truncated: self.truncated.unwrap_or(Verdict::Allow),
            communities,
        })
    }
}

/// Checks thresholds, as they are over those of `base`.
fn check_pair(
    review: Option<ThresholdTable>,
    block: Option<ThresholdTable>,
    base: &(Thresholds, Thresholds),
    labels: Option<&[&str]>,
) -> Result<(Thresholds, Thresholds), Problem> {
    let (review, block) = (review.unwrap_or_default(), block.unwrap_or_default());
    let (own_review, own_block) = (review.thresholds(), block.thresholds());
    // A wrong order is told at the threshold for blocking, where there is one.
    for (label, _) in block.labels.iter().chain(&review.labels) {
        let (start, label) = (label.span().start, label.get_ref());
        if let Some(labels) = labels.filter(|labels| !labels.contains(&label.as_str())) {
            return Err((start, format!("the release has no label {label}; it has {}", labels.join(", "))));
        }
        let effective = |own: &Thresholds, base: &Thresholds| own.labels.get(label).or(base.labels.get(label)).copied();
        let (review, block) = (effective(&own_review, &base.0), effective(&own_block, &base.1));
        if let (Some(Some(review)), Some(Some(block))) = (review, block)
            && block < review
        {
            return Err((start, format!("{label} blocks from {block}, below the {review} that it is reviewed from")));
        }
    }
    Ok((own_review, own_block))
}

impl ThresholdTable {
    fn thresholds(&self) -> Thresholds {
        let labels = self.labels.iter().map(|(label, threshold)| (label.get_ref().clone(), *threshold)).collect();
        Thresholds { release: self.release, labels }
    }
}

impl<'de> Deserialize<'de> for ThresholdTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = ThresholdTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of labels and thresholds like { TOXICITY = 0.8 }, or \"release\"")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
                if value != "release" {
                    return Err(E::invalid_value(de::Unexpected::Str(value), &self));
                }
                Ok(ThresholdTable { release: true, labels: Vec::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::new();
                while let Some(entry) = map.next_entry::<Spanned<String>, Threshold>()? {
                    labels.push((entry.0, entry.1.0));
                }
                Ok(ThresholdTable { release: false, labels })
            }
        }
        deserializer.deserialize_any(Table)
    }
}

struct Threshold(Option<f64>);

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Threshold;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a threshold from 0 to 1, or \"off\"")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
                if !(0.0..=1.0).contains(&value) {
                    return Err(E::invalid_value(de::Unexpected::Float(value), &self));
                }
                Ok(Threshold(Some(value)))
            }

            #[expect(clippy::cast_precision_loss, reason = "only 0 and 1 pass")]
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                self.visit_f64(value as f64)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
                if value != "off" {
                    return Err(E::invalid_value(de::Unexpected::Str(value), &self));
                }
                Ok(Threshold(None))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Release;

    const LABELS: &[&str] = &["TOXICITY", "INSULT", "THREAT"];

    fn release() -> Description {
        let label =
            |name: &&str| Label { name: (*name).to_owned(), threshold: 0.5, block: (*name != "THREAT").then_some(0.8) };
        Description {
            release: Release { name: "test".into(), version: "1.0.0".into(), digest: "00".into() },
            engine: "none".into(),
            labels: LABELS.iter().map(label).collect(),
            languages: vec!["en".into()],
            texts_max: 64,
            batch_bytes_max: 1 << 22,
        }
    }

    fn verdict(policy: &Policy, community: Option<&str>, scores: [f32; 3]) -> Verdict {
        let text = Scored { scores: scores.to_vec(), ..Scored::default() };
        policy.judge(community, &release(), &text, true).verdict
    }

    #[track_caller]
    fn refused(text: &str, line: usize, column: usize, words: &str) {
        let error = Policies::parse(text, Some(LABELS)).expect_err(text);
        assert_eq!((error.line, error.column), (line, column), "{error}");
        assert!(error.problem.contains(words), "{error}");
    }

    #[test]
    fn without_a_file_the_release_decides_what_is_reviewed_and_nothing_is_blocked() {
        let policies = Policies::default();
        let policy = policies.get(DEFAULT).unwrap();
        assert_eq!(verdict(policy, None, [0.49, 0.0, 0.0]), Verdict::Allow);
        assert_eq!(verdict(policy, None, [0.5, 1.0, 1.0]), Verdict::Review);
    }

    #[test]
    fn the_strictest_threshold_decides_and_a_community_overrides_single_ones() {
        let text = "[policies.forum]\nreview = { TOXICITY = 0.7, INSULT = 0.8 }\nblock = { INSULT = 0.9 }\n\
                    [policies.forum.communities.\"r/rust\"]\nreview = { TOXICITY = \"off\" }\nblock = { INSULT = 1 }\n";
        let policies = Policies::parse(text, Some(LABELS)).unwrap();
        let policy = policies.get("forum").unwrap();
        assert_eq!(verdict(policy, None, [0.7, 0.0, 1.0]), Verdict::Review);
        assert_eq!(verdict(policy, None, [0.7, 0.9, 0.0]), Verdict::Block);
        assert_eq!(verdict(policy, Some("r/rust"), [0.99, 0.0, 0.0]), Verdict::Allow);
        assert_eq!(verdict(policy, Some("r/rust"), [0.0, 0.95, 0.0]), Verdict::Review);
        assert_eq!(verdict(policy, Some("r/other"), [0.7, 0.0, 0.0]), Verdict::Review);
        assert_eq!(policies.names().collect::<Vec<_>>(), ["default", "forum"]);
    }

    #[test]
    fn the_release_has_thresholds_for_both() {
        let text = "[policies.p]\nreview = \"release\"\nblock = \"release\"\n[policies.p.communities.c]\nblock = { INSULT = \"off\" }\n";
        let policies = Policies::parse(text, Some(LABELS)).unwrap();
        let policy = policies.get("p").unwrap();
        assert_eq!(verdict(policy, None, [0.5, 0.79, 0.0]), Verdict::Review);
        assert_eq!(verdict(policy, None, [0.8, 0.0, 0.0]), Verdict::Block);
        assert_eq!(verdict(policy, None, [0.0, 0.0, 1.0]), Verdict::Review); // it has none to block THREAT
        assert_eq!(verdict(policy, Some("c"), [0.0, 0.9, 0.0]), Verdict::Review);
        assert_eq!(policy.not_blocked(&release().labels), ["THREAT"]);
        let text = "[policies.p]\nreview = { TOXICITY = 0.95 }\nblock = \"release\"\n";
        let policies = Policies::parse(text, Some(LABELS)).unwrap();
        assert_eq!(verdict(policies.get("p").unwrap(), None, [0.9, 0.0, 0.0]), Verdict::Allow);
    }

    #[test]
    fn language_and_length_may_ask_for_review() {
        let policies =
            Policies::parse("[policies.p]\nunsupported-language = \"block\"\ntruncated = \"review\"", None).unwrap();
        let policy = policies.get("p").unwrap();
        let text = Scored { scores: vec![0.0; 3], truncated: true, ..Scored::default() };
        assert_eq!(policy.judge(None, &release(), &text, true).verdict, Verdict::Review);
        assert_eq!(policy.judge(None, &release(), &text, false).verdict, Verdict::Block);
    }

    #[test]
    fn errors_have_their_place_and_the_remedy() {
        refused("[policies.a]\nreview = { TOXICTY = 0.7 }", 2, 12, "it has TOXICITY, INSULT, THREAT");
        refused("[policies.a]\nreview = { TOXICITY = 1.7 }", 2, 23, "from 0 to 1");
        refused("[policies.a]\nreview = { TOXICITY = true }", 2, 23, "from 0 to 1");
        refused("[policies.a]\nreveiw = {}", 2, 1, "unknown field `reveiw`");
        refused("[policies.a]\ntruncated = \"hold\"", 2, 13, "`allow`, `review`, `block`");
        refused("[policies.a]\nreview = \"all\"", 2, 10, "\"release\"");
        refused("[policies.a]\nreview = { INSULT = 0.9 }\nblock = { INSULT = 0.8 }", 3, 11, "below the 0.9");
        refused(
            "[policies.a]\nreview = { INSULT = 0.9 }\n[policies.a.communities.c]\nblock = { INSULT = 0.5 }",
            4,
            11,
            "below the 0.9",
        );
        refused("[policies.a]\nx", 2, 2, "expected `=`");
        refused("[policies.a]\nreview = { TOXICITY = 0.7", 2, 26, "");
        refused("[policies.a]\n[policies.a]", 2, 11, "duplicate");
    }
}
