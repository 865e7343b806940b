//! A room from outside: events in, what each person is told out.

use std::time::Duration;

use palisade_protocols::backend::Release;
use palisade_protocols::policy::Fired;
use serde_json::{Map, Value, json};

use super::*;

/// A room, and what everybody in it has heard since they last listened.
struct Hall {
    room: Room,
    now: Now,
    heard: BTreeMap<Connection, Vec<Value>>,
}

fn id(number: u64) -> String {
    format!("00000000-0000-0000-0000-{number:012x}")
}

fn release() -> Release {
    Release { name: "test".into(), version: "1.0.0".into(), digest: "00".into() }
}

fn judgement(verdict: Verdict) -> Judgement {
    let fired = Fired { label: "INSULT".into(), score: 0.9, threshold: 0.5, verdict };
    let fired = if verdict == Verdict::Allow { Vec::new() } else { vec![fired] };
    Judgement {
        verdict,
        fired,
        reasons: Vec::new(),
        scores: Map::from_iter([("INSULT".to_owned(), json!(0.9))]),
        release: release(),
    }
}

impl Hall {
    fn new() -> Self {
        let now = Now { instant: Instant::now(), unix_ms: 1_763_743_500_123 };
        Self { room: Room::new("general", now), now, heard: BTreeMap::new() }
    }

    fn later(&mut self, by: Duration) {
        self.now.instant += by;
    }

    /// Takes an event, delivers what is said, and gives the rest.
    fn apply(&mut self, event: Event) -> Vec<Output> {
        let mut rest = Vec::new();
        for output in self.room.apply(event, self.now) {
            match output {
                Output::Say { to, what } => {
                    for connection in to {
                        self.heard.entry(connection).or_default().push(serde_json::to_value(&what).unwrap());
                    }
                }
                Output::Changed(_) => {}
                other => rest.push(other),
            }
        }
        rest
    }

    fn seat(client: u64, role: Role) -> Seat {
        Seat { person: Person { client: id(client), name: format!("P{client}"), role }, key_name: None }
    }

    fn enter(&mut self, connection: Connection, seat: Seat) -> Vec<Output> {
        let standard = Standard { release: release(), policy: Vec::new() };
        self.apply(Event::Join { connection, seat, standard })
    }

    fn join(&mut self, connection: Connection, client: u64, role: Role) {
        assert_eq!(self.enter(connection, Self::seat(client, role)), []);
    }

    /// What a connection has heard since it last listened.
    fn listen(&mut self, connection: Connection) -> Vec<Value> {
        self.heard.remove(&connection).unwrap_or_default()
    }

    fn send(&mut self, connection: Connection, number: u64, text: &str) -> Vec<Output> {
        let browser = Some(judgement(Verdict::Allow));
        let message = NewMessage { id: id(number), text: text.into(), nudged: false, browser };
        self.apply(Event::Message { connection, message })
    }

    /// A message with its verdict.
    fn say(&mut self, connection: Connection, number: u64, text: &str, verdict: Verdict) {
        assert_eq!(self.send(connection, number, text), [Output::Judge { id: id(number), text: text.into() }]);
        assert_eq!(self.apply(Event::Judged { id: id(number), judged: Ok(judgement(verdict)) }), []);
    }

    fn moderate(&mut self, connection: Connection, number: u64, action: Action) {
        let asked = self.apply(Event::Moderate { connection, id: id(number), action });
        let [Output::Keep { decision, .. }] = &asked[..] else { panic!("{asked:?}") };
        let decision = decision.clone();
        assert_eq!(self.apply(Event::Moderated { connection, decision, feedback: Feedback::Kept }), []);
    }

    fn refused(outputs: &[Output]) -> (Code, Option<String>) {
        let [Output::Refuse(refusal)] = outputs else { panic!("{outputs:?}") };
        (refusal.code, refusal.id.clone())
    }
}

/// State and text of each message heard.
fn messages(heard: &[Value]) -> Vec<(&str, Option<&str>)> {
    heard.iter().map(|said| (said["message"]["state"].as_str().unwrap(), said["message"]["text"].as_str())).collect()
}

