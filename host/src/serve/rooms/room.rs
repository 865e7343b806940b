//! One room as a pure state machine: what happens goes in, what is to be said and done comes out. No sockets, no clock.
//!
//! A message takes two steps, for judging takes time: [`Event::Message`] asks for [`Output::Judge`], and [`Event::Judged`] brings the
//! answer. A moderator's judgement likewise: [`Event::Moderate`], [`Output::Keep`], [`Event::Moderated`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, SecondsFormat};
use palisade_protocols::policy::Verdict;

use super::message::{
    Action, Author, Code, Feedback, Judgement, Message, Moderation, NewMessage, Person, Refusal, Role, Standard, State,
    ToPage,
};
use super::pace::{Paces, TooFast};
use super::view::{Sight, View};
use super::{CONNECTIONS_OF_CLIENT_MAX, HISTORY_BYTES_MAX, HISTORY_MAX, MESSAGES_MAX, PEOPLE_MAX, bytes};

/// About what a message takes beside its text and judgements.
const MESSAGE_BYTES: usize = 512;

/// One connection to the room, in the order in which they came.
pub(super) type Connection = u64;

/// The two clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) unix_ms: i64,
}

/// Who sits behind a connection.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seat {
    pub(super) person: Person,
    /// Name of the key that the client joined with.
    pub(super) key_name: Option<String>,
}

/// A moderator's judgement on its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) id: String,
    pub(super) action: Action,
    pub(super) by: Person,
}

/// What happens.
pub(super) enum Event {
    Join {
        connection: Connection,
        seat: Seat,
        standard: Standard,
    },
    Leave {
        connection: Connection,
    },
    Message {
        connection: Connection,
        message: NewMessage,
    },
    /// A message was judged, or could not be.
    Judged {
        id: String,
        judged: Result<Judgement, Refusal>,
    },
    Moderate {
        connection: Connection,
        id: String,
        action: Action,
    },
    /// A decision was kept as feedback, or could not be.
    Moderated {
        connection: Connection,
        decision: Decision,
        feedback: Feedback,
    },
}

/// What follows.
#[derive(Debug, PartialEq)]
pub(super) enum Output {
    Say {
        to: Vec<Connection>,
        what: ToPage,
    },
    /// What was asked for is refused, to the one who asked.
    Refuse(Refusal),
    /// The text is to be judged.
    Judge {
        id: String,
        text: String,
    },
    /// The decision about this message is to be kept as feedback.
    Keep {
        decision: Decision,
        message: Arc<Message>,
    },
    /// The message is new, or has changed: for the operator's log and figures.
    Changed(Arc<Message>),
}

/// A message that is being judged.
struct Pending {
    author: Author,
    message: NewMessage,
    /// Who wants to know if it is refused.
    waiting: Vec<Connection>,
}

/// A room.
pub(super) struct Room {
    name: String,
    seats: BTreeMap<Connection, Seat>,
    messages: VecDeque<Arc<Message>>,
    /// Sequence of the last message.
    sequence: u64,
    pending: BTreeMap<String, Pending>,
    paces: Paces,
    bytes: usize,
    /// Since when nobody is here.
    empty_since: Option<Instant>,
}

impl Room {
    pub(super) fn new(name: &str, now: Now) -> Self {
        Self {
            name: name.to_owned(),
            seats: BTreeMap::new(),
            messages: VecDeque::new(),
            sequence: 0,
            pending: BTreeMap::new(),
            paces: Paces::default(),
            bytes: 0,
            empty_since: Some(now.instant),
        }
    }

    /// Since when nobody is here; nothing while somebody is, or comes back to a message that is being judged.
    pub(super) fn empty_since(&self) -> Option<Instant> {
        self.empty_since.filter(|_| self.pending.is_empty())
    }

    /// Whether no message would be lost with the room.
    pub(super) fn has_no_messages(&self) -> bool {
        self.messages.is_empty()
    }

    /// About what the messages take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everybody, each once: a client with several connections is who it last said it is.
    pub(super) fn people(&self) -> Vec<Person> {
        let mut people: Vec<Person> = Vec::new();
        for Seat { person, .. } in self.seats.values() {
            match people.iter_mut().find(|other| other.client == person.client) {
                Some(known) => known.clone_from(person),
                None => people.push(person.clone()),
            }
        }
        people
    }

