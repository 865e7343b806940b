//! A measurement's rows: read, filtered, split, and with their truth.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use csv::StringRecord;

use super::cases;
use super::spec::{Measurement, Repeats, Score, Trained};
use super::split::{Place, normalised};
use crate::labelled::{Labelled, column, held, truth};

/// One row that is measured.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name in examples.
    pub id: String,
    /// Number of its text in [`Texts`].
    pub text: usize,
    /// Number of its cluster.
    pub cluster: u32,
    /// For each score whether it should be flagged, where that is known.
    pub truth: Vec<Option<bool>>,
    /// The score that decides, where the suite has a column that says so.
    pub decided_by: Option<usize>,
    /// Cells of the columns of `accuracy_by`.
    pub by: Vec<String>,
    /// Its identity groups.
    pub groups: Vec<String>,
    /// Whether it is of the dialect, where that is known.
    pub dialect: Option<bool>,
    /// Its spelling trick; empty without one.
    pub trick: String,
}

/// All texts of a suite, each once.
#[derive(Debug, Default)]
pub struct Texts {
    numbers: HashMap<String, usize>,
    texts: Vec<String>,
}

impl Texts {
    fn number(&mut self, text: String) -> usize {
        if let Some(&number) = self.numbers.get(&text) {
            return number;
        }
        self.numbers.insert(text.clone(), self.texts.len());
        self.texts.push(text);
        self.texts.len() - 1
    }

    /// The texts, in the order of their numbers.
    pub fn all(&self) -> &[String] {
        &self.texts
    }

    /// A text by its number.
    pub fn get(&self, number: usize) -> &str {
        self.texts.get(number).map_or("", String::as_str)
    }
}

/// Texts that a release was trained on, by hash.
#[derive(Debug, Default)]
pub struct TrainedTexts(HashSet<Place>);

impl TrainedTexts {
    /// Reads them from the files that are in the folder.
    pub fn read(trained: &Trained, data: &Path) -> Result<Self> {
        let mut found = HashSet::new();
        for path in trained.files.iter().map(|file| data.join(file)).filter(|path| path.is_file()) {
            let mut table = Labelled::open(&path)?;
            let text = table.column("text")?;
            let mut record = StringRecord::new();
            while table.next(&mut record)?.is_some() {
                let place = Place::of(&normalised(record.get(text).unwrap_or_default()));
                if !trained.held_back.keeps(place) {
                    found.insert(place);
                }
            }
        }
        Ok(Self(found))
    }
}

/// What is needed to read a measurement.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The folder of the files.
    pub data: Option<&'a Path>,
    /// Texts that are passed over.
    pub trained: TrainedTexts,
    /// Rows that were, so far.
    pub passed_over: Cell<usize>,
    /// At most so many rows of each measurement.
    pub sample: Option<usize>,
    /// Texts are cut so far behind what the component reads that it still flags them.
    pub text_bytes_kept: usize,
}

impl Reading<'_> {
    /// Reads a measurement's rows; their texts go to `texts`.
    pub fn rows(&self, measurement: &Measurement, texts: &mut Texts) -> Result<Vec<Row>> {
        let mut found = match &measurement.file {
            None => {
                let (header, records) = cases::table()?;
                let mut found = Found::new(self, measurement, &header)?;
                for record in &records {
                    found.take(record, 0)?;
                }
                found
            }
            Some(file) => {
                let Some(data) = self.data else {
                    bail!("it reads {}: name the folder that holds it with --data FOLDER", file.display());
                };
                let mut table = Labelled::open(&data.join(file))?;
                let path = table.path().display().to_string();
                let mut found = Found::new(self, measurement, table.header()).with_context(|| path.clone())?;
                let mut record = StringRecord::new();
                while let Some(line) = table.next(&mut record)? {
                    found.take(&record, line).with_context(|| format!("{path}, line {line}"))?;
                }
                found
            }
        };
        ensure!(
            !found.rows.is_empty(),
            "{}: no row passes only and split, and is in none of the files that were trained on",
            measurement.source()
        );
        let rows_max = [measurement.rows_max, self.sample].into_iter().flatten().min();
        if let Some(rows_max) = rows_max.filter(|&rows_max| rows_max < found.rows.len()) {
            let mut by_hash: Vec<usize> = (0..found.rows.len()).collect();
            by_hash.sort_by_key(|&row| found.rows.get(row).map(|candidate| candidate.place));
            let mut chosen = vec![false; found.rows.len()];
            for row in by_hash.into_iter().take(rows_max) {
                if let Some(chosen) = chosen.get_mut(row) {
                    *chosen = true;
                }
            }
            let mut chosen = chosen.into_iter();
            found.rows.retain(|_| chosen.next() == Some(true));
        }
        Ok(found.finish(texts))
    }
}

