//! Who may see what of a message.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::message::{Author, Judgement, Message, Moderation, Person, Role, State};

/// A message as one side may see it: whole, or without its text and judgements.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    pub(super) message: Arc<Message>,
    pub(super) is_whole: bool,
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
        let message = &*self.message;
        let seen = Seen {
            id: &message.id,
            sequence: message.sequence,
            at: &message.at,
            author: &message.author,
            text: self.is_whole.then_some(&message.text),
            state: message.state,
            nudged: message.nudged,
            browser: message.browser.as_ref().filter(|_| self.is_whole),
            server: self.is_whole.then_some(&message.server),
            moderation: message.moderation.as_ref(),
        };
        seen.serialize(serializer)
    }
}

impl View {
    /// What somebody may see of a message; nothing where it is none of their business.
    pub(super) fn of(message: &Arc<Message>, person: &Person) -> Option<Self> {
        let is_own = message.author.client == person.client;
        let is_whole = match message.state {
            _ if person.role == Role::Moderator => true,
            State::Shown => true,
            State::Held | State::Blocked if is_own => true,
            State::Removed if is_own || message.was_shown => false,
            _ => return None,
        };
        Some(Self { message: message.clone(), is_whole })
    }
}
