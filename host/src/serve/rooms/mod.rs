//! Chat rooms over WebSocket, as `demo/ROOM.md` has them.
//!
//! 1. `door`: a request for `/v1/rooms/NAME` becomes a WebSocket, or is refused as HTTP.
//! 2. `session`: one connection: frames in, frames out, and the time that both may take. `read` makes frames values.
//! 3. `room`: what a room is and does, without sockets or clocks; `view` says who sees what, `pace` how fast one may go.
//! 4. `judge`: the classifier's queue, the policy, the keys and the feedback, as for requests.
//!
//! Here is what joins them: which rooms there are, and the queue of each connection.

mod door;
mod judge;
mod message;
mod pace;
mod read;
mod room;
mod session;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use palisade_protocols::policy::Verdict;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

pub(super) use door::{PATH, enter};
use message::{Code, Judgement, Message, Refusal, ToPage};
use room::{Connection, Event, Now, Output, Room, Seat};

use super::metrics::{Metrics, StateLabels};

/// Largest frame of a page.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// Longest text.
const TEXT_BYTES_MAX: usize = 4_000;
/// Longest name of a person.
const NAME_CHARS_MAX: usize = 40;
/// Longest name of a room.
const ROOM_CHARS_MAX: usize = 40;
/// Most labels in a browser's judgement, and the longest of their names.
const LABELS_MAX: usize = 64;
const LABEL_CHARS_MAX: usize = 64;
/// Most clients in a room.
const PEOPLE_MAX: usize = 64;
/// Most connections of one client to a room: those that were lost and are not yet known to be count too.
const CONNECTIONS_OF_CLIENT_MAX: usize = 8;
/// Longest judgement of a browser, as JSON.
const JUDGEMENT_BYTES_MAX: usize = 4_096;
/// Messages that a room keeps, and how many of them are told to who joins: one frame, which a slow line takes in time.
const MESSAGES_MAX: usize = 1_000;
const HISTORY_MAX: usize = 200;
const HISTORY_BYTES_MAX: usize = 256 << 10;
/// What all rooms keep: beyond it a room with more than its share lets go of its oldest messages early.
const ROOMS_BYTES_MAX: usize = 128 << 20;
/// Messages and moderators' judgements of a client in so many seconds.
const TEXTS_PACE_MAX: usize = 10;
const MODERATIONS_PACE_MAX: usize = 60;
const PACE_S: u64 = 10;
/// Frames that wait for a client which reads slowly; one more, and it is dropped.
const OUTGOING_MAX: usize = 256;
/// Longest time for a frame to get out.
const SEND_MS_MAX: u64 = 10_000;
/// Longest wait for `join`.
const JOIN_MS_MAX: u64 = 10_000;
/// How often a client is pinged, and how long it may say nothing.
const PING_MS: u64 = 30_000;
const SILENCE_MS_MAX: u64 = 90_000;
/// Longest time for a good-bye.
const CLOSE_MS_MAX: u64 = 1_000;
/// How long a room outlives the last one in it.
const EMPTY_S_MAX: u64 = 3_600;
/// How often rooms are looked through for those.
const SWEEP: Duration = Duration::from_mins(1);

/// All rooms.
pub(super) struct Rooms {
    places: Mutex<HashMap<String, Arc<Place>>>,
    places_max: usize,
    bytes: AtomicUsize,
    next: AtomicU64,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Rooms {
    /// Without what people write.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rooms").finish_non_exhaustive()
    }
}

/// A room and the queues of those in it.
struct Place {
    name: String,
    inner: Mutex<Inner>,
}

struct Inner {
    room: Room,
    queues: BTreeMap<Connection, mpsc::Sender<Utf8Bytes>>,
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in a room, left when it is dropped.
struct Joined {
    rooms: Arc<Rooms>,
    place: Arc<Place>,
    connection: Connection,
}

impl Joined {
    /// Takes an event, and tells everybody what they are to know of it. What is left is for the caller.
    fn apply(&self, event: Event) -> Vec<Output> {
        self.rooms.apply(&self.place, &mut self.place.lock(), event)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut inner = self.place.lock();
        inner.queues.remove(&self.connection);
        self.rooms.apply(&self.place, &mut inner, Event::Leave { connection: self.connection });
    }
}

impl Rooms {
    /// No rooms yet, and never more than `rooms_max`.
    pub(super) fn new(rooms_max: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            places: Mutex::default(),
            places_max: rooms_max,
            bytes: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            metrics,
        }
    }

