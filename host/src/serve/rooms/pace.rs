//! How fast a client may go, whatever connection it uses.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{MODERATIONS_PACE_MAX, PACE_S, TEXTS_PACE_MAX};

const PACE: Duration = Duration::from_secs(PACE_S);

/// What a client did lately.
#[derive(Default)]
struct Pace {
    messages: Window,
    moderations: Window,
}

/// The clients that did something lately.
#[derive(Default)]
pub(super) struct Paces(BTreeMap<String, Pace>);

/// A client has done something too often.
#[derive(Debug, thiserror::Error)]
#[error("more than {max} {what} in {PACE_S} s; try again in {:.1} s", (.wait.as_secs_f64() * 10.0).ceil() / 10.0)]
pub(super) struct TooFast {
    max: usize,
    what: &'static str,
    wait: Duration,
}

impl Paces {
    /// Counts a message, or says why it is one too many.
    pub(super) fn message(&mut self, client: &str, now: Instant) -> Result<(), TooFast> {
        let what = "messages";
        self.of(client, now).messages.step(TEXTS_PACE_MAX, now).map_err(|wait| TooFast {
            max: TEXTS_PACE_MAX,
            what,
            wait,
        })
    }

    /// Counts a moderator's judgement, or says why it is one too many.
    pub(super) fn moderation(&mut self, client: &str, now: Instant) -> Result<(), TooFast> {
        let (max, what) = (MODERATIONS_PACE_MAX, "judgements");
        self.of(client, now).moderations.step(max, now).map_err(|wait| TooFast { max, what, wait })
    }

    /// The pace of a client; those of others who have rested are forgotten.
    fn of(&mut self, client: &str, now: Instant) -> &mut Pace {
        self.0.retain(|_, pace| pace.messages.is_recent(now) || pace.moderations.is_recent(now));
        self.0.entry(client.to_owned()).or_default()
    }
}

/// The times of the last steps, as far as they count.
#[derive(Default)]
struct Window(VecDeque<Instant>);

impl Window {
    fn is_recent(&self, now: Instant) -> bool {
        self.0.back().is_some_and(|last| now.saturating_duration_since(*last) < PACE)
    }

    /// Counts one more, unless there are `max` in the window already; then it says how long to wait.
    fn step(&mut self, max: usize, now: Instant) -> Result<(), Duration> {
        while self.0.front().is_some_and(|first| now.saturating_duration_since(*first) >= PACE) {
            self.0.pop_front();
        }
        if let Some(first) = self.0.front().filter(|_| self.0.len() >= max) {
            return Err(PACE.saturating_sub(now.saturating_duration_since(*first)));
        }
        self.0.push_back(now);
        Ok(())
    }
}
