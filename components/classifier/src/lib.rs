//! The classifier component: WIT on one side, [`palisade_core`] on the other, and nothing in between.
//!
//! It imports nothing. As built it holds no release and answers `not-baked`; baking (see [`bake`]) puts one in and
//! takes a snapshot, so that an instance of the baked component starts with everything read and planned.
//!
//! It is built twice: with the encoder engine, and, as `palisade-classifier-tract`, with tract.

#[cfg(not(target_arch = "wasm32"))]
compile_error!("this crate is the inside of a component: build it with `cargo xtask component`");

#[cfg(all(feature = "encoder", feature = "tract"))]
compile_error!("one component has one engine: build each package by itself");

mod allocator;
mod bake;
mod bindings;
#[cfg(feature = "tract")]
mod entropy;

use bindings::exports::palisade::moderation::classifier as wit;
use palisade_core::{Classification, Classifier, ClassifyError, Options};

struct Component;

impl wit::Guest for Component {
    fn describe() -> Result<wit::Description, wit::Error> {
        let classifier = baked()?;
        let limits = classifier.limits();
        Ok(wit::Description {
            release: release(classifier.release()),
            engine: classifier.engine().to_owned(),
            labels: classifier
                .labels()
                .iter()
                .map(|label| wit::Label {
                    name: label.name.clone(),
                    threshold: label.threshold,
                    block: label.block.map(|block| block.threshold),
                })
                .collect(),
            languages: classifier.languages().to_vec(),
            limits: wit::Limits {
                texts_max: number(limits.texts_max),
                batch_bytes_max: number(limits.batch_bytes_max),
                text_bytes_max: number(limits.text_bytes_max),
                tokens_max: number(limits.tokens_max),
                spans_max: number(limits.spans_max),
                words_max: number(limits.words_max),
            },
        })
    }

    fn classify(texts: Vec<String>, options: wit::Options) -> Result<wit::Classification, wit::Error> {
        let options = Options { labels: options.labels, spans: options.spans, words: options.words };
        baked()?.classify(&texts, &options).map(classification).map_err(error)
    }
}

fn baked() -> Result<&'static Classifier, wit::Error> {
    bake::CLASSIFIER.get().ok_or(wit::Error::NotBaked)
}

fn release(release: &palisade_core::Release) -> wit::Release {
    wit::Release { name: release.name.clone(), version: release.version.clone(), digest: release.digest.clone() }
}

fn classification(answer: Classification) -> wit::Classification {
    wit::Classification {
        release: release(&answer.release),
        labels: answer.labels,
        results: answer
            .results
            .into_iter()
            .map(|result| wit::TextResult {
                scores: result.scores,
                tokens: number(result.tokens),
                truncated: result.truncated,
                spans: result
                    .spans
                    .into_iter()
                    .map(|span| wit::Span {
                        start: number(span.range.start),
                        end: number(span.range.end),
                        scores: span.scores,
                        truncated: span.truncated,
                    })
                    .collect(),
                spans_truncated: result.spans_truncated,
                words: result
                    .words
                    .into_iter()
                    .map(|word| wit::Word {
                        start: number(word.range.start),
                        end: number(word.range.end),
                        effects: word.effects,
                    })
                    .collect(),
                words_truncated: result.words_truncated,
            })
            .collect(),
    }
}

fn error(error: ClassifyError) -> wit::Error {
    match error {
        ClassifyError::UnknownLabel(name) => wit::Error::UnknownLabel(name),
        ClassifyError::DuplicateLabel(name) => wit::Error::DuplicateLabel(name),
        ClassifyError::TooManyTexts { given, limit } => {
            wit::Error::TooManyTexts(wit::Exceeded { given: number(given), limit: number(limit) })
        }
        ClassifyError::BatchTooLarge { given, limit } => {
            wit::Error::BatchTooLarge(wit::Exceeded { given: number(given), limit: number(limit) })
        }
        ClassifyError::Engine(message) => wit::Error::Engine(message),
    }
}

/// Sizes inside a 32-bit memory fit.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
