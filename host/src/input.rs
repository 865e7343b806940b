//! Texts from a stream of lines: JSON objects or plain text, each line read whole or refused by itself.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bindings::Limits;

/// Longest line that is read. The rest of a longer one is passed over.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// Texts that travel to an instance together.
pub const BATCH_TEXTS_MAX: usize = 32;

/// What the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LineFormat {
    /// JSON objects where the first line that is not blank starts with `{`, plain text otherwise
    Auto,
    /// A JSON object a line, with "text" and, if you like, "id"
    Json,
    /// One text a line
    Text,
}

/// One line's text, or why it has none.
#[derive(Debug)]
pub struct Item {
    /// Number of the line, from 1.
    pub line: u64,
    /// The caller's `id` as JSON, where the line has one.
    pub id: Option<Box<RawValue>>,
    /// The text, or the problem with the line.
    pub text: Result<String, LineProblem>,
}

/// Why a line gives no score: a code for programs and a message for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineProblem {
    /// `invalid-utf8`, `invalid-json`, `missing-text`, `line-too-long`, or `not-classified` where reading went well.
    pub code: &'static str,
    /// What is wrong and what to do, without the line's content.
    pub message: String,
}

/// Iterator over batches of lines. Memory is bounded by [`LINE_BYTES_MAX`] and the batch, whatever the input's length.
///
/// A batch ends when it is full, or when the next line is not there yet, so that a slow stream is answered at once.
#[derive(Debug)]
pub struct Batches<R> {
    reader: BufReader<R>,
    format: LineFormat,
    text_bytes_kept: usize,
    line: u64,
    failed: Option<std::io::Error>,
}

/// How much of a text to keep: a character more than the component reads, so that it still sees the text to be too long,
/// and flags it.
pub fn bytes_kept(limits: &Limits) -> usize {
    limits.text_bytes_max as usize + 4
}

#[derive(Deserialize)]
struct JsonLine {
    #[serde(default, deserialize_with = "present")]
    id: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    text: Option<Box<RawValue>>,
}

/// Keeps `null` apart from a missing key.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(value).map(Some)
}

impl<R: Read> Batches<R> {
    /// Reads from `reader` and keeps `text_bytes_kept` bytes of each text; see [`bytes_kept`].
    pub fn new(reader: R, format: LineFormat, text_bytes_kept: usize) -> Self {
        Self { reader: BufReader::with_capacity(1 << 16, reader), format, text_bytes_kept, line: 0, failed: None }
    }

    /// The error that ended the stream early, if one did.
    pub fn failure(&mut self) -> Option<std::io::Error> {
        self.failed.take()
    }

    /// Adds the next line's item to the batch, unless the line is blank among JSON. False at the end.
    fn read_into(&mut self, batch: &mut Vec<Item>) -> bool {
        let (bytes, whole) = match read_line(&mut self.reader, LINE_BYTES_MAX) {
            Ok(Some(line)) => line,
            Ok(None) => return false,
            Err(error) => {
                self.failed = Some(error);
                return false;
            }
        };
        self.line += 1;
        let content = if self.line == 1 { bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes) } else { &bytes };
        let first = content.iter().find(|byte| !byte.is_ascii_whitespace());
        if self.format == LineFormat::Auto {
            self.format = match first {
                None => LineFormat::Auto,
                Some(b'{') => LineFormat::Json,
                Some(_) => LineFormat::Text,
            };
        }
        let (id, text) = match (self.format, first) {
            (LineFormat::Json, None) => return true,
            (LineFormat::Json, _) => json_line(content, whole),
            (LineFormat::Text | LineFormat::Auto, _) => (None, plain_line(content, whole)),
        };
        let text = text.map(|mut text| {
            text.truncate(text.floor_char_boundary(self.text_bytes_kept));
            text.shrink_to_fit();
            text
        });
        batch.push(Item { line: self.line, id, text });
        true
    }
}

