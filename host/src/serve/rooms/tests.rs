//! Rooms with their queues, without sockets.

use palisade_protocols::backend::Release;
use serde_json::Map;

use super::message::{Judgement, NewMessage, Person, Role, Standard};
use super::*;

fn rooms(rooms_max: usize) -> Arc<Rooms> {
    let release = crate::bindings::Release { name: "test".into(), version: "1.0.0".into(), digest: "00".into() };
    let limits = crate::bindings::Limits {
        texts_max: 64,
        batch_bytes_max: 1 << 22,
        text_bytes_max: 20_480,
        tokens_max: 512,
        spans_max: 32,
        words_max: 32,
    };
    let description = crate::bindings::Description {
        release,
        engine: "none".into(),
        labels: Vec::new(),
        languages: Vec::new(),
        limits,
    };
    Arc::new(Rooms::new(rooms_max, Arc::new(Metrics::new(&description))))
}

fn release() -> Release {
    Release { name: "test".into(), version: "1.0.0".into(), digest: "00".into() }
}

fn enter(rooms: &Arc<Rooms>, room: &str, client: &str) -> Result<(Joined, mpsc::Receiver<Utf8Bytes>), Refusal> {
    let person = Person { client: client.into(), name: client.into(), role: Role::Member };
    let standard = Standard { release: release(), policy: Vec::new() };
    rooms.join(room, Seat { person, key_name: None }, standard)
}

fn say(joined: &Joined, id: &str, text: &str) {
    let message = NewMessage { id: id.into(), text: text.into(), nudged: false, browser: None };
    let judged = Judgement {
        verdict: Verdict::Allow,
        fired: Vec::new(),
        reasons: Vec::new(),
        scores: Map::new(),
        release: release(),
    };
    joined.apply(Event::Message { connection: joined.connection, message });
    joined.apply(Event::Judged { id: id.into(), judged: Ok(judged) });
}

#[test]
fn a_queue_that_is_full_costs_its_owner_the_room_and_nobody_else() {
    let rooms = rooms(1);
    let (ana, mut to_ana) = enter(&rooms, "general", "ana").unwrap();
    let (_slow, mut to_slow) = enter(&rooms, "general", "slow").unwrap();
    let mut last = String::new();
    say(&ana, "a", "hello");
    while !to_slow.is_closed() {
        // The answer to a message that is known goes to its sender alone; coming and going goes to all.
        drop(enter(&rooms, "general", "visitor").unwrap());
        while let Ok(frame) = to_ana.try_recv() {
            last = frame.to_string();
        }
    }
    assert!(last.contains("\"people\"") && !last.contains("slow"), "{last}");
    let mut waiting = 0;
    while to_slow.try_recv().is_ok() {
        waiting += 1;
    }
    assert_eq!(waiting, OUTGOING_MAX);
    assert_eq!(rooms.metrics.room_people.get(), 1);
}

#[test]
fn there_are_so_many_rooms_and_an_empty_one_makes_place_after_an_hour() {
    let rooms = rooms(2);
    let ana = enter(&rooms, "a", "ana").unwrap();
    let bo = enter(&rooms, "b", "bo").unwrap();
    let refusal = enter(&rooms, "c", "ana").err().unwrap();
    assert_eq!((refusal.code, refusal.detail.as_str()), (Code::RoomFull, "there are rooms-max = 2 rooms already"));
    say(&ana.0, "1", "hello");
    drop(bo);
    let hour = Duration::from_secs(EMPTY_S_MAX);
    rooms.forget_empty(&mut rooms.places(), Instant::now() + hour / 2);
    assert_eq!(rooms.metrics.rooms.get(), 2);
    rooms.forget_empty(&mut rooms.places(), Instant::now() + hour);
    assert_eq!(rooms.metrics.rooms.get(), 1);
    assert!(rooms.bytes.load(Ordering::Relaxed) > 0);
    drop(ana);
    rooms.forget_empty(&mut rooms.places(), Instant::now() + hour);
    assert_eq!((rooms.metrics.rooms.get(), rooms.metrics.room_people.get()), (0, 0));
    assert_eq!(rooms.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn an_empty_room_without_messages_makes_place_at_once() {
    let rooms = rooms(2);
    let (ana, _to_ana) = enter(&rooms, "a", "ana").unwrap();
    say(&ana, "1", "hello");
    drop(ana);
    drop(enter(&rooms, "b", "bo").unwrap());
    for name in ["c", "d", "e"] {
        drop(enter(&rooms, name, "bo").unwrap());
    }
    assert!(rooms.places().contains_key("a") && rooms.places().contains_key("e"));
    let bo = enter(&rooms, "e", "bo").unwrap();
    // What was said in the other is kept for its hour.
    assert_eq!(enter(&rooms, "f", "cy").err().unwrap().code, Code::RoomFull);
    assert!(rooms.places().contains_key("a") && rooms.bytes.load(Ordering::Relaxed) > 0);
    assert_eq!(rooms.metrics.rooms.get(), 2);
    drop(bo);
}

#[test]
fn all_rooms_together_keep_so_much() {
    // With so many rooms the share of each is a byte; with two it is half of all, and this room has less.
    for (rooms_max, kept) in [(ROOMS_BYTES_MAX, 1), (2, 2)] {
        let rooms = rooms(rooms_max);
        let (ana, _to_ana) = enter(&rooms, "a", "ana").unwrap();
        say(&ana, "1", "first");
        let own = rooms.bytes.load(Ordering::Relaxed);
        rooms.bytes.fetch_add(ROOMS_BYTES_MAX - own, Ordering::Relaxed); // the other rooms
        say(&ana, "2", "other");
        let mut place = ana.place.lock();
        assert_eq!(rooms.bytes.load(Ordering::Relaxed), ROOMS_BYTES_MAX + own * (kept - 1));
        assert_eq!(place.room.bytes(), own * kept);
        assert_eq!(std::iter::repeat_with(|| place.room.forget_oldest()).take_while(|is| *is).count(), kept);
    }
}
