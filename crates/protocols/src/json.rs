//! JSON as clients send it: where it is broken, and lenient access to what is there.

use serde_json::{Map, Value};

/// Where and why a body is no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line} column {column}")]
pub struct Malformed {
    /// What the parser met.
    pub problem: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        let message = error.to_string();
        let problem = message.rsplit_once(" at line ").map_or(message.as_str(), |(problem, _)| problem).to_owned();
        Self { problem, line: error.line(), column: error.column() }
    }
}

/// Most values in one body. A value in memory takes many times its bytes in the body (`[],` is three).
pub const VALUES_MAX: usize = 20_000;

/// Parses a body, with or without a byte order mark.
pub fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let body = without_mark(body);
    if count_values(body) > VALUES_MAX {
        return Err(serde::de::Error::custom(format!("more than {VALUES_MAX} values")));
    }
    serde_json::from_slice(body)
}

/// An upper bound of the values in a body: each but the first follows a comma, a colon or an opening bracket.
fn count_values(body: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values
}

/// The body without the byte order mark that some clients put before it.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
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
        assert_eq!(count_values(br#"{"a": "[,{\",", "b": [1, 2]}"#), 6);
        let many = format!("[{}1]", "1,".repeat(VALUES_MAX));
        let error = parse::<Value>(many.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("more than 20000 values"), "{error}");
        assert!(parse::<Value>(format!("[\"{}\"]", ",".repeat(100_000)).as_bytes()).is_ok());
    }
}
