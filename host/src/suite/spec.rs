//! What a suite says, and whether it makes sense.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Suites that come with the program, by name.
const BUILT_IN: [(&str, &str); 2] = [
    ("functional", include_str!("../../suites/functional.toml")),
    ("development", include_str!("../../suites/development.toml")),
];

/// A list of measurements.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What the suite is for, in a sentence or two.
    pub about: String,
    /// Thresholds to decide at, beside the release's own.
    #[serde(default)]
    pub thresholds: Vec<f32>,
    /// What the releases that it is for were trained on.
    pub trained: Option<Trained>,
    /// The measurements, in the order of the report.
    #[serde(rename = "measurement")]
    pub measurements: Vec<Measurement>,
}

/// Files that releases were trained on: rows of measurements that repeat a text of them are left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trained {
    /// CSV files in the data folder, each with a column `text`. Those that are not there are passed over.
    pub files: Vec<PathBuf>,
    /// Their texts of these buckets were not trained on.
    pub held_back: Split,
}

/// Rows of one table, and what is measured on them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Short name, for messages and JSON.
    pub name: String,
    /// What the rows are, in a line.
    pub title: String,
    /// CSV file in the data folder; gzip where it ends in .gz.
    pub file: Option<PathBuf>,
    /// A table that comes with the program.
    pub table: Option<Table>,
    /// Column of the text.
    #[serde(default = "text_column")]
    pub text: String,
    /// Column that names a row in examples; without it, its line does.
    pub id: Option<String>,
    /// Only rows whose cell in the column is one of the values.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<String>>,
    /// Only texts of some hash buckets.
    pub split: Option<Split>,
    /// What becomes of rows that say the same.
    #[serde(default)]
    pub repeats: Repeats,
    /// At most so many rows, chosen by the hash of their texts.
    pub rows_max: Option<usize>,
    /// Column of what rows have in common (a template): the bootstrap draws these instead of rows.
    pub cluster: Option<String>,
    /// The scores to measure, each with its truth.
    pub scores: Vec<Score>,
    /// Columns by whose values the share of right decisions is told.
    #[serde(default)]
    pub accuracy_by: Vec<String>,
    /// Column that names the score whose decision counts for a row; without it, each score is told apart.
    pub decided_by: Option<String>,
    /// Identity groups.
    pub groups: Option<Groups>,
    /// A probability of dialect, for false-positive rates.
    pub dialect: Option<Dialect>,
    /// Spelling tricks, for the recall that they leave.
    pub tricks: Option<Tricks>,
}

fn text_column() -> String {
    "text".into()
}

/// Tables that come with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Palisade's own cases, see [`super::cases`].
    Functional,
}

/// A hash split, see [`super::split`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Number of buckets.
    pub buckets: u64,
    /// The buckets to measure on.
    pub keep: Vec<u64>,
}

/// What becomes of rows whose texts differ in case, spaces or punctuation only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repeats {
    /// Each counts.
    #[default]
    Keep,
    /// The first counts.
    First,
    /// They count as one row, and their truth is the mean: for a row an annotator.
    Mean,
}

/// A score and where its truth stands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// The release's label.
    pub label: Option<String>,
    /// Or several: the score is the highest of them, and it is flagged where one reaches its own threshold.
    #[serde(default)]
    pub any: Vec<String>,
    /// Name in the report; without it, the label.
    pub name: Option<String>,
    /// Column of the truth: 1 or true, 0 or false, empty where unknown, unless one of the following says otherwise.
    pub column: String,
    /// Cells that mean yes.
    pub yes: Option<Vec<String>>,
    /// Cells that mean no; others are unknown.
    pub no: Option<Vec<String>>,
    /// Numbers from here on mean yes, numbers below no.
    pub at_least: Option<f64>,
    /// Tell how well the score is calibrated: for rows at their natural rate.
    #[serde(default)]
    pub calibration: bool,
}

impl Score {
    /// The name in the report.
    pub fn name(&self) -> &str {
        self.name.as_deref().or(self.label.as_deref()).unwrap_or_default()
    }

    /// The labels it is made of.
    pub fn labels(&self) -> impl Iterator<Item = &String> {
        self.label.iter().chain(&self.any)
    }
}

/// Identity groups: a column's values, or words in the text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// Column of the group; a row with an empty cell is of none.
    pub column: Option<String>,
    /// Cells that are no group.
    #[serde(default)]
    pub except: Vec<String>,
    /// Groups by words or phrases, in lower case: one of them makes the text one of the group.
    #[serde(default)]
    pub words: BTreeMap<String, Vec<String>>,
    /// The scores that are told by group, by name; without it, all.
    #[serde(default)]
    pub scores: Vec<String>,
    /// Groups with fewer rows are left out.
    #[serde(default)]
    pub rows_min: usize,
}

/// Dialect by a column's number.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// Column of the probability.
    pub column: String,
    /// From here on a text is of the dialect.
    pub at_least: f64,
    /// Name of the dialect.
    pub name: String,
    /// Name of the rest.
    pub other: String,
}

/// Spelling tricks by a column.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tricks {
    /// Column of the trick.
    pub column: String,
    /// Its value for the same texts as they were.
    pub plain: String,
}