/// Rows as they are found, before it is known which of them count.
struct Found<'a> {
    reading: &'a Reading<'a>,
    measurement: &'a Measurement,
    columns: Columns,
    rows: Vec<Candidate>,
    /// Where a text that is said the same way stands in `rows`.
    same: HashMap<String, usize>,
    clusters: HashMap<String, u32>,
}

struct Candidate {
    row: Row,
    text: String,
    place: Place,
    /// For each score the sum and the number of what its rows say.
    votes: Vec<(f64, f64)>,
}

/// Where in a record everything stands.
struct Columns {
    text: usize,
    id: Option<usize>,
    only: Vec<(usize, Vec<String>)>,
    truth: Vec<usize>,
    by: Vec<usize>,
    decided_by: Option<usize>,
    cluster: Option<usize>,
    group: Option<usize>,
    dialect: Option<usize>,
    trick: Option<usize>,
}

impl<'a> Found<'a> {
    fn new(reading: &'a Reading<'a>, measurement: &'a Measurement, header: &StringRecord) -> Result<Self> {
        let place = |name: &str| column(header, name);
        let maybe = |name: Option<&String>| name.map(|name| place(name)).transpose();
        let columns = Columns {
            text: place(&measurement.text)?,
            id: maybe(measurement.id.as_ref())?,
            only: measurement
                .only
                .iter()
                .map(|(name, values)| Ok((place(name)?, values.clone())))
                .collect::<Result<_>>()?,
            truth: measurement.scores.iter().map(|score| place(&score.column)).collect::<Result<_>>()?,
            by: measurement.accuracy_by.iter().map(|name| place(name)).collect::<Result<_>>()?,
            decided_by: maybe(measurement.decided_by.as_ref())?,
            cluster: maybe(measurement.cluster.as_ref())?,
            group: maybe(measurement.groups.as_ref().and_then(|groups| groups.column.as_ref()))?,
            dialect: maybe(measurement.dialect.as_ref().map(|dialect| &dialect.column))?,
            trick: maybe(measurement.tricks.as_ref().map(|tricks| &tricks.column))?,
        };
        Ok(Self { reading, measurement, columns, rows: Vec::new(), same: HashMap::new(), clusters: HashMap::new() })
    }

    fn take(&mut self, record: &StringRecord, line: u64) -> Result<()> {
        let cell = |place: usize| record.get(place).unwrap_or_default();
        let measurement = self.measurement;
        if self.columns.only.iter().any(|(place, values)| values.iter().all(|value| value != cell(*place))) {
            return Ok(());
        }
        let form = normalised(cell(self.columns.text));
        let place = Place::of(&form);
        if measurement.split.as_ref().is_some_and(|split| !split.keeps(place)) {
            return Ok(());
        }
        if self.reading.trained.0.contains(&place) {
            self.reading.passed_over.set(self.reading.passed_over.get() + 1);
            return Ok(());
        }
        let votes = measurement
            .scores
            .iter()
            .zip(&self.columns.truth)
            .map(|(score, &place)| vote(score, cell(place)))
            .collect::<Result<Vec<_>>>()?;
        if measurement.repeats != Repeats::Keep {
            if let Some(first) = self.same.get(&form).and_then(|&first| self.rows.get_mut(first)) {
                if measurement.repeats == Repeats::Mean {
                    for (sum, vote) in first.votes.iter_mut().zip(votes) {
                        add(sum, vote);
                    }
                }
                return Ok(());
            }
            self.same.insert(form.clone(), self.rows.len());
        }
        let decided_by = match self.columns.decided_by.map(cell) {
            None => None,
            Some(name) => {
                Some(measurement.scores.iter().position(|score| score.name() == name).with_context(|| {
                    let names: Vec<&str> = measurement.scores.iter().map(Score::name).collect();
                    format!("decided_by: {} is none of the scores ({})", held(name), names.join(", "))
                })?)
            }
        };
        let cluster_name =
            self.columns.cluster.map_or_else(|| self.rows.len().to_string(), |place| cell(place).to_owned());
        let clusters = u32::try_from(self.clusters.len())?;
        let cluster = *self.clusters.entry(cluster_name).or_insert(clusters);
        let dialect = self.columns.dialect.zip(measurement.dialect.as_ref()).and_then(|(place, dialect)| {
            cell(place).trim().parse().ok().filter(|n: &f64| n.is_finite()).map(|n| n >= dialect.at_least)
        });
        let mut text = cell(self.columns.text).to_owned();
        text.truncate(text.floor_char_boundary(self.reading.text_bytes_kept));
        let row = Row {
            id: self.columns.id.map_or_else(|| format!("line {line}"), |place| cell(place).to_owned()),
            text: 0,
            cluster,
            truth: Vec::new(),
            decided_by,
            by: self.columns.by.iter().map(|&place| cell(place).to_owned()).collect(),
            groups: self.groups(self.columns.group.map(cell), &form),
            dialect,
            trick: self.columns.trick.map(cell).unwrap_or_default().to_owned(),
        };
        let mut sums = vec![(0.0, 0.0); votes.len()];
        for (sum, vote) in sums.iter_mut().zip(votes) {
            add(sum, vote);
        }
        self.rows.push(Candidate { row, text, place, votes: sums });
        Ok(())
    }