    /// Takes one event.
    pub(super) fn apply(&mut self, event: Event, now: Now) -> Vec<Output> {
        match event {
            Event::Join { connection, seat, standard } => self.join(connection, seat, standard),
            Event::Leave { connection } => self.leave(connection, now),
            Event::Message { connection, message } => self.message(connection, message, now),
            Event::Judged { id, judged } => self.judged(&id, judged, now),
            Event::Moderate { connection, id, action } => self.moderate(connection, id, action, now),
            Event::Moderated { connection, decision, feedback } => self.moderated(connection, decision, feedback, now),
        }
    }

    fn join(&mut self, connection: Connection, seat: Seat, standard: Standard) -> Vec<Output> {
        let before = self.people();
        let same: Vec<&Seat> = self.seats.values().filter(|other| other.person.client == seat.person.client).collect();
        if same.iter().any(|other| other.key_name != seat.key_name) {
            return refuse(Code::Unauthorised, "this client is in the room with another key");
        }
        if same.is_empty() && before.len() >= PEOPLE_MAX {
            return refuse(Code::RoomFull, format!("{PEOPLE_MAX} clients are in the room already"));
        }
        if same.len() >= CONNECTIONS_OF_CLIENT_MAX {
            return refuse(
                Code::RoomFull,
                format!("{CONNECTIONS_OF_CLIENT_MAX} connections are of this client already"),
            );
        }
        let you = seat.person.clone();
        self.seats.insert(connection, seat);
        self.empty_since = None;
        let people = self.people();
        let others = self.seats.keys().copied().filter(|other| *other != connection).collect();
        let joined = ToPage::Joined {
            room: self.name.clone(),
            history: self.history(&you),
            you,
            people: people.clone(),
            standard,
        };
        let mut outputs = vec![Output::Say { to: vec![connection], what: joined }];
        if !is_same(&people, &before) {
            outputs.push(Output::Say { to: others, what: ToPage::People { people } });
        }
        outputs
    }

    /// The last messages that somebody may see.
    fn history(&self, person: &Person) -> Vec<View> {
        let mut left = HISTORY_BYTES_MAX;
        let seen = self.messages.iter().rev().filter_map(|message| View::of(message, person)).take(HISTORY_MAX);
        let mut history: Vec<View> = seen
            .map_while(|view| {
                left = left.checked_sub(view.message.bytes)?;
                Some(view)
            })
            .collect();
        history.reverse();
        history
    }

    fn leave(&mut self, connection: Connection, now: Now) -> Vec<Output> {
        let before = self.people();
        if self.seats.remove(&connection).is_none() {
            return Vec::new();
        }
        if self.seats.is_empty() {
            self.empty_since = Some(now.instant);
        }
        let people = self.people();
        if is_same(&people, &before) {
            return Vec::new();
        }
        vec![Output::Say { to: self.seats.keys().copied().collect(), what: ToPage::People { people } }]
    }

    fn message(&mut self, connection: Connection, message: NewMessage, now: Now) -> Vec<Output> {
        let Some(Seat { person, .. }) = self.seats.get(&connection).cloned() else { return Vec::new() };
        let taken = || vec![Output::Refuse(Refusal::new(Code::IdTaken, "the id is another message's").of(&message.id))];
        if let Some(known) = self.find(&message.id) {
            let is_same = known.author.client == person.client && known.text == message.text;
            return if is_same { self.repeat(connection, &message.id) } else { taken() };
        }
        if let Some(pending) = self.pending.get_mut(&message.id) {
            if pending.author.client != person.client || pending.message.text != message.text {
                return taken();
            }
            pending.waiting.push(connection);
            return Vec::new();
        }
        if let Err(refused) = self.paces.message(&person.client, now.instant) {
            return too_fast(&refused, &message.id);
        }
        let author = Author { client: person.client, name: person.name };
        let judge = Output::Judge { id: message.id.clone(), text: message.text.clone() };
        self.pending.insert(message.id.clone(), Pending { author, message, waiting: vec![connection] });
        vec![judge]
    }

    fn judged(&mut self, id: &str, judged: Result<Judgement, Refusal>, now: Now) -> Vec<Output> {
        let Some(Pending { author, message, waiting }) = self.pending.remove(id) else { return Vec::new() };
        let server = match judged {
            Ok(server) => server,
            Err(refusal) => return vec![Output::Say { to: waiting, what: ToPage::Error(refusal.of(id)) }],
        };
        let state = match server.verdict {
            Verdict::Allow => State::Shown,
            Verdict::Review => State::Held,
            Verdict::Block => State::Blocked,
        };
        self.sequence += 1;
        let NewMessage { id, text, nudged, browser } = message;
        let size = length(&text) + browser.as_ref().map_or(0, bytes) + bytes(&server);
        let message = Arc::new(Message {
            id,
            sequence: self.sequence,
            at: timestamp(now),
            author,
            text,
            state,
            nudged,
            browser,
            server,
            moderation: None,
            was_shown: state == State::Shown,
            bytes: MESSAGE_BYTES + size,
        });
        self.bytes += message.bytes;
        self.messages.push_back(message.clone());
        while self.messages.len() > MESSAGES_MAX && self.forget_oldest() {}
        self.tell(&message)
    }

