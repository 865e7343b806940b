//! What answering takes of the world: a classifier, a doorkeeper, a place for feedback, a clock.

use sha2::{Digest, Sha256};

use crate::Failure;

/// What the classifier says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The release inside.
    pub release: Release,
    /// What computes the scores.
    pub engine: String,
    /// What is scored, in the order of [`Scored::scores`].
    pub labels: Vec<Label>,
    /// ISO 639-1 codes of the languages that the release was trained for.
    pub languages: Vec<String>,
    /// Most texts in one call of [`Backend::classify`].
    pub texts_max: usize,
    /// Most bytes of all texts of one call.
    pub batch_bytes_max: usize,
}

impl Description {
    /// Position of a label in [`Scored::scores`].
    pub fn label(&self, name: &str) -> Option<usize> {
        self.labels.iter().position(|label| label.name == name)
    }

    /// Whether the release was trained for a language, given as an ISO 639-1 or BCP 47 code.
    pub fn speaks(&self, language: &str) -> bool {
        self.languages.iter().any(|known| known.eq_ignore_ascii_case(crate::language::primary(language)))
    }
}

/// Which release gave a score.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Release {
    /// Name of the model.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// SHA-256 of the manifest, in lower-case hexadecimal.
    pub digest: String,
}

/// One attribute that the release scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Name in upper case.
    pub name: String,
    /// The release's own threshold for review.
    pub threshold: f32,
    /// The one for blocking, where it has one.
    pub block: Option<f32>,
}

/// The scores of one text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scored {
    /// One probability a label.
    pub scores: Vec<f32>,
    /// Tokens read.
    pub tokens: u32,
    /// Whether a limit cut the text.
    pub truncated: bool,
    /// Sentences, where they were asked for.
    pub spans: Vec<Span>,
    /// Whether there are more sentences than spans.
    pub spans_truncated: bool,
    /// Words, where they were asked for.
    pub words: Vec<Word>,
    /// Whether there are more words than effects.
    pub words_truncated: bool,
}

/// What is wanted of a text beside its scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    /// Each sentence's scores.
    pub spans: bool,
    /// Each word's effect on the scores.
    pub words: bool,
}

/// A sentence with scores of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// First byte of the UTF-8 text.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
    /// One probability a label.
    pub scores: Vec<f32>,
    /// Whether a limit cut the span.
    pub truncated: bool,
}

/// A word and its effect on the scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// First byte of the UTF-8 text.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
    /// One difference of two probabilities a label.
    pub effects: Vec<f32>,
}

/// A person's judgement of a text; the fields are those of the WIT record `feedback.suggestion`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "described in wit/edge.wit")]
pub struct Suggestion {
    pub id: String,
    pub text: String,
    pub scores: Vec<SuggestedScore>,
    pub languages: Vec<String>,
    pub community_id: Option<String>,
    pub client_token: Option<String>,
    pub session_id: Option<String>,
}

impl Suggestion {
    /// The id that it must have: SHA-256 of all fields but the id, each with its length, in lower-case hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(bytes);
        };
        field(self.text.as_bytes());
        for score in &self.scores {
            field(score.label.as_bytes());
            field(&score.score.to_le_bytes());
            field(format!("{:?}", score.span).as_bytes());
        }
        field(self.languages.join(",").as_bytes());
        for identifier in [&self.community_id, &self.client_token, &self.session_id] {
            field(identifier.as_ref().map_or("", |identifier| identifier).as_bytes());
        }
        hex::encode(hash.finalize())
    }
}

/// One suggested score; the fields are those of the WIT record `feedback.suggested-score`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "described in wit/edge.wit")]
pub struct SuggestedScore {
    pub label: String,
    pub score: f64,
    pub span: Option<(u32, u32)>,
}

/// The world around the protocols. Implemented by the component `edge` over WIT, and by tests over the classifier's core.
pub trait Backend {
    /// What the classifier is.
    fn describe(&mut self) -> Result<Description, Failure>;
    /// Scores texts for all labels, one result a text, in order. The call must keep within the description's limits.
    fn classify(&mut self, texts: &[&str], parts: Parts) -> Result<Vec<Scored>, Failure>;
    /// Admits one request of the client with this key, or says why not.
    fn admit(&mut self, key: Option<&str>) -> Result<(), Failure>;
    /// Keeps a suggestion durably; the same one twice is kept once.
    fn keep(&mut self, suggestion: &Suggestion) -> Result<(), Failure>;
    /// Milliseconds since some fixed moment.
    fn now_ms(&mut self) -> f64;
}