impl<R: Read> Iterator for Batches<R> {
    type Item = Vec<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::new();
        while batch.is_empty() || (batch.len() < BATCH_TEXTS_MAX && self.reader.buffer().contains(&b'\n')) {
            if !self.read_into(&mut batch) {
                break;
            }
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// The next line without its end, cut at `bytes_max`, and whether that is all of it; `None` at the end of the stream.
fn read_line(reader: &mut impl BufRead, bytes_max: usize) -> std::io::Result<Option<(Vec<u8>, bool)>> {
    let mut line = Vec::new();
    let read = reader.by_ref().take(bytes_max as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        return Ok(Some((line, true)));
    }
    let whole = line.len() <= bytes_max;
    if !whole {
        line.truncate(bytes_max);
        reader.skip_until(b'\n')?;
    }
    Ok(Some((line, whole)))
}

fn plain_line(bytes: &[u8], whole: bool) -> Result<String, LineProblem> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        // The cut of a long line may have split its last character.
        Err(e) if !whole && e.error_len().is_none() => {
            Ok(String::from_utf8_lossy(bytes.get(..e.valid_up_to()).unwrap_or_default()).into_owned())
        }
        Err(e) => Err(invalid_utf8(e)),
    }
}

fn invalid_utf8(error: std::str::Utf8Error) -> LineProblem {
    let message =
        format!("not UTF-8 from byte {} of the line on; convert the input with iconv", error.valid_up_to() + 1);
    LineProblem { code: "invalid-utf8", message }
}

fn json_line(bytes: &[u8], whole: bool) -> (Option<Box<RawValue>>, Result<String, LineProblem>) {
    let problem = |code, message: String| Err(LineProblem { code, message });
    if !whole {
        return (None, problem("line-too-long", format!("longer than {LINE_BYTES_MAX} bytes; shorten its text")));
    }
    if let Err(e) = std::str::from_utf8(bytes) {
        return (None, Err(invalid_utf8(e)));
    }
    let line: JsonLine = match serde_json::from_slice(bytes) {
        Ok(line) if bytes.trim_ascii_start().starts_with(b"{") => line,
        Ok(_) => return (None, problem("invalid-json", "not a JSON object with \"text\"".into())),
        Err(e) => {
            let message = format!(
                "not a JSON object with \"text\": {} at column {}; where the lines are plain text, give --input text",
                kind(&e),
                e.column()
            );
            return (None, problem("invalid-json", message));
        }
    };
    let text = match line.text.as_deref().map(|raw| serde_json::from_str::<String>(raw.get())) {
        Some(Ok(text)) => Ok(text),
        Some(Err(e)) if e.is_data() => problem("missing-text", "\"text\" is not a string".into()),
        Some(Err(e)) => problem("invalid-json", format!("\"text\" is not a valid string: {}", kind(&e))),
        None => problem("missing-text", "the JSON object has no \"text\"".into()),
    };
    (line.id, text)
}

