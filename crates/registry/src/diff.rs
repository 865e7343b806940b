//! Two versions side by side: files, labels and measurements.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::documents::RELEASE;
use crate::error::{Error, Result};
use crate::layout;
use crate::manifest::File;
use crate::names::Reference;
use crate::pull::check_file;
use crate::registry::{Registry, Whole};
use crate::store::AsyncPiece;

/// The file of measurements, where a release has one.
const METRICS: &str = "metrics.json";
/// Longest of them that is read.
const METRICS_BYTES_MAX: u64 = 16 << 20;

/// What differs between two versions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// The first, as `model@version`.
    pub before: String,
    /// The second.
    pub after: String,
    /// Files that are not the same, by name.
    pub files: Vec<Change<File>>,
    /// Labels that are not the same, by name.
    pub labels: Vec<Change<Thresholds>>,
    /// All numbers of both measurements, by their path in metrics.json (`suite/measurement/label/measure`), changed or not.
    pub metrics: Vec<Change<f64>>,
}

/// One thing in both versions; absent where one lacks it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change<T> {
    /// What it is.
    pub name: String,
    /// In the first.
    pub before: Option<T>,
    /// In the second.
    pub after: Option<T>,
}

/// A label's thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    /// At or above which a text counts as positive.
    pub threshold: f64,
    /// At or above which the release would trust a score without a person.
    pub block: Option<f64>,
}

impl Registry {
    /// What differs between two versions, of one model or of two.
    pub async fn diff(&self, before: &Reference, after: &Reference) -> Result<Diff> {
        let (before, after) = tokio::try_join!(self.fetch(before), self.fetch(after))?;
        let files = |whole: &Whole| {
            whole.manifest.files.iter().map(|file| (file.name.to_string(), file.clone())).collect::<BTreeMap<_, _>>()
        };
        let (labels_before, labels_after) = tokio::try_join!(self.labels(&before), self.labels(&after))?;
        let (metrics_before, metrics_after) = tokio::try_join!(self.metrics(&before), self.metrics(&after))?;
        let shown = |whole: &Whole| Reference::version(&whole.manifest.name, &whole.manifest.version).to_string();
        Ok(Diff {
            before: shown(&before),
            after: shown(&after),
            files: changes(files(&before), files(&after), |change| change.before != change.after),
            labels: changes(labels_before, labels_after, |change| change.before != change.after),
            metrics: changes(metrics_before, metrics_after, |_| true),
        })
    }

    async fn labels(&self, whole: &Whole) -> Result<BTreeMap<String, Thresholds>> {
        #[derive(Deserialize)]
        struct Release {
            #[serde(default)]
            labels: Vec<Label>,
        }
        #[derive(Deserialize)]
        struct Label {
            name: String,
            threshold: f64,
            block: Option<Block>,
        }
        #[derive(Deserialize)]
        struct Block {
            threshold: f64,
        }

        let Some(release): Option<Release> = self.json(whole, RELEASE).await? else { return Ok(BTreeMap::new()) };
        let thresholds = |label: Label| {
            let block = label.block.map(|block| block.threshold);
            (label.name, Thresholds { threshold: label.threshold, block })
        };
        Ok(release.labels.into_iter().map(thresholds).collect())
    }

    async fn metrics(&self, whole: &Whole) -> Result<BTreeMap<String, f64>> {
        let mut numbers = BTreeMap::new();
        if let Some(metrics) = self.json::<Value>(whole, METRICS).await? {
            flatten("", &metrics, &mut numbers);
        }
        Ok(numbers)
    }

    /// A JSON file of a version, checked against its digest; none where the version has no such file.
    async fn json<T: serde::de::DeserializeOwned>(&self, whole: &Whole, name: &str) -> Result<Option<T>> {
        let Some(file) = whole.manifest.file(name) else { return Ok(None) };
        let object = layout::file(&whole.manifest.name, &whole.manifest.version, name);
        let address = self.store.address(&object);
        let corrupt = |problem: String| Error::Corrupt {
            object: address.clone(),
            problem,
            remedy: "compare the versions' files by hand, after `palisade model pull`".to_owned(),
        };
        if file.bytes > METRICS_BYTES_MAX {
            return Err(corrupt(format!("it is {} bytes long, and {METRICS_BYTES_MAX} are read", file.bytes)));
        }
        let mut bytes = Vec::new();
        let found = self.store.stream(&object, file.bytes, &mut bytes).await?;
        check_file(&address, file, found)?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| corrupt(format!("it is not the JSON that it should be: {e}")))
    }
}

impl AsyncPiece for &mut Vec<u8> {
    async fn take(&mut self, piece: Bytes) -> Result<()> {
        self.extend_from_slice(&piece);
        Ok(())
    }
}

/// Both sides by name.
fn changes<T>(
    before: BTreeMap<String, T>,
    mut after: BTreeMap<String, T>,
    is_shown: impl Fn(&Change<T>) -> bool,
) -> Vec<Change<T>> {
    let mut all: Vec<_> = before
        .into_iter()
        .map(|(name, before)| Change { after: after.remove(&name), name, before: Some(before) })
        .collect();
    all.extend(after.into_iter().map(|(name, after)| Change { name, before: None, after: Some(after) }));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.retain(is_shown);
    all
}

/// The numbers of a report, by path: members by their keys, elements by their names, and a value with an interval as its value.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, f64>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") };
    match value {
        Value::Number(number) => into.extend(number.as_f64().map(|number| (path.to_owned(), number))),
        Value::Object(members) => match members.get("value").and_then(Value::as_f64) {
            Some(number) => drop(into.insert(path.to_owned(), number)),
            None => members.iter().for_each(|(key, member)| flatten(&below(key), member, into)),
        },
        Value::Array(elements) => {
            for element in elements {
                // Without a name, a place in the list would compare what does not belong together.
                if let Some(name) = element.get("name").and_then(Value::as_str) {
                    flatten(&below(name), element, into);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_named_by_what_they_measure() {
        let report = serde_json::json!({"development": {
            "texts": 3, "about": "x", "measurements": [
                {"name": "wikipedia", "rows": 2, "scores": [
                    {"name": "TOXICITY", "roc_auc": {"value": 0.9, "interval": [0.8, 1.0]}},
                ]},
                {"rows": 7},
            ],
        }});
        let mut numbers = BTreeMap::new();
        flatten("", &report, &mut numbers);
        let expected = [
            ("development/measurements/wikipedia/rows", 2.0),
            ("development/measurements/wikipedia/scores/TOXICITY/roc_auc", 0.9),
            ("development/texts", 3.0),
        ];
        assert_eq!(numbers, expected.map(|(name, number)| (name.to_owned(), number)).into());
    }
}
