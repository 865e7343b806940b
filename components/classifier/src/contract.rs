//! The contract's types out of core's and back. This file is part of two crates: of the component, and, by its path, of the host,
//! whose native engine answers as the component does. `wit` is what each has generated from `wit/`.

use palisade_core::{Classification, Classifier, ClassifyError, Options};

use super::wit;

pub(super) fn description(classifier: &Classifier) -> wit::Description {
    let limits = classifier.limits();
    wit::Description {
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
    }
}

pub(super) fn options(options: wit::Options) -> Options {
    Options { labels: options.labels, spans: options.spans, words: options.words }
}

fn release(release: &palisade_core::Release) -> wit::Release {
    wit::Release { name: release.name.clone(), version: release.version.clone(), digest: release.digest.clone() }
}

pub(super) fn classification(answer: Classification) -> wit::Classification {
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

pub(super) fn error(error: ClassifyError) -> wit::Error {
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

/// Sizes inside a 32-bit memory fit; the host's are bounded by the same limits, or reported as the largest.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
