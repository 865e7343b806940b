//! Running other programs, with errors that say what to do.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// A command that starts in the repository's root.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Says what is run, runs it, and fails where it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("xtask: {shown}");
    let status = command.status().map_err(|e| not_started(command, &e))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs what fetches from a network, up to three times.
pub(crate) fn run_fetching(command: &mut Command) -> Result<()> {
    for pause_s in [5, 30] {
        match run(command) {
            Ok(()) => return Ok(()),
            Err(problem) => eprintln!("xtask: {problem:#}; once more in {pause_s} s"),
        }
        std::thread::sleep(Duration::from_secs(pause_s));
    }
    run(command)
}

/// Runs and returns what the program printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| not_started(command, &e))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| shown)
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn not_started(command: &Command, error: &std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy().into_owned();
    let hint = match program.as_str() {
        "npm" | "node" => "install Node 20 or later with npm, from https://nodejs.org",
        "python3" => "install Python 3.11 or later (on Debian: apt-get install python3 python3-venv)",
        "rustup" => "install rustup from https://rustup.rs",
        _ => "is it installed?",
    };
    anyhow!("cannot start {program}: {error}\n  hint: {hint}")
}

/// What `cargo metadata` says of the workspace.
pub(crate) fn metadata() -> Result<Value> {
    let json = output(&mut command(&cargo(), &["metadata", "--format-version", "1", "--locked"]))?;
    serde_json::from_str(&json).context("cargo metadata")
}

/// The folder that cargo builds into, wherever the environment put it.
pub(crate) fn target() -> Result<PathBuf> {
    let json = output(&mut command(&cargo(), &["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&json).context("cargo metadata")?;
    let folder =
        metadata.get("target_directory").and_then(Value::as_str).context("cargo metadata names no target folder")?;
    Ok(PathBuf::from(folder))
}

/// The cargo that runs this.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
