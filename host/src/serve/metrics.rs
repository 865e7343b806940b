//! What Prometheus reads at `/metrics`.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::bindings::{Classification, Description};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) route: &'static str,
    pub(super) status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabels {
    pub(super) route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScoreLabels {
    label: String,
}

/// Which of the two releases would flag a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ShadowLabels {
    pub(super) label: String,
    pub(super) flagged: &'static str,
}

/// A release that serves, or did.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReleaseLabels {
    name: String,
    version: String,
    digest: String,
    engine: String,
}

type Gauge64 = Gauge<i64, AtomicI64>;
type Counter64 = Counter<u64, AtomicU64>;

/// All of them.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    pub(super) requests: Family<RequestLabels, Counter64>,
    pub(super) request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    pub(super) failures: Family<ReasonLabels, Counter64>,
    pub(super) queue_wait_seconds: Histogram,
    pub(super) queue_waiting: Gauge64,
    pub(super) endpoint_instances: Gauge64,
    pub(super) connections: Gauge64,
    pub(super) feedback: Counter64,
    texts: Counter64,
    tokens: Counter64,
    scores: Family<ScoreLabels, Histogram, fn() -> Histogram>,
    resident_bytes: Gauge64,
    release: Family<ReleaseLabels, Gauge64>,
    pub(super) releases_taken: Counter64,
    pub(super) releases_refused: Counter64,
    pub(super) alias_went_back: Counter64,
    pub(super) registry_checked: Gauge64,
    pub(super) shadow_texts: Counter64,
    pub(super) shadow_skipped: Counter64,
    pub(super) shadow_flagged: Family<ShadowLabels, Counter64>,
    shadow_differences: Family<ScoreLabels, Histogram, fn() -> Histogram>,
    pub(super) rooms: Gauge64,
    pub(super) room_people: Gauge64,
    pub(super) room_messages: Family<StateLabels, Counter64>,
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.8, 1.0, 2.5, 5.0, 10.0, 30.0])
}

fn probabilities() -> Histogram {
    Histogram::new([0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0])
}

fn differences() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
}

impl Metrics {
    pub(super) fn new(description: &Description) -> Self {
        let mut registry = Registry::with_prefix("palisade");
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            failures: Family::default(),
            queue_wait_seconds: seconds(),
            queue_waiting: Gauge::default(),
            endpoint_instances: Gauge::default(),
            connections: Gauge::default(),
            feedback: Counter::default(),
            texts: Counter::default(),
            tokens: Counter::default(),
            scores: Family::new_with_constructor(probabilities),
            resident_bytes: Gauge::default(),
            release: Family::default(),
            releases_taken: Counter::default(),
            releases_refused: Counter::default(),
            alias_went_back: Counter::default(),
            registry_checked: Gauge::default(),
            shadow_texts: Counter::default(),
            shadow_skipped: Counter::default(),
            shadow_flagged: Family::default(),
            shadow_differences: Family::new_with_constructor(differences),
            rooms: Gauge::default(),
            room_people: Gauge::default(),
            room_messages: Family::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register("http_requests", "Requests answered, by route and status", metrics.requests.clone());
        r.register_with_unit(
            "http_request_duration",
            "From a request's head to its answer",
            Unit::Seconds,
            metrics.request_seconds.clone(),
        );
        r.register("http_failures", "Requests and connections that this host refused or failed, by why; what the endpoint refuses is in the statuses", metrics.failures.clone());
        r.register_with_unit(
            "queue_wait",
            "Wait for a turn of the classifier",
            Unit::Seconds,
            metrics.queue_wait_seconds.clone(),
        );
        r.register("queue_waiting", "Requests that wait for their first turn", metrics.queue_waiting.clone());
        r.register(
            "endpoint_instances",
            "Instances of the endpoint component that work now",
            metrics.endpoint_instances.clone(),
        );
        r.register("connections", "Open connections", metrics.connections.clone());
        r.register("feedback", "New suggestions kept", metrics.feedback.clone());
        r.register("texts", "Texts scored", metrics.texts.clone());
        r.register("tokens", "Tokens read by the model", metrics.tokens.clone());
        r.register("score", "Distribution of the scores, by label", metrics.scores.clone());
        r.register("resident_memory_bytes", "Resident memory of this process", metrics.resident_bytes.clone());
        r.register("release_info", "1 for the release that scores", metrics.release.clone());
        metrics.register_following(r);
        r.register("rooms", "Chat rooms, those among them that were left less than an hour ago", metrics.rooms.clone());
        r.register("room_people", "Clients in chat rooms", metrics.room_people.clone());
        r.register("room_messages", "Messages of chat rooms that came into a state", metrics.room_messages.clone());
        metrics.serves(description);
        Self { registry, ..metrics }
    }

    fn register_following(&self, r: &mut Registry) {
        r.register(
            "releases_taken",
            "Releases taken from the registry, the first not among them",
            self.releases_taken.clone(),
        );
        r.register(
            "releases_refused",
            "Releases of the registry that were refused; the log says why",
            self.releases_refused.clone(),
        );
        r.register(
            "alias_went_back",
            "Moves of an alias to an earlier move's number: the registry was restored from a copy, or somebody put an old pointer in its place",
            self.alias_went_back.clone(),
        );
        r.register(
            "registry_checked_seconds",
            "Unix time when the registry last answered; 0: never",
            self.registry_checked.clone(),
        );
        r.register("shadow_texts", "Texts that the challenger scored too", self.shadow_texts.clone());
        r.register("shadow_skipped", "Sampled texts that the challenger had no time for", self.shadow_skipped.clone());
        r.register("shadow_flagged", "Texts that either release would flag, by label", self.shadow_flagged.clone());
        r.register("shadow_difference", "Difference of the two scores, by label", self.shadow_differences.clone());
    }

    /// Tells which release scores from now on.
    pub(super) fn serves(&self, description: &Description) {
        self.release.clear();
        let release = &description.release;
        let labels = ReleaseLabels {
            name: release.name.clone(),
            version: release.version.clone(),
            digest: release.digest.clone(),
            engine: description.engine.clone(),
        };
        self.release.get_or_create(&labels).set(1);
    }

    /// Counts how far two scores of a label are apart.
    pub(super) fn shadow_difference(&self, label: &str, difference: f64) {
        self.shadow_differences.get_or_create(&ScoreLabels { label: label.to_owned() }).observe(difference);
    }

    /// Counts what a call gave.
    pub(super) fn scored(&self, classification: &Classification) {
        for result in &classification.results {
            self.texts.inc();
            self.tokens.inc_by(u64::from(result.tokens));
            for (label, score) in classification.labels.iter().zip(&result.scores) {
                self.scores.get_or_create(&ScoreLabels { label: label.clone() }).observe(f64::from(*score));
            }
        }
    }

    /// The text that Prometheus reads.
    pub(super) fn render(&self) -> String {
        self.resident_bytes.set(resident_bytes());
        let mut text = String::new();
        let _ = encode(&mut text, &self.registry); // writing to a string does not fail
        text
    }
}

/// Resident memory; 0 where the system does not tell.
fn resident_bytes() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: i64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages.saturating_mul(i64::try_from(rustix::param::page_size()).unwrap_or(4096))
}
