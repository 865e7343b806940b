//! JSON as clients send it: where it is broken, and lenient access to what is there.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Where and why a body is not what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line} column {column}")]
pub struct Malformed {
    /// What the parser met.
    pub problem: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// Whether it is JSON, but of another shape than wanted.
    pub is_data: bool,
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        let message = error.to_string();
        let problem = message.rsplit_once(" at line ").map_or(message.as_str(), |(problem, _)| problem).to_owned();
        Self { problem, line: error.line(), column: error.column(), is_data: error.is_data() }
    }
}

/// Line and column, from 1, of an offset into a text; columns count characters.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// Most values in one body. A value in memory takes many times its bytes in the body (`[],` is three).
pub const VALUES_MAX: usize = 20_000;

/// Parses a body, with or without a byte order mark.
///
/// Half a surrogate pair (`"\ud83d"`, as JavaScript makes it of a text that is cut between the two) is read as U+FFFD: refusing
/// it would let such a text pass where the client lets through what cannot be scored.
pub fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    if let Some(offset) = end_of_values(body) {
        let before = body.get(..offset).unwrap_or(body);
        let line = before.split(|byte| *byte == b'\n').count();
        let column = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default().len() + 1;
        return Err(Malformed { problem: format!("more than {VALUES_MAX} values"), line, column, is_data: false });
    }
    Ok(serde_json::from_slice(&whole_surrogates(body))?)
}

/// Where a body has had [`VALUES_MAX`] values and goes on. Each value but the first follows a comma, a colon or an opening bracket.
fn end_of_values(body: &[u8]) -> Option<usize> {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for (offset, byte) in body.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
        if values > VALUES_MAX {
            return Some(offset);
        }
    }
    None
}

/// The body with each escaped half of a surrogate pair replaced by `\ufffd`, which has the same length.
fn whole_surrogates(body: &[u8]) -> Cow<'_, [u8]> {
    let escape = |at: usize| -> Option<u16> {
        let digits = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut mended = Cow::Borrowed(body);
    let mut at = 0;
    while let Some(found) = body.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        let Some(unit) = escape(at) else {
            at += 2; // another escape, of which the second character may be a backslash
            continue;
        };
        let follows = escape(at + 6).is_some_and(|next| (0xDC00..0xE000).contains(&next));
        match unit {
            0xD800..0xDC00 if follows => at += 6,
            0xD800..0xE000 => {
                if let Some(digits) = mended.to_mut().get_mut(at + 2..at + 6) {
                    digits.copy_from_slice(b"fffd");
                }
            }
            _ => {}
        }
        at += 6;
    }
    mended
}

/// The number that a score's shortest decimal notation says. Answers and thresholds are compared and written in it: 0.7 of the
/// classifier's 32 bits is 0.7, not 0.699999988079071.
pub fn decimal(score: f32) -> f64 {
    score.to_string().parse().unwrap_or_default()
}

/// A field that holds something of another type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Path of the field, for example `comment.text`.
    pub field: String,
    /// Google's name of the type wanted, for example `TYPE_STRING`.
    pub wanted: &'static str,
    /// What is there: a short value itself, or the kind of a longer one.
    pub given: String,
}

/// An object and where it stands. Fields are found in camel case and in snake case, as in Google's JSON mapping of protocol
/// buffers; null counts as absent.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    map: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Object<'a> {
    /// The object in a value.
    pub fn of(value: &'a Value, path: &'a str) -> Result<Self, Mismatch> {
        value.as_object().map(|map| Self { map, path }).ok_or_else(|| mismatch(path, "object", value))
    }

    /// A field that is there and not null.
    pub fn get(self, name: &str) -> Option<&'a Value> {
        let value = self.map.get(name).or_else(|| self.map.get(&snake(name)))?;
        (!value.is_null()).then_some(value)
    }

    fn path_of(self, name: &str) -> String {
        if self.path.is_empty() { snake(name) } else { format!("{}.{}", self.path, snake(name)) }
    }

    fn wrong(self, name: &str, wanted: &'static str, value: &Value) -> Mismatch {
        mismatch(&self.path_of(name), wanted, value)
    }

    /// A string.
    pub fn string(self, name: &str) -> Result<Option<&'a str>, Mismatch> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, "TYPE_STRING", value))
    }

    /// A string, or a number as one: clients send identifiers both ways.
    pub fn identifier(self, name: &str) -> Result<Option<String>, Mismatch> {
        match self.get(name) {
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            _ => Ok(self.string(name)?.map(str::to_owned)),
        }
    }

    /// A boolean, or a string that spells one.
    pub fn boolean(self, name: &str) -> Result<bool, Mismatch> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(Value::String(value)) if value == "true" => Ok(true),
            Some(Value::String(value)) if value == "false" => Ok(false),
            Some(value) => Err(self.wrong(name, "TYPE_BOOL", value)),
        }
    }

    /// A number, or a string that spells one.
    pub fn number(self, name: &str) -> Result<Option<f64>, Mismatch> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number: &f64| number.is_finite());
        number.map(Some).ok_or_else(|| self.wrong(name, "TYPE_FLOAT", value))
    }

    /// A list of strings, or one bare string.
    pub fn strings(self, name: &str) -> Result<Vec<&'a str>, Mismatch> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(many)) => {
                many.iter().map(|value| value.as_str().ok_or_else(|| self.wrong(name, "TYPE_STRING", value))).collect()
            }
            Some(value) => Err(self.wrong(name, "TYPE_STRING", value)),
        }
    }

    /// Names and values, in the order sent.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.map.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// What is wrong with a value at a path.
pub fn mismatch(field: &str, wanted: &'static str, value: &Value) -> Mismatch {
    let given = match value {
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Null => "null".into(),
        Value::String(_) => "a string".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    };
    Mismatch { field: field.to_owned(), wanted, given }
}

/// `spanAnnotations` as `span_annotations`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        let many = format!("[{}1]", "1,".repeat(VALUES_MAX));
        let error = parse::<Value>(many.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "more than 20000 values at line 1 column 39999");
        assert!(parse::<Value>(format!("[\"{}\", \"\\\",[\"]", ",".repeat(100_000)).as_bytes()).is_ok());
    }

    #[test]
    fn half_a_surrogate_pair_is_a_replacement_character() {
        for (body, text) in [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\uDE00b""#, "\u{fffd}b"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\\ud83d""#, "\\ud83d"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
        ] {
            assert_eq!(parse::<String>(body.as_bytes()).unwrap(), text, "{body}");
        }
        parse::<String>(br#""\ud8"#).unwrap_err();
    }
}
