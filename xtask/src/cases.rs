//! The golden cases of the shipped release: texts written for it, with their scores.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::component::{self, RELEASE};
use crate::shell::{command, output, root};

/// The file with the cases.
pub(crate) fn path() -> PathBuf {
    root().join(RELEASE).join("cases.jsonl")
}

/// Scores the cases' texts with the component and writes the file anew.
pub(crate) fn write() -> Result<()> {
    let built = component::build()?;
    let path = path();
    let cases = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let answers = output(
        command(&built.palisade.to_string_lossy(), &["classify", "--format", "jsonl", "--input", "json", "-"])
            .stdin(std::fs::File::open(&path)?),
    )?;
    ensure!(cases.lines().count() == answers.lines().count(), "not every case got an answer");
    let mut text = String::new();
    for (case, answer) in cases.lines().zip(answers.lines()) {
        let case: Value = serde_json::from_str(case)?;
        // Scores keep the digits that `palisade` printed: the shortest that give the same 32 bits.
        let scores = answer
            .split_once("\"scores\":")
            .and_then(|(_, rest)| rest.split_once('}'))
            .context("an answer without scores")?
            .0;
        let truncated = serde_json::from_str::<Value>(answer)?["truncated"].clone();
        let (id, words) = (&case["id"], &case["text"]);
        writeln!(text, "{{\"id\":{id},\"text\":{words},\"scores\":{scores}}},\"truncated\":{truncated}}}")?;
    }
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    println!("wrote {}", path.display());
    Ok(())
}
