//! Frames from a page as values, or why they are none.

use palisade_protocols::backend::Release;
use palisade_protocols::json;
use palisade_protocols::policy::{Fired, Verdict};
use serde_json::{Map, Value};

use super::message::{Action, Code, FromPage, Judgement, NewMessage, Person, Refusal, Role};
use super::{JUDGEMENT_BYTES_MAX, LABEL_CHARS_MAX, LABELS_MAX, NAME_CHARS_MAX, TEXT_BYTES_MAX, bytes};

/// Why a frame is not understood.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) enum Unread {
    /// It is no JSON object: the other side speaks something else.
    NoObject,
    Refused(Refusal),
}

/// Reads a frame. Members that are not named in the protocol are passed over.
pub(super) fn read(frame: &[u8]) -> Result<FromPage, Unread> {
    let Ok(Value::Object(object)) = json::parse::<Value>(frame) else { return Err(Unread::NoObject) };
    let about = |refusal: Refusal| match identifier(&object, "id") {
        Ok(id) => Unread::Refused(refusal.of(&id)),
        Err(_) => Unread::Refused(refusal),
    };
    let read = match string(&object, "type") {
        Ok("join") => join(&object),
        Ok("message") => message(&object),
        Ok("moderate") => moderate(&object),
        Ok("leave") => Ok(FromPage::Leave),
        Ok(_) => Err(invalid("type", "join, message, moderate or leave")),
        Err(refusal) => Err(refusal),
    };
    read.map_err(about)
}

fn join(object: &Map<String, Value>) -> Result<FromPage, Refusal> {
    let name = string(object, "name")?.trim();
    if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(invalid("name", &format!("1 to {NAME_CHARS_MAX} characters without control characters")));
    }
    let role = match string(object, "role")? {
        "member" => Role::Member,
        "moderator" => Role::Moderator,
        _ => return Err(invalid("role", "member or moderator")),
    };
    let key = match object.get("key") {
        None | Some(Value::Null) => None,
        Some(_) => Some(string(object, "key")?.to_owned()).filter(|key| !key.is_empty()),
    };
    let person = Person { client: identifier(object, "client")?, name: name.to_owned(), role };
    Ok(FromPage::Join { person, key })
}

fn message(object: &Map<String, Value>) -> Result<FromPage, Refusal> {
    let id = identifier(object, "id")?;
    let text = string(object, "text")?;
    if text.len() > TEXT_BYTES_MAX {
        let detail = format!("text has {} bytes, and at most {TEXT_BYTES_MAX} are allowed", text.len());
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    if text.trim().is_empty() {
        return Err(invalid("text", "a text that is not white space alone"));
    }
    let Some(Value::Bool(nudged)) = object.get("nudged") else { return Err(invalid("nudged", "true or false")) };
    let browser = match object.get("browser") {
        None | Some(Value::Null) => None,
        Some(Value::Object(browser)) => Some(judgement(browser)?),
        Some(_) => return Err(invalid("browser", "a judgement or null")),
    };
    Ok(FromPage::Message(NewMessage { id, text: text.to_owned(), nudged: *nudged, browser }))
}

fn moderate(object: &Map<String, Value>) -> Result<FromPage, Refusal> {
    let action = match string(object, "action")? {
        "approve" => Action::Approve,
        "remove" => Action::Remove,
        _ => return Err(invalid("action", "approve or remove")),
    };
    Ok(FromPage::Moderate { id: identifier(object, "id")?, action })
}

/// A browser's judgement, which moderators are shown and nobody believes; so nothing is checked but that it is one, and small.
fn judgement(object: &Map<String, Value>) -> Result<Judgement, Refusal> {
    let wrong = |member: &str, wanted: &str| invalid(&format!("browser.{member}"), wanted);
    let fired = object.get("fired").and_then(Value::as_array).filter(|fired| fired.len() <= LABELS_MAX);
    let fired = fired.and_then(|fired| fired.iter().map(threshold_reached).collect::<Option<Vec<_>>>());
    let scores = object.get("scores").and_then(Value::as_object).filter(|scores| {
        scores.len() <= LABELS_MAX
            && scores.iter().all(|(label, score)| is_label(label) && probability(score).is_some())
    });
    let release = object.get("release").and_then(Value::as_object);
    let part = |name: &str| {
        let part = release.and_then(|release| release.get(name)?.as_str()).filter(|part| is_label(part));
        part.map(str::to_owned).ok_or_else(|| wrong(&format!("release.{name}"), "a short string"))
    };
    let judgement = Judgement {
        verdict: verdict(object).ok_or_else(|| wrong("verdict", "allow, review or block"))?,
        fired: fired.ok_or_else(|| wrong("fired", &format!("at most {LABELS_MAX} thresholds reached")))?,
        reasons: Vec::new(),
        scores: scores.cloned().ok_or_else(|| wrong("scores", &format!("at most {LABELS_MAX} probabilities")))?,
        release: Release { name: part("name")?, version: part("version")?, digest: part("digest")? },
    };
    if bytes(&judgement) > JUDGEMENT_BYTES_MAX {
        return Err(invalid("browser", &format!("a judgement of at most {JUDGEMENT_BYTES_MAX} bytes")));
    }
    Ok(judgement)
}

fn threshold_reached(value: &Value) -> Option<Fired> {
    let object = value.as_object()?;
    Some(Fired {
        label: object.get("label")?.as_str().filter(|label| is_label(label))?.to_owned(),
        score: probability(object.get("score")?)?,
        threshold: probability(object.get("threshold")?)?,
        verdict: verdict(object)?,
    })
}

fn verdict(object: &Map<String, Value>) -> Option<Verdict> {
    match object.get("verdict")?.as_str()? {
        "allow" => Some(Verdict::Allow),
        "review" => Some(Verdict::Review),
        "block" => Some(Verdict::Block),
        _ => None,
    }
}

fn probability(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| (0.0..=1.0).contains(number))
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= LABEL_CHARS_MAX
}

