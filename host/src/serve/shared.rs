//! What a request and a chat room have done for them alike.

use std::sync::Arc;

use palisade_protocols::Failure;

use super::classifiers::{Outcome, Release};
use super::{FEEDBACK_PLACES, Shared};
use crate::bindings::Options;
use crate::bindings::platform::palisade::services::feedback::Suggestion;

impl Shared {
    /// Scores texts; of a sampled share, the challenger in the shadow does too.
    pub(super) async fn classify(
        &self,
        release: &Arc<Release>,
        texts: Vec<String>,
        options: Options,
        admitted: &mut bool,
    ) -> Result<Outcome, Failure> {
        let sampled = self.shadow.challenger().map(|challenger| (challenger, texts.clone()));
        let outcome = self.classifiers.classify(release, texts, options, admitted).await;
        if let (Some((challenger, texts)), Ok(Ok(answer))) = (sampled, &outcome) {
            self.shadow.compare(&self.classifiers, challenger, texts, release, answer);
        }
        outcome
    }

    /// Keeps a suggestion, and says whether it is new, or why it is not kept.
    pub(super) async fn keep(
        &self,
        suggestion: &Suggestion,
        key_name: Option<&str>,
    ) -> Result<Result<bool, String>, Failure> {
        let Some(feedback) = &self.feedback else {
            return Ok(Err("this server keeps no feedback".into()));
        };
        // So that waiting for the disk does not take all the places from requests that score.
        let Ok(_place) = self.feedback_places.try_acquire() else {
            let limit = format!("{FEEDBACK_PLACES} suggestions are being kept");
            return Err(Failure::Overloaded { limit, retry_after_s: 1 });
        };
        Ok(match feedback.keep(suggestion, key_name).await {
            Ok(is_new) => {
                if is_new {
                    self.metrics.feedback.inc();
                }
                Ok(is_new)
            }
            Err(error) => {
                tracing::error!(target: "palisade_host::serve", error = format!("{error:#}"), "feedback is not kept");
                Err("feedback cannot be kept now".into())
            }
        })
    }
}
