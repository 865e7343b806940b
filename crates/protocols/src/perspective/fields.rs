//! Partial responses: the standard parameter `fields`, as `attributeScores/*/summaryScore(value),languages`.
//!
//! Grammar (Google's "Partial response"): a list is paths separated by commas; a path is names separated by slashes, the last of
//! which may have a list in parentheses; `*` stands for every name; a selection goes through arrays.

use serde_json::{Map, Value};

/// Deepest nesting of a mask; the answers are six levels deep.
const DEPTH_MAX: usize = 16;

/// Parts of the tree that are wanted; an empty tree wants all below.
#[derive(Debug, Default)]
pub(super) struct Mask(Vec<(String, Mask)>);

impl Mask {
    pub(super) fn parse(mask: &str) -> Result<Self, String> {
        let mut rest = mask;
        let parsed = list(&mut rest, 0)?;
        if rest.is_empty() { Ok(parsed) } else { Err(unexpected(rest)) }
    }

    /// The part of a value that the mask selects.
    pub(super) fn select(&self, value: &Value) -> Value {
        apply(value, self)
    }

    /// Adds a path. What is wanted whole stays whole.
    fn insert(&mut self, name: String, below: Mask) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            None => self.0.push((name, below)),
            Some((_, known)) if known.0.is_empty() => {}
            Some((_, known)) if below.0.is_empty() => *known = below,
            Some((_, known)) => below.0.into_iter().for_each(|(name, below)| known.insert(name, below)),
        }
    }
}

fn list(rest: &mut &str, depth: usize) -> Result<Mask, String> {
    if depth > DEPTH_MAX {
        return Err("nested too deeply".into());
    }
    let mut mask = Mask::default();
    loop {
        let (name, below) = path(rest, depth)?;
        mask.insert(name, below);
        let Some(behind) = rest.strip_prefix(',') else { return Ok(mask) };
        *rest = behind;
    }
}

fn path(rest: &mut &str, depth: usize) -> Result<(String, Mask), String> {
    if depth > DEPTH_MAX {
        return Err("nested too deeply".into());
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '*')).unwrap_or(rest.len());
    let (name, behind) = rest.split_at(end);
    if name.is_empty() {
        return Err(unexpected(rest));
    }
    *rest = behind;
    let below = if let Some(behind) = rest.strip_prefix('/') {
        *rest = behind;
        Mask(vec![path(rest, depth + 1)?])
    } else if let Some(behind) = rest.strip_prefix('(') {
        *rest = behind;
        let below = list(rest, depth + 1)?;
        *rest = rest.strip_prefix(')').ok_or("a closing parenthesis is missing")?;
        below
    } else {
        Mask::default()
    };
    Ok((name.to_owned(), below))
}

fn unexpected(rest: &str) -> String {
    rest.chars().next().map_or("it ends too early".into(), |c| format!("unexpected character {c:?}"))
}

fn apply(value: &Value, mask: &Mask) -> Value {
    if mask.0.is_empty() {
        return value.clone();
    }
    match value {
        Value::Array(items) => items.iter().map(|item| apply(item, mask)).collect(),
        Value::Object(fields) => {
            let mut selected = Map::new();
            for (name, field) in fields {
                let by_name = mask.0.iter().find(|(wanted, _)| wanted == name);
                if let Some((_, below)) = by_name.or_else(|| mask.0.iter().find(|(wanted, _)| wanted == "*")) {
                    selected.insert(name.clone(), apply(field, below));
                }
            }
            Value::Object(selected)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn select(value: &Value, mask: &str) -> Result<Value, String> {
        Ok(Mask::parse(mask)?.select(value))
    }

    #[test]
    fn masks_select_through_names_stars_and_arrays() {
        let value = json!({"a": {"X": {"s": {"v": 1, "t": 2}, "u": [{"v": 3, "t": 4}]}}, "l": ["en"]});
        assert_eq!(select(&value, "l").unwrap(), json!({"l": ["en"]}));
        assert_eq!(select(&value, "a/X/s(v)").unwrap(), json!({"a": {"X": {"s": {"v": 1}}}}));
        assert_eq!(select(&value, "a(*(u/t)),l").unwrap(), json!({"a": {"X": {"u": [{"t": 4}]}}, "l": ["en"]}));
        assert_eq!(select(&value, "*").unwrap(), value);
        assert_eq!(
            select(&value, "a/X/s/v,a/X/u/t,l").unwrap(),
            json!({"a": {"X": {"s": {"v": 1}, "u": [{"t": 4}]}}, "l": ["en"]})
        );
        assert_eq!(select(&value, "a(X(s(v))),a/X").unwrap(), json!({"a": value["a"]}));
        assert_eq!(select(&value, "none").unwrap(), json!({}));
    }

    #[test]
    fn broken_masks_are_refused() {
        for mask in ["a(", "a)", ",", "a//b", "a b", &"a/".repeat(100), &"a(".repeat(100_000)] {
            select(&json!({}), mask).expect_err(mask);
        }
    }
}