const ANA: Connection = 1;
const BO: Connection = 2;
const MO: Connection = 3;

/// Two members and a moderator, who have heard nothing yet.
fn hall() -> Hall {
    let mut hall = Hall::new();
    hall.join(ANA, 1, Role::Member);
    hall.join(BO, 2, Role::Member);
    hall.join(MO, 3, Role::Moderator);
    hall.heard.clear();
    hall
}

#[test]
fn who_may_see_a_message_is_told_of_it() {
    let mut hall = hall();
    for (verdict, state, bo_sees) in
        [(Verdict::Allow, "shown", true), (Verdict::Review, "held", false), (Verdict::Block, "blocked", false)]
    {
        hall.say(ANA, verdict as u64, "hello", verdict);
        let bo = if bo_sees { vec![(state, Some("hello"))] } else { vec![] };
        let author = hall.listen(ANA);
        assert_eq!((messages(&author), &author[0]["message"]["browser"]), (vec![(state, Some("hello"))], &Value::Null));
        assert_eq!(messages(&hall.listen(BO)), bo);
        let moderator = hall.listen(MO);
        assert_eq!(messages(&moderator), [(state, Some("hello"))]);
        assert_eq!(moderator[0]["message"]["server"]["verdict"], json!(verdict));
        assert_eq!(moderator[0]["message"]["at"], "2025-11-21T16:45:00.123Z");
        // What an author's page thought is for moderators alone.
        assert_eq!(moderator[0]["message"]["browser"]["verdict"], "allow");
    }
    // Those who come later are told the same.
    hall.join(4, 4, Role::Member);
    assert_eq!(hall.listen(4)[0]["history"].as_array().unwrap().len(), 1);
    hall.join(5, 1, Role::Member);
    assert_eq!(hall.listen(5)[0]["history"].as_array().unwrap().len(), 3);
}

