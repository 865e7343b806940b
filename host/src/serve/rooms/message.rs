//! The messages of `demo/ROOM.md`, between a page and a room.

use palisade_protocols::backend::Release;
use palisade_protocols::policy::{Fired, Reason, Verdict};
use serde::Serialize;
use serde_json::{Map, Value};

use super::view::View;

/// What somebody may do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Member,
    Moderator,
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Person {
    /// What everybody knows the client by. What it knows itself by stays with it: who has that is it.
    pub(super) client: String,
    pub(super) name: String,
    pub(super) role: Role,
}

/// What a moderator does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Approve,
    Remove,
}

/// What one side thinks of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) fired: Vec<Fired>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) reasons: Vec<Reason>,
    pub(super) scores: Map<String, Value>,
    pub(super) release: Release,
}

/// A message as its author sends it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NewMessage {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) nudged: bool,
    pub(super) browser: Option<Judgement>,
}

/// What a page says. Without `Debug`: it may hold a key.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) enum FromPage {
    Join { person: Person, key: Option<String> },
    Message(NewMessage),
    Moderate { id: String, action: Action },
    Leave,
}

/// Names of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Code {
    NotJoined,
    Invalid,
    Unauthorised,
    RoomFull,
    TooFast,
    TooLarge,
    IdTaken,
    UnknownId,
    Overloaded,
}

/// Why something that the page sent is refused. Never holds any of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) detail: String,
    /// The message that it is about.
    pub(super) id: Option<String>,
}

impl Refusal {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), id: None }
    }

    pub(super) fn of(self, id: &str) -> Self {
        Self { id: Some(id.to_owned()), ..self }
    }
}

/// Who sees a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Shown,
    Held,
    Blocked,
    Removed,
}

impl State {
    /// Name in metrics and logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Held => "held",
            Self::Blocked => "blocked",
            Self::Removed => "removed",
        }
    }
}

/// Whether a moderator's judgement was kept as feedback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Feedback {
    Kept,
    Repeated,
    Failed,
}

impl Feedback {
    /// Name in logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Repeated => "repeated",
            Self::Failed => "failed",
        }
    }
}

/// What a moderator has decided last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Moderation {
    pub(super) action: Action,
    pub(super) by: String,
    pub(super) at: String,
    pub(super) feedback: Feedback,
}

/// Who wrote a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Author {
    pub(super) client: String,
    pub(super) name: String,
}

/// A message as the room keeps it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) sequence: u64,
    pub(super) at: String,
    pub(super) author: Author,
    pub(super) text: String,
    pub(super) state: State,
    pub(super) nudged: bool,
    pub(super) browser: Option<Judgement>,
    pub(super) server: Judgement,
    pub(super) moderation: Option<Moderation>,
    /// Whether everybody has seen it.
    pub(super) was_shown: bool,
    /// About what it takes in memory, and in a frame.
    pub(super) bytes: usize,
}

/// The thresholds of a label that the room judges.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Threshold {
    pub(super) label: String,
    pub(super) review: Option<f64>,
    pub(super) block: Option<f64>,
}

/// What a room judges with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Standard {
    pub(super) release: Release,
    pub(super) policy: Vec<Threshold>,
}

/// What a room says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum ToPage {
    Joined {
        room: String,
        you: Person,
        people: Vec<Person>,
        history: Vec<View>,
        #[serde(flatten)]
        standard: Standard,
    },
    People {
        people: Vec<Person>,
    },
    Message {
        message: View,
    },
    Error(Refusal),
}
