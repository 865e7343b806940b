//! What a room asks of the server: admission, a verdict, a place for feedback. The same as requests get.

use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_protocols::backend::{self, Scored};
use palisade_protocols::policy::{DEFAULT, LabelThresholds, Policies, Policy};
use palisade_protocols::{Failure, moderate};

use super::super::keys;
use super::super::metrics::ReasonLabels;
use super::super::{Shared, classifiers};
use super::message::{Action, Code, Feedback, Judgement, Message, Refusal, Standard, Threshold};
use super::room::Decision;
use crate::bindings::platform::palisade::services::feedback;
use crate::bindings::{Description, Options};

/// The policy that rooms are judged by, where there is one of this name.
const POLICY: &str = "room";
/// What a moderator judges where nothing fired.
const LABEL: &str = "TOXICITY";

/// Admits a join or a message, and gives the key's name.
pub(super) fn admit(shared: &Shared, key: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(keys) = &shared.keys else { return Ok(None) };
    match keys.admit(key, Instant::now()) {
        Ok(name) => Ok(Some(name.to_owned())),
        Err(keys::Refusal::Missing) => Err(Refusal::new(Code::Unauthorised, Failure::MissingKey.to_string())),
        Err(keys::Refusal::Unknown) => Err(Refusal::new(Code::Unauthorised, Failure::UnknownKey.to_string())),
        Err(keys::Refusal::RateLimited { requests_per_minute, retry_after_ms, .. }) => {
            let failure = Failure::RateLimited { requests_per_minute, retry_after_ms };
            Err(Refusal::new(Code::TooFast, failure.to_string()))
        }
    }
}

/// Whether a client with this key may moderate. Without keys everybody may.
pub(super) fn check_moderator(shared: &Shared, key: Option<&str>) -> Result<(), Refusal> {
    match &shared.keys {
        Some(keys) if !keys.moderates(key) => {
            let detail = "this key may not moderate (`moderates = true` in the file of keys lets it); join as a member";
            Err(Refusal::new(Code::Unauthorised, detail))
        }
        _ => Ok(()),
    }
}

/// What the server judges with now.
pub(super) fn standard(shared: &Shared, room: &str) -> Result<Standard, Refusal> {
    let description = described(&shared.classifiers.current().description);
    let policies = shared.settings.policies(&description).map_err(|failure| refusal(shared, &failure))?;
    let (policy, community) = (policy(&policies), community(room));
    let judged = description.labels.iter().filter_map(|label| {
        let LabelThresholds { review, block } = policy?.thresholds(Some(&community), label);
        (review.is_some() || block.is_some()).then(|| Threshold { label: label.name.clone(), review, block })
    });
    Ok(Standard { policy: judged.collect(), release: description.release })
}

/// Judges a text: a turn of the classifier, and the policy.
pub(super) async fn judge(shared: &Arc<Shared>, room: &str, text: String) -> Result<Judgement, Refusal> {
    verdict(shared, room, text).await.map_err(|failure| {
        shared.metrics.failures.get_or_create(&ReasonLabels { reason: failure.name() }).inc();
        refusal(shared, &failure)
    })
}

async fn verdict(shared: &Arc<Shared>, room: &str, text: String) -> Result<Judgement, Failure> {
    let release = shared.classifiers.current();
    let description = described(&release.description);
    let policies = shared.settings.policies(&description)?;
    let options = Options { labels: None, spans: false, words: false };
    let limit_ms = shared.limits.request_ms_max;
    let mut is_admitted = false;
    let scoring = shared.classify(&release, vec![text.clone()], options, &mut is_admitted);
    let late = |_| Failure::Deadline { limit_ms, limit: "request-ms-max" };
    let outcome: classifiers::Outcome =
        tokio::time::timeout(Duration::from_millis(limit_ms), scoring).await.map_err(late)??;
    let refused = |error| Failure::Fault(format!("the classifier refused a text of a room: {error:?}"));
    let result = outcome.map_err(refused)?.results.pop();
    let result = result.ok_or_else(|| Failure::Fault("a text has no result".into()))?;
    let scored =
        Scored { scores: result.scores, tokens: result.tokens, truncated: result.truncated, ..Scored::default() };
    let policy = policy(&policies).ok_or_else(|| Failure::Misconfigured("there is no policy".into()))?;
    let judgement = moderate::judge(&text, Some(&community(room)), policy, &description, &scored);
    Ok(Judgement {
        verdict: judgement.verdict,
        fired: judgement.fired,
        reasons: judgement.reasons,
        scores: moderate::by_label(&scored.scores, &description),
        release: description.release,
    })
}

