//! A challenger in the shadow: it scores a sampled share of the texts that the serving release has scored, and nobody gets its
//! answers. What differs goes to the log and the metrics.
//!
//! It works only while a worker has nothing else to do, on one text at a time, so that a request waits for one text at most; texts that come
//! meanwhile are passed over and counted.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::classifiers::{Classifiers, Release};
use super::metrics::{Metrics, ShadowLabels};
use crate::bindings::{Classification, Description, Options, TextResult};

/// What the serving release is compared with.
#[derive(Debug)]
pub(super) struct Shadow {
    challenger: RwLock<Option<Arc<Release>>>,
    /// The share of texts that the challenger scores too, from 0 to 1.
    share: f64,
    place: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Shadow {
    pub(super) fn new(share: f64, metrics: Arc<Metrics>) -> Self {
        Self { challenger: RwLock::default(), share, place: Arc::new(Semaphore::new(1)), metrics }
    }

    /// Takes another challenger, or none.
    pub(super) fn set(&self, challenger: Option<Release>) {
        *self.challenger.write().unwrap_or_else(PoisonError::into_inner) = challenger.map(Arc::new);
    }

    /// The challenger.
    pub(super) fn challenger(&self) -> Option<Arc<Release>> {
        self.challenger.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a text is one of the sampled share.
    fn samples(&self) -> bool {
        let draw = getrandom::u32().map_or(1.0, |draw| f64::from(draw) / f64::from(u32::MAX));
        draw < self.share || self.share >= 1.0
    }

    /// Has the challenger score a sample of what the champion has scored, while there is time for it.
    pub(super) fn compare(
        self: &Arc<Self>,
        classifiers: &Arc<Classifiers>,
        challenger: Arc<Release>,
        texts: Vec<String>,
        champion: &Release,
        answer: &Classification,
    ) {
        let results = texts.into_iter().zip(answer.results.iter().cloned());
        let mut sample: Vec<_> = results.filter(|_| self.samples()).collect();
        let Ok(place) = self.place.clone().try_acquire_owned() else {
            self.metrics.shadow_skipped.inc_by(sample.len() as u64);
            return;
        };
        let comparison = Arc::new(Comparison {
            champion: champion.name(),
            labels: answer.labels.clone(),
            thresholds: thresholds(&champion.description),
            metrics: self.metrics.clone(),
        });
        let (shadow, classifiers) = (self.clone(), classifiers.clone());
        tokio::spawn(async move {
            let _place = place;
            while let Some((text, result)) = sample.pop() {
                let Some(turn) = classifiers.spare_turn() else {
                    shadow.metrics.shadow_skipped.inc_by(sample.len() as u64 + 1);
                    return;
                };
                let (comparison, challenger) = (comparison.clone(), challenger.clone());
                let work = move || comparison.run(&challenger, text, &result, turn);
                // A panic in it is the challenger's; the log has said so.
                let _ = tokio::task::spawn_blocking(work).await;
            }
        });
    }
}

/// By label.
fn thresholds(description: &Description) -> Vec<(String, f32)> {
    description.labels.iter().map(|label| (label.name.clone(), label.threshold)).collect()
}

/// What is known of the champion, to hold a challenger against.
struct Comparison {
    champion: String,
    /// Of the champion's answer.
    labels: Vec<String>,
    thresholds: Vec<(String, f32)>,
    metrics: Arc<Metrics>,
}

impl Comparison {
    /// Runs on a thread for blocking work, for as long as it has its turn.
    fn run(&self, challenger: &Release, text: String, ours: &TextResult, _turn: OwnedSemaphorePermit) {
        let options = Options { labels: None, spans: false, words: false };
        let texts = [text];
        let Ok(theirs) = challenger.call(&texts, &options, u32::MAX) else {
            // What it says of itself could hold the text.
            let (release, challenger) = (&self.champion, challenger.name());
            tracing::error!(target: "palisade_host::serve", release, challenger, "the challenger failed");
            return;
        };
        let (Some(their), [text]) = (theirs.results.first(), &texts) else { return };
        self.count(ours, &theirs.labels, their, &thresholds(&challenger.description));
        tracing::info!(
            target: "palisade_host::serve",
            release = self.champion,
            challenger = challenger.name(),
            text_bytes = text.len(),
            text_sha256 = hex::encode(Sha256::digest(text)),
            scores = shown(&self.labels, ours),
            challenger_scores = shown(&theirs.labels, their),
            "shadow"
        );
    }

    /// Counts how far the scores of labels that both have are apart, and whether both would flag the text.
    fn count(&self, ours: &TextResult, labels: &[String], their: &TextResult, their_thresholds: &[(String, f32)]) {
        self.metrics.shadow_texts.inc();
        let threshold = |of: &[(String, f32)], label: &String| of.iter().find(|(name, _)| name == label).map(|of| of.1);
        for (label, &score) in self.labels.iter().zip(&ours.scores) {
            let their_score =
                labels.iter().zip(&their.scores).find(|(name, _)| *name == label).map(|(_, &score)| score);
            let limits = threshold(&self.thresholds, label).zip(threshold(their_thresholds, label));
            let (Some(their_score), Some((limit, their_limit))) = (their_score, limits) else { continue };
            self.metrics.shadow_difference(label, f64::from(their_score - score).abs());
            let flagged = match (score >= limit, their_score >= their_limit) {
                (true, true) => "both",
                (true, false) => "champion",
                (false, true) => "challenger",
                (false, false) => "neither",
            };
            self.metrics.shadow_flagged.get_or_create(&ShadowLabels { label: label.clone(), flagged }).inc();
        }
    }
}

/// Scores by label as JSON.
fn shown(labels: &[String], result: &TextResult) -> String {
    let mut text = String::from("{");
    for (place, (label, score)) in labels.iter().zip(&result.scores).enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\"{label}\":{score}"); // writing to a string does not fail
    }
    text.push('}');
    text
}