    /// Forgets rooms that have been empty for long, again and again.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.forget_empty(&mut self.places(), now().instant);
        }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Arc<Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_empty(&self, places: &mut HashMap<String, Arc<Place>>, now: Instant) {
        let is_over = |since: Instant| now.saturating_duration_since(since).as_secs() >= EMPTY_S_MAX;
        places.retain(|_, place| {
            let inner = place.lock();
            let keep = !inner.room.empty_since().is_some_and(is_over);
            if !keep {
                self.bytes.fetch_sub(inner.room.bytes(), Ordering::Relaxed);
            }
            keep
        });
        self.metrics.rooms.set(i64::try_from(places.len()).unwrap_or(i64::MAX));
    }

    /// Forgets one empty room without messages, the one that has been empty for longest.
    fn make_place(&self, places: &mut HashMap<String, Arc<Place>>) {
        let empty = places.values().filter_map(|place| {
            let inner = place.lock();
            let is_bare = inner.room.has_no_messages();
            Some((inner.room.empty_since().filter(|_| is_bare)?, place.name.clone(), inner.room.bytes()))
        });
        let Some((_, name, bytes)) = empty.min() else { return };
        places.remove(&name);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.metrics.rooms.dec();
    }

    /// Brings somebody into a room, which is made where it is not there. What it says comes out of the queue.
    fn join(
        self: &Arc<Self>,
        name: &str,
        seat: Seat,
        standard: message::Standard,
    ) -> Result<(Joined, mpsc::Receiver<Utf8Bytes>), Refusal> {
        let mut places = self.places();
        let place = self.place(&mut places, name)?;
        let connection = self.next.fetch_add(1, Ordering::Relaxed);
        let (queue, outgoing) = mpsc::channel(OUTGOING_MAX);
        let mut inner = place.lock();
        // Before `places` is let go: until somebody sits in the room, it may be swept away.
        inner.queues.insert(connection, queue);
        let refused = self.apply(&place, &mut inner, Event::Join { connection, seat, standard });
        if let Some(Output::Refuse(refusal)) = refused.into_iter().next() {
            inner.queues.remove(&connection);
            return Err(refusal);
        }
        drop(inner);
        Ok((Joined { rooms: self.clone(), place, connection }, outgoing))
    }

    /// The room of a name, new where it is not there.
    fn place(&self, places: &mut HashMap<String, Arc<Place>>, name: &str) -> Result<Arc<Place>, Refusal> {
        if let Some(place) = places.get(name) {
            return Ok(place.clone());
        }
        self.forget_empty(places, now().instant);
        if places.len() >= self.places_max {
            self.make_place(places);
        }
        if places.len() >= self.places_max {
            let detail = format!("there are rooms-max = {} rooms already", self.places_max);
            return Err(Refusal::new(Code::RoomFull, detail));
        }
        let inner = Inner { room: Room::new(name, now()), queues: BTreeMap::new() };
        let place = Arc::new(Place { name: name.to_owned(), inner: Mutex::new(inner) });
        places.insert(name.to_owned(), place.clone());
        self.metrics.rooms.inc();
        Ok(place)
    }

    /// Has a room take an event, and delivers what it says. Whoever does not read leaves.
    fn apply(&self, place: &Place, inner: &mut Inner, event: Event) -> Vec<Output> {
        let (bytes, people) = (inner.room.bytes(), inner.room.people().len());
        let mut events = vec![event];
        let mut rest = Vec::new();
        while let Some(event) = events.pop() {
            for output in inner.room.apply(event, now()) {
                match output {
                    Output::Say { to, what } => {
                        let slow = deliver(&mut inner.queues, &to, &what);
                        events.extend(slow.into_iter().map(|connection| Event::Leave { connection }));
                    }
                    Output::Changed(message) => self.changed(&place.name, &message),
                    other => rest.push(other),
                }
            }
        }
        let people = i64::try_from(inner.room.people().len()).unwrap_or(i64::MAX) - i64::try_from(people).unwrap_or(0);
        self.metrics.room_people.inc_by(people);
        self.count_bytes(bytes, inner);
        rest
    }

    /// Counts what a room keeps, and has it let go of messages where all rooms together keep too much.
    fn count_bytes(&self, before: usize, inner: &mut Inner) {
        self.bytes.fetch_add(inner.room.bytes(), Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
        let share = ROOMS_BYTES_MAX / self.places_max.max(1);
        while self.bytes.load(Ordering::Relaxed) > ROOMS_BYTES_MAX && inner.room.bytes() > share {
            let before = inner.room.bytes();
            if !inner.room.forget_oldest() {
                return;
            }
            self.bytes.fetch_sub(before - inner.room.bytes(), Ordering::Relaxed);
        }
    }

    /// Logs and counts a message that is new, or that a moderator has judged. Never its text.
    fn changed(&self, room: &str, message: &Message) {
        let state = message.state.name();
        self.metrics.room_messages.get_or_create(&StateLabels { state }).inc();
        tracing::info!(
            target: "palisade_host::serve",
            room,
            client = message.author.client,
            verdict = verdict(message.server.verdict),
            text_bytes = message.text.len(),
            state,
            feedback = message.moderation.as_ref().map(|moderation| moderation.feedback.name()),
            "room message"
        );
    }
}

/// Puts a frame into queues, and gives the connections that have no room for it: they are closed.
fn deliver(
    queues: &mut BTreeMap<Connection, mpsc::Sender<Utf8Bytes>>,
    to: &[Connection],
    what: &ToPage,
) -> Vec<Connection> {
    let frame = frame(what);
    let mut slow = Vec::new();
    for connection in to {
        let Some(queue) = queues.get(connection) else { continue };
        if queue.try_send(frame.clone()).is_err() {
            queues.remove(connection);
            slow.push(*connection);
        }
    }
    slow
}

/// A verdict as the protocol writes it.
fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Review => "review",
        Verdict::Block => "block",
    }
}

/// A message of the protocol as text.
fn frame(what: &ToPage) -> Utf8Bytes {
    serde_json::to_string(what).unwrap_or_default().into() // maps with string keys do not fail
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), unix_ms: i64::try_from(unix.as_millis()).unwrap_or(i64::MAX) }
}

/// What everybody knows a client by, in a room as in the log. Nobody can tell from it what the client knows itself by.
fn public_id(client: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(client));
    digest.truncate(32);
    digest
}

/// Length of a judgement as JSON.
fn bytes(judgement: &Judgement) -> usize {
    serde_json::to_vec(judgement).map_or(0, |json| json.len()) // maps with string keys do not fail
}

#[cfg(test)]
mod tests;