#[test]
fn a_moderator_approves_and_removes() {
    let mut hall = hall();
    hall.say(ANA, 1, "held", Verdict::Review);
    hall.heard.clear();
    hall.moderate(MO, 1, Action::Approve);
    for connection in [ANA, BO, MO] {
        let heard = hall.listen(connection);
        assert_eq!(messages(&heard), [("shown", Some("held"))]);
        let at = "2025-11-21T16:45:00.123Z";
        let moderation = json!({"action": "approve", "by": "P3", "at": at, "feedback": "kept"});
        assert_eq!(heard[0]["message"]["moderation"], moderation);
    }
    hall.moderate(MO, 1, Action::Remove);
    for connection in [ANA, BO] {
        let heard = hall.listen(connection);
        assert_eq!(messages(&heard), [("removed", None)]);
        assert_eq!((&heard[0]["message"]["server"], &heard[0]["message"]["browser"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(messages(&hall.listen(MO)), [("removed", Some("held"))]);
}

#[test]
fn what_nobody_saw_is_removed_without_a_word_to_them() {
    let mut hall = hall();
    hall.say(ANA, 1, "blocked", Verdict::Block);
    hall.heard.clear();
    hall.moderate(MO, 1, Action::Remove);
    assert_eq!(messages(&hall.listen(ANA)), [("removed", None)]);
    assert_eq!(hall.listen(BO), Vec::<Value>::new());
}

#[test]
fn the_same_judgement_again_changes_nothing() {
    let mut hall = hall();
    hall.say(ANA, 1, "held", Verdict::Review);
    let asked = hall.apply(Event::Moderate { connection: MO, id: id(1), action: Action::Approve });
    hall.moderate(MO, 1, Action::Approve);
    hall.heard.clear();
    assert_eq!(hall.apply(Event::Moderate { connection: MO, id: id(1), action: Action::Approve }), []);
    assert_eq!(messages(&hall.listen(MO)), [("shown", Some("held"))]);
    // Nor where both were on their way at once.
    let [Output::Keep { decision, .. }] = &asked[..] else { panic!("{asked:?}") };
    let decision = decision.clone();
    assert_eq!(hall.apply(Event::Moderated { connection: MO, decision, feedback: Feedback::Repeated }), []);
    assert_eq!(hall.listen(MO)[0]["message"]["moderation"]["feedback"], "kept");
    assert_eq!(hall.listen(ANA), Vec::<Value>::new());
}

#[test]
fn members_do_not_moderate_and_nobody_moderates_what_is_not_there() {
    let mut hall = hall();
    hall.say(ANA, 1, "held", Verdict::Review);
    let refused = hall.apply(Event::Moderate { connection: ANA, id: id(1), action: Action::Approve });
    assert_eq!(Hall::refused(&refused), (Code::Unauthorised, Some(id(1))));
    let refused = hall.apply(Event::Moderate { connection: MO, id: id(9), action: Action::Approve });
    assert_eq!(Hall::refused(&refused), (Code::UnknownId, Some(id(9))));
}

#[test]
fn a_repeated_message_is_answered_as_it_stands_and_counts_once() {
    let mut hall = hall();
    hall.say(ANA, 1, "hello", Verdict::Review);
    hall.moderate(MO, 1, Action::Remove);
    hall.heard.clear();
    for _ in 0..50 {
        assert_eq!(hall.send(ANA, 1, "hello"), []);
    }
    assert_eq!(messages(&hall.listen(ANA))[49], ("removed", None));
    assert_eq!(hall.listen(MO), Vec::<Value>::new());
    assert_eq!(Hall::refused(&hall.send(ANA, 1, "other")), (Code::IdTaken, Some(id(1))));
    assert_eq!(Hall::refused(&hall.send(BO, 1, "hello")), (Code::IdTaken, Some(id(1))));
    hall.say(BO, 2, "next", Verdict::Allow);
    assert_eq!(hall.listen(BO)[0]["message"]["sequence"], 2);
}

#[test]
fn a_message_that_is_being_judged_is_judged_once_whatever_becomes_of_its_author() {
    let mut hall = hall();
    assert_eq!(hall.send(ANA, 1, "hello").len(), 1);
    hall.apply(Event::Leave { connection: ANA });
    hall.join(9, 1, Role::Member);
    hall.heard.clear();
    assert_eq!(hall.send(9, 1, "hello"), []);
    assert_eq!(Hall::refused(&hall.send(BO, 1, "hello")).0, Code::IdTaken);
    hall.apply(Event::Judged { id: id(1), judged: Ok(judgement(Verdict::Allow)) });
    assert_eq!(messages(&hall.listen(9)), [("shown", Some("hello"))]);

    assert_eq!(hall.send(9, 2, "later").len(), 1);
    let judged = Err(Refusal::new(Code::Overloaded, "busy"));
    hall.apply(Event::Judged { id: id(2), judged });
    let error = json!({"type": "error", "code": "overloaded", "detail": "busy", "id": id(2)});
    assert_eq!(hall.listen(9), [error]);
    // It was not kept, so it may come again.
    hall.say(9, 2, "later", Verdict::Allow);
    assert_eq!(hall.listen(9)[0]["message"]["sequence"], 2);
}

#[test]
fn ten_messages_in_ten_seconds_whatever_the_connection() {
    let mut hall = hall();
    hall.join(9, 1, Role::Member);
    for number in 1..=10 {
        hall.say(if number % 2 == 0 { ANA } else { 9 }, number, "a", Verdict::Allow);
        hall.later(Duration::from_millis(500));
    }
    let refused = hall.send(9, 11, "a");
    assert_eq!(Hall::refused(&refused), (Code::TooFast, Some(id(11))));
    let [Output::Refuse(refusal)] = &refused[..] else { panic!("{refused:?}") };
    assert!(refusal.detail.contains("more than 10 messages in 10 s; try again in 5.0 s"), "{}", refusal.detail);
    hall.say(BO, 12, "a", Verdict::Allow);
    hall.later(Duration::from_secs(5));
    hall.say(9, 11, "a", Verdict::Allow);
    assert_eq!(Hall::refused(&hall.send(9, 13, "a")).0, Code::TooFast);
}

#[test]
fn a_room_and_a_client_have_limits() {
    let mut hall = Hall::new();
    for client in 1..=PEOPLE_MAX as u64 {
        hall.join(client, client, Role::Member);
    }
    assert_eq!(Hall::refused(&hall.enter(100, Hall::seat(100, Role::Member))).0, Code::RoomFull);
    for connection in 101..100 + CONNECTIONS_OF_CLIENT_MAX as u64 {
        hall.join(connection, 1, Role::Member);
    }
    assert_eq!(Hall::refused(&hall.enter(200, Hall::seat(1, Role::Member))).0, Code::RoomFull);
    hall.apply(Event::Leave { connection: 2 });
    hall.join(100, 100, Role::Member);
}

#[test]
fn a_client_belongs_to_the_key_that_it_came_with() {
    let mut hall = Hall::new();
    let with = |key: &str| Seat { key_name: Some(key.into()), ..Hall::seat(1, Role::Member) };
    assert_eq!(hall.enter(1, with("ana")), []);
    assert_eq!(hall.enter(2, with("ana")), []);
    assert_eq!(Hall::refused(&hall.enter(3, with("bo"))).0, Code::Unauthorised);
}

#[test]
fn people_are_told_who_comes_and_goes_each_once() {
    let mut hall = hall();
    hall.join(9, 1, Role::Member);
    assert_eq!(hall.listen(BO), Vec::<Value>::new());
    hall.apply(Event::Leave { connection: ANA });
    assert_eq!(hall.listen(BO), Vec::<Value>::new());
    hall.apply(Event::Leave { connection: 9 });
    let people = json!({"type": "people", "people": [
        {"client": id(2), "name": "P2", "role": "member"}, {"client": id(3), "name": "P3", "role": "moderator"}]});
    assert_eq!(hall.listen(BO), [people]);
    assert_eq!(hall.apply(Event::Leave { connection: 9 }), []);
}

#[test]
fn a_room_keeps_its_last_messages_and_tells_the_last_of_those() {
    let mut hall = Hall::new();
    hall.join(1, 1, Role::Member);
    for number in 1..=MESSAGES_MAX as u64 + 5 {
        hall.later(Duration::from_secs(1));
        hall.say(1, number, "a", Verdict::Allow);
    }
    assert_eq!((hall.room.messages.len(), hall.room.messages[0].sequence), (MESSAGES_MAX, 6));
    hall.join(2, 2, Role::Member);
    let joined = hall.listen(2).remove(0);
    let history = joined["history"].as_array().unwrap();
    assert_eq!((history.len(), &history[199]["sequence"]), (HISTORY_MAX, &json!(MESSAGES_MAX + 5)));
    while hall.room.forget_oldest() {}
    assert_eq!(hall.room.bytes(), 0);
    // Long ones: fewer of them.
    for number in 1..=MESSAGES_MAX as u64 {
        hall.later(Duration::from_secs(1));
        hall.say(1, number + 10_000, &"a".repeat(4_000), Verdict::Allow);
    }
    hall.join(3, 3, Role::Member);
    let joined = hall.listen(3).remove(0);
    let told = joined["history"].as_array().unwrap().len();
    assert!(told > 50 && joined.to_string().len() < HISTORY_BYTES_MAX, "{told}");
}

#[test]
fn a_room_is_empty_when_nobody_is_there_and_nothing_is_being_judged() {
    let mut hall = Hall::new();
    let start = hall.now.instant;
    assert_eq!(hall.room.empty_since(), Some(start));
    hall.join(1, 1, Role::Member);
    assert_eq!(hall.room.empty_since(), None);
    hall.send(1, 1, "a");
    hall.later(Duration::from_secs(5));
    hall.apply(Event::Leave { connection: 1 });
    assert_eq!(hall.room.empty_since(), None);
    hall.apply(Event::Judged { id: id(1), judged: Ok(judgement(Verdict::Allow)) });
    assert_eq!(hall.room.empty_since(), Some(start + Duration::from_secs(5)));
}
