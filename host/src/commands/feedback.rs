//! `palisade feedback`: what clients said of texts.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use super::ExitStatus;
use crate::serve::feedback::Feedback;

/// Suggestions read at a time.
const PAGE: u32 = 500;

/// Subcommands of `palisade feedback`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print all feedback, oldest first, a JSON object a line
    Export(Export),
}

/// Arguments of `palisade feedback export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The file of `serve --feedback` [default: ~/.local/state/palisade/feedback.sqlite]
    #[arg(long, env = "PALISADE_FEEDBACK_FILE", value_name = "FILE")]
    feedback: Option<PathBuf>,
}

/// Where feedback is kept if nothing else is said (XDG Base Directory Specification).
pub fn default_file() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local").join("state")));
    let state =
        state.context("no home folder to keep feedback in; name a file with --feedback, or `--feedback off`")?;
    Ok(state.join("palisade").join("feedback.sqlite"))
}

/// Prints the feedback.
pub fn run(command: &Command) -> Result<ExitStatus> {
    let Command::Export(arguments) = command;
    let path = arguments.feedback.clone().map_or_else(default_file, Ok)?;
    if !path.is_file() {
        bail!("{}: no such file; `palisade serve` makes it", path.display());
    }
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio.block_on(async {
        let feedback = Feedback::open(&path).await?;
        let mut out = std::io::stdout().lock();
        let mut place = (i64::MIN, String::new());
        loop {
            let page = feedback.after((place.0, &place.1), PAGE).await.with_context(|| path.display().to_string())?;
            let Some(last) = page.last() else { break };
            place = (last.received_ms, last.id.clone());
            for kept in &page {
                serde_json::to_writer(&mut out, kept)?;
                out.write_all(b"\n")?;
            }
        }
        feedback.close().await;
        anyhow::Ok(())
    })?;
    Ok(ExitStatus::Done)
}