/// Keeps a moderator's judgement as feedback: a score for each label that fired.
pub(super) async fn keep(
    shared: &Shared,
    room: &str,
    decision: &Decision,
    message: &Message,
    key_name: Option<&str>,
) -> Feedback {
    let fired = message.server.fired.iter().map(|fired| fired.label.as_str());
    let mut labels: Vec<&str> = fired.collect();
    if labels.is_empty() {
        labels.push(LABEL);
    }
    let score = if decision.action == Action::Approve { 0.0 } else { 1.0 };
    let score = |label: &&str| backend::SuggestedScore { label: (*label).to_owned(), score, span: None };
    let suggestion = backend::Suggestion {
        id: String::new(),
        text: message.text.clone(),
        scores: labels.iter().map(score).collect(),
        languages: Vec::new(),
        community_id: Some(community(room)),
        client_token: Some(message.id.clone()),
        session_id: Some(decision.by.client.clone()),
    };
    match shared.keep(&suggested(suggestion), key_name).await {
        Ok(Ok(true)) => Feedback::Kept,
        Ok(Ok(false)) => Feedback::Repeated,
        Ok(Err(_)) | Err(_) => Feedback::Failed,
    }
}

/// The platform's view of a suggestion, with its id.
fn suggested(suggestion: backend::Suggestion) -> feedback::Suggestion {
    let score = |score: backend::SuggestedScore| feedback::SuggestedScore {
        label: score.label,
        score: score.score,
        span: score.span,
    };
    feedback::Suggestion {
        id: suggestion.digest(),
        text: suggestion.text,
        scores: suggestion.scores.into_iter().map(score).collect(),
        languages: suggestion.languages,
        community_id: suggestion.community_id,
        client_token: suggestion.client_token,
        session_id: suggestion.session_id,
    }
}

/// A room's name in policies and in feedback.
fn community(room: &str) -> String {
    format!("room:{room}")
}

fn policy(policies: &Policies) -> Option<&Policy> {
    policies.get(POLICY).or_else(|| policies.get(DEFAULT))
}

/// Whatever went wrong, the message was not kept, and may be sent again.
fn refusal(shared: &Shared, failure: &Failure) -> Refusal {
    if let Failure::Fault(problem) | Failure::Misconfigured(problem) = failure {
        tracing::error!(target: "palisade_host::serve", problem, release = shared.classifiers.current().name(), "fault");
    }
    Refusal::new(Code::Overloaded, failure.to_string())
}

/// The protocols' view of what the classifier says of itself.
fn described(description: &Description) -> backend::Description {
    let release = &description.release;
    let label = |label: &crate::bindings::Label| backend::Label {
        name: label.name.clone(),
        threshold: label.threshold,
        block: label.block,
    };
    backend::Description {
        release: backend::Release {
            name: release.name.clone(),
            version: release.version.clone(),
            digest: release.digest.clone(),
        },
        engine: description.engine.clone(),
        labels: description.labels.iter().map(label).collect(),
        languages: description.languages.clone(),
        texts_max: description.limits.texts_max as usize,
        batch_bytes_max: description.limits.batch_bytes_max as usize,
    }
}
