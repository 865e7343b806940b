//! The same bits from every engine; what is compared is in `conformance/src/main.rs`.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::component::{self, Built};
use crate::shell::{command, root, run, run_fetching, target};

/// Builds what it takes, and compares; `arguments` are the program's.
pub(crate) fn run_alone(arguments: &[String]) -> Result<()> {
    let built = component::build_with(&["--package", "palisade-host", "--package", "palisade-conformance"])?;
    npm_packages()?;
    compare(&built, arguments)
}

/// Compares with what is built, and with Node's packages installed.
pub(crate) fn compare(built: &Built, arguments: &[String]) -> Result<()> {
    chromium()?;
    let program = built.palisade.with_file_name(format!("palisade-determinism{}", std::env::consts::EXE_SUFFIX));
    let components = built.palisade.parent().unwrap_or(Path::new("."));
    let mut compare = command(&program.to_string_lossy(), &["--components"]);
    run(compare.arg(components).arg("--scratch").arg(target()?.join("determinism")).args(arguments))
}

/// jco, in `conformance/`.
pub(crate) fn npm_packages() -> Result<()> {
    let install = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
    run_fetching(command("npm", &install).current_dir(root().join("conformance")))
}

/// Sees that Chromium is there, and installs it where Debian's package manager may.
pub(crate) fn chromium() -> Result<()> {
    let starts =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    if starts(&program) {
        return Ok(());
    }
    let is_root = Command::new("id").arg("--user").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root || !starts("apt-get") {
        bail!(
            "{program} does not start\n  hint: install Chromium (on Debian: sudo apt-get install chromium), or name one in the \
             environment variable CHROMIUM"
        );
    }
    let patiently = ["-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=300", "--quiet"];
    run_fetching(&mut command("apt-get", &[&patiently[..], &["update"]].concat()))?;
    let install = ["install", "--yes", "--no-install-recommends", "chromium"];
    run_fetching(&mut command("apt-get", &[&patiently[..], &install].concat()))
}
