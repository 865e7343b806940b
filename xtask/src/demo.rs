//! The README's first command.

use anyhow::Result;

use crate::shell::{command, root, run};
use crate::{component, web};

const COMMENTS: &str = "demo/comments.txt";

/// Builds everything, moderates the sample comments, and serves until Ctrl-C. The arguments are those of `palisade serve`.
pub(crate) fn run_demo(arguments: &[String]) -> Result<()> {
    let built = component::build()?;
    let comments = std::fs::File::open(root().join(COMMENTS))?;
    println!();
    run(command(&built.palisade.to_string_lossy(), &["classify", "-"]).stdin(comments))?;
    // The pages need Node.js to be built; everything else does without.
    if let Err(problem) = web::beside_program(&built) {
        println!("\nWithout the pages for the browser, which Node.js 20 or later builds: {problem:#}");
    }
    println!("\nThese scores came out of {}. Now the same over HTTP:\n", built.artefact.display());
    run(command(&built.palisade.to_string_lossy(), &["serve"]).args(arguments))
}