/// What `serde_json` says, without its position (of a line of its own) and without the line's content.
fn kind(error: &serde_json::Error) -> String {
    if error.is_data() {
        return "a value of another type".into();
    }
    error.to_string().split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], format: LineFormat) -> Vec<(u64, Option<String>, Result<String, &'static str>)> {
        let mut batches = Batches::new(bytes, format, 20_484);
        let items: Vec<Item> = batches.by_ref().flatten().collect();
        assert!(batches.failure().is_none());
        items.into_iter().map(|i| (i.line, i.id.map(|id| id.get().to_owned()), i.text.map_err(|e| e.code))).collect()
    }

    #[test]
    fn plain_lines_are_texts_and_blank_ones_are_empty_texts() {
        let text = |line, text: &str| (line, None, Ok(text.to_owned()));
        assert_eq!(read(b"a\r\n\nb", LineFormat::Auto), [text(1, "a"), text(2, ""), text(3, "b")]);
        assert_eq!(read(b"", LineFormat::Auto), []);
        assert_eq!(read(b"\xEF\xBB\xBFa\n", LineFormat::Auto), [text(1, "a")]);
        assert_eq!(read(b"{not json", LineFormat::Text), [text(1, "{not json")]);
    }

    #[test]
    fn json_lines_keep_their_id_and_blank_ones_are_passed_over() {
        let lines =
            b"\n{\"id\": \"x\", \"text\": \"a\\nb\", \"more\": [1]}\n\n{\"text\":\"c\",\"id\":7}\n{\"text\":\"d\"}";
        // The first line is blank before the format is known, so it is an empty text.
        let expect = [
            (1, None, Ok(String::new())),
            (2, Some("\"x\"".to_owned()), Ok("a\nb".to_owned())),
            (4, Some("7".to_owned()), Ok("c".to_owned())),
            (5, None, Ok("d".to_owned())),
        ];
        assert_eq!(read(lines, LineFormat::Auto), expect);
        assert_eq!(read(lines, LineFormat::Json), expect[1..]);
    }

    #[test]
    fn a_bad_line_does_not_spoil_the_next() {
        let check = |bad: &[u8], code: &'static str| {
            let input = [b"{\"text\":\"a\"}\n", bad, b"\n{\"text\":\"b\"}\n"].concat();
            let read = read(&input, LineFormat::Auto);
            assert_eq!(read.len(), 3);
            assert_eq!(read[1].2, Err(code));
            assert_eq!(read[2], (3, None, Ok("b".to_owned())));
        };
        check(b"{\"id\":1}", "missing-text");
        check(b"{\"text\":5}", "missing-text");
        check(b"{\"text\":null}", "missing-text");
        check(b"{\"text\":\"\\ud800\"}", "invalid-json");
        check(b"{\"text\":\"a\"", "invalid-json");
        check(b"[1]", "invalid-json");
        check(b"[7,\"b\"]", "invalid-json");
        check(b"{\"text\":\"\xFF\"}", "invalid-utf8");
        check(&[b"{\"text\":\"".as_slice(), &vec![b'a'; LINE_BYTES_MAX], b"\"}"].concat(), "line-too-long");
    }

    #[test]
    fn a_line_is_answered_before_the_next_one_is_there() {
        struct Pipe(Option<&'static [u8]>);
        impl Read for Pipe {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let bytes = self.0.take().unwrap_or_else(|| unreachable!("reads on, and would wait"));
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
        }
        for input in ["{\"text\":\"a\"}\n", "{\"text\":\"a\"}\n\n", "{\"text\":\"a\"}\n \n\n"] {
            let batch = Batches::new(Pipe(Some(input.as_bytes())), LineFormat::Auto, 100).next().unwrap();
            assert_eq!(batch.len(), 1);
        }
    }

    #[test]
    fn an_id_of_null_is_kept() {
        assert_eq!(read(b"{\"id\":null,\"text\":\"a\"}", LineFormat::Auto)[0].1.as_deref(), Some("null"));
    }

    #[test]
    fn an_endless_plain_line_is_cut_between_characters() {
        let mut input = "é".repeat(LINE_BYTES_MAX).into_bytes();
        input.extend(b"\nnext");
        let read = read(&input, LineFormat::Text);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].2.as_ref().unwrap().len(), 20_484);
        assert_eq!(read[1].2, Ok("next".to_owned()));
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_item_a_line(bytes: Vec<u8>) {
            let lines = bytes.split_inclusive(|&byte| byte == b'\n').count();
            prop_assert_eq!(read(&bytes, LineFormat::Text).len(), lines);
            prop_assert!(read(&bytes, LineFormat::Json).len() <= lines);
        }

        #[test]
        fn any_text_comes_back_from_json(text: String) {
            let line = serde_json::json!({"text": text}).to_string();
            prop_assert_eq!(&read(line.as_bytes(), LineFormat::Auto)[0].2, &Ok(text));
        }
    }
}
