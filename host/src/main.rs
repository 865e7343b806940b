//! The command `palisade`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use palisade_host::commands::{
    ExitStatus, bake, chain, classify, eval, feedback, inspect, key, model, policy, say, serve,
};

/// Content moderation that runs where you are: the classifier is a WebAssembly component, and its scores are the same
/// to the bit wherever it runs.
///
/// A release is a model's files; an artefact is the component that a release was baked into.
#[derive(Debug, Parser)]
#[command(name = "palisade", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP endpoint: Perspective, OpenAI moderations, and Palisade's own protocol
    Serve(Box<serve::Arguments>),
    /// Score texts
    Classify(classify::Arguments),
    /// Measure a release against labelled texts
    Eval(eval::Arguments),
    /// Show what an artefact is: contract, imports, release, sizes
    Inspect(inspect::Arguments),
    /// Make an artefact out of a release
    Bake(bake::Arguments),
    /// Publish, promote, roll back and fetch releases in a registry: a folder, or a bucket of any S3-compatible store
    #[command(subcommand)]
    Model(Box<model::Command>),
    /// Check a file of policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// Make API keys
    #[command(subcommand)]
    Key(key::Command),
    /// Read the feedback that `serve` has kept
    #[command(subcommand)]
    Feedback(feedback::Command),
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(status) => status.into(),
        Err(error) => {
            say(&format!("error: {}", chain(error.as_ref())));
            ExitStatus::Failed.into()
        }
    }
}

fn run(command: &Command) -> Result<ExitStatus> {
    match command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Classify(arguments) => classify::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Bake(arguments) => bake::run(arguments),
        Command::Model(command) => model::run(command),
        Command::Policy(command) => policy::run(command),
        Command::Key(command) => key::run(command),
        Command::Feedback(command) => feedback::run(command),
    }
}