    fn groups(&self, cell: Option<&str>, form: &str) -> Vec<String> {
        let Some(groups) = &self.measurement.groups else { return Vec::new() };
        if let Some(cell) = cell {
            let none = cell.is_empty() || groups.except.iter().any(|except| except == cell);
            return if none { Vec::new() } else { vec![cell.to_owned()] };
        }
        let padded = format!(" {form} ");
        let holds = |words: &&Vec<String>| words.iter().any(|word| padded.contains(&format!(" {word} ")));
        let of: BTreeMap<_, _> = groups.words.iter().filter(|(_, words)| holds(words)).collect();
        of.into_keys().cloned().collect()
    }

    fn finish(self, texts: &mut Texts) -> Vec<Row> {
        let scores = &self.measurement.scores;
        let decided = |candidate: Candidate| {
            let truth = scores
                .iter()
                .zip(candidate.votes)
                .map(|(score, (sum, count))| (count > 0.0).then(|| sum / count >= score.at_least.unwrap_or(0.5)));
            Row { truth: truth.collect(), text: texts.number(candidate.text), ..candidate.row }
        };
        self.rows.into_iter().map(decided).collect()
    }
}

fn add(sum: &mut (f64, f64), vote: Option<f64>) {
    if let Some(vote) = vote {
        *sum = (sum.0 + vote, sum.1 + 1.0);
    }
}