impl Suite {
    /// A suite that comes with the program, or one in a file. Gives its name too.
    pub fn load(name_or_file: &str) -> Result<(String, Self)> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_file) {
            return Ok(((*name).to_owned(), Self::parse(text)?));
        }
        let names = BUILT_IN.map(|(name, _)| name).join(", ");
        let text = std::fs::read_to_string(name_or_file).with_context(|| {
            format!("{name_or_file}: neither a file that can be read nor a suite of this program ({names})")
        })?;
        let name = Path::new(name_or_file).file_stem().map_or(name_or_file.into(), |stem| stem.to_string_lossy());
        Ok((name.into_owned(), Self::parse(&text).with_context(|| name_or_file.to_owned())?))
    }

    fn parse(text: &str) -> Result<Self> {
        let suite: Self = toml::from_str(text)?;
        ensure!(!suite.measurements.is_empty(), "there is no [[measurement]]");
        let share = |threshold: &f32| (0.0..=1.0).contains(threshold);
        ensure!(suite.thresholds.iter().all(share), "thresholds: each must be within 0 and 1");
        if let Some(trained) = &suite.trained {
            trained.held_back.check().context("trained: held_back")?;
        }
        for (place, measurement) in suite.measurements.iter().enumerate() {
            measurement.check().with_context(|| format!("measurement {:?}", measurement.name))?;
            ensure!(
                suite.measurements.iter().take(place).all(|other| other.name != measurement.name),
                "two measurements are called {:?}: give one another name",
                measurement.name
            );
        }
        Ok(suite)
    }
}

impl Split {
    fn check(&self) -> Result<()> {
        let right = !self.keep.is_empty() && self.keep.iter().all(|&bucket| bucket < self.buckets);
        ensure!(right, "keep must name buckets from 0 to buckets - 1");
        Ok(())
    }

    /// Whether the text is of the buckets.
    pub fn keeps(&self, place: super::split::Place) -> bool {
        self.keep.contains(&place.bucket(self.buckets))
    }
}

impl Measurement {
    /// What the rows are read from, as a person would say it.
    pub fn source(&self) -> String {
        match &self.file {
            Some(file) => file.display().to_string(),
            None => "cases of this program".into(),
        }
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.file.is_some() != self.table.is_some(),
            "name either a file (file = \"….csv.gz\") or a table of the program (table = \"functional\")"
        );
        if let Some(split) = &self.split {
            split.check().context("split")?;
        }
        ensure!(self.rows_max != Some(0), "rows_max must be at least 1");
        ensure!(!self.scores.is_empty(), "scores is empty: name at least one score with its column");
        for (place, score) in self.scores.iter().enumerate() {
            score.check().with_context(|| format!("score {}", place + 1))?;
            ensure!(
                self.scores.iter().take(place).all(|other| other.name() != score.name()),
                "two scores are called {}: give one another name",
                score.name()
            );
        }
        if let Some(groups) = &self.groups {
            for name in &groups.scores {
                let names: Vec<&str> = self.scores.iter().map(Score::name).collect();
                ensure!(
                    names.contains(&name.as_str()),
                    "groups: {name:?} is none of the scores ({})",
                    names.join(", ")
                );
            }
            ensure!(
                groups.column.is_some() == groups.words.is_empty(),
                "groups: name either a column or words, such as words = {{ women = [\"woman\", \"women\"] }}"
            );
        }
        Ok(())
    }
}

impl Score {
    fn check(&self) -> Result<()> {
        match (&self.label, self.any.is_empty(), &self.name) {
            (Some(_), true, _) | (None, false, Some(_)) => {}
            (None, false, None) => bail!("a score of several labels needs a name, such as name = \"hateful\""),
            _ => {
                bail!("name either one label (label = \"TOXICITY\") or several (any = [\"HATE\", \"IDENTITY_ATTACK\"])")
            }
        }
        ensure!(self.yes.is_some() == self.no.is_some(), "{}: yes and no go together", self.name());
        ensure!(self.yes.is_none() || self.at_least.is_none(), "{}: at_least does not go with yes and no", self.name());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "about = 'a'\n[[measurement]]\nname = 'm'\ntitle = 't'\nfile = 'f.csv'\nscores = [{ label = 'TOXICITY', column = 'toxic' }]\n";

    fn refused(from: &str, to: &str, parts: &[&str]) {
        assert!(RIGHT.contains(from));
        let error = format!("{:#}", Suite::parse(&RIGHT.replace(from, to)).unwrap_err());
        for part in parts {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
    }

    #[test]
    fn the_suites_of_the_program_are_right() {
        for (name, _) in BUILT_IN {
            let (found, suite) = Suite::load(name).unwrap();
            assert_eq!(found, name);
            assert!(!suite.measurements.is_empty());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        Suite::parse(RIGHT).unwrap();
        refused("file =", "files =", &["unknown field `files`", "`file`"]);
        refused("column = 'toxic'", "colum = 'toxic'", &["unknown field `colum`"]);
        refused("file = 'f.csv'\n", "", &["measurement \"m\"", "name either a file"]);
        refused("label = 'TOXICITY'", "any = ['A', 'B']", &["score 1", "needs a name"]);
        refused("column = 'toxic'", "column = 'toxic', yes = ['x']", &["TOXICITY: yes and no go together"]);
        refused("file =", "split = { buckets = 10, keep = [10] }\nfile =", &["from 0 to buckets - 1"]);
        refused(
            "about = 'a'",
            "about = 'a'\ntrained = { files = [], held_back = { buckets = 1, keep = [] } }",
            &["trained: held_back", "from 0 to buckets - 1"],
        );
        refused("file =", "groups = {}\nfile =", &["either a column or words"]);
        refused("about = 'a'", "about = 'a'\nthresholds = [1.5]", &["within 0 and 1"]);
    }

    #[test]
    fn a_suite_that_is_not_there_is_refused_with_those_that_are() {
        let error = format!("{:#}", Suite::load("functionl").unwrap_err());
        assert!(error.contains("functionl") && error.contains("(functional, development)"), "{error}");
    }
}
