//! The npm package and the site, built and tested.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::component::{self, Built};
use crate::shell::{command, root, run, run_fetching};
use crate::{determinism, shell};

/// Where the site is built.
const DIST: &str = "demo/dist";
/// The smaller release that the site has, beside the default one.
const SMALL: &str = "palisade-small-strict.wasm";

/// Builds the artefacts and all that is made of them for browsers, and tests it.
pub(crate) fn run_alone() -> Result<()> {
    test(&component::build()?)
}

/// Builds the site alone, from artefacts that are there, into `demo/dist`.
pub(crate) fn site(built: &Built) -> Result<()> {
    npm(built, "packages/moderation", &["ci"])?;
    npm(built, "packages/moderation", &["run", "build"])?;
    npm(built, "demo", &["ci"])?;
    npm(built, "demo", &["run", "build"])
}

/// The site beside the program, where `palisade serve` finds it; made anew where an artefact or a source is newer. Needs Node.js and npm.
pub(crate) fn beside_program(built: &Built) -> Result<()> {
    let (made, place) = (root().join(DIST), built.palisade.with_file_name("site"));
    let mut newest = since(&built.artefact_strict).max(since(&built.artefact_strict.with_file_name(SMALL)));
    for folder in ["demo", "packages/moderation"] {
        newest = newest.max(newest_source(&root().join(folder))?);
    }
    if since(&made.join("index.html")) < newest {
        site(built)?;
    }
    if since(&place.join("index.html")) < since(&made.join("index.html")) {
        if place.exists() {
            std::fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
        }
        copy(&made, &place)?;
    }
    Ok(())
}

fn since(path: &Path) -> SystemTime {
    path.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When a file below a folder last changed, what is installed and built aside.
fn newest_source(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let is_made =
            path.file_name().is_some_and(|name| ["node_modules", "dist", "test"].iter().any(|made| name == *made));
        newest = newest.max(match path.is_dir() {
            _ if is_made => continue,
            true => newest_source(&path)?,
            false => since(&path),
        });
    }
    Ok(newest)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            std::fs::copy(&from, &to).with_context(|| from.display().to_string())?;
        }
    }
    Ok(())
}

/// The same, with the tests of both in Node and Chromium, and with a server that has the site and rooms.
pub(crate) fn test(built: &Built) -> Result<()> {
    determinism::chromium()?;
    site(built)?;
    npm(built, "packages/moderation", &["test"])?;
    let server = Server::start(built)?;
    npm_with(built, "demo", &["test"], Some(&server.address))
}

/// `palisade serve` with the site, stopped at the end.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(built: &Built) -> Result<Self> {
        let feedback = shell::target()?.join("web").join("feedback.sqlite");
        let mut serve =
            command(&built.palisade.to_string_lossy(), &["serve", "--listen", "127.0.0.1:0", "--site", DIST]);
        serve.arg("--feedback").arg(feedback).args(["--queue-ms-max", "20000"]).stdout(Stdio::piped());
        let mut child = serve.spawn().context("palisade serve")?;
        let out = child.stdout.take().context("palisade serve has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned);
        let mut server = Self { child, address: String::new() };
        server.address = address.with_context(|| format!("palisade serve did not start: {line}"))?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn npm(built: &Built, folder: &str, arguments: &[&str]) -> Result<()> {
    npm_with(built, folder, arguments, None)
}

fn npm_with(built: &Built, folder: &str, arguments: &[&str], server: Option<&str>) -> Result<()> {
    let artefacts = built.artefact_strict.parent().map_or_else(shell::root, ToOwned::to_owned);
    let pictures = shell::target()?.join("web");
    let mut npm = command("npm", arguments);
    npm.args(["--no-audit", "--no-fund", "--loglevel=error"]).current_dir(root().join(folder));
    npm.envs(server.map(|server| ("PALISADE_SERVER", server)));
    npm.env("PALISADE_ARTEFACTS", artefacts).env("PALISADE_SCREENSHOTS", pictures);
    if arguments == ["ci"] { run_fetching(&mut npm) } else { run(&mut npm) }
}
