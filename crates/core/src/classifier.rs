//! The steps in order: check the call, text → normalised text → tokens, tokens → scores, sentences → spans, words → effects.

use std::ops::Range;

use crate::engine::{Engine, EngineKind, sigmoid};
use crate::normalise::{self, normalise};
use crate::release::{Label, Limits, Manifest, Release, ReleaseError, ReleaseFiles};
use crate::sentences::sentences;
use crate::tokens::{Tokens, cut};
#[cfg(feature = "tract")]
use crate::{model::Graph, tokens::TextTokenizer};

/// What a caller wants of a call.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of the wanted labels, in the wanted order; `None` means all.
    pub labels: Option<Vec<String>>,
    /// Whether to score each sentence too.
    pub spans: bool,
    /// Whether to give each word's effect on the scores too.
    pub words: bool,
}

/// A sentence with scores of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Where it stands: bytes of the UTF-8 text.
    pub range: Range<usize>,
    /// One score a label.
    pub scores: Vec<f32>,
    /// True where a limit cut the span.
    pub truncated: bool,
}

/// A word and its effect on the scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// Where it stands: bytes of the UTF-8 text.
    pub range: Range<usize>,
    /// One difference of two scores, -1 to 1, a label.
    pub effects: Vec<f32>,
}

/// The result for one text; see `text-result` in `wit/classifier.wit`.
#[derive(Debug, Clone, PartialEq)]
pub struct TextResult {
    /// One probability in 0 to 1 a label.
    pub scores: Vec<f32>,
    /// Tokens that the model read.
    pub tokens: usize,
    /// True where a limit cut the text.
    pub truncated: bool,
    /// Sentences, where they were asked for.
    pub spans: Vec<Span>,
    /// True where the text has more sentences than spans were given for.
    pub spans_truncated: bool,
    /// Words, where they were asked for.
    pub words: Vec<Word>,
    /// True where the text has more words than effects were given for.
    pub words_truncated: bool,
}