/// What a cell says of a score, as a number that is compared with the cut.
fn vote(score: &Score, cell: &str) -> Result<Option<f64>> {
    let is = |values: &[String]| values.iter().any(|value| value == cell);
    match (&score.yes, &score.no) {
        (Some(yes), _) if is(yes) => Ok(Some(1.0)),
        (_, Some(no)) if is(no) => Ok(Some(0.0)),
        (Some(_), _) => Ok(None),
        _ if score.at_least.is_some() => {
            match cell.trim() {
                "" | "nan" | "NaN" => Ok(None),
                number => Ok(Some(number.parse().with_context(|| {
                    format!("the column {:?} holds {}, which is no number", score.column, held(cell))
                })?)),
            }
        }
        _ => match truth(cell, score.name()) {
            Ok(truth) => Ok(truth.map(|yes| f64::from(u8::from(yes)))),
            Err(message) => {
                bail!(
                    "{message}\n  hint: say what its cells mean with yes = [\"…\"] and no = [\"…\"], or at_least = 0.5"
                )
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(keys: &str) -> Measurement {
        toml::from_str(&format!("name = 'm'\ntitle = 't'\nfile = 'f.csv'\n{keys}")).unwrap()
    }

    fn reading(data: &Path, trained: TrainedTexts) -> Reading<'_> {
        Reading { data: Some(data), trained, passed_over: Cell::new(0), sample: None, text_bytes_kept: 1000 }
    }

    fn read(keys: &str, content: &str) -> Result<(Vec<Row>, Texts)> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("f.csv"), content)?;
        let reading = reading(folder.path(), TrainedTexts::default());
        let mut texts = Texts::default();
        Ok((reading.rows(&measurement(keys), &mut texts)?, texts))
    }

    fn truths(keys: &str, content: &str) -> Vec<Option<bool>> {
        read(keys, content).unwrap().0.iter().map(|row| row.truth[0]).collect()
    }

    #[test]
    fn truth_is_read_as_the_score_says() {
        let plain = "scores = [{ label = 'A', column = 'x' }]";
        assert_eq!(truths(plain, "text,x\na,1\nb,0\nc,\n"), [Some(true), Some(false), None]);
        let listed = "scores = [{ label = 'A', column = 'x', yes = ['E', 'I'], no = ['O'] }]";
        assert_eq!(truths(listed, "text,x\na,E\nb,O\nc,A\n"), [Some(true), Some(false), None]);
        let cut = "scores = [{ label = 'A', column = 'x', at_least = 2 }]";
        assert_eq!(truths(cut, "text,x\na,2\nb,1.9\nc,nan\n"), [Some(true), Some(false), None]);
        let mean = format!("repeats = 'mean'\n{plain}");
        assert_eq!(truths(&mean, "text,x\na b,1\nA-b!,0\nc,0\na  B,0\n"), [Some(false), Some(false)]);
        let first = format!("repeats = 'first'\n{plain}");
        assert_eq!(truths(&first, "text,x\na b,1\nA-b!,0\nc,0\n"), [Some(true), Some(false)]);
        let wrong = format!("{:#}", read(plain, "text,x\na,E\n").unwrap_err());
        assert!(wrong.contains("f.csv, line 2") && wrong.contains("\"E\"") && wrong.contains("hint"), "{wrong}");
        let wrong = format!("{:#}", read("scores = [{ label = 'A', column = 'y' }]", "text,x\na,E\n").unwrap_err());
        assert!(wrong.contains("f.csv: no column \"y\"; it has text, x"), "{wrong}");
    }

    #[test]
    fn texts_that_were_trained_on_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("trained.csv"), "id,text\n1,Thank you all\n2,You are an idiot\n").unwrap();
        std::fs::write(folder.path().join("f.csv"), "text,x\n\"thank you, ALL!\",0\nyou are an idiot,1\nnew,0\n")
            .unwrap();
        // "thank you all" is of bucket 1 of 10, "you are an idiot" of bucket 5.
        let rows = |held_back: u64| {
            let split = format!("held_back = {{ buckets = 10, keep = [{held_back}] }}");
            let trained: Trained = toml::from_str(&format!("files = ['trained.csv', 'absent.csv']\n{split}")).unwrap();
            let trained = TrainedTexts::read(&trained, folder.path()).unwrap();
            let reading = reading(folder.path(), trained);
            let mut texts = Texts::default();
            reading.rows(&measurement("scores = [{ label = 'A', column = 'x' }]"), &mut texts).unwrap();
            texts.all().to_vec()
        };
        assert_eq!(rows(0), ["new"]);
        assert_eq!(rows(5), ["you are an idiot", "new"]);
    }

    #[test]
    fn groups_are_a_cell_or_words_of_the_text() {
        let groups = |keys: &str, content| -> Vec<Vec<String>> {
            let keys = format!("scores = [{{ label = 'A', column = 'x' }}]\n{keys}");
            read(&keys, content).unwrap().0.into_iter().map(|row| row.groups).collect()
        };
        let words = "groups = { words = { gay = ['gay', 'gay people'], old = ['older than'] } }";
        assert_eq!(groups(words, "text,x\n\"Older than me, gay.\",1\ngayness,0\n"), [vec!["gay", "old"], vec![]]);
        let cells = "groups = { column = 'g', except = ['-'] }";
        assert_eq!(groups(cells, "text,x,g\na,1,women\nb,1,-\nc,1,\n"), [vec!["women"], vec![], vec![]]);
    }

    #[test]
    fn rows_max_takes_the_same_rows_whatever_their_order() {
        let rows: Vec<String> = (0..50).map(|n| format!("text number {n},1")).collect();
        let taken = |rows: &[String]| {
            let keys = "rows_max = 7\nscores = [{ label = 'A', column = 'x' }]";
            let (rows, texts) = read(keys, &format!("text,x\n{}\n", rows.join("\n"))).unwrap();
            let mut taken: Vec<String> = rows.iter().map(|row| texts.get(row.text).to_owned()).collect();
            taken.sort();
            taken
        };
        let mut turned = rows.clone();
        turned.reverse();
        assert_eq!(taken(&rows).len(), 7);
        assert_eq!(taken(&rows), taken(&turned));
        assert_ne!(taken(&rows)[..], rows[..7]);
    }
}
