//! The classifier's instances, and the bounded queue before them.
//!
//! One worker a core: scoring is pure computation. A request waits for its first turn for a bounded time, in a queue of bounded length;
//! then each of its texts is a turn of its own, so that a batch does not hold up the requests behind it. Turns are
//! given in the order of asking.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use palisade_protocols::Failure;
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use crate::bindings::{Classification, Description, Options, TextResult};
use crate::{Error, Instance, Loaded};

/// Limits of the queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Instances that work side by side.
    pub workers: usize,
    /// Most requests that wait for their first turn.
    pub queue_max: usize,
    /// Longest wait for the first turn.
    pub queue_ms_max: u64,
    /// Calls that an instance answers before a fresh one takes its place; 1 gives each text its own.
    pub instance_calls_max: u32,
}

/// The instances of one release.
#[derive(Debug)]
pub(super) struct Classifiers {
    loaded: Loaded,
    pub(super) description: Description,
    limits: QueueLimits,
    turns: Semaphore,
    waiting: AtomicUsize,
    idle: Mutex<Vec<(Instance, u32)>>,
    metrics: Arc<Metrics>,
}

impl Classifiers {
    pub(super) fn new(loaded: Loaded, description: Description, limits: QueueLimits, metrics: Arc<Metrics>) -> Self {
        let turns = Semaphore::new(limits.workers);
        let (waiting, idle) = (AtomicUsize::new(0), Mutex::default());
        Self { loaded, description, limits, turns, waiting, idle, metrics }
    }

    /// Scores the texts of one request. `admitted` says, and keeps, whether the request has had its first turn.
    pub(super) async fn classify(
        self: &Arc<Self>,
        texts: Vec<String>,
        options: Options,
        admitted: &mut bool,
    ) -> Result<Result<Classification, crate::bindings::Error>, Failure> {
        // The component refuses what is beyond its limits; asked with all texts, it says so of the whole call.
        let limits = self.description.limits;
        let bytes: usize = texts.iter().map(String::len).sum();
        let whole =
            texts.len() <= 1 || texts.len() > limits.texts_max as usize || bytes > limits.batch_bytes_max as usize;
        if whole {
            return self.turn(texts, options, admitted).await;
        }
        let mut answer: Option<Classification> = None;
        let mut results: Vec<TextResult> = Vec::with_capacity(texts.len());
        let mut texts = texts.into_iter();
        // As many turns at a time as there are workers, so that one batch uses an idle machine whole.
        loop {
            let mut turns = tokio::task::JoinSet::new();
            let mut here = Vec::new();
            for (at, text) in texts.by_ref().take(self.limits.workers).enumerate() {
                let (this, options, mut had_turn) = (self.clone(), options.clone(), *admitted);
                turns.spawn(async move { (at, this.turn(vec![text], options, &mut had_turn).await) });
            }
            if turns.is_empty() {
                break;
            }
            while let Some(joined) = turns.join_next().await {
                let (at, outcome) = joined.map_err(|e| Failure::Fault(format!("a turn was lost: {e}")))?;
                match outcome? {
                    Ok(classification) => here.push((at, classification)),
                    Err(refused) => return Ok(Err(refused)),
                }
                *admitted = true;
            }
            here.sort_by_key(|(at, _)| *at);
            for (_, mut classification) in here {
                results.append(&mut classification.results);
                answer.get_or_insert(classification);
            }
        }
        let mut answer = answer.ok_or_else(|| Failure::Fault("no text was scored".into()))?;
        answer.results = results;
        Ok(Ok(answer))
    }

    /// One call of an instance, when its turn has come.
    async fn turn(
        self: &Arc<Self>,
        texts: Vec<String>,
        options: Options,
        admitted: &mut bool,
    ) -> Result<Result<Classification, crate::bindings::Error>, Failure> {
        let asked = Instant::now();
        let turn = if *admitted { self.turns.acquire().await.ok() } else { self.first_turn().await? };
        let Some(turn) = turn else { return Err(Failure::Unavailable("the server is stopping".into())) };
        *admitted = true;
        self.metrics.queue_wait_seconds.observe(asked.elapsed().as_secs_f64());
        let this = self.clone();
        let call = move || this.call(&texts, &options);
        let outcome = tokio::task::spawn_blocking(call).await;
        drop(turn);
        let outcome = outcome.map_err(|e| Failure::Fault(format!("the classifier's thread failed: {e}")))?;
        match outcome {
            Ok(classification) => {
                self.metrics.scored(&classification);
                Ok(Ok(classification))
            }
            Err(Error::Refused(refused)) => Ok(Err(refused)),
            Err(Error::Deadline { limit_ms }) => Err(Failure::Deadline { limit_ms, limit: "call-ms-max" }),
            Err(other) => Err(Failure::Fault(other.to_string())),
        }
    }

    async fn first_turn(&self) -> Result<Option<tokio::sync::SemaphorePermit<'_>>, Failure> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Ok(Some(turn));
        }
        let _waiting = Waiting::new(self)?;
        let patience = Duration::from_millis(self.limits.queue_ms_max);
        match tokio::time::timeout(patience, self.turns.acquire()).await {
            Ok(turn) => Ok(turn.ok()),
            Err(_) => Err(overloaded(format!("no turn within queue-ms-max = {} ms", self.limits.queue_ms_max))),
        }
    }

    /// Requests that wait for their first turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Runs on a thread for blocking work.
    fn call(&self, texts: &[String], options: &Options) -> Result<Classification, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (mut instance, calls) = match idle {
            Some(idle) => idle,
            None => (self.loaded.instantiate()?, 0),
        };
        let answer = instance.classify(texts, options);
        // After any other error the instance must not be used again.
        let sound = matches!(answer, Ok(_) | Err(Error::Refused(_)));
        if sound && calls + 1 < self.limits.instance_calls_max {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((instance, calls + 1));
        }
        answer
    }
}

fn overloaded(limit: String) -> Failure {
    Failure::Overloaded { limit, retry_after_s: 1 }
}

/// A place in the queue, for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(classifiers: &'a Classifiers) -> Result<Self, Failure> {
        let place = Self(&classifiers.waiting);
        let before = place.0.fetch_add(1, Ordering::Relaxed);
        if before >= classifiers.limits.queue_max {
            return Err(overloaded(format!("queue-max = {} requests wait already", classifiers.limits.queue_max)));
        }
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
