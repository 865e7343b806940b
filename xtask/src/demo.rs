//! The README's first command.

use anyhow::Result;

use crate::component;
use crate::shell::{command, root, run};

const COMMENTS: &str = "demo/comments.txt";

/// Builds everything, moderates the sample comments, and says what to type next.
pub(crate) fn run_demo() -> Result<()> {
    let built = component::build()?;
    let comments = std::fs::File::open(root().join(COMMENTS))?;
    println!();
    run(command(&built.palisade.to_string_lossy(), &["classify", "-"]).stdin(comments))?;
    let palisade = built.palisade.strip_prefix(root()).unwrap_or(&built.palisade).display();
    println!(
        "
These scores came out of the component {artefact}.
Try next:
  {palisade} classify \"your own text\"
  {palisade} classify --format jsonl - < {COMMENTS}
  {palisade} inspect {artefact}
  {palisade} eval FILE.csv --text-column text --label-columns toxic=TOXICITY",
        artefact = built.artefact.strip_prefix(root()).unwrap_or(&built.artefact).display(),
    );
    Ok(())
}
