//! The classifier's instances, and the bounded queue before them.
//!
//! One worker a core: scoring is pure computation. A request waits for its first turn for a bounded time, in a queue of bounded length;
//! then each of its texts is a turn of its own, so that a batch does not hold up the requests behind it. Turns are
//! given in the order of asking. A turn lasts as long as its call runs, also where no one waits for the answer any more.
//!
//! Another release can take the place of the one that serves at any time: a request that has begun ends with the release that it began
//! with, and the old instances go with the last of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use palisade_protocols::Failure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::Instrument;

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

/// A release that serves, and its idle instances.
#[derive(Debug)]
pub(super) struct Release {
    loaded: Loaded,
    pub(super) description: Description,
    idle: Mutex<Vec<(Instance, u32)>>,
}

impl Release {
    pub(super) fn new(loaded: Loaded, description: Description) -> Self {
        Self { loaded, description, idle: Mutex::default() }
    }

    /// Its name as people write it.
    pub(super) fn name(&self) -> String {
        let release = &self.description.release;
        format!("{}@{}", release.name, release.version)
    }

    /// Runs on a thread for blocking work. An instance answers `calls_max` calls, and then a fresh one takes its place.
    pub(super) fn call(&self, texts: &[String], options: &Options, calls_max: u32) -> Result<Classification, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (mut instance, calls) = match idle {
            Some(idle) => idle,
            None => (self.loaded.instantiate()?, 0),
        };
        let answer = instance.classify(texts, options);
        // After any other error the instance must not be used again.
        let sound = matches!(answer, Ok(_) | Err(Error::Refused(_)));
        if sound && calls + 1 < calls_max {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((instance, calls + 1));
        }
        answer
    }
}

/// The release that serves, and the queue before it.
#[derive(Debug)]
pub(super) struct Classifiers {
    current: RwLock<Arc<Release>>,
    limits: QueueLimits,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// What the component says to one call: an answer, or why it refuses the call.
pub(super) type Outcome = Result<Classification, crate::bindings::Error>;

impl Classifiers {
    pub(super) fn new(release: Release, limits: QueueLimits, metrics: Arc<Metrics>) -> Self {
        let turns = Arc::new(Semaphore::new(limits.workers));
        Self { current: RwLock::new(Arc::new(release)), limits, turns, waiting: AtomicUsize::new(0), metrics }
    }

    /// The release that serves now; a request asks once, and keeps it to its end.
    pub(super) fn current(&self) -> Arc<Release> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has another release serve from now on, and gives the one that did until now.
    pub(super) fn swap(&self, release: Release) -> Arc<Release> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, Arc::new(release))
    }

    /// Scores the texts of one request. `admitted` says, and keeps, whether the request has had its first turn.
    pub(super) async fn classify(
        self: &Arc<Self>,
        release: &Arc<Release>,
        texts: Vec<String>,
        options: Options,
        admitted: &mut bool,
    ) -> Result<Outcome, Failure> {
        let asked = Instant::now();
        let first = if *admitted { self.turn().await? } else { self.first_turn().await? };
        *admitted = true;
        self.metrics.queue_wait_seconds.observe(asked.elapsed().as_secs_f64());
        // The component refuses what is beyond its limits; asked with all texts, it says so of the whole call.
        let limits = release.description.limits;
        let bytes: usize = texts.iter().map(String::len).sum();
        if texts.len() <= 1 || texts.len() > limits.texts_max as usize || bytes > limits.batch_bytes_max as usize {
            return self.clone().call(release.clone(), first, texts, options).await;
        }
        self.classify_each(release, texts, &options, first).await
    }

    /// Gives each text a turn, as many at a time as there are workers, so that one batch uses an idle machine whole.
    async fn classify_each(
        self: &Arc<Self>,
        release: &Arc<Release>,
        texts: Vec<String>,
        options: &Options,
        first: OwnedSemaphorePermit,
    ) -> Result<Outcome, Failure> {
        let mut results: Vec<Option<TextResult>> = texts.iter().map(|_| None).collect();
        let mut rest = texts.into_iter().enumerate();
        let (mut calls, mut first, mut frame) = (JoinSet::new(), Some(first), None);
        loop {
            while calls.len() < self.limits.workers
                && let Some((at, text)) = rest.next()
            {
                let (this, release) = (self.clone(), release.clone());
                let (options, turn) = (options.clone(), first.take());
                let call = async move {
                    let turn = match turn {
                        Some(turn) => turn,
                        None => this.turn().await?,
                    };
                    Ok((at, this.call(release, turn, vec![text], options).await?))
                };
                calls.spawn(call.in_current_span());
            }
            let Some(ended) = calls.join_next().await else { break };
            let ended: Result<_, Failure> = ended.map_err(|e| Failure::Fault(format!("a turn was lost: {e}")))?;
            match ended? {
                (at, Ok(mut classification)) => {
                    if let Some(place) = results.get_mut(at) {
                        *place = classification.results.pop();
                    }
                    frame = Some(classification);
                }
                (_, Err(refused)) => return Ok(Err(refused)),
            }
        }
        let missing = || Failure::Fault("a text has no result".into());
        let mut answer = frame.ok_or_else(missing)?;
        answer.results = results.into_iter().collect::<Option<_>>().ok_or_else(missing)?;
        Ok(Ok(answer))
    }

    /// One call of an instance.
    async fn call(
        self: Arc<Self>,
        release: Arc<Release>,
        turn: OwnedSemaphorePermit,
        texts: Vec<String>,
        options: Options,
    ) -> Result<Outcome, Failure> {
        let calls_max = self.limits.instance_calls_max;
        let call = move || {
            let outcome = release.call(&texts, &options, calls_max);
            drop(turn);
            outcome
        };
        let outcome = tokio::task::spawn_blocking(call).await;
        match outcome.map_err(|e| Failure::Fault(format!("the classifier's thread failed: {e}")))? {
            Ok(classification) => {
                self.metrics.scored(&classification);
                Ok(Ok(classification))
            }
            Err(Error::Refused(refused)) => Ok(Err(refused)),
            Err(Error::Deadline { limit_ms }) => Err(Failure::Deadline { limit_ms, limit: "call-ms-max" }),
            Err(other) => Err(Failure::Fault(other.to_string())),
        }
    }

    /// A turn, if nobody waits for one.
    pub(super) fn spare_turn(&self) -> Option<OwnedSemaphorePermit> {
        if self.waiting() > 0 {
            return None;
        }
        self.turns.clone().try_acquire_owned().ok()
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.turns.clone().acquire_owned().await.map_err(|_| Failure::Unavailable("the server is stopping".into()))
    }

    async fn first_turn(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            return Ok(turn);
        }
        let _waiting = Waiting::new(self)?;
        let patience = Duration::from_millis(self.limits.queue_ms_max);
        let turn = tokio::time::timeout(patience, self.turn()).await;
        turn.map_err(|_| overloaded(format!("no turn within queue-ms-max = {} ms", self.limits.queue_ms_max)))?
    }

    /// Requests that wait for their first turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
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