fn string<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    object.get(name).and_then(Value::as_str).ok_or_else(|| invalid(name, "a string"))
}

/// A UUID in lower case.
fn identifier(object: &Map<String, Value>, name: &str) -> Result<String, Refusal> {
    let is_right = |(place, byte): (usize, u8)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    let given = string(object, name)?;
    if given.len() != 36 || !given.bytes().enumerate().all(is_right) {
        return Err(invalid(name, "a UUID in lower case"));
    }
    Ok(given.to_owned())
}

fn invalid(member: &str, wanted: &str) -> Refusal {
    Refusal::new(Code::Invalid, format!("{member} must be {wanted}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn refused(frame: &Value) -> Refusal {
        match read(frame.to_string().as_bytes()) {
            Err(Unread::Refused(refusal)) => refusal,
            other => panic!("{frame}: {other:?}"),
        }
    }

    #[test]
    fn a_frame_is_a_json_object() {
        for frame in ["", "null", "[1]", "\"join\"", "{", "{}{}", "\u{feff}\u{feff}{}"] {
            assert_eq!(read(frame.as_bytes()), Err(Unread::NoObject), "{frame}");
        }
        assert_eq!(read(format!("[{}1]", "[],".repeat(20_000)).as_bytes()), Err(Unread::NoObject));
    }

    #[test]
    fn members_that_nobody_knows_are_passed_over() {
        let frame = json!({"type": "join", "client": ID, "name": " Ana ", "role": "member", "mood": ["good"]});
        let person = Person { client: ID.into(), name: "Ana".into(), role: Role::Member };
        assert_eq!(read(frame.to_string().as_bytes()), Ok(FromPage::Join { person, key: None }));
    }

    #[test]
    fn a_refusal_names_the_member_and_the_message() {
        let good = json!({"type": "message", "id": ID, "text": "a", "nudged": false, "browser": null});
        assert!(read(good.to_string().as_bytes()).is_ok());
        let with = |member: &str, value: Value| {
            let mut frame = good.clone();
            frame[member] = value;
            refused(&frame)
        };
        for (member, value, code, words) in [
            ("type", json!("shout"), Code::Invalid, "type must be join, message, moderate or leave"),
            ("type", json!(1), Code::Invalid, "type must be a string"),
            ("text", json!(["a"]), Code::Invalid, "text must be a string"),
            ("text", json!(" \n\u{a0}"), Code::Invalid, "white space alone"),
            ("text", json!("ä".repeat(2001)), Code::TooLarge, "text has 4002 bytes, and at most 4000"),
            ("nudged", json!("no"), Code::Invalid, "nudged must be true or false"),
            ("browser", json!(true), Code::Invalid, "browser must be a judgement or null"),
            ("browser", json!({"verdict": "maybe"}), Code::Invalid, "browser."),
        ] {
            let refusal = with(member, value);
            assert_eq!((refusal.code, refusal.id.as_deref()), (code, Some(ID)), "{member}");
            assert!(refusal.detail.contains(words), "{}", refusal.detail);
        }
        let refusal = with("id", json!(ID.to_uppercase()));
        assert_eq!((refusal.id, refusal.detail.as_str()), (None, "id must be a UUID in lower case"));
    }

    #[test]
    fn a_browsers_judgement_is_one_and_small() {
        let release = json!({"name": "english-toxicity", "version": "0.3.0", "digest": "00"});
        let fired = json!([{"label": "INSULT", "score": 0.9, "threshold": 0.5, "verdict": "review"}]);
        let good = json!({"verdict": "review", "fired": fired, "scores": {"INSULT": 0.9}, "release": release});
        let judge = |judgement: &Value| {
            read(
                json!({"type": "message", "id": ID, "text": "a", "nudged": true, "browser": judgement})
                    .to_string()
                    .as_bytes(),
            )
        };
        let Ok(FromPage::Message(message)) = judge(&good) else { panic!("{good}") };
        assert_eq!(serde_json::to_value(message.browser).unwrap(), good);
        let many: Map<String, Value> = (0..65).map(|label| (format!("L{label}"), json!(0.5))).collect();
        for (member, value) in [
            ("scores", Value::Object(many)),
            ("scores", json!({"INSULT": 1.5})),
            ("scores", json!({"x".repeat(65): 0.5})),
            ("fired", json!([{"label": "INSULT"}])),
            ("release", json!({"name": "x".repeat(65), "version": "1", "digest": "00"})),
            ("verdict", json!(null)),
        ] {
            let mut wrong = good.clone();
            wrong[member] = value;
            let Err(Unread::Refused(refusal)) = judge(&wrong) else { panic!("{wrong}") };
            assert!(refusal.detail.starts_with(&format!("browser.{member}")), "{}", refusal.detail);
        }
        let long: Map<String, Value> = (0..64).map(|label| (format!("{label:064}"), json!(0.5))).collect();
        let mut wrong = good.clone();
        wrong["scores"] = Value::Object(long);
        let Err(Unread::Refused(refusal)) = judge(&wrong) else { panic!("{wrong}") };
        assert_eq!(refusal.detail, "browser must be a judgement of at most 4096 bytes");
    }
}
