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
    let arguments = ["classify", "--format", "jsonl", "--input", "json", "--spans", "-"];
    let answers = output(command(&built.palisade.to_string_lossy(), &arguments).stdin(std::fs::File::open(&path)?))?;
    ensure!(cases.lines().count() == answers.lines().count(), "not every case got an answer");
    let mut text = String::new();
    for (case, answer) in cases.lines().zip(answers.lines()) {
        let case: Value = serde_json::from_str(case)?;
        // Scores keep the digits that `palisade` printed: the shortest that give the same 32 bits.
        let from_scores = answer.split_once(",\"scores\":").context("an answer without scores")?.1;
        let results = from_scores.split_once(",\"release\":").context("an answer without a release")?.0;
        writeln!(text, "{{\"id\":{},\"text\":{},\"scores\":{results}}}", case["id"], case["text"])?;
    }
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    println!("wrote {}", path.display());
    Ok(())
}
