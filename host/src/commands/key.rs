//! `palisade key`: API keys.

use std::io::{IsTerminal, Read};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use sha2::{Digest, Sha256};

use super::{ExitStatus, say};

/// Longest key.
const KEY_BYTES_MAX: u64 = 4096;

/// Subcommands of `palisade key`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key: the entry for the file of `serve --keys` goes to standard output, the key itself, once, to standard error
    New(Entry),
    /// The same for a key that clients have already, read from standard input
    Hash(Entry),
}

/// Arguments of both.
#[derive(Debug, Args)]
pub struct Entry {
    /// Whose key it is, for the logs
    name: String,
    /// Requests a minute that the key may make [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_minute: Option<u32>,
    /// Let who has the key moderate in chat rooms
    #[arg(long)]
    moderates: bool,
}

/// Prints an entry.
pub fn run(command: &Command) -> Result<ExitStatus> {
    let (Command::New(entry) | Command::Hash(entry)) = command;
    if entry.name.trim().is_empty() {
        bail!("the name is empty; the logs tell keys apart by it");
    }
    match command {
        Command::New(entry) => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
            let key = format!("palisade-{}", hex::encode(bytes));
            print(entry, &key)?;
            say(&format!("the key is {key}\n  It is not kept anywhere: give it to {} now.", entry.name));
        }
        Command::Hash(entry) => {
            if std::io::stdin().is_terminal() {
                say("type the key, then Ctrl-D");
            }
            let mut key = String::new();
            std::io::stdin().take(KEY_BYTES_MAX + 1).read_to_string(&mut key).context("standard input")?;
            if key.len() as u64 > KEY_BYTES_MAX {
                bail!("more than {KEY_BYTES_MAX} bytes on standard input, which is to be the key alone");
            }
            if key.trim().len() < 16 {
                bail!(
                    "a key of less than 16 characters could be guessed from its hash; make one with `palisade key new`"
                );
            }
            print(entry, key.trim())?;
        }
    }
    Ok(ExitStatus::Done)
}

#[expect(clippy::print_stdout, reason = "the answer")]
fn print(entry: &Entry, key: &str) -> Result<()> {
    let name = serde_json::to_string(&entry.name).context("the name")?; // a JSON string is a TOML string
    println!("[[key]]\nname = {name}\nsha256 = \"{}\"", hex::encode(Sha256::digest(key)));
    if let Some(limit) = entry.requests_per_minute {
        println!("requests-per-minute = {limit}");
    }
    if entry.moderates {
        println!("moderates = true");
    }
    Ok(())
}