/// The results of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// The release that gave the scores.
    pub release: Release,
    /// What each position of a `scores` list stands for.
    pub labels: Vec<String>,
    /// One result a text.
    pub results: Vec<TextResult>,
}

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassifyError {
    /// The release has no such label.
    #[error("the release has no label {0:?}")]
    UnknownLabel(String),
    /// The label was asked for twice.
    #[error("label {0:?} is asked for twice")]
    DuplicateLabel(String),
    /// Split the batch.
    #[error("{given} texts in one call; at most {limit} are allowed")]
    TooManyTexts {
        /// Texts in the call.
        given: usize,
        /// Texts allowed.
        limit: usize,
    },
    /// Split the batch or shorten its texts.
    #[error("{given} bytes of text in one call; at most {limit} are allowed")]
    BatchTooLarge {
        /// Bytes in the call.
        given: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The engine failed on a text that it should have handled.
    #[error("the engine failed: {0}")]
    Engine(String),
}

/// A release, ready to score.
#[derive(Debug, Clone)]
pub struct Classifier {
    manifest: Manifest,
    release: Release,
    engine: Engine,
}

struct Scored {
    scores: Vec<f32>,
    tokens: usize,
    truncated: bool,
}

/// A release that is read and checked, but not planned yet by tract. It holds no part of the files, so a caller who is short
/// of memory can drop them before the planning.
#[cfg(feature = "tract")]
#[derive(Debug)]
pub struct Unplanned {
    manifest: Manifest,
    tokenizer: TextTokenizer,
    graph: Graph,
}

#[cfg(feature = "tract")]
impl Unplanned {
    /// Optimises the network and makes a classifier of it.
    pub fn plan(self) -> Result<Classifier, ReleaseError> {
        let model = self.graph.plan()?;
        Classifier::new(self.manifest, Engine::Tract { tokenizer: Box::new(self.tokenizer), model })
    }
}

impl Classifier {
    /// Checks the files against the manifest and makes a classifier of them: with the encoder engine where the release
    /// fits it, else with tract.
    #[cfg_attr(
        not(feature = "tract"),
        expect(clippy::needless_return, reason = "with tract, the encoder's match is not the last expression")
    )]
    pub fn from_release(files: &ReleaseFiles<'_>) -> Result<Self, ReleaseError> {
        let manifest = files.verify()?;
        #[cfg(feature = "encoder")]
        match palisade_encoder::pack(files.model, files.tokenizer) {
            Ok(packed) => return Self::from_packed(manifest, packed),
            #[cfg(feature = "tract")]
            Err(_) => {}
            #[cfg(not(feature = "tract"))]
            Err(problem) => return Err(manifest.not_packed(&problem)),
        }
        #[cfg(feature = "tract")]
        Self::read(manifest, files)?.plan()
    }

    /// The same with one engine.
    pub fn from_release_with(engine: EngineKind, files: &ReleaseFiles<'_>) -> Result<Self, ReleaseError> {
        let manifest = files.verify()?;
        match engine {
            #[cfg(feature = "encoder")]
            EngineKind::Encoder => {
                let packed = palisade_encoder::pack(files.model, files.tokenizer);
                let packed = packed.map_err(|problem| manifest.not_packed(&problem))?;
                Self::from_packed(manifest, packed)
            }
            #[cfg(feature = "tract")]
            EngineKind::Tract => Self::read(manifest, files)?.plan(),
        }
    }

    /// Makes a classifier of a manifest and what [`palisade_encoder::pack`] made of the files that it names.
    #[cfg(feature = "encoder")]
    pub fn from_packed(manifest: Manifest, packed: palisade_encoder::Blob) -> Result<Self, ReleaseError> {
        let packed = palisade_encoder::Packed::new(packed)
            .map_err(|e| ReleaseError::Unusable { file: manifest.model.file.clone(), problem: e.to_string() })?;
        Self::new(manifest, Engine::Encoder(packed))
    }

    /// The same with another of the encoder engine's kernels, to compare them; unchanged where this machine does not run it, and with tract.
    #[cfg(feature = "encoder")]
    #[must_use]
    pub fn with_kernel(self, kernel: palisade_encoder::Kernel) -> Self {
        let engine = match self.engine {
            Engine::Encoder(packed) => Engine::Encoder(packed.with_kernel(kernel)),
            #[cfg(feature = "tract")]
            tract @ Engine::Tract { .. } => tract,
        };
        Self { engine, ..self }
    }

    /// The first half of making a classifier with tract, of files that are the manifest's own.
    #[cfg(feature = "tract")]
    pub fn read(manifest: Manifest, files: &ReleaseFiles<'_>) -> Result<Unplanned, ReleaseError> {
        let tokenizer = TextTokenizer::new(&manifest.tokenizer.file, files.tokenizer, manifest.tokens_max)?;
        let graph = Graph::read(&manifest.model.file, files.model)?;
        Ok(Unplanned { manifest, tokenizer, graph })
    }

    /// Tries the release on the shortest and the longest text, so that files that do not fit each other are refused here and
    /// not at the first unlucky comment.
    fn new(manifest: Manifest, engine: Engine) -> Result<Self, ReleaseError> {
        let classifier = Self { release: manifest.release(), manifest, engine };
        classifier.try_extremes()?;
        Ok(classifier)
    }

    fn try_extremes(&self) -> Result<(), ReleaseError> {
        let unusable = |problem| ReleaseError::Unusable { file: self.manifest.model.file.clone(), problem };
        // A word, a character of no vocabulary, and what the tokenizer puts around every text.
        let probe = self.encode("a \u{12000}").and_then(|tokens| self.engine.logits(&[tokens.ids]));
        if let Err(e) = probe {
            let problem = format!("gives tokens that {} cannot score: {e}", self.manifest.model.file);
            return Err(ReleaseError::Unusable { file: self.manifest.tokenizer.file.clone(), problem });
        }
        let id_max = self.engine.id_max();
        for tokens in [3, self.manifest.tokens_max] {
            let logits = self.engine.logits(&[vec![id_max; tokens]]).map_err(|e| {
                unusable(format!(
                    "fails on {tokens} tokens with id {id_max}, the highest of {}: model and tokenizer do not belong \
                     together, or tokens_max is too high: {e}",
                    self.manifest.tokenizer.file
                ))
            })?.concat();
            if logits.len() != self.manifest.labels.len() {
                return Err(unusable(format!(
                    "gives {} logits, but the manifest names {} labels",
                    logits.len(),
                    self.manifest.labels.len()
                )));
            }
            if !logits.iter().all(|logit| logit.is_finite()) {
                return Err(unusable(format!("gives logits for {tokens} tokens that are no numbers")));
            }
        }
        Ok(())
    }

    /// What the model reads of a text: normalised where the release wants that.
    fn encode(&self, text: &str) -> Result<Tokens, String> {
        let limits = self.limits();
        if self.manifest.normalisation.is_none() {
            return self.engine.encode(text, &limits);
        }
        let read = cut(text, limits.text_bytes_max);
        let mut tokens = self.engine.encode(&normalise(read).text, &limits)?;
        tokens.truncated |= read.len() < text.len();
        Ok(tokens)
    }

    /// What computes the scores.
    pub fn engine(&self) -> &'static str {
        self.engine.name()
    }

    /// The release inside.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// What it scores, in the order of the model's output.
    pub fn labels(&self) -> &[Label] {
        &self.manifest.labels
    }

    /// Languages, as ISO 639-1 codes.
    pub fn languages(&self) -> &[String] {
        &self.manifest.languages
    }

    /// What one call may ask for.
    pub fn limits(&self) -> Limits {
        self.manifest.limits()
    }

    /// Scores a batch. The result for a text does not depend on the other texts of the batch.
    pub fn classify<T: AsRef<str>>(&self, texts: &[T], options: &Options) -> Result<Classification, ClassifyError> {
        self.check_limits(texts)?;
        let wanted = self.wanted(options)?;
        let wholes = self.score(texts, &wanted)?;
        let results = texts.iter().zip(wholes);
        let results = results.map(|(text, whole)| self.classify_text(text.as_ref(), whole, &wanted, options));
        let results = results.collect::<Result<_, _>>()?;
        let labels = wanted.iter().filter_map(|&i| self.manifest.labels.get(i)).map(|l| l.name.clone()).collect();
        Ok(Classification { release: self.release.clone(), labels, results })
    }

    fn check_limits<T: AsRef<str>>(&self, texts: &[T]) -> Result<(), ClassifyError> {
        let limits = self.limits();
        if texts.len() > limits.texts_max {
            return Err(ClassifyError::TooManyTexts { given: texts.len(), limit: limits.texts_max });
        }
        let bytes: usize = texts.iter().map(|t| t.as_ref().len()).sum();
        if bytes > limits.batch_bytes_max {
            return Err(ClassifyError::BatchTooLarge { given: bytes, limit: limits.batch_bytes_max });
        }
        Ok(())
    }

    /// Positions in the model's output of the wanted labels.
    fn wanted(&self, options: &Options) -> Result<Vec<usize>, ClassifyError> {
        let Some(names) = &options.labels else {
            return Ok((0..self.manifest.labels.len()).collect());
        };
        let mut wanted = Vec::new();
        for name in names {
            let found = self.manifest.labels.iter().position(|label| label.name == *name);
            let place = found.ok_or_else(|| ClassifyError::UnknownLabel(name.clone()))?;
            if wanted.contains(&place) {
                return Err(ClassifyError::DuplicateLabel(name.clone()));
            }
            wanted.push(place);
        }
        Ok(wanted)
    }

    fn classify_text(
        &self,
        text: &str,
        whole: Scored,
        wanted: &[usize],
        options: &Options,
    ) -> Result<TextResult, ClassifyError> {
        let (spans, spans_truncated) =
            if options.spans { self.score_sentences(text, &whole, wanted)? } else { (Vec::new(), false) };
        let (words, words_truncated) =
            if options.words { self.score_words(text, wanted)? } else { (Vec::new(), false) };
        let Scored { scores, tokens, truncated } = whole;
        Ok(TextResult { scores, tokens, truncated, spans, spans_truncated, words, words_truncated })
    }

    /// The spans, and whether there are more sentences than spans.
    fn score_sentences(
        &self,
        text: &str,
        whole: &Scored,
        wanted: &[usize],
    ) -> Result<(Vec<Span>, bool), ClassifyError> {
        let limits = self.limits();
        let read = cut(text, limits.text_bytes_max);
        let mut ranges = sentences(read);
        let first: Vec<_> = ranges.by_ref().take(limits.spans_max).collect();
        let more = read.len() < text.len() || ranges.next().is_some();
        if let ([range], false) = (first.as_slice(), more) {
            let span = Span { range: range.clone(), scores: whole.scores.clone(), truncated: whole.truncated };
            return Ok((vec![span], false));
        }
        let of_sentences: Vec<_> = first.iter().map(|range| read.get(range.clone()).unwrap_or_default()).collect();
        let scored = self.score(&of_sentences, wanted)?;
        let spans = first.into_iter().zip(scored);
        let spans = spans.map(|(range, Scored { scores, truncated, .. })| Span { range, scores, truncated });
        Ok((spans.collect(), more))
    }

    /// The words' effects, and whether there are more words. A word costs a pass of the model over its sentence, and a sentence
    /// one more.
    fn score_words(&self, text: &str, wanted: &[usize]) -> Result<(Vec<Word>, bool), ClassifyError> {
        let limits = self.limits();
        let read = cut(text, limits.text_bytes_max);
        let mut ranges = self.words(read);
        let more = read.len() < text.len() || ranges.len() > limits.words_max;
        ranges.truncate(limits.words_max);
        let sentences: Vec<_> = sentences(read).collect();
        let placed: Vec<_> = ranges.into_iter().map(|range| (sentences_around(&sentences, &range), range)).collect();
        let mut words = Vec::with_capacity(placed.len());
        for of_sentence in placed.chunk_by(|(around, _), (next, _)| around == next) {
            let Some((around, _)) = of_sentence.first() else { continue };
            let mut texts = vec![read.get(around.clone()).unwrap_or_default().to_owned()];
            texts.extend(of_sentence.iter().map(|(_, range)| {
                let before = read.get(around.start..range.start).unwrap_or_default();
                let behind = read.get(range.end..around.end).unwrap_or_default();
                format!("{before} {behind}")
            }));
            let mut scored = self.score(&texts, wanted)?.into_iter();
            let whole = scored.next().map(|whole| whole.scores).unwrap_or_default();
            words.extend(of_sentence.iter().zip(scored).map(|((_, range), without)| {
                let effects = whole.iter().zip(without.scores).map(|(with, without)| with - without).collect();
                Word { range: range.clone(), effects }
            }));
        }
        Ok((words, more))
    }

    /// Byte ranges of a text's words.
    fn words(&self, text: &str) -> Vec<Range<usize>> {
        if self.manifest.normalisation.is_some() {
            normalise(text).words.into_iter().map(|word| word.source).collect()
        } else {
            normalise::words(text).map(|(start, word)| start..start + word.len()).collect()
        }
    }

    /// Scores several texts together; the scores of one do not depend on the others.
    fn score<T: AsRef<str>>(&self, texts: &[T], wanted: &[usize]) -> Result<Vec<Scored>, ClassifyError> {
        let encoded = texts.iter().map(|text| self.encode(text.as_ref()));
        let encoded = encoded.collect::<Result<Vec<Tokens>, _>>().map_err(ClassifyError::Engine)?;
        let read: Vec<_> = encoded.iter().map(|tokens| tokens.ids.as_slice()).filter(|ids| !ids.is_empty()).collect();
        let mut logits = self.engine.logits(&read).map_err(ClassifyError::Engine)?.into_iter();
        let scored = encoded.iter().map(|tokens| {
            let mut scores = vec![0.0; wanted.len()];
            if !tokens.ids.is_empty() {
                let logits = logits.next().unwrap_or_default();
                scores = wanted.iter().filter_map(|&i| logits.get(i)).map(|&logit| sigmoid(logit)).collect();
            }
            if scores.len() != wanted.len() || !scores.iter().all(|score| score.is_finite()) {
                return Err(ClassifyError::Engine(format!("{} tokens gave no score", tokens.ids.len())));
            }
            Ok(Scored { scores, tokens: tokens.ids.len(), truncated: tokens.truncated })
        });
        scored.collect()
    }
}

/// From the start of the sentence that a word begins in to the end of the one that it ends in.
fn sentences_around(sentences: &[Range<usize>], word: &Range<usize>) -> Range<usize> {
    let first = sentences.iter().rfind(|sentence| sentence.start <= word.start);
    let last = sentences.iter().find(|sentence| sentence.end >= word.end);
    first.map_or(word.start, |sentence| sentence.start)..last.map_or(word.end, |sentence| sentence.end)
}