    fn moderate(&mut self, connection: Connection, id: String, action: Action, now: Now) -> Vec<Output> {
        let Some(Seat { person, .. }) = self.seats.get(&connection).cloned() else { return Vec::new() };
        if person.role != Role::Moderator {
            let refusal = Refusal::new(Code::Unauthorised, "only moderators may approve and remove");
            return vec![Output::Refuse(refusal.of(&id))];
        }
        let Some(message) = self.find(&id).cloned() else {
            return vec![Output::Refuse(Refusal::new(Code::UnknownId, "the room has no such message").of(&id))];
        };
        if message.moderation.as_ref().is_some_and(|last| last.action == action) {
            return self.repeat(connection, &id);
        }
        if let Err(refused) = self.paces.moderation(&person.client, now.instant) {
            return too_fast(&refused, &id);
        }
        vec![Output::Keep { decision: Decision { id, action, by: person }, message }]
    }

    fn moderated(&mut self, connection: Connection, decision: Decision, feedback: Feedback, now: Now) -> Vec<Output> {
        let Decision { id, action, by } = decision;
        let Some(place) = self.messages.iter_mut().find(|message| message.id == id) else {
            return vec![Output::Refuse(Refusal::new(Code::UnknownId, "the room has let go of the message").of(&id))];
        };
        // Another moderator may have been quicker.
        if place.moderation.as_ref().is_some_and(|last| last.action == action) {
            return self.repeat(connection, &id);
        }
        let state = if action == Action::Approve { State::Shown } else { State::Removed };
        let message = Arc::make_mut(place);
        message.state = state;
        message.was_shown |= state == State::Shown;
        message.moderation = Some(Moderation { action, by: by.name, at: timestamp(now), feedback });
        let message = place.clone();
        self.tell(&message)
    }

    /// Lets go of the oldest message; false where there is none.
    pub(super) fn forget_oldest(&mut self) -> bool {
        let oldest = self.messages.pop_front();
        self.bytes -= oldest.as_deref().map_or(0, |message| message.bytes);
        oldest.is_some()
    }

    fn find(&self, id: &str) -> Option<&Arc<Message>> {
        self.messages.iter().rev().find(|message| message.id == id)
    }

    /// Answers one connection with a message as it stands.
    fn repeat(&self, connection: Connection, id: &str) -> Vec<Output> {
        let seat = self.seats.get(&connection);
        let seen = self.find(id).zip(seat).and_then(|(message, seat)| View::of(message, &seat.person));
        let say = |message| Output::Say { to: vec![connection], what: ToPage::Message { message } };
        seen.map(say).into_iter().collect()
    }

    /// Sends a message to everybody whom it concerns.
    fn tell(&self, message: &Arc<Message>) -> Vec<Output> {
        let mut sights: BTreeMap<Sight, Vec<Connection>> = BTreeMap::new();
        for (connection, seat) in &self.seats {
            if let Some(view) = View::of(message, &seat.person) {
                sights.entry(view.sight).or_default().push(*connection);
            }
        }
        let mut outputs = vec![Output::Changed(message.clone())];
        outputs.extend(sights.into_iter().map(|(sight, to)| {
            let message = View { message: message.clone(), sight };
            Output::Say { to, what: ToPage::Message { message } }
        }));
        outputs
    }
}

/// Whether these are the same people, in whatever order: a client's place is that of its oldest connection.
fn is_same(people: &[Person], others: &[Person]) -> bool {
    people.len() == others.len() && people.iter().all(|person| others.contains(person))
}

fn refuse(code: Code, detail: impl Into<String>) -> Vec<Output> {
    vec![Output::Refuse(Refusal::new(code, detail))]
}

fn too_fast(refused: &TooFast, id: &str) -> Vec<Output> {
    vec![Output::Refuse(Refusal::new(Code::TooFast, refused.to_string()).of(id))]
}

/// Length of a text as JSON: a control character takes six bytes.
fn length(text: &str) -> usize {
    text.len() + 5 * text.chars().filter(|character| character.is_control()).count()
}

/// RFC 3339, in UTC, with milliseconds.
fn timestamp(now: Now) -> String {
    DateTime::from_timestamp_millis(now.unix_ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests;
