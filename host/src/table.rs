//! The table that people read: a row a text, a column a label.

use std::io::Write;

use unicode_width::UnicodeWidthStr;

use crate::bindings::{Description, TextResult, Word};

const WIDTH_WITHOUT_TERMINAL: usize = 120;
const TEXT_WIDTH_MIN: usize = 20;
const WORDS_SHOWN: usize = 3;
const WORD_WIDTH: usize = 24;
const FLAGGED: &str = "\x1b[1;31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

struct Column {
    name: String,
    /// The name on two lines, split at its last underscore.
    head: [String; 2],
    width: usize,
    threshold: f32,
}

/// Prints rows as they come; the heading first, the release last.
pub(crate) struct Table {
    columns: Vec<Column>,
    text_width: usize,
    release: String,
    colour: bool,
    rows: u64,
    truncated: u64,
}

impl Table {
    pub(crate) fn new(description: &Description, labels: &[String], terminal: bool) -> Self {
        let columns: Vec<Column> = labels
            .iter()
            .map(|name| {
                let (upper, lower) = name.rsplit_once('_').unwrap_or(("", name));
                let threshold =
                    description.labels.iter().find(|l| l.name == *name).map_or(f32::INFINITY, |l| l.threshold);
                Column {
                    name: name.clone(),
                    head: [upper.into(), lower.into()],
                    width: upper.len().max(lower.len()).max(6),
                    threshold,
                }
            })
            .collect();
        let scores_width: usize = columns.iter().map(|column| column.width + 2).sum();
        let width =
            terminal.then(terminal_size::terminal_size).flatten().map_or(WIDTH_WITHOUT_TERMINAL, |(w, _)| w.0.into());
        let release = &description.release;
        Self {
            columns,
            text_width: width.saturating_sub(scores_width).max(TEXT_WIDTH_MIN),
            release: harmless(&format!(
                "{} {} ({})",
                release.name,
                release.version,
                release.digest.get(..12).unwrap_or_default()
            )),
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
            rows: 0,
            truncated: 0,
        }
    }

    pub(crate) fn row(
        &mut self,
        out: &mut impl Write,
        text: &str,
        result: Result<&TextResult, String>,
    ) -> std::io::Result<()> {
        if self.rows == 0 {
            self.heading(out)?;
        }
        self.rows += 1;
        match result {
            Ok(result) => {
                for (column, &score) in self.columns.iter().zip(&result.scores) {
                    let flagged = score >= column.threshold;
                    let mark = if flagged { '*' } else { ' ' };
                    let (start, end) = if flagged && self.colour { (FLAGGED, PLAIN) } else { ("", "") };
                    write!(out, "{start}{:>width$.3}{mark}{end} ", score, width = column.width)?;
                }
                self.truncated += u64::from(result.truncated);
                writeln!(out, "{}", shown(text, self.text_width))?;
                self.words(out, text, result)
            }
            Err(message) => {
                let (start, end) = if self.colour { (FLAGGED, PLAIN) } else { ("", "") };
                writeln!(out, "{start}{}{end}", harmless(&message))
            }
        }
    }

    /// The words that raise the highest score most, where words were asked for.
    fn words(&self, out: &mut impl Write, text: &str, result: &TextResult) -> std::io::Result<()> {
        let scores = result.scores.iter().enumerate();
        let Some((highest, _)) = scores.max_by(|(_, one), (_, other)| one.total_cmp(other)) else { return Ok(()) };
        let effect = |word: &Word| word.effects.get(highest).copied().unwrap_or_default();
        let mut words: Vec<&Word> = result.words.iter().collect();
        words.sort_by(|one, other| effect(other).total_cmp(&effect(one)));
        if words.is_empty() {
            return Ok(());
        }
        let shown = words.into_iter().take(WORDS_SHOWN).map(|word| {
            let place = text.get(word.start as usize..word.end as usize).unwrap_or_default();
            format!("{} {:+.3}", shown(place, WORD_WIDTH), effect(word))
        });
        let (start, end) = if self.colour { (DIM, PLAIN) } else { ("", "") };
        let label = self.columns.get(highest).map_or("", |column| &column.name);
        writeln!(out, "{start}  {label} by word: {}{end}", shown.collect::<Vec<_>>().join(", "))
    }

    fn heading(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (start, end) = if self.colour { (DIM, PLAIN) } else { ("", "") };
        for line in [0, 1] {
            write!(out, "{start}")?;
            for column in &self.columns {
                write!(out, "{:>width$}  ", column.head.get(line).map_or("", String::as_str), width = column.width)?;
            }
            writeln!(out, "{}{end}", if line == 1 { "text" } else { "" })?;
        }
        Ok(())
    }

    pub(crate) fn finish(&self, out: &mut impl Write) -> std::io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let (start, end) = if self.colour { (DIM, PLAIN) } else { ("", "") };
        writeln!(out, "{start}* at or above the label's threshold for review · release {}{end}", self.release)?;
        if self.truncated > 0 {
            writeln!(
                out,
                "{start}{} of {} texts were too long: their scores speak of the beginning only{end}",
                self.truncated, self.rows
            )?;
        }
        Ok(())
    }
}

/// A text on one line of at most `width` columns, with nothing in it that a terminal would obey.
fn shown(text: &str, width: usize) -> String {
    let mut characters = text.trim().chars().map(harmless_character);
    let mut line: String = characters.by_ref().take(width + 1).collect();
    if characters.next().is_none() && line.width() <= width {
        return line;
    }
    while line.width() >= width {
        line.pop();
    }
    line.push('…');
    line
}

/// A string with nothing in it that a terminal would obey.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(harmless_character).collect()
}

fn harmless_character(c: char) -> char {
    if c.is_control() || is_bidi_control(c) { ' ' } else { c }
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_text_cannot_steer_the_terminal() {
        assert_eq!(shown("a\x1b[31mb\nc\u{202E}d", 40), "a [31mb c d");
    }

    #[test]
    fn a_long_text_ends_in_an_ellipsis() {
        assert_eq!(shown("abcdef", 6), "abcdef");
        assert_eq!(shown("abcdefg", 6), "abcde…");
        assert_eq!(shown("你好你好", 6), "你好…");
        assert_eq!(shown(&"x".repeat(1000), 4), "xxx…");
    }
}
