//! Who may see what of a message.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::message::{Author, Judgement, Message, Moderation, Person, Role, State};

/// A message as one side may see it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    pub(super) message: Arc<Message>,
    pub(super) sight: Sight,
}

/// How much one side may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sight {
    /// Neither the text nor any judgement.
    Bare,
    /// The text, and the room's judgement.
    Text,
    /// What its author's page thought of it as well.
    All,
}

impl Serialize for View {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Seen<'a> {
            id: &'a str,
            sequence: u64,
            at: &'a str,
            author: &'a Author,
            text: Option<&'a str>,
            state: State,
            nudged: bool,
            browser: Option<&'a Judgement>,
            server: Option<&'a Judgement>,
            moderation: Option<&'a Moderation>,
        }
        let (message, is_seen) = (&*self.message, self.sight >= Sight::Text);
        let seen = Seen {
            id: &message.id,
            sequence: message.sequence,
            at: &message.at,
            author: &message.author,
            text: is_seen.then_some(&message.text),
            state: message.state,
            nudged: message.nudged,
            browser: message.browser.as_ref().filter(|_| self.sight == Sight::All),
            server: is_seen.then_some(&message.server),
            moderation: message.moderation.as_ref(),
        };
        seen.serialize(serializer)
    }
}

impl View {
    /// What somebody may see of a message; nothing where it is none of their business.
    pub(super) fn of(message: &Arc<Message>, person: &Person) -> Option<Self> {
        let is_own = message.author.client == person.client;
        let sight = match message.state {
            _ if person.role == Role::Moderator => Sight::All,
            State::Shown => Sight::Text,
            State::Held | State::Blocked if is_own => Sight::Text,
            State::Removed if is_own || message.was_shown => Sight::Bare,
            _ => return None,
        };
        Some(Self { message: message.clone(), sight })
    }
}
