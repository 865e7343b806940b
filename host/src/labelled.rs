//! Labelled texts in CSV, as `palisade eval` reads them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use csv::{Position, StringRecord};
use flate2::read::MultiGzDecoder;

/// A CSV file with the columns' names in its first line; gzip where its name ends in .gz.
pub(crate) struct Labelled {
    path: PathBuf,
    reader: csv::Reader<Box<dyn Read + Send>>,
    header: StringRecord,
    quotes: Arc<AtomicUsize>,
}

/// Counts the quotes that pass, for in a whole CSV file (RFC 4180) their number is even.
struct QuoteCounter<R> {
    inner: R,
    quotes: Arc<AtomicUsize>,
}

impl<R: Read> Read for QuoteCounter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let quotes = buffer.iter().take(length).filter(|&&byte| byte == b'"').count();
        self.quotes.fetch_add(quotes, Ordering::Relaxed);
        Ok(length)
    }
}

impl Labelled {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let content: Box<dyn Read + Send> = if path.extension().is_some_and(|extension| extension == "gz") {
            Box::new(MultiGzDecoder::new(BufReader::new(file)))
        } else {
            Box::new(file)
        };
        let quotes = Arc::new(AtomicUsize::new(0));
        let mut reader =
            csv::Reader::from_reader(Box::new(QuoteCounter { inner: content, quotes: Arc::clone(&quotes) }) as _);
        let header = reader.headers().with_context(|| path.display().to_string())?.clone();
        Ok(Self { path: path.to_owned(), reader, header, quotes })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The place of a column.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        column(&self.header, name).with_context(|| self.path.display().to_string())
    }

    pub(crate) fn header(&self) -> &StringRecord {
        &self.header
    }

    /// The next row and its line; false at the end, where a file that breaks off within a quote is refused.
    pub(crate) fn next(&mut self, record: &mut StringRecord) -> Result<Option<u64>> {
        if self.reader.read_record(record).with_context(|| self.path.display().to_string())? {
            return Ok(Some(record.position().map_or(0, Position::line)));
        }
        if self.quotes.load(Ordering::Relaxed) % 2 == 1 {
            bail!(
                "{}: a quote is opened and never closed, so rows are lost (quotes inside a cell are doubled)",
                self.path.display()
            );
        }
        Ok(None)
    }
}

/// The place of a column in a header.
pub(crate) fn column(header: &StringRecord, name: &str) -> Result<usize> {
    header.iter().position(|column| column == name).ok_or_else(|| {
        let columns: Vec<_> = header.iter().collect();
        if columns.is_empty() {
            return anyhow!("the file is empty");
        }
        anyhow!("no column {name:?}; it has {}", columns.join(", "))
    })
}

/// A cell as yes (0.5 and more), no, or unknown (`None`).
pub(crate) fn truth(cell: &str, label: &str) -> Result<Option<bool>, String> {
    match cell.trim() {
        "" => Ok(None),
        "true" | "True" | "TRUE" => Ok(Some(true)),
        "false" | "False" | "FALSE" => Ok(Some(false)),
        number => match number.parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(Some(number >= 0.5)),
            _ => Err(format!(
                "the column of {label} holds {}, which is no number within 0 and 1, true, false or empty",
                held(cell)
            )),
        },
    }
}

/// A cell as a message may say it: a long one is more likely a text, and texts stay out of messages.
pub(crate) fn held(cell: &str) -> String {
    if cell.len() <= 16 { format!("{cell:?}") } else { format!("{} bytes", cell.len()) }
}

#[cfg(test)]
mod tests {
    use super::truth;

    #[test]
    fn a_cell_is_yes_no_or_unknown() {
        let check = |cell, expect| assert_eq!(truth(cell, "TOXICITY"), Ok(expect), "{cell:?}");
        check("1", Some(true));
        check("0.0", Some(false));
        check("0.5", Some(true));
        check("True", Some(true));
        check(" ", None);
        assert!(truth("maybe", "TOXICITY").unwrap_err().contains("\"maybe\""));
        assert!(truth("7", "TOXICITY").is_err());
        assert!(!truth("a whole comment in the wrong column", "TOXICITY").unwrap_err().contains("comment"));
    }
}
